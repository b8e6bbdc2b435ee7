//! `sinew check`: runs cases.

use core::num::NonZeroUsize;
use core::time::Duration;
use std::io::Write as _;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::process::ExitCode;

use sinew_conformance::deviations::Deviations;
use sinew_conformance::load::Cases;
use sinew_conformance::network::conversation::Patience;
use sinew_conformance::network::foreign;
use sinew_conformance::record;
use sinew_conformance::report::Report;
use sinew_conformance::suite;

use super::Problem;

/// What the cases run against.
#[derive(Clone, Copy)]
enum Target {
    /// The bare machines, without a socket.
    Core,
    /// A server that is not ours.
    Foreign(SocketAddr),
}

/// Arguments of `sinew check`.
#[derive(clap::Args)]
pub(crate) struct Check {
    /// What the cases run against: core, or the HOST:PORT of any server
    #[arg(long, default_value = "core", value_parser = target)]
    target: Target,
    /// Send hostile requests to a HOST:PORT that is not on this machine
    #[arg(long)]
    i_may_test_this_host: bool,
    /// How long a server may take to answer, or to close
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    answer_timeout: Duration,
    /// How long a server is watched that has nothing to answer yet
    #[arg(long, value_name = "SECONDS", default_value = "0.3", value_parser = seconds)]
    silence: Duration,
    /// Conversations at a time
    #[arg(long, default_value = "8")]
    jobs: NonZeroUsize,
    /// A file of cases, or a directory of such files, instead of the built-in ones
    #[arg(long, value_name = "FILE|DIR")]
    cases: Option<PathBuf>,
    /// Seed of the random cuts
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only cases whose id contains this
    #[arg(long, value_name = "SUBSTR")]
    filter: Option<String>,
    /// Write a line of JSON for each case
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Name every case
    #[arg(long)]
    verbose: bool,
}

impl Check {
    pub(crate) fn run(self) -> Result<ExitCode, Problem> {
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
        let verdicts = match self.target {
            Target::Core => {
                cases.iter().map(|case| suite::check(case, self.seed, &deviations)).collect()
            }
            Target::Foreign(address) => {
                if !address.ip().is_loopback() && !self.i_may_test_this_host {
                    let what = "is not on this machine: say --i-may-test-this-host if you may";
                    return Err(Problem::new(format!("{address} {what}")));
                }
                let patience = Patience { answer: self.answer_timeout, silence: self.silence };
                suite::side_by_side(&cases, self.jobs, |case| {
                    foreign::check(case, address, patience)
                })
            }
        };
        if let Some(path) = &self.json {
            let at = |e| Problem::new(format!("{}: {e}", path.display()));
            std::fs::write(path, record::lines(&verdicts)).map_err(at)?;
        }
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

fn target(text: &str) -> Result<Target, String> {
    if text == "core" {
        return Ok(Target::Core);
    }
    let address = text.to_socket_addrs().ok().and_then(|mut found| found.next());
    address.map(Target::Foreign).ok_or_else(|| "neither core nor a HOST:PORT".to_owned())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|e| e.to_string())
}
