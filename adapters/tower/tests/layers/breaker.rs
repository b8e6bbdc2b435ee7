use std::time::Duration;

use http::{Method, StatusCode};
use sinew_core::policy::Mode;
use sinew_core::resilience::{BreakerConfig, BreakerState, BudgetConfig, Forced, RetryPolicy};
use sinew_tower::{BreakerLayer, Refused, RetryLayer};
use tower_layer::Layer as _;

use super::script::{Answer, Hand, Script, Step, finish, poll, request, start};

const FAILS: Step = Step::Answer(StatusCode::INTERNAL_SERVER_ERROR, &[]);

/// Opens after two failures, for a second; a single probe closes it.
fn quick() -> BreakerConfig {
    BreakerConfig {
        consecutive: 2,
        open_min: Duration::from_secs(1),
        open_max: Duration::from_secs(1),
        probes: 1,
        ..BreakerConfig::default()
    }
}

struct Bench {
    hand: Hand,
    script: Script,
    layer: BreakerLayer<Hand>,
}

impl Bench {
    fn new(config: BreakerConfig, steps: impl IntoIterator<Item = Step>) -> Self {
        let hand = Hand::default();
        let layer = BreakerLayer::new(hand.clone(), config).unwrap();
        Self { hand, script: Script::new(steps), layer }
    }

    fn ask(&self) -> Answer {
        let mut service = self.layer.layer(self.script.clone());
        let call = start(&mut service, request(Method::GET, ""));
        finish(&self.hand, call)
    }

    fn is_open(&self) -> bool {
        matches!(self.layer.state(), BreakerState::Open { .. })
    }
}

#[test]
fn failures_open_it_and_a_probe_closes_it() {
    let bench = Bench::new(quick(), [FAILS, Step::Lost]);
    assert!(bench.ask().is_ok());
    assert!(bench.ask().is_err());
    assert!(bench.is_open());
    let refused = bench.ask().unwrap_err();
    assert!(matches!(refused.downcast_ref(), Some(Refused::Breaker(_))), "{refused}");
    assert_eq!(bench.script.attempts(), 2);
    bench.hand.turn(Duration::from_secs(1));
    assert!(bench.ask().is_ok());
    assert_eq!(bench.layer.state(), BreakerState::Closed);
}

#[test]
fn retry_after_keeps_it_open() {
    let later = Step::Answer(StatusCode::SERVICE_UNAVAILABLE, &[("retry-after", "5")]);
    let bench = Bench::new(quick(), [FAILS, later]);
    let _ = (bench.ask(), bench.ask());
    bench.hand.turn(Duration::from_secs(4));
    assert!(bench.ask().is_err());
    bench.hand.turn(Duration::from_secs(1));
    assert!(bench.ask().is_ok());
}

#[test]
fn a_probe_that_is_dropped_gives_its_place_back() {
    let bench = Bench::new(quick(), [FAILS, FAILS, Step::Hangs, Step::Hangs]);
    let _ = (bench.ask(), bench.ask());
    bench.hand.turn(Duration::from_secs(1));
    for polled in [true, false] {
        let mut service = bench.layer.layer(bench.script.clone());
        let mut probe = start(&mut service, request(Method::GET, ""));
        if polled {
            assert!(poll(&mut probe).is_none());
        }
        assert_eq!(bench.layer.state(), BreakerState::HalfOpen { probes: 1 });
        assert!(bench.ask().is_err());
        drop(probe);
        assert_eq!(bench.layer.state(), BreakerState::HalfOpen { probes: 0 });
    }
    assert!(bench.ask().is_ok());
    assert_eq!(bench.layer.state(), BreakerState::Closed);
}

#[test]
fn what_is_dropped_says_nothing() {
    let bench = Bench::new(quick(), [Step::Hangs, Step::Hangs, Step::Hangs]);
    for _ in 0..3 {
        let mut service = bench.layer.layer(bench.script.clone());
        let mut call = start(&mut service, request(Method::GET, ""));
        assert!(poll(&mut call).is_none());
    }
    assert_eq!(bench.layer.state(), BreakerState::Closed);
}

#[test]
fn a_refusal_behind_it_is_no_failure() {
    let bench = Bench::new(quick(), []);
    let closed = BreakerLayer::new(bench.hand.clone(), quick()).unwrap();
    closed.force(Some(Forced::Open));
    let mut service = bench.layer.layer(closed.layer(bench.script.clone()));
    for _ in 0..5 {
        let call = start(&mut service, request(Method::GET, ""));
        assert!(finish(&bench.hand, call).is_err());
    }
    assert_eq!(bench.layer.state(), BreakerState::Closed);
}

#[test]
fn what_it_refuses_is_not_tried_again() {
    let bench = Bench::new(quick(), [FAILS, FAILS]);
    let _ = (bench.ask(), bench.ask());
    let retries =
        RetryLayer::new(bench.hand.clone(), RetryPolicy::default(), BudgetConfig::default());
    let mut service = retries.unwrap().layer(bench.layer.layer(bench.script.clone()));
    let mut call = start(&mut service, request(Method::GET, ""));
    let refused = poll(&mut call).unwrap().unwrap_err();
    assert!(matches!(refused.downcast_ref(), Some(Refused::Breaker(_))), "{refused}");
    assert_eq!(bench.script.attempts(), 2);
}

#[test]
fn in_shadow_and_off_it_refuses_nothing() {
    for (mode, opens) in [(Mode::Shadow, true), (Mode::Off, false)] {
        let bench = Bench::new(BreakerConfig { mode, ..quick() }, [FAILS, FAILS]);
        let _ = (bench.ask(), bench.ask());
        assert_eq!(bench.is_open(), opens);
        assert!(bench.ask().is_ok());
    }
}
