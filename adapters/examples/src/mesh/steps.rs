//! The steps of the transcript. Each looks at what came of it.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use sinew_core::client::dispatcher::Endpoint;
use sinew_core::mesh::{Algorithm, BalanceConfig, BalancePolicy, ProbeConfig, RingConfig};
use sinew_discovery::{EndpointSetConfig, FileSource, News, follow};
use sinew_tokio::{ActiveChecks, RestClient, ServiceEndpoint, TokioRuntime};
use tokio::sync::mpsc;

use super::watch::Watch;
use crate::client::backend::{Backend, Mood};
use crate::transcript::{Outcome, Transcript, ensure};

/// How long something may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// The endpoints that a client is built with, in the order in which they were given.
const FIRST: [Endpoint; 3] = [Endpoint(0), Endpoint(1), Endpoint(2)];

/// Runs all steps.
///
/// # Errors
///
/// The first thing that did not go as it should.
pub async fn run() -> Outcome {
    let mut transcript = Transcript::default();
    Box::pin(balancers(&mut transcript)).await?;
    Box::pin(keys(&mut transcript)).await?;
    Box::pin(sick(&mut transcript)).await?;
    Box::pin(discovered(&mut transcript)).await?;
    println!("\nAll {} steps went as they should.", transcript.steps());
    Ok(())
}

async fn three() -> Outcome<[Backend; 3]> {
    let start = || Box::pin(Backend::start(Mood::Well));
    Ok([start().await?, start().await?, start().await?])
}

/// So many calls at once, until there were that many. How long each took, sorted.
async fn calls(client: &RestClient, at_once: usize, calls: usize) -> Outcome<Vec<Duration>> {
    let callers = (0..at_once).map(async |_| {
        let mut took = Vec::new();
        for _ in 0..calls / at_once {
            let began = Instant::now();
            let response = client.get("/").send().await?;
            ensure(response.status() == 200, "200")?;
            response.text().await?;
            took.push(began.elapsed());
        }
        Outcome::Ok(took)
    });
    let mut took: Vec<_> = try_join_all(callers).await?.into_iter().flatten().collect();
    took.sort_unstable();
    Ok(took)
}

fn explain(transcript: &Transcript, client: &RestClient, watch: &Watch) {
    let listed = client.endpoints();
    for one in client.explain().endpoints {
        let address = listed.iter().find(|(endpoint, _)| *endpoint == one.endpoint);
        let address = address.map_or("no longer listed", |(_, told)| told.address.as_str());
        let state = match (one.retired, one.down, one.ejected, one.ready) {
            (true, ..) => "retired",
            (_, true, ..) => "down",
            (_, _, true, _) => "ejected",
            (.., true) => "ready",
            _ => "not ready",
        };
        let (name, breaker) = (watch.name(one.endpoint), one.breaker);
        transcript.saw(format!(
            "explain(): {name} at {address}: {state}, cost {}, breaker {breaker:?}",
            one.cost
        ));
    }
}

async fn balancers(transcript: &mut Transcript) -> Outcome {
    const CALLS: usize = 600;
    transcript
        .step("Balancing: of three servers C takes 20 ms longer, and A is to have twice the share");
    transcript.saw("                         A     B     C    p50     p99");
    let backends = three().await?;
    backends[2].becomes(Mood::Slow(Duration::from_millis(20)));
    let mut shares = Vec::new();
    for algorithm in [
        Algorithm::RoundRobin,
        Algorithm::WeightedRoundRobin,
        Algorithm::LeastRequest,
        Algorithm::PeakEwma(BalanceConfig::default()),
    ] {
        let watch = Watch::default();
        let weights = [2, 1, 1];
        let endpoints = backends.iter().zip(weights).map(|(backend, weight)| {
            ServiceEndpoint::new(backend.address.to_string()).weight(weight)
        });
        let client = RestClient::builder("http://service.internal")
            .allow_plaintext()
            .endpoints(endpoints)
            .balance(BalancePolicy { algorithm, ..BalancePolicy::default() })
            .observe(watch.listen())
            .build()?;
        let took = calls(&client, 6, CALLS).await?;
        let sent = watch.sent();
        let [a, b, c] = FIRST.map(|endpoint| sent.to(endpoint));
        let quantile = |percent| took.get(CALLS * percent / 100).copied().unwrap_or_default();
        let (p50, p99) = (quantile(50), quantile(99));
        transcript
            .saw(format!("{:<20} {a:>5} {b:>5} {c:>5} {p50:>7.1?} {p99:>7.1?}", algorithm.name()));
        ensure(a + b + c == CALLS, "no attempt too many")?;
        shares.push([a, b, c]);
    }
    let third = CALLS / 3;
    // Where its endpoint has no connection with room yet, a call may go where there is one.
    let about = |share: usize, of: usize| share.abs_diff(of) <= CALLS / 20;
    ensure(shares[0].iter().all(|share| about(*share, third)), "a third each, in turns")?;
    ensure(about(shares[1][0], CALLS / 2), "as many as the weights say")?;
    ensure(shares[2][2] < third / 2, "few calls for who has many on their way")?;
    ensure(shares[3][2] < third / 2, "few calls for who is slow")
}

async fn keys(transcript: &mut Transcript) -> Outcome {
    transcript.step("Keys: what belongs together goes to one place, whoever asks");
    let backends = three().await?;
    let client = |watch: &Watch| {
        RestClient::builder("http://service.internal")
            .allow_plaintext()
            .endpoints(backends.iter().map(|backend| backend.address.to_string()))
            .balance(BalancePolicy {
                algorithm: Algorithm::RingHash(RingConfig::default()),
                ..BalancePolicy::default()
            })
            .observe(watch.listen())
            .build()
    };
    let (here, there) = (Watch::default(), Watch::default());
    for client in [client(&here)?, client(&there)?] {
        for session in 0..100_u32 {
            for _ in 0..2 {
                client.get("/").hash_key(session.to_le_bytes()).send().await?.text().await?;
            }
        }
    }
    let (here, there) = (here.sent(), there.sent());
    transcript.saw(format!("200 calls of 100 sessions by one client: {here}"));
    transcript.saw(format!("the same by another one: {there}"));
    let same = |endpoint: &Endpoint| here.to(*endpoint) == there.to(*endpoint);
    ensure(FIRST.iter().all(same), "the same places for both")?;
    ensure(FIRST.iter().all(|endpoint| here.to(*endpoint) > 0), "a share for each")
}

async fn sick(transcript: &mut Transcript) -> Outcome {
    transcript.step("Checks: who is sick is left alone before a call finds out, and comes back");
    let backends = three().await?;
    let watch = Watch::default();
    let timing = ProbeConfig {
        interval: Duration::from_millis(400),
        timeout: Duration::from_millis(300),
        ..ProbeConfig::default()
    };
    let client = RestClient::builder("http://service.internal")
        .allow_plaintext()
        .endpoints(backends.iter().map(|backend| backend.address.to_string()))
        .health_checks(ActiveChecks { timing, ..ActiveChecks::http("/") })
        .observe(watch.listen())
        .build()?;
    calls(&client, 3, 30).await?;
    let [_, sick, _] = FIRST;
    let down = || {
        let endpoints = client.explain().endpoints;
        endpoints.iter().any(|one| one.endpoint == sick && one.down)
    };
    backends[1].becomes(Mood::Fails);
    until(down).await?;
    watch.sent();
    calls(&client, 3, 60).await?;
    let sent = watch.sent();
    explain(transcript, &client, &watch);
    transcript.saw(format!("60 calls: {sent}"));
    ensure(sent.to(sick) == 0, "no call for who is sick")?;
    backends[1].becomes(Mood::Well);
    until(|| !down()).await?;
    watch.sent();
    calls(&client, 3, 300).await?;
    let sent = watch.sent();
    transcript.saw(format!("well again, 300 calls: {sent}"));
    ensure(sent.to(sick) > 0, "a share for who is well again")
}

/// Puts a list in place, whole.
fn list(path: &Path, backends: &[&Backend]) -> Outcome {
    let addresses: Vec<_> = backends.iter().map(|one| format!("\"{}\"", one.address)).collect();
    put(path, &format!("{{\"endpoints\": [{}]}}", addresses.join(", ")))
}

fn put(path: &Path, text: &str) -> Outcome {
    let new = path.with_extension("new");
    fs::write(&new, text)?;
    Ok(fs::rename(new, path)?)
}

/// Waits for something that is to come.
async fn until(holds: impl Fn() -> bool) -> Outcome {
    let began = Instant::now();
    while !holds() {
        ensure(began.elapsed() < PATIENCE, "what was waited for")?;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// By which number the client knows a server.
fn number(client: &RestClient, backend: &Backend) -> Outcome<Endpoint> {
    let (address, listed) = (backend.address.to_string(), client.endpoints());
    let found = listed.into_iter().find(|(_, told)| told.address == address);
    found.map(|(endpoint, _)| endpoint).ok_or_else(|| "a server that is not listed".into())
}

async fn discovered(transcript: &mut Transcript) -> Outcome {
    transcript.step("Discovery: a file lists two servers, then three");
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("service.json");
    let [a, b, c] = three().await?;
    list(&path, &[&a, &b])?;
    let watch = Watch::behind_the_url();
    let client = RestClient::builder("http://service.internal")
        .allow_plaintext()
        .observe(watch.listen())
        .build()?;
    // Until there is a list, there is nobody to ask.
    client.forget_endpoints();
    let (tell, mut told) = mpsc::unbounded_channel();
    let source = FileSource::new(TokioRuntime::default(), &path).every(Duration::from_millis(20));
    let following = client.clone();
    let task = tokio::spawn(async move {
        let (runtime, config) = (TokioRuntime::default(), EndpointSetConfig::default());
        follow(&runtime, &following, source, config, |news| drop(tell.send(news))).await;
    });
    let mut news = async || -> Outcome<News> {
        let news = tokio::time::timeout(PATIENCE, told.recv()).await?;
        news.ok_or_else(|| "nobody follows".into())
    };
    let changed = |news: &News, many: usize| {
        ensure(matches!(news, News::Changed { total, .. } if *total == many), "another list")
    };
    for backends in [&[&a, &b][..], &[&a, &b, &c]] {
        list(&path, backends)?;
        let told = news().await?;
        transcript.saw(format!("the file: {told}"));
        changed(&told, backends.len())?;
    }
    watch.sent();
    calls(&client, 3, 300).await?;
    let sent = watch.sent();
    transcript.saw(format!("300 calls: {sent}"));
    let found = client.endpoints();
    ensure(found.iter().all(|(endpoint, _)| sent.to(*endpoint) > 0), "a share for each")?;

    transcript.step("One dies: the file does not know it yet, and no call is lost");
    watch.words();
    let dead = number(&client, &b)?;
    transcript.saw(format!("{} dies", watch.name(dead)));
    b.dies().await;
    calls(&client, 3, 300).await?;
    transcript.saw(format!("300 calls, all answered; attempts: {}", watch.sent()));
    for words in watch
        .words()
        .into_iter()
        .filter(|words| words.contains("breaker") || words.contains("worse"))
    {
        transcript.saw(words);
    }
    explain(transcript, &client, &watch);

    transcript.step("The file drops it, breaks, and is put right");
    list(&path, &[&a, &c])?;
    let told = news().await?;
    transcript.saw(format!("the file: {told}"));
    changed(&told, 2)?;
    put(&path, "{\"endpoints\": [")?;
    let told = news().await?;
    transcript.saw(format!("the file: {told}"));
    ensure(matches!(told, News::Failed { age: Some(_), .. }), "a list that is kept")?;
    watch.words();
    calls(&client, 1, 4).await?;
    watch.words().into_iter().for_each(|words| transcript.saw(words));
    ensure(watch.sent().to(dead) == 0, "no attempt at who is gone")?;
    explain(transcript, &client, &watch);
    let other = Box::pin(Backend::start(Mood::Well)).await?;
    list(&path, &[&a, &c, &other])?;
    let told = news().await?;
    transcript.saw(format!("the file: {told}"));
    changed(&told, 3)?;
    let told = news().await?;
    transcript.saw(format!("the file: {told}"));
    ensure(matches!(told, News::Back(_)), "a source that is back")?;
    calls(&client, 3, 300).await?;
    task.abort();
    let sent = watch.sent();
    transcript.saw(format!("300 calls: {sent}"));
    ensure(sent.to(number(&client, &other)?) > 0, "a share for who is new")
}
