//! When it is told that a certificate runs out.

use std::time::Duration;

use proptest::prelude::*;
use sinew_core::security::Expiry;

const DAY: Duration = Duration::from_secs(86_400);
const MOMENT: Duration = Duration::from_nanos(1);

#[test]
fn there_are_thirty_days_then_seven_then_none() {
    let end = 100 * DAY;
    for (now, expiry, next) in [
        (Duration::ZERO, Expiry::Far, Some(70 * DAY)),
        ((70 * DAY).saturating_sub(MOMENT), Expiry::Far, Some(MOMENT)),
        (70 * DAY, Expiry::Month, Some(23 * DAY)),
        (93 * DAY, Expiry::Week, Some(7 * DAY + MOMENT)),
        (end, Expiry::Week, Some(MOMENT)),
        (end + MOMENT, Expiry::Over, None),
    ] {
        assert_eq!((Expiry::at(now, end), Expiry::changes_in(now, end)), (expiry, next), "{now:?}");
    }
}

proptest! {
    /// Whoever comes back when it changes sees it change, and not a moment earlier.
    #[test]
    fn it_changes_when_it_is_said_to(now in 0..200_u64 * 86_400, end in 0..200_u64 * 86_400) {
        let (now, end) = (Duration::from_secs(now), Duration::from_secs(end));
        if let Some(time) = Expiry::changes_in(now, end) {
            prop_assert_eq!(Expiry::at((now + time).saturating_sub(MOMENT), end), Expiry::at(now, end));
            prop_assert!(Expiry::at(now + time, end) > Expiry::at(now, end));
        } else {
            prop_assert_eq!(Expiry::at(now, end), Expiry::Over);
        }
    }
}
