//! What single settings look like.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use http::{HeaderName, Method};
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sinew_auth::Algorithm;
use sinew_core::limit::{BadQuota, Quota};
use sinew_core::security::Network;
use sinew_core::server::MediaRange;
use toml::value::{Datetime, Offset};

/// Text that stands for something else.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Text<T> {
    /// As it was written.
    text: String,
    pub(crate) value: T,
}

/// What can be read from text.
pub(crate) trait Parse: Sized {
    /// What is read, with an example.
    const EXPECTED: &str;

    /// `Err`: what is wrong, if more can be said than what was expected.
    fn parse(text: &str) -> Result<Self, Option<String>>;
}

impl<T: Parse> Text<T> {
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        match T::parse(text) {
            Ok(value) => Ok(Self { text: text.to_owned(), value }),
            Err(Some(why)) => Err(why),
            Err(None) => Err(format!("expected {}", T::EXPECTED)),
        }
    }
}

impl<'de, T: Parse> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfText<T>(PhantomData<T>);
        impl<T: Parse> Visitor<'_> for OfText<T> {
            type Value = Text<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(T::EXPECTED)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text<T>, E> {
                Text::new(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(OfText(PhantomData))
    }
}

impl<T> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<T> fmt::Debug for Text<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

/// A time: `1*DIGIT unit`, and nothing else.
pub(crate) type Span = Text<Duration>;

/// In nanoseconds.
const UNITS: [(&str, u64); 6] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
];

impl Parse for Duration {
    const EXPECTED: &str = "a time such as \"30s\": a whole number of us, ms, s, m, h or d";

    fn parse(text: &str) -> Result<Self, Option<String>> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let (_, nanos) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(None)?;
        if number.is_empty() {
            return Err(None);
        }
        // The clocks of the core count nanoseconds in 64 bits.
        let time = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*nanos));
        time.map(Self::from_nanos).ok_or_else(|| Some("longer than 584 years".to_owned()))
    }
}

impl From<Duration> for Span {
    /// Rounded down to microseconds, which is what can be written.
    fn from(value: Duration) -> Self {
        let micros = value.as_micros();
        let fits = |(_, nanos): &&(&str, u64)| micros.is_multiple_of(u128::from(*nanos) / 1000);
        let (unit, nanos) = match UNITS.iter().find(fits) {
            Some(found) if micros > 0 => *found,
            _ => ("s", 1_000_000_000),
        };
        Self { text: format!("{}{unit}", micros * 1000 / u128::from(nanos)), value }
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        span.value
    }
}

impl Parse for Method {
    const EXPECTED: &str = "a method such as \"GET\"";

    fn parse(text: &str) -> Result<Self, Option<String>> {
        Self::from_bytes(text.as_bytes()).map_err(|_| None)
    }
}

impl Parse for HeaderName {
    const EXPECTED: &str = "the name of a field such as \"x-api-key\"";

    fn parse(text: &str) -> Result<Self, Option<String>> {
        Self::from_bytes(text.as_bytes()).map_err(|_| None)
    }
}

impl Parse for Network {
    const EXPECTED: &str = "a network such as \"10.0.0.0/8\"";

    fn parse(text: &str) -> Result<Self, Option<String>> {
        text.parse().map_err(|why: sinew_core::security::BadNetwork| Some(why.to_string()))
    }
}

impl Parse for MediaRange {
    const EXPECTED: &str = "a media type such as \"application/json\"";

    fn parse(text: &str) -> Result<Self, Option<String>> {
        Self::new(text).map_err(|why| Some(why.to_string()))
    }
}

impl Parse for Algorithm {
    const EXPECTED: &str = "one of ES256, ES384, EdDSA, RS256, RS384, RS512, PS256, PS384, PS512";

    fn parse(text: &str) -> Result<Self, Option<String>> {
        Self::from_name(text).ok_or(None)
    }
}

/// A date and a time of TOML with an offset: a point in time.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(try_from = "Datetime", into = "Datetime")]
pub(crate) struct Date {
    written: Datetime,
    /// Since 1970-01-01T00:00:00Z, which all before it counts as.
    pub(crate) since_1970: Duration,
}

impl TryFrom<Datetime> for Date {
    type Error = &'static str;

    fn try_from(written: Datetime) -> Result<Self, Self::Error> {
        let (Some(date), Some(time), Some(offset)) = (written.date, written.time, written.offset)
        else {
            return Err("expected a date and a time with an offset, such as 2027-01-01T00:00:00Z");
        };
        let minutes = match offset {
            Offset::Z => 0,
            Offset::Custom { minutes } => i64::from(minutes),
        };
        let of_day = (i64::from(time.hour) * 60 + i64::from(time.minute) - minutes) * 60;
        let seconds = days(date) * 86_400 + of_day + i64::from(time.second);
        let since_1970 = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
        Ok(Self { written, since_1970 })
    }
}

impl From<Date> for Datetime {
    fn from(date: Date) -> Self {
        date.written
    }
}

/// Days from 1970-01-01 on, in the proleptic Gregorian calendar: years begin in March, so that what is
/// uneven comes last. <https://howardhinnant.github.io/date_algorithms.html#days_from_civil>
fn days(date: toml::value::Date) -> i64 {
    let (month, day) = (i64::from(date.month), i64::from(date.day));
    let year = i64::from(date.year) - i64::from(month <= 2);
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// A setting that may be switched off by the word `none`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct OrNone<T>(pub(crate) Option<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OrNone<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = OrNone<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"none\", or a time or quota")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<OrNone<T>, E> {
                match text {
                    "none" => Ok(OrNone(None)),
                    text => T::deserialize(StrDeserializer::new(text)).map(|v| OrNone(Some(v))),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<OrNone<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(|value| OrNone(Some(value)))
            }
        }
        deserializer.deserialize_any(Either(PhantomData))
    }
}

impl<T: Serialize> Serialize for OrNone<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Some(value) => value.serialize(serializer),
            None => serializer.serialize_str("none"),
        }
    }
}

impl From<Option<Duration>> for OrNone<Span> {
    fn from(limit: Option<Duration>) -> Self {
        Self(limit.map(Span::from))
    }
}

impl From<OrNone<Span>> for Option<Duration> {
    fn from(limit: OrNone<Span>) -> Self {
        limit.0.map(|span| span.value)
    }
}

/// So many requests in so much time, and so many at once.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct QuotaText {
    count: u32,
    period: Span,
    burst: u32,
}

impl QuotaText {
    /// `Err`: the setting that makes no sense, and why.
    pub(crate) fn build(&self) -> Result<Quota, (Option<&'static str>, String)> {
        Quota::new(self.count, self.period.value, self.burst).map_err(|bad| {
            let setting = match bad {
                BadQuota::ZeroCount => Some("count"),
                BadQuota::Period => Some("period"),
                BadQuota::ZeroBurst => Some("burst"),
                _ => None,
            };
            (setting, bad.to_string())
        })
    }
}

impl From<Quota> for QuotaText {
    fn from(quota: Quota) -> Self {
        Self { count: quota.count(), period: quota.period().into(), burst: quota.burst() }
    }
}
