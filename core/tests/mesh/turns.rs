//! Turns against the definition: nobody is more than a turn ahead of, or behind, their share.

use proptest::collection::vec;
use proptest::prelude::*;
use sinew_core::mesh::{SlowStart, Turns, Weight};

use crate::{at, secs};

const ONE: u64 = 65_536;

#[test]
fn even_shares_are_round_robin() {
    let mut turns = Turns::new();
    for place in 0..4 {
        turns.insert(place, ONE);
    }
    let picked: Vec<u32> = (0..8).filter_map(|_| turns.pick(None, |_| ONE)).collect();
    assert_eq!(picked, [0, 1, 2, 3, 0, 1, 2, 3]);
}

#[test]
fn the_avoided_one_keeps_its_turn() {
    let mut turns = Turns::new();
    assert_eq!(turns.pick(None, |_| ONE), None);
    turns.insert(0, ONE);
    assert_eq!(turns.pick(Some(0), |_| ONE), Some(0), "there is no other");
    turns.insert(1, ONE);
    turns.insert(2, ONE);
    let picked: Vec<u32> = (0..3).filter_map(|_| turns.pick(Some(0), |_| ONE)).collect();
    assert!(!picked.contains(&0), "{picked:?}");
    assert_eq!(turns.pick(None, |_| ONE), Some(0));
}

#[test]
fn who_leaves_and_comes_back_gains_nothing() {
    let mut turns = Turns::new();
    turns.insert(0, ONE);
    turns.insert(1, ONE);
    let mut seen = [0; 2];
    for _ in 0..100 {
        turns.remove(1);
        turns.insert(1, ONE);
        turns.insert(1, ONE);
        if let Some(place) = turns.pick(None, |_| ONE) {
            seen[place as usize] += 1;
        }
    }
    assert!(seen[1] <= 50, "{seen:?}");
    assert_eq!(turns.len(), 2);
}

#[test]
fn a_new_endpoint_starts_with_a_tenth() {
    let slow = SlowStart::default();
    let share = |seconds: u64| slow.share(at(seconds * 1_000), at(0), Weight::new(10));
    assert_eq!(share(0), ONE);
    assert_eq!(share(5), 5 * ONE);
    assert_eq!(share(10), 10 * ONE);
    assert_eq!(share(1_000), 10 * ONE);
    let at_once = SlowStart { window: secs(0) };
    assert_eq!(at_once.share(at(0), at(0), Weight::ONE), ONE);
}

proptest! {
    #[test]
    fn everyone_gets_their_share(weights in vec(1u64..20, 1..12), rounds in 1u64..30) {
        let mut turns = Turns::new();
        for (place, weight) in (0..).zip(&weights) {
            turns.insert(place, weight * ONE);
        }
        let all: u64 = weights.iter().sum();
        let mut seen = vec![0u64; weights.len()];
        for picked in 1..=all * rounds {
            let place = turns.pick(None, |place| weights[place as usize] * ONE).unwrap() as usize;
            seen[place] += 1;
            for (seen, weight) in seen.iter().zip(&weights) {
                // seen / picked = weight / all, give or take a turn of oneself or of each other.
                let due = picked * weight / all;
                let off = 2 + weights.len() as u64;
                prop_assert!(seen.abs_diff(due) <= off, "{seen} of {picked}, due {due}");
            }
        }
        for (seen, weight) in seen.iter().zip(&weights) {
            prop_assert!(seen.abs_diff(weight * rounds) <= 1, "{seen} for {weight} in {rounds}");
        }
    }

    /// Any script leaves the members right.
    #[test]
    fn any_script(steps in vec((0u32..6, 0u8..3), 0..300)) {
        let mut turns = Turns::new();
        let mut model = std::collections::BTreeSet::new();
        for (place, what) in steps {
            match what {
                0 => { turns.insert(place, ONE); model.insert(place); }
                1 => { turns.remove(place); model.remove(&place); }
                _ => {
                    let picked = turns.pick(Some(place), |_| ONE);
                    prop_assert_eq!(picked.is_none(), model.is_empty());
                    prop_assert!(picked.is_none_or(|one| model.contains(&one)));
                    prop_assert!(model.len() < 2 || picked != Some(place));
                }
            }
            prop_assert_eq!(turns.len(), model.len());
            prop_assert_eq!(turns.is_empty(), model.is_empty());
            prop_assert!((0..6).all(|place| turns.contains(place) == model.contains(&place)));
        }
    }
}
