//! What spills over, and when.

use sinew_core::jitter::Jitter;
use sinew_core::mesh::{Reach, ZonePreference};

fn local_in_a_thousand(local: usize, locals: usize, remote: usize) -> usize {
    let (zones, mut jitter) = (ZonePreference::default(), Jitter::new(9));
    let reach = |_: &u32| zones.reach(local, locals, remote, &mut jitter) == Reach::Local;
    (0..1_000u32).filter(reach).count()
}

#[test]
fn load_spills_over_as_the_zone_weakens() {
    assert_eq!(local_in_a_thousand(10, 10, 10), 1_000);
    assert_eq!(local_in_a_thousand(8, 10, 10), 1_000, "made up for: 80 % times 1.4");
    let half = local_in_a_thousand(5, 10, 10);
    assert!((650..750).contains(&half), "50 % times 1.4: {half}");
    assert_eq!(local_in_a_thousand(0, 10, 10), 0);
    assert_eq!(local_in_a_thousand(1, 10, 0), 1_000, "there is nobody else");
    assert_eq!(local_in_a_thousand(0, 0, 10), 0);
}
