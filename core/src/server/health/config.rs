//! Which checks there are, and how they are run.

use core::fmt;
use core::time::Duration;
use std::collections::BTreeSet;

use super::Probe;
use crate::class::Class;
use crate::server::drain::Phase;

/// Checks, at most.
pub const MAX_CHECKS: usize = 64;

/// Bytes of the name of a check, at most.
pub const MAX_NAME: usize = 64;

/// What `/readyz?verbose` says besides what the application checks.
pub(super) const OWN: [&str; 3] = ["drain", "certificate", "saturation"];

/// Something that the application can find out about itself, such as whether its database answers.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Check {
    /// ASCII letters, digits, `-`, `_` and `.`; no two checks have the same.
    pub name: Box<str>,
    /// Whose answer it decides: `Live`, `Ready` or `Startup`. `/health` heeds all of them.
    pub probe: Probe,
    /// From one start to the next, about: 10 % more or less, so that they do not all run at once.
    /// Default 10 s.
    pub interval: Duration,
    /// A run that takes longer has failed. Default 5 s.
    pub timeout: Duration,
    /// A result that is older says nothing any more. At least `interval`, a tenth of it, and `timeout`
    /// together. Default 30 s.
    pub max_age: Duration,
}

impl Check {
    /// A check with the default times.
    pub fn new(name: &str, probe: Probe) -> Self {
        Self {
            name: name.into(),
            probe,
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(5),
            max_age: Duration::from_secs(30),
        }
    }
}

/// What a server's health depends on.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct HealthConfig {
    /// At most [`MAX_CHECKS`]. Default: none.
    pub checks: Vec<Check>,
    /// It is not ready from this phase of its [drain](crate::server::drain) on; at most `StopAccept`.
    /// Default `LameDuck`.
    pub not_ready_from: Phase,
    /// The certificate is warned about for so long before it ends. Default 24 h.
    pub certificate_warning: Duration,
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self {
            checks: Vec::new(),
            not_ready_from: Phase::LameDuck,
            certificate_warning: Duration::from_secs(24 * 3_600),
        }
    }
}

/// Why a [`HealthConfig`] makes no sense; the number is that of the check.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum BadHealth {
    /// More than [`MAX_CHECKS`].
    TooMany,
    /// The name is empty, too long, or has other characters.
    Name(usize),
    /// The name is that of another check, or `drain`, `certificate` or `saturation`.
    NameTaken(usize),
    /// A check decides about `Live`, `Ready` or `Startup`.
    Probe(usize),
    /// It is run all the time, or has no time to run.
    ZeroTime(usize),
    /// A result would be too old before the next one is there.
    MaxAge(usize),
    /// It would be ready while it does not listen, or not ready while it serves.
    NotReadyFrom,
}

const NAME: Class = Class::alphanumeric_and(b"-_.");

impl HealthConfig {
    /// Refuses what makes no sense.
    pub fn check(&self) -> Result<(), BadHealth> {
        if self.checks.len() > MAX_CHECKS {
            return Err(BadHealth::TooMany);
        }
        let mut names = BTreeSet::from(OWN);
        for (index, check) in self.checks.iter().enumerate() {
            let name = &*check.name;
            if name.is_empty() || name.len() > MAX_NAME || !NAME.has_all_of(name.as_bytes()) {
                return Err(BadHealth::Name(index));
            }
            if !names.insert(name) {
                return Err(BadHealth::NameTaken(index));
            }
            if check.probe == Probe::Health {
                return Err(BadHealth::Probe(index));
            }
            if check.interval.is_zero() || check.timeout.is_zero() {
                return Err(BadHealth::ZeroTime(index));
            }
            let next = check.interval.saturating_add(check.interval / 10);
            if next.saturating_add(check.timeout) > check.max_age {
                return Err(BadHealth::MaxAge(index));
            }
        }
        if !(Phase::LameDuck..=Phase::StopAccept).contains(&self.not_ready_from) {
            return Err(BadHealth::NotReadyFrom);
        }
        Ok(())
    }
}

impl fmt::Display for BadHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany => write!(f, "there are at most {MAX_CHECKS} health checks"),
            Self::Name(n) => write!(
                f,
                "the name of health check {n} has 1 to {MAX_NAME} letters, digits, '-', '_' and '.'"
            ),
            Self::NameTaken(n) => write!(f, "the name of health check {n} is taken"),
            Self::Probe(n) => write!(f, "health check {n} is for live, ready or startup"),
            Self::ZeroTime(n) => write!(f, "interval and timeout of health check {n} are not zero"),
            Self::MaxAge(n) => write!(
                f,
                "results of health check {n} are kept for 1.1 intervals and a timeout, at least"
            ),
            Self::NotReadyFrom => {
                f.write_str("a server is not ready from lame_duck, notify or stop_accept on")
            }
        }
    }
}

impl core::error::Error for BadHealth {}
