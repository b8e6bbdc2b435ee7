//! Retries that are only tried, and those that are off: what is told, and what it costs.

use sinew_core::client::dispatcher::{Failure, Outcome};
use sinew_core::error::{Fault, Phase};
use sinew_core::observe::Event;
use sinew_core::policy::Mode;
use sinew_core::resilience::{Backoff, BudgetConfig, BudgetReason, NoRetry, RetryPolicy};

use super::*;

fn bench(retry: Mode, budget: Mode) -> Bench {
    let backoff = Backoff { base: ms(1), cap: ms(1) };
    let retry = RetryPolicy { mode: retry, attempts: 3, backoff };
    // A retry in ten calls, and no throttle to speak of.
    let budget = BudgetConfig {
        mode: budget,
        percent: 10,
        per_second: 0,
        tokens: 1_000,
        ..Default::default()
    };
    let mut bench = Bench::new(Policy { retry, budget, ..Policy::default() }, 1);
    for token in 100..120 {
        assert_eq!(one(&mut bench, token, 200), HeadVerdict::Deliver);
    }
    while bench.dispatcher.poll_observed().is_some() {}
    bench
}

/// A call that is answered with this status, at its first attempt. Whether that is the answer.
fn one(bench: &mut Bench, token: u64, status: u16) -> HeadVerdict {
    bench.start(token, Sharing::Exclusive);
    let mut actions = bench.actions();
    if let [Action::Dial { connection, .. }] = actions[..] {
        bench.dispatcher.connected(bench.now, connection, 1);
        actions = bench.actions();
    }
    let [Action::Send { exchange, .. }] = actions[..] else { panic!("{actions:?}") };
    let verdict = bench.head(exchange, status);
    bench.dispatcher.finished(bench.now, exchange, Reuse::Keep);
    bench.actions();
    verdict
}

/// What was said about retries.
fn told(bench: &mut Bench) -> Vec<(Result<(), NoRetry>, Mode)> {
    let events = std::iter::from_fn(|| bench.dispatcher.poll_observed());
    let retries = events.filter_map(|event| match event {
        Event::RetryScheduled { mode, .. } => Some((Ok(()), mode)),
        Event::RetryRefused { why, mode, .. } => Some((Err(why), mode)),
        _ => None,
    });
    retries.collect()
}

const SHARE: Result<(), NoRetry> = Err(NoRetry::Budget(BudgetReason::Share));

#[test]
fn a_retry_in_shadow_is_told_and_spends_nothing() {
    let mut bench = bench(Mode::Shadow, Mode::Enforce);
    let left = bench.dispatcher.explain(bench.now).retries_left;
    assert_eq!(left, 2);
    for token in 0..5 {
        assert_eq!(one(&mut bench, token, 502), HeadVerdict::Deliver);
    }
    assert_eq!(told(&mut bench), [(Ok(()), Mode::Shadow); 5]);
    assert_eq!(bench.dispatcher.explain(bench.now).retries_left, left);
}

#[test]
fn a_retry_that_is_off_is_not_asked_for() {
    let mut bench = bench(Mode::Off, Mode::Enforce);
    assert_eq!(one(&mut bench, 1, 502), HeadVerdict::Deliver);
    assert_eq!(told(&mut bench), []);
    assert_eq!(bench.dispatcher.explain(bench.now).retries_left, 2);
}

#[test]
fn a_failure_says_that_retries_are_off() {
    for mode in [Mode::Off, Mode::Shadow] {
        let mut bench = bench(mode, Mode::Enforce);
        bench.start(1, Sharing::Exclusive);
        let (exchange, _) = bench.sent(1);
        let failure =
            Failure { delivery: Delivery::Refused, phase: Phase::ResponseHead, fault: Fault::Peer };
        bench.dispatcher.failed(bench.now, exchange, failure, Replay::Possible, Reuse::Close);
        let actions = bench.actions();
        let [Action::Complete { outcome: Outcome::Failed { why, .. }, .. }] = actions[..] else {
            panic!("{actions:?}")
        };
        assert_eq!((why, why.name()), (NoRetry::Off, "retries_off"));
    }
}

#[test]
fn a_budget_in_shadow_says_what_it_would_refuse() {
    for (budget, refuses) in [(Mode::Enforce, true), (Mode::Shadow, false), (Mode::Off, false)] {
        let mut bench = bench(Mode::Enforce, budget);
        for token in 0..2 {
            assert_eq!(one(&mut bench, token, 502), HeadVerdict::Discard);
        }
        assert_eq!(told(&mut bench), [(Ok(()), Mode::Enforce); 2]);
        let verdict = one(&mut bench, 3, 502);
        assert_eq!(verdict == HeadVerdict::Deliver, refuses, "{budget:?}");
        let expected = match budget {
            Mode::Enforce => vec![(SHARE, Mode::Enforce)],
            Mode::Shadow => vec![(SHARE, Mode::Shadow), (Ok(()), Mode::Enforce)],
            Mode::Off => vec![(Ok(()), Mode::Enforce)],
        };
        assert_eq!(told(&mut bench), expected, "{budget:?}");
    }
}
