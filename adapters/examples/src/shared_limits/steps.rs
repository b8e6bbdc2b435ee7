//! The steps of the transcript. Each looks at what came of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use sinew_core::Machine as _;
use sinew_core::limit::{
    Answer, Ask, KeyHash, KeyHasher, LeaseConfig, LeaseVerdict, Leases, Quota, WithoutStore,
};
use sinew_core::time::Instant as Now;
use sinew_driver::LeaseStore as _;
use sinew_redis::RedisStore;
use sinew_smol::SmolRuntime;

use super::load::{Asker, Report, load, quantile};
use super::redis::{Redis, Way, config};
use super::replica::Replica;
use super::{BURST, RATE, SHARE, leases};
use crate::transcript::{Outcome, Transcript, ensure};

/// Requests a second at each of three replicas: ten times what there is, together.
const EACH: u32 = 10 * RATE / 3;

type Store = Arc<RedisStore<SmolRuntime>>;

/// Runs all steps.
///
/// # Errors
///
/// The first thing that did not go as it should.
pub fn run() -> Outcome {
    let mut transcript = Transcript::default();
    let mut redis = Redis::start()?;
    exact(&mut transcript, &redis)?;
    grants(&mut transcript, &redis)?;
    checks(&mut transcript)?;
    let replicas = [
        Replica::start(&redis, "tokio", Way::Tls, "closed")?,
        Replica::start(&redis, "smol", Way::Tcp, "local")?,
        Replica::start(&redis, "async-std", Way::Unix, "open")?,
    ];
    calm(&mut transcript, &replicas)?;
    holds(&mut transcript, &replicas)?;
    killed(&mut transcript, &mut redis, &replicas)?;
    back(&mut transcript, &mut redis, &replicas)?;
    println!("\nAll {} steps went as they should.", transcript.steps());
    Ok(())
}

fn store(redis: &Redis, way: Way, quota: Quota) -> Outcome<Store> {
    let config = config(&redis.url(way), &redis.authority().display().to_string())?;
    Ok(Arc::new(RedisStore::new(SmolRuntime, quota, config)?))
}

fn client(name: &str) -> KeyHash {
    KeyHasher::new([1; 16]).hash(name)
}

fn exact(transcript: &mut Transcript, redis: &Redis) -> Outcome {
    transcript.step("The script counts exactly, whoever asks at once");
    let hour = Quota::new(1, Duration::from_secs(3600), 1_000)?;
    let stores = [
        store(redis, Way::Tls, hour)?,
        store(redis, Way::Tcp, hour)?,
        store(redis, Way::Unix, hour)?,
    ];
    // Sixteen asks at a time over each connection.
    let takers = stores.iter().flat_map(|store| std::iter::repeat_n(store, 16));
    let taken = smol::block_on(join_all(takers.map(async |store| {
        let mut taken = 0;
        loop {
            match store.take(client("ann"), 7).await {
                Answer::Granted { tokens, .. } => taken += tokens,
                Answer::Failed => return Err("an ask failed"),
            }
            let Answer::Granted { tokens: more @ 1.., .. } = store.take(client("ann"), 3).await
            else {
                return Ok(taken);
            };
            taken += more;
        }
    })));
    let taken: u32 = taken.into_iter().sum::<Result<u32, _>>()?;
    transcript.saw(format!("48 takers, three ways in: {taken} of 1000 tokens"));
    ensure(taken == 1_000, "every token once")?;
    let Answer::Granted { tokens: 0, retry_after } =
        smol::block_on(stores[0].take(client("ann"), 1))
    else {
        return Err("a token too many".into());
    };
    let minutes = retry_after.as_secs() / 60;
    transcript.saw(format!("the next one comes in {minutes} minutes, by the clock of Redis"));
    ensure((50..=60).contains(&minutes), "one within the hour")?;
    // The same client after a change of the quota: what is missing is missing.
    let day = store(redis, Way::Tcp, Quota::new(1, Duration::from_secs(86_400), 1_100)?)?;
    let Answer::Granted { tokens, .. } = smol::block_on(day.take(client("ann"), 1_100)) else {
        return Err("an ask failed".into());
    };
    transcript.saw(format!("the quota becomes 1100 a day: {tokens} tokens are there"));
    ensure(tokens == 100, "a hundred more")
}

fn grants(transcript: &mut Transcript, redis: &Redis) -> Outcome {
    const ASKS: usize = 2_000;
    transcript.step("A lease takes one call of the script");
    for way in Way::ALL {
        let store = store(redis, way, Quota::new(1_000_000, Duration::from_secs(1), 1_000_000)?)?;
        let client = client(way.name());
        let mut took = Vec::with_capacity(ASKS);
        for _ in 0..ASKS {
            let began = Instant::now();
            let answer = smol::block_on(store.take(client, 10));
            took.push(began.elapsed());
            ensure(matches!(answer, Answer::Granted { tokens: 10, .. }), "ten tokens")?;
        }
        took.sort_unstable();
        let (p50, p99) = (quantile(&took, 50), quantile(&took, 99));
        transcript.saw(format!("{}: p50 {p50:.0?}, p99 {p99:.0?}", way.name()));
    }
    Ok(())
}

fn checks(transcript: &mut Transcript) -> Outcome {
    const CHECKS: u32 = 1_000_000;
    transcript.step("A check asks nobody: it takes a token from the lease");
    let mut leases = Leases::new(LeaseConfig { observe: false, ..leases(WithoutStore::Closed) })?;
    let names = KeyHasher::new([1; 16]);
    let began = Instant::now();
    let mut took = Vec::with_capacity(CHECKS as usize);
    let (mut asks, mut allowed) = (0, 0);
    for turn in 0..CHECKS {
        let client = names.hash(turn % 1_000);
        let now = Now::from_nanos(u64::try_from(began.elapsed().as_nanos())?);
        let clock = Instant::now();
        let verdict = leases.check(now, 1, client, client.into());
        took.push(clock.elapsed());
        allowed += u32::from(matches!(verdict, LeaseVerdict::Allowed(_)));
        while let Ok(Some(Ask { id, tokens, .. })) = leases.poll_event(now) {
            asks += 1;
            let retry_after = Duration::ZERO;
            leases.handle_answer(now, id, Answer::Granted { tokens, retry_after });
        }
    }
    took.sort_unstable();
    let (p50, p99) = (quantile(&took, 50), quantile(&took, 99));
    transcript
        .saw(format!("1000 clients, {CHECKS} checks, {asks} asks: p50 {p50:.0?}, p99 {p99:.0?}"));
    ensure(allowed == CHECKS && asks <= CHECKS / 4, "one ask for several requests")
}

fn addresses(replicas: &[Replica; 3]) -> [&str; 3] {
    replicas.each_ref().map(|replica| replica.address.as_str())
}

/// Asks so far, and those that were granted.
fn asked(replica: &Replica) -> Outcome<(u64, u64)> {
    let (_, body) = Asker::new(&replica.address)?.get("/asked")?;
    let (asked, granted) = body.split_once(' ').ok_or("no counts")?;
    Ok((asked.parse()?, granted.parse()?))
}

fn all_asked(replicas: &[Replica; 3]) -> Outcome<u64> {
    replicas.iter().map(|replica| Ok(asked(replica)?.0)).sum()
}

fn through(reports: &[Report]) -> u32 {
    reports.iter().map(|report| report.count(200)).sum()
}

fn sent(reports: &[Report]) -> u32 {
    reports.iter().map(Report::sent).sum()
}

fn calm(transcript: &mut Transcript, replicas: &[Replica; 3]) -> Outcome {
    transcript.step("Below the limit: three processes, every request goes on");
    let before = all_asked(replicas)?;
    let reports = load(&addresses(replicas), "/", RATE / 5, Duration::from_secs(3))?;
    let asks = all_asked(replicas)? - before;
    for replica in replicas {
        let Replica { runtime, policy, .. } = replica;
        let said = replica.said().join("; ");
        transcript.saw(format!("{runtime}, {policy} without a store: {said}"));
    }
    let (sent, through) = (sent(&reports), through(&reports));
    transcript.saw(format!("{sent} requests, {through} through, {asks} asks of the store"));
    ensure(through == sent, "no refusal")?;
    ensure(asks * 3 <= u64::from(sent), "one ask for several requests")
}

/// What may get through in this time: what the store has, and at each replica a lease and what is owed.
fn most(lasted: Duration) -> (u32, u32) {
    let config = leases(WithoutStore::Closed);
    let replicas = 3 * (config.tokens + config.ahead);
    (BURST + per(RATE, lasted), replicas)
}

/// So many a second, in this time.
fn per(rate: u32, time: Duration) -> u32 {
    u32::try_from(time.as_millis() * u128::from(rate) / 1_000).unwrap_or(u32::MAX) + 1
}

fn longest(reports: &[Report]) -> Duration {
    reports.iter().map(|report| report.lasted).max().unwrap_or_default()
}

fn held(transcript: &Transcript, reports: &[Report]) -> Outcome {
    let lasted = longest(reports);
    let (has, more) = most(lasted);
    let (sent, through) = (sent(reports), through(reports));
    let seconds = lasted.as_secs_f64();
    transcript.saw(format!(
        "{sent} requests in {seconds:.1} s, {through} through; {RATE} a second and {BURST} at once \
         are {has}, and the error is {more} at most"
    ));
    ensure(sent > 8 * has, "a load of about ten times the limit")?;
    ensure(through <= has + more, "no more than the limit and its error")?;
    ensure(through >= has * 8 / 10, "about as many as the limit")
}

fn holds(transcript: &mut Transcript, replicas: &[Replica; 3]) -> Outcome {
    transcript.step("Ten times the limit: it holds over all three");
    let before = all_asked(replicas)?;
    let reports = load(&addresses(replicas), "/", EACH, Duration::from_secs(6))?;
    let asks = all_asked(replicas)? - before;
    held(transcript, &reports)?;
    transcript.saw(format!("{asks} asks of the store"));
    let free = load(&addresses(replicas), "/free", EACH, Duration::from_secs(3))?;
    for (what, reports) in [("with the quota", &reports), ("without", &free)] {
        let mut took: Vec<_> = reports.iter().flat_map(|report| report.took.clone()).collect();
        took.sort_unstable();
        let (p50, p99) = (quantile(&took, 50), quantile(&took, 99));
        transcript.saw(format!("an answer {what}: p50 {p50:.0?}, p99 {p99:.0?}"));
    }
    ensure(through(&free) == sent(&free), "what costs nothing to go on")
}

fn killed(transcript: &mut Transcript, redis: &mut Redis, replicas: &[Replica; 3]) -> Outcome {
    transcript.step("Redis is killed under load: requests go on, by policy");
    redis.kill()?;
    let reports = load(&addresses(replicas), "/", EACH, Duration::from_secs(4))?;
    let most = leases(WithoutStore::Closed);
    let lease = most.tokens + most.ahead;
    for (replica, report) in replicas.iter().zip(&reports) {
        let [ok, limited, away] = [200, 429, 503].map(|status| report.count(status));
        let p99 = report.quantile(99);
        transcript.saw(format!(
            "{}: {ok} through, {limited} with 429, {away} with 503; p99 {p99:.0?}",
            replica.policy
        ));
        let first = replica.said().into_iter().next().unwrap_or_default();
        transcript.saw(format!("    {first}"));
        let share = per(SHARE, report.lasted);
        match replica.policy {
            "closed" => ensure(ok <= lease && away > 0, "nothing but what was on lease")?,
            "local" => {
                ensure((share / 2..=share + 10 + lease).contains(&ok), "the share of a replica")?;
            }
            _ => ensure(ok >= report.sent() * 9 / 10, "all, but those before it was known")?,
        }
    }
    Ok(())
}

fn back(transcript: &mut Transcript, redis: &mut Redis, replicas: &[Replica; 3]) -> Outcome {
    const PATIENCE: Duration = Duration::from_secs(30);
    transcript.step("Redis is back, with nothing in it: the limit holds again");
    let before: Vec<_> = replicas.iter().map(asked).collect::<Outcome<_>>()?;
    redis.restart()?;
    let began = Instant::now();
    for (replica, (_, granted)) in replicas.iter().zip(before) {
        let mut asker = Asker::new(&replica.address)?;
        while asked(replica)?.1 == granted {
            ensure(began.elapsed() < PATIENCE, "a store that is found again")?;
            asker.get("/")?;
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let found = began.elapsed();
    transcript.saw(format!("all three have asked it again after {found:.1?}"));
    let reports = load(&addresses(replicas), "/", EACH, Duration::from_secs(4))?;
    held(transcript, &reports)
}
