//! `sinew overload`: a real server that is offered more than it can do, on any runtime.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Method;
use sinew_conformance::network::adapter::{Adapter, Work, both};
use sinew_core::http1;
use sinew_core::jitter::Jitter;
use sinew_core::limit::{AdmissionConfig, ConcurrencyConfig};
use sinew_core::policy::{Mode, Priority};
use sinew_core::resilience::{BreakerConfig, RetryPolicy};
use sinew_core::time::Instant;
use sinew_driver::server::Conn;
use sinew_driver::{
    Request, RestClient, RestClientConfig, RestServer, RouteOptions, Runtime, ServerBuilder, Spawn,
    Task, Threads,
};
use sinew_tls::Tls;

use super::Problem;

/// Arguments of `sinew overload`.
#[derive(clap::Args)]
pub(crate) struct Overload {
    /// The runtime; all of them, if unsaid
    #[arg(long, value_enum)]
    runtime: Option<Adapter>,
    /// Seconds of each of the two phases
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(2..=600))]
    seconds: u32,
    /// Requests that are served at once
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    places: u32,
    /// Milliseconds that a request takes, half of it more or less
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(2..=10_000))]
    work: u32,
    /// What is offered, as a multiple of the capacity
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=20))]
    times: u32,
}

/// What each priority is of all that is offered, in percent, the least important first.
const OFFERED: [u32; Priority::ALL.len()] = [35, 25, 25, 10, 5];

/// Capacity that is allowed to be lost, in percent.
const LOST: u64 = 10;

impl Overload {
    pub(crate) fn run(&self) -> Result<ExitCode, Problem> {
        let all = [Adapter::Tokio, Adapter::Smol, Adapter::AsyncStd];
        let runtimes = self.runtime.map_or_else(|| all.to_vec(), |one| vec![one]);
        let mut kept = true;
        for runtime in runtimes {
            let show = Show {
                time: Duration::from_secs(self.seconds.into()),
                places: self.places,
                work: Duration::from_millis(self.work.into()),
                times: self.times,
            };
            let name = format!("{runtime:?}").to_lowercase();
            let figures = runtime.run(show).map_err(Problem::new)??;
            kept &= figures.print(&name, show)?;
        }
        Ok(if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// At once, both ends in one process: below the usual hard limit of descriptors.
const CONNECTIONS: usize = 8_192;

/// Percent, by priority: of what is critical more than is offered, on a busy machine too.
const SHARES: [u8; Priority::ALL.len()] = [5, 10, 25, 20, 40];

/// What is shown.
#[derive(Clone, Copy)]
struct Show {
    time: Duration,
    places: u32,
    work: Duration,
    times: u32,
}

impl Show {
    /// Requests a second that the server can do.
    fn capacity(&self) -> u64 {
        u64::from(self.places) * 1_000 / u64::try_from(self.work.as_millis()).unwrap_or(1).max(1)
    }

    fn server<R: Runtime>(&self, runtime: &R) -> ServerBuilder<R, Threads> {
        let (initial, max) = (self.places, self.places);
        let config = AdmissionConfig {
            concurrency: ConcurrencyConfig { initial, max, ..ConcurrencyConfig::default() },
            // The defaults are for requests of 10 ms: what has a share of some places waits in its line
            // for as long as they take.
            target: AdmissionConfig::default().target.max(self.work / 2),
            interval: AdmissionConfig::default().interval.max(self.work * 10),
            patience: AdmissionConfig::default().patience.max(self.work * 20),
            shares: SHARES,
            ..AdmissionConfig::default()
        };
        let mut builder = RestServer::<R>::builder_on(runtime.clone())
            .listen("127.0.0.1:0")
            .allow_plaintext()
            .overload(config);
        let config = builder.config_mut();
        (config.max_connections, config.max_connections_per_address) = (CONNECTIONS, CONNECTIONS);
        let spread = Arc::new(Mutex::new(Jitter::new(7)));
        for priority in Priority::ALL {
            let (runtime, spread, work) = (runtime.clone(), Arc::clone(&spread), self.work);
            let options = RouteOptions::new().priority(priority);
            builder =
                builder.route_with(Method::GET, path(priority), options, move |_: Request| {
                    let mut spread = spread.lock().unwrap_or_else(PoisonError::into_inner);
                    let takes = spread.between(work / 2, work * 3 / 2);
                    let sleep = runtime.sleep_until(runtime.now() + takes);
                    async move {
                        sleep.await;
                        "done"
                    }
                });
        }
        builder
    }
}

fn path(priority: Priority) -> &'static str {
    match priority {
        Priority::Bulk => "/bulk",
        Priority::Low => "/low",
        Priority::Normal => "/normal",
        Priority::High => "/high",
        Priority::Critical => "/critical",
    }
}

impl Work for Show {
    type Outcome = Result<Figures, Problem>;

    async fn on<R>(self, runtime: R) -> Self::Outcome
    where
        R: Runtime
            + Spawn<Task>
            + Spawn<Conn<http1::Server, R, Threads>>
            + Spawn<Conn<Tls<http1::Server>, R, Threads>>,
    {
        let server = self.server(&runtime).bind().await.map_err(Problem::new)?;
        let address = server.local_addrs().first().copied();
        let address = address.ok_or_else(|| Problem::new("the server has no address"))?;
        // It takes what it is answered, and says so: what the server does is what is shown.
        let off = ConcurrencyConfig { mode: Mode::Off, ..ConcurrencyConfig::default() };
        let url = format!("http://{address}");
        // Who waits, waits at the server, and not for a connection.
        let config = RestClientConfig {
            max_connections: CONNECTIONS,
            max_connections_per_host: CONNECTIONS,
            max_pending: CONNECTIONS,
            ..RestClientConfig::new(&url)
        };
        let client = RestClient::<R>::builder(&url)
            .config(config)
            .allow_plaintext()
            .connect_timeout(Duration::from_secs(20))
            .retry(RetryPolicy { attempts: 1, ..RetryPolicy::default() })
            .admission(off)
            .breaker(BreakerConfig { mode: Mode::Off, ..BreakerConfig::default() })
            .build_on(runtime.clone())
            .map_err(Problem::new)?;
        let handle = server.handle();
        let phases = async {
            let offered = self.capacity() * u64::from(self.times);
            let rates = OFFERED.map(|share| offered * u64::from(share) / 100);
            let [.., critical] = rates;
            let alone = offer(&runtime, &client, [0, 0, 0, 0, critical], self.time).await;
            let together = offer(&runtime, &client, rates, self.time).await;
            drop(client);
            handle.stop(Duration::from_secs(10)).await;
            Figures { alone, together }
        };
        Ok(both(server.serve(), phases).await.1)
    }
}

/// Requests of one priority.
#[derive(Clone, Debug, Default)]
struct Tally {
    offered: u64,
    served: u64,
    shed: u64,
    failed: u64,
    /// Of those that were served, from the moment when they were due.
    latencies: Vec<Duration>,
}

impl Tally {
    fn latency(&self, thousandth: usize) -> Duration {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let at = (sorted.len() * thousandth / 1_000).min(sorted.len().saturating_sub(1));
        sorted.get(at).copied().unwrap_or_default()
    }

    /// Of a thousand.
    fn answered(&self) -> u64 {
        self.served * 1_000 / self.offered.max(1)
    }
}

type Tallies = [Tally; Priority::ALL.len()];

/// Sends requests at these rates a second, whatever becomes of them, and waits for all answers.
async fn offer<R: Runtime + Spawn<Task>>(
    runtime: &R,
    client: &RestClient<R>,
    rates: [u64; Priority::ALL.len()],
    time: Duration,
) -> Tallies {
    let tallies = Arc::new(Mutex::new(Tallies::default()));
    let mut jitter = Jitter::new(11);
    let start = runtime.now();
    let gap = |jitter: &mut Jitter, rate: u64| {
        Duration::from_nanos(jitter.below(2_000_000_000 / rate.max(1)))
    };
    let mut due: [Option<Instant>; Priority::ALL.len()] =
        rates.map(|rate| (rate > 0).then(|| start + gap(&mut jitter, rate)));
    while let Some(next) = due.iter().flatten().min().copied().filter(|at| *at < start + time) {
        if next > runtime.now() {
            runtime.sleep_until(next).await;
        }
        for ((priority, rate), at) in Priority::ALL.into_iter().zip(rates).zip(&mut due) {
            while let Some(since) = at.filter(|at| *at <= next) {
                *at = Some(since + gap(&mut jitter, rate));
                lock(&tallies)[priority as usize].offered += 1;
                runtime.spawn(ask(runtime, client, priority, since, &tallies));
            }
        }
    }
    while Arc::strong_count(&tallies) > 1 {
        runtime.sleep_until(runtime.now() + Duration::from_millis(10)).await;
    }
    std::mem::take(&mut *lock(&tallies))
}

fn ask<R: Runtime>(
    runtime: &R,
    client: &RestClient<R>,
    priority: Priority,
    since: Instant,
    tallies: &Arc<Mutex<Tallies>>,
) -> Task {
    let call = client.get(path(priority));
    let (runtime, tallies) = (runtime.clone(), Arc::clone(tallies));
    Box::pin(async move {
        let status = match call.send().await {
            Ok(answer) => {
                let status = answer.status().as_u16();
                answer.text().await.ok().map(|_| status)
            }
            Err(_) => None,
        };
        let took = runtime.now().saturating_since(since);
        let mut tallies = lock(&tallies);
        let tally = &mut tallies[priority as usize];
        match status {
            Some(200) => {
                tally.served += 1;
                tally.latencies.push(took);
            }
            Some(503) => tally.shed += 1,
            _ => tally.failed += 1,
        }
    })
}

fn lock(tallies: &Mutex<Tallies>) -> std::sync::MutexGuard<'_, Tallies> {
    tallies.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What came of it.
struct Figures {
    alone: Tallies,
    together: Tallies,
}

impl Figures {
    /// Prints all, and says whether what was promised was kept.
    fn print(&self, runtime: &str, show: Show) -> Result<bool, Problem> {
        let mut out = std::io::stdout().lock();
        let mut say = |line: String| writeln!(out, "{line}").map_err(Problem::new);
        let capacity = show.capacity();
        say(format!("{runtime}: {capacity} a second can be done, {} x is offered", show.times))?;
        say(format!(
            "{:10}{:>9}{:>9}{:>9}{:>9}{:>10}{:>10}",
            "", "offered", "served", "503", "failed", "p50 ms", "p99 ms"
        ))?;
        let millis = |time: Duration| format!("{:.1}", time.as_secs_f64() * 1e3);
        let line = |name: &str, tally: &Tally| {
            let Tally { offered, served, shed, failed, .. } = tally;
            let (p50, p99) = (millis(tally.latency(500)), millis(tally.latency(990)));
            format!("{name:10}{offered:>9}{served:>9}{shed:>9}{failed:>9}{p50:>10}{p99:>10}")
        };
        let [.., alone] = &self.alone;
        say(line("alone", alone))?;
        for (priority, tally) in Priority::ALL.into_iter().zip(&self.together) {
            say(line(priority.name(), tally))?;
        }
        let mut kept = true;
        for (what, is) in self.promises(capacity * show.time.as_secs()) {
            kept &= is;
            say(format!("{} {what}", if is { "kept  " } else { "BROKEN" }))?;
        }
        say(String::new())?;
        Ok(kept)
    }

    fn promises(&self, all: u64) -> Vec<(String, bool)> {
        let [bulk, low, normal, high, critical] = &self.together;
        let [.., alone] = &self.alone;
        let served: u64 = self.together.iter().map(|tally| tally.served).sum();
        let (p99, before) = (critical.latency(990), alone.latency(990));
        let answered = [bulk, low, normal, high, critical].map(Tally::answered);
        let has_share = |(tally, share): (&Tally, u8)| {
            let sure = (served * u64::from(share) / 100).min(tally.offered);
            tally.served * 100 >= sure * 95
        };
        let goodput = served * 100 / all.max(1);
        vec![
            (
                format!("critical is answered: {} of 1,000, 990 at least", critical.answered()),
                critical.answered() >= 990,
            ),
            (
                format!("its p99 is at most twice as long: {p99:.1?}, alone {before:.1?}"),
                p99 <= before * 2,
            ),
            (
                format!("bulk is shed first: answered of 1,000, by priority: {answered:?}"),
                answered.is_sorted(),
            ),
            (
                "nobody has less than 95 % of a guaranteed share".to_owned(),
                self.together.iter().zip(SHARES).all(has_share),
            ),
            (
                format!("goodput: {goodput} % of the capacity, {} at least", 100 - LOST),
                goodput >= 100 - LOST,
            ),
            (
                "nothing but 200 and 503".to_owned(),
                self.together.iter().chain(&self.alone).all(|tally| tally.failed == 0),
            ),
        ]
    }
}
