//! Endpoints that are worse than the others are left alone for a while.

use core::convert::Infallible;
use core::fmt;
use core::time::Duration;
use std::collections::VecDeque;

use crate::Machine;
use crate::policy::Mode;
use crate::time::{Deadline, Instant, Timer};

/// When an endpoint is ejected, and for how long.
///
/// Not the breaker: that asks whether an endpoint works at all, and lets probes through. This one
/// compares it with the others, who serve meanwhile.
///
/// <https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/outlier>
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct OutlierConfig {
    /// What becomes of an ejection. Default: it is enforced.
    pub mode: Mode,
    /// Failures in a row that eject; at least 1. Default 5.
    pub consecutive: u32,
    /// How often the endpoints are compared; not zero. Default 10 s.
    pub interval: Duration,
    /// Calls of an interval below which an endpoint is not compared; at least 1. Default 100.
    pub minimum_calls: u32,
    /// Endpoints with as many calls below which none is compared; at least 2. Default 5.
    pub minimum_endpoints: u32,
    /// So many thousandths of the standard deviation below the average is too bad. Default 1,900.
    pub deviation_thousandths: u32,
    /// The first ejection takes this long, the second twice that, and so on; not zero. Default 30 s.
    pub base: Duration,
    /// It takes no longer than this. Default 300 s.
    pub max: Duration,
    /// Endpoints that may be ejected at once, in percent; 1 to 100. At least one is left. Default 50.
    pub max_percent: u32,
}

impl Default for OutlierConfig {
    fn default() -> Self {
        Self {
            mode: Mode::Enforce,
            consecutive: 5,
            interval: Duration::from_secs(10),
            minimum_calls: 100,
            minimum_endpoints: 5,
            deviation_thousandths: 1_900,
            base: Duration::from_secs(30),
            max: Duration::from_secs(300),
            max_percent: 50,
        }
    }
}

/// Why an [`OutlierConfig`] makes no sense.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum BadOutlier {
    /// No failure at all would eject.
    ZeroConsecutive,
    /// A comparison all the time, or of nothing.
    Comparison,
    /// An ejection of no time, or a first one above the longest.
    EjectionTime,
    /// A share that is not one.
    Percent,
}

impl OutlierConfig {
    /// Refuses what makes no sense.
    pub fn check(&self) -> Result<(), BadOutlier> {
        if self.consecutive == 0 {
            return Err(BadOutlier::ZeroConsecutive);
        }
        if self.interval.is_zero() || self.minimum_calls == 0 || self.minimum_endpoints < 2 {
            return Err(BadOutlier::Comparison);
        }
        if self.base.is_zero() || self.base > self.max {
            return Err(BadOutlier::EjectionTime);
        }
        if !(1..=100).contains(&self.max_percent) {
            return Err(BadOutlier::Percent);
        }
        Ok(())
    }
}

/// Why an endpoint is ejected.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Outlier {
    /// It failed so many times in a row.
    Consecutive,
    /// It succeeds less often than the others.
    SuccessRate,
}

impl Outlier {
    /// A fixed, lower-case name, fit for logs and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Consecutive => "consecutive_failures",
            Self::SuccessRate => "success_rate",
        }
    }
}

/// What becomes of an endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum OutlierEvent {
    /// It is left alone, or would be.
    Ejected {
        /// Its place.
        place: u32,
        /// Why.
        why: Outlier,
        /// Until then.
        until: Instant,
    },
    /// It would be ejected, but too few would be left.
    Spared {
        /// Its place.
        place: u32,
        /// Why.
        why: Outlier,
    },
    /// It takes part again.
    Returned {
        /// Its place.
        place: u32,
    },
}

/// What is known of the endpoints of one destination.
///
/// Places are numbers that the embedder gives, such as those of a table; what is said about one that
/// takes no part changes nothing.
///
/// What is not polled does not pile up: of an endpoint that was ejected and returned, the last is told,
/// and that it was spared, once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outliers {
    config: OutlierConfig,
    places: Vec<Option<Watched>>,
    len: u32,
    ejected: u32,
    compared_at: Instant,
    /// Something was counted since.
    counted: bool,
    /// When the first of the ejected ones returns; [`Instant::MAX`]: there is none.
    first_return: Instant,
    events: VecDeque<OutlierEvent>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Watched {
    in_a_row: u32,
    /// Of this interval.
    calls: u32,
    successes: u32,
    /// How often it was ejected, less one for every whole interval without an ejection.
    ejections: u32,
    /// The end of its last ejection.
    away_until: Instant,
    until: Option<Instant>,
}

impl Outliers {
    /// No endpoints.
    ///
    /// # Errors
    ///
    /// See [`BadOutlier`].
    pub fn new(now: Instant, config: OutlierConfig) -> Result<Self, BadOutlier> {
        config.check()?;
        Ok(Self {
            config,
            places: Vec::new(),
            len: 0,
            ejected: 0,
            compared_at: now,
            counted: false,
            first_return: Instant::MAX,
            events: VecDeque::new(),
        })
    }

    /// An endpoint takes part from now on.
    pub fn insert(&mut self, place: u32) {
        let at = place as usize;
        if self.places.len() <= at {
            self.places.resize(at + 1, None);
        }
        if let Some(free @ None) = self.places.get_mut(at) {
            *free = Some(Watched::default());
            self.len += 1;
        }
    }

    /// An endpoint takes part no more.
    pub fn remove(&mut self, place: u32) {
        let Some(watched) = self.places.get_mut(place as usize).and_then(Option::take) else {
            return;
        };
        self.len -= 1;
        self.ejected -= u32::from(watched.until.is_some());
        self.events.retain(|event| event.place() != place);
    }

    /// An attempt was answered. One that is told that it asks too much counts: who says so is alive.
    pub fn handle_success(&mut self, now: Instant, place: u32) {
        self.handle_timeout(now);
        if let Some(watched) = self.watched(place) {
            watched.calls = watched.calls.saturating_add(1);
            watched.successes = watched.successes.saturating_add(1);
            watched.in_a_row = 0;
            self.counted = true;
        }
    }

    /// An attempt failed, by the endpoint's fault or that of the way there.
    pub fn handle_failure(&mut self, now: Instant, place: u32) {
        self.handle_timeout(now);
        let consecutive = self.config.consecutive;
        let Some(watched) = self.watched(place) else { return };
        watched.calls = watched.calls.saturating_add(1);
        watched.in_a_row = watched.in_a_row.saturating_add(1);
        let ejects = watched.in_a_row >= consecutive && watched.until.is_none();
        if ejects {
            watched.in_a_row = 0;
        }
        self.counted = true;
        if ejects {
            self.eject(now, place, Outlier::Consecutive);
        }
    }

    /// Whether an endpoint is left alone: never in shadow.
    pub fn is_ejected(&self, place: u32) -> bool {
        let watched = self.places.get(place as usize).and_then(Option::as_ref);
        self.config.mode.obeys() && watched.is_some_and(|watched| watched.until.is_some())
    }

    /// Endpoints that are ejected, or would be.
    pub const fn ejected(&self) -> u32 {
        self.ejected
    }

    /// Whether there is something to be [polled](Machine::poll_event).
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    fn watched(&mut self, place: u32) -> Option<&mut Watched> {
        self.places.get_mut(place as usize)?.as_mut()
    }

    fn eject(&mut self, now: Instant, place: u32, why: Outlier) {
        if !self.config.mode.asks() {
            return;
        }
        // At least one may always go, and one always stays.
        // https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/cluster/v3/outlier_detection.proto
        let most = (self.len * self.config.max_percent / 100).max(1).min(self.len - 1);
        if self.ejected >= most {
            tell(&mut self.events, OutlierEvent::Spared { place, why });
            return;
        }
        let (base, max) = (self.config.base, self.config.max);
        let Some(watched) = self.watched(place) else { return };
        watched.ejections = watched.ejections.saturating_add(1);
        let until = now + base.saturating_mul(watched.ejections).min(max);
        watched.until = Some(until);
        watched.away_until = until;
        self.ejected += 1;
        self.first_return = self.first_return.min(until);
        tell(&mut self.events, OutlierEvent::Ejected { place, why, until });
    }

    /// Who succeeds less often than the others, by more than chance. The worst come first, as not all may
    /// go.
    fn compare(&mut self, now: Instant) {
        let OutlierConfig { minimum_calls, minimum_endpoints, deviation_thousandths, .. } =
            self.config;
        // In millionths.
        let rate = |watched: &Watched| {
            i64::from(watched.successes) * 1_000_000 / i64::from(watched.calls.max(1))
        };
        let mut compared: Vec<(u32, i64)> = (0..)
            .zip(&self.places)
            .filter_map(|(place, watched)| Some((place, watched.as_ref()?)))
            .filter(|(_, watched)| watched.calls >= minimum_calls && watched.until.is_none())
            .map(|(place, watched)| (place, rate(watched)))
            .collect();
        let count = i64::try_from(compared.len()).unwrap_or(i64::MAX);
        if count >= i64::from(minimum_endpoints) {
            let mean = compared.iter().map(|(_, rate)| rate).sum::<i64>() / count;
            let square = |rate: i64| i128::from(rate - mean).pow(2);
            let variance =
                compared.iter().map(|(_, rate)| square(*rate)).sum::<i128>() / i128::from(count);
            let factor = i128::from(deviation_thousandths).pow(2);
            compared.sort_unstable_by_key(|(place, rate)| (*rate, *place));
            for (place, rate) in compared {
                // Both sides squared: no root is needed.
                if rate < mean && square(rate) * 1_000_000 > variance * factor {
                    self.eject(now, place, Outlier::SuccessRate);
                }
            }
        }
        let interval = self.config.interval.as_nanos().max(1);
        let intervals =
            |time: Duration| u32::try_from(time.as_nanos() / interval).unwrap_or(u32::MAX);
        for watched in self.places.iter_mut().flatten() {
            (watched.calls, watched.successes) = (0, 0);
            if watched.until.is_none() {
                let forgiven = intervals(now - self.compared_at.max(watched.away_until));
                watched.ejections = watched.ejections.saturating_sub(forgiven);
            }
        }
        self.counted = false;
    }

    /// Nobody comes for what was not counted: it is made up for when somebody does.
    fn next_comparison(&self) -> Instant {
        if self.counted && self.len > 0 {
            self.compared_at + self.config.interval
        } else {
            Instant::MAX
        }
    }

    fn return_those_due(&mut self, now: Instant) {
        self.first_return = Instant::MAX;
        for (place, watched) in (0..).zip(&mut self.places) {
            let Some(watched) = watched else { continue };
            let Some(until) = watched.until else { continue };
            if until <= now {
                watched.until = None;
                watched.in_a_row = 0;
                self.ejected -= 1;
                tell(&mut self.events, OutlierEvent::Returned { place });
            } else {
                self.first_return = self.first_return.min(until);
            }
        }
    }
}

/// In place of an older one that says the same kind of thing of the same endpoint, and nobody polled.
fn tell(events: &mut VecDeque<OutlierEvent>, event: OutlierEvent) {
    let is_spared = |event: &OutlierEvent| matches!(event, OutlierEvent::Spared { .. });
    let (place, spared) = (event.place(), is_spared(&event));
    events.retain(|old| old.place() != place || is_spared(old) != spared);
    events.push_back(event);
}

impl OutlierEvent {
    const fn place(self) -> u32 {
        match self {
            Self::Ejected { place, .. } | Self::Spared { place, .. } | Self::Returned { place } => {
                place
            }
        }
    }
}

impl Machine for Outliers {
    type Event = OutlierEvent;
    type Error = Infallible;

    fn poll_event(&mut self, now: Instant) -> Result<Option<OutlierEvent>, Infallible> {
        self.handle_timeout(now);
        Ok(self.events.pop_front())
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.first_return <= now {
            self.return_those_due(now);
        }
        if now - self.compared_at >= self.config.interval {
            self.compare(now);
            self.compared_at = now;
        }
    }

    fn deadline(&self) -> Option<Deadline> {
        let at = self.next_comparison().min(self.first_return);
        (at < Instant::MAX).then_some(Deadline { at, why: Timer::Ejection })
    }
}

impl fmt::Display for BadOutlier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ZeroConsecutive => "at least one failure in a row ejects an endpoint",
            Self::Comparison => {
                "endpoints are compared after some time, with at least one call each, and two of them"
            }
            Self::EjectionTime => "an ejection takes some time, and the first not the longest",
            Self::Percent => "the share of endpoints that may be ejected is 1 to 100 percent",
        })
    }
}

impl core::error::Error for BadOutlier {}
