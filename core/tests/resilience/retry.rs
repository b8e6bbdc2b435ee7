//! Backoff, retry and `Retry-After`.

use std::time::Duration;

use http::{Method, StatusCode};
use proptest::prelude::*;
use sinew_core::error::Delivery;
use sinew_core::jitter::Jitter;
use sinew_core::resilience::{
    Attempt, Backoff, BadBackoff, BadRetry, NoRetry, Replay, RetryAfter, RetryFacts, RetryPolicy,
    RetryVerdict, Safety,
};
use sinew_core::time::{Epoch, Instant};

use crate::{at, ms};

const DELIVERIES: [Delivery; 4] =
    [Delivery::NotSent, Delivery::Refused, Delivery::MaybeProcessed, Delivery::Processed];
const SAFETIES: [Safety; 4] = [Safety::Safe, Safety::Idempotent, Safety::Keyed, Safety::Unsafe];

fn facts(attempt: Attempt, safety: Safety) -> RetryFacts {
    let remaining = Duration::from_secs(30);
    RetryFacts { attempts: 1, attempt, safety, replay: Replay::Possible, remaining }
}

fn decide(facts: &RetryFacts) -> RetryVerdict {
    RetryPolicy::default().decide(facts, &mut Jitter::new(7))
}

fn reason(facts: &RetryFacts) -> Option<NoRetry> {
    match decide(facts) {
        RetryVerdict::Retry { .. } => None,
        RetryVerdict::GiveUp(reason) => Some(reason),
    }
}

#[test]
fn the_generator_is_splitmix64() {
    // https://prng.di.unimi.it/splitmix64.c with the state 1234567
    let mut jitter = Jitter::new(1_234_567);
    let numbers = [(); 3].map(|()| jitter.draw());
    let known = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
    assert_eq!(numbers, known);
    assert_eq!([0, 1].map(|bound| jitter.below(bound)), [0, 0]);
}

#[test]
fn backoff_doubles_up_to_its_cap() {
    let longest = |backoff: Backoff| [0, 1, 2, 3, 4, 40, u32::MAX].map(|n| backoff.longest(n));
    assert_eq!(longest(Backoff::MESH), [25, 50, 100, 200, 250, 250, 250].map(ms));
    assert_eq!(longest(Backoff::WAN), [50, 100, 200, 400, 800, 20_000, 20_000].map(ms));
    assert_eq!(Backoff::default(), Backoff::MESH);
}

#[test]
fn jitter_is_full() {
    let mut jitter = Jitter::new(1);
    let waits: Vec<_> = (0..100_000).map(|_| Backoff::MESH.delay(9, &mut jitter)).collect();
    for tenth in 0..10 {
        let range = ms(25 * tenth)..ms(25 * (tenth + 1));
        let share = waits.iter().filter(|wait| range.contains(wait)).count();
        assert!((9_600..10_400).contains(&share), "{share} in {range:?}");
    }
    assert!(waits.iter().all(|wait| *wait <= ms(250)));
}

#[test]
fn senseless_policies_are_refused() {
    let backoff = |base, cap| Backoff { base: ms(base), cap: ms(cap) };
    assert_eq!(backoff(0, 1).check(), Err(BadBackoff::ZeroBase));
    assert_eq!(backoff(2, 1).check(), Err(BadBackoff::CapBelowBase));
    assert_eq!(backoff(2, 2).check(), Ok(()));
    let policy = RetryPolicy::default();
    assert_eq!((policy.check(), policy.attempts), (Ok(()), 3));
    for attempts in [0, 11] {
        assert_eq!(RetryPolicy { attempts, ..policy }.check(), Err(BadRetry::Attempts));
    }
    let bad = RetryPolicy { backoff: backoff(0, 1), ..policy };
    assert_eq!(bad.check(), Err(BadRetry::Backoff(BadBackoff::ZeroBase)));
}

#[test]
fn methods_say_what_happens_twice() {
    for (method, safety) in [
        (Method::GET, Safety::Safe),
        (Method::HEAD, Safety::Safe),
        (Method::OPTIONS, Safety::Safe),
        (Method::PUT, Safety::Idempotent),
        (Method::DELETE, Safety::Idempotent),
        (Method::POST, Safety::Unsafe),
        (Method::PATCH, Safety::Unsafe),
        (Method::CONNECT, Safety::Unsafe),
    ] {
        assert_eq!(Safety::of(&method), safety, "{method}");
        assert!(safety.keyed().is_repeatable(), "{method}");
    }
    assert_eq!([Safety::Safe.keyed(), Safety::Unsafe.keyed()], [Safety::Safe, Safety::Keyed]);
}

/// The rules as they are written down, one by one, for every status, delivery and method.
#[test]
fn what_is_retried_is_what_the_rules_say() {
    for safety in SAFETIES {
        let repeatable = safety != Safety::Unsafe;
        for delivery in DELIVERIES {
            let retried = match delivery {
                Delivery::NotSent | Delivery::Refused => true,
                Delivery::MaybeProcessed => repeatable,
                Delivery::Processed => false,
            };
            let found = reason(&facts(Attempt::Failed(delivery), safety));
            assert_eq!(found.is_none(), retried, "{delivery:?} {safety:?}");
        }
        for code in 100..=599 {
            for asks in [None, Some(ms(1_000))] {
                // As a head says it.
                let delivery = match code {
                    421 | 425 | 429 => Delivery::Refused,
                    503 if asks.is_some() => Delivery::Refused,
                    503 => Delivery::MaybeProcessed,
                    _ => Delivery::Processed,
                };
                let retried = match code {
                    421 | 425 | 429 => true,
                    503 => asks.is_some() || repeatable,
                    502 | 504 => repeatable,
                    _ => false,
                };
                let status = StatusCode::from_u16(code).unwrap();
                let attempt = Attempt::Answered { status, delivery, retry_after: asks };
                let found = reason(&facts(attempt, safety));
                assert_eq!(found.is_none(), retried, "{code} {asks:?} {safety:?}");
                let known = matches!(code, 502..=504);
                let why = if known { NoRetry::NotRepeatable } else { NoRetry::Final };
                assert!(found.is_none_or(|found| found == why), "{code}: {found:?}");
            }
        }
    }
}

#[test]
fn what_came_before_decides() {
    let refused = Attempt::Failed(Delivery::Refused);
    let first = facts(refused, Safety::Safe);
    assert_eq!(reason(&first), None);
    assert_eq!(reason(&RetryFacts { attempts: 2, ..first }), None);
    assert_eq!(reason(&RetryFacts { attempts: 3, ..first }), Some(NoRetry::Attempts));
    let spent = RetryFacts { replay: Replay::Impossible, ..first };
    assert_eq!(reason(&spent), Some(NoRetry::BodySpent));
    let late = RetryFacts { remaining: Duration::ZERO, ..first };
    assert_eq!(reason(&late), Some(NoRetry::Deadline));
    for (attempt, why) in
        [(Attempt::Delivered, NoRetry::Delivered), (Attempt::NotAdmitted, NoRetry::NotAdmitted)]
    {
        assert_eq!(reason(&facts(attempt, Safety::Safe)), Some(why));
    }
}

#[test]
fn retry_after_is_a_lower_bound_and_the_deadline_an_upper_one() {
    let asks = |wait, left| {
        let status = StatusCode::TOO_MANY_REQUESTS;
        let delivery = Delivery::Refused;
        let attempt = Attempt::Answered { status, delivery, retry_after: Some(ms(wait)) };
        decide(&RetryFacts { remaining: ms(left), ..facts(attempt, Safety::Unsafe) })
    };
    assert_eq!(asks(1_000, 1_001), RetryVerdict::Retry { after: ms(1_000) });
    let beyond = RetryVerdict::GiveUp(NoRetry::RetryAfterBeyondDeadline);
    assert_eq!(asks(1_000, 1_000), beyond);
    assert_eq!(asks(u64::MAX / 1_000, 1_000), beyond);
    let RetryVerdict::Retry { after } = asks(0, 1_000) else { panic!() };
    assert!(after > Duration::ZERO && after <= ms(25), "{after:?}");
}

proptest! {
    /// Whatever the facts: a wait ends before the deadline and is not below what was asked for; the
    /// attempts end; and what may have been processed is not sent twice unless it may.
    #[test]
    fn no_verdict_breaks_a_bound(
        attempts in 0u8..20, most in 1u8..=10, seed: u64, code in 100u16..600,
        delivery in 0usize..4, safety in 0usize..4, spent: bool, answered: bool,
        asks in prop::option::of(0u64..100_000), left in 0u64..100_000,
    ) {
        let policy = RetryPolicy { attempts: most, ..RetryPolicy::default() };
        let (delivery, safety) = (DELIVERIES[delivery], SAFETIES[safety]);
        let status = StatusCode::from_u16(code).unwrap();
        let retry_after = asks.map(ms);
        let attempt = if answered {
            Attempt::Answered { status, delivery, retry_after }
        } else {
            Attempt::Failed(delivery)
        };
        let replay = if spent { Replay::Impossible } else { Replay::Possible };
        let facts = RetryFacts { attempts, attempt, safety, replay, remaining: ms(left) };
        if let RetryVerdict::Retry { after } = policy.decide(&facts, &mut Jitter::new(seed)) {
            prop_assert!(!spent && attempts < most && after < ms(left));
            prop_assert!(!answered || retry_after.is_none_or(|asked| after >= asked));
            let harmless = matches!(delivery, Delivery::NotSent | Delivery::Refused);
            prop_assert!(harmless || safety != Safety::Unsafe);
        }
    }

    #[test]
    fn any_bytes_are_a_retry_after_or_not(bytes: Vec<u8>, now in 0u64..1 << 40) {
        let (now, epoch) = (at(now), Epoch::new(Duration::from_secs(1_700_000_000)));
        if let Some(RetryAfter::Delay(delay)) = RetryAfter::parse(&bytes, now, &epoch) {
            let text = std::str::from_utf8(&bytes).unwrap().trim_ascii();
            prop_assert_eq!(text.parse().unwrap_or(u64::MAX), delay.as_secs());
        }
    }
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    let epoch = Epoch::new(Duration::from_secs(784_111_770));
    let now = at(2_500);
    let read = |text: &str| RetryAfter::parse(text.as_bytes(), now, &epoch);
    let wait = |text: &str| read(text).map(|asked| asked.wait(now, &epoch));
    assert_eq!(wait("120"), Some(Duration::from_secs(120)));
    assert_eq!(wait(" 0 "), Some(Duration::ZERO));
    assert_eq!(wait("99999999999999999999999"), Some(Duration::from_secs(u64::MAX)));
    for date in [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
    ] {
        assert_eq!(wait(date), Some(ms(4_500)), "{date}");
        assert_eq!(read(date).map(|asked| asked.wait(at(60_000), &epoch)), Some(Duration::ZERO));
    }
    for nonsense in ["", " ", "-1", "+1", "1.5", "1s", "0x10", "tomorrow", "1,2"] {
        assert_eq!(read(nonsense), None, "{nonsense}");
    }
    assert_eq!(RetryAfter::Delay(ms(5)).wait(Instant::MAX, &epoch), ms(5));
}
