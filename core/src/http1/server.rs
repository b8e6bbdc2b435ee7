//! One server connection.

use core::time::Duration;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{StatusCode, Version};

use super::ServerConfig;
use super::body::{Decoded, Decoder, Encoder};
use super::date::DateCache;
use super::encode;
use super::framing::{Asked, Framing, has_no_content};
use super::inbox::InboxGuard;
use super::message::{BodySize, Rejected, StatusLine};
use super::parse::{HeadParser, Parsed, RequestFirst};
use super::state::{Half, Outcome, State, Switch, Transition};
use super::upgrade;
use crate::error::{Delivery, Error, Kind, Misuse, Phase};
use crate::head::{Fields, RequestHead};
use crate::machine::{CloseReason, Layered, Machine, Status, Wire};
use crate::observe::{self, Log};
use crate::outbox::{Outbox, WriteStall};
use crate::time::{Deadline, Instant, Timer};

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
    /// Bytes of the request body.
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
    parser: HeadParser<RequestFirst>,
    decoder: Decoder,
    encoder: Encoder,
    asked: Asked,
    version: Version,
    /// The client waits for `100 Continue`.
    waits_continue: bool,
    /// The rest of the request body is drained: so many bytes at most.
    discarding: Option<u64>,
    body_limit: u64,
    rate: BodyRate,
    /// The timer of the connection's phase.
    timer: Option<Deadline>,
    handler: Option<Instant>,
    stall: WriteStall,
    end: End,
    /// No request after this one.
    closing: bool,
    eof: bool,
    error: Option<Error>,
    exchange: u64,
    /// Answers queued since the outbox was last empty.
    answers: u32,
    date: DateCache,
    log: Log,
}

/// The minimum rate of a request body, measured while the application waits for the peer.
#[derive(Debug, Default)]
struct BodyRate {
    lifted: bool,
    /// Bytes received from the peer, ever.
    received: u64,
    /// The same at the start of the window; `None` in the first, free window.
    mark: Option<u64>,
    /// How full the inbox was when the application last asked in vain.
    starved_at: Option<usize>,
}

/// How the connection ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Open,
    /// The outbox is flushed, then the writing side is shut; input is thrown away.
    Lingering {
        reason: CloseReason,
        left: u64,
    },
    Closed(CloseReason),
}

impl Server {
    /// A fresh connection, accepted at `now`.
    pub fn new(config: Arc<ServerConfig>, now: Instant) -> Self {
        let mut log = Log::new();
        log.enable(config.observe);
        Self {
            timer: Some(Deadline { at: now + config.first_byte, why: Timer::FirstByte }),
            body_limit: config.limits.body,
            config,
            inbox: BytesMut::new(),
            guard: InboxGuard::default(),
            outbox: Outbox::new(),
            state: State::START,
            parser: HeadParser::default(),
            decoder: Decoder::default(),
            encoder: Encoder::Done,
            asked: Asked::Other,
            version: Version::HTTP_11,
            waits_continue: false,
            discarding: None,
            rate: BodyRate::default(),
            handler: None,
            stall: WriteStall::new(),
            end: End::Open,
            closing: false,
            eof: false,
            error: None,
            exchange: 0,
            answers: 0,
            date: DateCache::default(),
            log,
        }
    }

    /// Sends an interim response (1xx, not 101). 100 answers `Expect: 100-continue`.
    pub fn send_informational<N: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        now: Instant,
        status: StatusCode,
        fields: impl IntoIterator<Item = (N, V)>,
    ) -> Result<(), Error> {
        self.check(now)?;
        // https://www.rfc-editor.org/rfc/rfc9110#section-15.2: never to a 1.0 client.
        let interim = status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS;
        if !interim || self.version == Version::HTTP_10 {
            return Err(self.misuse(Misuse::Status));
        }
        let state = self.transition(Transition::Interim)?;
        let mark = self.outbox.mark();
        let written = encode::status_line(&mut self.outbox, status.into())
            .and_then(|()| encode::fields(&mut self.outbox, fields))
            .and_then(|given| match given.content_length {
                Some(_) => Err(Misuse::FramingField),
                None => Ok(()),
            });
        self.settled(mark, written)?;
        self.outbox.put(b"\r\n");
        self.state = state;
        if status == StatusCode::CONTINUE {
            self.waits_continue = false;
        }
        self.log.record(observe::Event::Interim { exchange: self.exchange, status });
        self.watch_writes(now);
        Ok(())
    }

    /// Sends the head of the final response.
    ///
    /// The machine writes `connection`, `content-length`, `transfer-encoding` and, unless it is
    /// among the fields, `date`. Of a given `connection` only `close` is honoured; a given
    /// `content-length` must agree with `body` (an answer to HEAD and a 304 may carry any).
    /// With `Exact` (but 0) or `Unknown`, [`send_data`](Self::send_data) and
    /// [`send_end`](Self::send_end) follow, also for HEAD, where the bytes are dropped.
    ///
    /// A 101 with `upgrade` among the fields, or a 2xx to CONNECT, ends HTTP on this connection:
    /// see [`into_upgraded`](Self::into_upgraded).
    pub fn send_response<'a, N: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        now: Instant,
        line: impl Into<StatusLine<'a>>,
        fields: impl IntoIterator<Item = (N, V)>,
        body: BodySize,
    ) -> Result<(), Error> {
        self.check(now)?;
        let line = line.into();
        let status = line.status;
        if !self.awaits_response() {
            return Err(self.misuse(Misuse::OutOfTurn));
        }
        let switch = status == StatusCode::SWITCHING_PROTOCOLS
            || (self.asked == Asked::Connect && status.is_success());
        if status.is_informational() && !switch {
            return Err(self.misuse(Misuse::Status));
        }
        // Nothing of the request may be left when the connection changes its protocol.
        if switch && (self.state.request != Half::Done || self.state.switch != Switch::Offered) {
            return Err(self.misuse(Misuse::Status));
        }
        let body = if body == BodySize::Exact(0) { BodySize::Empty } else { body };
        if body != BodySize::Empty && (switch || has_no_content(status)) {
            return Err(self.misuse(Misuse::BodyForbidden));
        }
        let mark = self.outbox.mark();
        let written = self.write_response(now, line, fields, body, switch);
        let keep = self.settled(mark, written)?;
        self.encoder = match body {
            BodySize::Empty => Encoder::Done,
            _ if self.asked == Asked::Head => Encoder::Swallow,
            BodySize::Exact(length) => Encoder::Length(length),
            BodySize::Unknown if self.version == Version::HTTP_10 => Encoder::UntilClose,
            BodySize::Unknown => Encoder::Chunked,
        };
        let body = self.encoder != Encoder::Done;
        self.state = self.transition(Transition::ResponseHead { body, switch, keep })?;
        self.handler = None;
        self.answers += 1;
        self.log.record(observe::Event::Responded { exchange: self.exchange, status });
        if self.waits_continue {
            // https://www.rfc-editor.org/rfc/rfc9110#section-10.1.1: whether the body comes is
            // unknown now, so the connection ends with this answer.
            self.break_request();
        }
        self.settle(now);
        self.watch_writes(now);
        Ok(())
    }

    /// Writes the head; whether the connection is kept.
    fn write_response<N: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        now: Instant,
        line: StatusLine<'_>,
        fields: impl IntoIterator<Item = (N, V)>,
        body: BodySize,
        switch: bool,
    ) -> Result<bool, Misuse> {
        let outbox = &mut self.outbox;
        let status = line.status;
        encode::status_line(outbox, line)?;
        let given = encode::fields(outbox, fields)?;
        if status == StatusCode::SWITCHING_PROTOCOLS && given.upgrade.is_none() {
            return Err(Misuse::FramingField);
        }
        if let (false, Some(epoch)) = (given.date, self.config.epoch) {
            encode::field(outbox, b"date", self.date.at(epoch.unix(now)));
        }
        let to_head = self.asked == Asked::Head;
        let mut keep = self.state.keep && !self.closing && !given.close && !self.waits_continue;
        match (body, given.content_length) {
            (BodySize::Exact(length), None) => encode::content_length(outbox, length),
            (BodySize::Exact(length), Some(given)) if given == length => {
                encode::content_length(outbox, length);
            }
            (BodySize::Unknown, None) if self.version == Version::HTTP_11 => {
                outbox.put(b"transfer-encoding: chunked\r\n");
            }
            // https://www.rfc-editor.org/rfc/rfc9112#section-6.1: chunked is not for 1.0.
            (BodySize::Unknown, None) => keep &= to_head,
            // https://www.rfc-editor.org/rfc/rfc9110#section-8.6
            (BodySize::Empty, Some(length)) if to_head || status == StatusCode::NOT_MODIFIED => {
                encode::content_length(outbox, length);
            }
            (BodySize::Empty, None) if to_head || switch || has_no_content(status) => {}
            (BodySize::Empty, None | Some(0)) if !switch && !has_no_content(status) => {
                outbox.put(b"content-length: 0\r\n");
            }
            _ => return Err(Misuse::FramingField),
        }
        encode::connection(outbox, keep, self.version, switch);
        outbox.put(b"\r\n");
        Ok(keep)
    }

    /// Sends body bytes. Ask [`can_send`](Self::can_send) first; one chunk of overshoot is taken.
    pub fn send_data(&mut self, now: Instant, data: Bytes) -> Result<(), Rejected> {
        self.check(now)?;
        if !self.can_send() {
            return Err(Rejected::Full(data));
        }
        let queued = self.encoder.data(&mut self.outbox, data);
        queued.map_err(|misuse| self.misuse(misuse))?;
        self.watch_writes(now);
        Ok(())
    }

    /// Ends the response body. Trailers travel with a chunked body and are dropped with any other.
    pub fn send_end<N: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        now: Instant,
        trailers: impl IntoIterator<Item = (N, V)>,
    ) -> Result<(), Error> {
        self.check(now)?;
        self.encoder.check_end().map_err(|misuse| self.misuse(misuse))?;
        let mark = self.outbox.mark();
        let written = match self.encoder {
            Encoder::Chunked => encode::last_chunk(&mut self.outbox, trailers),
            _ => encode::check_trailers(trailers, |_, _| {}),
        };
        self.settled(mark, written)?;
        self.encoder = Encoder::Done;
        self.state = self.transition(Transition::ResponseEnd)?;
        self.settle(now);
        self.watch_writes(now);
        Ok(())
    }

    /// The response cannot be completed: the connection ends without the end of the body, so that
    /// the client can tell. (It cannot where the body was delimited by the end of the connection.)
    pub fn abort(&mut self, now: Instant) {
        if self.check(now).is_err() {
            return;
        }
        if let Some(state) = self.state.on(Transition::ResponseBroken) {
            self.state = state;
            self.encoder = Encoder::Done;
            self.settle(now);
        }
    }

    /// The rest of the request body is of no interest. A little is drained so that the connection
    /// can be reused; of more, or of what the client holds back, the connection ends after the
    /// answer. Call it before [`send_response`](Self::send_response), so that the head can say so.
    pub fn discard_body(&mut self, now: Instant) {
        if self.check(now).is_err() || self.state.request != Half::Body {
            return;
        }
        let cheap = self.decoder.known_rest().is_none_or(|rest| rest <= self.config.drain_bytes);
        if cheap && !self.waits_continue {
            self.discarding.get_or_insert(self.config.drain_bytes);
        } else {
            self.break_request();
            self.settle(now);
        }
    }

    /// Finish what is in flight, then stop: the next response says `connection: close`, an idle
    /// connection ends at once.
    pub fn close(&mut self, now: Instant) {
        if self.check(now).is_err() {
            return;
        }
        self.closing = true;
        if self.is_idle() && matches!(self.end, End::Open) {
            self.finish(now, CloseReason::Done);
        }
    }

    /// Replaces the handler's time limit for the current exchange, counted from `now`.
    pub fn set_handler_timeout(&mut self, now: Instant, limit: Option<Duration>) {
        if self.check(now).is_ok() && self.awaits_response() {
            self.handler = limit.map(|limit| now + limit);
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
        self.rate.lifted = true;
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

    /// Whether the client waits for `100 Continue` before it sends the body.
    pub fn awaits_continue(&self) -> bool {
        self.waits_continue && self.awaits_response()
    }

    /// Whether more request body can be pulled.
    pub fn body_open(&self) -> bool {
        self.state.request == Half::Body && self.discarding.is_none() && self.error.is_none()
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
    /// [`is_upgraded`](Self::is_upgraded).
    #[expect(clippy::result_large_err, reason = "the connection itself comes back")]
    pub fn into_upgraded(self) -> Result<(BytesMut, Outbox), Self> {
        if self.is_upgraded() { Ok((self.inbox, self.outbox)) } else { Err(self) }
    }

    /// Runs what is due, then lets a verb through or repeats the fatal error.
    fn check(&mut self, now: Instant) -> Result<(), Error> {
        self.handle_timeout(now);
        match (self.error, self.end) {
            (Some(error), _) => Err(error),
            (None, End::Open) => Ok(()),
            (None, _) => {
                Err(Error { kind: Kind::Closed, phase: Phase::Idle, delivery: Delivery::Processed })
            }
        }
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

    fn transition(&self, transition: Transition) -> Result<State, Error> {
        self.state.on(transition).ok_or_else(|| self.misuse(Misuse::OutOfTurn))
    }

    /// Takes back what a refused command wrote.
    fn settled<T>(&mut self, mark: usize, written: Result<T, Misuse>) -> Result<T, Error> {
        written.map_err(|misuse| {
            self.outbox.rollback(mark);
            self.misuse(misuse)
        })
    }

    fn watch_writes(&mut self, now: Instant) {
        self.stall.observe(&self.outbox, now, self.config.write_stall);
    }

    /// The rest of the request will not be looked at; nothing can follow it.
    fn break_request(&mut self) {
        if let Some(state) = self.state.on(Transition::RequestBroken) {
            self.state = state;
        }
        self.waits_continue = false;
        self.timer = None;
    }

    /// Starts the next exchange or ends the connection, where the current exchange is over.
    fn settle(&mut self, now: Instant) {
        let outcome = self.state.outcome();
        let reusable = outcome == Outcome::Next;
        if outcome == Outcome::Running {
            return;
        }
        self.log.record(observe::Event::ExchangeEnded { exchange: self.exchange, reusable });
        self.timer = None;
        self.handler = None;
        self.discarding = None;
        self.waits_continue = false;
        match outcome {
            Outcome::Running => {}
            Outcome::Next => {
                self.state = State::START;
                self.asked = Asked::Other;
                self.body_limit = self.config.limits.body;
                if self.inbox.is_empty() {
                    self.timer = Some(Deadline { at: now + self.config.idle, why: Timer::Idle });
                }
            }
            Outcome::Over => self.finish(now, CloseReason::Done),
            Outcome::Switched => {
                self.log.record(observe::Event::Upgraded { exchange: self.exchange });
            }
        }
    }

    /// Ends the connection in a way that lets the client read the last answer.
    /// <https://www.rfc-editor.org/rfc/rfc9112#section-9.6>
    fn finish(&mut self, now: Instant, reason: CloseReason) {
        self.timer = None;
        self.handler = None;
        self.end = End::Lingering { reason, left: self.config.linger_bytes };
        self.linger(now);
    }

    fn closed(&mut self, reason: CloseReason) {
        self.timer = None;
        self.handler = None;
        self.end = End::Closed(reason);
        self.log.record(observe::Event::Closed(reason));
    }

    /// Throws away what still comes, until the client closes or has had its time.
    fn linger(&mut self, now: Instant) {
        let End::Lingering { reason, left } = &mut self.end else { return };
        let reason = *reason;
        *left = left.saturating_sub(self.inbox.len() as u64);
        let exhausted = *left == 0;
        self.inbox.clear();
        if !self.outbox.is_empty() {
            return;
        }
        if self.eof || exhausted {
            self.closed(reason);
        } else if self.timer.is_none() {
            self.timer = Some(Deadline { at: now + self.config.linger, why: Timer::Linger });
        }
    }

    /// Ends the connection with an error, and with the answer that it deserves.
    fn fail(&mut self, now: Instant, kind: Kind, phase: Phase) -> Error {
        let delivery = match phase {
            Phase::Idle | Phase::RequestHead => Delivery::Refused,
            _ => Delivery::MaybeProcessed,
        };
        let error = Error { kind, phase, delivery };
        self.error = Some(error);
        self.log.record(observe::Event::Failed(error));
        if let (Half::Idle, Some(status)) = (self.state.response, error.status()) {
            self.answer_error(now, status);
        }
        self.encoder = Encoder::Done;
        self.waits_continue = false;
        let unheard =
            matches!(kind, Kind::Truncated | Kind::InboxEdited | Kind::Timeout(Timer::WriteStall));
        if matches!(kind, Kind::Timeout(Timer::WriteStall)) {
            self.outbox.clear();
        }
        if unheard {
            self.closed(CloseReason::Failed);
        } else {
            self.finish(now, CloseReason::Failed);
        }
        self.watch_writes(now);
        error
    }

    /// A problem document without any internal text: <https://www.rfc-editor.org/rfc/rfc9457>
    fn answer_error(&mut self, now: Instant, status: StatusCode) {
        let title = status.canonical_reason().unwrap_or_default();
        let body = format!("{{\"title\":\"{title}\",\"status\":{}}}", status.as_u16());
        let outbox = &mut self.outbox;
        // A status line without a reason of our own cannot be refused.
        let _ = encode::status_line(outbox, status.into());
        if let Some(epoch) = self.config.epoch {
            encode::field(outbox, b"date", self.date.at(epoch.unix(now)));
        }
        encode::field(outbox, b"content-type", b"application/problem+json");
        encode::content_length(outbox, body.len() as u64);
        outbox.put(b"connection: close\r\n\r\n");
        if self.asked != Asked::Head {
            outbox.put(body.as_bytes());
        }
        self.log.record(observe::Event::Responded { exchange: self.exchange, status });
    }

    /// Parses on demand.
    fn advance(&mut self, now: Instant) -> Result<Option<ServerEvent>, Error> {
        if !matches!(self.end, End::Open) {
            self.linger(now);
            return Ok(None);
        }
        loop {
            match self.state.request {
                Half::Idle => return self.next_request(now),
                Half::Body => {
                    if let Some(event) = self.next_body(now)? {
                        return Ok(Some(event));
                    }
                    // A drained body lets the next request in.
                    if self.state.request != Half::Idle {
                        return Ok(None);
                    }
                }
                Half::Done | Half::Broken => return Ok(None),
            }
        }
    }

    fn next_request(&mut self, now: Instant) -> Result<Option<ServerEvent>, Error> {
        if !matches!(self.end, End::Open) {
            return Ok(None);
        }
        if self.inbox.is_empty() {
            if self.eof {
                self.closed(CloseReason::PeerClosed);
            } else if self.closing {
                self.finish(now, CloseReason::Done);
            }
            return Ok(None);
        }
        if self.outbox.is_empty() {
            self.answers = 0;
        }
        // Pipelined requests wait while the client does not read the answers.
        if self.answers >= self.config.limits.pipeline || self.outbox.is_full() {
            return Ok(None);
        }
        match self.parser.poll(&mut self.inbox, &self.config.limits) {
            Err(kind) => Err(self.fail(now, kind, Phase::RequestHead)),
            Ok(Some(parsed)) => self.accept(now, parsed).map(Some),
            Ok(None) if self.inbox.is_empty() => Ok(None),
            Ok(None) if self.eof => Err(self.fail(now, Kind::Truncated, Phase::RequestHead)),
            Ok(None) => {
                if self.timer.is_none_or(|timer| timer.why != Timer::HeaderRead) {
                    let at = now + self.config.header_read;
                    self.timer = Some(Deadline { at, why: Timer::HeaderRead });
                }
                Ok(None)
            }
        }
    }

    /// A whole head: decides the framing of what follows.
    fn accept(&mut self, now: Instant, parsed: Parsed<RequestFirst>) -> Result<ServerEvent, Error> {
        let version = parsed.first.version;
        let framing = parsed.framing.request(version);
        let keep = parsed.framing.keeps_alive(version);
        let head = parsed.into_head();
        let checked = framing.and_then(|framing| upgrade::check(&head).map(|()| framing));
        let framing = match checked {
            Ok(framing) => framing,
            Err(violation) => {
                return Err(self.fail(now, Kind::Peer(violation), Phase::RequestHead));
            }
        };
        let body = match framing {
            Framing::Length(length) => BodySize::Exact(length),
            Framing::Chunked => BodySize::Unknown,
            _ => BodySize::Empty,
        };
        self.exchange += 1;
        self.version = version;
        self.asked = Asked::from(head.method());
        self.decoder = Decoder::new(framing);
        let has_body = body != BodySize::Empty;
        self.waits_continue = head.expects_continue() && has_body && self.inbox.is_empty();
        let switch = head.upgrade().is_some() || self.asked == Asked::Connect;
        self.state = self.transition(Transition::RequestHead { body: has_body, switch, keep })?;
        self.handler = self.config.handler.map(|limit| now + limit);
        self.timer = None;
        if has_body {
            self.rate.lifted = self.config.body_rate == 0;
            self.rate.mark = None;
            self.rate.starved_at = None;
            self.measure_body(now);
        }
        self.log.record(observe::Event::RequestStarted { exchange: self.exchange });
        Ok(ServerEvent::Request { head, body })
    }

    fn next_body(&mut self, now: Instant) -> Result<Option<ServerEvent>, Error> {
        loop {
            if !self.inbox.is_empty() {
                self.waits_continue = false;
            }
            let limits = &self.config.limits;
            let polled = self.decoder.poll(&mut self.inbox, limits, self.body_limit, self.eof);
            match polled.map_err(|kind| self.fail(now, kind, Phase::RequestBody))? {
                None => {
                    self.rate.starved_at = Some(self.inbox.len());
                    return Ok(None);
                }
                Some(Decoded::Data(data)) => {
                    self.rate.starved_at = None;
                    let Some(left) = &mut self.discarding else {
                        return Ok(Some(ServerEvent::Data(data)));
                    };
                    match left.checked_sub(data.len() as u64) {
                        Some(rest) => *left = rest,
                        None => {
                            self.break_request();
                            self.settle(now);
                            return Ok(None);
                        }
                    }
                }
                Some(Decoded::End(trailers)) => {
                    self.state = self.transition(Transition::RequestEnd)?;
                    self.timer = None;
                    let discarded = self.discarding.take().is_some();
                    self.settle(now);
                    return Ok((!discarded).then_some(ServerEvent::End(trailers)));
                }
            }
        }
    }

    fn measure_body(&mut self, now: Instant) {
        self.timer = (!self.rate.lifted)
            .then_some(Deadline { at: now + self.config.body_grace, why: Timer::BodyRead });
    }

    /// The end of a window: whether the peer was too slow in it.
    fn body_too_slow(&mut self) -> bool {
        let received = self.rate.received.saturating_add(self.inbox.len() as u64);
        let waiting = self.rate.starved_at == Some(self.inbox.len()) && self.wants_read();
        let due = u64::from(self.config.body_rate)
            .saturating_mul(self.config.body_grace.as_millis() as u64)
            / 1000;
        let slow = self.rate.mark.is_some_and(|mark| received.saturating_sub(mark) < due);
        // Waiting for `100 Continue` is not slowness: it is ours to send.
        self.rate.mark = (waiting && !self.waits_continue).then_some(received);
        slow && self.rate.mark.is_some()
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
        let before = self.inbox.len();
        let polled = match self.error {
            Some(error) => {
                self.linger(now);
                Err(error)
            }
            None => self.advance(now),
        };
        let consumed = before.saturating_sub(self.inbox.len());
        self.rate.received = self.rate.received.saturating_add(consumed as u64);
        self.guard.remember(&self.inbox);
        self.watch_writes(now);
        polled
    }

    fn handle_timeout(&mut self, now: Instant) {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if !due(self.deadline().map(|deadline| deadline.at)) {
            return;
        }
        if self.stall.expired(&self.outbox, now, self.config.write_stall) {
            if self.error.is_none() {
                self.fail(now, Kind::Timeout(Timer::WriteStall), self.phase());
            } else {
                self.outbox.clear();
                self.closed(CloseReason::Failed);
            }
            return;
        }
        if due(self.handler) {
            self.handler = None;
            self.fail(now, Kind::Timeout(Timer::Handler), Phase::ResponseHead);
            return;
        }
        let Some(timer) = self.timer.filter(|timer| timer.at <= now) else { return };
        self.timer = None;
        match timer.why {
            // What came in the meantime deserves a look.
            Timer::FirstByte | Timer::Idle if !self.inbox.is_empty() => {
                let at = now + self.config.header_read;
                self.timer = Some(Deadline { at, why: Timer::HeaderRead });
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
                if let End::Lingering { reason, .. } = self.end {
                    self.closed(reason);
                }
            }
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Deadline> {
        let handler = self.handler.map(|at| Deadline { at, why: Timer::Handler });
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
            End::Lingering { .. } => true,
            End::Closed(_) => false,
        }
    }

    fn handle_eof(&mut self, now: Instant) {
        self.handle_timeout(now);
        self.eof = true;
        self.linger(now);
    }

    fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    fn status(&self) -> Status {
        match self.end {
            _ if !self.outbox.is_empty() => Status::Open,
            End::Open => Status::Open,
            End::Lingering { .. } => Status::HalfClose,
            End::Closed(reason) => Status::Close(reason),
        }
    }

    fn rest(&mut self) {
        if self.inbox.is_empty() {
            self.inbox = BytesMut::new();
        }
        self.outbox.rest();
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
