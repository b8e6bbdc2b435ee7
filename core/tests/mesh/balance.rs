//! Peak-sensitive averages beside the formula, and what two choices make of them.

#![expect(clippy::disallowed_methods, reason = "the formula is a reference, with a tolerance")]

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use sinew_core::jitter::Jitter;
use sinew_core::mesh::{BadBalance, BalanceConfig, Choice, PeakEwma, PowerOfTwo};
use sinew_core::time::Instant;

use crate::{at, ms};

proptest! {
    /// Beside the formula in floating point.
    #[test]
    fn the_average_is_that_of_the_formula(steps in vec((0u32..20_000, 1u32..5_000), 1..50)) {
        let mut load = PeakEwma::new(at(0));
        let (mut now, mut average) = (0, 30.0_f64);
        for (passed, latency) in steps {
            now += u64::from(passed);
            let kept = (-f64::from(passed) / 10_000.0).exp();
            let sample = f64::from(latency);
            average = if sample > average { sample } else { average * kept + sample * (1.0 - kept) };
            load.observe(at(now), ms(latency.into()));
            let found = load.latency(at(now)).as_secs_f64() * 1_000.0;
            prop_assert!((found - average).abs() <= average * 0.02 + 0.1, "{found} for {average}");
        }
    }
}

#[test]
fn a_peak_counts_at_once_and_is_forgotten() {
    let mut load = PeakEwma::new(at(0));
    load.observe(at(0), ms(1_000));
    assert_eq!(load.latency(at(0)), ms(1_000));
    let third = load.latency(at(10_000)).as_millis();
    assert!((364..=372).contains(&third), "1/e is 0.368: {third}");
    assert!(load.latency(at(300_000)) < ms(1));
    load.penalise(at(300_000), ms(1));
    assert_eq!(load.latency(at(300_000)), Duration::from_secs(5), "failing fast is not fast");
    load.observe(at(300_000), Duration::MAX);
    assert!(load.cost(Instant::MAX, u32::MAX) > 0);
}

#[test]
fn what_is_on_its_way_counts() {
    let load = PeakEwma::new(at(0));
    assert_eq!(load.cost(at(0), 3), load.cost(at(0), 0) * 4);
}

#[test]
fn picks_are_even_among_equals_and_avoid_whom_they_should() {
    let mut jitter = Jitter::new(3);
    let only = |chosen| Some(Choice { chosen, runner_up: None });
    assert_eq!(PowerOfTwo::pick(0, None, |_| 0, &mut jitter), None);
    assert_eq!(PowerOfTwo::pick(1, None, |_| 0, &mut jitter), only(0));
    assert_eq!(PowerOfTwo::pick(1, Some(0), |_| 0, &mut jitter), only(0), "there is no other");
    assert_eq!(PowerOfTwo::pick(2, Some(0), |_| 0, &mut jitter), only(1));
    let both = PowerOfTwo::pick(2, None, |at| at, &mut jitter);
    assert_eq!(both, Some(Choice { chosen: 0, runner_up: Some(1) }));
    let mut picked = [0; 5];
    for _ in 0..50_000 {
        picked[PowerOfTwo::pick(5, None, |_| 7, &mut jitter).unwrap().chosen] += 1;
    }
    assert!(picked.iter().all(|count| (9_500..10_500).contains(count)), "{picked:?}");
    let mut picked = [0; 5];
    for _ in 0..40_000 {
        picked[PowerOfTwo::pick(5, Some(2), |_| 7, &mut jitter).unwrap().chosen] += 1;
    }
    assert_eq!(picked[2], 0);
    assert!([0, 1, 3, 4].iter().all(|at| (9_500..10_500).contains(&picked[*at])), "{picked:?}");
    // The dearest is never picked where there are others, the cheapest in two pairs of five.
    let mut picked = [0; 5];
    for _ in 0..50_000 {
        picked[PowerOfTwo::pick(5, None, |at| at as u64, &mut jitter).unwrap().chosen] += 1;
    }
    assert_eq!(picked[4], 0);
    assert!((19_000..21_000).contains(&picked[0]), "{picked:?}");
}

#[test]
fn calls_go_where_they_are_answered_sooner() {
    // Ten endpoints, one of them ten times as slow, one that fails at once.
    let mut jitter = Jitter::new(9);
    let mut loads: Vec<_> = (0..10).map(|_| PeakEwma::new(at(0))).collect();
    let mut picked = [0; 10];
    for call in 0..10_000 {
        let now = at(20_000 + call);
        let one = PowerOfTwo::pick(10, None, |at| loads[at].cost(now, 0), &mut jitter).unwrap();
        let one = one.chosen;
        picked[one] += 1;
        match one {
            0 => loads[0].observe(now, ms(50)),
            1 => loads[1].penalise(now, ms(0)),
            _ => loads[one].observe(now, ms(5)),
        }
    }
    assert!(picked[0] < 400 && picked[1] < 20, "{picked:?}");
    assert!(picked[2..].iter().all(|count| *count > 400), "{picked:?}");
}

#[test]
fn senseless_balances_are_refused() {
    let good = BalanceConfig::default();
    for (config, why) in [
        (BalanceConfig { decay: ms(0), ..good }, BadBalance::Decay),
        (BalanceConfig { decay: Duration::from_secs(3_601), ..good }, BadBalance::Decay),
        (BalanceConfig { expected: Duration::from_nanos(9), ..good }, BadBalance::ZeroExpected),
    ] {
        assert_eq!(PeakEwma::with_config(at(0), config).err(), Some(why));
    }
}
