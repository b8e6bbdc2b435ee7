//! Rate limits, beside slow references.

#![expect(clippy::unwrap_used, reason = "outside of `#[test]` too, a test stops where it is wrong")]

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use sinew_core::limit::{
    BadLimiter, BadQuota, Charge, KeyHasher, Outcome, Quota, QuotaId, RateLimiter,
    RateLimiterConfig, TokenBucket, Verdict, Wait,
};
use sinew_core::time::Instant;

const SECOND: u64 = 1_000_000_000;

fn quota(count: u32, seconds: u64, burst: u32) -> Quota {
    Quota::new(count, Duration::from_secs(seconds), burst).unwrap()
}

/// A bucket as the textbook has it: a level that rises with time, in fractions that are exact.
struct Reference {
    /// Tokens times microseconds of the period.
    level: u128,
    at: u128,
    quota: Quota,
}

impl Reference {
    fn new(quota: Quota) -> Self {
        let mut new = Self { level: 0, at: 0, quota };
        new.level = new.full();
        new
    }

    fn ticks(&self) -> u128 {
        self.quota.period().as_micros()
    }

    fn full(&self) -> u128 {
        u128::from(self.quota.burst()) * self.ticks()
    }

    fn advance(&mut self, now: Instant) {
        let now = u128::from(now.as_nanos() / 1000);
        let gained = now.saturating_sub(self.at) * u128::from(self.quota.count());
        self.level = (self.level + gained).min(self.full());
        self.at = self.at.max(now);
    }

    fn take(&mut self, now: Instant, cost: u32) -> bool {
        self.advance(now);
        let cost = u128::from(cost) * self.ticks();
        let fits = cost <= self.level;
        if fits {
            self.level -= cost;
        }
        fits
    }

    fn refund(&mut self, now: Instant, cost: u32) {
        self.advance(now);
        self.level = (self.level + u128::from(cost) * self.ticks()).min(self.full());
    }
}

/// A cheap generator; the seed is the test.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % sides
    }
}

#[test]
fn a_million_steps_agree_with_the_reference() {
    let odd = Quota::new(7, Duration::from_micros(1_234_567), 3).unwrap();
    let quick = Quota::new(99_991, Duration::from_secs(1), 500).unwrap();
    let mut taken = 0u32;
    for (seed, quota) in (1u64..).zip([quota(100, 60, 20), quota(1, 3600, 1), odd, quick]) {
        let mut dice = Dice(seed);
        let (mut bucket, mut reference) = (TokenBucket::new(), Reference::new(quota));
        let mut now = Instant::ZERO;
        let mean = u64::try_from(quota.period().as_nanos()).unwrap() / u64::from(quota.count());
        for step in 0..250_000 {
            now = now + Duration::from_nanos(dice.roll(2 * mean));
            let cost = u32::try_from(dice.roll(u64::from(quota.burst()) + 1)).unwrap();
            if dice.roll(20) == 0 {
                bucket.refund(now, &quota, cost);
                reference.refund(now, cost);
            } else {
                let wait = bucket.take(now, &quota, cost);
                assert_eq!(wait == Wait::No, reference.take(now, cost), "{quota} step {step}");
                taken += u32::from(wait == Wait::No);
            }
            let left = u128::from(bucket.remaining(now, &quota));
            assert_eq!(left, reference.level / reference.ticks(), "{quota} step {step}");
        }
    }
    assert!((100_000..900_000).contains(&taken), "{taken} taken: the test is no test");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Not a moment later, and not a moment earlier.
    #[test]
    fn a_wait_is_exact(
        count in 1u32..5000, seconds in 1u64..5000, burst in 1u32..100,
        steps in vec((0u64..SECOND, 1u32..100), 1..30),
    ) {
        let quota = quota(count, seconds, burst);
        let mut bucket = TokenBucket::new();
        let mut now = Instant::ZERO;
        for (nanos, cost) in steps {
            now = now + Duration::from_nanos(nanos);
            match bucket.take(now, &quota, cost) {
                Wait::No => {}
                Wait::Forever => prop_assert!(cost > burst),
                Wait::For(time) => {
                    let then = Instant::from_nanos(now.as_nanos() / 1000 * 1000) + time;
                    let before = Instant::from_nanos(then.as_nanos() - 1);
                    prop_assert_eq!(bucket.wait(then, &quota, cost), Wait::No);
                    prop_assert_ne!(bucket.wait(before, &quota, cost), Wait::No);
                }
            }
        }
    }

    /// What the table forgets was full, so nobody notices.
    #[test]
    fn a_table_with_room_is_a_bucket_for_each(
        steps in vec((0u64..SECOND, 0u16..300, 1u32..4), 1..400),
    ) {
        let quota = quota(2, 1, 3);
        let hasher = KeyHasher::new([7; 16]);
        let config = RateLimiterConfig { bytes: 24 << 10 };
        let mut limiter = RateLimiter::new(&config, [(quota, true)]).unwrap();
        let mut buckets: BTreeMap<u16, TokenBucket> = BTreeMap::new();
        let mut now = Instant::ZERO;
        for (nanos, client, cost) in steps {
            now = now + Duration::from_nanos(nanos);
            let outcome = limiter.check(now, cost, &[keyed(&hasher, client, 0)]);
            let bucket = buckets.entry(client).or_default();
            let wait = bucket.take(now, &quota, cost);
            prop_assert_eq!(outcome.verdict == Verdict::Allowed, wait == Wait::No);
            prop_assert_eq!(outcome.remaining, bucket.remaining(now, &quota));
            prop_assert_eq!(outcome.reset, bucket.reset(now, &quota));
        }
    }
}

fn keyed(hasher: &KeyHasher, client: u16, prefix: u8) -> Charge {
    Charge::Keyed {
        quota: QuotaId(0),
        key: hasher.hash(client),
        prefix: hasher.group(("prefix", prefix)),
    }
}

#[test]
fn a_bucket_says_what_it_holds() {
    let quota = quota(60, 60, 3);
    let mut bucket = TokenBucket::new();
    let now = Instant::from_nanos(500);
    assert_eq!((bucket.remaining(now, &quota), bucket.reset(now, &quota)), (3, Duration::ZERO));
    assert_eq!(bucket.take(now, &quota, 3), Wait::No);
    assert_eq!(bucket.take(now, &quota, 1), Wait::For(Duration::from_secs(1)));
    assert_eq!(bucket.take(now, &quota, 4), Wait::Forever);
    assert_eq!(bucket.reset(now, &quota), Duration::from_secs(3));
    bucket.refund(now, &quota, 1);
    assert_eq!(bucket.remaining(now, &quota), 1);
    bucket.refund(now, &quota, 100);
    assert_eq!(bucket.remaining(now, &quota), 3, "never more than fits");
}

#[test]
fn a_clock_that_jumps_breaks_nothing() {
    let quota = quota(60, 60, 3);
    let mut bucket = TokenBucket::new();
    let late = Instant::from_nanos(u64::MAX);
    assert_eq!(bucket.take(late, &quota, 3), Wait::No);
    assert_eq!(bucket.remaining(Instant::ZERO, &quota), 0);
    assert_eq!(bucket.wait(Instant::ZERO, &quota, 1), Wait::For(Duration::from_secs(1)));
}

#[test]
fn quotas_that_make_no_sense_are_refused() {
    let second = Duration::from_secs(1);
    for (count, period, burst, why) in [
        (0, second, 1, BadQuota::ZeroCount),
        (1, second, 0, BadQuota::ZeroBurst),
        (1, Duration::ZERO, 1, BadQuota::Period),
        (1, Duration::from_nanos(1_500), 1, BadQuota::Period),
        (999_983, second, 1, BadQuota::Range),
        (1, Duration::from_secs(400_000_000), u32::MAX, BadQuota::Range),
        (1, Duration::MAX, 1, BadQuota::Range),
    ] {
        assert_eq!(Quota::new(count, period, burst), Err(why));
    }
    Quota::new(1_000_000, second, 1).unwrap();
    let config = RateLimiterConfig { bytes: 100 };
    let few = RateLimiter::new(&config, [(quota(1, 1, 1), true)]).err();
    assert_eq!(few, Some(BadLimiter::Bytes));
    let none = RateLimiter::new(&RateLimiterConfig::default(), []).err();
    assert_eq!(none, Some(BadLimiter::NoQuota));
}

#[test]
fn quotas_are_charged_together_or_not_at_all() {
    let hasher = KeyHasher::new([1; 16]);
    let quotas = [(quota(1, 1, 2), true), (quota(1, 60, 3), false)];
    let mut limiter = RateLimiter::new(&RateLimiterConfig::default(), quotas).unwrap();
    let now = Instant::ZERO;
    let both = |client: u16| [keyed(&hasher, client, 0), Charge::Shared(QuotaId(1))];
    let ask = |limiter: &mut RateLimiter, client: u16| -> Outcome {
        limiter.check(now, 1, &both(client))
    };
    assert_eq!(ask(&mut limiter, 1).verdict, Verdict::Allowed);
    let second = ask(&mut limiter, 1);
    assert_eq!((second.verdict, second.quota, second.remaining), (Verdict::Allowed, QuotaId(0), 0));
    // The client has no more; of what all share nothing is taken.
    let third = ask(&mut limiter, 1);
    let wait = Some(Duration::from_secs(1));
    assert_eq!((third.quota, third.verdict), (QuotaId(0), Verdict::Limited { retry_after: wait }));
    let other = ask(&mut limiter, 2);
    assert_eq!((other.verdict, other.quota, other.remaining), (Verdict::Allowed, QuotaId(1), 0));
    let last = ask(&mut limiter, 3);
    let wait = Some(Duration::from_secs(60));
    assert_eq!((last.quota, last.verdict), (QuotaId(1), Verdict::Limited { retry_after: wait }));
    limiter.refund(now, 1, &both(2));
    assert_eq!(ask(&mut limiter, 3).verdict, Verdict::Allowed);
    let much = limiter.check(now, 9, &both(4));
    assert_eq!(much.verdict, Verdict::Limited { retry_after: None });
}

#[test]
fn at_the_cap_newcomers_share_and_the_known_keep_theirs() {
    let hasher = KeyHasher::new([3; 16]);
    let config = RateLimiterConfig { bytes: 64 << 10 };
    let mut limiter = RateLimiter::new(&config, [(quota(1, 3600, 3), true)]).unwrap();
    let room = u32::try_from(limiter.capacity()).unwrap();
    let mut now = Instant::ZERO;
    let charge = |client: u32, prefix: u8| Charge::Keyed {
        quota: QuotaId(0),
        key: hasher.hash(client),
        prefix: hasher.group(("prefix", prefix)),
    };
    // A known client, with one token left of three.
    let known = |limiter: &mut RateLimiter, now| limiter.check(now, 1, &[charge(0, 0)]);
    assert_eq!(known(&mut limiter, now).remaining, 2);
    assert_eq!(known(&mut limiter, now).remaining, 1);
    let mut let_through = 0;
    for stranger in 1..20 * room {
        now = now + Duration::from_micros(1);
        let outcome = limiter.check(now, 1, &[charge(stranger, 9)]);
        let_through += u32::from(outcome.verdict == Verdict::Allowed);
    }
    assert!(let_through <= room + 3, "{let_through} of {room}: inventing names gains nothing");
    assert!(let_through > room * 9 / 10, "{let_through} of {room}");
    assert_eq!(known(&mut limiter, now).remaining, 0);
    assert_ne!(known(&mut limiter, now).verdict, Verdict::Allowed);
    // Another network has its own bucket to share; and with time all are forgotten.
    assert_eq!(limiter.check(now, 1, &[charge(u32::MAX, 10)]).verdict, Verdict::Allowed);
    let later = now + Duration::from_secs(3 * 3600);
    assert_eq!(limiter.in_use(later), 0);
    assert_eq!(limiter.check(later, 1, &[charge(u32::MAX, 9)]).remaining, 2);
}

#[test]
fn nine_tenths_of_the_slots_can_be_used() {
    let hasher = KeyHasher::new([5; 16]);
    let config = RateLimiterConfig { bytes: 1 << 20 };
    let mut limiter = RateLimiter::new(&config, [(quota(1, 3600, 1), true)]).unwrap();
    let clients = limiter.capacity() * 9 / 10;
    for client in 0..clients {
        let key = hasher.hash(client);
        let charge = Charge::Keyed { quota: QuotaId(0), key, prefix: hasher.group("all") };
        let outcome = limiter.check(Instant::ZERO, 1, &[charge]);
        assert_eq!(outcome.verdict, Verdict::Allowed, "{client} of {clients}");
    }
    assert_eq!(limiter.in_use(Instant::ZERO), clients);
    assert!(config.bytes <= 16 * clients, "{} bytes for {clients} clients", config.bytes);
}

/// Clients of a quota that are let in before one is told to wait.
fn let_in(limiter: &mut RateLimiter, quota: QuotaId, hasher: &KeyHasher) -> usize {
    let allowed = |client: &usize| {
        let (prefix, key) = hasher.hash_within("all", client);
        let charge = Charge::Keyed { quota, key, prefix };
        limiter.check(Instant::ZERO, 1, &[charge]).verdict == Verdict::Allowed
    };
    (0..1_000_000).take_while(allowed).count()
}

#[test]
fn memory_goes_where_buckets_stay_and_nobody_crowds_out_another_quota() {
    let hasher = KeyHasher::new([6; 16]);
    let quotas = [(quota(1, 3600, 1), true), (quota(1000, 1, 1), true)];
    let config = RateLimiterConfig { bytes: 1 << 20 };
    let mut limiter = RateLimiter::new(&config, quotas).unwrap();
    let room = limiter.capacity();
    let slow = let_in(&mut limiter, QuotaId(0), &hasher);
    assert!(slow > room * 6 / 10, "{slow} of {room}");
    let quick = let_in(&mut limiter, QuotaId(1), &hasher);
    assert!(quick > room / 5, "{quick} of {room}");
}

#[test]
fn at_the_cap_each_prefix_has_a_bucket_of_its_own() {
    let hasher = KeyHasher::new([8; 16]);
    let config = RateLimiterConfig { bytes: 1 << 20 };
    let mut limiter = RateLimiter::new(&config, [(quota(1, 3600, 1), true)]).unwrap();
    for client in 0..2 * limiter.capacity() {
        let (prefix, key) = hasher.hash_within("crowd", client);
        let charge = Charge::Keyed { quota: QuotaId(0), key, prefix };
        let _ = limiter.check(Instant::ZERO, 1, &[charge]);
    }
    for network in 0..500 {
        for (client, wanted) in [(0, true), (1, false)] {
            let (prefix, key) = hasher.hash_within(network, client);
            let charge = Charge::Keyed { quota: QuotaId(0), key, prefix };
            let verdict = limiter.check(Instant::ZERO, 1, &[charge]).verdict;
            assert_eq!(verdict == Verdict::Allowed, wanted, "client {client} of {network}");
        }
    }
}

#[test]
fn whether_anyone_owes_anything_is_known_at_once() {
    let hasher = KeyHasher::new([2; 16]);
    let quotas = [(quota(1, 1, 2), true)];
    let mut limiter = RateLimiter::new(&RateLimiterConfig::default(), quotas).unwrap();
    let now = Instant::ZERO;
    assert!(limiter.is_idle(now));
    let _ = limiter.peek(now, 1, &[keyed(&hasher, 1, 0)]);
    assert!(limiter.is_idle(now), "nothing was taken");
    let _ = limiter.check(now, 1, &[keyed(&hasher, 1, 0)]);
    let full = now + Duration::from_secs(1);
    assert!(!limiter.is_idle(Instant::from_nanos(full.as_nanos() - 1)) && limiter.is_idle(full));
}
