//! HTTP-dates, written in one form and read in three, and timestamps:
//! <https://www.rfc-editor.org/rfc/rfc9110#section-5.6.7>

use core::time::Duration;

/// Length of an IMF-fixdate.
pub(crate) const LEN: usize = 29;

/// The week of the first of January 1970.
const DAYS: &[u8; 21] = b"ThuFriSatSunMonTueWed";

const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";

/// `Sun, 06 Nov 1994 08:49:37 GMT`
pub(crate) fn imf_fixdate(seconds: u64) -> [u8; LEN] {
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

/// `1994-11-06T08:49:37.000Z`: <https://www.rfc-editor.org/rfc/rfc3339#section-5.6>
pub(crate) fn rfc3339(unix: Duration) -> String {
    let seconds = unix.as_secs();
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let millis = unix.subsec_millis();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

fn two_digits(to: &mut [u8], n: u64) {
    to[0] = b"0123456789"[(n / 10 % 10) as usize];
    to[1] = b"0123456789"[(n % 10) as usize];
}

/// Year, month and day of a day since 1970-01-01, in the proleptic Gregorian calendar.
///
/// Eras of 400 years from the first of March: <https://howardhinnant.github.io/date_algorithms.html>
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days.saturating_add(719_468);
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

/// Days since 1970-01-01 of a day in the proleptic Gregorian calendar; the inverse of [`civil`].
/// `None` before 1970.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let year = year.checked_sub(u64::from(month <= 2))?;
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = ((153 * shifted_month + 2) / 5 + day).checked_sub(1)?;
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * 146_097 + day_of_era).checked_sub(719_468)
}

/// Seconds since 1970-01-01T00:00:00Z. `now`, in the same seconds, tells the century of the form that
/// lacks it. `None` for what is in no form, for days that are not in the calendar, for the wrong day of
/// the week, and for times before 1970.
pub(crate) fn parse(text: &[u8], now: u64) -> Option<u64> {
    fixdate(text).or_else(|| asctime(text)).or_else(|| rfc850(text, now))?.seconds()
}

/// The parts of a date, each within the range that two or four digits have.
#[derive(Clone, Copy)]
struct Parts<'a> {
    weekday: &'a [u8],
    year: u64,
    month: u64,
    day: u64,
    time: [u64; 3],
}

impl Parts<'_> {
    /// `None`, if there is no such day or time.
    fn seconds(self) -> Option<u64> {
        let days = days(self.year, self.month, self.day)?;
        let [hour, minute, second] = self.time;
        // A leap second is read as the second after it.
        let possible = hour < 24 && minute < 60 && second <= 60;
        let exists = civil(days) == (self.year, self.month, self.day);
        let weekday = (days % 7) as usize * 3;
        let named = DAYS.get(weekday..weekday + 3) == Some(self.weekday);
        (possible && exists && named).then(|| days * 86_400 + hour * 3600 + minute * 60 + second)
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
fn fixdate(text: &[u8]) -> Option<Parts<'_>> {
    let (weekday, rest) = text.split_at_checked(3)?;
    let rest = rest.strip_prefix(b", ")?;
    let (day, rest) = rest.split_at_checked(2)?;
    let (month, rest) = rest.strip_prefix(b" ")?.split_at_checked(3)?;
    let (year, rest) = rest.strip_prefix(b" ")?.split_at_checked(4)?;
    let time = clock(rest.strip_prefix(b" ")?.strip_suffix(b" GMT")?)?;
    Some(Parts { weekday, year: digits(year)?, month: month_of(month)?, day: digits(day)?, time })
}

/// `Sun Nov  6 08:49:37 1994`
fn asctime(text: &[u8]) -> Option<Parts<'_>> {
    let (weekday, rest) = text.split_at_checked(3)?;
    let (month, rest) = rest.strip_prefix(b" ")?.split_at_checked(3)?;
    let (day, rest) = rest.strip_prefix(b" ")?.split_at_checked(2)?;
    let (time, rest) = rest.strip_prefix(b" ")?.split_at_checked(8)?;
    let year = rest.strip_prefix(b" ").filter(|year| year.len() == 4)?;
    let day = digits(day.strip_prefix(b" ").unwrap_or(day))?;
    let month = month_of(month)?;
    Some(Parts { weekday, year: digits(year)?, month, day, time: clock(time)? })
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`
fn rfc850(text: &[u8], now: u64) -> Option<Parts<'_>> {
    let comma = text.iter().position(|byte| *byte == b',')?;
    let (name, rest) = text.split_at_checked(comma)?;
    let weekday = name.get(..3)?;
    let ending: &[u8] = match weekday {
        b"Tue" => b"sday",
        b"Wed" => b"nesday",
        b"Thu" => b"rsday",
        b"Sat" => b"urday",
        _ => b"day",
    };
    let (day, rest) = rest.strip_prefix(b", ")?.split_at_checked(2)?;
    let (month, rest) = rest.strip_prefix(b"-")?.split_at_checked(3)?;
    let (year, rest) = rest.strip_prefix(b"-")?.split_at_checked(2)?;
    let time = clock(rest.strip_prefix(b" ")?.strip_suffix(b" GMT")?)?;
    if name.get(3..) != Some(ending) {
        return None;
    }
    // What seems to be more than 50 years ahead is the last year with these two digits.
    let (this_year, ..) = civil(now / 86_400);
    let in_this_century = this_year - this_year % 100 + digits(year)?;
    let year =
        if in_this_century > this_year + 50 { in_this_century - 100 } else { in_this_century };
    Some(Parts { weekday, year, month: month_of(month)?, day: digits(day)?, time })
}

/// `08:49:37`
fn clock(text: &[u8]) -> Option<[u64; 3]> {
    let two = |part: &[u8]| if part.len() == 2 { digits(part) } else { None };
    let mut parts = text.splitn(3, |byte| *byte == b':').map(two);
    Some([parts.next()??, parts.next()??, parts.next()??])
}

fn month_of(name: &[u8]) -> Option<u64> {
    let at = MONTHS.chunks_exact(3).position(|month| month == name)?;
    u64::try_from(at + 1).ok()
}

/// A number of a few digits.
fn digits(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0, |number, byte| {
        byte.is_ascii_digit().then(|| number * 10 + u64::from(byte - b'0'))
    })
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

    #[test]
    fn writes_timestamps() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (784_111_777_089, "1994-11-06T08:49:37.089Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
        ] {
            assert_eq!(rfc3339(Duration::from_millis(millis)), text);
        }
        let _ = rfc3339(Duration::MAX);
    }

    #[test]
    fn reads_the_three_forms() {
        const NOW: u64 = 1_790_000_000;
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(parse(text.as_bytes(), NOW), Some(784_111_777), "{text}");
            // Every byte of it matters.
            for at in 0..text.len() {
                let mut bent = text.as_bytes().to_vec();
                bent[at] ^= 0x40;
                assert_eq!(parse(&bent, NOW), None, "{:?}", String::from_utf8_lossy(&bent));
                assert_eq!(parse(&text.as_bytes()[..at], NOW), None);
            }
        }
    }

    #[test]
    fn reads_what_it_writes() {
        for step in 0..20_000 {
            let seconds = step * 12_345_678;
            assert_eq!(parse(&imf_fixdate(seconds), 0), Some(seconds));
        }
    }

    #[test]
    fn two_digits_of_a_year_are_at_most_fifty_years_ahead() {
        let at = |year| days(year, 7, 1).unwrap() * 86_400;
        let read = |text: &str, year| parse(text.as_bytes(), at(year)).map(|s| civil(s / 86_400).0);
        assert_eq!(read("Wednesday, 01-Jan-70 00:00:00 GMT", 2019), None, "a Thursday");
        assert_eq!(read("Thursday, 01-Jan-70 00:00:00 GMT", 2019), Some(1970));
        assert_eq!(read("Wednesday, 01-Jan-70 00:00:00 GMT", 2021), Some(2070));
        assert_eq!(read("Friday, 01-Jan-99 00:00:00 GMT", 2026), Some(1999));
    }

    #[test]
    fn refuses_what_is_not_in_the_calendar() {
        for text in [
            "Mon, 06 Nov 1994 08:49:37 GMT",
            "Wed, 29 Feb 2023 00:00:00 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 06 Nov 1994 08:60:00 GMT",
            "Sun, 06 Nov 1994 08:49:61 GMT",
            "Wed, 31 Dec 1969 23:59:59 GMT",
            "Sat, 01 Jan 0000 00:00:00 GMT",
            "sun, 06 Nov 1994 08:49:37 GMT",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "",
        ] {
            assert_eq!(parse(text.as_bytes(), 0), None, "{text}");
        }
    }
}
