//! What a breaker is, what changes it, and the right to make an attempt.

use core::num::NonZeroU32;

use crate::time::Instant;

/// What opened a breaker.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Trip {
    /// Failures in a row.
    Consecutive,
    /// The share of failures.
    FailureRate,
    /// The share of slow calls.
    SlowRate,
    /// A probe that failed, was limited, or slow.
    Probe,
}

/// Why a breaker lets nobody through.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum OpenReason {
    /// It is open.
    Tripped(Trip),
    /// It is half-open, and there are probes enough on their way.
    Probing,
    /// Somebody wants it so.
    Forced,
}

impl OpenReason {
    /// A fixed, lower-case name, fit for logs and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tripped(Trip::Consecutive) => "breaker_consecutive",
            Self::Tripped(Trip::FailureRate) => "breaker_failure_rate",
            Self::Tripped(Trip::SlowRate) => "breaker_slow_rate",
            Self::Tripped(Trip::Probe) => "breaker_probe",
            Self::Probing => "breaker_probing",
            Self::Forced => "breaker_forced",
        }
    }

    /// The same, where the breaker is that of a route.
    pub const fn route_name(self) -> &'static str {
        match self {
            Self::Tripped(Trip::Consecutive) => "route_breaker_consecutive",
            Self::Tripped(Trip::FailureRate) => "route_breaker_failure_rate",
            Self::Tripped(Trip::SlowRate) => "route_breaker_slow_rate",
            Self::Tripped(Trip::Probe) => "route_breaker_probe",
            Self::Probing => "route_breaker_probing",
            Self::Forced => "route_breaker_forced",
        }
    }
}

/// A refusal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[must_use]
pub struct OpenFor {
    /// Why.
    pub why: OpenReason,
    /// When it is worth asking again; `None`: when whoever forced it open changes their mind.
    pub until: Option<Instant>,
}

/// The state of a breaker changed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[must_use]
pub enum Change {
    /// Calls are refused; what idles in the pool for this endpoint is to be closed.
    Opened {
        /// Why.
        why: Trip,
        /// Until then.
        until: Instant,
    },
    /// A few calls are let through.
    HalfOpened,
    /// All calls are let through.
    Closed,
}

impl Change {
    /// A fixed, lower-case name, fit for logs and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opened { .. } => "opened",
            Self::HalfOpened => "half_opened",
            Self::Closed => "closed",
        }
    }
}

/// What somebody wants a breaker to be, whatever it finds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Forced {
    /// Nobody is let through.
    Open,
    /// Everybody is let through, and nothing counts.
    Closed,
}

/// What a breaker is at some time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum BreakerState {
    /// All calls are let through.
    Closed,
    /// None is.
    Open {
        /// Why.
        why: Trip,
        /// Until then.
        until: Instant,
    },
    /// Some are.
    HalfOpen {
        /// Probes that are on their way.
        probes: u8,
    },
    /// As somebody wants it.
    Forced(Forced),
}

/// Between two changes of state. What belongs to an old epoch changes nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Epoch(NonZeroU32);

impl Epoch {
    pub(super) const FIRST: Self = Self(NonZeroU32::MIN);

    pub(super) fn next(self) -> Self {
        self.0.checked_add(1).map_or(Self::FIRST, Self)
    }
}

/// The right to make one attempt. Give it back with [`Breaker::settle`](super::Breaker::settle) or
/// [`Breaker::release`](super::Breaker::release); if it is lost, a probe's place comes back when its lease is
/// over.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[must_use]
pub struct Permit {
    pub(super) epoch: Epoch,
    pub(super) probe: Option<Probe>,
}

/// The use of a place of a probe.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Probe {
    pub(super) place: u8,
    /// Which of its users this is. That it begins anew after 65,536 of them does not matter: a place is used
    /// a few times in an epoch.
    pub(super) turn: u16,
    /// Asking for it half-opened the breaker.
    pub(super) half_opened: bool,
}

impl Permit {
    /// Whether the attempt decides what becomes of the breaker.
    pub const fn is_probe(&self) -> bool {
        self.probe.is_some()
    }

    /// What asking for it changed.
    pub const fn change(&self) -> Option<Change> {
        match self.probe {
            Some(Probe { half_opened: true, .. }) => Some(Change::HalfOpened),
            _ => None,
        }
    }

    /// To be kept for [`Breaker::late_failure`](super::Breaker::late_failure).
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }
}
