//! `sinew check`: runs cases.

use std::io::Write as _;
#[cfg(feature = "sockets")]
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::process::ExitCode;

#[cfg(feature = "sockets")]
use clap::ValueEnum as _;
use sinew_conformance::case::Subject;
use sinew_conformance::deviations::Deviations;
use sinew_conformance::load::Cases;
#[cfg(feature = "sockets")]
use sinew_conformance::network::adapter::Adapter;
use sinew_conformance::record;
use sinew_conformance::report::Report;
use sinew_conformance::suite::{self, Verdict};

use super::Problem;
#[cfg(feature = "sockets")]
use super::sockets::{Sockets, Url};

/// What the cases run against.
#[derive(Clone)]
enum Target {
    /// The bare machines, without a socket.
    Core,
    /// Servers and clients of an adapter.
    #[cfg(feature = "sockets")]
    Ours(Adapter),
    /// A server that is not ours.
    #[cfg(feature = "sockets")]
    Foreign(SocketAddr),
    /// A place where a server that is not ours sends back what it is sent.
    #[cfg(feature = "sockets")]
    Echo(Url),
}

/// Arguments of `sinew check`.
#[derive(clap::Args)]
pub(crate) struct Check {
    /// What the cases run against: core; tokio, smol or async-std; the HOST:PORT of any server; or
    /// ws://HOST:PORT/PATH, or wss, where one sends back what it is sent over WebSocket
    #[arg(long, default_value = "core", value_parser = target)]
    target: Target,
    #[cfg(feature = "sockets")]
    #[command(flatten)]
    sockets: Sockets,
    /// A file of cases, or a directory of such files, instead of the built-in ones
    #[arg(long, value_name = "FILE|DIR")]
    cases: Option<PathBuf>,
    /// Only cases about this: http1, cors, websocket
    #[arg(long, value_parser = subject)]
    subject: Option<Subject>,
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
    pub(crate) fn run(mut self) -> Result<ExitCode, Problem> {
        let mut cases = match &self.cases {
            Some(path) => Cases::from_path(path),
            None => Cases::built_in(),
        }
        .map_err(Problem::new)?;
        // Nothing else is spoken there.
        #[cfg(feature = "sockets")]
        if let Target::Echo(_) = self.target {
            self.subject = Some(Subject::WebSocket);
        }
        if let Some(wanted) = self.subject {
            cases.retain(|case| case.subject() == wanted);
            if cases.is_empty() {
                return Err(Problem::new("no case is about that subject"));
            }
        }
        let deviations = Deviations::built_in().map_err(Problem::new)?;
        if let Some(wanted) = &self.filter {
            cases.retain(|case| case.id().contains(wanted));
            if cases.is_empty() {
                return Err(Problem::new(format!("no case has {wanted:?} in its id")));
            }
        }
        let verdicts: Vec<Verdict> = match &self.target {
            Target::Core => {
                cases.iter().map(|case| suite::check(case, self.seed, &deviations)).collect()
            }
            #[cfg(feature = "sockets")]
            Target::Ours(adapter) => {
                self.sockets.check_ours(&cases, *adapter, self.seed, &deviations)?
            }
            #[cfg(feature = "sockets")]
            Target::Foreign(address) => self.sockets.check_foreign(&cases, *address)?,
            #[cfg(feature = "sockets")]
            Target::Echo(url) => self.sockets.check_echo(&cases, url)?,
        };
        if let Some(path) = &self.json {
            let at = |e| Problem::new(format!("{}: {e}", path.display()));
            std::fs::write(path, record::lines(&verdicts)).map_err(at)?;
        }
        // Only the whole of the built-in cases shows that an entry has no case.
        let complete = self.cases.is_none() && self.filter.is_none() && self.subject.is_none();
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

fn subject(text: &str) -> Result<Subject, String> {
    match text {
        "http1" => Ok(Subject::Http1),
        "cors" => Ok(Subject::Cors),
        "websocket" => Ok(Subject::WebSocket),
        _ => Err("neither http1, cors nor websocket".to_owned()),
    }
}

fn target(text: &str) -> Result<Target, String> {
    if text == "core" {
        return Ok(Target::Core);
    }
    #[cfg(feature = "sockets")]
    if let Ok(adapter) = Adapter::from_str(text, false) {
        return Ok(Target::Ours(adapter));
    } else if let Some(address) = text.to_socket_addrs().ok().and_then(|mut all| all.next()) {
        return Ok(Target::Foreign(address));
    } else if let Some(url) = Url::parse(text) {
        return Ok(Target::Echo(url));
    }
    Err("not core, tokio, smol, async-std, HOST:PORT or ws://HOST:PORT/PATH".to_owned())
}
