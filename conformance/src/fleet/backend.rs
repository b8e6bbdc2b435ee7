//! A server as its clients see it: it accepts or not, it answers late or never.

use core::time::Duration;

use http::StatusCode;
use sinew_core::jitter::Jitter;
use sinew_core::time::Instant;

/// What goes wrong with a backend.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Its process is gone: connections are reset and refused, what it worked on is lost.
    Refuse,
    /// It takes connections and requests, and never answers; what it worked on is lost.
    Stall,
    /// It does no work, and keeps its queue: all of it is done later, whether anybody still waits or
    /// not.
    Pause,
}

/// When something goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Incident {
    /// What.
    pub fault: Fault,
    /// From then on.
    pub from: Instant,
    /// Up to then.
    pub until: Instant,
}

impl Incident {
    fn covers(&self, at: Instant) -> bool {
        (self.from..self.until).contains(&at)
    }
}

/// How long an answer takes, once the work on it begins and beside what the work costs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Latency {
    /// At least.
    pub low: Duration,
    /// At most; all between are as likely.
    pub high: Duration,
    /// Answers of a thousand that take `slow` instead.
    pub slow_permille: u32,
    /// What those take.
    pub slow: Duration,
}

impl Latency {
    /// Evenly between the two.
    pub const fn between(low: Duration, high: Duration) -> Self {
        Self { low, high, slow_permille: 0, slow: Duration::ZERO }
    }

    fn draw(&self, jitter: &mut Jitter) -> Duration {
        if jitter.below(1_000) < u64::from(self.slow_permille) {
            self.slow
        } else {
            jitter.between(self.low, self.high)
        }
    }
}

/// An answer, and when it leaves the backend.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    /// Then.
    pub at: Instant,
    /// Its status.
    pub status: StatusCode,
}

/// One server. It works on requests one after the other, in the order in which they came, and on those
/// that nobody waits for any more as on all others.
#[derive(Clone, Debug)]
pub struct Backend {
    /// What one request takes of it.
    cost: Duration,
    /// Work that may wait; what comes on top of it is refused with a 503.
    queue: Duration,
    latency: Latency,
    /// In order, one after the other.
    incidents: Vec<Incident>,
    jitter: Jitter,
    /// All that it took is done by then.
    free_at: Instant,
    /// When the last request came.
    last: Instant,
}

impl Backend {
    /// One that answers `per_second` requests a second (at least one), and lets work for `queue` wait.
    /// `incidents` stand in the order of their times and do not overlap.
    pub fn new(
        per_second: u32,
        queue: Duration,
        latency: Latency,
        incidents: Vec<Incident>,
        seed: u64,
    ) -> Self {
        Self {
            cost: Duration::from_secs(1) / per_second.max(1),
            queue,
            latency,
            incidents,
            jitter: Jitter::new(seed),
            free_at: Instant::ZERO,
            last: Instant::ZERO,
        }
    }

    /// Whether it takes a connection.
    pub fn accepts(&self, at: Instant) -> bool {
        self.fault(at) != Some(Fault::Refuse)
    }

    /// What goes wrong, and when.
    pub fn incidents(&self) -> &[Incident] {
        &self.incidents
    }

    /// A request came. `None`: it is never answered. Requests are told in the order of their times.
    pub fn receive(&mut self, at: Instant) -> Option<Answer> {
        let lost = |incident: &Incident| incident.fault != Fault::Pause;
        let last = core::mem::replace(&mut self.last, at);
        if self.incidents.iter().any(|i| lost(i) && last < i.from && i.from <= at) {
            self.free_at = at;
        }
        let paused = match self.fault(at) {
            Some(Fault::Refuse | Fault::Stall) => return None,
            Some(Fault::Pause) => true,
            None => false,
        };
        let waiting = self.work_between(at, self.free_at);
        let (done, status) = if waiting > self.queue {
            // Whoever does nothing refuses nothing.
            (
                if paused { self.after(at, Duration::ZERO) } else { at },
                StatusCode::SERVICE_UNAVAILABLE,
            )
        } else {
            self.free_at = self.after(self.free_at.max(at), self.cost);
            (self.free_at + self.latency.draw(&mut self.jitter), StatusCode::OK)
        };
        let gone = self.incidents.iter().any(|i| lost(i) && at < i.from && i.from <= done);
        (!gone).then_some(Answer { at: done, status })
    }

    fn fault(&self, at: Instant) -> Option<Fault> {
        self.incidents.iter().find(|incident| incident.covers(at)).map(|incident| incident.fault)
    }

    fn pauses(&self) -> impl Iterator<Item = &Incident> {
        self.incidents.iter().filter(|incident| incident.fault == Fault::Pause)
    }

    /// How much of this time it works.
    fn work_between(&self, from: Instant, until: Instant) -> Duration {
        let idle = self.pauses().map(|pause| until.min(pause.until) - from.max(pause.from));
        (until - from).saturating_sub(idle.sum())
    }

    /// When so much work is done that begins then.
    fn after(&self, begin: Instant, work: Duration) -> Instant {
        let mut done = begin + work;
        for pause in self.pauses() {
            if begin < pause.until && done >= pause.from {
                done = done + (pause.until - begin.max(pause.from));
            }
        }
        done
    }
}
