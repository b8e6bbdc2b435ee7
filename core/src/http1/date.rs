//! `Date` as an origin server writes it: <https://www.rfc-editor.org/rfc/rfc9110#section-6.6.1>

use core::time::Duration;

use crate::date::{LEN, imf_fixdate};
use crate::time::{Epoch, Instant};

/// Length of the field line.
const LINE: usize = 6 + LEN + 2;

/// The `date` field of the last answer, formatted once a second. It is of one epoch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DateCache {
    /// The second of the line: from then on, and before then.
    from: Instant,
    until: Instant,
    line: [u8; LINE],
}

impl Default for DateCache {
    fn default() -> Self {
        Self { from: Instant::ZERO, until: Instant::ZERO, line: field_line(0) }
    }
}

impl DateCache {
    /// The field line at `now`.
    #[inline]
    pub(crate) fn line(&mut self, epoch: Epoch, now: Instant) -> &[u8; LINE] {
        if now < self.from || now >= self.until {
            self.format(epoch, now);
        }
        &self.line
    }

    #[cold]
    fn format(&mut self, epoch: Epoch, now: Instant) {
        let unix = epoch.unix(now);
        let passed = u64::from(unix.subsec_nanos());
        self.from = Instant::from_nanos(now.as_nanos().saturating_sub(passed));
        self.until = now + Duration::from_nanos(1_000_000_000 - passed);
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
