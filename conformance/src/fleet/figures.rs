//! What became of the calls of a fleet.

use core::hash::{Hash as _, Hasher as _};
use core::ops::Range;
use core::time::Duration;

use sinew_core::client::dispatcher::{Action, Outcome};
use sinew_core::time::Instant;

use super::digest::Digest;

/// How finely time is divided.
const SLICE: Duration = Duration::from_millis(100);

/// What happened in a slice of time.
#[derive(Clone, Copy, Default, Debug)]
struct Slice {
    /// Calls that started.
    calls: u64,
    /// Those of them that got a good answer, whenever.
    good: u64,
    /// Those of them that were refused by their own client, whenever.
    shed: u64,
    /// Requests that were sent, and connections that were tried in vain: what a destination is made
    /// to bear.
    attempts: u64,
}

/// What became of the calls of a fleet, over time.
#[derive(Clone, Default, Debug)]
pub struct Figures {
    slices: Vec<Slice>,
    /// How long the calls took that got a good answer: when they started, and how long.
    good: Vec<(Instant, Duration)>,
    digest: Digest,
    events: u64,
}

impl Figures {
    fn slice(&mut self, at: Instant) -> &mut Slice {
        let place = slice_of(at);
        if self.slices.len() <= place {
            self.slices.resize(place + 1, Slice::default());
        }
        // It was made a moment ago, if it was not there.
        &mut self.slices[place]
    }

    pub(super) fn called(&mut self, now: Instant) {
        self.slice(now).calls += 1;
    }

    pub(super) fn attempted(&mut self, now: Instant) {
        self.slice(now).attempts += 1;
    }

    pub(super) fn answered(&mut self, started: Instant, now: Instant) {
        self.slice(started).good += 1;
        self.good.push((started, now - started));
    }

    pub(super) fn missed(&mut self, started: Instant, outcome: Outcome) {
        if matches!(outcome, Outcome::Refused(_)) {
            self.slice(started).shed += 1;
        }
    }

    pub(super) fn decided(&mut self, client: u32, now: Instant, action: &Action) {
        (client, now, action).hash(&mut self.digest);
    }

    pub(super) const fn over(&mut self, events: u64) {
        self.events = events;
    }

    fn sum(&self, range: &Range<Instant>, what: fn(&Slice) -> u64) -> u64 {
        let (from, until) = (slice_of(range.start), slice_of(range.end));
        self.slices.iter().take(until).skip(from).map(what).sum()
    }

    /// Calls that started in this time.
    pub fn calls(&self, range: &Range<Instant>) -> u64 {
        self.sum(range, |slice| slice.calls)
    }

    /// Attempts in this time, failed dials included, for each call that started in it.
    pub fn load(&self, range: &Range<Instant>) -> f64 {
        ratio(self.sum(range, |slice| slice.attempts), self.calls(range))
    }

    /// The share of the calls that started in this time and got a good answer.
    pub fn goodput(&self, range: &Range<Instant>) -> f64 {
        ratio(self.sum(range, |slice| slice.good), self.calls(range))
    }

    /// The share of the calls that started in this time and were refused by their own client.
    pub fn shed(&self, range: &Range<Instant>) -> f64 {
        ratio(self.sum(range, |slice| slice.shed), self.calls(range))
    }

    /// The most attempts of a tenth of a second in this time, for each call that starts in such a time
    /// on the average.
    pub fn peak(&self, range: &Range<Instant>) -> f64 {
        let (from, until) = (slice_of(range.start), slice_of(range.end));
        let most = self.slices.iter().take(until).skip(from).map(|slice| slice.attempts).max();
        ratio(most.unwrap_or(0) * (until - from) as u64, self.calls(range))
    }

    /// After how many seconds of this time 95 % of the calls of a second get a good answer. `None`: they
    /// never do.
    pub fn recovery(&self, range: &Range<Instant>) -> Option<u64> {
        let seconds = (range.end - range.start).as_secs();
        let second = |at: u64| {
            let start = range.start + Duration::from_secs(at);
            start..start + Duration::from_secs(1)
        };
        (0..seconds).find(|at| self.goodput(&second(*at)) >= 0.95)
    }

    /// What so many of a thousand good answers to the calls that started in this time took at most.
    pub fn latency(&self, range: &Range<Instant>, permille: usize) -> Duration {
        let within = |(at, took): &(Instant, Duration)| range.contains(at).then_some(*took);
        let mut took: Vec<Duration> = self.good.iter().filter_map(within).collect();
        took.sort_unstable();
        let place = (took.len() * permille / 1_000).min(took.len().saturating_sub(1));
        took.get(place).copied().unwrap_or_default()
    }

    /// A hash of all that was decided, by whom, when, in which order.
    pub fn digest(&self) -> u64 {
        self.digest.finish()
    }

    /// What was simulated: calls that came, answers, connections, timers.
    pub const fn events(&self) -> u64 {
        self.events
    }
}

fn slice_of(at: Instant) -> usize {
    ((at - Instant::ZERO).as_nanos() / SLICE.as_nanos()) as usize
}

#[expect(clippy::cast_precision_loss, reason = "a figure to look at")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}
