//! When too few are well, all of them are asked.

use sinew_core::mesh::PanicThreshold;

#[test]
fn below_half_and_not_at_it() {
    let mut half = PanicThreshold::new(50);
    assert!(!half.note(0, 0) && !half.is_panicking());
    assert!(!half.note(2, 4) && !half.is_panicking());
    assert!(half.note(1, 4) && half.is_panicking());
    assert!(!half.note(0, 4), "told once");
    assert!(half.note(2, 4) && !half.is_panicking());
}

#[test]
fn never_at_zero_and_at_most_while_one_is_not_well() {
    let mut never = PanicThreshold::new(0);
    assert!(!never.note(0, 4) && !never.is_panicking());
    let mut always = PanicThreshold::new(1_000);
    assert!(always.note(3, 4) && always.note(4, 4));
    assert!(!always.is_panicking(), "more than all is all");
}
