//! One client connection.

mod pipeline;
mod receive;
mod request;

use core::time::Duration;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::error::{Delivery, Error, Kind, Misuse, Phase};
use crate::head::{Fields, ResponseHead};
use crate::http1::ClientConfig;
use crate::http1::body::{Decoder, Encoder};
use crate::http1::framing::Asked;
use crate::http1::message::BodySize;
use crate::http1::parse::{PartialHead, ResponseFirst};
use crate::http1::state::{Half, Outcome, State, Transition};
use crate::http1::tunnel::{Tunnel, TunnelConfig};
use crate::inbox::InboxGuard;
use crate::machine::{CloseReason, Layered, Machine, Status, Wire};
use crate::observe::{self, Log};
use crate::outbox::{Outbox, WriteStall};
use crate::time::{Deadline, Instant, Timer};

use pipeline::Pipeline;
pub use pipeline::Unanswered;

/// What a client connection tells the application.
#[derive(Debug)]
pub enum ClientEvent {
    /// An interim response (1xx, not 101).
    Informational(ResponseHead),
    /// The body of a request with `Expect: 100-continue` may be sent: the server asked for it, or
    /// did not answer in time.
    Continue,
    /// The head of the final response. With [`BodySize::Empty`] no `Data` and no `End` follow.
    Response {
        /// Status and fields.
        head: ResponseHead,
        /// What follows.
        body: BodySize,
    },
    /// Bytes of the response body. A body that came in one piece, and any piece of 256 bytes or
    /// more, is a slice of the read buffer: copy what is kept for long.
    Data(Bytes),
    /// The response body is complete.
    End(Option<Fields>),
}

/// An HTTP/1.1 client connection: one exchange at a time, or several under way where
/// [`ClientConfig::pipelining`] allows it.
#[derive(Debug)]
pub struct Client {
    config: Arc<ClientConfig>,
    inbox: BytesMut,
    guard: InboxGuard,
    outbox: Outbox,
    state: State,
    partial: PartialHead<ResponseFirst>,
    decoder: Decoder,
    encoder: Encoder,
    asked: Asked,
    /// The protocols that the request offers to switch to.
    offered: Vec<u8>,
    /// The authority that was last sent as `host`, and is sound.
    host: Vec<u8>,
    /// The body waits for `100 Continue`.
    waits_continue: bool,
    /// The wait is over and the application was not told yet.
    continue_due: bool,
    /// The response's head has come with this verdict on the request.
    verdict: Option<Delivery>,
    /// What the outbox will have drained when the first byte of the request is on its way.
    sent_mark: u64,
    interim: u32,
    between_bytes: Option<Duration>,
    /// Bytes taken out of the inbox, ever.
    taken: u64,
    /// Bytes received from the server when the body's timer was armed.
    received_mark: u64,
    /// Nothing is due before this: at or before the earliest deadline.
    due: Instant,
    /// The timer of the exchange's phase.
    timer: Option<Deadline>,
    wait_continue: Option<Instant>,
    stall: WriteStall,
    closed: Option<CloseReason>,
    closing: bool,
    eof: bool,
    error: Option<Error>,
    /// The exchange that is being answered, counted from 1.
    exchange: u64,
    /// What follows it; `None` where nothing may.
    pipeline: Option<Box<Pipeline>>,
    log: Log,
}

impl Client {
    /// A fresh connection.
    pub fn new(config: Arc<ClientConfig>) -> Self {
        let mut log = Log::new();
        log.enable(config.observe);
        Self {
            between_bytes: config.between_bytes,
            pipeline: Pipeline::new(config.pipelining),
            config,
            inbox: BytesMut::new(),
            guard: InboxGuard::default(),
            outbox: Outbox::new(),
            state: State::START,
            partial: PartialHead::default(),
            decoder: Decoder::default(),
            encoder: Encoder::Done,
            asked: Asked::Other,
            offered: Vec::new(),
            host: Vec::new(),
            waits_continue: false,
            continue_due: false,
            verdict: None,
            sent_mark: 0,
            interim: 0,
            taken: 0,
            received_mark: 0,
            due: Instant::MAX,
            timer: None,
            wait_continue: None,
            stall: WriteStall::new(),
            closed: None,
            closing: false,
            eof: false,
            error: None,
            exchange: 0,
            log,
        }
    }

    /// No further request: an idle connection ends at once, what is on its way is finished first.
    pub fn close(&mut self, now: Instant) {
        if self.check(now).is_err() {
            return;
        }
        self.closing = true;
        match self.state.request {
            Half::Idle => self.close_with(CloseReason::Done),
            // The last of them ends the connection.
            _ if self.is_followed() => {}
            _ => self.keep_no_more(),
        }
    }

    /// Replaces the limit on the wait for the response's head, counted from `now`.
    pub fn set_response_head_timeout(&mut self, now: Instant, limit: Option<Duration>) {
        if self.check(now).is_ok() && self.awaits_response() {
            self.arm(Timer::ResponseHead, limit.map(|wait| now + wait));
        }
    }

    /// Replaces the limit between two pieces of the response body for the exchange that is being
    /// answered; `None` suits event streams.
    pub fn set_between_bytes(&mut self, now: Instant, limit: Option<Duration>) {
        if self.check(now).is_err() {
            return;
        }
        self.between_bytes = limit;
        if self.state.response == Half::Body {
            self.await_body(now);
        }
    }

    /// Whether a body producer may go on: body is due, not held back by `Expect: 100-continue`, and
    /// the outbox is below its high-water mark.
    pub fn can_send(&self) -> bool {
        self.request_open() && !self.waits_continue && !self.outbox.is_full()
    }

    /// Whether request body is still due (`send_data` or `send_end`).
    pub fn request_open(&self) -> bool {
        self.encoder != Encoder::Done && self.error.is_none() && self.closed.is_none()
    }

    /// Whether the final response's head has not come yet.
    pub fn awaits_response(&self) -> bool {
        self.state.request != Half::Idle
            && self.state.response == Half::Idle
            && self.error.is_none()
            && self.closed.is_none()
    }

    /// Whether more response body can be pulled.
    pub fn body_open(&self) -> bool {
        self.state.response == Half::Body && self.error.is_none()
    }

    /// Whether another request can be sent on this connection: no exchange, nothing queued, nothing
    /// unread, no EOF, no close agreed.
    pub fn reusable(&self) -> bool {
        self.state == State::START
            && !self.closing
            && !self.eof
            && self.closed.is_none()
            && self.error.is_none()
            && self.inbox.is_empty()
            && self.outbox.is_empty()
    }

    /// Whether the peer shut its writing side.
    pub fn peer_closed(&self) -> bool {
        self.eof
    }

    /// How far the request that is being answered (or was last) got.
    pub fn delivery(&self) -> Delivery {
        match self.verdict {
            Some(verdict) => verdict,
            // A drained byte may have arrived.
            None if self.exchange > 0 && self.outbox.drained() > self.sent_mark => {
                Delivery::MaybeProcessed
            }
            None => Delivery::NotSent,
        }
    }

    /// The fatal error, once there is one.
    pub fn error(&self) -> Option<Error> {
        self.error
    }

    /// Whether the connection left HTTP by a 101 or a 2xx to CONNECT.
    pub fn is_upgraded(&self) -> bool {
        self.state.outcome() == Outcome::Switched && self.error.is_none()
    }

    /// Hands over the bytes left over and the outbox, once [`is_upgraded`](Self::is_upgraded). Where
    /// the [peer closed](Self::peer_closed), what follows has to be told, too.
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
        match (self.error, self.closed) {
            (Some(error), _) => Err(error),
            (None, None) => Ok(()),
            (None, Some(_)) => {
                let delivery = self.delivery();
                Err(Error { kind: Kind::Closed, phase: Phase::Idle, delivery })
            }
        }
    }

    fn misuse(&self, misuse: Misuse) -> Error {
        Error::usage(misuse, self.phase())
    }

    fn phase(&self) -> Phase {
        match (self.state.request, self.state.response) {
            (Half::Idle, _) => Phase::Idle,
            (_, Half::Body) => Phase::ResponseBody,
            (Half::Body, Half::Idle) => Phase::RequestBody,
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

    /// Bytes received from the server, ever.
    fn received(&self) -> u64 {
        self.taken.saturating_add(self.inbox.len() as u64)
    }

    /// The timer of the exchange's phase, from now on.
    fn arm(&mut self, why: Timer, at: Option<Instant>) {
        self.timer = at.map(|at| Deadline { at, why });
        self.due = self.due.min(at.unwrap_or(Instant::MAX));
    }

    fn arm_continue(&mut self, at: Option<Instant>) {
        self.wait_continue = at;
        self.due = self.due.min(at.unwrap_or(Instant::MAX));
    }

    /// Runs the timers that are due at `now`.
    fn run_timers(&mut self, now: Instant) {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if self.stall.expired(&self.outbox, now, self.config.write_stall) {
            self.fail(Kind::Timeout(Timer::WriteStall), self.phase());
            return;
        }
        if due(self.wait_continue) {
            // https://www.rfc-editor.org/rfc/rfc9110#section-10.1.1: a client does not wait for ever.
            self.wait_continue = None;
            self.waits_continue = false;
            self.continue_due = true;
        }
        let Some(timer) = self.timer.filter(|timer| timer.at <= now) else { return };
        match timer.why {
            // What is there already, or is not wanted, is not late.
            Timer::BodyRead
                if self.received() > self.received_mark
                    || !self.inbox.is_empty()
                    || !self.wants_read() =>
            {
                self.await_body(now);
            }
            why => {
                self.fail(Kind::Timeout(why), self.phase());
            }
        }
    }

    fn keep_no_more(&mut self) {
        self.state = self.state.on(Transition::Close).unwrap_or(self.state);
    }

    fn close_with(&mut self, reason: CloseReason) {
        self.timer = None;
        self.wait_continue = None;
        self.closed = Some(reason);
        self.log.record(observe::Event::Closed(reason));
    }

    fn fail(&mut self, kind: Kind, phase: Phase) -> Error {
        let error = Error { kind, phase, delivery: self.delivery() };
        self.error = Some(error);
        self.encoder = Encoder::Done;
        self.outbox.clear();
        self.log.record(observe::Event::Failed(error));
        self.close_with(CloseReason::Failed);
        error
    }

    /// Makes the connection ready for the next exchange, or ends it, where this one is over.
    fn settle(&mut self, now: Instant) {
        // A response that ended before its request: what is left of the request goes nowhere, and
        // nothing can follow it. https://www.rfc-editor.org/rfc/rfc9112#section-9.3
        if self.state.response == Half::Done && self.state.request == Half::Body {
            self.keep_no_more();
            self.encoder = Encoder::Swallow;
            self.waits_continue = false;
            self.wait_continue = None;
            self.timer = None;
            return;
        }
        let outcome = self.state.outcome();
        if outcome == Outcome::Running {
            return;
        }
        let reusable = outcome == Outcome::Next;
        self.log.record(observe::Event::ExchangeEnded { exchange: self.exchange, reusable });
        self.timer = None;
        self.wait_continue = None;
        match outcome {
            Outcome::Running => {}
            Outcome::Next => {
                self.state = State::START;
                if self.is_followed() {
                    self.promote(now);
                }
            }
            Outcome::Over => self.close_with(CloseReason::Done),
            Outcome::Switched => {
                self.log.record(observe::Event::Upgraded { exchange: self.exchange });
            }
        }
    }
}

/// What is noted when a poll is over. It runs on drop, so that the event is written where the
/// caller wants it and is not moved there through a variable.
struct AfterPoll<'a> {
    client: &'a mut Client,
    now: Instant,
}

impl Drop for AfterPoll<'_> {
    #[inline]
    fn drop(&mut self) {
        let client = &mut *self.client;
        client.guard.remember(&client.inbox);
        client.watch_writes(self.now);
    }
}

impl Machine for Client {
    type Event = ClientEvent;
    type Error = Error;

    fn poll_event(&mut self, now: Instant) -> Result<Option<ClientEvent>, Error> {
        if self.error.is_none() && !self.guard.holds(&self.inbox) {
            self.fail(Kind::InboxEdited, self.phase());
        }
        self.handle_timeout(now);
        let after = AfterPoll { client: self, now };
        after.client.advance(now)
    }

    #[inline]
    fn handle_timeout(&mut self, now: Instant) {
        // Asked several times a request, and nearly never is anything due.
        if now >= self.due {
            if self.deadline().is_some_and(|deadline| deadline.at <= now) {
                self.run_timers(now);
            }
            self.due = self.deadline().map_or(Instant::MAX, |deadline| deadline.at);
        }
    }

    fn deadline(&self) -> Option<Deadline> {
        let waited = self.wait_continue.map(|at| Deadline { at, why: Timer::Continue });
        let stall = self.stall.deadline(&self.outbox);
        Deadline::earlier(Deadline::earlier(self.timer, waited), stall)
    }

    fn poll_observed(&mut self) -> Option<observe::Event> {
        self.log.pop()
    }
}

impl Wire for Client {
    fn inbox(&mut self) -> &mut BytesMut {
        &mut self.inbox
    }

    fn wants_read(&self) -> bool {
        !self.eof
            && self.closed.is_none()
            && !self.is_upgraded()
            && self.inbox.len() < self.config.limits.inbox
    }

    fn handle_eof(&mut self, now: Instant) {
        self.handle_timeout(now);
        self.eof = true;
    }

    /// A response may end with the connection: <https://www.rfc-editor.org/rfc/rfc9112#section-6.3>
    fn is_self_delimited(&self) -> bool {
        !self.is_upgraded() && !self.decoder.ends_with_connection()
    }

    fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    fn status(&self) -> Status {
        match self.closed {
            Some(reason) if self.outbox.is_empty() => Status::Close(reason),
            _ => Status::Open,
        }
    }

    fn rest(&mut self) {
        if self.inbox.is_empty() {
            self.inbox = BytesMut::new();
        }
        self.outbox.rest();
    }
}

impl Layered for Client {
    type Top = Self;

    fn top(&mut self) -> &mut Self {
        self
    }

    fn top_ref(&self) -> &Self {
        self
    }
}
