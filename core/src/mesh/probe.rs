//! Endpoints are asked from time to time whether they are well.

use core::convert::Infallible;
use core::fmt;
use core::time::Duration;
use std::collections::VecDeque;

use crate::Machine;
use crate::jitter::Jitter;
use crate::policy::Mode;
use crate::table::Timers;
use crate::time::{Deadline, Instant, Timer};

/// How endpoints are asked. What a probe is (a request, a connection, a TLS handshake) is the
/// embedder's business.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ProbeConfig {
    /// What becomes of what is found. Default: who is down is left alone.
    pub mode: Mode,
    /// From one probe of an endpoint to the next, 10 % more or less; not zero. Default 10 s.
    pub interval: Duration,
    /// A probe that takes longer has failed; not zero, and below 90 % of the interval. Default 5 s.
    pub timeout: Duration,
    /// Failures in a row after which an endpoint is down; at least 1. Default 3.
    pub down_after: u32,
    /// Successes in a row after which it is up again; at least 1. Default 2.
    pub up_after: u32,
}

impl Default for ProbeConfig {
    fn default() -> Self {
        Self {
            mode: Mode::Enforce,
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(5),
            down_after: 3,
            up_after: 2,
        }
    }
}

/// Why a [`ProbeConfig`] makes no sense.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum BadProbe {
    /// Probes all the time, or without time, or one that is not over when the next one is due.
    Time,
    /// No result would say anything.
    ZeroResults,
}

impl ProbeConfig {
    /// Refuses what makes no sense.
    pub fn check(&self) -> Result<(), BadProbe> {
        let soonest = self.interval.saturating_sub(self.interval / 10);
        if self.interval.is_zero() || self.timeout.is_zero() || self.timeout >= soonest {
            return Err(BadProbe::Time);
        }
        if self.down_after == 0 || self.up_after == 0 {
            return Err(BadProbe::ZeroResults);
        }
        Ok(())
    }
}

/// One probe of an endpoint; stale once it took too long.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ProbeRun {
    place: u32,
    number: u64,
}

impl ProbeRun {
    /// The place of the endpoint.
    pub const fn place(self) -> u32 {
        self.place
    }
}

/// What is to be done, and what was found.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ProbeEvent {
    /// Ask the endpoint, and say [`Probes::handle_result`].
    Probe(ProbeRun),
    /// It took too long; what it finds is of no interest any more.
    Cancel(ProbeRun),
    /// The endpoint at this place is well.
    Up(u32),
    /// The endpoint at this place is not.
    Down(u32),
}

/// Which endpoints of a destination are well, by asking them.
///
/// Places are numbers that the embedder gives, such as those of a table. A new endpoint counts as up
/// until its first result, which decides alone.
///
/// What is not polled does not pile up: the last that was found stands for what came before it.
#[derive(Clone, Debug)]
pub struct Probes {
    config: ProbeConfig,
    places: Vec<Option<Probed>>,
    timers: Timers,
    len: u32,
    up: u32,
    events: VecDeque<ProbeEvent>,
    runs: u64,
    jitter: Jitter,
}

#[derive(Clone, Copy, Debug)]
struct Probed {
    up: bool,
    /// A result is there.
    known: bool,
    /// Results in a row that say the opposite.
    against: u32,
    running: Option<u64>,
    /// The end of the probe that runs, or the start of the next.
    due: Instant,
    next: Instant,
}

impl Probes {
    /// No endpoints. `seed` spreads the probes.
    ///
    /// # Errors
    ///
    /// See [`BadProbe`].
    pub fn new(config: ProbeConfig, seed: u64) -> Result<Self, BadProbe> {
        config.check()?;
        Ok(Self {
            config,
            places: Vec::new(),
            timers: Timers::new(),
            len: 0,
            up: 0,
            events: VecDeque::new(),
            runs: 0,
            jitter: Jitter::new(seed),
        })
    }

    /// An endpoint is asked from now on: for the first time at once.
    pub fn insert(&mut self, now: Instant, place: u32) {
        let at = place as usize;
        if self.places.len() <= at {
            self.places.resize(at + 1, None);
        }
        if let Some(free @ None) = self.places.get_mut(at) {
            *free = Some(Probed {
                up: true,
                known: false,
                against: 0,
                running: None,
                due: now,
                next: now,
            });
            self.len += 1;
            self.up += 1;
            self.timers.arm(place, now);
        }
    }

    /// An endpoint is asked no more.
    pub fn remove(&mut self, place: u32) {
        let Some(probed) = self.places.get_mut(place as usize).and_then(Option::take) else {
            return;
        };
        self.len -= 1;
        self.up -= u32::from(probed.up);
        self.events.retain(|event| event.place() != place);
    }

    /// What a probe found. Does nothing for one that is stale.
    pub fn handle_result(&mut self, now: Instant, run: ProbeRun, is_well: bool) {
        self.handle_timeout(now);
        let Some(probed) = self.probed(run.place) else { return };
        if probed.running == Some(run.number) {
            self.settle(run.place, is_well);
        }
    }

    /// Whether the endpoint at this place is up, as far as is known.
    pub fn is_up(&self, place: u32) -> bool {
        let probed = self.places.get(place as usize).and_then(Option::as_ref);
        probed.is_some_and(|probed| probed.up)
    }

    /// Endpoints that are up.
    pub const fn up(&self) -> u32 {
        self.up
    }

    fn probed(&mut self, place: u32) -> Option<&mut Probed> {
        self.places.get_mut(place as usize)?.as_mut()
    }

    fn settle(&mut self, place: u32, is_well: bool) {
        let ProbeConfig { down_after, up_after, .. } = self.config;
        let Some(probed) = self.probed(place) else { return };
        probed.running = None;
        probed.due = probed.next;
        let due = probed.due;
        let needed = match (probed.known, probed.up) {
            (false, _) => 1,
            (true, true) => down_after,
            (true, false) => up_after,
        };
        probed.known = true;
        probed.against = if is_well == probed.up { 0 } else { probed.against + 1 };
        let changed = probed.against >= needed;
        if changed {
            probed.up = is_well;
            probed.against = 0;
        }
        self.timers.arm(place, due);
        if changed {
            self.up = if is_well { self.up + 1 } else { self.up - 1 };
            let event = if is_well { ProbeEvent::Up } else { ProbeEvent::Down };
            self.tell(event(place));
        }
    }

    /// In place of what was found of the same before, and nobody polled.
    fn tell(&mut self, event: ProbeEvent) {
        self.events.retain(|old| !event.replaces(*old));
        self.events.push_back(event);
    }

    /// A probe that nobody polled was not begun: there is nothing to call off.
    fn cancel(&mut self, run: ProbeRun) {
        let probe = ProbeEvent::Probe(run);
        match self.events.iter().position(|event| *event == probe) {
            Some(at) => {
                self.events.remove(at);
            }
            None => self.events.push_back(ProbeEvent::Cancel(run)),
        }
    }

    /// What is due at this place: the end of a probe, or the next one.
    fn due(&mut self, now: Instant, place: u32) {
        let Some(due) = self.probed(place).map(|probed| probed.due) else { return };
        if due > now {
            self.timers.arm(place, due);
            return;
        }
        if let Some(number) = self.probed(place).and_then(|probed| probed.running) {
            self.cancel(ProbeRun { place, number });
            self.settle(place, false);
            return;
        }
        let interval = self.config.interval;
        let tenth = interval / 10;
        let wait =
            self.jitter.between(interval.saturating_sub(tenth), interval.saturating_add(tenth));
        self.runs += 1;
        let (number, timeout) = (self.runs, self.config.timeout);
        let Some(probed) = self.probed(place) else { return };
        probed.running = Some(number);
        probed.next = now + wait;
        probed.due = now + timeout;
        let due = probed.due;
        self.timers.arm(place, due);
        self.events.push_back(ProbeEvent::Probe(ProbeRun { place, number }));
    }
}

impl ProbeEvent {
    const fn place(self) -> u32 {
        match self {
            Self::Probe(run) | Self::Cancel(run) => run.place,
            Self::Up(place) | Self::Down(place) => place,
        }
    }

    /// Whether it says something newer of the same.
    fn replaces(self, old: Self) -> bool {
        let finds = |event: Self| matches!(event, Self::Up(_) | Self::Down(_));
        finds(self) && finds(old) && self.place() == old.place()
    }
}

impl Machine for Probes {
    type Event = ProbeEvent;
    type Error = Infallible;

    fn poll_event(&mut self, now: Instant) -> Result<Option<ProbeEvent>, Infallible> {
        self.handle_timeout(now);
        Ok(self.events.pop_front())
    }

    fn handle_timeout(&mut self, now: Instant) {
        while let Some(place) = self.timers.pop_due(now) {
            self.due(now, place);
        }
    }

    fn deadline(&self) -> Option<Deadline> {
        let at = self.timers.first()?;
        Some(Deadline { at, why: Timer::EndpointProbe })
    }
}

impl fmt::Display for BadProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Time => "a probe takes some time, and is over before the next one",
            Self::ZeroResults => "at least one result makes an endpoint up or down",
        })
    }
}

impl core::error::Error for BadProbe {}
