//! `sinew mesh`: ten real servers, not all of them well, and what each way of balancing makes of them.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Method, StatusCode};
use sinew_conformance::network::adapter::{Adapter, Work};
use sinew_core::http1;
use sinew_core::limit::ConcurrencyConfig;
use sinew_core::mesh::{Algorithm, BalancePolicy, OutlierConfig, ProbeConfig, RingConfig};
use sinew_core::observe::Event;
use sinew_core::policy::Mode;
use sinew_core::resilience::{BreakerConfig, BudgetConfig};
use sinew_core::time::Instant;
use sinew_driver::server::Conn;
use sinew_driver::{
    ActiveChecks, ClientBuilder, Request, RestClient, RestServer, Runtime, ServerHandle,
    ServiceEndpoint, Spawn, Task, Threads,
};
use sinew_tls::Tls;

use super::Problem;

/// Arguments of `sinew mesh`.
#[derive(clap::Args)]
pub(crate) struct Mesh {
    /// The runtime
    #[arg(long, value_enum, default_value = "tokio")]
    runtime: Adapter,
    /// Seconds that each balancer is measured for
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(2..=600))]
    seconds: u32,
    /// Calls a second
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(10..=10_000))]
    rate: u32,
}

/// Endpoints of the service.
const ENDPOINTS: usize = 10;
/// The slow one, the one that fails, and the one that comes when the others are known.
const SLOW: usize = 0;
const FAILING: usize = 1;
const COLD: usize = 2;
/// Those that are well, and known.
const OTHERS: u64 = 7;

/// What a request takes: at an endpoint that is well, at the slow one, and at the new one for a while.
const QUICK: Duration = Duration::from_millis(5);
const LATE: Duration = Duration::from_millis(50);
const COLD_FOR: Duration = Duration::from_secs(2);

/// Calls that are not counted, while the client learns.
const BEFORE: Duration = Duration::from_secs(2);

/// Keys of calls, where the key decides.
const KEYS: u64 = 1_000;

impl Mesh {
    pub(crate) fn run(&self) -> Result<ExitCode, Problem> {
        let show = Show { time: Duration::from_secs(self.seconds.into()), rate: self.rate };
        let kept = self.runtime.run(show).map_err(Problem::new)??;
        Ok(if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

#[derive(Clone, Copy)]
struct Show {
    time: Duration,
    rate: u32,
}

/// How an endpoint behaves, and what it was asked.
#[derive(Debug, Default)]
struct Behaviour {
    /// Milliseconds.
    takes: AtomicU64,
    fails: AtomicBool,
    /// It is new until then, in nanoseconds; 0: it has not been asked yet, and is new from then on.
    cold_until: AtomicU64,
    asked: AtomicU64,
}

struct Backend<R> {
    address: String,
    behaviour: Arc<Behaviour>,
    handle: ServerHandle<R>,
}

impl Work for Show {
    type Outcome = Result<bool, Problem>;

    async fn on<R>(self, runtime: R) -> Self::Outcome
    where
        R: Runtime
            + Spawn<Task>
            + Spawn<Conn<http1::Server, R, Threads>>
            + Spawn<Conn<Tls<http1::Server>, R, Threads>>,
    {
        let mut backends = Vec::new();
        for _ in 0..ENDPOINTS {
            backends.push(backend(&runtime).await?);
        }
        let kept = self.balancers(&runtime, &backends).await?;
        let kept = guard(&runtime, &backends).await? && kept;
        for backend in backends {
            backend.handle.stop(Duration::from_secs(1)).await;
        }
        Ok(kept)
    }
}

/// A server that does as it is told.
async fn backend<R>(runtime: &R) -> Result<Backend<R>, Problem>
where
    R: Runtime
        + Spawn<Task>
        + Spawn<Conn<http1::Server, R, Threads>>
        + Spawn<Conn<Tls<http1::Server>, R, Threads>>,
{
    let behaviour = Arc::new(Behaviour::default());
    let (clock, told) = (runtime.clone(), Arc::clone(&behaviour));
    let work = move |_: Request| {
        let clock = clock.clone();
        let (takes, fails) = told.request(clock.now());
        async move {
            if fails {
                return (StatusCode::SERVICE_UNAVAILABLE, "not well");
            }
            clock.sleep_until(clock.now() + takes).await;
            (StatusCode::OK, "done")
        }
    };
    let told = Arc::clone(&behaviour);
    let health = move |_: Request| {
        let fails = told.fails.load(Ordering::Relaxed);
        async move { if fails { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK } }
    };
    let server = RestServer::<R>::builder_on(runtime.clone())
        .listen("127.0.0.1:0")
        .allow_plaintext()
        .route(Method::GET, "/work", work)
        .route(Method::GET, "/well", health)
        .bind()
        .await
        .map_err(Problem::new)?;
    let address = server.local_addrs().first().map(ToString::to_string);
    let address = address.ok_or_else(|| Problem::new("a server has no address"))?;
    let handle = server.handle();
    let serve: Task = Box::pin(async move {
        server.serve().await;
    });
    runtime.spawn(serve);
    Ok(Backend { address, behaviour, handle })
}

impl Behaviour {
    /// A request is there: what it takes, and whether it fails.
    fn request(&self, now: Instant) -> (Duration, bool) {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let end = (now + COLD_FOR).as_nanos();
        let begun = self.cold_until.compare_exchange(0, end, Ordering::Relaxed, Ordering::Relaxed);
        let is_cold = begun.map_or_else(|until| now.as_nanos() < until, |_| true);
        let takes = Duration::from_millis(self.takes.load(Ordering::Relaxed));
        (if is_cold { LATE } else { takes }, self.fails.load(Ordering::Relaxed))
    }

    /// As it is at the start of a measurement. A warm one is as if it had been asked for long.
    fn reset(&self, takes: Duration, fails: bool, is_cold: bool) {
        let millis = u64::try_from(takes.as_millis()).unwrap_or(u64::MAX);
        self.takes.store(millis, Ordering::Relaxed);
        self.fails.store(fails, Ordering::Relaxed);
        self.cold_until.store(u64::from(!is_cold), Ordering::Relaxed);
        self.asked.store(0, Ordering::Relaxed);
    }
}

/// One line of the table.
struct Line {
    name: &'static str,
    balance: BalancePolicy,
    outliers: Mode,
    /// The slow one is known to be slow.
    weighs: bool,
    /// Half of the endpoints are in the client's zone: the new one, and four that are well.
    zoned: bool,
}

fn lines() -> Vec<Line> {
    let line = |name, algorithm| Line {
        name,
        balance: BalancePolicy { algorithm, ..BalancePolicy::default() },
        outliers: Mode::Off,
        weighs: false,
        zoned: false,
    };
    let ring = Algorithm::RingHash(RingConfig::default());
    vec![
        line("round robin", Algorithm::RoundRobin),
        Line { weighs: true, ..line("weighted, slow one 1/10", Algorithm::WeightedRoundRobin) },
        line("least request", Algorithm::LeastRequest),
        line("ring hash, 1,000 keys", ring),
        line("peak-EWMA (default)", Algorithm::default()),
        Line { outliers: Mode::Enforce, ..line("round robin, ejecting", Algorithm::RoundRobin) },
        Line { outliers: Mode::Enforce, ..line("peak-EWMA, ejecting", Algorithm::default()) },
        Line { zoned: true, ..line("peak-EWMA, own zone first", Algorithm::default()) },
    ]
}

impl Show {
    /// The table. Whether what was promised was kept.
    async fn balancers<R: Runtime + Spawn<Task>>(
        self,
        runtime: &R,
        backends: &[Backend<R>],
    ) -> Result<bool, Problem> {
        say(&format!(
            "{} calls a second to ten endpoints: one takes {LATE:?} and not {QUICK:?}, one answers 503, one \
             is new\nand takes {LATE:?} for its first {COLD_FOR:?}. Breakers and admission are off. Share of \
             the attempts:\n",
            self.rate
        ))?;
        say(&format!(
            "{:28}{:>8}{:>9}{:>8}{:>13}{:>9}{:>9}{:>9}{:>9}",
            "", "slow", "failing", "new", "another one", "p50 ms", "p99 ms", "calls", "failed"
        ))?;
        let mut shares = Vec::new();
        for line in lines() {
            shares.push(self.measure(runtime, backends, &line).await?);
        }
        say("")?;
        let [round_robin, _, least, _, peak, ejecting, ..] = shares[..] else { return Ok(false) };
        let mut kept = true;
        for (what, is) in [
            (
                "round robin is even: nobody has 15 % or more",
                round_robin.iter().all(|share| *share < 150),
            ),
            ("least request sends the slow one less than an even share", least[SLOW] < 90),
            ("peak-EWMA sends the slow one less than 5 %", peak[SLOW] < 50),
            ("and the one that fails less than 2 %", peak[FAILING] < 20),
            ("and the new one less than an even share", peak[COLD] < 90),
            (
                "ejecting, round robin sends the one that fails less than 5 %",
                ejecting[FAILING] < 50,
            ),
        ] {
            kept &= is;
            say(&format!("{} {what}", if is { "kept  " } else { "BROKEN" }))?;
        }
        say("")?;
        Ok(kept)
    }

    /// Prints a line of the table. The share of each endpoint, of a thousand.
    async fn measure<R: Runtime + Spawn<Task>>(
        self,
        runtime: &R,
        backends: &[Backend<R>],
        line: &Line,
    ) -> Result<[u64; ENDPOINTS], Problem> {
        for (at, backend) in backends.iter().enumerate() {
            let takes = if at == SLOW { LATE } else { QUICK };
            backend.behaviour.reset(takes, at == FAILING, at == COLD);
        }
        let endpoint = |at: usize, backend: &Backend<R>| {
            let near = (COLD..=ENDPOINTS / 2 + 1).contains(&at);
            ServiceEndpoint::new(&backend.address)
                .weight(if line.weighs && at == SLOW { 1 } else { 10 })
                .zone(if near || !line.zoned { "here" } else { "there" })
        };
        let all: Vec<_> = backends.iter().enumerate().map(|(at, one)| endpoint(at, one)).collect();
        let known =
            all.iter().enumerate().filter(|(at, _)| *at != COLD).map(|(_, one)| one.clone());
        let client = client::<R>(|builder| {
            builder.endpoints(known).zone("here").balance(line.balance).outlier_detection(
                OutlierConfig { mode: line.outliers, ..OutlierConfig::default() },
            )
        });
        let client = client.build_on(runtime.clone()).map_err(Problem::new)?;
        offer(runtime, &client, self.rate, BEFORE).await;
        for backend in backends {
            backend.behaviour.asked.store(0, Ordering::Relaxed);
        }
        client.update_endpoints(all).map_err(Problem::new)?;
        let mut tally = offer(runtime, &client, self.rate, self.time).await;
        let asked: Vec<u64> =
            backends.iter().map(|one| one.behaviour.asked.load(Ordering::Relaxed)).collect();
        let sum = asked.iter().sum::<u64>().max(1);
        let mut shares = [0; ENDPOINTS];
        for (share, asked) in shares.iter_mut().zip(asked) {
            *share = asked * 1_000 / sum;
        }
        let others = shares.iter().skip(COLD + 1).sum::<u64>() / OTHERS;
        let percent = |share: u64| format!("{}.{} %", share / 10, share % 10);
        let (p50, p99) = (tally.millis(500), tally.millis(990));
        say(&format!(
            "{:28}{:>8}{:>9}{:>8}{:>13}{p50:>9.1}{p99:>9.1}{:>9}{:>9}",
            line.name,
            percent(shares[SLOW]),
            percent(shares[FAILING]),
            percent(shares[COLD]),
            percent(others),
            tally.good.len() as u64 + tally.failed,
            tally.failed,
        ))?;
        Ok(shares)
    }
}

/// A client that has nothing but its balancer: no breaker, no limit, and retries for all.
fn client<R: Runtime>(
    settings: impl FnOnce(ClientBuilder<R>) -> ClientBuilder<R>,
) -> ClientBuilder<R> {
    let builder = RestClient::<R>::builder("http://mesh.test")
        .allow_plaintext()
        .breaker(BreakerConfig { mode: Mode::Off, ..BreakerConfig::default() })
        .budget(BudgetConfig { mode: Mode::Off, ..BudgetConfig::default() })
        .admission(ConcurrencyConfig { mode: Mode::Off, ..ConcurrencyConfig::default() });
    settings(builder)
}

#[derive(Debug, Default)]
struct Tally {
    /// From the moment when the call was due.
    good: Vec<Duration>,
    failed: u64,
}

impl Tally {
    fn millis(&mut self, thousandth: usize) -> f64 {
        self.good.sort_unstable();
        let at = (self.good.len() * thousandth / 1_000).min(self.good.len().saturating_sub(1));
        self.good.get(at).copied().unwrap_or_default().as_secs_f64() * 1e3
    }
}

/// Makes calls at this rate, whatever becomes of them, and waits for all answers.
async fn offer<R: Runtime + Spawn<Task>>(
    runtime: &R,
    client: &RestClient<R>,
    rate: u32,
    time: Duration,
) -> Tally {
    let tally = Arc::new(Mutex::new(Tally::default()));
    let start = runtime.now();
    let gap = Duration::from_secs(1) / rate;
    let mut due = start;
    let mut call = 0;
    while due < start + time {
        if due > runtime.now() {
            runtime.sleep_until(due).await;
        }
        runtime.spawn(ask(runtime, client, call, due, &tally));
        due = due + gap;
        call += 1;
    }
    while Arc::strong_count(&tally) > 1 {
        runtime.sleep_until(runtime.now() + Duration::from_millis(5)).await;
    }
    std::mem::take(&mut *lock(&tally))
}

fn ask<R: Runtime>(
    runtime: &R,
    client: &RestClient<R>,
    number: u64,
    since: Instant,
    tally: &Arc<Mutex<Tally>>,
) -> Task {
    let call = client.get("/work").hash_key((number % KEYS).to_be_bytes());
    let (runtime, tally) = (runtime.clone(), Arc::clone(tally));
    Box::pin(async move {
        let good = match call.send().await {
            Ok(answer) if answer.status().is_success() => answer.text().await.is_ok(),
            Ok(_) | Err(_) => false,
        };
        let took = runtime.now().saturating_since(since);
        let mut tally = lock(&tally);
        if good {
            tally.good.push(took);
        } else {
            tally.failed += 1;
        }
    })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn say(line: &str) -> Result<(), Problem> {
    writeln!(std::io::stdout().lock(), "{line}").map_err(Problem::new)
}

/// Endpoints that fail in the second part: more than may be ejected.
const SICK: usize = 6;

/// More endpoints fail than may be ejected, then probes find all of them down, then they are well again:
/// what the client says to that.
async fn guard<R: Runtime + Spawn<Task>>(
    runtime: &R,
    backends: &[Backend<R>],
) -> Result<bool, Problem> {
    say(&format!(
        "{SICK} of ten endpoints fail from 1 s to 7 s; at most half may be ejected, for 4 s at first; probes \
         ask each of\nthem every 0.9 to 1.1 s from the first call on, two failures for down, two successes \
         for up:\n"
    ))?;
    for backend in backends {
        backend.behaviour.reset(QUICK, false, false);
    }
    let outliers = OutlierConfig { base: Duration::from_secs(4), ..OutlierConfig::default() };
    let timing = ProbeConfig {
        interval: Duration::from_secs(1),
        timeout: Duration::from_millis(800),
        down_after: 2,
        ..ProbeConfig::default()
    };
    let told = Arc::new(Mutex::new(Vec::new()));
    let (clock, keeps, begun) = (runtime.clone(), Arc::clone(&told), runtime.now());
    let client = client::<R>(|builder| {
        builder
            .endpoints(backends.iter().map(|one| &one.address))
            .outlier_detection(outliers)
            .health_checks(ActiveChecks::http("/well").timing(timing))
            .observe(move |event| {
                let now = clock.now();
                lock(&keeps).extend(heard(event).map(|what| (now - begun, what)));
            })
    });
    let client = client.build_on(runtime.clone()).map_err(Problem::new)?;
    let mut all = Tally::default();
    for (sick, seconds) in [(false, 1), (true, 6), (false, 4)] {
        for backend in backends.iter().take(SICK) {
            backend.behaviour.fails.store(sick, Ordering::Relaxed);
        }
        let tally = offer(runtime, &client, 200, Duration::from_secs(seconds)).await;
        all.good.extend(tally.good);
        all.failed += tally.failed;
    }
    let told = std::mem::take(&mut *lock(&told));
    for (at, what) in &told {
        say(&format!("{:>7.2} s  {what}", at.as_secs_f64()))?;
    }
    say(&format!("\n{} calls, {} of them failed", all.good.len() as u64 + all.failed, all.failed))?;
    let said = |start: &str| told.iter().filter(|(_, what)| what.contains(start)).count();
    let mut kept = true;
    for (what, is) in [
        (
            "half of ten are ejected at first, the sixth is spared",
            said("ejected:") >= 5 && said("spared") > 0,
        ),
        ("six down are a panic, and it ends", said("panic") > 0 && said("calm") > 0),
        ("all are well in the end", client.explain().endpoints.iter().all(|one| !one.down)),
    ] {
        kept &= is;
        say(&format!("{} {what}", if is { "kept  " } else { "BROKEN" }))?;
    }
    Ok(kept)
}

/// What is worth a line of the transcript.
fn heard(event: &Event) -> Option<String> {
    Some(match *event {
        Event::Ejected { endpoint, why, .. } => {
            format!("endpoint {} ejected: {}", endpoint.0, why.name())
        }
        Event::EjectionSpared { endpoint, why, .. } => {
            format!("endpoint {} spared, as too few would be left: {}", endpoint.0, why.name())
        }
        Event::EjectionEnded { endpoint, .. } => format!("endpoint {} returns", endpoint.0),
        Event::Probed { endpoint, up, .. } => {
            format!("endpoint {} is {}", endpoint.0, if up { "up" } else { "down" })
        }
        Event::Panic { panics: true, well, all } => {
            format!("panic: {well} of {all} are well, all are asked")
        }
        Event::Panic { panics: false, well, all } => format!("calm: {well} of {all} are well"),
        _ => return None,
    })
}
