//! A new endpoint warms up before it gets its whole share.

use core::time::Duration;

use crate::time::Instant;

/// One, where shares are parts of it.
pub(super) const ONE: u64 = 1 << 16;

/// How a new endpoint comes to its share: from a tenth of it, evenly, to all of it.
///
/// <https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/slow_start>
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SlowStart {
    /// After this time it has all of it. Default 10 s; zero: at once.
    pub window: Duration,
}

impl Default for SlowStart {
    fn default() -> Self {
        Self { window: Duration::from_secs(10) }
    }
}

impl SlowStart {
    /// The weight that counts now for one that is here since `born`, in parts of 65,536.
    pub fn share(&self, now: Instant, born: Instant, weight: super::Weight) -> u64 {
        let full = u64::from(weight.get()) * ONE;
        let (age, window) = (now - born, self.window);
        if age >= window {
            return full;
        }
        let part = age.as_micros() * u128::from(full) / window.as_micros().max(1);
        u64::try_from(part).unwrap_or(full).clamp(full / 10, full)
    }
}
