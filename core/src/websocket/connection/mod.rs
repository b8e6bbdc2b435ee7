//! The machine behind the handshake, both roles.

mod end;
mod receive;
mod send;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use core::time::Duration;

use self::end::{Scheduled, Stage};
use self::receive::{Assembly, Open, PingRate};
use super::close::{Closed, Side};
use super::config::Config;
#[cfg(feature = "deflate")]
use super::deflate::{Codec, Pool};
use super::frame::Header;
use super::handshake::Agreed;
use super::heartbeat::{Due, Heartbeat};
use super::mask::{Masks, Purpose};
use super::message::Message;
use super::utf8::Utf8;
use crate::error::{Delivery, Error, Kind, Phase};
use crate::inbox::InboxGuard;
use crate::jitter::Jitter;
use crate::machine::{Layered, Machine, Status, Wire};
use crate::observe::{self, Log};
use crate::outbox::{Outbox, WriteStall};
use crate::time::{Deadline, Instant, Timer};

/// Which of the two ends this is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    /// It sent the request. Its frames are masked.
    Client,
    /// It answered.
    Server,
}

/// What a connection tells the application.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A message.
    Message(Message),
    /// The peer asked for a sign of life. It was answered, unless this side has closed: nothing follows
    /// a close frame, though <https://www.rfc-editor.org/rfc/rfc6455#section-5.5.2> would have it so.
    Ping(Bytes),
    /// The peer answered a ping of the application, or says that it is there. The answer to the
    /// last ping of the heartbeat is not told.
    Pong(Bytes),
    /// The connection is over. Comes once, and last, unless an error does.
    Closed(Closed),
}

/// Why a message was not taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Rejected {
    /// The queue is full: ask [`Connection::can_send`] before. The message comes back.
    Full(Message),
    /// It comes too late, or the machine failed.
    Error(Error),
}

impl From<Error> for Rejected {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// A connection that speaks WebSocket.
///
/// Pull [events](Event); send [messages](Self::send_message). Pings are answered, silence is noticed
/// and what breaks the protocol is told to the peer, with a code, by the machine itself.
#[derive(Debug)]
pub struct Connection {
    config: Arc<Config>,
    /// Of a client; a server masks nothing.
    masks: Option<Box<Masks>>,
    inbox: BytesMut,
    guard: InboxGuard,
    outbox: Outbox,
    stall: WriteStall,
    heartbeat: Option<Heartbeat>,
    /// The frame of which the header was read.
    frame: Option<Open>,
    /// The message that comes in several frames, or compressed.
    message: Option<Assembly>,
    /// Of the text that comes.
    utf8: Utf8,
    pings: PingRate,
    #[cfg(feature = "deflate")]
    codec: Option<Codec>,
    stage: Stage,
    /// When it is closed, whatever happens.
    scheduled: Option<Scheduled>,
    /// When among many like it.
    spread: Jitter,
    /// The first of the timers, but for that of a write that stalls.
    timer: Option<Deadline>,
    /// Nothing is due before, and nothing has to be watched; the origin of time where something has.
    wake: Instant,
    /// The end, until it was told.
    untold: Option<Closed>,
    /// The peer will send nothing more, or nobody would read it.
    eof: bool,
    /// A ping waits for room in the outbox.
    paused: bool,
    /// Messages are left where they are.
    held: bool,
    /// The last poll gave nothing: whoever reads for us has no reason to wait.
    drained: bool,
    error: Option<Error>,
    log: Log,
}

impl Connection {
    /// Takes over what an upgrade handed over: the bytes that are left of the inbox, and the outbox.
    ///
    /// [`Config::check`] the configuration before. Masks are drawn from the seed: it has to be
    /// unpredictable, and new for every connection.
    pub fn new(
        role: Role,
        config: Arc<Config>,
        agreed: &Agreed,
        seed: [u8; 32],
        upgraded: (BytesMut, Outbox),
        now: Instant,
    ) -> Self {
        let (inbox, outbox) = upgraded;
        let mut log = Log::new();
        log.enable(config.observe);
        let mut spread = Jitter::new(Masks::new(seed, Purpose::Jitter).number());
        let beats = Jitter::new(spread.draw());
        let heartbeat = config.heartbeat.map(|beat| Heartbeat::new(beat, beats, now));
        #[cfg(not(feature = "deflate"))]
        let _ = agreed;
        let mut connection = Self {
            masks: (role == Role::Client).then(|| Box::new(Masks::new(seed, Purpose::Masks))),
            inbox,
            guard: InboxGuard::default(),
            outbox,
            stall: WriteStall::new(),
            heartbeat,
            frame: None,
            message: None,
            utf8: Utf8::default(),
            pings: PingRate::new(now),
            #[cfg(feature = "deflate")]
            codec: agreed.deflate.clone().map(Codec::new),
            stage: Stage::Open,
            scheduled: None,
            spread,
            timer: None,
            wake: now,
            untold: None,
            eof: false,
            paused: false,
            held: false,
            drained: false,
            error: None,
            log,
            config,
        };
        connection.guard.remember(&connection.inbox);
        connection.watch(now);
        connection
    }

    /// Which of the two ends this is.
    pub const fn role(&self) -> Role {
        if self.masks.is_some() { Role::Client } else { Role::Server }
    }

    pub(in crate::websocket) fn config(&self) -> &Config {
        &self.config
    }

    /// Whether messages can be sent: neither side has closed.
    pub const fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open)
    }

    /// Whether a message would be taken now: neither side has closed, and the queue is not full.
    pub fn can_send(&self) -> bool {
        self.is_open() && self.outbox.len() < self.config.limits.queued
    }

    /// Leaves messages where they are, while the reader is busy with one; pings, pongs and a close frame
    /// in front of them are read. So the answer to a message is not too late where the next frame breaks
    /// the protocol. Without effect once the connection closes.
    pub const fn hold_messages(&mut self, hold: bool) {
        self.held = hold;
    }

    /// Whether what comes next is left where it is.
    fn is_held_back(&self) -> bool {
        let control = match &self.frame {
            Some(frame) => frame.is_control(),
            None => self.inbox.first().is_none_or(|first| Header::starts_control(*first)),
        };
        self.held && self.is_open() && !control
    }

    /// The fatal error, once there is one. [`CloseCode::of`](super::CloseCode::of) says which code
    /// was sent for it.
    pub const fn error(&self) -> Option<Error> {
        self.error
    }

    /// How long the last ping of the heartbeat that was answered took to come back.
    pub fn rtt(&self) -> Option<Duration> {
        self.heartbeat.as_ref().and_then(Heartbeat::rtt)
    }

    /// Lends compressors, at the start of a wake-up. Ignored where windows are kept.
    #[cfg(feature = "deflate")]
    pub fn lend(&mut self, pool: &mut Pool) {
        if let Some(codec) = &mut self.codec {
            codec.lend(pool);
        }
    }

    /// Gives compressors back that hold nothing, at the end of a wake-up.
    #[cfg(feature = "deflate")]
    pub fn give_back(&mut self, pool: &mut Pool) {
        if let Some(codec) = &mut self.codec {
            codec.give_back(pool);
        }
    }

    /// Runs what is due, then lets a verb through or repeats the fatal error.
    #[inline]
    fn check(&mut self, now: Instant) -> Result<(), Error> {
        self.tick(now);
        match (self.error, self.stage) {
            (Some(error), _) => Err(error),
            (None, Stage::Open | Stage::Closing { .. }) => Ok(()),
            (None, Stage::Draining { .. } | Stage::Over(_)) => Err(fatal(Kind::Closed)),
        }
    }

    /// Looks at the outbox after something was queued.
    #[inline]
    fn queued(&mut self, now: Instant) {
        if self.wake == Instant::ZERO {
            self.watch(now);
        } else {
            self.wake = self.wake.min(self.stall.watch(&self.outbox, now, self.config.write_stall));
        }
    }

    /// Looks at the outbox after anything may have been queued or drained.
    fn watch(&mut self, now: Instant) {
        self.stall.observe(&self.outbox, now, self.config.write_stall);
        if let Some(heartbeat) = &mut self.heartbeat {
            heartbeat.observe(self.outbox.drained(), now);
        }
        self.start_timer(now);
        self.set_timer();
    }

    /// Notes which timer fires first, wherever one may have moved.
    fn set_timer(&mut self) {
        let beat = self.heartbeat.as_ref().and_then(Heartbeat::deadline);
        let scheduled = self.scheduled.map(|close| Deadline { at: close.at, why: Timer::Close });
        self.timer = match self.stage {
            Stage::Open => Deadline::earlier(beat, scheduled),
            _ => self.stage.deadline(),
        };
        // When bytes leave decides when the timers of a ping, and of the end, start. And there may be
        // something to tell though nothing came: an end, or a ping that waited for room.
        let waits = self.heartbeat.as_ref().is_some_and(Heartbeat::waits);
        let watched = waits || !self.is_open() || self.eof || self.paused;
        self.wake = match self.deadline() {
            _ if watched => Instant::ZERO,
            None => Instant::MAX,
            Some(deadline) => deadline.at,
        };
    }

    /// Whether there is nothing to look at: no timer is due, and none starts or stops.
    #[inline]
    fn is_quiet(&self, now: Instant) -> bool {
        now < self.wake
    }

    /// Looks at what changed, and runs what is due.
    #[inline]
    fn tick(&mut self, now: Instant) {
        if !self.is_quiet(now) {
            self.look(now);
        }
    }

    #[inline(never)]
    fn look(&mut self, now: Instant) {
        self.watch(now);
        self.listen();
        if self.deadline().is_some_and(|deadline| deadline.at <= now) {
            self.fire(now);
        }
    }

    #[cold]
    fn fire(&mut self, now: Instant) {
        if self.stall.expired(&self.outbox, now, self.config.write_stall) {
            self.fail(Kind::Timeout(Timer::WriteStall));
        }
        if self.stage.deadline().is_some_and(|deadline| deadline.at <= now) {
            self.run_out();
        }
        self.close_as_scheduled(now);
        self.beat(now);
        self.watch(now);
    }

    /// Bytes that came are a sign of life, wherever they are seen first. And who does not listen
    /// cannot hold silence against the peer.
    #[inline]
    fn listen(&mut self) {
        if self.heartbeat.as_ref().is_some_and(Heartbeat::listens)
            && (self.inbox.len() > self.guard.len() || !self.drained || !self.wants_read())
            && let Some(heartbeat) = &mut self.heartbeat
        {
            heartbeat.heard();
            self.set_timer();
        }
    }

    /// The next event, looked at closely.
    #[inline(never)]
    fn pull(&mut self, now: Instant) -> Result<Option<Event>, Error> {
        if self.error.is_none() && !self.guard.holds(&self.inbox) {
            self.fail(Kind::InboxEdited);
        }
        self.tick(now);
        let queued = self.outbox.len();
        let event = self.next_event(now);
        self.guard.remember(&self.inbox);
        self.drained = !matches!(event, Ok(Some(_)));
        if self.outbox.len() != queued || self.paused || self.wake == Instant::ZERO {
            self.watch(now);
        }
        event
    }

    fn beat(&mut self, now: Instant) {
        let Some(heartbeat) = self.heartbeat.as_ref().filter(|_| self.is_open()) else { return };
        match heartbeat.due(now) {
            Due::Nothing => {}
            Due::Ping(payload) => {
                self.put_ping(&payload);
                let position = self.outbox.drained() + self.outbox.len() as u64;
                if let Some(heartbeat) = &mut self.heartbeat {
                    heartbeat.sent(position, now);
                }
            }
            Due::Dead => self.fail(Kind::Timeout(Timer::Pong)),
        }
    }
}

const fn fatal(kind: Kind) -> Error {
    Error { kind, phase: Phase::WebSocket, delivery: Delivery::MaybeProcessed }
}

impl Machine for Connection {
    type Event = Event;
    type Error = Error;

    #[inline]
    fn poll_event(&mut self, now: Instant) -> Result<Option<Event>, Error> {
        // Most polls find nothing.
        if self.inbox.is_empty() && self.guard.len() == 0 && self.is_quiet(now) {
            self.drained = true;
            return Ok(None);
        }
        match self.take_plain(now) {
            Some(message) => Ok(Some(Event::Message(message))),
            None => self.pull(now),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.tick(now);
    }

    fn deadline(&self) -> Option<Deadline> {
        Deadline::earlier(self.timer, self.stall.deadline(&self.outbox))
    }

    fn poll_observed(&mut self) -> Option<observe::Event> {
        self.log.pop()
    }
}

impl Wire for Connection {
    fn inbox(&mut self) -> &mut BytesMut {
        &mut self.inbox
    }

    fn wants_read(&self) -> bool {
        let held = self.inbox.len();
        let has_room = held < self.config.limits.inbox
            || self.frame.as_ref().is_some_and(|frame| held < frame.wanted());
        has_room && !self.eof
    }

    fn handle_eof(&mut self, now: Instant) {
        self.tick(now);
        self.eof = true;
        self.wake = Instant::ZERO;
    }

    /// The end of a message is never that of the connection.
    fn is_self_delimited(&self) -> bool {
        true
    }

    fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    fn has_room(&mut self) -> bool {
        self.outbox.len() < self.config.limits.queued
    }

    fn status(&self) -> Status {
        match self.stage {
            _ if self.is_open() || !self.outbox.is_empty() => Status::Open,
            Stage::Over(reason) => Status::Close(reason),
            Stage::Draining { shut: true, .. } => Status::HalfClose,
            Stage::Draining { .. } | Stage::Open | Stage::Closing { .. } => Status::Open,
        }
    }

    fn rest(&mut self) {
        if self.inbox.is_empty() {
            self.inbox = BytesMut::new();
        }
        self.outbox.rest();
        #[cfg(feature = "deflate")]
        if let Some(codec) = &mut self.codec {
            codec.rest();
        }
    }
}

impl Layered for Connection {
    type Top = Self;

    fn top(&mut self) -> &mut Self {
        self
    }

    fn top_ref(&self) -> &Self {
        self
    }
}
