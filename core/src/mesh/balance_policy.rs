//! How calls are spread over the endpoints of a destination.

use core::fmt;

use super::balance::{BadBalance, BalanceConfig};
use super::endpoint::Zone;
use super::ring::RingConfig;
use super::slow_start::SlowStart;
use super::zones::ZonePreference;

/// How one endpoint is chosen of several.
// A tag of its own: every call reads it.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Algorithm {
    /// Each in its turn, whatever its weight.
    RoundRobin,
    /// Each in its turn, as often as its weight says, spread evenly.
    WeightedRoundRobin,
    /// Of two at random the one with fewer requests on their way, by weight.
    LeastRequest,
    /// Of two at random the one that costs less: its latency, where peaks and failures count at once and
    /// are forgotten slowly, times the requests on their way, by weight.
    PeakEwma(BalanceConfig),
    /// The same key to the same endpoint, as far as its load allows; by weight.
    RingHash(RingConfig),
}

impl Algorithm {
    /// A fixed, lower-case name, fit for logs and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::WeightedRoundRobin => "weighted_round_robin",
            Self::LeastRequest => "least_request",
            Self::PeakEwma(_) => "peak_ewma",
            Self::RingHash(_) => "ring_hash",
        }
    }
}

impl Default for Algorithm {
    fn default() -> Self {
        Self::PeakEwma(BalanceConfig::default())
    }
}

/// How calls are spread over the endpoints of a destination.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BalancePolicy {
    /// How one is chosen. Default: peak-EWMA.
    pub algorithm: Algorithm,
    /// How an endpoint that is new, or well again, comes to its share. On a ring it has all of it at once,
    /// as a key has the same owner from the start.
    pub slow_start: SlowStart,
    /// One's own zone, whose endpoints come first. Default: none, zones do not count.
    pub zone: Option<Zone>,
    /// How much of the load stays there.
    pub zone_preference: ZonePreference,
    /// While less than this part of the endpoints is well, in percent, neither ejections nor probes are
    /// heeded. At most 100; 0: never, and calls are refused when none is well. Default 50.
    pub panic_percent: u32,
}

impl Default for BalancePolicy {
    fn default() -> Self {
        Self {
            algorithm: Algorithm::default(),
            slow_start: SlowStart::default(),
            zone: None,
            zone_preference: ZonePreference::default(),
            panic_percent: 50,
        }
    }
}

/// Why a [`BalancePolicy`] makes no sense.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum BadBalancePolicy {
    /// The averages of latencies.
    PeakEwma(BadBalance),
    /// A ring without points, or a bound below an even share.
    Ring,
    /// Less than all of the load that one's own zone can carry.
    Overprovision,
    /// A share above all.
    Panic,
}

impl BalancePolicy {
    /// Refuses what makes no sense.
    pub fn check(&self) -> Result<(), BadBalancePolicy> {
        match self.algorithm {
            Algorithm::PeakEwma(config) => config.check().map_err(BadBalancePolicy::PeakEwma)?,
            Algorithm::RingHash(ring) if ring.points == 0 || ring.bound_percent < 100 => {
                return Err(BadBalancePolicy::Ring);
            }
            _ => {}
        }
        if self.zone_preference.overprovision_percent < 100 {
            return Err(BadBalancePolicy::Overprovision);
        }
        if self.panic_percent > 100 {
            return Err(BadBalancePolicy::Panic);
        }
        Ok(())
    }
}

impl fmt::Display for BadBalancePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PeakEwma(why) => return why.fmt(f),
            Self::Ring => {
                "a ring has at least one point for each, and a bound of at least 100 percent"
            }
            Self::Overprovision => "one's own zone carries at least 100 percent of what it can",
            Self::Panic => "the share below which health is not heeded is at most 100 percent",
        })
    }
}

impl core::error::Error for BadBalancePolicy {}
