//! `sinew check`: runs cases.

use std::fs::File;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use std::{io, thread};

#[cfg(feature = "serve")]
use sinew_conformance::case::Side;
use sinew_conformance::case::{Case, ParseCase, Subject};
use sinew_conformance::deviations::{Deviations, Place};
use sinew_conformance::feed::Way;
use sinew_conformance::judge::Chosen;
use sinew_conformance::load::Cases;
use sinew_conformance::report::Report;
#[cfg(feature = "serve")]
use sinew_conformance::socket::home::{Home, On};
use sinew_conformance::socket::link::Link;
#[cfg(feature = "serve")]
use sinew_conformance::socket::mirror;
use sinew_conformance::socket::talk::{self, Manners};
#[cfg(feature = "serve")]
use sinew_conformance::socket::visit;
use sinew_conformance::suite::{self, CaseResult, Verdict};

use super::Problem;

/// Cases over sockets that run at the same time: most of their time is waiting.
const AT_ONCE: usize = 16;

/// What the cases run against.
#[derive(Clone)]
enum Target {
    Core,
    #[cfg(feature = "serve")]
    Adapter(On),
    Remote(SocketAddr),
}

/// Arguments of `sinew check`.
#[derive(clap::Args)]
pub(crate) struct Check {
    /// What the cases run against: core (the bare machines, without a socket), tokio, smol,
    /// async-std (a server of that adapter), or the HOST:PORT of any server
    #[arg(long, value_name = "TARGET", default_value = "core", value_parser = target)]
    target: Target,
    /// Over TLS: tokio, smol and async-std with a certificate made for the run
    #[cfg(feature = "serve")]
    #[arg(long)]
    tls: bool,
    /// Allows a HOST:PORT that is not on this machine: the cases are attacks
    #[arg(long)]
    i_may_test_this_host: bool,
    /// Milliseconds after which a HOST:PORT that says nothing is taken to have nothing to say
    #[arg(long, value_name = "MS", default_value_t = 3000)]
    patience: u64,
    /// A file of cases, or a directory of such files, instead of the built-in ones
    #[arg(long, value_name = "FILE|DIR")]
    cases: Option<PathBuf>,
    /// Only cases about this: http1, cors
    #[arg(long, value_parser = subject)]
    subject: Option<Subject>,
    /// Seed of the random cuts
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only cases whose id contains this
    #[arg(long, value_name = "SUBSTR")]
    filter: Option<String>,
    /// Name every case
    #[arg(long)]
    verbose: bool,
    /// Write one JSON object for each case, too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Check {
    pub(crate) fn run(self) -> Result<ExitCode, Problem> {
        let mut cases = match &self.cases {
            Some(path) => Cases::from_path(path),
            None => Cases::built_in(),
        }
        .map_err(Problem::new)?;
        if let Some(wanted) = &self.filter {
            cases.retain(|case| case.id().contains(wanted));
            if cases.is_empty() {
                return Err(Problem::new(format!("no case has {wanted:?} in its id")));
            }
        }
        if let Some(wanted) = self.subject {
            cases.retain(|case| case.subject() == wanted);
            if cases.is_empty() {
                return Err(Problem::new("no case is about that subject"));
            }
        }
        // Another server has its own reasons.
        let built_in = || Deviations::built_in().map_err(Problem::new);
        let deviations = match self.target {
            Target::Remote(_) => Deviations::default(),
            Target::Core => built_in()?.seen_on(Place::Machines),
            #[cfg(feature = "serve")]
            Target::Adapter(_) => built_in()?.seen_on(Place::Adapters),
        };
        let verdicts = self.verdicts(&cases, &deviations)?;
        // Only the whole of the built-in cases shows that an entry has no case.
        let complete = self.cases.is_none() && self.filter.is_none() && self.subject.is_none();
        let stale =
            if complete { deviations.without_case(cases.iter().map(Case::id)) } else { Vec::new() };
        let report = Report { verdicts: &verdicts, stale, verbose: self.verbose };
        write!(io::stdout().lock(), "{report}").map_err(Problem::new)?;
        if let Some(path) = &self.json {
            let written = File::create(path).and_then(|mut file| report.write_json(&mut file));
            written.map_err(|e| Problem::new(format!("{}: {e}", path.display())))?;
        }
        Ok(ExitCode::from(u8::from(report.failed() > 0)))
    }

    fn verdicts(&self, cases: &[Case], deviations: &Deviations) -> Result<Vec<Verdict>, Problem> {
        match &self.target {
            Target::Core => {
                Ok(cases.iter().map(|case| suite::check(case, self.seed, deviations)).collect())
            }
            #[cfg(feature = "serve")]
            Target::Adapter(on) => {
                let home = Home::new(*on, self.tls).map_err(Problem::new)?;
                let manners = Manners {
                    mirror: Some(mirror::read),
                    patience: Duration::from_secs(10),
                    silence: Duration::from_millis(200),
                };
                let run = |case: &ParseCase| match (case.side, visit::left_out(case)) {
                    (Side::Request, _) => {
                        result(talk::check(case, &manners, || home.connect(case.limits)))
                    }
                    (Side::Response, Some(reason)) => CaseResult::LeftOut(reason),
                    (Side::Response, None) => result(visit::check(case, &home)),
                };
                Ok(over_sockets(cases, deviations, run))
            }
            Target::Remote(address) => {
                self.may_test(address.ip())?;
                let manners = Manners {
                    mirror: None,
                    patience: Duration::from_millis(self.patience),
                    silence: Duration::from_millis(self.patience.min(300)),
                };
                let run = |case: &ParseCase| match talk::left_out(case) {
                    Some(reason) => CaseResult::LeftOut(reason),
                    None => result(talk::check(case, &manners, || Link::plain(*address))),
                };
                Ok(over_sockets(cases, deviations, run))
            }
        }
    }

    fn may_test(&self, host: IpAddr) -> Result<(), Problem> {
        if host.is_loopback() || self.i_may_test_this_host {
            return Ok(());
        }
        let what = "is not on this machine, and the cases are attacks: see --i-may-test-this-host";
        Err(Problem::new(format!("{host} {what}")))
    }
}

fn target(text: &str) -> Result<Target, String> {
    match text {
        "core" => Ok(Target::Core),
        #[cfg(feature = "serve")]
        "tokio" => Ok(Target::Adapter(On::Tokio)),
        #[cfg(feature = "serve")]
        "smol" => Ok(Target::Adapter(On::Smol)),
        #[cfg(feature = "serve")]
        "async-std" => Ok(Target::Adapter(On::AsyncStd)),
        _ => {
            let found = text.to_socket_addrs().ok().and_then(|mut found| found.next());
            found.map(Target::Remote).ok_or_else(|| {
                "neither core, tokio, smol, async-std nor a HOST:PORT that can be found".to_owned()
            })
        }
    }
}

fn subject(text: &str) -> Result<Subject, String> {
    match text {
        "http1" => Ok(Subject::Http1),
        "cors" => Ok(Subject::Cors),
        _ => Err("neither http1 nor cors".to_owned()),
    }
}

/// Runs the cases, several at a time; the verdicts are in the order of the cases.
fn over_sockets(
    cases: &[Case],
    deviations: &Deviations,
    run: impl Fn(&ParseCase) -> CaseResult + Sync,
) -> Vec<Verdict> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(cases.len()) {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = match case {
                        Case::Parse(parse) => run(parse),
                        Case::Encode(_) => CaseResult::LeftOut("something to send: see core"),
                        Case::Cors(_) => CaseResult::LeftOut("a policy of its own: see core"),
                    };
                    let ways = match result {
                        CaseResult::LeftOut(_) => Vec::new(),
                        _ => vec![Way::Socket],
                    };
                    let verdict = suite::verdict(case, result, ways, deviations);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push(verdict);
                }
            });
        }
    });
    let mut verdicts = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    verdicts.sort_by_key(|verdict| cases.iter().position(|case| case.id() == verdict.case.id()));
    verdicts
}

fn result(played: Result<Chosen, (Vec<String>, String)>) -> CaseResult {
    match played {
        Ok(chosen) => CaseResult::Passed(chosen),
        Err((problems, got)) => CaseResult::Failed { problems, got },
    }
}
