//! What is left of a call, told to the next hop.

use core::fmt;
use core::time::Duration;

use crate::decimal::Backwards;
use crate::time::Instant;

/// The most digits of a time in milliseconds.
const MILLIS_DIGITS: usize = 10;

/// A field that says how long somebody waits for the answer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum TimeoutField {
    /// `sinew-timeout-ms`: one to ten digits, milliseconds.
    Sinew,
    /// `grpc-timeout`: one to eight digits and a unit.
    /// <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>
    Grpc,
    /// `x-envoy-expected-rq-timeout-ms`: one to ten digits, milliseconds.
    Envoy,
}

/// A value that is not in the grammar of its field.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BadTimeout(pub TimeoutField);

/// A value to be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimeoutValue(Backwards<{ MILLIS_DIGITS + 1 }>);

impl TimeoutValue {
    /// As it stands in the field.
    pub fn as_str(&self) -> &str {
        str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// The same, as bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// A number of ten digits at most, and a unit or nothing.
    fn new(number: u64, unit: Option<u8>) -> Self {
        let mut text = Backwards::new();
        text.put(unit.as_slice());
        text.number(number);
        Self(text)
    }
}

impl TimeoutField {
    /// Every one of them.
    pub const ALL: [Self; 3] = [Self::Sinew, Self::Grpc, Self::Envoy];

    /// The name of the field.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sinew => "sinew-timeout-ms",
            Self::Grpc => "grpc-timeout",
            Self::Envoy => "x-envoy-expected-rq-timeout-ms",
        }
    }

    /// Reads a value, to the letter: digits only, no white space, no sign.
    ///
    /// # Errors
    ///
    /// It is not in the grammar.
    pub fn parse(self, value: &[u8]) -> Result<Duration, BadTimeout> {
        let (digits, most, unit) = match self {
            Self::Sinew | Self::Envoy => (value, MILLIS_DIGITS, b'm'),
            Self::Grpc => {
                let (unit, digits) = value.split_last().ok_or(BadTimeout(self))?;
                (digits, 8, *unit)
            }
        };
        if !(1..=most).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
            return Err(BadTimeout(self));
        }
        let number = digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
        Ok(match unit {
            b'H' => Duration::from_secs(number * 3_600),
            b'M' => Duration::from_secs(number * 60),
            b'S' => Duration::from_secs(number),
            b'm' => Duration::from_millis(number),
            b'u' => Duration::from_micros(number),
            b'n' => Duration::from_nanos(number),
            _ => return Err(BadTimeout(self)),
        })
    }

    /// Writes a time, rounded down, or the longest that the field can say. `None`: it is less than the
    /// field can say, and not worth a request.
    pub fn write(self, time: Duration) -> Option<TimeoutValue> {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        if millis == 0 {
            return None;
        }
        Some(match self {
            Self::Sinew | Self::Envoy => TimeoutValue::new(millis.min(9_999_999_999), None),
            Self::Grpc if millis <= 99_999_999 => TimeoutValue::new(millis, Some(b'm')),
            Self::Grpc => TimeoutValue::new((millis / 1_000).min(99_999_999), Some(b'S')),
        })
    }
}

/// Whether the peer may say how long its requests matter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Trust {
    /// It is known: it proved who it is, or comes from a known network.
    Trusted,
    /// What it says about time is ignored.
    Untrusted,
}

/// How deadlines travel from hop to hop.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct DeadlineConfig {
    /// No request gets more time than this, whatever it says. Default 5 min.
    pub max: Duration,
    /// What the way there and back takes: the next hop is told of so much less. Default 0.
    pub margin: Duration,
    /// The field in which the next hop is told; `None`: it is not. Default [`TimeoutField::Sinew`].
    pub emit: Option<TimeoutField>,
}

impl Default for DeadlineConfig {
    fn default() -> Self {
        Self {
            max: Duration::from_secs(300),
            margin: Duration::ZERO,
            emit: Some(TimeoutField::Sinew),
        }
    }
}

/// Why a [`DeadlineConfig`] makes no sense.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum BadDeadline {
    /// Every request would have expired.
    ZeroMax,
    /// The margin eats all of it.
    Margin,
}

/// What a request says about its time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[must_use]
pub enum Arrival {
    /// Nothing, or nothing that is to be believed.
    Unlimited,
    /// Somebody waits until then.
    Until(Instant),
    /// Nobody waits any more: refuse it before anything is done for it.
    Expired,
}

/// What the next hop is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Departure {
    /// Nothing.
    Silent,
    /// This field, with this value.
    Field(TimeoutField, TimeoutValue),
    /// Too little is left for an attempt.
    Expired,
}

impl DeadlineConfig {
    /// Refuses what makes no sense.
    pub fn check(&self) -> Result<(), BadDeadline> {
        if self.max.is_zero() {
            return Err(BadDeadline::ZeroMax);
        }
        if self.margin >= self.max {
            return Err(BadDeadline::Margin);
        }
        Ok(())
    }

    /// What a request that arrives now says about its time. `field` gives the value of a field by its
    /// name. The shortest time counts, if there are several. Nothing is read of a peer that is not
    /// trusted.
    ///
    /// # Errors
    ///
    /// A trusted peer sent what is not in the grammar.
    pub fn arrive<'a>(
        &self,
        now: Instant,
        trust: Trust,
        field: impl Fn(&'static str) -> Option<&'a [u8]>,
    ) -> Result<Arrival, BadTimeout> {
        let mut shortest: Option<Duration> = None;
        if trust == Trust::Trusted {
            for known in TimeoutField::ALL {
                if let Some(value) = field(known.name()) {
                    let time = known.parse(value)?;
                    shortest = Some(shortest.map_or(time, |other| other.min(time)));
                }
            }
        }
        Ok(match shortest {
            None => Arrival::Unlimited,
            Some(Duration::ZERO) => Arrival::Expired,
            Some(time) => Arrival::Until(now + time.min(self.max)),
        })
    }

    /// What an attempt that starts now tells the next hop: what is left of the call, not what it had.
    pub fn depart(&self, now: Instant, deadline: Instant) -> Departure {
        let left = deadline.saturating_since(now).saturating_sub(self.margin);
        if left.is_zero() {
            return Departure::Expired;
        }
        let Some(field) = self.emit else { return Departure::Silent };
        match field.write(left.min(self.max)) {
            Some(value) => Departure::Field(field, value),
            None => Departure::Expired,
        }
    }
}

impl fmt::Display for BadTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed {}", self.0.name())
    }
}

impl core::error::Error for BadTimeout {}

impl fmt::Display for BadDeadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ZeroMax => "the longest time that a request may have is some time",
            Self::Margin => "the margin of deadlines lies below the longest time",
        })
    }
}

impl core::error::Error for BadDeadline {}
