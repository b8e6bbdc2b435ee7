//! The adaptive limit of calls at once.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use sinew_core::limit::{BadConcurrency, Concurrency, ConcurrencyConfig, Full, Load};
use sinew_core::time::Instant;

const NOW: Instant = Instant::ZERO;
const BORNE: Load = Load::Borne(Duration::from_millis(10));

fn limiter(initial: u32) -> Concurrency {
    Concurrency::new(ConcurrencyConfig { initial, ..ConcurrencyConfig::default() }).unwrap()
}

/// Calls arrive as long as there are places; a destination bears so many at once.
fn rounds(limiter: &mut Concurrency, bears: u32, rounds: u32) {
    for _ in 0..rounds {
        let places: Vec<_> = std::iter::from_fn(|| limiter.acquire().ok()).collect();
        for (at, place) in (0..).zip(places) {
            limiter.settle(NOW, place, if at < bears { BORNE } else { Load::Overload });
        }
    }
}

#[test]
fn it_finds_what_a_destination_bears() {
    for bears in [1, 5, 20, 80, 300] {
        let mut limiter = limiter(100);
        rounds(&mut limiter, bears, 2_000);
        let limit = limiter.limit();
        assert!((bears..=bears + bears / 10 + 2).contains(&limit), "{limit} for {bears}");
    }
}

#[test]
fn it_shrinks_by_half_of_the_share_that_was_too_much() {
    for (bears, expected) in [(0, 50), (50, 75), (90, 95), (98, 99), (100, 101)] {
        let mut limiter = limiter(100);
        rounds(&mut limiter, bears, 1);
        assert_eq!(limiter.limit(), expected);
    }
}

#[test]
fn what_is_not_used_goes_first() {
    // Three at once, of a hundred.
    let three = |limiter: &mut Concurrency, overloads: usize| {
        for at in 0..10 {
            let places: Vec<_> = (0..3).map(|_| limiter.acquire().unwrap()).collect();
            for (place, one) in places.into_iter().zip(0..) {
                let load = if at == 0 && one < overloads { Load::Overload } else { BORNE };
                limiter.settle(NOW, place, load);
            }
        }
    };
    let mut limiter = limiter(100);
    three(&mut limiter, 1);
    assert!((85..100).contains(&limiter.limit()), "{}", limiter.limit());
    assert!(limiter.is_strained());
    for _ in 0..5 {
        three(&mut limiter, 3);
    }
    // Down to ten at once, and below in proportion.
    assert!((3..10).contains(&limiter.limit()), "{}", limiter.limit());
    for _ in 0..4 {
        three(&mut limiter, 0);
    }
    assert!(!limiter.is_strained());
    // It is forgiven after a while, though nobody needs it.
    for _ in 0..100 {
        three(&mut limiter, 0);
    }
    assert_eq!(limiter.limit(), 100);
}

#[test]
fn it_grows_gently_while_it_is_known_where_it_hurts() {
    let mut limiter = limiter(10);
    rounds(&mut limiter, 5, 1);
    assert_eq!(limiter.limit(), 7);
    // Seven rounds, a sixteenth each.
    rounds(&mut limiter, 1_000, 10);
    assert!((9..=13).contains(&limiter.limit()), "{}", limiter.limit());
}

#[test]
fn it_never_closes_and_comes_back() {
    let mut limiter = limiter(100);
    rounds(&mut limiter, 0, 1_000);
    assert_eq!(limiter.limit(), 1);
    rounds(&mut limiter, 1_000, 2_000);
    assert!(limiter.limit() >= 200, "{}", limiter.limit());
}

#[test]
fn a_stray_timeout_costs_little() {
    let mut limiter = limiter(100);
    let mut call = 0_u32;
    for _ in 0..1_000 {
        let places: Vec<_> = std::iter::from_fn(|| limiter.acquire().ok()).collect();
        for place in places {
            call += 1;
            limiter.settle(
                NOW,
                place,
                if call.is_multiple_of(1_000) { Load::Overload } else { BORNE },
            );
        }
    }
    assert!(limiter.limit() > 60, "{}", limiter.limit());
}

#[test]
fn it_does_not_grow_unused() {
    let mut limiter = limiter(100);
    for _ in 0..100_000 {
        let place = limiter.acquire().unwrap();
        limiter.settle(NOW, place, BORNE);
    }
    assert_eq!(limiter.limit(), 100);
}

/// A round of twenty at once, of which the first one took `fastest` and the others `others`.
fn timed(limiter: &mut Concurrency, now: Instant, fastest: u64, others: u64) {
    let places: Vec<_> = (0..20).map_while(|_| limiter.acquire().ok()).collect();
    for (at, place) in places.into_iter().enumerate() {
        let took = if at == 0 { fastest } else { others };
        limiter.settle(now, place, Load::Borne(Duration::from_millis(took)));
    }
}

#[test]
fn it_shrinks_when_even_the_fastest_answer_is_late() {
    let mut limiter = limiter(100);
    timed(&mut limiter, NOW, 10, 10);
    timed(&mut limiter, NOW, 249, 249);
    assert_eq!((limiter.limit(), limiter.is_strained()), (100, false));
    // Three quarters of what was there.
    timed(&mut limiter, NOW, 250, 250);
    assert_eq!((limiter.limit(), limiter.is_strained()), (15, true));
    timed(&mut limiter, NOW, 300, 300);
    assert_eq!(limiter.limit(), 11);
    for _ in 0..2 {
        timed(&mut limiter, NOW, 30, 30);
    }
    assert_eq!(limiter.limit(), 12);
}

#[test]
fn some_late_answers_are_no_queue() {
    let mut limiter = limiter(100);
    for _ in 0..100 {
        timed(&mut limiter, NOW, 10, 900);
    }
    assert_eq!((limiter.limit(), limiter.is_strained()), (100, false));
}

#[test]
fn what_is_always_slow_is_not_late() {
    let mut limiter = limiter(100);
    for slow in [600, 900, 600, 2_399] {
        timed(&mut limiter, NOW, slow, slow);
    }
    assert_eq!((limiter.limit(), limiter.is_strained()), (100, false));
    timed(&mut limiter, NOW, 2_400, 2_400);
    assert!(limiter.is_strained());
}

#[test]
fn what_is_slow_for_long_is_usual() {
    let mut limiter = limiter(100);
    timed(&mut limiter, NOW, 10, 10);
    // 4 x 8 x 10 ms are more than 300 ms.
    for (seconds, late) in [(179, true), (209, true), (210, false)] {
        let mut limiter = limiter.clone();
        timed(&mut limiter, NOW + Duration::from_secs(seconds), 300, 300);
        assert_eq!(limiter.is_strained(), late, "after {seconds} s");
    }
}

#[test]
fn senseless_limits_are_refused() {
    let config = |initial, min, max| {
        ConcurrencyConfig { initial, min, max, ..Default::default() }.check().err()
    };
    assert_eq!(config(1, 0, 1), Some(BadConcurrency::ZeroMin));
    assert_eq!(config(1, 2, 3), Some(BadConcurrency::Initial));
    assert_eq!(config(4, 2, 3), Some(BadConcurrency::Initial));
    assert_eq!(config(1, 1, 1_000_001), Some(BadConcurrency::Max));
    assert_eq!(config(1, 1, 1), None);
}

proptest! {
    /// Places are counted, the limit stays within its bounds, and nobody is refused below it.
    #[test]
    fn places_are_counted(steps in vec(0u8..4, 0..2_000)) {
        let config = ConcurrencyConfig { initial: 5, min: 2, max: 8, ..Default::default() };
        let mut limiter = Concurrency::new(config).unwrap();
        let mut places = Vec::new();
        for step in steps {
            match (step, places.pop()) {
                (0, place) => {
                    places.extend(place);
                    let limit = limiter.limit();
                    match limiter.acquire() {
                        Ok(place) => {
                            prop_assert!(places.len() < limit as usize);
                            places.push(place);
                        }
                        Err(full) => {
                            prop_assert_eq!(full, Full { limit });
                            prop_assert!(places.len() >= limit as usize);
                        }
                    }
                }
                (1 | 2, Some(place)) => {
                    let load = if step == 1 { BORNE } else { Load::Overload };
                    limiter.settle(NOW, place, load);
                }
                (_, Some(place)) => limiter.release(place),
                (_, None) => {}
            }
            prop_assert_eq!(limiter.in_flight() as usize, places.len());
            prop_assert!((2..=8).contains(&limiter.limit()));
        }
    }
}
