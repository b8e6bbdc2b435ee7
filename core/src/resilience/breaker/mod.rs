//! Whether an endpoint is worth asking.

mod config;
mod state;

use core::time::Duration;

use super::window::Window;
use super::{Outcome, Report};
use crate::jitter::Jitter;
use crate::time::{Deadline, Instant, Timer};

use state::Probe;

pub use config::{BadBreaker, BreakerConfig};
pub use state::{BreakerState, Change, Epoch, Forced, OpenFor, OpenReason, Permit, Trip};

/// The most probes at once.
const MAX_PROBES: usize = 8;

/// The place of a probe.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Lease {
    /// Tells its users apart.
    turn: u16,
    /// `None`: it is free.
    until: Option<Instant>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum State {
    Closed { consecutive: u32 },
    Open { why: Trip, until: Instant },
    HalfOpen { successes: u8, leases: [Lease; MAX_PROBES] },
    Forced(Forced),
}

/// The counters of the window.
const CALLS: usize = 0;
const FAILED: usize = 1;
const SLOW: usize = 2;
const LATE: usize = 3;

/// A circuit breaker for one endpoint, or for one route.
///
/// Ask with [`acquire`](Self::acquire), tell with [`settle`](Self::settle) as soon as the head is
/// there: an attempt that streams for hours would hold its permit as long. Bodies that fail afterwards
/// are told with [`late_failure`](Self::late_failure). Every method first does what is due.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Breaker {
    config: BreakerConfig,
    state: State,
    epoch: Epoch,
    /// Probes that failed since it was closed, as far as they make it stay open for longer.
    reopened: u8,
    window: Window<4>,
    jitter: Jitter,
}

impl Breaker {
    /// A closed breaker. `seed` spreads the times for which it is open.
    ///
    /// # Errors
    ///
    /// See [`BadBreaker`].
    pub fn new(config: BreakerConfig, seed: u64) -> Result<Self, BadBreaker> {
        config.check()?;
        Ok(Self {
            config,
            state: State::Closed { consecutive: 0 },
            epoch: Epoch::FIRST,
            reopened: 0,
            window: Window::new(config.window),
            jitter: Jitter::new(seed),
        })
    }

    /// Asks for the right to make an attempt.
    ///
    /// # Errors
    ///
    /// Why not, and until when.
    #[inline]
    pub fn acquire(&mut self, now: Instant) -> Result<Permit, OpenFor> {
        if self.is_closed() {
            return Ok(Permit { epoch: self.epoch, probe: None });
        }
        self.acquire_unless_open(now)
    }

    #[inline(never)]
    fn acquire_unless_open(&mut self, now: Instant) -> Result<Permit, OpenFor> {
        let half_opened = self.handle_timeout(now).is_some();
        if let Some(refused) = self.refuses(now) {
            return Err(refused);
        }
        let probe = match &mut self.state {
            State::HalfOpen { leases, .. } => {
                let mut places = (0u8..).zip(leases);
                places.find(|(_, lease)| lease.until.is_none()).map(|(place, lease)| {
                    lease.turn = lease.turn.wrapping_add(1);
                    lease.until = Some(now + self.config.lease);
                    Probe { place, turn: lease.turn, half_opened }
                })
            }
            State::Closed { .. } | State::Open { .. } | State::Forced(_) => None,
        };
        Ok(Permit { epoch: self.epoch, probe })
    }

    /// The head is there, or will not come.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "every call passes here")]
    pub fn settle(&mut self, now: Instant, permit: Permit, report: Report) -> Option<Change> {
        let Report { outcome, latency, retry_after } = report;
        let slow = latency >= self.config.slow;
        let good = outcome == Outcome::Success && !slow;
        let State::Closed { consecutive } = &mut self.state else {
            return self.settle_unless_closed(now, permit, good, retry_after);
        };
        if permit.epoch != self.epoch {
            return None;
        }
        self.window.add(now, CALLS);
        // A good answer opens nothing, though it may be the one that makes the rate count.
        if good {
            *consecutive = 0;
            return None;
        }
        self.settle_bad(now, outcome, slow, retry_after)
    }

    /// An answer to a closed breaker that is worse than it should be.
    #[inline(never)]
    fn settle_bad(
        &mut self,
        now: Instant,
        outcome: Outcome,
        slow: bool,
        retry_after: Option<Duration>,
    ) -> Option<Change> {
        let State::Closed { consecutive } = &mut self.state else { return None };
        // A 429 counts in the rate only: it neither ends a row of failures nor makes one.
        *consecutive = match outcome {
            Outcome::Failure => consecutive.saturating_add(1),
            Outcome::Limited => *consecutive,
            Outcome::Success => 0,
        };
        let in_a_row = *consecutive >= self.config.consecutive;
        if outcome != Outcome::Success {
            self.window.add(now, FAILED);
        }
        if slow {
            self.window.add(now, SLOW);
        }
        let trip = if in_a_row { Some(Trip::Consecutive) } else { self.rates(now) };
        trip.map(|why| self.open(now, why, retry_after))
    }

    #[inline(never)]
    #[expect(clippy::needless_pass_by_value, reason = "a permit is given back once")]
    fn settle_unless_closed(
        &mut self,
        now: Instant,
        permit: Permit,
        good: bool,
        retry_after: Option<Duration>,
    ) -> Option<Change> {
        let change = self.handle_timeout(now);
        if permit.epoch != self.epoch {
            return change;
        }
        match (&mut self.state, permit.probe) {
            (State::HalfOpen { successes, leases }, Some(probe)) => {
                give_back(leases, probe)?;
                if !good {
                    return Some(self.open(now, Trip::Probe, retry_after));
                }
                *successes += 1;
                (*successes >= self.config.probes).then(|| self.close())
            }
            _ => change,
        }
    }

    /// The attempt was given up by its caller, or never made: it says nothing.
    #[expect(clippy::needless_pass_by_value, reason = "a permit is given back once")]
    pub fn release(&mut self, permit: Permit) {
        if let (State::HalfOpen { leases, .. }, Some(probe)) = (&mut self.state, permit.probe)
            && permit.epoch == self.epoch
        {
            give_back(leases, probe);
        }
    }

    /// The body of an answer that was settled as a success ended too early. `epoch` is that of its
    /// permit. It counts as a failure in the rate, and nowhere else.
    pub fn late_failure(&mut self, now: Instant, epoch: Epoch) -> Option<Change> {
        let change = self.handle_timeout(now);
        if epoch != self.epoch || !matches!(self.state, State::Closed { .. }) {
            return change;
        }
        self.window.add(now, LATE);
        self.rates(now).map(|why| self.open(now, why, None))
    }

    /// Makes it what somebody wants, whatever it finds; `None`: it is left to itself again, closed and
    /// without a memory.
    pub fn force(&mut self, forced: Option<Forced>) {
        self.window.clear();
        self.enter(forced.map_or(State::Closed { consecutive: 0 }, State::Forced));
    }

    /// Half-opens it when its time is over, and takes back what lost probes hold.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Change> {
        match &mut self.state {
            State::Open { until, .. } if *until <= now => {
                self.enter(State::HalfOpen { successes: 0, leases: Default::default() });
                Some(Change::HalfOpened)
            }
            State::HalfOpen { leases, .. } => {
                for lease in leases {
                    lease.until = lease.until.filter(|until| *until > now);
                }
                None
            }
            State::Open { .. } | State::Closed { .. } | State::Forced(_) => None,
        }
    }

    /// When calls that wait may find it changed.
    pub fn deadline(&self) -> Option<Deadline> {
        match &self.state {
            State::Open { until, .. } => Some(Deadline { at: *until, why: Timer::BreakerOpen }),
            State::HalfOpen { leases, .. } => {
                let until = leases.iter().filter_map(|lease| lease.until).min()?;
                Some(Deadline { at: until, why: Timer::ProbeLease })
            }
            State::Closed { .. } | State::Forced(_) => None,
        }
    }

    /// What it is.
    pub fn state(&self) -> BreakerState {
        match &self.state {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { why, until } => BreakerState::Open { why: *why, until: *until },
            State::HalfOpen { leases, .. } => {
                let probes = leases.iter().filter(|lease| lease.until.is_some()).count();
                BreakerState::HalfOpen { probes: u8::try_from(probes).unwrap_or(u8::MAX) }
            }
            State::Forced(forced) => BreakerState::Forced(*forced),
        }
    }

    /// Why [`acquire`](Self::acquire) would refuse at this time; `None`: it would not.
    pub fn refuses(&self, now: Instant) -> Option<OpenFor> {
        match &self.state {
            State::Closed { .. } | State::Forced(Forced::Closed) => None,
            State::Forced(Forced::Open) => Some(OpenFor { why: OpenReason::Forced, until: None }),
            State::Open { why, until } => (now < *until)
                .then_some(OpenFor { why: OpenReason::Tripped(*why), until: Some(*until) }),
            State::HalfOpen { successes, leases } => {
                let held = leases.iter().filter_map(|lease| lease.until);
                let held = held.filter(|until| now < *until);
                // As many as may still be needed for a verdict.
                let places = usize::from(self.config.probes.saturating_sub(*successes));
                (held.clone().count() >= places)
                    .then(|| OpenFor { why: OpenReason::Probing, until: held.min() })
            }
        }
    }

    /// Whether [`acquire`](Self::acquire) would let a call through at this time.
    pub fn is_ready(&self, now: Instant) -> bool {
        self.refuses(now).is_none()
    }

    /// Whether it is closed, and by itself.
    pub const fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    /// The epoch that its permits are of now.
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// What it was built from.
    pub const fn config(&self) -> &BreakerConfig {
        &self.config
    }

    /// All that decides what it does next, but for the window: numbers that are the same whenever that is.
    #[cfg(test)]
    pub(crate) fn canonical(&self, now: Instant) -> Vec<u64> {
        let left = |at: Instant| u64::try_from((at - now).as_nanos()).unwrap_or(u64::MAX);
        match &self.state {
            State::Closed { consecutive } => vec![0, u64::from(*consecutive)],
            State::Open { until, .. } => vec![1, left(*until), u64::from(self.reopened)],
            State::HalfOpen { successes, leases } => {
                let leases =
                    leases.iter().map(|lease| lease.until.map_or(0, |until| 1 + left(until)));
                let known = [2, u64::from(*successes), u64::from(self.reopened)];
                known.into_iter().chain(leases).collect()
            }
            State::Forced(forced) => vec![3, *forced as u64],
        }
    }

    /// What a permit is worth: nothing, a call, or the place of a probe.
    #[cfg(test)]
    pub(crate) fn worth(&self, permit: &Permit) -> u64 {
        match (&self.state, permit.probe) {
            _ if permit.epoch != self.epoch => 0,
            (State::HalfOpen { leases, .. }, Some(Probe { place, turn, .. })) => {
                let theirs = leases[usize::from(place)];
                if theirs.turn == turn && theirs.until.is_some() { 2 + u64::from(place) } else { 0 }
            }
            _ => 1,
        }
    }

    fn rates(&mut self, now: Instant) -> Option<Trip> {
        let sums = self.window.sums(now).map(u64::from);
        let calls = sums[CALLS];
        let reaches = |count: u64, percent: u32| count * 100 >= calls * u64::from(percent);
        if calls < u64::from(self.config.minimum_calls) {
            None
        } else if reaches(sums[FAILED] + sums[LATE], self.config.failure_percent) {
            Some(Trip::FailureRate)
        } else if reaches(sums[SLOW], self.config.slow_percent) {
            Some(Trip::SlowRate)
        } else {
            None
        }
    }

    fn open(&mut self, now: Instant, why: Trip, retry_after: Option<Duration>) -> Change {
        self.reopened = match why {
            Trip::Probe if self.longest() < self.config.open_max => self.reopened.saturating_add(1),
            Trip::Probe => self.reopened,
            Trip::Consecutive | Trip::FailureRate | Trip::SlowRate => 0,
        };
        let longest = self.longest();
        let time = self.jitter.between((longest / 2).max(self.config.open_min), longest);
        let floor = retry_after.unwrap_or_default().min(self.config.retry_after_max);
        let until = now + time.max(floor);
        self.enter(State::Open { why, until });
        Change::Opened { why, until }
    }

    /// It is open for this long at most: a hiccup is over soon, and what is not costs fewer probes.
    fn longest(&self) -> Duration {
        let BreakerConfig { open_min, open_max, .. } = self.config;
        open_min.saturating_mul(2 << self.reopened.min(30)).min(open_max)
    }

    fn close(&mut self) -> Change {
        self.window.clear();
        self.enter(State::Closed { consecutive: 0 });
        Change::Closed
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.epoch = self.epoch.next();
    }
}

/// Frees the place of a probe; `None`, if it is not the probe's any more.
fn give_back(leases: &mut [Lease], Probe { place, turn, .. }: Probe) -> Option<()> {
    let lease = leases.get_mut(usize::from(place)).filter(|lease| lease.turn == turn)?;
    lease.until.take().map(|_| ())
}
