//! The breaker: what opens it, what closes it, and a slow reference for its rates.

use std::time::Duration;

use http::StatusCode;
use proptest::collection::vec;
use proptest::prelude::*;
use sinew_core::error::Fault;
use sinew_core::resilience::{
    BadBreaker, Breaker, BreakerConfig, BreakerState, Change, Forced, OpenFor, OpenReason, Outcome,
    Report, Trip,
};
use sinew_core::time::{Instant, Timer};

use crate::{at, ms};

fn breaker() -> Breaker {
    Breaker::new(BreakerConfig::default(), 1).unwrap()
}

fn report(outcome: Outcome) -> Report {
    Report { outcome, latency: ms(1), retry_after: None }
}

fn call(breaker: &mut Breaker, now: Instant, outcome: Outcome) -> Option<Change> {
    let permit = breaker.acquire(now).unwrap();
    breaker.settle(now, permit, report(outcome))
}

/// Opens it, and says until when.
fn trip(breaker: &mut Breaker, now: Instant) -> Instant {
    for _ in 0..4 {
        assert_eq!(call(breaker, now, Outcome::Failure), None);
    }
    match call(breaker, now, Outcome::Failure) {
        Some(Change::Opened { why: Trip::Consecutive, until }) => until,
        other => panic!("{other:?}"),
    }
}

#[test]
fn statuses_say_what_they_say() {
    for code in 100..600 {
        let expected = match code {
            429 => Outcome::Limited,
            500 | 502 | 503 | 504 => Outcome::Failure,
            _ => Outcome::Success,
        };
        assert_eq!(Outcome::of_status(StatusCode::from_u16(code).unwrap()), expected, "{code}");
    }
    let faults = [Fault::Local, Fault::Peer, Fault::Network].map(Outcome::of_fault);
    assert_eq!(faults, [None, Some(Outcome::Failure), Some(Outcome::Failure)]);
}

#[test]
fn five_in_a_row_open_it_for_one_to_two_seconds() {
    let mut times = Vec::new();
    for seed in 0..200 {
        let mut breaker = Breaker::new(BreakerConfig::default(), seed).unwrap();
        let until = trip(&mut breaker, at(0));
        times.push(until - Instant::ZERO);
        let why = OpenReason::Tripped(Trip::Consecutive);
        assert_eq!(breaker.acquire(at(999)), Err(OpenFor { why, until: Some(until) }));
        assert_eq!(
            breaker.deadline().map(|due| (due.at, due.why)),
            Some((until, Timer::BreakerOpen))
        );
        assert!(!breaker.is_ready(at(999)) && breaker.is_ready(until));
        let probe = breaker.acquire(until).unwrap();
        assert!(probe.is_probe());
        assert_eq!(probe.change(), Some(Change::HalfOpened));
    }
    assert!(spreads(&times, 1_000, 2_000), "{times:?}");
}

/// Whether all times lie between these, and some near either.
fn spreads(times: &[Duration], low: u64, high: u64) -> bool {
    let tenth = (high - low) / 10;
    times.iter().all(|time| (ms(low)..=ms(high)).contains(time))
        && times.iter().any(|time| *time < ms(low + tenth))
        && times.iter().any(|time| *time > ms(high - tenth))
}

#[test]
fn each_probe_that_fails_makes_it_stay_open_for_twice_as_long_up_to_ten_seconds() {
    let mut times: [Vec<Duration>; 6] = Default::default();
    for seed in 0..200 {
        let mut breaker = Breaker::new(BreakerConfig::default(), seed).unwrap();
        let mut until = trip(&mut breaker, at(0));
        for times in &mut times {
            let probed = until;
            until = match call(&mut breaker, probed, Outcome::Failure) {
                Some(Change::Opened { why: Trip::Probe, until }) => until,
                other => panic!("{other:?}"),
            };
            times.push(until - probed);
        }
        // Once it was closed, it is as if nothing had been.
        for _ in 0..3 {
            let _ = call(&mut breaker, until, Outcome::Success);
        }
        assert!(trip(&mut breaker, until) - until <= ms(2_000));
    }
    let [second, third, rest @ ..] = &times;
    assert!(spreads(second, 2_000, 4_000) && spreads(third, 4_000, 8_000), "{times:?}");
    assert!(rest.iter().all(|times| spreads(times, 5_000, 10_000)), "{times:?}");
}

#[test]
fn a_success_ends_the_row_and_a_429_does_not() {
    let mut breaker = breaker();
    for _ in 0..4 {
        let _ = call(&mut breaker, at(0), Outcome::Failure);
    }
    assert_eq!(call(&mut breaker, at(0), Outcome::Limited), None);
    assert_eq!(call(&mut breaker, at(0), Outcome::Success), None);
    let _ = trip(&mut breaker, at(0));
}

#[test]
fn four_hundred_and_twenty_nine_counts_in_the_rate() {
    let mut breaker = breaker();
    for _ in 0..19 {
        assert_eq!(call(&mut breaker, at(0), Outcome::Limited), None);
    }
    let change = call(&mut breaker, at(0), Outcome::Limited);
    assert!(matches!(change, Some(Change::Opened { why: Trip::FailureRate, .. })), "{change:?}");
}

#[test]
fn slow_calls_open_it() {
    let mut breaker = breaker();
    let slow = Report { latency: ms(20_000), ..report(Outcome::Success) };
    for _ in 0..4 {
        assert_eq!(call(&mut breaker, at(0), Outcome::Success), None);
    }
    let mut last = None;
    for _ in 0..16 {
        assert_eq!(last, None);
        let permit = breaker.acquire(at(0)).unwrap();
        last = breaker.settle(at(0), permit, slow);
    }
    assert!(matches!(last, Some(Change::Opened { why: Trip::SlowRate, .. })), "{last:?}");
}

#[test]
fn failures_long_ago_are_forgotten() {
    // 1 failure in 101 calls never opens it, however often it happens.
    let mut breaker = breaker();
    for step in 0..100_000 {
        let outcome = if step % 101 == 0 { Outcome::Failure } else { Outcome::Success };
        assert_eq!(call(&mut breaker, at(step * 7), outcome), None);
    }
}

#[test]
fn retry_after_is_a_floor_with_a_cap() {
    for (asks, low, high) in
        [(7_500, 7_500, 10_000), (30_000, 30_000, 30_000), (1 << 40, 60_000, 60_000)]
    {
        let mut breaker = breaker();
        let report = Report { retry_after: Some(ms(asks)), ..report(Outcome::Failure) };
        let mut last = None;
        for _ in 0..5 {
            let permit = breaker.acquire(at(0)).unwrap();
            last = breaker.settle(at(0), permit, report);
        }
        let Some(Change::Opened { until, .. }) = last else { panic!("{last:?}") };
        assert!((at(low)..=at(high)).contains(&until), "{until:?}");
    }
}

#[test]
fn three_probes_close_it() {
    let mut breaker = breaker();
    let now = trip(&mut breaker, at(0));
    let probes = [(); 3].map(|()| breaker.acquire(now).unwrap());
    let lease = now + Duration::from_secs(30);
    let busy = OpenFor { why: OpenReason::Probing, until: Some(lease) };
    assert_eq!(breaker.acquire(now), Err(busy));
    assert_eq!(breaker.state(), BreakerState::HalfOpen { probes: 3 });
    let [a, b, c] = probes;
    assert_eq!(breaker.settle(now, a, report(Outcome::Success)), None);
    assert_eq!(breaker.acquire(now), Err(busy), "two more successes need two more probes");
    assert_eq!(breaker.settle(now, b, report(Outcome::Success)), None);
    assert_eq!(breaker.settle(now, c, report(Outcome::Success)), Some(Change::Closed));
    assert_eq!((breaker.state(), breaker.deadline()), (BreakerState::Closed, None));
}

#[test]
fn a_probe_that_fails_is_limited_or_slow_opens_it_again() {
    let slow = Report { latency: ms(20_000), ..report(Outcome::Success) };
    for bad in [report(Outcome::Failure), report(Outcome::Limited), slow] {
        let mut breaker = breaker();
        let now = trip(&mut breaker, at(0));
        let (bad_one, other) = (breaker.acquire(now).unwrap(), breaker.acquire(now).unwrap());
        let change = breaker.settle(now, bad_one, bad);
        assert!(matches!(change, Some(Change::Opened { why: Trip::Probe, .. })), "{change:?}");
        let before = breaker.clone();
        assert_eq!(breaker.settle(now, other, report(Outcome::Success)), None);
        assert_eq!(breaker, before, "a verdict of an old epoch");
    }
}

#[test]
fn a_probe_that_is_lost_or_given_up_gives_its_place_back() {
    let mut breaker = breaker();
    let now = trip(&mut breaker, at(0));
    let lost = [(); 3].map(|()| breaker.acquire(now).unwrap());
    let over = now + Duration::from_secs(30);
    assert_eq!(breaker.deadline().map(|due| (due.at, due.why)), Some((over, Timer::ProbeLease)));
    assert_eq!(breaker.handle_timeout(over), None);
    let again = [(); 3].map(|()| breaker.acquire(over).unwrap());
    for permit in lost {
        let before = breaker.clone();
        assert_eq!(breaker.settle(over, permit.clone(), report(Outcome::Failure)), None);
        breaker.release(permit);
        assert_eq!(breaker, before, "it has a new user");
    }
    for permit in again {
        breaker.release(permit);
    }
    assert_eq!(breaker.state(), BreakerState::HalfOpen { probes: 0 });
}

#[test]
fn a_permit_of_before_it_opened_says_nothing() {
    let mut breaker = breaker();
    let old = [(); 2].map(|()| breaker.acquire(at(0)).unwrap());
    let now = trip(&mut breaker, at(0));
    let [first, second] = old;
    assert_eq!(breaker.settle(now, first, report(Outcome::Failure)), Some(Change::HalfOpened));
    assert_eq!(breaker.settle(now, second, report(Outcome::Failure)), None);
    assert_eq!(breaker.state(), BreakerState::HalfOpen { probes: 0 });
}

#[test]
fn a_body_that_breaks_counts_in_the_rate_of_its_epoch_only() {
    let mut breaker = breaker();
    let epoch = breaker.acquire(at(0)).unwrap().epoch();
    for _ in 0..20 {
        assert_eq!(call(&mut breaker, at(0), Outcome::Success), None);
    }
    for _ in 0..9 {
        assert_eq!(breaker.late_failure(at(0), epoch), None);
    }
    let change = breaker.late_failure(at(0), epoch);
    assert!(matches!(change, Some(Change::Opened { why: Trip::FailureRate, .. })), "{change:?}");
    let before = breaker.clone();
    assert_eq!(breaker.late_failure(at(0), epoch), None);
    assert_eq!(breaker, before);
}

#[test]
fn forced_it_is_what_somebody_wants() {
    let mut breaker = breaker();
    breaker.force(Some(Forced::Open));
    let far = at(1 << 40);
    assert_eq!(breaker.acquire(far), Err(OpenFor { why: OpenReason::Forced, until: None }));
    assert_eq!((breaker.deadline(), breaker.is_ready(far)), (None, false));
    breaker.force(Some(Forced::Closed));
    for _ in 0..100 {
        assert_eq!(call(&mut breaker, at(0), Outcome::Failure), None);
    }
    assert_eq!(breaker.state(), BreakerState::Forced(Forced::Closed));
    breaker.force(None);
    assert_eq!(breaker.state(), BreakerState::Closed);
    let _ = trip(&mut breaker, at(0));
}

#[test]
fn senseless_breakers_are_refused() {
    let good = BreakerConfig::default();
    for (config, why) in [
        (BreakerConfig { consecutive: 0, ..good }, BadBreaker::ZeroConsecutive),
        (BreakerConfig { window: ms(999), ..good }, BadBreaker::Window),
        (BreakerConfig { minimum_calls: 0, ..good }, BadBreaker::ZeroMinimum),
        (BreakerConfig { failure_percent: 0, ..good }, BadBreaker::Percent),
        (BreakerConfig { slow_percent: 101, ..good }, BadBreaker::Percent),
        (BreakerConfig { slow: ms(0), ..good }, BadBreaker::ZeroSlow),
        (BreakerConfig { open_min: ms(0), ..good }, BadBreaker::OpenTime),
        (BreakerConfig { open_max: ms(1), ..good }, BadBreaker::OpenTime),
        (BreakerConfig { probes: 0, ..good }, BadBreaker::Probes),
        (BreakerConfig { probes: 9, ..good }, BadBreaker::Probes),
        (BreakerConfig { lease: ms(0), ..good }, BadBreaker::ZeroLease),
    ] {
        assert_eq!(Breaker::new(config, 0).err(), Some(why));
    }
}

proptest! {
    /// Closed, it opens exactly when a list of all calls with their times says so.
    #[test]
    fn rates_agree_with_a_list(steps in vec((0u64..1_500, 0u8..6), 1..300)) {
        let mut breaker = breaker();
        let epoch = breaker.acquire(at(0)).unwrap().epoch();
        let mut list: Vec<(u64, [bool; 3])> = Vec::new();
        let (mut now, mut row) = (0, 0);
        for (passed, kind) in steps {
            now += passed;
            let (outcome, latency) = match kind {
                0 => (Outcome::Failure, 1),
                1 => (Outcome::Limited, 1),
                2 => (Outcome::Success, 20_000),
                _ => (Outcome::Success, 1),
            };
            // Calls, failures of whatever kind, slow ones.
            let change = if kind == 5 {
                list.push((now, [false, true, false]));
                breaker.late_failure(at(now), epoch)
            } else {
                row = match outcome { Outcome::Failure => row + 1, Outcome::Limited => row, Outcome::Success => 0 };
                list.push((now, [true, outcome != Outcome::Success, latency == 20_000]));
                let permit = breaker.acquire(at(now)).unwrap();
                breaker.settle(at(now), permit, Report { outcome, latency: ms(latency), retry_after: None })
            };
            let count = |which: usize| {
                list.iter().filter(|(time, is)| now / 1_000 - time / 1_000 < 10 && is[which]).count()
            };
            let (calls, failed, slow) = (count(0), count(1), count(2));
            let expected = if matches!(kind, 3 | 4) {
                None // a good answer
            } else if kind != 5 && row >= 5 {
                Some(Trip::Consecutive)
            } else if calls >= 20 && failed * 2 >= calls {
                Some(Trip::FailureRate)
            } else if calls >= 20 && slow * 5 >= calls * 4 {
                Some(Trip::SlowRate)
            } else {
                None
            };
            let found = change.map(|change| match change {
                Change::Opened { why, .. } => why,
                other => panic!("{other:?}"),
            });
            prop_assert_eq!(found, expected);
            if found.is_some() {
                break;
            }
        }
    }
}
