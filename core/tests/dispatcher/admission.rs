//! How many attempts may be on their way at once.

use sinew_core::client::dispatcher::{Outcome, Refusal};
use sinew_core::limit::ConcurrencyConfig;
use sinew_core::observe::Event;
use sinew_core::policy::{Mode, Priority};

use super::*;

fn limited(mode: Mode, limit: u32) -> Bench {
    let admission =
        ConcurrencyConfig { mode, initial: limit, min: 1, max: limit, ..Default::default() };
    let mut bench = Bench::new(Policy { admission, ..Policy::default() }, 1);
    bench.dispatcher.observe(true);
    bench
}

/// So many calls are on their way, each on its connection; what is wanted besides is forgotten.
fn on_their_way(bench: &mut Bench, tokens: std::ops::Range<u64>) -> Vec<ExchangeId> {
    for token in tokens {
        bench.start(token, Sharing::Shared);
    }
    let mut sent = Vec::new();
    for _ in 0..2 {
        for action in bench.actions() {
            match action {
                Action::Dial { connection, .. } => {
                    bench.dispatcher.connected(bench.now, connection, 1);
                }
                Action::Send { exchange, .. } => sent.push(exchange),
                _ => {}
            }
        }
    }
    sent
}

fn held(bench: &mut Bench) -> Vec<(u64, Mode)> {
    let events = std::iter::from_fn(|| bench.dispatcher.poll_observed());
    let held = |event| match event {
        Event::Held { token, mode, .. } => Some((token, mode)),
        _ => None,
    };
    events.filter_map(held).collect()
}

#[test]
fn what_is_too_much_waits_for_a_head() {
    let mut bench = limited(Mode::Enforce, 2);
    let sent = on_their_way(&mut bench, 0..4);
    assert_eq!(sent.len(), 2);
    assert_eq!(held(&mut bench), [(2, Mode::Enforce), (3, Mode::Enforce)]);
    let explained = bench.dispatcher.explain(bench.now);
    assert_eq!((explained.limit, explained.in_flight, explained.pending), (2, 2, 2));
    // Its body may take as long as it likes.
    assert_eq!(bench.head(sent[0], 200), HeadVerdict::Deliver);
    let connection = bench.dialled();
    bench.dispatcher.connected(bench.now, connection, 1);
    bench.sent(2);
    bench.quiet();
}

#[test]
fn it_is_tried_in_shadow_and_left_out() {
    let mut bench = limited(Mode::Shadow, 2);
    assert_eq!(on_their_way(&mut bench, 0..4).len(), 4);
    assert_eq!(held(&mut bench), [(2, Mode::Shadow), (3, Mode::Shadow)]);
    let mut bench = limited(Mode::Off, 2);
    assert_eq!(on_their_way(&mut bench, 0..4).len(), 4);
    assert_eq!(held(&mut bench), []);
    assert_eq!(bench.dispatcher.explain(bench.now).in_flight, 0);
}

#[test]
fn calls_that_are_given_up_say_nothing() {
    let mut bench = limited(Mode::Enforce, 8);
    for token in 0..100 {
        let call = bench.start(token, Sharing::Shared);
        for action in bench.actions() {
            if let Action::Dial { connection, .. } = action {
                bench.dispatcher.connected(bench.now, connection, 1);
            }
        }
        let sent = bench.actions().iter().any(|action| matches!(action, Action::Send { .. }));
        assert!(sent, "call {token}");
        bench.dispatcher.abandon(bench.now, call, Reuse::Close);
    }
    let explained = bench.dispatcher.explain(bench.now);
    assert_eq!((explained.limit, explained.in_flight), (8, 0));
}

/// A destination that says that it is too much, until it is asked one at a time.
fn strained() -> Bench {
    let mut bench = limited(Mode::Enforce, 8);
    let mut token = 100;
    for _ in 0..100 {
        if bench.dispatcher.explain(bench.now).limit == 1 {
            break;
        }
        let sent = on_their_way(&mut bench, token..token + 8);
        token += 8;
        for exchange in sent {
            let _ = bench.head(exchange, 429);
            bench.dispatcher.finished(bench.now, exchange, Reuse::Keep);
        }
        bench.actions();
        // Whatever waits to be sent again.
        bench.now = bench.now + ms(60_000);
        bench.dispatcher.handle_timeout(bench.now);
        bench.actions();
    }
    assert_eq!(bench.dispatcher.explain(bench.now).limit, 1);
    held(&mut bench);
    bench
}

#[test]
fn who_came_last_is_turned_away_where_it_is_known_to_be_short() {
    let mut bench = strained();
    let completes = |bench: &mut Bench| match bench.actions()[..] {
        [Action::Complete { token, outcome, delivery, .. }] => {
            assert_eq!(outcome, Outcome::Refused(Refusal::Admission));
            assert_eq!(delivery, Delivery::NotSent);
            token
        }
        ref other => panic!("{other:?}"),
    };
    assert_eq!(on_their_way(&mut bench, 0..1).len(), 1);
    for token in 1..=2 {
        bench.start(token, Sharing::Shared);
        bench.quiet();
    }
    bench.start(3, Sharing::Shared);
    assert_eq!(completes(&mut bench), 3);
    // Unless it matters more than what waits already.
    let spec = CallSpec::new(4, bench.now + ms(1_000), Safety::Safe);
    bench.dispatcher.start(bench.now, CallSpec { priority: Priority::High, ..spec });
    assert_eq!(completes(&mut bench), 2);
}

/// Even the fastest answer is late: there is a queue, in which the next ones may be lost.
#[test]
fn late_answers_are_a_warning() {
    let admission = ConcurrencyConfig { initial: 20, ..ConcurrencyConfig::default() };
    for (takes, limit) in [(200, 22), (600, 15)] {
        let mut bench = Bench::new(Policy { admission, ..Policy::default() }, 1);
        for (tokens, takes) in [(0..20, 10), (20..41, takes)] {
            let sent = on_their_way(&mut bench, tokens);
            assert!(sent.len() >= 20);
            bench.now = bench.now + ms(takes);
            for exchange in sent {
                assert_eq!(bench.head(exchange, 200), HeadVerdict::Deliver);
                bench.dispatcher.finished(bench.now, exchange, Reuse::Keep);
            }
        }
        assert_eq!(bench.dispatcher.explain(bench.now).limit, limit);
    }
}
