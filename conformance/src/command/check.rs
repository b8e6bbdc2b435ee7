//! `sinew check`: runs cases.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use sinew_conformance::deviations::Deviations;
use sinew_conformance::load::Cases;
use sinew_conformance::report::Report;
use sinew_conformance::suite;

use super::Problem;

/// What the cases run against.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Target {
    /// The bare machines, without a socket
    Core,
}

/// Arguments of `sinew check`.
#[derive(clap::Args)]
pub(crate) struct Check {
    /// What the cases run against
    #[arg(long, value_enum, default_value = "core")]
    target: Target,
    /// A file of cases, or a directory of such files, instead of the built-in ones
    #[arg(long, value_name = "FILE|DIR")]
    cases: Option<PathBuf>,
    /// Seed of the random cuts
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only cases whose id contains this
    #[arg(long, value_name = "SUBSTR")]
    filter: Option<String>,
    /// Name every case
    #[arg(long)]
    verbose: bool,
}

impl Check {
    pub(crate) fn run(self) -> Result<ExitCode, Problem> {
        let Target::Core = self.target;
        let mut cases = match &self.cases {
            Some(path) => Cases::from_path(path),
            None => Cases::built_in(),
        }
        .map_err(Problem::new)?;
        let deviations = Deviations::built_in().map_err(Problem::new)?;
        if let Some(wanted) = &self.filter {
            cases.retain(|case| case.id().contains(wanted));
            if cases.is_empty() {
                return Err(Problem::new(format!("no case has {wanted:?} in its id")));
            }
        }
        let verdicts: Vec<_> =
            cases.iter().map(|case| suite::check(case, self.seed, &deviations)).collect();
        // Only the whole of the built-in cases shows that an entry has no case.
        let complete = self.cases.is_none() && self.filter.is_none();
        let stale = if complete {
            deviations.without_case(cases.iter().map(sinew_conformance::case::Case::id))
        } else {
            Vec::new()
        };
        let report = Report { verdicts: &verdicts, stale, verbose: self.verbose };
        write!(std::io::stdout().lock(), "{report}").map_err(Problem::new)?;
        Ok(ExitCode::from(u8::from(report.failed() > 0)))
    }
}
