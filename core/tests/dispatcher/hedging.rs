//! Where the second attempt of a call goes.

use sinew_core::observe::Event;
use sinew_core::policy::Mode;
use sinew_core::resilience::HedgeConfig;

use super::*;

/// Calls of this kind take 10 ms at most, so that one that takes longer is sent twice. `capacity` is
/// that of each connection.
pub(super) fn hedging(pool: PoolPolicy, endpoints: u64, capacity: u32) -> Bench {
    let hedge = HedgeConfig {
        mode: Mode::Enforce,
        percent: 50,
        minimum_samples: 1,
        delay_min: ms(10),
        ..HedgeConfig::default()
    };
    let mut bench = Bench::new(Policy { pool, hedge, ..Policy::default() }, endpoints);
    for token in 100..104 {
        bench.start(token, Sharing::Shared);
        let mut actions = bench.actions();
        if let [Action::Dial { connection, .. }] = actions[..] {
            bench.dispatcher.connected(bench.now, connection, capacity);
            actions = bench.actions();
        }
        let [Action::Send { exchange, .. }] = actions[..] else { panic!("{actions:?}") };
        bench.done(exchange);
        bench.actions();
    }
    bench
}

fn waits(bench: &mut Bench) {
    bench.now = bench.now + ms(20);
    bench.dispatcher.handle_timeout(bench.now);
}

#[test]
fn it_goes_to_another_endpoint() {
    let mut bench = hedging(PoolPolicy::default(), 2, 4);
    let call = bench.start(1, Sharing::Shared);
    let mut endpoints = Vec::new();
    for attempt in 1..=2 {
        let mut actions = bench.actions();
        if let [Action::Dial { connection, .. }] = actions[..] {
            bench.dispatcher.connected(bench.now, connection, 4);
            actions = bench.actions();
        }
        assert!(matches!(actions[..], [Action::Send { token: 1, .. }]), "{actions:?}");
        let explained = bench.dispatcher.explain_call(bench.now, call).unwrap();
        assert_eq!((explained.attempts, explained.hedge_in.is_some()), (attempt, attempt == 1));
        let explained = bench.dispatcher.explain(bench.now);
        endpoints = explained.endpoints.iter().map(|one| one.in_flight).collect();
        waits(&mut bench);
    }
    assert_eq!(endpoints, [1, 1]);
}

#[test]
fn it_goes_to_another_connection_of_the_only_endpoint() {
    let mut bench = hedging(PoolPolicy::default(), 1, 4);
    bench.start(1, Sharing::Shared);
    let (_, first) = bench.sent(1);
    waits(&mut bench);
    // There is room where the first attempt is, and that may be what takes so long.
    let other = bench.dialled();
    bench.dispatcher.connected(bench.now, other, 4);
    assert_eq!(bench.sent(1).1, other);
    assert_ne!(first, other);
}

#[test]
fn there_is_none_where_there_is_no_other_connection() {
    let pool = PoolPolicy { max_connections: 1, max_per_endpoint: 1, ..PoolPolicy::default() };
    let mut bench = hedging(pool, 1, 4);
    bench.start(1, Sharing::Shared);
    bench.sent(1);
    waits(&mut bench);
    bench.quiet();
    assert_eq!(bench.dispatcher.pending(), 0);
}

/// It does not stand in the way of calls that have nothing on its way yet.
#[test]
fn it_leaves_the_queue_when_others_need_its_connection() {
    let pool = PoolPolicy { max_connections: 2, max_per_endpoint: 2, ..PoolPolicy::default() };
    let mut bench = hedging(pool, 1, 2);
    bench.start(1, Sharing::Shared);
    bench.sent(1);
    waits(&mut bench);
    let other = bench.dialled();
    bench.start(2, Sharing::Shared);
    bench.quiet();
    assert_eq!(bench.dispatcher.pending(), 1);
    bench.dispatcher.connected(bench.now, other, 2);
    assert_eq!(bench.sent(2).1, other);
}

/// Tokens of the attempts that were told to have left before they were sent.
fn dropped(bench: &mut Bench) -> Vec<u64> {
    let told = std::iter::from_fn(|| bench.dispatcher.poll_observed());
    told.filter_map(|event| match event {
        Event::AttemptDropped { token } => Some(token),
        _ => None,
    })
    .collect()
}

/// Whoever counts attempts that wait learns of each that no longer does, once, however it left.
#[test]
fn one_that_leaves_before_it_is_sent_is_told_once() {
    // An answer came, the time to wait for a connection is over, or another call needs the connection.
    for leaves in ["answered", "waited", "displaced"] {
        let wait = (leaves == "waited").then_some(ms(5));
        let most = if leaves == "displaced" { 2 } else { 100 };
        let (max_connections, max_per_endpoint) = (most, most);
        let pool = PoolPolicy { wait, max_connections, max_per_endpoint, ..PoolPolicy::default() };
        let capacity = if leaves == "displaced" { 2 } else { 1 };
        let mut bench = hedging(pool, 1, capacity);
        bench.start(1, Sharing::Shared);
        let (first, _) = bench.sent(1);
        waits(&mut bench);
        let other = bench.dialled();
        assert_eq!(dropped(&mut bench), [], "{leaves}");
        match leaves {
            "answered" => assert_eq!(bench.head(first, 200), HeadVerdict::Deliver),
            "waited" => waits(&mut bench),
            _ => {
                bench.start(2, Sharing::Shared);
                bench.quiet();
                bench.dispatcher.connected(bench.now, other, capacity);
                bench.sent(2);
            }
        }
        assert_eq!(dropped(&mut bench), [1], "{leaves}");
    }
}
