//! Who may be on a connection with whom, and connections that leave HTTP.

use sinew_core::client::dispatcher::{Failure, Retire};
use sinew_core::error::{Fault, Phase};
use sinew_core::policy::Mode;
use sinew_core::resilience::{BreakerConfig, Replay};
use sinew_core::time::Timer;

use super::*;

const SHARED: Sharing = Sharing::Shared;
const EXCLUSIVE: Sharing = Sharing::Exclusive;

/// One connection at most, open, with room for four.
fn one_connection() -> (Bench, ConnectionId) {
    let pool = PoolPolicy { max_connections: 1, max_per_endpoint: 1, ..PoolPolicy::default() };
    let mut bench = Bench::new(Policy { pool, ..Policy::default() }, 1);
    bench.start(0, SHARED);
    let connection = bench.dialled();
    bench.dispatcher.connected(bench.now, connection, 4);
    let (exchange, _) = bench.sent(0);
    bench.done(exchange);
    assert!(bench.actions().iter().all(completes));
    (bench, connection)
}

#[test]
fn calls_that_share_are_together() {
    let (mut bench, connection) = one_connection();
    for token in 1..=4 {
        bench.start(token, SHARED);
        assert_eq!(bench.sent(token).1, connection);
    }
    bench.start(5, SHARED);
    bench.quiet();
}

#[test]
fn nobody_joins_a_call_that_is_alone() {
    let (mut bench, _) = one_connection();
    bench.start(1, EXCLUSIVE);
    let (alone, _) = bench.sent(1);
    for token in 2..=3 {
        bench.start(token, SHARED);
        bench.quiet();
    }
    // Not before its exchange is over: the answer alone is not enough.
    assert_eq!(bench.head(alone, 200), HeadVerdict::Deliver);
    bench.quiet();
    bench.dispatcher.finished(bench.now, alone, Reuse::Keep);
    let sent = bench.actions();
    assert!(
        matches!(
            sent[..],
            [
                Action::Complete { token: 1, .. },
                Action::Send { token: 2, .. },
                Action::Send { token: 3, .. }
            ]
        ),
        "{sent:?}"
    );
}

#[test]
fn a_call_that_wants_to_be_alone_waits_and_is_not_overtaken() {
    let (mut bench, _) = one_connection();
    bench.start(1, SHARED);
    let (first, _) = bench.sent(1);
    bench.start(2, SHARED);
    let (second, _) = bench.sent(2);
    bench.start(3, EXCLUSIVE);
    // There is room for this one, but the other would wait for ever if that went on.
    bench.start(4, SHARED);
    bench.quiet();
    bench.done(first);
    assert!(bench.actions().iter().all(completes), "one is still there");
    bench.done(second);
    let sent = bench.actions();
    assert!(
        matches!(sent[..], [Action::Complete { token: 2, .. }, Action::Send { token: 3, .. }]),
        "{sent:?}"
    );
}

#[test]
fn whoever_waits_behind_is_served_when_it_leaves() {
    let (mut bench, _) = one_connection();
    bench.start(1, SHARED);
    bench.sent(1);
    let alone = bench.start(2, EXCLUSIVE);
    bench.start(3, SHARED);
    bench.quiet();
    bench.dispatcher.abandon(bench.now, alone, Reuse::Keep);
    bench.sent(3);
}

/// Nothing was sent, and the connection stays, as another call is on it.
const DEAD: Failure =
    Failure { delivery: Delivery::NotSent, phase: Phase::ResponseHead, fault: Fault::Network };

/// Whoever is sent on it at once again, and finds it dead again, does not go on like that for ever.
#[test]
fn a_dead_connection_that_others_keep_is_not_tried_without_end() {
    let (mut bench, connection) = one_connection();
    bench.start(1, SHARED);
    bench.sent(1);
    bench.start(2, SHARED);
    for _ in 0..4 {
        let (exchange, again) = bench.sent(2);
        assert_eq!(again, connection);
        bench.dispatcher.failed(bench.now, exchange, DEAD, Replay::Possible, Reuse::Keep);
    }
    bench.quiet();
}

/// Whoever finds it dead says so first: then it is given to nobody, and goes with the last.
#[test]
fn a_dead_connection_that_others_keep_is_given_to_nobody_once_it_is_retired() {
    let (mut bench, connection) = one_connection();
    for token in 1..=2 {
        bench.start(token, SHARED);
    }
    let mut sent = bench.actions().into_iter().map(|action| match action {
        Action::Send { exchange, .. } => exchange,
        other => panic!("{other:?}"),
    });
    let (first, second) = (sent.next().unwrap(), sent.next().unwrap());
    bench.dispatcher.retire(bench.now, connection);
    bench.dispatcher.failed(bench.now, first, DEAD, Replay::Possible, Reuse::Keep);
    bench.quiet();
    bench.dispatcher.failed(bench.now, second, DEAD, Replay::Possible, Reuse::Close);
    assert_ne!(bench.dialled(), connection);
}

#[test]
fn idle_connections_are_left_to_those_who_need_one() {
    let mut bench = Bench::new(Policy::default(), 1);
    let mut connections = Vec::new();
    for token in 0..2 {
        bench.start(token, EXCLUSIVE);
        connections.push(bench.dialled());
    }
    for connection in connections {
        bench.dispatcher.connected(bench.now, connection, 4);
    }
    for action in bench.actions() {
        let Action::Send { exchange, .. } = action else { panic!("{action:?}") };
        bench.done(exchange);
    }
    bench.actions();
    bench.start(2, SHARED);
    let (_, busy) = bench.sent(2);
    bench.start(3, SHARED);
    assert_eq!(bench.sent(3).1, busy);
    bench.start(4, EXCLUSIVE);
    assert_ne!(bench.sent(4).1, busy);
}

#[test]
fn a_tunnel_keeps_its_place_until_it_is_gone() {
    let (mut bench, connection) = one_connection();
    bench.start(1, EXCLUSIVE);
    let (exchange, _) = bench.sent(1);
    assert_eq!(bench.head(exchange, 101), HeadVerdict::Deliver);
    bench.dispatcher.upgraded(bench.now, exchange);
    assert!(bench.actions().iter().all(completes));
    assert_eq!((bench.dispatcher.calls(), bench.dispatcher.exchanges()), (0, 0));
    // The cap is reached: nothing is sent, nothing dialled, and no timer ends it.
    bench.start(2, SHARED);
    bench.quiet();
    bench.dispatcher.update_endpoints(bench.now, 2, &[Endpoint(0), Endpoint(1)]);
    bench.dispatcher.update_endpoints(bench.now, 3, &[Endpoint(1)]);
    bench.quiet();
    assert_eq!((bench.dispatcher.connections(), bench.dispatcher.idle_connections()), (1, 0));
    bench.dispatcher.retire(bench.now, connection);
    assert_ne!(bench.dialled(), connection);
}

/// What came while a connection was idle is no answer to anything: the embedder says so, and nothing
/// is ever sent there again.
#[test]
fn a_connection_that_is_readable_while_idle_is_not_used() {
    let (mut bench, connection) = one_connection();
    assert_eq!(bench.dispatcher.idle_connections(), 1);
    bench.dispatcher.retire(bench.now, connection);
    assert_eq!(bench.dispatcher.connections(), 0);
    bench.start(1, SHARED);
    assert_ne!(bench.dialled(), connection);
    // Nor is one that was opened ahead, and not used yet.
    let pool = PoolPolicy { warm: 1, ..PoolPolicy::default() };
    let mut bench = Bench::new(Policy { pool, ..Policy::default() }, 1);
    let warm = bench.dialled();
    bench.dispatcher.connected(bench.now, warm, 1);
    bench.quiet();
    bench.dispatcher.retire(bench.now, warm);
    // Whoever opens and closes at once is not dialled without end.
    bench.quiet();
    let next = bench.dispatcher.deadline().unwrap();
    assert_eq!((next.at, next.why), (bench.now + ms(1_000), Timer::Connect));
    bench.now = next.at;
    let another = bench.dialled();
    bench.dispatcher.connected(bench.now, another, 1);
    bench.start(1, SHARED);
    let (exchange, connection) = bench.sent(1);
    assert_eq!(connection, another);
    // One that was used is replaced at once.
    assert_eq!(bench.head(exchange, 200), HeadVerdict::Deliver);
    bench.dispatcher.finished(bench.now, exchange, Reuse::Keep);
    bench.actions();
    bench.dispatcher.retire(bench.now, another);
    bench.dialled();
}

/// After a reload of certificates, nothing new goes over what was opened before.
#[test]
fn nothing_new_goes_over_connections_from_before() {
    let (mut bench, busy) = one_connection();
    bench.start(1, SHARED);
    let (exchange, _) = bench.sent(1);
    bench.dispatcher.retire_all(bench.now, Retire::TrustChanged);
    bench.quiet();
    bench.start(2, SHARED);
    bench.quiet();
    assert_eq!(bench.head(exchange, 200), HeadVerdict::Deliver);
    bench.dispatcher.finished(bench.now, exchange, Reuse::Close);
    let actions = bench.actions();
    let [Action::Complete { token: 1, .. }, Action::Dial { connection: another, .. }] = actions[..]
    else {
        panic!("{actions:?}")
    };
    assert_ne!(another, busy);
    // Nor over one that is only being opened.
    bench.dispatcher.retire_all(bench.now, Retire::TrustChanged);
    let actions = bench.actions();
    let [Action::Close { connection: closed, .. }, Action::Dial { .. }] = actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!(closed, another);
}

#[test]
fn what_cannot_be_opened_ahead_is_left_alone_for_a_while() {
    let pool = PoolPolicy { warm: 1, connect: ms(10_000), ..PoolPolicy::default() };
    for (mode, fault) in
        [(Mode::Enforce, Fault::Local), (Mode::Off, Fault::Network), (Mode::Shadow, Fault::Network)]
    {
        let breaker = BreakerConfig { mode, ..BreakerConfig::default() };
        let mut bench = Bench::new(Policy { pool, breaker, ..Policy::default() }, 1);
        let failure = Failure { delivery: Delivery::NotSent, phase: Phase::Connect, fault };
        for _ in 0..3 {
            let connection = bench.dialled();
            bench.dispatcher.dial_failed(bench.now, connection, failure);
            bench.quiet();
            let next = bench.dispatcher.deadline().unwrap();
            assert_eq!((next.at, next.why), (bench.now + ms(1_000), Timer::Connect), "{mode:?}");
            bench.now = bench.now + ms(999);
            bench.quiet();
            bench.now = next.at;
        }
        let connection = bench.dialled();
        bench.dispatcher.dial_failed(bench.now, connection, failure);
        // Whoever calls does not wait for that.
        bench.start(1, Sharing::Exclusive);
        bench.dialled();
    }
}

/// What an endpoint waits for besides does not end it, nor forget it.
#[test]
fn a_breaker_that_half_opens_meanwhile_leaves_the_rest_of_the_wait() {
    let pool = PoolPolicy { warm: 1, ..PoolPolicy::default() };
    let (open_min, open_max) = (ms(200), ms(400));
    let breaker = BreakerConfig { consecutive: 1, open_min, open_max, ..BreakerConfig::default() };
    let mut bench = Bench::new(Policy { pool, breaker, ..Policy::default() }, 1);
    let connection = bench.dialled();
    let (delivery, phase) = (Delivery::NotSent, Phase::Connect);
    let failure = Failure { delivery, phase, fault: Fault::Network };
    bench.dispatcher.dial_failed(bench.now, connection, failure);
    bench.quiet();
    let begun = bench.now;
    let next = bench.dispatcher.deadline().unwrap();
    assert_eq!(next.why, Timer::BreakerOpen);
    bench.now = next.at;
    bench.quiet();
    let next = bench.dispatcher.deadline().unwrap();
    assert_eq!((next.at, next.why), (begun + ms(1_000), Timer::Connect));
    bench.now = next.at;
    bench.dialled();
}
