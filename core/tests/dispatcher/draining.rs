//! Leaving: who waits is still served, over what is there.

use sinew_core::client::dispatcher::{Action, Policy, PoolPolicy, Retire, Sharing};

use crate::{Bench, completes};

#[test]
fn who_waits_is_served_by_the_connection_that_is_there() {
    let pool = PoolPolicy { max_connections: 1, max_per_endpoint: 1, ..PoolPolicy::default() };
    let mut bench = Bench::new(Policy { pool, ..Policy::default() }, 1);
    bench.start(1, Sharing::Exclusive);
    let connection = bench.dialled();
    bench.dispatcher.connected(bench.now, connection, 1);
    let (mut exchange, _) = bench.sent(1);
    bench.start(2, Sharing::Exclusive);
    bench.start(3, Sharing::Exclusive);
    bench.dispatcher.drain(bench.now);
    bench.quiet();
    for token in [2, 3] {
        bench.done(exchange);
        let actions = bench.actions();
        let [done, Action::Send { token: next, exchange: sent, connection: on, .. }] = actions[..]
        else {
            panic!("{actions:?}")
        };
        assert!(completes(&done));
        assert_eq!((next, on), (token, connection), "nobody dials");
        exchange = sent;
    }
    bench.done(exchange);
    let actions = bench.actions();
    let [done, closed] = actions[..] else { panic!("{actions:?}") };
    assert!(completes(&done));
    assert_eq!(closed, Action::Close { connection, why: Retire::Draining });
}
