//! A ring moves few keys, and keeps to its bound.

use sinew_core::mesh::{Endpoint, Ring, RingConfig, Weight};

const KEYS: u64 = 10_000;

fn ring(members: impl IntoIterator<Item = (u32, u16)>) -> Ring {
    let members: Vec<_> = members
        .into_iter()
        .map(|(place, weight)| (place, Endpoint(u64::from(place)), Weight::new(weight)))
        .collect();
    Ring::new(RingConfig::default(), &members)
}

fn homes(ring: &Ring) -> Vec<Option<u32>> {
    (0..KEYS).map(|key| ring.pick(key, |_| true)).collect()
}

#[test]
fn an_empty_ring_has_no_place() {
    assert_eq!(ring([]).pick(1, |_| true), None);
    assert_eq!(ring([(0, 1)]).pick(1, |_| false), None);
}

#[test]
fn who_leaves_moves_no_keys_but_its_own() {
    let before = homes(&ring((0..10).map(|place| (place, 1))));
    let after = homes(&ring((0..10).filter(|place| *place != 3).map(|place| (place, 1))));
    let mut moved = 0;
    for (before, after) in before.iter().zip(&after) {
        assert!(before == after || *before == Some(3), "{before:?} to {after:?}");
        moved += u64::from(before != after);
    }
    assert!((KEYS / 20..KEYS / 5).contains(&moved), "about a tenth: {moved}");
}

#[test]
fn shares_follow_weights() {
    let homes = homes(&ring([(0, 1), (1, 3)]));
    let second = homes.iter().filter(|home| **home == Some(1)).count() as u64;
    assert!((KEYS * 65 / 100..KEYS * 85 / 100).contains(&second), "about three quarters: {second}");
}

#[test]
fn points_are_bounded() {
    let config = RingConfig { points: u16::MAX, max_points: 64, ..RingConfig::default() };
    let members: Vec<_> =
        (0..100).map(|place| (place, Endpoint(place.into()), Weight::new(u16::MAX))).collect();
    let ring = Ring::new(config, &members);
    let seen: std::collections::BTreeSet<_> =
        (0..KEYS).filter_map(|key| ring.pick(key, |_| true)).collect();
    assert_eq!(seen.len(), 100, "each has a point, whatever the cap");
}

#[test]
fn what_is_above_the_bound_goes_to_the_next() {
    let ring = ring((0..10).map(|place| (place, 1)));
    let mut in_flight = [0u32; 10];
    for all in 0..1_000 {
        // The hottest key there can be.
        let place =
            ring.pick(7, |place| ring.is_within_bound(in_flight[place as usize], all, 1, 10));
        in_flight[place.expect("somebody is below 125 % of the average") as usize] += 1;
    }
    let most = in_flight.iter().max().copied();
    assert_eq!(most, Some(125), "{in_flight:?}");
}
