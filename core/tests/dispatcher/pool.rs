//! Which connection a call gets, and when one is not used any more.

use sinew_core::client::dispatcher::{CallSpec, Failure, Outcome, Retire};
use sinew_core::error::{Fault, Phase};
use sinew_core::mesh::{Algorithm, BalancePolicy, SlowStart};

use super::*;

fn pool(change: impl FnOnce(&mut PoolPolicy), endpoints: u64) -> Bench {
    let mut policy = Policy::default();
    change(&mut policy.pool);
    Bench::new(policy, endpoints)
}

impl Bench {
    /// Calls of these tokens, at once, each on a connection of its own.
    fn sends(&mut self, tokens: &[u64]) -> Vec<(ExchangeId, ConnectionId)> {
        for token in tokens {
            self.start(*token, Sharing::Exclusive);
        }
        let mut sent = Vec::new();
        loop {
            let actions = self.actions();
            if actions.is_empty() {
                return sent;
            }
            for action in actions {
                match action {
                    Action::Dial { connection, .. } => {
                        self.dispatcher.connected(self.now, connection, 1);
                    }
                    Action::Send { exchange, connection, .. } => sent.push((exchange, connection)),
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    fn closes(&mut self) -> Vec<(ConnectionId, Retire)> {
        let closes = |action| match action {
            Action::Close { connection, why } => Some((connection, why)),
            _ => None,
        };
        self.actions().into_iter().filter_map(closes).collect()
    }

    fn passes(&mut self, time: Duration) {
        self.now = self.now + time;
        self.dispatcher.handle_timeout(self.now);
    }
}

/// How a call stops waiting for a connection.
#[derive(Clone, Copy, Debug)]
enum Leaves {
    PoolTimeout,
    Deadline,
    Dropped,
}

/// Two endpoints: one that does not answer, and whose connection may take 1 s to open, as a call found that
/// waited 100 ms for it; and one with an idle connection. Those connections, and the second endpoint.
fn one_is_slow(leaves: Leaves) -> (Bench, [ConnectionId; 2], Endpoint) {
    let pool = PoolPolicy { connect: ms(1_000), ..PoolPolicy::default() };
    let balance = BalancePolicy { algorithm: Algorithm::RoundRobin, ..BalancePolicy::default() };
    let mut bench = Bench::new(Policy { pool, balance, ..Policy::default() }, 2);
    bench.start(1, Sharing::Exclusive);
    let slow = bench.dialled();
    let (mut deadline, mut pool_timeout) = (bench.now + ms(30_000), None);
    match leaves {
        Leaves::PoolTimeout => pool_timeout = Some(ms(100)),
        Leaves::Deadline => deadline = bench.now + ms(100),
        Leaves::Dropped => {}
    }
    let spec = CallSpec { pool_timeout, ..CallSpec::new(2, deadline, Safety::Safe) };
    let second = bench.dispatcher.start(bench.now, spec);
    let [Action::Dial { connection: kept, endpoint, .. }] = bench.actions()[..] else { panic!() };
    bench.dispatcher.connected(bench.now, kept, 1);
    let (exchange, _) = bench.sent(1);
    bench.passes(ms(100));
    match leaves {
        Leaves::PoolTimeout | Leaves::Deadline => {
            let late = match leaves {
                Leaves::PoolTimeout => Outcome::PoolTimeout,
                _ => Outcome::TimedOut(Phase::Pool),
            };
            let ends = |action: &Action| matches!(action, Action::Complete { outcome, .. } if *outcome == late);
            assert!(bench.actions().iter().any(ends));
        }
        Leaves::Dropped => bench.dispatcher.abandon(bench.now, second, Reuse::Keep),
    }
    bench.done(exchange);
    assert!(bench.actions().iter().all(completes));
    (bench, [slow, kept], endpoint)
}

#[test]
fn nobody_waits_for_a_connection_that_somebody_gave_up() {
    for leaves in [Leaves::PoolTimeout, Leaves::Deadline, Leaves::Dropped] {
        let (mut bench, [slow, kept], endpoint) = one_is_slow(leaves);
        for token in 3..10 {
            bench.start(token, Sharing::Exclusive);
            let (exchange, connection) = bench.sent(token);
            assert_eq!(connection, kept, "{leaves:?}");
            bench.done(exchange);
            assert!(bench.actions().iter().all(completes));
        }
        // Where no connection has room, one is opened at the endpoint that is not slow.
        bench.start(10, Sharing::Exclusive);
        bench.sent(10);
        for token in [11, 12] {
            bench.start(token, Sharing::Exclusive);
            match bench.actions()[..] {
                [Action::Dial { endpoint: dialled, .. }] => assert_eq!(dialled, endpoint),
                ref other => panic!("{leaves:?}: {other:?}"),
            }
        }
        // As it opens after all, it is for whoever waits.
        bench.dispatcher.connected(bench.now, slow, 1);
        let (_, connection) = bench.sent(11);
        assert_eq!(connection, slow, "{leaves:?}");
    }
}

#[test]
fn a_connection_that_somebody_gave_up_is_charged_to_nobody_else() {
    let (mut bench, [slow, _], _) = one_is_slow(Leaves::PoolTimeout);
    bench.start(3, Sharing::Exclusive);
    bench.sent(3);
    bench.start(4, Sharing::Exclusive);
    let coming = bench.dialled();
    let failure =
        Failure { delivery: Delivery::NotSent, phase: Phase::Connect, fault: Fault::Network };
    bench.dispatcher.dial_failed(bench.now, slow, failure);
    bench.quiet();
    bench.dispatcher.connected(bench.now, coming, 1);
    let [Action::Send { token: 4, attempt: 1, .. }] = bench.actions()[..] else { panic!() };
}

#[test]
fn where_there_is_no_other_endpoint_a_slow_one_is_asked_again() {
    let mut bench = pool(|pool| pool.wait = Some(ms(100)), 1);
    bench.start(1, Sharing::Exclusive);
    let slow = bench.dialled();
    bench.passes(ms(100));
    bench.actions();
    bench.start(2, Sharing::Exclusive);
    let again = bench.dialled();
    assert_ne!(slow, again);
    bench.dispatcher.connected(bench.now, slow, 1);
    let (exchange, connection) = bench.sent(2);
    assert_eq!(connection, slow);
    // The other one is still coming, and nobody gave it up: the next one waits for it.
    bench.start(3, Sharing::Exclusive);
    bench.quiet();
    bench.done(exchange);
    assert!(bench.actions().iter().any(|action| matches!(action, Action::Send { token: 3, .. })));
}

#[test]
fn who_never_waits_long_does_not_open_one_a_call() {
    let mut bench = pool(|pool| pool.wait = Some(ms(100)), 1);
    let mut dialled = Vec::new();
    for token in 1..10 {
        bench.start(token, Sharing::Exclusive);
        for action in bench.actions() {
            if let Action::Dial { connection, .. } = action {
                dialled.push(connection);
            }
        }
        bench.passes(ms(100));
        assert!(bench.actions().iter().all(completes), "it is late");
    }
    assert_eq!(dialled.len(), 2);
    // Whoever waits gets the first that is open.
    bench.start(10, Sharing::Exclusive);
    bench.quiet();
    bench.dispatcher.connected(bench.now, dialled[1], 1);
    assert_eq!(bench.sent(10).1, dialled[1]);
}

#[test]
fn who_leaves_a_slow_endpoint_does_not_go_back_to_the_one_that_failed() {
    let pool = PoolPolicy { wait: Some(ms(100)), ..PoolPolicy::default() };
    let balance = BalancePolicy { algorithm: Algorithm::RoundRobin, ..BalancePolicy::default() };
    let mut bench = Bench::new(Policy { pool, balance, ..Policy::default() }, 3);
    let dials = |bench: &mut Bench, token| {
        bench.start(token, Sharing::Exclusive);
        let [Action::Dial { connection, endpoint, .. }] = bench.actions()[..] else { panic!() };
        (connection, endpoint)
    };
    let (_, slow) = dials(&mut bench, 1);
    bench.passes(ms(100));
    bench.actions();
    for token in [2, 3] {
        let (connection, _) = dials(&mut bench, token);
        bench.dispatcher.connected(bench.now, connection, 1);
        bench.sent(token);
    }
    // It is the turn of the slow one; the next one fails.
    let (connection, failed) = dials(&mut bench, 4);
    assert_ne!(failed, slow);
    let failure =
        Failure { delivery: Delivery::NotSent, phase: Phase::Connect, fault: Fault::Network };
    bench.dispatcher.dial_failed(bench.now, connection, failure);
    bench.quiet();
    let (connection, third) = dials(&mut bench, 5);
    bench.dispatcher.connected(bench.now, connection, 1);
    bench.sent(5);
    // Again it is the turn of the slow one, and then of the one that failed.
    bench.passes(ms(30));
    let [Action::Dial { endpoint, .. }] = bench.actions()[..] else { panic!() };
    assert_eq!(endpoint, third);
}

#[test]
fn the_one_used_last_is_used_next_and_the_others_grow_idle() {
    let mut bench = pool(|_| {}, 1);
    let [(first, one), (second, two)] = bench.sends(&[1, 2])[..] else { panic!() };
    bench.done(second);
    bench.passes(ms(1));
    bench.done(first);
    bench.actions();
    bench.passes(ms(10_000));
    // One after the other, on the same.
    for token in 3..6 {
        let [(exchange, connection)] = bench.sends(&[token])[..] else { panic!() };
        assert_eq!(connection, one);
        bench.done(exchange);
        bench.actions();
    }
    bench.passes(ms(4_998));
    assert_eq!(bench.closes(), []);
    bench.passes(ms(1));
    assert_eq!(bench.closes(), [(two, Retire::Idle)], "15 s after it was used");
    assert_eq!(bench.dispatcher.idle_connections(), 1);
}

#[test]
fn a_connection_carries_so_many_requests_and_no_more() {
    let mut bench = pool(|pool| pool.max_requests = Some(2), 1);
    let mut carried = Vec::new();
    for token in 1..=4 {
        let [(exchange, connection)] = bench.sends(&[token])[..] else { panic!() };
        bench.done(exchange);
        let closes = bench.closes();
        carried.push(connection);
        let spent = [(connection, Retire::Aged)];
        assert_eq!(closes, if token % 2 == 0 { &spent[..] } else { &[] }, "{token}");
    }
    assert_eq!((carried[0], carried[2]), (carried[1], carried[3]));
    assert_ne!(carried[0], carried[2]);
    assert_eq!(bench.dispatcher.connections(), 0);
}

/// Those that were opened together do not end together.
#[test]
fn a_connection_in_constant_use_grows_old_give_or_take_a_tenth() {
    const MANY: u64 = 20;
    let mut bench = pool(|pool| pool.max_age = ms(100_000), 1);
    let tokens: Vec<u64> = (0..MANY).collect();
    let mut ends = Vec::new();
    for second in 1..=111 {
        let sent = bench.sends(&tokens);
        assert_eq!(sent.len() as u64, MANY);
        bench.passes(ms(1_000));
        for (exchange, _) in sent {
            bench.done(exchange);
        }
        ends.extend(bench.closes().into_iter().map(|(_, why)| (second, why)));
    }
    assert_eq!(ends.len() as u64, MANY, "{ends:?}");
    assert!(ends.iter().all(|(at, why)| (90..=111).contains(at) && *why == Retire::Aged));
    assert!(
        ends.iter().any(|(at, _)| *at < 98) && ends.iter().any(|(at, _)| *at > 102),
        "{ends:?}"
    );
}

#[test]
fn at_the_cap_the_oldest_idle_one_of_another_endpoint_gives_way() {
    let pool = PoolPolicy { max_connections: 2, max_per_endpoint: 2, ..PoolPolicy::default() };
    let balance = BalancePolicy {
        algorithm: Algorithm::RoundRobin,
        slow_start: SlowStart { window: ms(0) },
        ..BalancePolicy::default()
    };
    let mut bench = Bench::new(Policy { pool, balance, ..Policy::default() }, 1);
    let [(first, oldest), (second, _)] = bench.sends(&[1, 2])[..] else { panic!() };
    bench.done(first);
    bench.passes(ms(1));
    bench.done(second);
    bench.actions();
    bench.dispatcher.update_endpoints(bench.now, 2, &[Endpoint(0), Endpoint(1)]);
    // In turns: one of two calls is for the new one, whose connection needs a place.
    let mut made = Vec::new();
    for token in [3, 4] {
        bench.start(token, Sharing::Exclusive);
        for action in bench.actions() {
            match action {
                Action::Close { connection, why } => made.push((connection, why)),
                Action::Dial { connection, endpoint, .. } => {
                    assert_eq!((endpoint, made.len()), (Endpoint(1), 1), "behind the close");
                    bench.dispatcher.connected(bench.now, connection, 1);
                }
                Action::Send { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(made, [(oldest, Retire::Evicted)]);
    assert_eq!(bench.dispatcher.connections(), 2);
}

#[test]
fn an_endpoint_has_no_more_than_its_own_cap() {
    let caps = |pool: &mut PoolPolicy| {
        pool.max_connections = 10;
        pool.max_per_endpoint = 3;
    };
    let mut bench = pool(caps, 1);
    let sent = bench.sends(&[1, 2, 3, 4, 5]);
    assert_eq!((sent.len(), bench.dispatcher.pending()), (3, 2));
    // Who waits goes elsewhere as soon as there is an elsewhere.
    bench.dispatcher.update_endpoints(bench.now, 2, &[Endpoint(0), Endpoint(1)]);
    assert_eq!(bench.sends(&[]).len(), 2);
    assert_eq!((bench.dispatcher.connections(), bench.dispatcher.pending()), (5, 0));
}
