//! The steps of the transcript. Each looks at what came of it.

use std::time::{Duration, Instant};

use http::StatusCode;
use sinew_core::policy::Mode;
use sinew_core::resilience::{BreakerConfig, BreakerState, HedgeConfig};
use sinew_tokio::{ErrorKind, RestClient};

use super::backend::{Backend, Mood};
use super::narrator::Narrator;
use crate::transcript::{Outcome, Transcript, ensure};

/// A breaker that has no patience, so that the transcript is short.
const BREAKER: BreakerConfig = BreakerConfig {
    mode: Mode::Enforce,
    consecutive: 3,
    window: Duration::from_secs(10),
    minimum_calls: 20,
    failure_percent: 50,
    slow: Duration::from_secs(20),
    slow_percent: 80,
    open_min: Duration::from_millis(300),
    open_max: Duration::from_millis(300),
    retry_after_max: Duration::from_secs(60),
    probes: 1,
    lease: Duration::from_secs(30),
};

/// Runs all steps.
///
/// # Errors
///
/// The first thing that did not go as it should.
pub async fn run() -> Outcome {
    let mut transcript = Transcript::default();
    retries(&mut transcript).await?;
    repeated(&mut transcript).await?;
    budget(&mut transcript).await?;
    breaker(&mut transcript).await?;
    endpoints(&mut transcript).await?;
    hedges(&mut transcript).await?;
    deadline(&mut transcript).await?;
    explained(&mut transcript).await?;
    println!("\nAll {} steps went as they should.", transcript.steps());
    Ok(())
}

/// A client of one backend, and what it decides.
fn observed(backend: &Backend) -> Outcome<(RestClient, Narrator)> {
    let narrator = Narrator::default();
    let builder = RestClient::builder(format!("http://{}", backend.address)).allow_plaintext();
    Ok((builder.observe(narrator.listen()).build()?, narrator))
}

fn tell(transcript: &Transcript, narrator: &Narrator) {
    narrator.take().into_iter().for_each(|words| transcript.saw(words));
}

async fn retries(transcript: &mut Transcript) -> Outcome {
    transcript.step("Retry: what was refused was not done, and is asked again");
    let backend = Backend::start(Mood::Refuses(2)).await?;
    let (client, narrator) = observed(&backend)?;
    let response = client.post("/").body("an order").send().await?;
    let status = response.status();
    response.text().await?;
    tell(transcript, &narrator);
    ensure(status == StatusCode::OK && backend.asked() == 3, "200 at the third attempt")
}

async fn repeated(transcript: &mut Transcript) -> Outcome {
    transcript
        .step("No retry: what may have been done is not done twice, unless a key makes it safe");
    let backend = Backend::start(Mood::Fails).await?;
    let (client, narrator) = observed(&backend)?;
    client.post("/").body("an order").send().await?.text().await?;
    tell(transcript, &narrator);
    ensure(backend.asked() == 1, "one attempt")?;
    transcript.saw("with an Idempotency-Key:");
    client.post("/").body("an order").mint_idempotency_key().send().await?.text().await?;
    tell(transcript, &narrator);
    ensure(backend.asked() == 3, "three attempts")
}

async fn budget(transcript: &mut Transcript) -> Outcome {
    const CALLS: u32 = 60;
    transcript.step("Budget: a service in trouble is not asked three times as often");
    let backend = Backend::start(Mood::Fails).await?;
    let builder = RestClient::builder(format!("http://{}", backend.address)).allow_plaintext();
    let builder = builder.breaker(BreakerConfig { mode: Mode::Off, ..BreakerConfig::default() });
    let client = builder.build()?;
    for _ in 0..CALLS {
        client.get("/").send().await?.text().await?;
    }
    let asked = backend.asked();
    let left = client.explain();
    transcript.saw(format!("{CALLS} calls, {asked} attempts; without a budget {}", CALLS * 3));
    transcript.saw(format!(
        "the throttle has {} of 10 tokens left, and lets retries through above 5",
        left.millitokens / 1000
    ));
    ensure(asked < CALLS * 5 / 4, "a few retries in all")
}

async fn breaker(transcript: &mut Transcript) -> Outcome {
    transcript.step("Breaker: who fails is left alone, and found well again by a probe");
    let backend = Backend::start(Mood::Fails).await?;
    let narrator = Narrator::default();
    let builder = RestClient::builder(format!("http://{}", backend.address)).allow_plaintext();
    let client = builder.breaker(BREAKER).observe(narrator.listen()).build()?;
    client.get("/").send().await?.text().await?;
    tell(transcript, &narrator);
    let asked = backend.asked();
    let refused = client.get("/").send().await;
    ensure(
        matches!(&refused, Err(error) if matches!(error.kind(), ErrorKind::Refused(_))),
        "a refusal without an attempt",
    )?;
    if let Err(error) = refused {
        transcript.saw(format!("the next call: {error}; delivery: {:?}", error.delivery()));
    }
    ensure(backend.asked() == 0, "nobody knocks")?;
    narrator.take();
    backend.becomes(Mood::Well);
    let open = |state: &BreakerState| matches!(state, BreakerState::Open { .. });
    let broken = client.explain().endpoints.iter().filter(|one| open(&one.breaker)).count();
    transcript
        .saw(format!("explain(): {broken} endpoint with an open breaker, after {asked} attempts"));
    tokio::time::sleep(BREAKER.open_max * 3 / 2).await;
    client.get("/").send().await?.text().await?;
    tell(transcript, &narrator);
    let closed = |state: &BreakerState| *state == BreakerState::Closed;
    ensure(client.explain().endpoints.iter().all(|one| closed(&one.breaker)), "a closed breaker")
}

async fn endpoints(transcript: &mut Transcript) -> Outcome {
    const CALLS: u32 = 40;
    transcript.step("Endpoints: one of two dies, and no call is lost");
    let (dying, other) = (Backend::start(Mood::Well).await?, Backend::start(Mood::Well).await?);
    let addresses = [dying.address.to_string(), other.address.to_string()];
    let client = RestClient::builder("http://service.internal")
        .allow_plaintext()
        .endpoints(addresses)
        .breaker(BREAKER)
        .build()?;
    for _ in 0..CALLS {
        client.get("/").send().await?.text().await?;
    }
    transcript.saw(format!("both well: {} and {} of {CALLS} calls", dying.asked(), other.asked()));
    dying.dies().await;
    for _ in 0..CALLS {
        client.get("/").send().await?.text().await?;
    }
    let served = other.asked();
    transcript.saw(format!("one dead: {served} of {CALLS} calls, all answered"));
    for one in client.explain().endpoints {
        let (number, breaker, cost) = (one.endpoint.0, one.breaker, one.cost);
        transcript.saw(format!("endpoint {number}: cost {cost}, breaker {breaker:?}"));
    }
    ensure(served == CALLS, "every call answered by the other one")
}

async fn hedges(transcript: &mut Transcript) -> Outcome {
    const CALLS: u32 = 300;
    transcript.step("Hedge: an answer that takes long is asked for elsewhere");
    let slow = Mood::Stutters(Duration::from_millis(150));
    for mode in [Mode::Off, Mode::Enforce] {
        let (one, two) = (Backend::start(slow).await?, Backend::start(slow).await?);
        let hedge = HedgeConfig { mode, percent: 10, ..HedgeConfig::default() };
        let client = RestClient::builder("http://service.internal")
            .allow_plaintext()
            .endpoints([one.address.to_string(), two.address.to_string()])
            .hedge(hedge)
            .build()?;
        let mut took = Vec::new();
        for _ in 0..CALLS {
            let began = Instant::now();
            client.get("/").send().await?.text().await?;
            took.push(began.elapsed());
        }
        took.sort_unstable();
        let late = took.iter().filter(|took| **took >= Duration::from_millis(150)).count();
        let asked = one.asked() + two.asked();
        let p98 = took.get(took.len() * 98 / 100).copied().unwrap_or_default();
        let hedging = if mode == Mode::Off { "without" } else { "with" };
        transcript.saw(format!(
            "{hedging}: {CALLS} calls, {asked} requests, {late} took 150 ms or more, p98 {p98:.1?}"
        ));
        // Times are shown, and not relied on: the machine may be busy.
        let hedged = asked.checked_sub(CALLS).ok_or("fewer requests than calls")?;
        ensure((hedged > 0) == (mode == Mode::Enforce), "hedges where they are asked for")?;
    }
    Ok(())
}

async fn deadline(transcript: &mut Transcript) -> Outcome {
    transcript.step("Deadline: the error says where the time went, and how far the request got");
    let backend = Backend::start(Mood::Hangs).await?;
    let (client, narrator) = observed(&backend)?;
    let call = client.get("/").timeout(Duration::from_millis(200));
    let Err(error) = call.send().await else {
        return Err("an answer of a backend that hangs".into());
    };
    tell(transcript, &narrator);
    transcript.saw(format!(
        "{error}; phase: {:?}, delivery: {:?}, attempts: {}",
        error.phase(),
        error.delivery(),
        error.attempts()
    ));
    ensure(error.is_timeout(), "a timeout")
}

async fn explained(transcript: &mut Transcript) -> Outcome {
    transcript.step("Explain: an answer and an error say what became of their call, and why");
    let (one, two) =
        (Backend::start(Mood::Refuses(1)).await?, Backend::start(Mood::Refuses(1)).await?);
    let client = RestClient::builder("http://service.internal")
        .allow_plaintext()
        .endpoints([one.address.to_string(), two.address.to_string()])
        .build()?;
    let response = client.post("/").body("an order").explain().send().await?;
    let explanation = response.explanation().map(ToString::to_string).unwrap_or_default();
    explanation.lines().for_each(|line| transcript.saw(line));
    ensure(response.attempts() > 1 && explanation.contains(" later "), "a retry, explained")?;
    response.text().await?;
    let fails = Backend::start(Mood::Hangs).await?;
    let (client, _) = observed(&fails)?;
    let call = client.get("/").timeout(Duration::from_millis(100)).explain();
    let Err(error) = call.send().await else {
        return Err("an answer of a backend that hangs".into());
    };
    let explanation = error.explanation().map(ToString::to_string).unwrap_or_default();
    explanation.lines().for_each(|line| transcript.saw(line));
    // On a busy machine it comes in the wait for a connection: then no attempt was cut by it.
    ensure(explanation.contains("deadline exceeded in the "), "a deadline, explained")
}
