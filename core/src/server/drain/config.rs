//! How long each phase takes.

use core::fmt;
use core::time::Duration;

/// How long each phase takes at most.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct DrainConfig {
    /// `LameDuck`: until everybody knows that this server is not ready. Default 0 s.
    pub propagation: Duration,
    /// `Notify`: until every connection in use was told with an answer. Default 1 s.
    pub notify: Duration,
    /// How long an idle connection may bring a late request once the listeners are closed; the time of
    /// `StopAccept`. Default 1 s.
    pub late: Duration,
    /// From the first step to `Force`. Default 25 s.
    pub deadline: Duration,
    /// `Force`: until a connection that was reset counts as stuck. Default 1 s.
    pub force: Duration,
}

impl Default for DrainConfig {
    fn default() -> Self {
        Self {
            propagation: Duration::ZERO,
            notify: Duration::from_secs(1),
            late: Duration::from_secs(1),
            deadline: Duration::from_secs(25),
            force: Duration::from_secs(1),
        }
    }
}

/// Why a [`DrainConfig`] makes no sense.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum BadDrain {
    /// The phases before `Grace` take longer than all together may.
    Deadline,
    /// What is reset needs a moment to go.
    ZeroForce,
}

impl DrainConfig {
    /// For a pod: endpoints are withdrawn while it is told to stop, so it serves on for 5 s, and tells its
    /// clients for another 5 s. With 25 s and 1 s it is gone within the 30 s that Kubernetes waits.
    /// <https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination>
    pub const fn kubernetes() -> Self {
        Self {
            propagation: Duration::from_secs(5),
            notify: Duration::from_secs(5),
            late: Duration::from_secs(1),
            deadline: Duration::from_secs(25),
            force: Duration::from_secs(1),
        }
    }

    /// Refuses what makes no sense.
    pub fn check(&self) -> Result<(), BadDrain> {
        let before = self.propagation.saturating_add(self.notify).saturating_add(self.late);
        if before > self.deadline {
            return Err(BadDrain::Deadline);
        }
        if self.force.is_zero() {
            return Err(BadDrain::ZeroForce);
        }
        Ok(())
    }
}

impl BadDrain {
    /// One phrase in plain words.
    pub const fn explain(self) -> &'static str {
        match self {
            Self::Deadline => "propagation, notify and late together take longer than the deadline",
            Self::ZeroForce => "connections that are reset need a moment to go",
        }
    }
}

impl fmt::Display for BadDrain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.explain())
    }
}

impl core::error::Error for BadDrain {}
