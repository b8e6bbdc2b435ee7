//! What the peer sends: heads and bodies, parsed on demand.

use crate::error::{Error, Kind, Phase, Violation};
use crate::head::{WEBSOCKET_KEY, slice};
use crate::http1::body::{Decoded, Decoder};
use crate::http1::framing::{Asked, Framing};
use crate::http1::message::{BodyBytes, BodySize};
use crate::http1::parse::{HeadParser, RequestFirst};
use crate::http1::state::{Half, Transition};
use crate::http1::upgrade;
use crate::machine::{CloseReason, Wire};
use crate::observe::{self};
use crate::time::{Instant, Timer};

use super::{End, Known, Server, ServerEvent};

impl Server {
    /// Parses on demand.
    #[inline]
    pub(super) fn advance(&mut self, now: Instant) -> Result<Option<ServerEvent>, Error> {
        if let Some(error) = self.error {
            self.linger(now);
            return Err(error);
        }
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

    #[inline]
    pub(super) fn next_request(&mut self, now: Instant) -> Result<Option<ServerEvent>, Error> {
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
        let mut parser = HeadParser::default();
        if self.partial.is_some() {
            if !self.go_on(now, &mut parser)? {
                return Ok(None);
            }
        } else {
            match parser.poll(&mut self.partial, &mut self.inbox, &self.config.limits) {
                Ok(true) => {}
                Ok(false) => return self.await_head(now, Box::new(parser)),
                Err(kind) => return Err(self.fail(now, kind, Phase::RequestHead)),
            }
        }
        self.accept(now, &mut parser)
    }

    /// Goes on with a head of which a part was looked at; whether all of it was now.
    #[cold]
    #[inline(never)]
    fn go_on(&mut self, now: Instant, whole: &mut HeadParser<RequestFirst>) -> Result<bool, Error> {
        let Some(mut parser) = self.partial.take() else { return Ok(false) };
        match parser.poll(&mut self.partial, &mut self.inbox, &self.config.limits) {
            Ok(true) => {
                *whole = *parser;
                Ok(true)
            }
            Ok(false) => self.await_head(now, parser).map(|_| false),
            Err(kind) => Err(self.fail(now, kind, Phase::RequestHead)),
        }
    }

    /// The rest of a head has not come yet.
    #[cold]
    fn await_head(
        &mut self,
        now: Instant,
        parser: Box<HeadParser<RequestFirst>>,
    ) -> Result<Option<ServerEvent>, Error> {
        if self.inbox.is_empty() {
            return Ok(None);
        }
        self.partial.keep(parser);
        if self.eof {
            return Err(self.fail(now, Kind::Truncated, Phase::RequestHead));
        }
        // Half of an empty line is as little of a head as a whole one.
        if *self.inbox != *b"\r" && self.timer.is_none_or(|timer| timer.why != Timer::HeaderRead) {
            self.arm(Timer::HeaderRead, now + self.config.header_read);
        }
        Ok(None)
    }

    /// A whole head: decides the framing of what follows.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "the head is written to where it goes")]
    fn accept(
        &mut self,
        now: Instant,
        parser: &mut HeadParser<RequestFirst>,
    ) -> Result<Option<ServerEvent>, Error> {
        let Some(first) = parser.first() else { return Ok(None) };
        let version = first.version;
        let fields = parser.framing();
        let framing = match fields.request(version) {
            Ok(framing) => framing,
            Err(violation) => return Err(self.refuse(now, violation)),
        };
        let offered = match fields.upgrade(version) {
            None => None,
            Some(at) => match Self::check_offer(first, parser, &self.inbox, at) {
                Ok(offered) => Some(offered),
                Err(violation) => return Err(self.refuse(now, violation)),
            },
        };
        let body = match framing {
            Framing::Length(length) => BodySize::Exact(length),
            Framing::Chunked => BodySize::Unknown,
            _ => BodySize::Empty,
        };
        self.exchange += 1;
        self.bodies = BodyBytes::default();
        self.version = version;
        self.asked = Asked::from(&first.method);
        let has_body = body != BodySize::Empty;
        // Whatever is here already need not be that body: a client that holds it back may ask on.
        self.waits_continue = fields.expects_continue(version) && has_body;
        let switch = offered.is_some() || self.asked == Asked::Connect;
        let keep = fields.keeps_alive(version);
        self.offered = offered;
        self.state = self.transition(Transition::RequestHead { body: has_body, switch, keep })?;
        self.arm_handler(self.config.handler.map(|limit| now + limit));
        self.timer = None;
        if has_body {
            self.decoder = Decoder::new(framing);
            self.rate_lifted = self.config.body_rate == 0;
            self.rate.mark = Known::NONE;
            self.rate.starved_at = Known::NONE;
            self.measure_body(now);
        }
        self.log.record(observe::Event::RequestStarted { exchange: self.exchange });
        let Some(first) = parser.take_first() else { return Ok(None) };
        let head = parser.take_head(first, &mut self.inbox);
        Ok(Some(ServerEvent::Request { head, body }))
    }

    #[cold]
    fn refuse(&mut self, now: Instant, violation: Violation) -> Error {
        self.fail(now, Kind::Peer(violation), Phase::RequestHead)
    }

    /// The protocols that a head offers to switch to.
    #[cold]
    fn check_offer(
        first: &RequestFirst,
        parser: &HeadParser<RequestFirst>,
        inbox: &[u8],
        (start, len): (u16, u16),
    ) -> Result<Box<[u8]>, Violation> {
        let offered = slice(inbox, start, len);
        upgrade::check(&first.method, offered, parser.values(inbox, WEBSOCKET_KEY))?;
        Ok(offered.into())
    }

    pub(super) fn next_body(&mut self, now: Instant) -> Result<Option<ServerEvent>, Error> {
        loop {
            if !self.inbox.is_empty() {
                self.waits_continue = false;
            }
            let limits = &self.config.limits;
            let before = self.inbox.len();
            let polled = self.decoder.poll(&mut self.inbox, limits, self.body_limit, self.eof);
            let taken = before.saturating_sub(self.inbox.len());
            self.rate.taken = self.rate.taken.saturating_add(taken as u64);
            match polled.map_err(|kind| self.fail(now, kind, Phase::RequestBody))? {
                None => {
                    self.rate.starved_at = Known(self.inbox.len() as u64);
                    return Ok(None);
                }
                Some(Decoded::Data(data)) => {
                    self.rate.starved_at = Known::NONE;
                    self.bodies.received += data.len() as u64;
                    if !self.discarding {
                        return Ok(Some(ServerEvent::Data(data)));
                    }
                    match self.discards.checked_sub(data.len() as u64) {
                        Some(rest) => self.discards = rest,
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
                    let discarded = core::mem::take(&mut self.discarding);
                    self.settle(now);
                    let trailers = trailers.map(|trailers| *trailers);
                    return Ok((!discarded).then_some(ServerEvent::End(trailers)));
                }
            }
        }
    }

    pub(super) fn measure_body(&mut self, now: Instant) {
        self.timer = None;
        if !self.rate_lifted {
            self.arm(Timer::BodyRead, now + self.config.body_grace);
        }
    }

    /// The end of a window: whether the peer was too slow in it.
    pub(super) fn body_too_slow(&mut self) -> bool {
        let received = self.rate.taken.saturating_add(self.inbox.len() as u64);
        let waiting = self.rate.starved_at == Known(self.inbox.len() as u64) && self.wants_read();
        let due = u64::from(self.config.body_rate)
            .saturating_mul(self.config.body_grace.as_millis() as u64)
            / 1000;
        let slow = self.rate.mark.get().is_some_and(|mark| received.saturating_sub(mark) < due);
        // Waiting for `100 Continue` is not slowness: it is ours to send.
        let measured = waiting && !self.waits_continue;
        self.rate.mark = if measured { Known(received) } else { Known::NONE };
        slow && measured
    }
}
