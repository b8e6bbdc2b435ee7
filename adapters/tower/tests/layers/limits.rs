use std::time::Duration;

use http::{Method, StatusCode};
use sinew_core::limit::{ConcurrencyConfig, Quota};
use sinew_core::policy::Mode;
use sinew_core::resilience::{BreakerConfig, BreakerState};
use sinew_tower::{BreakerLayer, ConcurrencyLayer, RateLayer, Refused};
use tower_layer::Layer as _;

use super::script::{Hand, Script, Step, finish, poll, request, start};

fn two() -> ConcurrencyConfig {
    ConcurrencyConfig { initial: 2, ..ConcurrencyConfig::default() }
}

#[test]
fn there_are_as_many_places_as_the_destination_bears() {
    let hand = Hand::default();
    let layer = ConcurrencyLayer::new(hand, two()).unwrap();
    let script = Script::new([Step::Hangs, Step::Hangs]);
    let mut service = layer.layer(script.clone());
    let mut first = start(&mut service, request(Method::GET, ""));
    let second = start(&mut service, request(Method::GET, ""));
    assert!(poll(&mut first).is_none());
    let mut third = start(&mut service, request(Method::GET, ""));
    let refused = poll(&mut third).unwrap().unwrap_err();
    assert!(matches!(refused.downcast_ref(), Some(Refused::Concurrency(_))), "{refused}");
    // Whether it was polled or not.
    drop(first);
    drop(second);
    assert_eq!(layer.in_flight(), 0);
    let mut fourth = start(&mut service, request(Method::GET, ""));
    assert!(poll(&mut fourth).unwrap().is_ok());
    assert_eq!((layer.in_flight(), script.attempts()), (0, 2));
}

#[test]
fn overload_lowers_the_limit_and_what_is_dropped_does_not() {
    let hand = Hand::default();
    let config = ConcurrencyConfig { initial: 20, ..ConcurrencyConfig::default() };
    for (step, lowers) in [
        (|| Step::Answer(StatusCode::SERVICE_UNAVAILABLE, &[]), true),
        (|| Step::Lost, true),
        (|| Step::Answer(StatusCode::NOT_FOUND, &[]), false),
        (|| Step::Hangs, false),
    ] as [(fn() -> Step, bool); 4]
    {
        let layer = ConcurrencyLayer::new(hand.clone(), config).unwrap();
        let script = Script::new((0..40).map(|_| step()));
        let mut service = layer.layer(script);
        for _ in 0..40 {
            let mut call = start(&mut service, request(Method::GET, ""));
            let _ = poll(&mut call);
        }
        assert_eq!(layer.limit() < 20, lowers);
        assert_eq!(layer.in_flight(), 0);
    }
}

#[test]
fn a_limit_in_shadow_refuses_nothing() {
    let config = ConcurrencyConfig { mode: Mode::Shadow, initial: 1, ..two() };
    let layer = ConcurrencyLayer::new(Hand::default(), config).unwrap();
    let mut service = layer.layer(Script::new([Step::Hangs]));
    let mut first = start(&mut service, request(Method::GET, ""));
    let mut second = start(&mut service, request(Method::GET, ""));
    assert!(poll(&mut first).is_none());
    assert!(poll(&mut second).unwrap().is_ok());
    assert_eq!(layer.in_flight(), 1);
}

/// One a second, two at once.
fn slow() -> Quota {
    Quota::new(1, Duration::from_secs(1), 2).unwrap()
}

#[test]
fn a_quota_refuses_or_makes_wait() {
    let hand = Hand::default();
    let script = Script::default();
    let layer = RateLayer::new(hand.clone(), slow());
    let mut service = layer.layer(script.clone());
    for allowed in [true, true, false] {
        let mut call = start(&mut service, request(Method::GET, ""));
        assert_eq!(poll(&mut call).unwrap().is_ok(), allowed);
    }
    let mut call = start(&mut service, request(Method::GET, ""));
    let refused = poll(&mut call).unwrap().unwrap_err();
    let second = Some(Duration::from_secs(1));
    assert_eq!(refused.downcast_ref(), Some(&Refused::Rate(second)), "{refused}");

    let mut patient = layer.patience(Duration::from_secs(1)).layer(script.clone());
    let mut call = start(&mut patient, request(Method::GET, ""));
    assert!(poll(&mut call).is_none());
    hand.turn(Duration::from_millis(999));
    assert!(poll(&mut call).is_none());
    hand.turn(Duration::from_millis(1));
    assert!(poll(&mut call).unwrap().is_ok());
    assert_eq!(script.attempts(), 3);
}

#[test]
fn waiting_for_a_token_is_no_slowness_of_what_is_behind() {
    let hand = Hand::default();
    let config = BreakerConfig {
        slow: Duration::from_millis(500),
        minimum_calls: 10,
        window: Duration::from_secs(600),
        ..BreakerConfig::default()
    };
    let breaker = BreakerLayer::new(hand.clone(), config).unwrap();
    let places = ConcurrencyLayer::new(hand.clone(), ConcurrencyConfig::default()).unwrap();
    let rate = RateLayer::new(hand.clone(), slow()).patience(Duration::from_secs(1));
    let behind = breaker.layer(places.layer(Script::default()));
    let mut service = rate.layer(behind);
    for _ in 0..40 {
        let call = start(&mut service, request(Method::GET, ""));
        assert!(finish(&hand, call).is_ok());
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[test]
fn who_stops_waiting_takes_no_token() {
    let hand = Hand::default();
    let layer = RateLayer::new(hand.clone(), slow()).patience(Duration::from_secs(9));
    let mut service = layer.layer(Script::default());
    for _ in 0..2 {
        let call = start(&mut service, request(Method::GET, ""));
        assert!(finish(&hand, call).is_ok());
    }
    for _ in 0..5 {
        let mut call = start(&mut service, request(Method::GET, ""));
        assert!(poll(&mut call).is_none());
    }
    hand.turn(Duration::from_secs(1));
    assert_eq!(layer.remaining(), 1);
}
