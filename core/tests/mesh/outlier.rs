//! Ejections, their guard and their times.

use proptest::collection::vec;
use proptest::prelude::*;
use sinew_core::Machine as _;
use sinew_core::mesh::{BadOutlier, Outlier, OutlierConfig, OutlierEvent, Outliers};
use sinew_core::policy::Mode;
use sinew_core::time::Instant;

use crate::{at, events, secs};

fn of(count: u32, config: OutlierConfig) -> Outliers {
    let mut outliers = Outliers::new(at(0), config).unwrap();
    (0..count).for_each(|place| outliers.insert(place));
    outliers
}

fn fail(outliers: &mut Outliers, now: Instant, place: u32) {
    (0..5).for_each(|_| outliers.handle_failure(now, place));
}

#[test]
fn five_failures_in_a_row_eject_for_longer_each_time() {
    let mut outliers = of(4, OutlierConfig::default());
    (0..4).for_each(|_| outliers.handle_failure(at(0), 1));
    outliers.handle_success(at(0), 1);
    (0..4).for_each(|_| outliers.handle_failure(at(0), 1));
    assert!(!outliers.is_ejected(1), "never five in a row");
    let mut now = at(0);
    for seconds in [30, 60, 90, 120, 150] {
        fail(&mut outliers, now, 1);
        let until = now + secs(seconds);
        let ejected = OutlierEvent::Ejected { place: 1, why: Outlier::Consecutive, until };
        assert_eq!(events(&mut outliers, now), [ejected]);
        assert!(outliers.is_ejected(1));
        while outliers.is_ejected(1) {
            now = outliers.deadline().unwrap().at;
            outliers.handle_timeout(now);
        }
        assert_eq!(now, until);
        assert_eq!(events(&mut outliers, now), [OutlierEvent::Returned { place: 1 }]);
    }
    // Forgiven, one for each interval without an ejection.
    for _ in 0..10 {
        now = now + secs(10);
        outliers.handle_timeout(now);
    }
    fail(&mut outliers, now, 1);
    let [OutlierEvent::Ejected { until, .. }] = events(&mut outliers, now)[..] else { panic!() };
    assert_eq!(until, now + secs(30));
}

#[test]
fn an_ejection_ends_at_the_longest() {
    let config = OutlierConfig { base: secs(200), ..OutlierConfig::default() };
    let mut outliers = of(4, config);
    for (now, until) in [(at(0), at(200_000)), (at(200_000), at(500_000))] {
        fail(&mut outliers, now, 1);
        let ejected = OutlierEvent::Ejected { place: 1, why: Outlier::Consecutive, until };
        assert_eq!(events(&mut outliers, now), [ejected]);
        let told = events(&mut outliers, until);
        assert_eq!(told, [OutlierEvent::Returned { place: 1 }]);
    }
}

#[test]
fn half_of_them_are_spared_and_the_last_one_always() {
    let mut outliers = of(4, OutlierConfig::default());
    (0..4).for_each(|place| fail(&mut outliers, at(0), place));
    assert_eq!(outliers.ejected(), 2);
    let spared = |place| OutlierEvent::Spared { place, why: Outlier::Consecutive };
    assert_eq!(events(&mut outliers, at(0))[2..], [spared(2), spared(3)]);

    let mut pair = of(2, OutlierConfig { max_percent: 1, ..OutlierConfig::default() });
    fail(&mut pair, at(0), 0);
    assert!(pair.is_ejected(0), "one may always go");
    let mut alone = of(1, OutlierConfig { max_percent: 100, ..OutlierConfig::default() });
    fail(&mut alone, at(0), 0);
    assert!(!alone.is_ejected(0));
}

#[test]
fn what_nobody_polls_does_not_pile_up() {
    let mut outliers = of(3, OutlierConfig::default());
    let mut now = at(0);
    for _ in 0..100 {
        // One may go, which is the first; the others are spared.
        for place in [0, 1, 2, 1, 2] {
            fail(&mut outliers, now, place);
        }
        now = now + secs(300);
        outliers.handle_timeout(now);
    }
    let spared = |place| OutlierEvent::Spared { place, why: Outlier::Consecutive };
    let mut told = events(&mut outliers, now);
    assert_eq!(told.pop(), Some(OutlierEvent::Returned { place: 0 }));
    assert_eq!(told, [spared(1), spared(2)]);
    // What was polled is told again.
    (0..3).for_each(|place| fail(&mut outliers, now, place));
    let told = events(&mut outliers, now);
    assert!(matches!(told[0], OutlierEvent::Ejected { place: 0, .. }), "{told:?}");
    assert_eq!(told[1..], [spared(1), spared(2)]);
}

#[test]
fn who_succeeds_less_often_than_the_others_is_found() {
    let mut outliers = of(6, OutlierConfig::default());
    for place in 0..6 {
        for call in 0..100 {
            // No five in a row; the last one fails every other time.
            if place == 5 && call % 2 == 0 {
                outliers.handle_failure(at(1), place);
            } else {
                outliers.handle_success(at(1), place);
            }
        }
    }
    assert_eq!(outliers.ejected(), 0);
    outliers.handle_timeout(at(10_000));
    let until = at(40_000);
    let ejected = OutlierEvent::Ejected { place: 5, why: Outlier::SuccessRate, until };
    assert_eq!(events(&mut outliers, at(10_000)), [ejected]);
}

#[test]
fn of_two_that_are_too_bad_the_worse_one_goes() {
    // One of twelve may go: not the first one that is looked at.
    let config =
        OutlierConfig { max_percent: 10, deviation_thousandths: 1_000, ..OutlierConfig::default() };
    let mut outliers = of(12, config);
    for place in 0..12 {
        let every = [3, 2].get(place as usize).copied().unwrap_or(u32::MAX);
        for call in 0..100 {
            if call % every == every - 1 {
                outliers.handle_failure(at(1), place);
            } else {
                outliers.handle_success(at(1), place);
            }
        }
    }
    outliers.handle_timeout(at(10_000));
    let (why, until) = (Outlier::SuccessRate, at(40_000));
    let told = events(&mut outliers, at(10_000));
    let expected =
        [OutlierEvent::Ejected { place: 1, why, until }, OutlierEvent::Spared { place: 0, why }];
    assert_eq!(told, expected);
}

#[test]
fn nobody_comes_for_what_was_not_counted() {
    let mut outliers = of(4, OutlierConfig::default());
    assert_eq!(outliers.deadline(), None);
    outliers.handle_success(at(1), 1);
    assert_eq!(outliers.deadline().unwrap().at, at(10_000));
    outliers.handle_timeout(at(10_000));
    assert_eq!(outliers.deadline(), None);
    fail(&mut outliers, at(10_000), 1);
    fail(&mut outliers, at(40_000), 1);
    assert_eq!(outliers.deadline().unwrap().at, at(50_000));
    // After a long silence, what was done is forgiven.
    fail(&mut outliers, at(1_000_000), 1);
    let told = events(&mut outliers, at(1_000_000));
    let until = at(1_030_000);
    assert!(told.contains(&OutlierEvent::Ejected { place: 1, why: Outlier::Consecutive, until }));
}

#[test]
fn the_few_are_not_compared() {
    for (endpoints, calls) in [(4, 100), (6, 99)] {
        let mut outliers = of(endpoints, OutlierConfig::default());
        for place in 0..endpoints {
            for call in 0..calls {
                if place == 0 && call % 2 == 0 {
                    outliers.handle_failure(at(1), place);
                } else {
                    outliers.handle_success(at(1), place);
                }
            }
        }
        outliers.handle_timeout(at(10_000));
        assert_eq!(outliers.ejected(), 0, "{endpoints} endpoints, {calls} calls");
    }
}

#[test]
fn shadow_tells_and_off_does_not() {
    let mut shadow = of(4, OutlierConfig { mode: Mode::Shadow, ..OutlierConfig::default() });
    fail(&mut shadow, at(0), 1);
    assert!(!shadow.is_ejected(1));
    assert_eq!(events(&mut shadow, at(0)).len(), 1);
    let mut off = of(4, OutlierConfig { mode: Mode::Off, ..OutlierConfig::default() });
    fail(&mut off, at(0), 1);
    assert_eq!((off.ejected(), events(&mut off, at(0)).len()), (0, 0));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let good = OutlierConfig::default();
    for (config, why) in [
        (OutlierConfig { consecutive: 0, ..good }, BadOutlier::ZeroConsecutive),
        (OutlierConfig { interval: secs(0), ..good }, BadOutlier::Comparison),
        (OutlierConfig { minimum_calls: 0, ..good }, BadOutlier::Comparison),
        (OutlierConfig { minimum_endpoints: 1, ..good }, BadOutlier::Comparison),
        (OutlierConfig { base: secs(301), ..good }, BadOutlier::EjectionTime),
        (OutlierConfig { max_percent: 0, ..good }, BadOutlier::Percent),
    ] {
        assert_eq!(Outliers::new(at(0), config).err(), Some(why));
    }
}

proptest! {
    /// Never more than half are gone, and the deadline is never in the past.
    #[test]
    fn any_script(steps in vec((0u32..8, 0u8..5, 0u64..20_000), 0..400)) {
        let mut outliers = of(6, OutlierConfig { consecutive: 2, ..OutlierConfig::default() });
        let mut now = at(0);
        for (place, what, passed) in steps {
            match what {
                0 => now = now + std::time::Duration::from_millis(passed),
                1 => outliers.handle_success(now, place),
                2 | 3 => outliers.handle_failure(now, place),
                _ => { outliers.remove(7); outliers.insert(7); }
            }
            outliers.handle_timeout(now);
            let gone = (0..8).filter(|place| outliers.is_ejected(*place)).count();
            prop_assert_eq!(gone, outliers.ejected() as usize);
            prop_assert!(gone <= 3);
            events(&mut outliers, now);
            prop_assert!(outliers.deadline().is_none_or(|deadline| deadline.at > now));
        }
    }
}
