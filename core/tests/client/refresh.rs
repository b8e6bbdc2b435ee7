//! Values that end, and who fetches the next one.

use std::time::Duration;

use proptest::prelude::*;
use sinew_core::client::refresh::{BadRefresh, Edition, Lookup, Refresh, RefreshPolicy, Rejected};
use sinew_core::resilience::Backoff;
use sinew_core::time::Instant;

use crate::at;

const SECOND: u64 = 1_000;

fn refresh() -> Refresh<&'static str> {
    Refresh::new(RefreshPolicy::default(), 7).unwrap()
}

/// One that has fetched a token of this life, at 0.
fn holding(life: Option<u64>) -> Refresh<&'static str> {
    let mut refresh = refresh();
    assert_eq!(refresh.look(at(0)), Lookup::Fetch(None));
    refresh.fetched(at(0), "one", life.map(Duration::from_millis));
    refresh
}

fn edition(refresh: &mut Refresh<&'static str>, now: Instant) -> Edition {
    match refresh.look(now) {
        Lookup::Use(_, edition) | Lookup::Fetch(Some((_, edition))) => edition,
        other => panic!("{other:?}"),
    }
}

fn used(lookup: &Lookup<&'static str>) -> Option<&'static str> {
    match lookup {
        Lookup::Use(value, _) | Lookup::Fetch(Some((value, _))) => Some(value),
        _ => None,
    }
}

#[test]
fn one_fetches_and_the_others_wait() {
    let mut refresh = refresh();
    assert_eq!(refresh.look(at(0)), Lookup::Fetch(None));
    assert_eq!(refresh.look(at(1)), Lookup::Wait);
    refresh.fetched(at(2), "one", None);
    assert_eq!(used(&refresh.look(at(3))), Some("one"));
    assert_eq!(used(&refresh.look(at(u32::MAX.into()))), Some("one"), "it never ends");
}

#[test]
fn the_old_one_is_used_while_the_next_is_fetched_ahead() {
    let mut refresh = holding(Some(600 * SECOND));
    // A minute ahead, give or take 6 s.
    assert!(matches!(refresh.look(at(533 * SECOND)), Lookup::Use("one", _)));
    assert!(matches!(refresh.look(at(547 * SECOND)), Lookup::Fetch(Some(("one", _)))));
    assert!(matches!(refresh.look(at(548 * SECOND)), Lookup::Use("one", _)));
    refresh.failed(at(549 * SECOND));
    assert!(matches!(refresh.look(at(549 * SECOND)), Lookup::Use("one", _)), "still good");
    assert!(matches!(refresh.look(at(551 * SECOND)), Lookup::Fetch(Some(("one", _)))));
    // 5 s before its end it is not used any more.
    assert!(matches!(refresh.look(at(595 * SECOND - 1)), Lookup::Use("one", _)));
    assert_eq!(refresh.look(at(595 * SECOND)), Lookup::Wait);
    refresh.fetched(at(596 * SECOND), "two", Some(Duration::from_secs(600)));
    assert!(matches!(refresh.look(at(596 * SECOND)), Lookup::Use("two", _)));
}

#[test]
fn short_lives_are_fetched_half_way() {
    let mut refresh = holding(Some(10 * SECOND));
    assert!(matches!(refresh.look(at(4_499)), Lookup::Use("one", _)));
    assert!(matches!(refresh.look(at(5_500)), Lookup::Fetch(Some(_))));
    assert!(matches!(refresh.look(at(8_999)), Lookup::Use("one", _)));
    assert_eq!(refresh.look(at(9_000)), Lookup::Wait);
    // A life of nothing is over at once, and nobody spins.
    let mut refresh = holding(Some(0));
    assert_eq!(refresh.look(at(0)), Lookup::Fetch(None));
    assert_eq!(refresh.look(at(0)), Lookup::Wait);
}

#[test]
fn after_a_failure_nobody_asks_for_a_while() {
    let mut refresh = refresh();
    let mut now = at(0);
    for longest in [1, 2, 4, 8, 16, 32, 60, 60] {
        assert_eq!(refresh.look(now), Lookup::Fetch(None));
        refresh.failed(now);
        let Lookup::Failed { until } = refresh.look(now) else { panic!("it may fetch again") };
        let wait = until.saturating_since(now);
        let longest = Duration::from_secs(longest);
        assert!(longest / 2 <= wait && wait <= longest, "{wait:?} of {longest:?}");
        now = until;
    }
    assert_eq!(refresh.look(now), Lookup::Fetch(None));
    refresh.fetched(now, "one", Some(Duration::ZERO));
    assert_eq!(refresh.look(now), Lookup::Fetch(None), "a success forgets the failures");
}

#[test]
fn whoever_gives_up_leaves_the_fetch_to_the_next() {
    let mut refresh = refresh();
    assert_eq!(refresh.look(at(0)), Lookup::Fetch(None));
    refresh.abandoned();
    assert_eq!(refresh.look(at(0)), Lookup::Fetch(None));
}

#[test]
fn a_refusal_fetches_once() {
    let mut refresh = holding(Some(600 * SECOND));
    let now = at(20 * SECOND);
    let first = edition(&mut refresh, now);
    assert_eq!(refresh.rejected(now, first), Rejected::Again);
    assert_eq!(refresh.rejected(now, first), Rejected::Again, "of a call beside it");
    assert_eq!(refresh.look(now), Lookup::Fetch(None), "what was refused is no good");
    assert_eq!(refresh.look(now), Lookup::Wait);
    refresh.fetched(now, "two", Some(Duration::from_secs(600)));
    let second = edition(&mut refresh, now);
    assert_ne!(first, second);
    // A call that was on its way meanwhile has only to look again.
    assert_eq!(refresh.rejected(now, first), Rejected::Again);
    assert!(matches!(refresh.look(now), Lookup::Use("two", _)));
    // The next one is refused, too: something else is wrong.
    assert_eq!(refresh.rejected(at(29 * SECOND), second), Rejected::Fresh);
    assert!(matches!(refresh.look(at(29 * SECOND)), Lookup::Use("two", _)));
    assert_eq!(refresh.rejected(at(31 * SECOND), second), Rejected::Again);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let refused = |policy| Refresh::<()>::new(policy, 0).err();
    let default = RefreshPolicy::default();
    // It may be fetched a tenth later.
    for ahead in [4, 5] {
        let ahead = Duration::from_secs(ahead);
        assert_eq!(refused(RefreshPolicy { ahead, ..default }), Some(BadRefresh::Ahead));
    }
    let backoff = Backoff { base: Duration::ZERO, ..default.backoff };
    assert!(matches!(refused(RefreshPolicy { backoff, ..default }), Some(BadRefresh::Backoff(_))));
    assert!(!format!("{:?}", holding(None)).contains("one"), "values do not show");
}

#[derive(Clone, Copy, Debug)]
enum Input {
    Look,
    Fetched(Option<u64>),
    Failed,
    Abandoned,
    Rejected,
}

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        4 => Just(Input::Look),
        2 => proptest::option::of(0_u64..200_000).prop_map(Input::Fetched),
        1 => Just(Input::Failed),
        1 => Just(Input::Abandoned),
        1 => Just(Input::Rejected),
    ]
}

proptest! {
    /// One fetch at a time, nothing past its end, nothing that was refused, and never at a loss.
    #[test]
    fn whatever_happens_the_value_is_good_or_somebody_gets_the_next(
        script in proptest::collection::vec((input(), 0_u64..70_000), 1..80),
    ) {
        let mut refresh = Refresh::new(RefreshPolicy::default(), 3).unwrap();
        let (mut now, mut fetching, mut number) = (0, false, 0_u32);
        let (mut end, mut rejected, mut last) = (None, None, None);
        for (input, pause) in script {
            now += pause;
            match input {
                Input::Look => match refresh.look(at(now)) {
                    Lookup::Use(value, edition) | Lookup::Fetch(Some((value, edition)))
                        if Some(value) == rejected || end.is_some_and(|end| now >= end) =>
                    {
                        prop_assert!(false, "{value} {edition:?} is no good");
                    }
                    Lookup::Use(value, edition) => last = Some((value, edition)),
                    Lookup::Fetch(old) => {
                        prop_assert!(!fetching, "two fetches");
                        fetching = true;
                        last = old.or(last);
                    }
                    Lookup::Wait => prop_assert!(fetching, "nobody is on the way"),
                    Lookup::Failed { until } => prop_assert!(until > at(now) && !fetching),
                },
                Input::Fetched(life) if fetching => {
                    fetching = false;
                    number += 1;
                    (end, rejected) = (life.map(|life| now + life), None);
                    refresh.fetched(at(now), number, life.map(Duration::from_millis));
                }
                Input::Failed if fetching => {
                    fetching = false;
                    refresh.failed(at(now));
                }
                Input::Abandoned if fetching => {
                    fetching = false;
                    refresh.abandoned();
                }
                Input::Rejected => if let Some((value, edition)) = last
                    && refresh.rejected(at(now), edition) == Rejected::Again
                    && value == number
                {
                    rejected = Some(value);
                },
                _ => {}
            }
        }
    }
}
