//! `sinew storm`: what the client's policies do to a mesh, in virtual time.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use sinew_conformance::fleet::scenario::Scenario;
use sinew_conformance::fleet::shows::{Run, Show};

use super::Problem;

/// Arguments of `sinew storm`.
#[derive(clap::Args)]
pub(crate) struct Storm {
    /// What to show: refuse, stall, rates, dip, recovery, partial, hedging; all of it, if unsaid
    #[arg(value_parser = show)]
    shows: Vec<Show>,
    /// Clients; each makes 10 calls a second, where nothing else is said
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(10..=100_000))]
    clients: u32,
    /// The same seed gives the same decisions
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Storm {
    pub(crate) fn run(self) -> Result<ExitCode, Problem> {
        let shows = if self.shows.is_empty() { Show::ALL.to_vec() } else { self.shows };
        print!("{LEGEND}");
        for show in shows {
            table(show, show.runs(self.clients), self.seed)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

const LEGEND: &str = "\
load       attempts for each call, failed dials included: in the first second of the outage, and from the
           second one on
good       calls that started in the outage and got a good answer
shed       calls that started in the outage and were refused by their own client
good 10 s  calls of the first 10 s after the outage that got a good answer; of the minute after it
95 % at    the first second after the outage in which 95 % of the calls got a good answer
peak       the most attempts of a tenth of a second after the outage, in those that calls need alone
p50, p99   of the good answers to calls that started in the outage
x real     simulated time in real time, on this machine
digest     of all decisions in their order: the same for the same seed
Where there is no outage, its columns show the minute after the warm-up.

";

/// Runs a show, and writes a line for each run as soon as it is over.
fn table(show: Show, runs: Vec<Run>, seed: u64) -> Result<(), Problem> {
    let mut out = std::io::stdout().lock();
    let mut say = |line: String| writeln!(out, "{line}").map_err(Problem::new);
    say(format!("{}: {}\n", show.name(), show.title()))?;
    let columns = COLUMNS.map(|(name, width)| format!("{name:>width$}"));
    say(format!("{:36}{}", "", columns.concat()))?;
    for run in runs {
        let scenario = Scenario { seed, ..run.scenario };
        let cells = cells(&scenario)?;
        let cells: Vec<String> =
            COLUMNS.iter().zip(cells).map(|((_, width), cell)| format!("{cell:>width$}")).collect();
        say(format!("{:36}{}", run.name, cells.concat()))?;
    }
    say(String::new())
}

const COLUMNS: [(&str, usize); 12] = [
    ("load 1st s", 12),
    ("load 2+ s", 11),
    ("good", 9),
    ("shed", 9),
    ("good 10 s", 11),
    ("good after", 12),
    ("95 % at", 9),
    ("peak", 9),
    ("p50 ms", 8),
    ("p99 ms", 8),
    ("x real", 8),
    ("digest", 18),
];

fn cells(scenario: &Scenario) -> Result<[String; COLUMNS.len()], Problem> {
    let started = Instant::now();
    let figures = scenario.run().map_err(Problem::new)?;
    let took = started.elapsed();
    let (after, first) = (scenario.after(), Duration::from_secs(1));
    let during = if scenario.outage.lasts.is_zero() { after.clone() } else { scenario.during() };
    let percent = |share: f64| format!("{:.2} %", share * 100.0);
    let times = |load: f64| format!("{load:.2} x");
    let millis = |latency: Duration| format!("{:.1}", latency.as_secs_f64() * 1e3);
    let simulated = (after.end - sinew_core::time::Instant::ZERO).as_secs_f64();
    Ok([
        times(figures.load(&Scenario::first(&during, first))),
        times(figures.load(&Scenario::from_second(&during, 1))),
        percent(figures.goodput(&during)),
        percent(figures.shed(&during)),
        percent(figures.goodput(&Scenario::first(&after, Duration::from_secs(10)))),
        percent(figures.goodput(&after)),
        figures.recovery(&after).map_or_else(|| "never".to_owned(), |at| format!("{at} s")),
        times(figures.peak(&after)),
        millis(figures.latency(&during, 500)),
        millis(figures.latency(&during, 990)),
        format!("{:.0}", simulated / took.as_secs_f64()),
        format!("{:016x}", figures.digest()),
    ])
}

fn show(text: &str) -> Result<Show, String> {
    let found = Show::ALL.into_iter().find(|show| show.name() == text);
    found.ok_or_else(|| {
        "neither refuse, stall, rates, dip, recovery, partial nor hedging".to_owned()
    })
}
