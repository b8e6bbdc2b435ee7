//! Which requests a server takes up when it cannot take up all.

mod config;
#[cfg(test)]
mod space;

use core::cmp::Reverse;
use core::time::Duration;

use super::concurrency::{Concurrency, Load, Place};
use super::priority::{PriorityQueue, Ticket};
use crate::Machine;
use crate::policy::Priority;
use crate::time::{Deadline, Instant, Timer};

pub use config::{AdmissionConfig, BadAdmission};

/// What a turn costs a priority with a share of one percent; the others pay less.
const TURN: u64 = 1 << 20;

/// What became of a request that came. `T` is what its owner calls it.
#[derive(PartialEq, Eq, Debug)]
#[must_use]
pub enum Entry<T> {
    /// It is served now.
    Admitted(T, Permit),
    /// It waits; an [event](AdmissionEvent) says what comes of it.
    Waiting {
        /// To leave with, should its client go away.
        ticket: Ticket,
        /// Who had to make room, to be answered as one that is shed.
        evicted: Option<T>,
    },
    /// It is turned away.
    Shed(T, Shed),
}

/// Why a request is turned away: 503, [`Reason::Overloaded`](crate::reason::Reason::Overloaded), with
/// `Retry-After`. It was not taken up, so it may be sent elsewhere whatever its method.
/// <https://www.rfc-editor.org/rfc/rfc9110#section-15.6.4>
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Shed {
    /// There is no room to wait.
    Full,
    /// It has waited too long.
    Late,
    /// Its client went away while it waited, or does no more than read.
    Gone,
    /// Memory [runs short](super::Stage::Shed).
    Memory,
}

impl Shed {
    /// A fixed, lower-case name, fit for logs and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Late => "late",
            Self::Gone => "gone",
            Self::Memory => "memory",
        }
    }
}

/// The place of a request that is served. Give it back with [`Admission::finish`] or
/// [`Admission::release`]: a place that is lost is lost for ever.
#[derive(PartialEq, Eq, Hash, Debug)]
#[must_use]
pub struct Permit {
    priority: Priority,
    place: Place,
}

/// What becomes of a request that waited.
#[derive(PartialEq, Eq, Debug)]
pub enum AdmissionEvent<T> {
    /// It is served now.
    Admitted(T, Permit),
    /// It is turned away.
    Shed(T, Shed),
}

/// Admission by priority, in front of the handlers of a whole server.
///
/// So many requests are served at once as [`Concurrency`] finds to be right; others wait, in a queue that
/// is bounded by length and by time. A place that is free goes to whoever waits (nothing is held back), in
/// this order:
///
/// 1. priorities that hold fewer places than they are sure of, each as often as its share says
///    (start-time fair queueing, <https://doi.org/10.1145/248156.248171>), so that a share is a share even
///    of a single place;
/// 2. whatever matters most.
///
/// The queue is bounded by time as well. A line is a standing queue once nobody left it in time for an
/// interval: the shortest wait in it was above the target (`CoDel`,
/// <https://www.rfc-editor.org/rfc/rfc8289#section-3>). From then on who waited for longer than the target
/// is turned away, and the youngest is served first, as the oldest has the least time left
/// (<https://queue.acm.org/detail.cfm?id=2839461>), until nobody was late for an interval. Who is alone in
/// its line waits on: a server is not to idle.
///
/// Where there is no room left, the least important that has more of the queue than it is sure of goes.
///
/// ```
/// use core::time::Duration;
///
/// use sinew_core::Machine;
/// use sinew_core::limit::{Admission, AdmissionConfig, AdmissionEvent, ConcurrencyConfig, Entry, Load};
/// use sinew_core::policy::Priority;
/// use sinew_core::time::Instant;
///
/// let one = ConcurrencyConfig { initial: 1, max: 1, ..ConcurrencyConfig::default() };
/// let config = AdmissionConfig { concurrency: one, ..AdmissionConfig::default() };
/// let mut admission = Admission::new(config)?;
/// let now = Instant::ZERO;
/// let Entry::Admitted(_, permit) = admission.arrive(now, Priority::Bulk, "a report") else { panic!() };
/// let Entry::Waiting { .. } = admission.arrive(now, Priority::High, "a person") else { panic!() };
/// admission.finish(now, permit, Load::Borne(Duration::ZERO));
/// let Ok(Some(AdmissionEvent::Admitted(who, _))) = admission.poll_event(now) else { panic!() };
/// assert_eq!(who, "a person");
/// # Ok::<(), sinew_core::limit::BadAdmission>(())
/// ```
#[derive(Debug)]
pub struct Admission<T> {
    config: AdmissionConfig,
    places: Concurrency,
    queue: PriorityQueue<Waiting<T>>,
    lines: [Line; Priority::ALL.len()],
    /// The turn that was taken last.
    turn: u64,
}

#[derive(Clone, Debug)]
struct Waiting<T> {
    since: Instant,
    priority: Priority,
    owner: T,
}

/// What is known of a priority.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
struct Line {
    waiting: usize,
    running: usize,
    delay: Delay,
    /// Its next turn among those that hold less than they are sure of; the lowest goes first.
    turn: u64,
}

/// How long a line makes others wait.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
enum Delay {
    /// One waits at most, which is no queue.
    #[default]
    None,
    /// Since then two or more wait. Whoever left it last was in time.
    Short(Instant),
    /// Since then two or more wait, and whoever left it was late.
    Long(Instant),
    /// It is a standing queue, in which somebody was late at that time.
    Standing(Instant),
}

impl<T> Admission<T> {
    /// Nobody is there yet.
    ///
    /// # Errors
    ///
    /// See [`BadAdmission`].
    pub fn new(config: AdmissionConfig) -> Result<Self, BadAdmission> {
        config.check()?;
        Ok(Self {
            config,
            places: Concurrency::new(config.concurrency).map_err(BadAdmission::Concurrency)?,
            queue: PriorityQueue::new(config.queue),
            lines: [Line::default(); Priority::ALL.len()],
            turn: 0,
        })
    }

    /// A request came.
    pub fn arrive(&mut self, now: Instant, priority: Priority, owner: T) -> Entry<T> {
        // Nobody overtakes those who wait for a place that was just given back.
        if self.queue.is_empty()
            && let Ok(place) = self.places.acquire()
        {
            self.line(priority).running += 1;
            return Entry::Admitted(owner, Permit { priority, place });
        }
        let mut evicted = None;
        if self.queue.is_full() {
            let victim = self.victim(priority);
            match self.queue.last(victim).map(|(ticket, _)| ticket) {
                Some(ticket) if victim != priority => evicted = self.leave(ticket),
                _ => return Entry::Shed(owner, Shed::Full),
            }
        }
        match self.queue.push(priority, Waiting { since: now, priority, owner }) {
            Ok(ticket) => {
                self.calm_down(now, priority);
                let line = self.line(priority);
                line.waiting += 1;
                if line.waiting > 1 && line.delay == Delay::None {
                    line.delay = Delay::Short(now);
                }
                Entry::Waiting { ticket, evicted: evicted.map(|waiting| waiting.owner) }
            }
            Err(waiting) => Entry::Shed(waiting.owner, Shed::Full),
        }
    }

    /// The client of a request that waits went away. `None` if it does not wait any more.
    pub fn abandon(&mut self, ticket: Ticket) -> Option<T> {
        self.leave(ticket).map(|waiting| waiting.owner)
    }

    /// A request was answered, and says how it was borne.
    pub fn finish(&mut self, now: Instant, permit: Permit, load: Load) {
        self.depart(permit.priority);
        self.places.settle(now, permit.place, load);
    }

    /// A request is over, and says nothing.
    pub fn release(&mut self, permit: Permit) {
        self.depart(permit.priority);
        self.places.release(permit.place);
    }

    /// Requests of a priority that wait.
    pub fn waiting(&self, priority: Priority) -> usize {
        self.lines.get(priority as usize).map_or(0, |line| line.waiting)
    }

    /// Requests of a priority that are served.
    pub fn running(&self, priority: Priority) -> usize {
        self.lines.get(priority as usize).map_or(0, |line| line.running)
    }

    /// Requests at once, at most.
    pub fn limit(&self) -> u32 {
        self.places.limit()
    }

    /// Whether nobody else may wait.
    pub fn is_full(&self) -> bool {
        self.queue.is_full()
    }

    /// What `Retry-After` says to those who are turned away.
    pub const fn retry_after(&self) -> Duration {
        self.config.retry_after
    }

    fn line(&mut self, priority: Priority) -> &mut Line {
        &mut self.lines[priority as usize]
    }

    fn depart(&mut self, priority: Priority) {
        let line = self.line(priority);
        line.running = line.running.saturating_sub(1);
    }

    fn leave(&mut self, ticket: Ticket) -> Option<Waiting<T>> {
        let waiting = self.queue.remove(ticket)?;
        let line = self.line(waiting.priority);
        line.waiting = line.waiting.saturating_sub(1);
        if line.waiting <= 1 && !matches!(line.delay, Delay::Standing(_)) {
            line.delay = Delay::None;
        }
        Some(waiting)
    }

    /// Nobody was late in a standing queue for an interval: it is none any more.
    fn calm_down(&mut self, now: Instant, priority: Priority) {
        let interval = self.config.interval;
        let line = self.line(priority);
        if let Delay::Standing(last) = line.delay
            && last + interval <= now
        {
            line.delay = if line.waiting > 1 { Delay::Short(last + interval) } else { Delay::None };
        }
    }

    /// Who came at `since` is about to leave its line, served or turned away.
    fn judge(&mut self, now: Instant, priority: Priority, since: Instant) {
        let late = since + self.config.target;
        let line = self.line(priority);
        line.delay = match line.delay {
            Delay::None => Delay::None,
            Delay::Standing(_) if late <= now => Delay::Standing(now),
            Delay::Standing(last) => Delay::Standing(last),
            Delay::Short(_) | Delay::Long(_) if late > now => Delay::Short(now),
            Delay::Short(crowded) => Delay::Long(late.max(crowded)),
            Delay::Long(since) => Delay::Long(since),
        };
    }

    /// Who gives way to a newcomer: the least important of those that have more of the queue than they
    /// are sure of, the newcomer counted. As not all can have less, there is one.
    fn victim(&self, newcomer: Priority) -> Priority {
        let above = |priority: &Priority| {
            let waiting = self.waiting(*priority) + usize::from(*priority == newcomer);
            waiting > 0 && !self.config.is_below_share(*priority, waiting, self.config.queue + 1)
        };
        Priority::ALL.into_iter().find(above).unwrap_or(newcomer)
    }

    /// Whose turn it is, and whether because it has less than it is sure of.
    fn next(&self) -> Option<(Priority, bool)> {
        let limit = usize::try_from(self.places.limit()).unwrap_or(usize::MAX);
        let waiting = || Priority::ALL.into_iter().filter(|priority| self.waiting(*priority) > 0);
        let sure = waiting()
            .filter(|p| self.config.is_below_share(*p, self.running(*p), limit))
            .min_by_key(|p| (self.turn_of(*p), Reverse(*p)));
        sure.map(|p| (p, true)).or_else(|| waiting().next_back().map(|p| (p, false)))
    }

    /// Who could not take turns, as it had what it is sure of, has saved up none.
    fn turn_of(&self, priority: Priority) -> u64 {
        self.lines[priority as usize].turn.max(self.turn)
    }

    /// When the first of a line has waited too long.
    fn due(&self, priority: Priority) -> Option<Instant> {
        let (_, first) = self.queue.first(priority)?;
        let (patience, late) =
            (first.since + self.config.patience, first.since + self.config.target);
        let interval = self.config.interval;
        let line = self.lines[priority as usize];
        let due = match line.delay {
            _ if line.waiting <= 1 => patience,
            Delay::Standing(last) if late < last + interval => late,
            Delay::None | Delay::Standing(_) => late + interval,
            Delay::Short(since) => late.max(since) + interval,
            Delay::Long(since) => late.max(since + interval),
        };
        Some(due.min(patience))
    }

    fn shed_late(&mut self, now: Instant) -> Option<T> {
        let late = Priority::ALL
            .into_iter()
            .find(|priority| self.due(*priority).is_some_and(|due| due <= now))?;
        let (ticket, first) = self.queue.first(late)?;
        let since = first.since;
        self.judge(now, late, since);
        let line = self.line(late);
        if line.waiting > 1 {
            line.delay = Delay::Standing(now);
        }
        self.leave(ticket).map(|waiting| waiting.owner)
    }

    fn admit(&mut self, now: Instant) -> Option<(T, Permit)> {
        let (priority, sure) = self.next()?;
        let place = self.places.acquire().ok()?;
        self.calm_down(now, priority);
        let end = match self.line(priority).delay {
            Delay::Standing(_) => self.queue.last(priority),
            Delay::None | Delay::Short(_) | Delay::Long(_) => self.queue.first(priority),
        };
        let found =
            end.map(|(ticket, waiting)| (ticket, waiting.since)).and_then(|(ticket, since)| {
                self.judge(now, priority, since);
                self.leave(ticket)
            });
        let Some(waiting) = found else {
            self.places.release(place);
            return None;
        };
        let turn = self.turn_of(priority);
        let share = self.config.shares.get(priority as usize).copied().unwrap_or_default();
        let line = self.line(priority);
        line.running += 1;
        if sure {
            line.turn = turn + TURN / u64::from(share.max(1));
            self.turn = turn;
        }
        Some((waiting.owner, Permit { priority, place }))
    }
}

impl<T> Machine for Admission<T> {
    type Event = AdmissionEvent<T>;
    type Error = core::convert::Infallible;

    fn poll_event(&mut self, now: Instant) -> Result<Option<AdmissionEvent<T>>, Self::Error> {
        if let Some(owner) = self.shed_late(now) {
            return Ok(Some(AdmissionEvent::Shed(owner, Shed::Late)));
        }
        Ok(self.admit(now).map(|(owner, permit)| AdmissionEvent::Admitted(owner, permit)))
    }

    /// Nothing to do: what is due is found by [`poll_event`](Machine::poll_event).
    fn handle_timeout(&mut self, _: Instant) {}

    fn deadline(&self) -> Option<Deadline> {
        let at = Priority::ALL.into_iter().filter_map(|priority| self.due(priority)).min()?;
        Some(Deadline { at, why: Timer::Admission })
    }
}
