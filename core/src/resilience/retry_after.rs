//! `Retry-After`: <https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3>

use core::time::Duration;

use crate::date;
use crate::time::{Epoch, Instant};

/// When a server wants to be asked again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RetryAfter {
    /// So long after the answer.
    Delay(Duration),
    /// At this time since 1970-01-01T00:00:00Z.
    Date(Duration),
}

impl RetryAfter {
    /// Reads the value of the field: seconds, or an HTTP-date in one of its three forms. Seconds that
    /// cannot be counted are as long as can be. `now` tells the century of the form that lacks it.
    /// `None`: it is neither.
    pub fn parse(value: &[u8], now: Instant, epoch: &Epoch) -> Option<Self> {
        let value = value.trim_ascii();
        if !value.is_empty() && value.iter().all(u8::is_ascii_digit) {
            let seconds = value.iter().try_fold(0_u64, |seconds, digit| {
                seconds.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
            });
            return Some(Self::Delay(Duration::from_secs(seconds.unwrap_or(u64::MAX))));
        }
        let seconds = date::parse(value, epoch.unix(now).as_secs())?;
        Some(Self::Date(Duration::from_secs(seconds)))
    }

    /// How long to wait from now on; nothing, if the time is over.
    pub fn wait(self, now: Instant, epoch: &Epoch) -> Duration {
        match self {
            Self::Delay(delay) => delay,
            Self::Date(unix) => unix.saturating_sub(epoch.unix(now)),
        }
    }
}
