//! A fleet, what goes wrong with it, and when.

use core::ops::Range;
use core::time::Duration;

use sinew_core::client::dispatcher::{BadPolicy, Policy};
use sinew_core::jitter::Jitter;
use sinew_core::time::Instant;

use super::backend::{Backend, Fault, Incident, Latency};
use super::figures::Figures;
use super::{Fleet, Load};

/// Before anything goes wrong.
const WARM_UP: Duration = Duration::from_secs(20);

/// A fleet, and what goes wrong with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scenario {
    /// How many clients.
    pub clients: u32,
    /// What each of them asks for.
    pub load: Load,
    /// What each of them does.
    pub policy: Policy,
    /// How many backends.
    pub backends: u32,
    /// What all backends together can answer, in hundredths of the calls.
    pub capacity_percent: u32,
    /// How much work a backend lets wait, before it refuses with a 503.
    pub queue: Duration,
    /// How long answers take.
    pub latency: Latency,
    /// What goes wrong.
    pub outage: Outage,
    /// How long calls come after that.
    pub after: Duration,
    /// The same seed, the same decisions.
    pub seed: u64,
}

/// What goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outage {
    /// What.
    pub fault: Fault,
    /// With how many of the backends.
    pub backends: u32,
    /// For how long.
    pub lasts: Duration,
}

impl Scenario {
    /// While all is well.
    pub fn before(&self) -> Range<Instant> {
        Instant::ZERO + Duration::from_secs(5)..Instant::ZERO + WARM_UP
    }

    /// While it is not.
    pub fn during(&self) -> Range<Instant> {
        let from = Instant::ZERO + WARM_UP;
        from..from + self.outage.lasts
    }

    /// When all is well again.
    pub fn after(&self) -> Range<Instant> {
        let from = self.during().end;
        from..from + self.after
    }

    /// So long from the start of a time, and at most to its end.
    pub fn first(range: &Range<Instant>, length: Duration) -> Range<Instant> {
        range.start..range.end.min(range.start + length)
    }

    /// A time without its first seconds.
    pub fn from_second(range: &Range<Instant>, seconds: u64) -> Range<Instant> {
        range.start + Duration::from_secs(seconds)..range.end
    }

    /// Lets it happen.
    ///
    /// # Errors
    ///
    /// The policy makes no sense.
    pub fn run(&self) -> Result<Figures, BadPolicy> {
        let mut jitter = Jitter::new(self.seed);
        let calls = u64::from(self.clients) * u64::from(self.load.per_second);
        let all = calls * u64::from(self.capacity_percent) / 100;
        let each = u32::try_from(all / u64::from(self.backends.max(1))).unwrap_or(u32::MAX);
        let during = self.during();
        let backends = (0..self.backends).map(|at| {
            let incident =
                Incident { fault: self.outage.fault, from: during.start, until: during.end };
            let hit = at < self.outage.backends && !self.outage.lasts.is_zero();
            let incidents = if hit { vec![incident] } else { Vec::new() };
            Backend::new(each, self.queue, self.latency, incidents, jitter.draw())
        });
        let backends = backends.collect();
        let link = Duration::from_micros(500);
        let fleet =
            Fleet::new(self.clients, self.policy, self.load, backends, link, jitter.draw())?;
        Ok(fleet.run(self.after().end))
    }
}
