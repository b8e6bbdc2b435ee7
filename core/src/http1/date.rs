//! `Date` as an origin server writes it: <https://www.rfc-editor.org/rfc/rfc9110#section-5.6.7>

use core::time::Duration;

/// Length of an IMF-fixdate.
const LEN: usize = 29;

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

/// `Sun, 06 Nov 1994 08:49:37 GMT`
fn imf_fixdate(seconds: u64) -> [u8; LEN] {
    const DAYS: &[u8; 21] = b"ThuFriSatSunMonTueWed";
    const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    let days = seconds / 86_400;
    let (year, month, day) = civil(days);
    let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    let weekday = (days % 7) as usize * 3;
    text[..3].copy_from_slice(&DAYS[weekday..weekday + 3]);
    two_digits(&mut text[5..7], day);
    let name = (month - 1) as usize * 3;
    text[8..11].copy_from_slice(&MONTHS[name..name + 3]);
    two_digits(&mut text[12..14], year / 100 % 100);
    two_digits(&mut text[14..16], year % 100);
    two_digits(&mut text[17..19], seconds / 3600 % 24);
    two_digits(&mut text[20..22], seconds / 60 % 60);
    two_digits(&mut text[23..25], seconds % 60);
    text
}

fn two_digits(to: &mut [u8], n: u64) {
    to[0] = b"0123456789"[(n / 10 % 10) as usize];
    to[1] = b"0123456789"[(n % 10) as usize];
}

/// Year, month and day of a day since 1970-01-01, in the proleptic Gregorian calendar.
///
/// Eras of 400 years from the first of March: <https://howardhinnant.github.io/date_algorithms.html>
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_known_dates() {
        for (seconds, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        ] {
            assert_eq!(core::str::from_utf8(&imf_fixdate(seconds)), Ok(text));
        }
    }
}
