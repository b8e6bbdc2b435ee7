//! How long a certificate is still good.

use core::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long something that runs out is still good; the greater, the more it matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Expiry {
    /// More than 30 days.
    Far,
    /// 30 days or less.
    Month,
    /// 7 days or less.
    Week,
    /// It has run out.
    Over,
}

impl Expiry {
    /// What it is at `now`, for what is good up to and including `not_after`; both since
    /// 1970-01-01T00:00:00Z.
    /// <https://www.rfc-editor.org/rfc/rfc5280#section-4.1.2.5>
    pub fn at(now: Duration, not_after: Duration) -> Self {
        match not_after.checked_sub(now) {
            None => Self::Over,
            Some(left) if left <= 7 * DAY => Self::Week,
            Some(left) if left <= 30 * DAY => Self::Month,
            Some(_) => Self::Far,
        }
    }

    /// How long it stays so, from `now` on. `None`: for ever.
    pub fn changes_in(now: Duration, not_after: Duration) -> Option<Duration> {
        let left = not_after.checked_sub(now)?;
        let marks = [30 * DAY, 7 * DAY].into_iter().filter_map(|mark| left.checked_sub(mark));
        // Over is what comes after the last moment, not that moment itself.
        let over = left + Duration::from_nanos(1);
        marks.filter(|time| !time.is_zero()).min().or(Some(over))
    }

    /// A fixed, lower-case name, fit for logs and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Far => "far",
            Self::Month => "month",
            Self::Week => "week",
            Self::Over => "over",
        }
    }
}
