//! `sinew follow`: what a client learns of the endpoints of a service, and whether its calls notice.

use core::future::poll_fn;
use core::pin::Pin;
use core::time::Duration;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_core::Stream as _;
use sinew_conformance::network::adapter::{Adapter, Work, until};
use sinew_core::time::Instant;
use sinew_discovery::dns::{DnsSource, DnsTimes, ResolverConfig};
use sinew_discovery::{EndpointSetConfig, FileSource, News, Source, follow};
use sinew_driver::{Datagrams, RestClient, Runtime, Signals, Spawn, Task};

use super::Problem;

/// Whom the requests are for.
const SERVICE: &str = "http://service.test";

/// A call that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(5);

/// Arguments of `sinew follow`.
#[derive(clap::Args)]
pub(crate) struct Follow {
    /// The runtime
    #[arg(long, value_enum)]
    runtime: Adapter,
    #[command(flatten)]
    what: What,
    /// The name server, in place of those of /etc/resolv.conf
    #[arg(long, value_name = "ADDRESS:PORT")]
    server: Vec<SocketAddr>,
    /// Milliseconds between two looks, at least
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    least: u64,
    /// Seconds for which the last good list is kept
    #[arg(long, default_value_t = 3_600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    keep: u64,
    /// Calls a second to the endpoints, from the first list on; none is tried again
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=10_000))]
    rate: u32,
    /// Who makes them; each has one call at a time
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=256))]
    clients: u32,
}

/// Where the endpoints are listed.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct What {
    /// A file that lists them
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// A host with addresses, and the port of all of them
    #[arg(long, value_name = "NAME:PORT", value_parser = host)]
    dns: Option<(String, u16)>,
    /// A service with hosts and ports
    #[arg(long, value_name = "NAME")]
    srv: Option<String>,
}

fn host(text: &str) -> Result<(String, u16), String> {
    let (name, port) = text.rsplit_once(':').ok_or("no NAME:PORT")?;
    Ok((name.to_owned(), port.parse().map_err(|_| "no port")?))
}

impl Follow {
    pub(crate) fn run(self) -> Result<ExitCode, Problem> {
        let signals = Signals::listen().map_err(Problem::new)?;
        self.runtime.run(Following { arguments: self, signals }).map_err(Problem::new)?
    }
}

struct Following {
    arguments: Follow,
    signals: Signals,
}

impl Work for Following {
    type Outcome = Result<ExitCode, Problem>;

    async fn on<R>(self, runtime: R) -> Self::Outcome
    where
        R: Datagrams + Spawn<Task>,
    {
        let Self { arguments, mut signals } = self;
        let client = RestClient::<R>::builder(SERVICE).allow_plaintext();
        let client = client.build_on(runtime.clone()).map_err(Problem::new)?;
        client.forget_endpoints();
        let least = Duration::from_millis(arguments.least);
        let of_dns = |source: DnsSource<R>| {
            let source = source.times(DnsTimes { least, ..DnsTimes::default() });
            if arguments.server.is_empty() {
                return source;
            }
            // One that is down is noticed soon.
            source.servers(ResolverConfig {
                servers: arguments.server.clone(),
                timeout: Duration::from_secs(1),
                ..ResolverConfig::default()
            })
        };
        let tally = Arc::<Tally>::default();
        let watch =
            Watch { runtime: &runtime, client: &client, arguments: &arguments, tally: &tally };
        let told = async {
            poll_fn(|cx| Pin::new(&mut signals).poll_next(cx)).await;
        };
        match &arguments.what {
            What { file: Some(path), .. } => {
                until(watch.over(FileSource::new(runtime.clone(), path).every(least)), told).await;
            }
            What { dns: Some((name, port)), .. } => {
                let source = DnsSource::addresses(runtime.clone(), name, *port);
                until(watch.over(of_dns(source.map_err(Problem::new)?)), told).await;
            }
            What { srv: Some(name), .. } => {
                let source = DnsSource::services(runtime.clone(), name);
                until(watch.over(of_dns(source.map_err(Problem::new)?)), told).await;
            }
            What { .. } => return Err(Problem::new("nothing to follow")),
        }
        tally.stop.store(true, Ordering::Relaxed);
        if arguments.rate > 0 {
            say(&tally.report());
        }
        Ok(if tally.failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

struct Watch<'a, R: Runtime> {
    runtime: &'a R,
    client: &'a RestClient<R>,
    arguments: &'a Follow,
    tally: &'a Arc<Tally>,
}

impl<R: Runtime> Watch<'_, R> {
    async fn over(&self, source: impl Source) {
        let keep = Duration::from_secs(self.arguments.keep);
        let config = EndpointSetConfig { keep, ..EndpointSetConfig::default() };
        let started = self.runtime.now();
        let mut calling = self.arguments.rate == 0;
        let report = |news: News| {
            let after = self.runtime.now() - started;
            say(&format!("{:7.2} s  {news}", after.as_secs_f64()));
            if matches!(news, News::Changed { .. }) && !std::mem::replace(&mut calling, true) {
                self.call();
            }
        };
        follow(self.runtime, self.client, source, config, report).await;
    }

    /// Starts those who call.
    fn call(&self) {
        let pace = Duration::from_secs(1) * self.arguments.clients / self.arguments.rate.max(1);
        for _ in 0..self.arguments.clients {
            let (runtime, client) = (self.runtime.clone(), self.client.clone());
            let tally = Arc::clone(self.tally);
            self.runtime.spawn(Box::pin(call(runtime, client, pace, tally)));
        }
    }
}

/// Calls at its pace until it is told to stop.
async fn call<R: Runtime>(runtime: R, client: RestClient<R>, pace: Duration, tally: Arc<Tally>) {
    let mut due = runtime.now();
    while !tally.stop.load(Ordering::Relaxed) {
        let mut alarm = runtime.sleep_until(due);
        poll_fn(|cx| Pin::new(&mut alarm).poll(cx)).await;
        // Who fell behind does not hurry.
        let asked: Instant = runtime.now();
        due = (due + pace).max(asked);
        let answer = match client.get("/plain").timeout(PATIENCE).no_retry().send().await {
            Ok(answer) if answer.status().is_success() => answer.bytes().await.map(drop),
            Ok(answer) => {
                tally.count(Some(answer.status().to_string()));
                continue;
            }
            Err(why) => Err(why),
        };
        tally.count(answer.err().map(|why| why.to_string()));
    }
}

/// What became of all calls.
#[derive(Default)]
struct Tally {
    stop: AtomicBool,
    /// By what was seen; nothing, where there is an answer.
    seen: Mutex<BTreeMap<Option<String>, u64>>,
}

impl Tally {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Option<String>, u64>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, trouble: Option<String>) {
        *self.lock().entry(trouble).or_default() += 1;
    }

    fn failed(&self) -> bool {
        self.lock().keys().any(Option::is_some)
    }

    fn report(&self) -> String {
        let seen = self.lock();
        let failed: u64 =
            seen.iter().filter_map(|(what, count)| what.as_ref().map(|_| count)).sum();
        let answered = seen.get(&None).copied().unwrap_or_default();
        let mut report = format!("{answered} calls answered, {failed} failed");
        for (what, count) in seen.iter().filter_map(|(what, count)| Some((what.as_ref()?, count))) {
            let _ = write!(report, "\n  {count} x {what}");
        }
        report
    }
}

/// One line, at once: somebody may wait for it.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // Whoever started it may not listen any more.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
