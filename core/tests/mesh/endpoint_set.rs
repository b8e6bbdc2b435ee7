//! What a list changes, and what is kept when there is none.

use std::time::Duration;

use sinew_core::Machine as _;
use sinew_core::mesh::{
    BadList, Diff, Endpoint, EndpointSet, EndpointSetConfig, Member, SourceEvent, Weight,
};
use sinew_core::time::Timer;

use crate::{at, events, secs};

fn list(numbers: impl IntoIterator<Item = u64>) -> Vec<Member<&'static str>> {
    numbers.into_iter().map(|number| Member::new(Endpoint(number), "")).collect()
}

fn of(numbers: impl IntoIterator<Item = u64>) -> EndpointSet<&'static str> {
    let mut set = EndpointSet::new(EndpointSetConfig::default());
    let _ = set.handle_list(at(0), list(numbers)).unwrap();
    set
}

#[test]
fn a_list_is_told_as_what_it_changes() {
    let mut set = of([1, 2, 3]);
    let mut next = list([2, 3, 4]);
    next[0].weight = Weight::new(5);
    next[1].metadata = "moved";
    let diff = set.handle_list(at(1), next.clone()).unwrap();
    assert_eq!(diff.added, [Endpoint(4)]);
    assert_eq!(diff.removed, [Endpoint(1)]);
    assert_eq!(diff.changed, [Endpoint(2), Endpoint(3)]);
    assert_eq!(set.version(), 2);
    assert_eq!(set.handle_list(at(2), next), Ok(Diff::default()));
    assert_eq!(set.version(), 2, "nothing changed");
    assert_eq!(set.age(at(5)), Some(Duration::from_millis(3)));
    assert_eq!(set.get(Endpoint(2)).unwrap().weight.get(), 5);
    assert_eq!(Weight::new(0), Weight::ONE);
}

#[test]
fn a_bad_list_changes_nothing_and_is_a_failure() {
    let config = EndpointSetConfig { max_members: 3, ..EndpointSetConfig::default() };
    let mut set = EndpointSet::new(config);
    let _ = set.handle_list(at(0), list([1])).unwrap();
    for (bad, why) in [
        (list([]), BadList::Empty),
        (list([1, 2, 1]), BadList::Twice(Endpoint(1))),
        (list([1, 2, 3, 4]), BadList::TooMany),
    ] {
        assert_eq!(set.handle_list(at(1), bad), Err(why));
        assert_eq!(set.members().len(), 1);
        assert!(set.is_down());
    }
    assert_eq!(events(&mut set, at(1)), [SourceEvent::Down]);
    let _ = set.handle_list(at(5), list([1])).unwrap();
    let after = Duration::from_millis(4);
    assert_eq!(events(&mut set, at(5)), [SourceEvent::Up { after }]);
    assert!(!set.is_down());
}

#[test]
fn an_empty_list_may_be_meant() {
    let config = EndpointSetConfig { refuse_empty: false, ..EndpointSetConfig::default() };
    let mut set = EndpointSet::new(config);
    let _ = set.handle_list(at(0), list([1])).unwrap();
    assert_eq!(set.handle_list(at(1), list([])).unwrap().removed, [Endpoint(1)]);
}

#[test]
fn the_last_good_list_is_kept_for_an_hour() {
    let mut set = of([1, 2]);
    assert_eq!(set.deadline(), None);
    set.handle_failure(at(1_000));
    set.handle_failure(at(2_000));
    let next = set.deadline().unwrap();
    assert_eq!((next.at, next.why), (at(3_601_000), Timer::EndpointsKept));
    assert_eq!(events(&mut set, at(3_600_999)), [SourceEvent::Down]);
    assert_eq!(set.members().len(), 2);
    assert_eq!(events(&mut set, next.at), [SourceEvent::Expired]);
    assert_eq!((set.members().len(), set.version(), set.deadline()), (0, 2, None));
    let diff = set.handle_list(at(4_000_000), list([2])).unwrap();
    assert_eq!(diff.added, [Endpoint(2)]);
}

#[test]
fn kept_for_ever_is_kept() {
    let config = EndpointSetConfig { keep: Duration::MAX, ..EndpointSetConfig::default() };
    let mut set = EndpointSet::new(config);
    let _ = set.handle_list(at(0), list([1])).unwrap();
    set.handle_failure(at(1));
    assert_eq!(set.deadline(), None);
    set.handle_timeout(at(1) + secs(1_000_000_000));
    assert_eq!(set.members().len(), 1);
}

#[test]
fn a_source_that_never_worked_has_no_age() {
    let mut set = EndpointSet::<()>::new(EndpointSetConfig::default());
    set.handle_failure(at(0));
    assert_eq!(set.age(at(9)), None);
}

#[test]
fn events_that_nobody_asks_for_are_bounded() {
    let mut set = of([1]);
    for _ in 0..1_000 {
        set.handle_failure(at(1));
        let _ = set.handle_list(at(1), list([1])).unwrap();
    }
    assert_eq!(events(&mut set, at(1)).len(), 16);
}
