//! What is promised about the client, at a size that runs in seconds. The time is virtual, so that each
//! figure is exact; `sinew storm` shows the same at full size.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::float_cmp, reason = "all of them is all of them")]

use std::ops::Range;
use std::time::Duration;

use sinew_conformance::fleet::Scenario;
use sinew_conformance::fleet::backend::{Fault, Latency};
use sinew_conformance::fleet::figures::Figures;
use sinew_conformance::fleet::shows::{Rules, Show, fleet, outage};
use sinew_core::time::Instant;

fn run(scenario: &Scenario) -> Figures {
    scenario.run().unwrap()
}

/// A time from its second second on.
fn later(range: &Range<Instant>) -> Range<Instant> {
    Scenario::from_second(range, 1)
}

#[test]
fn the_same_seed_gives_the_same_decisions() {
    let scenario = fleet(Rules::Default, 50, 10, outage(Fault::Stall, 2, 10));
    let [first, second] = [run(&scenario), run(&scenario)];
    assert_eq!(first.digest(), second.digest());
    assert_eq!(first.events(), second.events());
    let other = run(&Scenario { seed: scenario.seed + 1, ..scenario });
    assert_ne!(first.digest(), other.digest());
}

#[test]
fn a_dead_destination_is_not_asked_more_than_it_would_be_anyway() {
    for (clients, per_second) in [(1_000, 1), (100, 10), (10, 100)] {
        let dead = outage(Fault::Refuse, 5, 30);
        let load = |rules| {
            let scenario = fleet(rules, clients, per_second, dead);
            let scenario = Scenario { after: Duration::from_secs(1), ..scenario };
            let figures = run(&scenario);
            let first = Scenario::first(&scenario.during(), Duration::from_secs(1));
            (figures.load(&first), figures.load(&later(&scenario.during())))
        };
        let (_, naive) = load(Rules::ThreeAttempts);
        assert!(naive > 2.95, "{naive} with three attempts at {per_second}/s");
        let (burst, steady) = load(Rules::Budget);
        assert!(steady <= 1.05, "{steady} at {per_second}/s");
        assert!(burst < 3.0, "{burst} at {per_second}/s");
        let (_, broken) = load(Rules::Default);
        // Whoever calls once a second makes few calls more than a breaker has probes.
        let most = if per_second == 1 { 1.05 } else { 0.2 };
        assert!(broken <= most, "{broken} with breakers at {per_second}/s");
    }
}

#[test]
fn a_destination_that_does_not_answer_is_not_asked_more_either() {
    let stall = outage(Fault::Stall, 5, 30);
    for (rules, most) in [(Rules::Budget, 1.05), (Rules::Default, 0.3)] {
        let scenario = fleet(rules, 100, 10, stall);
        let load = run(&scenario).load(&later(&scenario.during()));
        assert!(load <= most, "{load} {}", rules.name());
    }
}

#[test]
fn after_a_long_outage_calls_succeed_soon_and_nothing_storms() {
    let long = outage(Fault::Refuse, 5, 120);
    let scenario = fleet(Rules::Default, 500, 10, long);
    let scenario = Scenario { after: Duration::from_secs(20), ..scenario };
    let figures = run(&scenario);
    let after = scenario.after();
    let goodput = figures.goodput(&Scenario::first(&after, Duration::from_secs(10)));
    assert!(goodput >= 0.85, "{goodput} in the first 10 s");
    let peak = figures.peak(&after);
    assert!(peak <= 1.2, "a peak of {peak}");
}

#[test]
fn a_queue_that_built_up_in_a_dip_is_worked_off() {
    let dip = outage(Fault::Pause, 5, 3);
    let recovery = |rules| {
        let scenario = fleet(rules, 100, 10, dip);
        let (figures, after) = (run(&scenario), scenario.after());
        let first = figures.goodput(&Scenario::first(&after, Duration::from_secs(10)));
        (first, figures.goodput(&Scenario::from_second(&after, 10)))
    };
    let [budget, all, naive] = [Rules::Budget, Rules::Default, Rules::ThreeAttempts].map(recovery);
    assert_eq!((budget.1, all.1), (1.0, 1.0), "from the tenth second on");
    // Whoever is left alone works off its queue sooner.
    assert!(all.0 > budget.0 && all.0 > 0.75, "{all:?}, without breakers {budget:?}");
    assert!(naive.1 < 0.1, "three attempts recover, too: {naive:?}");
}

/// Two of five backends are gone, and the others are asked for 111 % of what they can do.
#[test]
fn a_partial_outage_does_not_drown_the_rest() {
    for fault in [Fault::Refuse, Fault::Stall] {
        let failed = |rules| {
            let scenario = fleet(rules, 100, 10, outage(fault, 2, 30));
            let scenario = Scenario { after: Duration::from_secs(10), ..scenario };
            let figures = run(&scenario);
            1.0 - figures.goodput(&(scenario.during().start..scenario.after().end))
        };
        let [no_retry, budget, all] = [Rules::NoRetry, Rules::Budget, Rules::Default].map(failed);
        assert!(all < no_retry.min(budget), "{all}, {no_retry}, {budget}: {fault:?}");
        assert!(all < 0.08, "{all} for {fault:?}");
    }
}

/// Slow, or slow at times, is not the same as overloaded.
#[test]
fn nobody_is_refused_while_all_is_well() {
    let quiet = fleet(Rules::Default, 50, 10, outage(Fault::Stall, 0, 0));
    let millis = Duration::from_millis;
    let slow = Latency::between(millis(550), millis(650));
    let at_times = Latency { slow_permille: 200, slow: millis(700), ..quiet.latency };
    for latency in [quiet.latency, slow, at_times] {
        let figures = run(&Scenario { latency, ..quiet });
        let all = quiet.before().start..quiet.after().end;
        assert_eq!(figures.goodput(&all), 1.0, "{latency:?}");
    }
}

#[test]
fn a_slow_tail_is_cut_for_little_load() {
    let [plain, hedged] = Show::Hedging.runs(100).try_into().unwrap();
    let steady = |scenario: &Scenario| Scenario::from_second(&scenario.after(), 10);
    let [plain, hedged] = [plain.scenario, hedged.scenario].map(|scenario| {
        let figures = run(&scenario);
        let steady = steady(&scenario);
        (figures.load(&steady), figures.latency(&steady, 990))
    });
    assert!(plain.1 >= Duration::from_millis(400), "{plain:?}");
    assert!(hedged.1 <= Duration::from_millis(100), "{hedged:?}");
    assert!(hedged.0 <= plain.0 + 0.05, "{hedged:?}");
}
