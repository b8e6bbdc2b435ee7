//! How many calls at once, found by trying.

use core::fmt;
use core::time::Duration;

use http::StatusCode;

use crate::policy::Mode;
use crate::time::Instant;

/// Thousandths of a call.
const ONE: u64 = 1_000;

/// Calls of a round, at least.
const ROUND: u32 = 10;

/// Rounds without overload after which the destination is no longer known to be short.
const STRAINED: u32 = 10;

/// An answer is late that takes so many times as long as the fastest ones do.
const LATE: u32 = 4;

/// After this time without one that is as fast, the fastest answer counts as one that took twice as
/// long, after twice this time as one that took three times as long, and so on.
const FORGET: Duration = Duration::from_secs(30);

/// Between which limits to look for the right one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ConcurrencyConfig {
    /// What becomes of a refusal. Default: it is enforced. In shadow, a call goes on without a place
    /// and settles nothing.
    pub mode: Mode,
    /// The limit to begin with. Default 100.
    pub initial: u32,
    /// Never below; at least 1. Default 1.
    pub min: u32,
    /// Never above; at most 1,000,000. Default 1,000.
    pub max: u32,
    /// No answer is late that takes less than this. Default 250 ms.
    pub late: Duration,
}

impl Default for ConcurrencyConfig {
    fn default() -> Self {
        Self {
            mode: Mode::Enforce,
            initial: 100,
            min: 1,
            max: 1_000,
            late: Duration::from_millis(250),
        }
    }
}

/// Why a [`ConcurrencyConfig`] makes no sense.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum BadConcurrency {
    /// A limit of nothing lets nothing through, and finds nothing out.
    ZeroMin,
    /// The first limit is not between the lowest and the highest.
    Initial,
    /// More than can be counted.
    Max,
}

impl ConcurrencyConfig {
    /// Refuses what makes no sense.
    pub fn check(&self) -> Result<(), BadConcurrency> {
        if self.min == 0 {
            return Err(BadConcurrency::ZeroMin);
        }
        if self.max > 1_000_000 {
            return Err(BadConcurrency::Max);
        }
        if !(self.min..=self.max).contains(&self.initial) {
            return Err(BadConcurrency::Initial);
        }
        Ok(())
    }
}

/// The place of one call. Give it back with [`Concurrency::settle`] or [`Concurrency::release`]: a
/// place that is lost is lost for ever.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub struct Place(());

/// There are as many calls as there may be.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Full {
    /// So many.
    pub limit: u32,
}

/// How the destination bore a call.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Load {
    /// It was answered after this time, whatever the answer.
    Borne(Duration),
    /// It was too much: a 429, a 503, or no answer in time.
    Overload,
}

impl Load {
    /// What an answer says that came after this time.
    pub const fn of_status(status: StatusCode, took: Duration) -> Self {
        match status.as_u16() {
            429 | 503 => Self::Overload,
            _ => Self::Borne(took),
        }
    }
}

/// An adaptive limit of calls at once. It has no timers: it counts in rounds, of as many calls as were
/// there at once, ten at least.
///
/// After a round without overload in which the limit was reached, the limit grows by one. After one
/// with, it shrinks by half of the share of calls that were too much: by half if all were, and by
/// little if one was, so that a stray timeout costs nothing.
/// <https://www.rfc-editor.org/rfc/rfc8257#section-3.3>
///
/// What of the limit was not used has not been proved: it goes by that share the first time, and all of
/// it, down to ten, if that happens again within ten rounds.
/// <https://www.rfc-editor.org/rfc/rfc7661#section-4.4>
/// Ten rounds without forgive: until then the limit grows gently, by a sixteenth at most; afterwards it
/// goes back to where it began even if nobody needs it.
///
/// After a round of which even the fastest answer was late, it shrinks by a quarter of what was used: all
/// of them stood in a queue, in which the next ones may be lost. Late is what takes four times as long as
/// the fastest ones do, and a while at least; a few slow answers among others are not, nor is what always
/// takes long.
/// <https://www.rfc-editor.org/rfc/rfc8289#section-3.2>
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Concurrency {
    config: ConcurrencyConfig,
    /// In thousandths, and in whole calls.
    limit: u64,
    whole: u32,
    in_flight: u32,
    /// Calls of this round that are over, and how many of them were too much.
    settled: u32,
    overloads: u32,
    /// The most calls at once in this round.
    peak: u32,
    /// Rounds until it is forgotten that there was overload.
    strained: u32,
    /// The fastest answer of this round; [`Duration::MAX`]: there is none.
    fastest: Duration,
    /// What the fastest answer took that is remembered, and when there was one as fast.
    usual: Option<(Duration, Instant)>,
}

impl Concurrency {
    /// Nothing is there yet.
    ///
    /// # Errors
    ///
    /// See [`BadConcurrency`].
    pub fn new(config: ConcurrencyConfig) -> Result<Self, BadConcurrency> {
        config.check()?;
        let limit = u64::from(config.initial) * ONE;
        Ok(Self {
            config,
            limit,
            whole: config.initial,
            in_flight: 0,
            settled: 0,
            overloads: 0,
            peak: 0,
            strained: 0,
            fastest: Duration::MAX,
            usual: None,
        })
    }

    /// Asks for a place.
    ///
    /// # Errors
    ///
    /// There is none.
    #[inline]
    pub fn acquire(&mut self) -> Result<Place, Full> {
        let limit = self.limit();
        if self.in_flight >= limit {
            self.peak = self.peak.max(self.in_flight);
            return Err(Full { limit });
        }
        self.in_flight += 1;
        self.peak = self.peak.max(self.in_flight);
        Ok(Place(()))
    }

    /// A call is over, and says something. The limit, if that changed it.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a few instructions of every call")]
    pub fn settle(&mut self, now: Instant, place: Place, load: Load) -> Option<u32> {
        self.release(place);
        self.settled += 1;
        match load {
            Load::Borne(took) => self.fastest = self.fastest.min(took),
            Load::Overload => self.overloads += 1,
        }
        if self.settled < self.peak.max(ROUND) { None } else { self.end_round(now) }
    }

    /// A call is over, and says nothing: its caller gave it up, or it was never sent.
    #[expect(clippy::needless_pass_by_value, reason = "a place is given back once")]
    pub fn release(&mut self, place: Place) {
        let Place(()) = place;
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Calls at once, at most.
    pub const fn limit(&self) -> u32 {
        self.whole
    }

    /// Calls that are there.
    pub const fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// How many more calls there may be now.
    pub const fn room(&self) -> u32 {
        self.limit().saturating_sub(self.in_flight)
    }

    /// Whether there was overload in one of the last ten rounds: who waits for a place now waits for
    /// what is short.
    pub const fn is_strained(&self) -> bool {
        self.strained > 0
    }

    /// What it was built from.
    pub const fn config(&self) -> &ConcurrencyConfig {
        &self.config
    }

    #[inline(never)]
    fn end_round(&mut self, now: Instant) -> Option<u32> {
        let before = self.limit();
        let (settled, overloads) = (u64::from(self.settled), u64::from(self.overloads));
        let used = (u64::from(self.peak.max(ROUND)) * ONE).min(self.limit);
        let known = self.is_strained();
        let late = self.is_late(now);
        self.strained =
            if overloads > 0 || late { STRAINED } else { self.strained.saturating_sub(1) };
        let limit = if overloads > 0 {
            let unproved = self.limit - used;
            let proved = if known { used } else { self.limit - unproved * overloads / settled };
            proved - proved * overloads / (2 * settled)
        } else if late {
            used - used / 4
        } else if self.peak >= self.limit() {
            self.limit + if self.is_strained() { (self.limit / 16).min(ONE) } else { ONE }
        } else if !self.is_strained() && self.limit < u64::from(self.config.initial) * ONE {
            self.limit + ONE
        } else {
            self.limit
        };
        let [min, max] = [self.config.min, self.config.max].map(|limit| u64::from(limit) * ONE);
        self.limit = limit.clamp(min, max);
        // A million at most.
        self.whole = (self.limit / ONE) as u32;
        (self.settled, self.overloads, self.peak) = (0, 0, self.in_flight);
        Some(self.limit()).filter(|limit| *limit != before)
    }

    /// Whether even the fastest answer of the round was late: all of them waited in a queue.
    fn is_late(&mut self, now: Instant) -> bool {
        let fastest = std::mem::replace(&mut self.fastest, Duration::MAX);
        if fastest == Duration::MAX {
            return false;
        }
        let usual = self.usual.map(|(usual, at)| {
            let age = (now - at).as_millis() / FORGET.as_millis();
            let longer = usual.saturating_mul(u32::try_from(age).unwrap_or(u32::MAX));
            usual.saturating_add(longer)
        });
        match usual {
            Some(usual) if usual < fastest => {
                fastest >= self.config.late.max(usual.saturating_mul(LATE))
            }
            _ => {
                self.usual = Some((fastest, now));
                false
            }
        }
    }
}

impl fmt::Display for BadConcurrency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ZeroMin => "a limit of no calls at once lets nothing through",
            Self::Initial => "the first limit of calls at once lies between the others",
            Self::Max => "a limit of calls at once is at most 1,000,000",
        })
    }
}

impl core::error::Error for BadConcurrency {}
