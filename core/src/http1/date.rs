//! `Date` as an origin server writes it: <https://www.rfc-editor.org/rfc/rfc9110#section-6.6.1>

use core::time::Duration;

use crate::date::{LEN, imf_fixdate};

/// Length of the field line.
const LINE: usize = 6 + LEN + 2;

/// The `date` field of the last answer, formatted once a second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DateCache {
    second: u64,
    line: [u8; LINE],
}

impl Default for DateCache {
    fn default() -> Self {
        Self { second: 0, line: field_line(0) }
    }
}

impl DateCache {
    /// The field line at `unix`, the time since 1970-01-01T00:00:00Z.
    pub(crate) fn line(&mut self, unix: Duration) -> &[u8; LINE] {
        if unix.as_secs() != self.second {
            self.second = unix.as_secs();
            self.line = field_line(self.second);
        }
        &self.line
    }
}

fn field_line(seconds: u64) -> [u8; LINE] {
    let mut line = *b"date: Thu, 01 Jan 1970 00:00:00 GMT\r\n";
    line[6..6 + LEN].copy_from_slice(&imf_fixdate(seconds));
    line
}
