//! The limiter beside governor: time and memory of known clients; and under a flood of invented ones.

use std::error::Error;
use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::Mutex;
use std::time::Duration;

use governor::clock::FakeRelativeClock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::DashMapStateStore;
use sinew_core::limit::{
    Charge, KeyHasher, Outcome, Quota, QuotaId, RateLimiter, RateLimiterConfig, Verdict,
};
use sinew_core::time::Instant;

type Result<T> = std::result::Result<T, Box<dyn Error>>;
type Governor =
    governor::RateLimiter<u64, DashMapStateStore<u64>, FakeRelativeClock, NoOpMiddleware<Nanos>>;

/// Known clients.
const KNOWN: u64 = 1_000_000;

/// Bytes for them: nine slots in ten are taken.
const BYTES: usize = 14_450_000;

/// Checks of a round; the two limiters take turns.
const CHECKS: u64 = 4_000_000;

const ROUNDS: usize = 5;

/// Keys that ask once each, while a few clients are known.
const STRANGERS: u64 = 62_000_000;

/// Clients that go on asking through the flood.
const REGULARS: u64 = 10_000;

/// Networks that the strangers come from.
const NETWORKS: u64 = 64;

fn main() -> Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("known") => known(),
        Some("flood") => flood(),
        _ => Err("usage: limiter known | flood".into()),
    }
}

/// Behind a lock, as a driver guards it.
struct Sinew {
    limiter: Mutex<RateLimiter>,
    hasher: KeyHasher,
}

impl Sinew {
    fn new(bytes: usize, quota: Quota) -> Result<Self> {
        let limiter = RateLimiter::new(&RateLimiterConfig { bytes }, [(quota, true)])?;
        Ok(Self { limiter: Mutex::new(limiter), hasher: KeyHasher::new([7; 16]) })
    }

    fn check(&self, now: Instant, network: u64, key: u64) -> Outcome {
        let (prefix, key) = self.hasher.hash_within(network, key);
        let charge = Charge::Keyed { quota: QuotaId(0), key, prefix };
        let mut limiter = self.limiter.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        limiter.check(now, 1, &[charge])
    }
}

/// A cheap generator of keys.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((u128::from(self.0) * u128::from(sides)) >> 64) as u64
    }
}

/// A million clients, none of whom can be forgotten, ask in random order. Neither limiter reads a
/// clock.
fn known() -> Result<()> {
    let burst = NonZeroU32::new(1_000_000).ok_or("no burst")?;
    let hour = Duration::from_secs(3600);
    let before = resident()?;
    let sinew = Sinew::new(BYTES, Quota::new(1, hour, burst.get())?)?;
    for key in 0..KNOWN {
        if sinew.check(Instant::ZERO, 0, key).verdict != Verdict::Allowed {
            return Err("a client is not let in".into());
        }
    }
    let sinew_bytes = resident()? - before;
    let before = resident()?;
    let quota = governor::Quota::with_period(hour).ok_or("no period")?.allow_burst(burst);
    let clock = FakeRelativeClock::default();
    let governor: Governor = Governor::dashmap_with_clock(quota, clock);
    for key in 0..KNOWN {
        governor.check_key(&key).map_err(|_| "a client is not let in")?;
    }
    let governor_bytes = resident()? - before;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS as u64 {
        let (mut dice, started) = (Dice(round), std::time::Instant::now());
        for _ in 0..CHECKS {
            let _ = black_box(sinew.check(Instant::ZERO, 0, dice.roll(KNOWN)));
        }
        ours.push(started.elapsed());
        let (mut dice, started) = (Dice(round), std::time::Instant::now());
        for _ in 0..CHECKS {
            let _ = black_box(governor.check_key(&dice.roll(KNOWN)));
        }
        theirs.push(started.elapsed());
    }
    let ratios = ours.iter().zip(&theirs).map(|(ours, theirs)| ours.div_duration_f64(*theirs));
    let mut ratios: Vec<f64> = ratios.collect();
    ratios.sort_by(f64::total_cmp);
    let median = |times: &mut Vec<Duration>| {
        times.sort();
        times[ROUNDS / 2].as_nanos() as f64 / CHECKS as f64
    };
    println!("{:<12}{:>14}{:>18}", "1 M clients", "ns a check", "bytes a client");
    for (name, times, bytes) in
        [("sinew", &mut ours, sinew_bytes), ("governor", &mut theirs, governor_bytes)]
    {
        println!("{name:<12}{:>14.1}{:>18.1}", median(times), bytes as f64 / KNOWN as f64);
    }
    println!("ratio of times, {ROUNDS} rounds: {:.2} to {:.2}", ratios[0], ratios[ROUNDS - 1]);
    Ok(())
}

/// Clients go on asking while strangers come twice as fast as the table can forget them. What they
/// are told is compared with what a limiter tells them that saw no stranger.
fn flood() -> Result<()> {
    let quota = Quota::new(100, Duration::from_secs(60), 20)?;
    let bytes = RateLimiterConfig::default().bytes;
    let (flooded, quiet) = (Sinew::new(bytes, quota)?, Sinew::new(bytes, quota)?);
    let mut now = Instant::ZERO;
    // One of them has nothing left, and is back all the time.
    let spent = u64::MAX;
    for _ in 0..20 {
        for limiter in [&flooded, &quiet] {
            let _ = limiter.check(now, u64::MAX, spent);
        }
    }
    for regular in 0..REGULARS {
        for limiter in [&flooded, &quiet] {
            let _ = limiter.check(now, u64::MAX, regular);
        }
    }
    let before = resident()?;
    let (mut asked, mut differ, mut let_through) = (0u64, 0u64, 0u64);
    let started = std::time::Instant::now();
    for stranger in 0..STRANGERS {
        now = now + Duration::from_nanos(500);
        let outcome = flooded.check(now, stranger % NETWORKS, REGULARS + stranger);
        let_through += u64::from(outcome.verdict == Verdict::Allowed);
        // Each regular comes twice a second, which is more than its quota.
        if stranger % 100 == 0 {
            let regular = (stranger / 100) % REGULARS;
            let key = if regular == 0 { spent } else { regular };
            let told = flooded.check(now, u64::MAX, key);
            differ += u64::from(told != quiet.check(now, u64::MAX, key));
            asked += 1;
        }
    }
    let elapsed = started.elapsed();
    println!(
        "{STRANGERS} strangers from {NETWORKS} networks in {:?} of the clock",
        now - Instant::ZERO
    );
    println!("let through             {let_through}");
    println!("requests of regulars    {asked}, told otherwise than without the flood: {differ}");
    println!("peak memory, MiB        {:.1}, before {:.1}", mib(peak()?), mib(before));
    println!("ns a stranger           {:.0}", elapsed.as_nanos() as f64 / STRANGERS as f64);
    if differ > 0 { Err("the flood was felt".into()) } else { Ok(()) }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn resident() -> Result<u64> {
    status("VmRSS:")
}

fn peak() -> Result<u64> {
    status("VmHWM:")
}

/// Bytes, as the kernel counts them.
fn status(field: &str) -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)).ok_or("no such field")?;
    Ok(line.split_whitespace().next().ok_or("no number")?.parse::<u64>()? << 10)
}
