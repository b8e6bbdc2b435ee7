//! Leaving without losing a request: a whole server's way from serving to gone.
//!
//! A mesh learns late that a server leaves: whoever was told first still sends to it for seconds. So it
//! goes step by step, and each step has its time:
//!
//! | phase | accepts | what changes | ends |
//! |---|---|---|---|
//! | `Serving` | yes | nothing | when it is told to leave |
//! | `LameDuck` | yes | it is not ready any more, so that nobody is sent here | after `propagation` |
//! | `Notify` | yes | every answer says `connection: close`; streams and upgraded connections are told, spread over the phase | after `notify`, or when no connection is left |
//! | `StopAccept` | no | the listeners close, once what waits in them was accepted; who is idle may still bring one late request | after `late`, or when no connection is left |
//! | `Grace` | no | who is idle is closed; who is busy is waited for | when no connection is left, or at `deadline` |
//! | `Force` | no | what is left is reset | when no connection is left, or after `force` |
//! | `Over` | no | | never |
//!
//! Until `StopAccept` it can be taken back. `deadline` runs from the first step and cuts every phase
//! short, so there is no drain without an end: a stream that nobody ends is told, and then cut.
//!
//! Connections are those of the whole server, whatever they speak. [`Drain`] knows only what their
//! drivers say of them; before `Notify` they need to say nothing, as each is taken for busy until then.
//! Whoever drives it writes phases and endings into the log, as
//! [`observe::Event::Drain`](crate::observe::Event::Drain) and
//! [`observe::Event::Drained`](crate::observe::Event::Drained).

mod config;
mod report;

use core::fmt;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use crate::Machine;
use crate::jitter::Jitter;
use crate::time::{Deadline, Instant, Timer};

pub use config::{BadDrain, DrainConfig};
pub use report::{Ending, Report};

/// How far a server has gone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Phase {
    /// Nobody told it to leave.
    #[default]
    Serving,
    /// Not ready, and otherwise as before.
    LameDuck,
    /// Clients are told.
    Notify,
    /// The listeners are closed.
    StopAccept,
    /// Who is busy is waited for.
    Grace,
    /// What is left is reset.
    Force,
    /// Nothing is left.
    Over,
}

impl Phase {
    /// A fixed, lower-case name, fit for logs and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::LameDuck => "lame_duck",
            Self::Notify => "notify",
            Self::StopAccept => "stop_accept",
            Self::Grace => "grace",
            Self::Force => "force",
            Self::Over => "over",
        }
    }

    /// Whether listeners are open.
    pub fn accepts(self) -> bool {
        self < Self::StopAccept
    }

    /// Whether every answer says that it is the last one of its connection.
    /// <https://www.rfc-editor.org/rfc/rfc9112#section-9.6>
    pub fn closes(self) -> bool {
        self >= Self::Notify
    }
}

/// What a connection is doing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Activity {
    /// It carries no exchange.
    Idle,
    /// A request, from its first byte to the last one of its answer.
    Request,
    /// A request whose answer has no end of its own, such as an event stream.
    Stream,
    /// Another protocol, such as WebSocket.
    Upgraded,
}

/// A connection of the server. Numbers are given once, so that a stale one means nobody.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnectionId(u64);

/// How a connection came to its end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Departure {
    /// In order: everything that was begun was finished.
    Orderly,
    /// Its peer went away in the middle of a request, and its handler was finished all the same.
    Orphaned,
    /// In the middle of something: the peer went away, the network broke, the handler failed.
    Broken,
}

/// What the driver has to do.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DrainEvent {
    /// The server is in this phase now: wake the connections, heed [`Phase::accepts`] and
    /// [`Phase::closes`]. Phases that passed unseen are not told.
    Entered(Phase),
    /// End this stream in order, or close this upgraded connection (WebSocket: 1001).
    /// <https://www.rfc-editor.org/rfc/rfc6455#section-7.4.1>
    Tell(ConnectionId),
    /// Close this idle connection.
    Close(ConnectionId),
    /// Drop this connection, whatever it does.
    Reset(ConnectionId),
    /// Nothing is left; told once, and last.
    Ended(Report),
}

/// It is too late to take it back: the listeners are closed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TooLate;

/// Everything about one connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Connection {
    activity: Activity,
    /// Whether that is what it said, and not what it is taken for.
    said: bool,
    /// How the last thing it carried since `Notify` ended, while it is idle.
    done: Option<Ending>,
    asked: Asked,
    /// When it is looked at again.
    due: Option<Instant>,
}

/// The last thing that its driver was asked to do with a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Asked {
    Nothing,
    Tell,
    Close,
    Reset,
}

/// The way of a server from serving to gone: see the [module](self).
///
/// ```
/// use std::time::Duration;
/// use sinew_core::Machine;
/// use sinew_core::server::drain::{Activity, Departure, Drain, DrainConfig, DrainEvent, Ending, Phase};
/// use sinew_core::time::Instant;
///
/// let mut drain = Drain::new(DrainConfig::default(), 7)?;
/// let socket = drain.admit().expect("it serves");
/// let now = Instant::ZERO;
/// drain.advance(now, Phase::LameDuck);
/// drain.set(now, socket, Activity::Upgraded);
/// // There is nothing to propagate, so clients are told at once; this one within the second.
/// assert_eq!(drain.poll_event(now), Ok(Some(DrainEvent::Entered(Phase::Notify))));
/// let now = now + Duration::from_secs(1);
/// assert_eq!(drain.poll_event(now), Ok(Some(DrainEvent::Entered(Phase::StopAccept))));
/// assert_eq!(drain.poll_event(now), Ok(Some(DrainEvent::Tell(socket))));
/// assert_eq!(drain.leave(now, socket, Departure::Orderly), Some(Ending::Told));
/// assert_eq!(drain.poll_event(now), Ok(Some(DrainEvent::Entered(Phase::Over))));
/// let Ok(Some(DrainEvent::Ended(report))) = drain.poll_event(now) else { panic!() };
/// assert_eq!(report.to_string(), "1 connections in 1s: 1 told");
/// # Ok::<(), sinew_core::server::drain::BadDrain>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Drain {
    config: DrainConfig,
    jitter: Jitter,
    phase: Phase,
    /// The phase that the driver knows of.
    entered: Phase,
    /// Whether the driver has the report.
    ended: bool,
    /// When it was told to leave, and when this phase began.
    started: Instant,
    since: Instant,
    connections: BTreeMap<ConnectionId, Connection>,
    /// Their `due`s, in order.
    due: BTreeSet<(Instant, ConnectionId)>,
    next: u64,
    report: Report,
}

impl Drain {
    /// A server that serves. The seed spreads the moments at which streams are told, so that their
    /// clients do not come back all at once.
    ///
    /// # Errors
    ///
    /// See [`BadDrain`].
    pub fn new(config: DrainConfig, seed: u64) -> Result<Self, BadDrain> {
        config.check()?;
        Ok(Self {
            config,
            jitter: Jitter::new(seed),
            phase: Phase::Serving,
            entered: Phase::Serving,
            ended: false,
            started: Instant::ZERO,
            since: Instant::ZERO,
            connections: BTreeMap::new(),
            due: BTreeSet::new(),
            next: 0,
            report: Report::default(),
        })
    }

    /// How far it has gone.
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// Connections that are there.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// What became of connections so far, since it was told to leave.
    pub const fn report(&self) -> Report {
        self.report
    }

    /// A connection was accepted; it is taken for busy with a request until it says something else.
    /// `None` from `Grace` on: drop it. In `StopAccept` those are let in that waited in the listener.
    ///
    /// How many there may be is the business of whoever accepts them.
    pub fn admit(&mut self) -> Option<ConnectionId> {
        if self.phase >= Phase::Grace {
            return None;
        }
        let id = ConnectionId(self.next);
        self.next += 1;
        let connection = Connection {
            activity: Activity::Request,
            said: false,
            done: None,
            asked: Asked::Nothing,
            due: None,
        };
        self.connections.insert(id, connection);
        Some(id)
    }

    /// A connection does this from now on. An id that is stale does nothing.
    pub fn set(&mut self, now: Instant, id: ConnectionId, activity: Activity) {
        self.handle_timeout(now);
        let Some(connection) = self.connections.get_mut(&id) else { return };
        // What it was doing when it was reset is what it lost.
        if connection.asked == Asked::Reset {
            return;
        }
        let said = core::mem::replace(&mut connection.said, true);
        if connection.activity == activity {
            return;
        }
        if activity == Activity::Idle && said && self.phase.closes() {
            connection.done = Some(connection.ending(Departure::Orderly));
        }
        connection.activity = activity;
        self.plan(now, id);
    }

    /// A connection is gone. Says what became of it, unless the server was not leaving; an id that is
    /// stale does nothing.
    pub fn leave(&mut self, now: Instant, id: ConnectionId, how: Departure) -> Option<Ending> {
        self.handle_timeout(now);
        let connection = self.connections.remove(&id)?;
        if let Some(at) = connection.due {
            self.due.remove(&(at, id));
        }
        if self.phase == Phase::Serving {
            return None;
        }
        let ending = connection.ending(how);
        self.report.add(ending);
        Some(ending)
    }

    /// Goes on to this phase at once, never back: `LameDuck` to leave, `Notify` to leave without
    /// waiting until everybody knows, `Force` to be gone. It goes no further than that by command.
    pub fn advance(&mut self, now: Instant, phase: Phase) {
        self.handle_timeout(now);
        let phase = phase.min(Phase::Force);
        if phase > self.phase {
            self.enter(now, phase);
            self.handle_timeout(now);
        }
    }

    /// Leaves without telling anybody first, within this time: who is idle is closed at once, and what is
    /// left at the end is reset. On a server that leaves already, nothing takes longer than before.
    pub fn hurry(&mut self, now: Instant, within: Duration) {
        self.handle_timeout(now);
        let passed = if self.phase == Phase::Serving { Duration::ZERO } else { now - self.started };
        let deadline = passed.saturating_add(within);
        self.config.deadline = match self.phase {
            Phase::Serving => deadline,
            _ => deadline.min(self.config.deadline),
        };
        let none = Duration::ZERO;
        (self.config.propagation, self.config.notify, self.config.late) = (none, none, none);
        self.advance(now, Phase::LameDuck);
    }

    /// Takes it back: the server serves on. Who was told already leaves all the same.
    ///
    /// # Errors
    ///
    /// From `StopAccept` on it cannot be taken back.
    pub fn resume(&mut self, now: Instant) -> Result<(), TooLate> {
        self.handle_timeout(now);
        if !self.phase.accepts() {
            return Err(TooLate);
        }
        self.phase = Phase::Serving;
        self.since = now;
        self.report = Report::default();
        self.due.clear();
        for connection in self.connections.values_mut() {
            (connection.due, connection.done) = (None, None);
        }
        Ok(())
    }

    /// When this phase ends, whatever the connections do.
    fn phase_end(&self) -> Option<Instant> {
        let time = match self.phase {
            Phase::Serving | Phase::Over => return None,
            Phase::Force => return Some(self.since + self.config.force),
            Phase::LameDuck => self.config.propagation,
            Phase::Notify => self.config.notify,
            Phase::StopAccept => self.config.late,
            Phase::Grace => Duration::MAX,
        };
        Some((self.since + time).min(self.started + self.config.deadline))
    }

    /// The phase behind this one.
    fn after(&self, at: Instant) -> Phase {
        match self.phase {
            Phase::Serving => Phase::Serving,
            Phase::Force | Phase::Over => Phase::Over,
            _ if at >= self.started + self.config.deadline => Phase::Force,
            Phase::LameDuck => Phase::Notify,
            Phase::Notify => Phase::StopAccept,
            Phase::StopAccept => Phase::Grace,
            Phase::Grace => Phase::Force,
        }
    }

    fn enter(&mut self, at: Instant, phase: Phase) {
        if self.phase == Phase::Serving {
            self.started = at;
            self.report = Report::default();
        }
        self.phase = phase;
        self.since = at;
        if phase == Phase::Over {
            let left = core::mem::take(&mut self.connections);
            for _ in left {
                self.report.add(Ending::Stuck);
            }
            self.due.clear();
            self.report.took = at - self.started;
            return;
        }
        let ids: Vec<_> = self.connections.keys().copied().collect();
        for id in ids {
            self.plan(at, id);
        }
    }

    /// Says when a connection is looked at again. `now` is the moment at which it, or the phase, changed.
    fn plan(&mut self, now: Instant, id: ConnectionId) {
        let end = self.phase_end().unwrap_or(now);
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let known = connection.due.take();
        if let Some(at) = known {
            self.due.remove(&(at, id));
        }
        let told = connection.asked >= Asked::Tell;
        let at = match (self.phase, connection.activity) {
            (Phase::Serving | Phase::LameDuck | Phase::Over, _) => None,
            (Phase::Force, _) => (connection.asked < Asked::Reset).then_some(now),
            (_, Activity::Stream | Activity::Upgraded) if told => None,
            (Phase::Notify, Activity::Stream | Activity::Upgraded) => {
                Some(now + self.jitter.between(Duration::ZERO, end - now))
            }
            (_, Activity::Stream | Activity::Upgraded) => Some(now),
            // A client that did not know yet may have sent a request already.
            (Phase::StopAccept, Activity::Idle) => Some(now + self.config.late),
            (Phase::Grace, Activity::Idle) if connection.asked >= Asked::Close => None,
            // Who was idle all through `StopAccept` has had its time; who becomes so now has it yet.
            (Phase::Grace, Activity::Idle) => Some(known.unwrap_or(now + self.config.late)),
            (_, Activity::Idle | Activity::Request) => None,
        };
        connection.due = at;
        if let Some(at) = at {
            self.due.insert((at, id));
        }
    }

    /// What a connection is to do, now that it is due.
    fn ask(&mut self, id: ConnectionId) -> Option<DrainEvent> {
        let connection = self.connections.get_mut(&id)?;
        connection.due = None;
        let (asked, event) = match (self.phase, connection.activity) {
            (Phase::Force, _) => (Asked::Reset, DrainEvent::Reset(id)),
            (_, Activity::Idle) => (Asked::Close, DrainEvent::Close(id)),
            _ => (Asked::Tell, DrainEvent::Tell(id)),
        };
        connection.asked = asked;
        Some(event)
    }
}

impl Connection {
    fn ending(&self, how: Departure) -> Ending {
        match (self.activity, self.asked, how) {
            (Activity::Idle, asked, _) => self.done.unwrap_or(match asked {
                Asked::Close | Asked::Reset => Ending::Idle,
                Asked::Nothing | Asked::Tell => Ending::Left,
            }),
            (Activity::Request, Asked::Reset, _) => Ending::CutRequest,
            (Activity::Stream, Asked::Reset, _) => Ending::CutStream,
            (Activity::Upgraded, Asked::Reset, _) => Ending::CutUpgraded,
            (_, _, Departure::Broken) => Ending::Broken,
            (_, _, Departure::Orphaned) => Ending::Orphaned,
            (Activity::Stream | Activity::Upgraded, Asked::Tell, _) => Ending::Told,
            (Activity::Upgraded, ..) => Ending::Left,
            (Activity::Request | Activity::Stream, ..) => Ending::Finished,
        }
    }
}

impl Machine for Drain {
    type Event = DrainEvent;
    type Error = core::convert::Infallible;

    fn poll_event(&mut self, now: Instant) -> Result<Option<DrainEvent>, Self::Error> {
        self.handle_timeout(now);
        // A phase ends early only once its driver knew of it, and could accept what waited.
        let is_early =
            matches!(self.phase, Phase::Notify | Phase::StopAccept | Phase::Grace | Phase::Force);
        if is_early && self.entered == self.phase && self.connections.is_empty() {
            let next = if self.phase == Phase::Notify { Phase::StopAccept } else { Phase::Over };
            self.enter(now, next);
        }
        if self.entered != self.phase {
            self.entered = self.phase;
            return Ok(Some(DrainEvent::Entered(self.phase)));
        }
        while let Some((at, id)) = self.due.first().copied() {
            if at > now {
                break;
            }
            self.due.pop_first();
            if let Some(event) = self.ask(id) {
                return Ok(Some(event));
            }
        }
        if self.phase == Phase::Over && !self.ended {
            self.ended = true;
            return Ok(Some(DrainEvent::Ended(self.report)));
        }
        Ok(None)
    }

    fn handle_timeout(&mut self, now: Instant) {
        // Each phase begins when the one before it was to end, so that a late call costs nothing.
        while let Some(at) = self.phase_end().filter(|at| *at <= now) {
            self.enter(at, self.after(at));
        }
    }

    fn deadline(&self) -> Option<Deadline> {
        let due = self.due.first().map(|(at, _)| *at);
        let at = match (self.phase_end(), due) {
            (Some(a), Some(b)) => a.min(b),
            (a, b) => a.or(b)?,
        };
        Some(Deadline { at, why: Timer::Drain })
    }
}

impl fmt::Display for TooLate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the listeners are closed already")
    }
}

impl core::error::Error for TooLate {}
