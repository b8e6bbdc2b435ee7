//! Hedges, and the latencies that they wait for.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use sinew_core::resilience::{BadHedge, Hedge, HedgeConfig, Latencies, NoHedge, Safety};

use crate::{at, ms};

proptest! {
    /// A quantile is that of the sorted list, rounded up by an eighth at most.
    #[test]
    fn quantiles_are_an_eighth_too_long_at_most(
        samples in vec(prop_oneof![0u64..100, 0u64..100_000, 0u64..134_000_000], 1..500),
        permille in 1u32..=1_000,
    ) {
        let mut latencies = Latencies::new();
        for micros in &samples {
            latencies.record(at(0), Duration::from_micros(*micros));
        }
        let mut sorted = samples;
        sorted.sort_unstable();
        let rank = (sorted.len() * permille as usize).div_ceil(1_000).max(1);
        let exact = sorted[rank - 1];
        let found = latencies.quantile(permille).unwrap().as_micros() as u64;
        prop_assert!(found >= exact && found <= exact + exact / 8, "{found} for {exact}");
    }
}

#[test]
fn latencies_are_forgotten() {
    let mut latencies = Latencies::new();
    assert_eq!(latencies.quantile(950), None);
    for _ in 0..1_000 {
        latencies.record(at(0), ms(100));
    }
    assert_eq!(latencies.samples(), 1_000);
    latencies.record(at(60_000), ms(1));
    assert_eq!(latencies.samples(), 501);
    // Many samples drive out the old ones without any time.
    for _ in 0..20_000 {
        latencies.record(at(60_000), ms(1));
    }
    assert!(latencies.samples() < 2_048);
    assert!(latencies.quantile(999).unwrap() < ms(2));
    latencies.record(at(u64::MAX / 1_000_000), Duration::MAX);
    assert_eq!(latencies.samples(), 1);
    assert_eq!(latencies.quantile(950).map(|longest| longest.as_secs()), Some(134));
}

#[test]
fn a_hedge_waits_for_most_heads() {
    let mut hedge = Hedge::new(HedgeConfig::default()).unwrap();
    for sample in 0..49 {
        hedge.record(at(sample), ms(10));
        assert_eq!(hedge.delay(Safety::Safe), Err(NoHedge::Samples));
    }
    hedge.record(at(50), ms(10));
    let delay = hedge.delay(Safety::Safe).unwrap();
    assert!((ms(10)..ms(12)).contains(&delay), "{delay:?}");
    for safety in [Safety::Idempotent, Safety::Keyed, Safety::Unsafe] {
        assert_eq!(hedge.delay(safety), Err(NoHedge::NotSafe));
    }
    // One in ten takes long: the delay follows.
    for sample in 0..320_u64 {
        hedge.record(at(sample), if sample % 10 == 0 { ms(200) } else { ms(10) });
    }
    assert!(hedge.delay(Safety::Safe).unwrap() >= ms(200));
}

#[test]
fn hedges_are_a_share_of_the_calls() {
    let mut hedge = Hedge::new(HedgeConfig::default()).unwrap();
    assert_eq!(hedge.withdraw(at(0)), Err(NoHedge::Share));
    for _ in 0..100 {
        hedge.call(at(0));
    }
    let taken = (0..100).take_while(|_| hedge.withdraw(at(0)).is_ok()).count();
    assert_eq!((taken, hedge.withdraw(at(9_999))), (5, Err(NoHedge::Share)));
}

#[test]
fn senseless_hedges_are_refused() {
    let good = HedgeConfig::default();
    for (config, why) in [
        (HedgeConfig { permille: 499, ..good }, BadHedge::Permille),
        (HedgeConfig { permille: 1_000, ..good }, BadHedge::Permille),
        (HedgeConfig { percent: 0, ..good }, BadHedge::Percent),
        (HedgeConfig { percent: 51, ..good }, BadHedge::Percent),
        (HedgeConfig { window: ms(999), ..good }, BadHedge::Window),
        (HedgeConfig { minimum_samples: 0, ..good }, BadHedge::Samples),
        (HedgeConfig { minimum_samples: 1_001, ..good }, BadHedge::Samples),
        (HedgeConfig { delay_min: ms(0), ..good }, BadHedge::ZeroDelay),
    ] {
        assert_eq!(Hedge::new(config).err(), Some(why));
    }
}
