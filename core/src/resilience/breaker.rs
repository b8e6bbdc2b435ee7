//! Whether an endpoint is worth asking.

use core::fmt;
use core::time::Duration;

use super::window::Window;
use super::{Outcome, Report};
use crate::jitter::Jitter;
use crate::policy::Mode;
use crate::time::{Deadline, Instant, Timer};

/// The most probes at once.
const MAX_PROBES: usize = 8;

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BreakerConfig {
    /// What becomes of a refusal. Default: it is enforced. In shadow, a call goes on without a permit
    /// and settles nothing.
    pub mode: Mode,
    /// Failures in a row that open it; at least 1. Default 5.
    pub consecutive: u32,
    /// How far back the rates look: 1 s to 10 min. Default 10 s.
    pub window: Duration,
    /// Calls of the window below which the rates say nothing; at least 1. Default 20.
    pub minimum_calls: u32,
    /// Failures, and 429s, in a hundred calls that open it; 1 to 100. Default 50.
    pub failure_percent: u32,
    /// A call whose head takes this long is slow. Default 20 s.
    pub slow: Duration,
    /// Slow calls in a hundred that open it; 1 to 100. Default 80.
    pub slow_percent: u32,
    /// It stays open for at least this long. Default 5 s.
    pub open_min: Duration,
    /// It stays open for at most this long, unless the endpoint asks for more. Default 10 s.
    pub open_max: Duration,
    /// What the endpoint asks for with `Retry-After` counts up to here. Default 60 s.
    pub retry_after_max: Duration,
    /// Probes at once, and successes of them that close it; 1 to 8. Default 3.
    pub probes: u8,
    /// A probe that is not settled by then gives its place back. Not below the time that a call may
    /// take, or slow endpoints are never found well again. Default 30 s.
    pub lease: Duration,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            mode: Mode::Enforce,
            consecutive: 5,
            window: Duration::from_secs(10),
            minimum_calls: 20,
            failure_percent: 50,
            slow: Duration::from_secs(20),
            slow_percent: 80,
            open_min: Duration::from_secs(5),
            open_max: Duration::from_secs(10),
            retry_after_max: Duration::from_secs(60),
            probes: 3,
            lease: Duration::from_secs(30),
        }
    }
}

/// Why a [`BreakerConfig`] makes no sense.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum BadBreaker {
    /// No failure at all would open it.
    ZeroConsecutive,
    /// A window below a second or above ten minutes.
    Window,
    /// The rate of no calls.
    ZeroMinimum,
    /// A share that is not one.
    Percent,
    /// Every call would be slow.
    ZeroSlow,
    /// Never open, or a minimum above its maximum.
    OpenTime,
    /// No probes, or more than eight.
    Probes,
    /// A probe that is over before it begins.
    ZeroLease,
}

impl BreakerConfig {
    /// Refuses what makes no sense.
    pub fn check(&self) -> Result<(), BadBreaker> {
        let percent = 1..=100;
        if self.consecutive == 0 {
            return Err(BadBreaker::ZeroConsecutive);
        }
        if !(Duration::from_secs(1)..=Duration::from_secs(600)).contains(&self.window) {
            return Err(BadBreaker::Window);
        }
        if self.minimum_calls == 0 {
            return Err(BadBreaker::ZeroMinimum);
        }
        if !percent.contains(&self.failure_percent) || !percent.contains(&self.slow_percent) {
            return Err(BadBreaker::Percent);
        }
        if self.slow.is_zero() {
            return Err(BadBreaker::ZeroSlow);
        }
        if self.open_min.is_zero() || self.open_max < self.open_min {
            return Err(BadBreaker::OpenTime);
        }
        if !(1..=MAX_PROBES).contains(&usize::from(self.probes)) {
            return Err(BadBreaker::Probes);
        }
        if self.lease.is_zero() {
            return Err(BadBreaker::ZeroLease);
        }
        Ok(())
    }
}

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
pub struct Epoch(u32);

/// The right to make one attempt. Give it back with [`Breaker::settle`] or [`Breaker::release`]; if it
/// is lost, a probe's place comes back when its lease is over.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[must_use]
pub struct Permit {
    epoch: Epoch,
    /// The place of a probe, and which of its users this is.
    probe: Option<(u8, u32)>,
    half_opened: bool,
}

impl Permit {
    /// Whether the attempt decides what becomes of the breaker.
    pub const fn is_probe(&self) -> bool {
        self.probe.is_some()
    }

    /// What asking for it changed.
    pub const fn change(&self) -> Option<Change> {
        if self.half_opened { Some(Change::HalfOpened) } else { None }
    }

    /// To be kept for [`Breaker::late_failure`].
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }
}

/// The place of a probe.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Lease {
    /// Tells its users apart.
    turn: u32,
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

/// A circuit breaker for one endpoint, or one route of it.
///
/// Ask with [`acquire`](Self::acquire), tell with [`settle`](Self::settle) as soon as the head is
/// there: an attempt that streams for hours would hold its permit as long. Bodies that fail afterwards
/// are told with [`late_failure`](Self::late_failure). Every method first does what is due.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Breaker {
    config: BreakerConfig,
    state: State,
    epoch: Epoch,
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
            epoch: Epoch(0),
            window: Window::new(config.window),
            jitter: Jitter::new(seed),
        })
    }

    /// Asks for the right to make an attempt.
    ///
    /// # Errors
    ///
    /// Why not, and until when.
    pub fn acquire(&mut self, now: Instant) -> Result<Permit, OpenFor> {
        let half_opened = self.handle_timeout(now).is_some();
        let probe = match &mut self.state {
            State::Closed { .. } | State::Forced(Forced::Closed) => None,
            State::Forced(Forced::Open) => {
                return Err(OpenFor { why: OpenReason::Forced, until: None });
            }
            State::Open { why, until } => {
                return Err(OpenFor { why: OpenReason::Tripped(*why), until: Some(*until) });
            }
            State::HalfOpen { successes, leases } => {
                // As many as may still be needed for a verdict.
                let places = usize::from(self.config.probes.saturating_sub(*successes));
                let busy = leases.iter().filter(|lease| lease.until.is_some()).count();
                let free = (0u8..).zip(&mut *leases).find(|(_, lease)| lease.until.is_none());
                let Some((at, lease)) = free.filter(|_| busy < places) else {
                    let until = leases.iter().filter_map(|lease| lease.until).min();
                    return Err(OpenFor { why: OpenReason::Probing, until });
                };
                lease.turn = lease.turn.wrapping_add(1);
                lease.until = Some(now + self.config.lease);
                Some((at, lease.turn))
            }
        };
        Ok(Permit { epoch: self.epoch, probe, half_opened })
    }

    /// The head is there, or will not come.
    #[expect(clippy::needless_pass_by_value, reason = "a permit is given back once")]
    pub fn settle(&mut self, now: Instant, permit: Permit, report: Report) -> Option<Change> {
        let change = self.handle_timeout(now);
        if permit.epoch != self.epoch {
            return change;
        }
        let slow = report.latency >= self.config.slow;
        let failed = report.outcome != Outcome::Success;
        match (&mut self.state, permit.probe) {
            (State::Closed { consecutive }, None) => {
                // A 429 counts in the rate only: it neither ends a row of failures nor makes one.
                *consecutive = match report.outcome {
                    Outcome::Failure => consecutive.saturating_add(1),
                    Outcome::Limited => *consecutive,
                    Outcome::Success => 0,
                };
                let in_a_row = *consecutive >= self.config.consecutive;
                self.window.add(now, [true, failed, slow, false]);
                // A good answer opens nothing, though it may be the one that makes the rate count.
                let trip = match (in_a_row, failed || slow) {
                    (true, true) => Some(Trip::Consecutive),
                    (false, true) => self.rates(now),
                    (_, false) => None,
                };
                trip.map(|why| self.open(now, why, report.retry_after))
            }
            (State::HalfOpen { successes, leases }, Some(probe)) => {
                give_back(leases, probe)?;
                if failed || slow {
                    return Some(self.open(now, Trip::Probe, report.retry_after));
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
        self.window.add(now, [false, false, false, true]);
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

    /// Whether [`acquire`](Self::acquire) would let a call through at this time.
    pub fn is_ready(&self, now: Instant) -> bool {
        match &self.state {
            State::Closed { .. } | State::Forced(Forced::Closed) => true,
            State::Forced(Forced::Open) => false,
            State::Open { until, .. } => *until <= now,
            State::HalfOpen { successes, leases } => {
                let held = |lease: &&Lease| lease.until.is_some_and(|until| until > now);
                let busy = leases.iter().filter(held).count();
                busy < usize::from(self.config.probes.saturating_sub(*successes))
            }
        }
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
            State::Open { until, .. } => vec![1, left(*until)],
            State::HalfOpen { successes, leases } => {
                let leases =
                    leases.iter().map(|lease| lease.until.map_or(0, |until| 1 + left(until)));
                [2, u64::from(*successes)].into_iter().chain(leases).collect()
            }
            State::Forced(forced) => vec![3, *forced as u64],
        }
    }

    /// What a permit is worth: nothing, a call, or the place of a probe.
    #[cfg(test)]
    pub(crate) fn worth(&self, permit: &Permit) -> u64 {
        match (&self.state, permit.probe) {
            _ if permit.epoch != self.epoch => 0,
            (State::HalfOpen { leases, .. }, Some((at, turn))) => {
                let theirs = leases[usize::from(at)];
                if theirs.turn == turn && theirs.until.is_some() { 2 + u64::from(at) } else { 0 }
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
        let time = self.jitter.between(self.config.open_min, self.config.open_max);
        let floor = retry_after.unwrap_or_default().min(self.config.retry_after_max);
        let until = now + time.max(floor);
        self.enter(State::Open { why, until });
        Change::Opened { why, until }
    }

    fn close(&mut self) -> Change {
        self.window.clear();
        self.enter(State::Closed { consecutive: 0 });
        Change::Closed
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.epoch = Epoch(self.epoch.0.wrapping_add(1));
    }
}

/// Frees the place of a probe; `None`, if it is not the probe's any more.
fn give_back(leases: &mut [Lease], (at, turn): (u8, u32)) -> Option<()> {
    let lease = leases.get_mut(usize::from(at)).filter(|lease| lease.turn == turn)?;
    lease.until.take().map(|_| ())
}

impl fmt::Display for BadBreaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ZeroConsecutive => "a breaker opens after at least one failure",
            Self::Window => "the window of a breaker is 1 s to 10 min",
            Self::ZeroMinimum => "the rates of a breaker need at least one call",
            Self::Percent => "the shares that open a breaker are 1 to 100 in 100 calls",
            Self::ZeroSlow => "a breaker whose every call is slow is always open",
            Self::OpenTime => {
                "an open breaker stays so for some time; the minimum is not above the maximum"
            }
            Self::Probes => "a half-open breaker has 1 to 8 probes",
            Self::ZeroLease => "the lease of a probe lasts some time",
        })
    }
}

impl core::error::Error for BadBreaker {}
