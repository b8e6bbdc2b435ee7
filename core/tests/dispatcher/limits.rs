//! Every cap of a dispatcher, by its name, and what it says when it is reached.

use sinew_core::client::dispatcher::{BadPolicy, Failure, Outcome, Refusal};
use sinew_core::error::{Fault, Phase};
use sinew_core::resilience::{BadRetry, RetryPolicy};
use sinew_core::time::Timer;

use super::*;

fn pool(change: impl FnOnce(&mut PoolPolicy)) -> Policy {
    let mut policy = Policy::default();
    change(&mut policy.pool);
    policy
}

#[test]
fn senseless_policies_are_refused_with_their_reason() {
    let attempt_timeout = Some(Duration::ZERO);
    let retry = RetryPolicy { attempts: 0, ..RetryPolicy::default() };
    for (policy, why) in [
        (pool(|pool| pool.max_per_endpoint = 0), BadPolicy::Connections),
        (pool(|pool| pool.max_connections = 99), BadPolicy::Connections),
        (pool(|pool| pool.max_calls = 0), BadPolicy::Calls),
        (pool(|pool| pool.max_calls = 1_023), BadPolicy::Calls),
        (pool(|pool| pool.idle = Duration::ZERO), BadPolicy::ZeroTime),
        (pool(|pool| pool.max_age = Duration::ZERO), BadPolicy::ZeroTime),
        (pool(|pool| pool.connect = Duration::ZERO), BadPolicy::ZeroTime),
        (pool(|pool| pool.wait = Some(Duration::ZERO)), BadPolicy::ZeroTime),
        (Policy { attempt_timeout, ..Policy::default() }, BadPolicy::ZeroTime),
        (pool(|pool| pool.max_requests = Some(0)), BadPolicy::ZeroRequests),
        (pool(|pool| pool.warm = 101), BadPolicy::Warm),
        (Policy { retry, ..Policy::default() }, BadPolicy::Retry(BadRetry::Attempts)),
    ] {
        assert_eq!(policy.check(), Err(why));
        assert_eq!(Dispatcher::new(policy, 1).err(), Some(why), "{why}");
    }
    assert_eq!(Policy::default().check(), Ok(()));
}

/// How the calls of these tokens ended, which is all that was wanted.
fn refused(bench: &mut Bench) -> Vec<(u64, Outcome)> {
    let ended = |action| match action {
        Action::Complete { token, outcome, .. } => (token, outcome),
        other => panic!("{other:?}"),
    };
    bench.actions().into_iter().map(ended).collect()
}

#[test]
fn one_call_more_than_may_wait_is_refused() {
    let caps = pool(|pool| {
        pool.max_connections = 1;
        pool.max_per_endpoint = 1;
        pool.max_pending = 2;
    });
    let mut bench = Bench::new(caps, 1);
    bench.start(1, Sharing::Exclusive);
    let connection = bench.dialled();
    bench.start(2, Sharing::Exclusive);
    bench.quiet();
    bench.start(3, Sharing::Exclusive);
    assert_eq!(refused(&mut bench), [(3, Outcome::Refused(Refusal::PoolFull))]);
    assert_eq!(bench.dispatcher.pending(), 2);
    // Whoever is sent makes room.
    bench.dispatcher.connected(bench.now, connection, 1);
    bench.sent(1);
    bench.start(4, Sharing::Exclusive);
    bench.quiet();
}

/// The second call's own time counts, and not what the policy says.
#[test]
fn a_call_waits_for_a_connection_as_long_as_it_may() {
    let mut bench = Bench::new(
        pool(|pool| {
            pool.max_connections = 1;
            pool.max_per_endpoint = 1;
            pool.wait = Some(ms(200));
        }),
        1,
    );
    bench.start(1, Sharing::Exclusive);
    let connection = bench.dialled();
    bench.dispatcher.connected(bench.now, connection, 1);
    let (exchange, _) = bench.sent(1);
    for (token, pool_timeout) in [(2, None), (3, Some(ms(100))), (4, Some(ms(300)))] {
        let deadline = bench.now + ms(30_000);
        let spec = CallSpec { pool_timeout, ..CallSpec::new(token, deadline, Safety::Safe) };
        bench.dispatcher.start(bench.now, spec);
    }
    let began = bench.now;
    for (token, after) in [(3, 100), (2, 200)] {
        bench.now = began + ms(after - 1);
        bench.dispatcher.handle_timeout(bench.now);
        bench.quiet();
        bench.now = began + ms(after);
        assert_eq!(bench.dispatcher.deadline().map(|due| due.at), Some(bench.now));
        bench.dispatcher.handle_timeout(bench.now);
        assert_eq!(refused(&mut bench), [(token, Outcome::PoolTimeout)]);
    }
    // Whoever was served in time has what is left of its call.
    bench.done(exchange);
    let sent = |action: &Action| matches!(action, Action::Send { token: 4, .. });
    assert!(bench.actions().iter().any(sent));
    bench.now = began + ms(29_000);
    bench.dispatcher.handle_timeout(bench.now);
    bench.quiet();
    assert_eq!((bench.dispatcher.calls(), bench.dispatcher.pending()), (1, 0));
}

#[test]
fn one_call_more_than_there_may_be_is_refused() {
    let caps = pool(|pool| {
        pool.max_calls = 2;
        pool.max_pending = 2;
    });
    let mut bench = Bench::new(caps, 1);
    let first = bench.start(1, Sharing::Exclusive);
    bench.start(2, Sharing::Exclusive);
    assert_eq!(bench.actions().len(), 2, "both dial");
    bench.start(3, Sharing::Exclusive);
    assert_eq!(refused(&mut bench), [(3, Outcome::Refused(Refusal::TooManyCalls))]);
    bench.dispatcher.abandon(bench.now, first, Reuse::Keep);
    bench.start(4, Sharing::Exclusive);
    assert!(!bench.actions().iter().any(completes));
    assert_eq!(bench.dispatcher.calls(), 2);
}

/// So many connections are kept, each used once.
fn keeping(kept: u64, retry: RetryPolicy) -> Bench {
    let mut bench = Bench::new(Policy { retry, ..Policy::default() }, 1);
    for token in 0..kept {
        bench.start(token, Sharing::Exclusive);
    }
    for action in bench.actions() {
        let Action::Dial { connection, .. } = action else { panic!("{action:?}") };
        bench.dispatcher.connected(bench.now, connection, 1);
    }
    for action in bench.actions() {
        let Action::Send { exchange, .. } = action else { panic!("{action:?}") };
        bench.done(exchange);
    }
    assert_eq!(bench.actions().len() as u64, kept);
    bench
}

/// All of them may have ended at once, and nobody has looked yet: a server that was started anew, say.
#[test]
fn kept_connections_that_prove_dead_cost_a_call_nothing_however_many_they_are() {
    const KEPT: u64 = 12;
    let once = RetryPolicy { attempts: 1, ..RetryPolicy::default() };
    let mut bench = keeping(KEPT, once);
    bench.start(99, Sharing::Exclusive);
    let dead =
        Failure { delivery: Delivery::NotSent, phase: Phase::RequestHead, fault: Fault::Network };
    for _ in 0..KEPT {
        let (exchange, _) = bench.sent(99);
        bench.dispatcher.failed(bench.now, exchange, dead, Replay::Possible, Reuse::Close);
    }
    // None is left, and nobody thinks worse of the endpoint.
    let connection = bench.dialled();
    bench.dispatcher.connected(bench.now, connection, 1);
    let (exchange, _) = bench.sent(99);
    bench.done(exchange);
}

/// What was dead before anything was sent uses up nothing of what a call may lose under a request.
#[test]
fn a_kept_connection_that_ends_under_a_call_is_not_counted_with_those_that_were_dead() {
    const KEPT: u64 = 6;
    let twice = RetryPolicy { attempts: 2, ..RetryPolicy::default() };
    let mut bench = keeping(KEPT, twice);
    let call = bench.start(99, Sharing::Exclusive);
    let dead =
        Failure { delivery: Delivery::NotSent, phase: Phase::RequestHead, fault: Fault::Network };
    let ended = Failure {
        delivery: Delivery::MaybeProcessed,
        phase: Phase::ResponseHead,
        fault: Fault::Network,
    };
    for failure in [dead, dead, dead, ended, ended, ended] {
        let (exchange, _) = bench.sent(99);
        bench.dispatcher.failed(bench.now, exchange, failure, Replay::Possible, Reuse::Close);
    }
    bench.dialled();
    let explained = bench.dispatcher.explain_call(bench.now, call).unwrap();
    assert_eq!((explained.stale, explained.attempts), (6, 0), "all of them are told");
}

#[test]
fn a_fourth_kept_connection_that_ends_under_a_call_is_a_failure() {
    const KEPT: u64 = 4;
    let twice = RetryPolicy { attempts: 2, ..RetryPolicy::default() };
    let mut bench = keeping(KEPT, twice);
    bench.start(99, Sharing::Exclusive);
    let ended = Failure {
        delivery: Delivery::MaybeProcessed,
        phase: Phase::ResponseHead,
        fault: Fault::Network,
    };
    for _ in 0..KEPT {
        let (exchange, _) = bench.sent(99);
        bench.dispatcher.failed(bench.now, exchange, ended, Replay::Possible, Reuse::Close);
    }
    // It was an attempt, and the next one waits: up to 25 ms.
    bench.quiet();
    bench.now = bench.now + ms(25);
    bench.dispatcher.handle_timeout(bench.now);
    bench.dialled();
}

#[test]
fn a_deadline_says_which_timer_it_is() {
    let caps = pool(|pool| {
        pool.connect = ms(10);
        pool.idle = ms(20);
    });
    let mut bench = Bench::new(caps, 1);
    let why = |bench: &Bench| bench.dispatcher.deadline().map(|deadline| deadline.why);
    assert_eq!(why(&bench), None);
    bench.start(1, Sharing::Exclusive);
    let connection = bench.dialled();
    assert_eq!(why(&bench), Some(Timer::Connect));
    bench.dispatcher.connected(bench.now, connection, 1);
    let (exchange, _) = bench.sent(1);
    bench.now = bench.now + ms(15);
    bench.dispatcher.handle_timeout(bench.now);
    assert_eq!(why(&bench), Some(Timer::Call), "connected in time");
    bench.done(exchange);
    assert_eq!(why(&bench), Some(Timer::Idle));
}
