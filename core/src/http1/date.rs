//! `Date` as an origin server writes it: <https://www.rfc-editor.org/rfc/rfc9110#section-6.6.1>

use core::time::Duration;

use crate::date::{LEN, imf_fixdate};
use crate::time::{Epoch, Instant};

/// Length of the field line.
const LINE: usize = 6 + LEN + 2;

/// In nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// The `date` field of the last answer, formatted once a second. It is of one epoch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DateCache {
    /// The end of the line's second.
    until: Instant,
    line: [u8; LINE],
}

impl Default for DateCache {
    fn default() -> Self {
        Self { until: Instant::ZERO, line: field_line(0) }
    }
}

impl DateCache {
    /// The field line at `now`.
    #[inline]
    pub(crate) fn line(&mut self, epoch: Epoch, now: Instant) -> &[u8; LINE] {
        let left = self.until.as_nanos().wrapping_sub(now.as_nanos());
        if left.wrapping_sub(1) >= SECOND {
            self.format(epoch, now);
        }
        &self.line
    }

    #[cold]
    fn format(&mut self, epoch: Epoch, now: Instant) {
        let unix = epoch.unix(now);
        let passed = u64::from(unix.subsec_nanos());
        self.until = now + Duration::from_nanos(SECOND - passed);
        self.line = field_line(unix.as_secs());
    }
}

fn field_line(seconds: u64) -> [u8; LINE] {
    let mut line = *b"date: Thu, 01 Jan 1970 00:00:00 GMT\r\n";
    line[6..6 + LEN].copy_from_slice(&imf_fixdate(seconds));
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_that_of_its_second() {
        let epoch = Epoch::new(Duration::new(784_111_776, 400_000_000));
        let mut cache = DateCache::default();
        // Forwards and backwards, to both sides of every edge.
        for millis in [0, 599, 600, 1_599, 1_600, 1_599, 600, 599, 0, 86_400_000] {
            for nanos in [0, 1, 999_999] {
                let now = Instant::from_nanos(millis * 1_000_000 + nanos);
                let second = epoch.unix(now).as_secs();
                assert_eq!(cache.line(epoch, now), &field_line(second), "{now:?}");
            }
        }
        assert_eq!(cache.line(epoch, Instant::ZERO), b"date: Sun, 06 Nov 1994 08:49:36 GMT\r\n");
    }
}
