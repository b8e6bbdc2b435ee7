//! One server connection.

mod end;
mod failure;
mod receive;
mod respond;

use core::time::Duration;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::Version;

use crate::error::{Delivery, Error, Kind, Misuse, Phase};
use crate::head::{Fields, RequestHead};
use crate::http1::ServerConfig;
use crate::http1::body::{Decoder, Encoder};
use crate::http1::date::DateCache;
use crate::http1::framing::Asked;
use crate::http1::message::{BodyBytes, BodySize};
use crate::http1::parse::{PartialHead, RequestFirst};
use crate::http1::state::{Half, Outcome, State, Transition};
use crate::http1::tunnel::{Tunnel, TunnelConfig};
use crate::inbox::InboxGuard;
use crate::machine::{CloseReason, Layered, Machine, Status, Wire};
use crate::observe::{self, Log};
use crate::outbox::{Outbox, WriteStall};
use crate::time::{Deadline, Instant, Timer};

use self::failure::Description;

/// What a server connection tells the application.
#[derive(Debug)]
pub enum ServerEvent {
    /// A request head. With [`BodySize::Empty`] no `Data` and no `End` follow.
    Request {
        /// Method, target, fields.
        head: RequestHead,
        /// What follows.
        body: BodySize,
    },
    /// Bytes of the request body. A body that came in one piece, and any piece of 256 bytes or
    /// more, is a slice of the read buffer: copy what is kept for long.
    Data(Bytes),
    /// The request body is complete.
    End(Option<Fields>),
}

/// An HTTP/1.1 server connection: bytes in, requests out; responses in, bytes out.
///
/// Requests come one at a time, in order: the next head is parsed when the exchange before it is
/// over, that is, when the response is complete and the request body was pulled to its end or
/// discarded.
#[derive(Debug)]
pub struct Server {
    config: Arc<ServerConfig>,
    inbox: BytesMut,
    guard: InboxGuard,
    outbox: Outbox,
    state: State,
    partial: PartialHead<RequestFirst>,
    decoder: Decoder,
    encoder: Encoder,
    asked: Asked,
    /// The protocols that the request offers to switch to.
    offered: Option<Box<[u8]>>,
    version: Version,
    /// The client waits for `100 Continue`.
    waits_continue: bool,
    /// The rest of the request body is drained.
    discarding: bool,
    /// How many more bytes are thrown away at most: of the request's body, or at the connection's end.
    discards: u64,
    body_limit: u64,
    rate: BodyRate,
    /// There is no minimum rate for this body.
    rate_lifted: bool,
    /// Nothing is due before this: at or before the earliest deadline.
    due: Instant,
    /// The timer of the connection's phase.
    timer: Option<Deadline>,
    /// When the application must have answered: [`Instant::MAX`] where nothing waits for it.
    handler: Instant,
    stall: WriteStall,
    end: End,
    /// No request after this one.
    closing: bool,
    eof: bool,
    error: Option<Error>,
    exchange: u64,
    bodies: BodyBytes,
    /// Answers queued since the outbox was last empty.
    answers: u32,
    description: Option<Box<Description>>,
    date: DateCache,
    log: Log,
}

/// The minimum rate of a request body, measured while the application waits for the peer.
#[derive(Debug, Default)]
struct BodyRate {
    /// Bytes of bodies taken from the inbox, ever.
    taken: u64,
    /// The same at the start of the window; none in the first, free window.
    mark: Known,
    /// How full the inbox was when the application last asked in vain.
    starved_at: Known,
}

/// A number of bytes, or none, in the room of a number: there are never so many as it cannot hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Known(u64);

impl Known {
    const NONE: Self = Self(u64::MAX);

    const fn get(self) -> Option<u64> {
        if self.0 == u64::MAX { None } else { Some(self.0) }
    }
}

impl Default for Known {
    fn default() -> Self {
        Self::NONE
    }
}

/// How the connection ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Open,
    /// The outbox is flushed, then the writing side is shut; input is thrown away.
    Lingering(CloseReason),
    Closed(CloseReason),
}

impl Server {
    /// A fresh connection, accepted at `now`.
    pub fn new(config: Arc<ServerConfig>, now: Instant) -> Self {
        let mut log = Log::new();
        log.enable(config.observe);
        Self {
            timer: Some(Deadline { at: now + config.first_byte, why: Timer::FirstByte }),
            due: Instant::ZERO,
            body_limit: config.limits.body,
            config,
            inbox: BytesMut::new(),
            guard: InboxGuard::default(),
            outbox: Outbox::new(),
            state: State::START,
            partial: PartialHead::default(),
            decoder: Decoder::default(),
            encoder: Encoder::Done,
            asked: Asked::Other,
            offered: None,
            version: Version::HTTP_11,
            waits_continue: false,
            discarding: false,
            discards: 0,
            rate: BodyRate::default(),
            rate_lifted: false,
            handler: Instant::MAX,
            stall: WriteStall::new(),
            end: End::Open,
            closing: false,
            eof: false,
            error: None,
            exchange: 0,
            bodies: BodyBytes::default(),
            answers: 0,
            description: None,
            date: DateCache::default(),
            log,
        }
    }

    /// Replaces limits and timers, between exchanges: they hold from the next head on. Timers that run
    /// already run on.
    ///
    /// # Errors
    ///
    /// Usage, in the middle of an exchange; nothing was changed.
    pub fn reconfigure(&mut self, config: Arc<ServerConfig>) -> Result<(), Error> {
        if self.state != State::START {
            return Err(self.misuse(Misuse::OutOfTurn));
        }
        self.log.enable(config.observe);
        self.body_limit = config.limits.body;
        if self.config.epoch != config.epoch {
            self.date = DateCache::default();
        }
        self.config = config;
        Ok(())
    }

    /// Replaces the handler's time limit for the current exchange, counted from `now`.
    pub fn set_handler_timeout(&mut self, now: Instant, limit: Option<Duration>) {
        if self.check(now).is_ok() && self.awaits_response() {
            self.arm_handler(limit.map(|limit| now + limit));
        }
    }

    /// Replaces the body limit for the current exchange. Fails, and answers 413, when the declared
    /// length is above it.
    pub fn set_body_limit(&mut self, now: Instant, bytes: u64) -> Result<(), Error> {
        self.check(now)?;
        self.body_limit = bytes;
        match self.decoder.known_rest() {
            Some(rest) if self.state.request == Half::Body && rest > bytes => {
                Err(self.fail(now, Kind::Limit(crate::error::Limit::Body), Phase::RequestBody))
            }
            _ => Ok(()),
        }
    }

    /// Switches the minimum rate of the request body off for the current exchange.
    pub fn lift_body_rate(&mut self) {
        self.rate_lifted = true;
        if self.timer.is_some_and(|timer| timer.why == Timer::BodyRead) {
            self.timer = None;
        }
    }

    /// Whether a response is due: a request head was delivered and no final head was sent.
    pub fn awaits_response(&self) -> bool {
        self.state.request != Half::Idle
            && self.state.response == Half::Idle
            && self.error.is_none()
    }

    /// Whether the client waits for `100 Continue` before it sends the body, and may be told to go on:
    /// what it announced is within the limit.
    pub fn awaits_continue(&self) -> bool {
        let allowed =
            || self.decoder.known_rest().is_none_or(|announced| announced <= self.body_limit);
        self.waits_continue && self.awaits_response() && allowed()
    }

    /// Whether more request body can be pulled.
    pub fn body_open(&self) -> bool {
        self.state.request == Half::Body && !self.discarding && self.error.is_none()
    }

    /// Whether response body bytes are due: `send_data` or `send_end`.
    pub fn response_open(&self) -> bool {
        self.state.response == Half::Body && self.error.is_none()
    }

    /// Whether a producer may go on: the outbox is below its high-water mark.
    pub fn can_send(&self) -> bool {
        !self.outbox.is_full()
    }

    /// Whether no exchange is running and no input is waiting.
    pub fn is_idle(&self) -> bool {
        self.state.request == Half::Idle && self.inbox.is_empty() && self.error.is_none()
    }

    /// Counts the requests of this connection, from 1; 0 before the first.
    pub fn exchange(&self) -> u64 {
        self.exchange
    }

    /// How much body the current exchange has had, or the last one.
    pub fn body_bytes(&self) -> BodyBytes {
        self.bodies
    }

    /// Whether the peer shut its writing side.
    pub fn peer_closed(&self) -> bool {
        self.eof
    }

    /// The fatal error, once there is one.
    pub fn error(&self) -> Option<Error> {
        self.error
    }

    /// Whether the connection left HTTP by a 101 or a 2xx to CONNECT.
    pub fn is_upgraded(&self) -> bool {
        self.state.outcome() == Outcome::Switched && self.error.is_none()
    }

    /// Hands over the bytes left over and the outbox (which may still hold the 101), once
    /// [`is_upgraded`](Self::is_upgraded). Where the [peer closed](Self::peer_closed), what follows
    /// has to be told, too.
    #[expect(clippy::result_large_err, reason = "the connection itself comes back")]
    pub fn into_upgraded(self) -> Result<(BytesMut, Outbox), Self> {
        if self.is_upgraded() { Ok((self.inbox, self.outbox)) } else { Err(self) }
    }

    /// Becomes the bytes of whatever follows, once [`is_upgraded`](Self::is_upgraded).
    #[expect(clippy::result_large_err, reason = "the connection itself comes back")]
    pub fn into_tunnel(self, now: Instant) -> Result<Tunnel, Self> {
        let config = TunnelConfig::from(&*self.config);
        let ended = self.peer_closed();
        let (inbox, outbox) = self.into_upgraded()?;
        let mut tunnel = Tunnel::new(config, inbox, outbox, now);
        // Nobody says it twice: a TLS session has no end behind its close_notify.
        if ended {
            tunnel.handle_eof(now);
        }
        Ok(tunnel)
    }

    /// Runs what is due, then lets a verb through or repeats the fatal error.
    fn check(&mut self, now: Instant) -> Result<(), Error> {
        self.handle_timeout(now);
        if self.error.is_none() && matches!(self.end, End::Open) {
            Ok(())
        } else {
            Err(self.ended())
        }
    }

    /// Why no verb is let through any more.
    #[cold]
    fn ended(&self) -> Error {
        let kind = Kind::Closed;
        self.error.unwrap_or(Error { kind, phase: Phase::Idle, delivery: Delivery::Processed })
    }

    fn misuse(&self, misuse: Misuse) -> Error {
        Error::usage(misuse, self.phase())
    }

    fn phase(&self) -> Phase {
        match (self.state.request, self.state.response) {
            (Half::Idle, _) if self.inbox.is_empty() => Phase::Idle,
            (Half::Idle, _) => Phase::RequestHead,
            (_, Half::Body) => Phase::ResponseBody,
            (Half::Body, _) => Phase::RequestBody,
            _ => Phase::ResponseHead,
        }
    }

    #[inline]
    fn transition(&self, transition: Transition) -> Result<State, Error> {
        self.state.on(transition).ok_or_else(|| self.misuse(Misuse::OutOfTurn))
    }

    fn watch_writes(&mut self, now: Instant) {
        self.stall.observe(&self.outbox, now, self.config.write_stall);
        if let Some(deadline) = self.stall.deadline(&self.outbox) {
            self.due = self.due.min(deadline.at);
        }
    }

    fn arm(&mut self, why: Timer, at: Instant) {
        self.timer = Some(Deadline { at, why });
        self.due = self.due.min(at);
    }

    fn arm_handler(&mut self, at: Option<Instant>) {
        self.handler = at.unwrap_or(Instant::MAX);
        self.due = self.due.min(self.handler);
    }

    /// Runs the timers that are due at `now`.
    fn run_timers(&mut self, now: Instant) {
        if self.stall.expired(&self.outbox, now, self.config.write_stall) {
            if self.error.is_none() {
                self.fail(now, Kind::Timeout(Timer::WriteStall), self.phase());
            } else {
                self.outbox.clear();
                self.closed(CloseReason::Failed);
            }
            return;
        }
        if self.handler < Instant::MAX && self.handler <= now {
            self.handler = Instant::MAX;
            self.fail(now, Kind::Timeout(Timer::Handler), Phase::ResponseHead);
            return;
        }
        let Some(timer) = self.timer.filter(|timer| timer.at <= now) else { return };
        self.timer = None;
        match timer.why {
            // What came in the meantime deserves a look.
            Timer::FirstByte | Timer::Idle if !self.inbox.is_empty() => {
                self.arm(Timer::HeaderRead, now + self.config.header_read);
            }
            Timer::FirstByte | Timer::Idle => self.closed(CloseReason::Idle),
            Timer::HeaderRead => {
                self.fail(now, Kind::Timeout(Timer::HeaderRead), Phase::RequestHead);
            }
            Timer::BodyRead if self.body_too_slow() => {
                self.fail(now, Kind::Timeout(Timer::BodyRead), Phase::RequestBody);
            }
            Timer::BodyRead => self.measure_body(now),
            Timer::Linger => {
                if let End::Lingering(reason) = self.end {
                    self.closed(reason);
                }
            }
            _ => {}
        }
    }
}

/// What is noted when a poll is over. It runs on drop, so that the event is written where the
/// caller wants it and is not moved there through a variable.
struct AfterPoll<'a> {
    server: &'a mut Server,
    now: Instant,
}

impl Drop for AfterPoll<'_> {
    fn drop(&mut self) {
        self.server.guard.remember(&self.server.inbox);
        self.server.watch_writes(self.now);
    }
}

impl Machine for Server {
    type Event = ServerEvent;
    type Error = Error;

    fn poll_event(&mut self, now: Instant) -> Result<Option<ServerEvent>, Error> {
        if self.error.is_none() && !self.guard.holds(&self.inbox) {
            self.fail(now, Kind::InboxEdited, self.phase());
        }
        self.handle_timeout(now);
        let after = AfterPoll { server: self, now };
        after.server.advance(now)
    }

    #[inline]
    fn handle_timeout(&mut self, now: Instant) {
        // Asked several times a request, and nearly never is anything due.
        if now >= self.due {
            self.run_timers(now);
            self.due = self.deadline().map_or(Instant::MAX, |deadline| deadline.at);
        }
    }

    fn deadline(&self) -> Option<Deadline> {
        let awaited = Deadline { at: self.handler, why: Timer::Handler };
        let handler = Some(awaited).filter(|awaited| awaited.at < Instant::MAX);
        let stall = self.stall.deadline(&self.outbox);
        Deadline::earlier(Deadline::earlier(self.timer, handler), stall)
    }

    fn poll_observed(&mut self) -> Option<observe::Event> {
        self.log.pop()
    }
}

impl Wire for Server {
    fn inbox(&mut self) -> &mut BytesMut {
        &mut self.inbox
    }

    fn wants_read(&self) -> bool {
        match self.end {
            _ if self.eof => false,
            End::Open => !self.is_upgraded() && self.inbox.len() < self.config.limits.inbox,
            End::Lingering(_) => true,
            End::Closed(_) => false,
        }
    }

    fn handle_eof(&mut self, now: Instant) {
        self.handle_timeout(now);
        self.eof = true;
        self.linger(now);
    }

    /// Requests never end with the connection: <https://www.rfc-editor.org/rfc/rfc9112#section-6.3>
    fn is_self_delimited(&self) -> bool {
        !self.is_upgraded()
    }

    fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    fn status(&self) -> Status {
        match self.end {
            _ if !self.outbox.is_empty() => Status::Open,
            End::Open => Status::Open,
            End::Lingering(_) => Status::HalfClose,
            End::Closed(reason) => Status::Close(reason),
        }
    }

    #[inline]
    fn rest(&mut self) {
        if self.inbox.is_empty() && self.inbox.capacity() > 0 {
            self.inbox = BytesMut::new();
        }
        self.outbox.rest();
        if self.state.request == Half::Idle {
            self.description = None;
        }
    }
}

impl Layered for Server {
    type Top = Self;

    fn top(&mut self) -> &mut Self {
        self
    }

    fn top_ref(&self) -> &Self {
        self
    }
}
