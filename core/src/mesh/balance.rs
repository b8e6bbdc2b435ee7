//! The less loaded one of two: power of two choices over peak-sensitive averages of latency.

use core::fmt;
use core::time::Duration;

use crate::jitter::Jitter;
use crate::time::Instant;

/// Microseconds of an hour: no latency counts for more, and no age matters beyond.
const HOUR: u64 = 3_600_000_000;

/// How endpoints are compared.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BalanceConfig {
    /// After this time an observation counts about a third (1/e): 1 ms to 1 h. Default 10 s.
    pub decay: Duration,
    /// A failed attempt counts as one that took at least this long. Default 5 s.
    pub penalty: Duration,
    /// What a new endpoint is expected to take; at least 1 us. Default 30 ms.
    pub expected: Duration,
}

impl Default for BalanceConfig {
    fn default() -> Self {
        Self {
            decay: Duration::from_secs(10),
            penalty: Duration::from_secs(5),
            expected: Duration::from_millis(30),
        }
    }
}

/// Why a [`BalanceConfig`] makes no sense.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum BadBalance {
    /// What decays in less than a millisecond, or more than an hour.
    Decay,
    /// An endpoint that takes no time.
    ZeroExpected,
}

impl BalanceConfig {
    /// Refuses what makes no sense.
    pub fn check(&self) -> Result<(), BadBalance> {
        let hour = Duration::from_micros(HOUR);
        if !(Duration::from_millis(1)..=hour).contains(&self.decay) {
            return Err(BadBalance::Decay);
        }
        if micros(self.expected) == 0 {
            return Err(BadBalance::ZeroExpected);
        }
        Ok(())
    }
}

/// What one endpoint costs: the average of its latencies, which rises to a peak at once and falls with
/// time, times the attempts it would have.
///
/// <https://linkerd.io/2016/03/16/beyond-round-robin-load-balancing-for-latency/>
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeakEwma {
    /// Of the last observation.
    at: Instant,
    /// The average, as it was then, and the penalty are microseconds.
    average: u64,
    penalty: u64,
    /// Half lives in a nanosecond, in parts of 2^80.
    pace: u64,
}

impl PeakEwma {
    /// A new endpoint, with the defaults.
    pub fn new(now: Instant) -> Self {
        Self::checked(now, &BalanceConfig::default())
    }

    /// A new endpoint.
    ///
    /// # Errors
    ///
    /// See [`BadBalance`].
    pub fn with_config(now: Instant, config: BalanceConfig) -> Result<Self, BadBalance> {
        config.check()?;
        Ok(Self::checked(now, &config))
    }

    fn checked(now: Instant, config: &BalanceConfig) -> Self {
        Self {
            at: now,
            average: micros(config.expected),
            penalty: micros(config.penalty),
            pace: pace(config.decay),
        }
    }

    /// An attempt was answered after this time.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a few instructions of every call")]
    pub fn observe(&mut self, now: Instant, latency: Duration) {
        self.learn(now, micros(latency));
    }

    /// An attempt failed after this time: those that fail fast must not look fast.
    pub fn penalise(&mut self, now: Instant, latency: Duration) {
        self.learn(now, micros(latency).max(self.penalty));
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a few instructions of every call")]
    fn learn(&mut self, now: Instant, sample: u64) {
        self.average = if sample > self.average {
            sample
        } else {
            let kept = self.kept(now);
            (self.average * kept + sample * (ONE - kept)) / ONE
        };
        self.at = self.at.max(now);
    }

    /// The average now; what is not asked is forgotten, so that it is asked again.
    pub fn latency(&self, now: Instant) -> Duration {
        Duration::from_micros(self.average * self.kept(now) / ONE)
    }

    /// What one more attempt costs beside so many.
    #[inline]
    pub fn cost(&self, now: Instant, in_flight: u32) -> u64 {
        let latency = (self.average * self.kept(now) / ONE).max(1);
        // An hour, four billion times, is less than can be counted.
        latency * (u64::from(in_flight) + 1)
    }

    /// What is left of the last observation, in parts of [`ONE`].
    #[inline]
    fn kept(&self, now: Instant) -> u64 {
        let passed = now.as_nanos().saturating_sub(self.at.as_nanos());
        // Nothing is divided: this is asked twice for every attempt.
        decayed(((u128::from(passed) * u128::from(self.pace)) >> 64) as u64)
    }
}

/// The fixed point: 1.
const ONE: u64 = 1 << 16;

/// How many half lives pass in a nanosecond, in parts of 2^80.
fn pace(decay: Duration) -> u64 {
    // ln 2, in thousandths of [`ONE`]; of a millisecond, it leaves far more than 2^16 ns.
    let half_life = (u128::from(micros(decay)) * 45_426_094 / u128::from(ONE)).max(1 << 17);
    ((1 << 80) / half_life) as u64
}

/// 2^-x, in parts of [`ONE`] as x is, without an exponential function, which differs between platforms:
/// whole half lives by shifts, the rest by 2^-x = 1 - 0.6713 x + 0.1713 x^2, which is within 0.4 %.
#[inline]
fn decayed(x: u64) -> u64 {
    let (halves, x) = (x / ONE, x % ONE);
    let rest = ONE - (43_994 - 11_226 * x / ONE) * x / ONE;
    if halves < 32 { rest >> halves } else { 0 }
}

/// At most an hour.
#[inline]
fn micros(time: Duration) -> u64 {
    const SECONDS: u64 = HOUR / 1_000_000;
    let (seconds, rest) = (time.as_secs(), u64::from(time.subsec_micros()));
    if seconds < SECONDS { seconds * 1_000_000 + rest } else { HOUR }
}

/// Two at random, and the cheaper one of them: as good as looking at all, nearly, and no herd.
///
/// <https://doi.org/10.1109/71.963420>
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PowerOfTwo;

/// What was compared, by place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Choice {
    /// The one that is cheaper.
    pub chosen: usize,
    /// The one that is not; `None`: there was no other.
    pub runner_up: Option<usize>,
}

impl PowerOfTwo {
    /// Picks one of `len` candidates. Asks for two costs at most. `avoid` is picked only if there is no
    /// other: the endpoint of an attempt that failed. `None`: there is no candidate.
    #[inline]
    pub fn pick<C: Ord>(
        len: usize,
        avoid: Option<usize>,
        cost: impl Fn(usize) -> C,
        jitter: &mut Jitter,
    ) -> Option<Choice> {
        // One fewer to choose from; those from the avoided one on move up by one.
        let (len, avoid) = match avoid {
            Some(avoid) if avoid < len && len > 1 => (len - 1, avoid),
            _ => (len, len),
        };
        let place = |at: usize| at + usize::from(at >= avoid);
        if len <= 1 {
            return (len == 1).then(|| Choice { chosen: place(0), runner_up: None });
        }
        let (first, second) = jitter.two_below(len as u64);
        let (first, second) = (place(first as usize), place(second as usize));
        let [one, other] = [first, second].map(cost);
        Some(if other < one {
            Choice { chosen: second, runner_up: Some(first) }
        } else {
            Choice { chosen: first, runner_up: Some(second) }
        })
    }
}

impl fmt::Display for BadBalance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Decay => "latencies decay within 1 ms to 1 h",
            Self::ZeroExpected => "a new endpoint is expected to take at least 1 us",
        })
    }
}

impl core::error::Error for BadBalance {}
