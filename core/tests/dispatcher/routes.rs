//! Breakers of routes: what fails is left alone, and what works is not.

use sinew_core::client::dispatcher::{Failure, Outcome, Refusal};
use sinew_core::error::{Fault, Phase};
use sinew_core::observe::Event;
use sinew_core::policy::Mode;
use sinew_core::resilience::{
    BreakerConfig, BreakerState, Change, Forced, OpenReason, RetryPolicy, Trip,
};

use super::*;

const BROKEN: &str = "GET /report";

/// One endpoint; a breaker opens after two failures, for 5 s, and has one probe.
fn bench(mode: Mode, max_routes: u32) -> Bench {
    let breaker = BreakerConfig {
        mode,
        consecutive: 2,
        probes: 1,
        open_min: ms(5_000),
        open_max: ms(5_000),
        ..BreakerConfig::default()
    };
    let retry = RetryPolicy { attempts: 1, ..RetryPolicy::default() };
    Bench::new(Policy { breaker, max_routes, retry, ..Policy::default() }, 1)
}

/// Starts a call of a route, over a new connection if need be. `Err`: how it ended instead.
fn sent(bench: &mut Bench, route: Option<&'static str>) -> Result<ExchangeId, Outcome> {
    let spec = CallSpec { route, ..CallSpec::new(1, bench.now + ms(30_000), Safety::Safe) };
    bench.dispatcher.start(bench.now, spec);
    loop {
        for action in bench.actions() {
            match action {
                Action::Dial { connection, .. } => {
                    bench.dispatcher.connected(bench.now, connection, 1);
                }
                Action::Send { exchange, .. } => return Ok(exchange),
                Action::Complete { outcome, .. } => return Err(outcome),
                other => panic!("{other:?}"),
            }
        }
    }
}

/// A call of a route from its start to its end, answered with this status. Whether it was sent.
fn answered(bench: &mut Bench, route: Option<&'static str>, status: u16) -> bool {
    let Ok(exchange) = sent(bench, route) else { return false };
    assert_eq!(bench.head(exchange, status), HeadVerdict::Deliver);
    bench.dispatcher.finished(bench.now, exchange, Reuse::Keep);
    bench.actions();
    true
}

fn states(bench: &mut Bench) -> (BreakerState, Vec<(&'static str, BreakerState)>) {
    let explained = bench.dispatcher.explain(bench.now);
    let routes = explained.routes.iter().map(|one| (one.route, one.breaker)).collect();
    (explained.endpoints[0].breaker, routes)
}

#[test]
fn a_route_that_fails_takes_nobody_along() {
    let mut bench = bench(Mode::Enforce, 64);
    assert!(answered(&mut bench, Some(BROKEN), 500));
    assert!(answered(&mut bench, Some(BROKEN), 500));
    let until = bench.now + ms(5_000);
    let why = Trip::Consecutive;
    assert_eq!(
        sent(&mut bench, Some(BROKEN)),
        Err(Outcome::Refused(Refusal::Route { why: OpenReason::Tripped(why), until: Some(until) }))
    );
    let open = BreakerState::Open { why, until };
    assert_eq!(states(&mut bench), (BreakerState::Closed, vec![(BROKEN, open)]));
    for route in [None, Some("GET /orders/{id}")] {
        assert!(answered(&mut bench, route, 200), "{route:?}");
    }
    // A probe that fails is the route's affair, too.
    bench.now = until;
    for _ in 0..3 {
        assert!(answered(&mut bench, Some(BROKEN), 500));
        assert!(!answered(&mut bench, Some(BROKEN), 200), "after its probe failed");
        assert!(answered(&mut bench, None, 200));
        bench.now = bench.now + ms(5_000);
    }
    assert!(answered(&mut bench, Some(BROKEN), 200));
    assert!(answered(&mut bench, Some(BROKEN), 200));
    let told = std::iter::from_fn(|| bench.dispatcher.poll_observed());
    let changes: Vec<&str> = told
        .filter_map(|event| match event {
            Event::RouteBreaker { route: BROKEN, change } => Some(change.name()),
            Event::Breaker { change, .. } => panic!("the endpoint: {change:?}"),
            _ => None,
        })
        .collect();
    let half = "half_opened";
    assert_eq!(changes, ["opened", half, "opened", half, "opened", half, "opened", half, "closed"]);
}

#[test]
fn an_endpoint_that_fails_is_found_by_calls_of_routes_too() {
    let mut bench = bench(Mode::Enforce, 64);
    assert!(answered(&mut bench, Some("GET /a"), 500));
    assert!(answered(&mut bench, Some("GET /b"), 500));
    let refused = sent(&mut bench, None);
    assert!(matches!(refused, Err(Outcome::Refused(Refusal::Breaker { .. }))), "{refused:?}");
    // Its probe is whoever comes; one that opens its route says something all the same.
    bench.now = bench.now + ms(5_000);
    assert!(answered(&mut bench, Some("GET /a"), 500));
    let (endpoint, routes) = states(&mut bench);
    assert!(matches!(endpoint, BreakerState::Open { why: Trip::Probe, .. }), "{endpoint:?}");
    let [("GET /a", BreakerState::Open { why, .. }), ("GET /b", BreakerState::Closed)] = routes[..]
    else {
        panic!("{routes:?}")
    };
    assert_eq!(why, Trip::Consecutive);
}

#[test]
fn a_route_beyond_the_cap_has_the_breaker_of_its_endpoint() {
    let mut bench = bench(Mode::Enforce, 1);
    assert!(answered(&mut bench, Some("GET /first"), 200));
    for _ in 0..2 {
        assert!(answered(&mut bench, Some(BROKEN), 500));
    }
    let (endpoint, routes) = states(&mut bench);
    assert!(matches!(endpoint, BreakerState::Open { .. }), "{endpoint:?}");
    assert_eq!(routes, [("GET /first", BreakerState::Closed)]);
    assert_eq!(Policy::default().max_routes, 64);
}

#[test]
fn who_waits_for_a_connection_is_told_when_its_turn_comes() {
    let mut bench = bench(Mode::Enforce, 64);
    let spec = |token, route| CallSpec {
        route,
        ..CallSpec::new(token, Instant::from_nanos(1) + ms(60_000), Safety::Safe)
    };
    bench.dispatcher.start(bench.now, spec(1, Some(BROKEN)));
    bench.dispatcher.start(bench.now, spec(2, None));
    let dials: Vec<ConnectionId> = bench
        .actions()
        .iter()
        .map(|action| match action {
            Action::Dial { connection, .. } => *connection,
            other => panic!("{other:?}"),
        })
        .collect();
    bench.dispatcher.force_route(bench.now, BROKEN, Some(Forced::Open));
    bench.dispatcher.connected(bench.now, dials[0], 1);
    let actions = bench.actions();
    let [Action::Complete { token: 1, outcome, .. }, Action::Send { token: 2, .. }] = actions[..]
    else {
        panic!("{actions:?}")
    };
    let why = OpenReason::Forced;
    assert_eq!(outcome, Outcome::Refused(Refusal::Route { why, until: None }));
    assert_eq!(outcome.reason(), "route_breaker_forced");
}

#[test]
fn a_probe_that_is_given_up_gives_its_place_back() {
    let mut bench = bench(Mode::Enforce, 64);
    for _ in 0..2 {
        assert!(answered(&mut bench, Some(BROKEN), 500));
    }
    bench.now = bench.now + ms(5_000);
    let spec =
        CallSpec { route: Some(BROKEN), ..CallSpec::new(9, bench.now + ms(30_000), Safety::Safe) };
    let call = bench.dispatcher.start(bench.now, spec);
    bench.sent(9);
    let refused = sent(&mut bench, Some(BROKEN));
    let probing = OpenReason::Probing;
    assert!(
        matches!(refused, Err(Outcome::Refused(Refusal::Route { why, .. })) if why == probing),
        "{refused:?}"
    );
    bench.dispatcher.abandon(bench.now, call, Reuse::Close);
    bench.actions();
    assert!(answered(&mut bench, Some(BROKEN), 200), "the place is free");
    assert_eq!(states(&mut bench).1, [(BROKEN, BreakerState::Closed)]);
}

fn failure(phase: Phase, fault: Fault) -> Failure {
    Failure { delivery: Delivery::MaybeProcessed, phase, fault }
}

#[test]
fn what_is_our_fault_is_not_the_routes() {
    let mut bench = bench(Mode::Enforce, 64);
    for _ in 0..4 {
        let exchange = sent(&mut bench, Some(BROKEN)).unwrap();
        let failure = failure(Phase::RequestBody, Fault::Local);
        bench.dispatcher.failed(bench.now, exchange, failure, Replay::Possible, Reuse::Close);
        bench.actions();
    }
    assert_eq!(states(&mut bench), (BreakerState::Closed, vec![(BROKEN, BreakerState::Closed)]));
}

#[test]
fn bodies_that_end_too_early_count_in_the_rate_of_the_route() {
    let mut bench = bench(Mode::Enforce, 64);
    for call in 0..20 {
        // Others keep the rate of the endpoint low.
        assert!(answered(&mut bench, None, 200));
        let exchange = sent(&mut bench, Some(BROKEN)).unwrap();
        assert_eq!(bench.head(exchange, 200), HeadVerdict::Deliver);
        if call % 2 == 0 {
            bench.dispatcher.finished(bench.now, exchange, Reuse::Keep);
        } else {
            let failure = failure(Phase::ResponseBody, Fault::Network);
            bench.dispatcher.failed(bench.now, exchange, failure, Replay::Possible, Reuse::Close);
        }
        bench.actions();
    }
    let (endpoint, routes) = states(&mut bench);
    assert_eq!(endpoint, BreakerState::Closed);
    let [(BROKEN, BreakerState::Open { why, .. })] = routes[..] else { panic!("{routes:?}") };
    assert_eq!(why, Trip::FailureRate);
}

#[test]
fn in_shadow_a_route_goes_on() {
    let mut bench = bench(Mode::Shadow, 64);
    for _ in 0..5 {
        assert!(answered(&mut bench, Some(BROKEN), 500));
    }
    let told = std::iter::from_fn(|| bench.dispatcher.poll_observed());
    let opened = |event| matches!(event, Event::RouteBreaker { change: Change::Opened { .. }, .. });
    assert_eq!(told.map(opened).filter(|opened| *opened).count(), 1);
}

#[test]
fn a_route_that_is_kept_closed_does_not_hide_what_its_endpoint_does() {
    let mut bench = bench(Mode::Enforce, 64);
    bench.dispatcher.force_route(bench.now, BROKEN, Some(Forced::Closed));
    for _ in 0..2 {
        assert!(answered(&mut bench, Some(BROKEN), 500));
    }
    let (endpoint, routes) = states(&mut bench);
    assert!(matches!(endpoint, BreakerState::Open { why: Trip::Consecutive, .. }), "{endpoint:?}");
    assert_eq!(routes, [(BROKEN, BreakerState::Forced(Forced::Closed))]);
}

#[test]
fn bodies_of_a_route_that_is_kept_closed_count_for_its_endpoint() {
    let mut bench = bench(Mode::Enforce, 64);
    bench.dispatcher.force_route(bench.now, BROKEN, Some(Forced::Closed));
    let mut ended = 0;
    while let Ok(exchange) = sent(&mut bench, Some(BROKEN)) {
        assert_eq!(bench.head(exchange, 200), HeadVerdict::Deliver);
        let failure = failure(Phase::ResponseBody, Fault::Network);
        bench.dispatcher.failed(bench.now, exchange, failure, Replay::Possible, Reuse::Close);
        bench.actions();
        ended += 1;
        assert!(ended < 100, "nobody is blamed");
    }
    let (endpoint, _) = states(&mut bench);
    assert!(matches!(endpoint, BreakerState::Open { why: Trip::FailureRate, .. }), "{endpoint:?}");
}
