//! What the peer sends: heads and bodies, parsed on demand.

use crate::error::{Error, Kind, Phase};
use crate::head::{WEBSOCKET_KEY, slice};
use crate::http1::body::{Decoded, Decoder};
use crate::http1::framing::{Asked, Framing};
use crate::http1::message::{BodyBytes, BodySize};
use crate::http1::state::{Half, Transition};
use crate::http1::upgrade;
use crate::machine::{CloseReason, Wire};
use crate::observe::{self};
use crate::time::{Instant, Timer};

use super::{End, Server, ServerEvent};

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
        match self.parser.poll(&mut self.inbox, &self.config.limits) {
            Err(kind) => Err(self.fail(now, kind, Phase::RequestHead)),
            Ok(true) => self.accept(now),
            Ok(false) if self.inbox.is_empty() => Ok(None),
            Ok(false) if self.eof => Err(self.fail(now, Kind::Truncated, Phase::RequestHead)),
            // Half of an empty line is as little of a head as a whole one.
            Ok(false) if *self.inbox == *b"\r" => Ok(None),
            Ok(false) => {
                if self.timer.is_none_or(|timer| timer.why != Timer::HeaderRead) {
                    self.arm(Timer::HeaderRead, now + self.config.header_read);
                }
                Ok(None)
            }
        }
    }

    /// A whole head: decides the framing of what follows.
    #[inline]
    pub(super) fn accept(&mut self, now: Instant) -> Result<Option<ServerEvent>, Error> {
        let Some(first) = self.parser.first() else { return Ok(None) };
        let version = first.version;
        let fields = self.parser.framing();
        let offered = fields.upgrade(version).map(|(start, len)| slice(&self.inbox, start, len));
        let framing = fields.request(version).and_then(|framing| match offered {
            Some(offered) => {
                let keys = self.parser.values(&self.inbox, WEBSOCKET_KEY);
                upgrade::check(&first.method, offered, keys).map(|()| framing)
            }
            None => Ok(framing),
        });
        let framing = match framing {
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
        self.bodies = BodyBytes::default();
        self.version = version;
        self.asked = Asked::from(&first.method);
        self.decoder = Decoder::new(framing);
        let has_body = body != BodySize::Empty;
        // Whatever is here already need not be that body: a client that holds it back may ask on.
        self.waits_continue = fields.expects_continue(version) && has_body;
        let switch = offered.is_some() || self.asked == Asked::Connect;
        let keep = fields.keeps_alive(version);
        self.offered = offered.map(<[u8]>::to_vec).unwrap_or_default();
        self.state = self.transition(Transition::RequestHead { body: has_body, switch, keep })?;
        self.arm_handler(self.config.handler.map(|limit| now + limit));
        self.timer = None;
        if has_body {
            self.rate.lifted = self.config.body_rate == 0;
            self.rate.mark = None;
            self.rate.starved_at = None;
            self.measure_body(now);
        }
        self.log.record(observe::Event::RequestStarted { exchange: self.exchange });
        let Some(first) = self.parser.take_first() else { return Ok(None) };
        let head = self.parser.take_head(first, &mut self.inbox);
        Ok(Some(ServerEvent::Request { head, body }))
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
                    self.rate.starved_at = Some(self.inbox.len());
                    return Ok(None);
                }
                Some(Decoded::Data(data)) => {
                    self.rate.starved_at = None;
                    self.bodies.received += data.len() as u64;
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
                    let trailers = trailers.map(|trailers| *trailers);
                    return Ok((!discarded).then_some(ServerEvent::End(trailers)));
                }
            }
        }
    }

    pub(super) fn measure_body(&mut self, now: Instant) {
        self.timer = None;
        if !self.rate.lifted {
            self.arm(Timer::BodyRead, now + self.config.body_grace);
        }
    }

    /// The end of a window: whether the peer was too slow in it.
    pub(super) fn body_too_slow(&mut self) -> bool {
        let received = self.rate.taken.saturating_add(self.inbox.len() as u64);
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
