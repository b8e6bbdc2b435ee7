//! What the server sends: heads and bodies, parsed on demand.

use http::StatusCode;

use crate::error::{Delivery, Error, Kind, Limit, Phase, Violation};
use crate::head::{ResponseHead, slice};
use crate::http1::body::{Decoded, Decoder};
use crate::http1::framing::Framing;
use crate::http1::message::BodySize;
use crate::http1::parse::{HeadParser, ResponseFirst};
use crate::http1::state::{Half, Transition};
use crate::http1::upgrade;
use crate::machine::CloseReason;
use crate::observe::{self};
use crate::time::{Instant, Timer};

use super::{Client, ClientEvent};

impl Client {
    /// Parses on demand.
    #[inline]
    pub(super) fn advance(&mut self, now: Instant) -> Result<Option<ClientEvent>, Error> {
        if let Some(error) = self.error {
            self.inbox.clear();
            return Err(error);
        }
        if self.closed.is_some() {
            self.inbox.clear();
            return Ok(None);
        }
        if self.continue_due {
            self.continue_due = false;
            return Ok(Some(ClientEvent::Continue));
        }
        match (self.state.request, self.state.response) {
            (Half::Idle, _) => {
                if !self.inbox.is_empty() {
                    // https://www.rfc-editor.org/rfc/rfc9112#section-9.2
                    let unasked = Kind::Peer(Violation::UnexpectedResponse);
                    return Err(self.fail(unasked, Phase::Idle));
                }
                if self.eof {
                    self.close_with(CloseReason::PeerClosed);
                }
                Ok(None)
            }
            (_, Half::Idle) if self.inbox.is_empty() && !self.eof => Ok(None),
            (_, Half::Idle) if self.is_premature() => {
                // https://www.rfc-editor.org/rfc/rfc9112#section-9.2
                let unasked = Kind::Peer(Violation::UnexpectedResponse);
                Err(self.fail(unasked, Phase::ResponseHead))
            }
            (_, Half::Idle) => self.next_response(now),
            (_, Half::Body) => self.next_body(now),
            (_, Half::Done | Half::Broken) => Ok(None),
        }
    }

    pub(super) fn next_response(&mut self, now: Instant) -> Result<Option<ClientEvent>, Error> {
        let mut parser = HeadParser::default();
        if self.partial.is_some() {
            if !self.go_on(&mut parser)? {
                return Ok(None);
            }
        } else {
            match parser.poll(&mut self.partial, &mut self.inbox, &self.config.limits) {
                Ok(true) => {}
                Ok(false) => return self.await_head(Box::new(parser)),
                Err(kind) => return Err(self.fail(kind, Phase::ResponseHead)),
            }
        }
        self.accept(now, &mut parser)
    }

    /// Goes on with a head of which a part was looked at; whether all of it was now.
    #[cold]
    #[inline(never)]
    fn go_on(&mut self, whole: &mut HeadParser<ResponseFirst>) -> Result<bool, Error> {
        let Some(mut parser) = self.partial.take() else { return Ok(false) };
        match parser.poll(&mut self.partial, &mut self.inbox, &self.config.limits) {
            Ok(true) => {
                *whole = *parser;
                Ok(true)
            }
            Ok(false) => self.await_head(parser).map(|_| false),
            Err(kind) => Err(self.fail(kind, Phase::ResponseHead)),
        }
    }

    /// The rest of a head has not come yet.
    #[cold]
    fn await_head(
        &mut self,
        parser: Box<HeadParser<ResponseFirst>>,
    ) -> Result<Option<ClientEvent>, Error> {
        if self.eof {
            return Err(self.fail(Kind::Truncated, Phase::ResponseHead));
        }
        self.partial.keep(parser);
        Ok(None)
    }

    /// A whole head: decides the framing of what follows.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "the head is written to where it goes")]
    fn accept(
        &mut self,
        now: Instant,
        parser: &mut HeadParser<ResponseFirst>,
    ) -> Result<Option<ClientEvent>, Error> {
        let Some(first) = parser.first() else { return Ok(None) };
        let (status, version) = (first.status, first.version);
        if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
            return self.accept_interim(status, parser);
        }
        let fields = parser.framing();
        let keep = fields.keeps_alive(version);
        let chosen = fields.upgrade(version);
        let framing = match fields.response(version, status, &self.asked) {
            Ok(framing) => framing,
            Err(violation) => return Err(self.fail(Kind::Peer(violation), Phase::ResponseHead)),
        };
        if status == StatusCode::SWITCHING_PROTOCOLS {
            // https://www.rfc-editor.org/rfc/rfc9110#section-7.8: only to what was offered, and not
            // before the request is complete.
            let sound = self.state.request == Half::Done
                && chosen.is_some_and(|(start, len)| {
                    upgrade::is_offered(&self.offered, slice(&self.inbox, start, len))
                });
            if !sound {
                let kind = Kind::Peer(Violation::UnexpectedSwitch);
                return Err(self.fail(kind, Phase::ResponseHead));
            }
        }
        if let Framing::Length(length) = framing
            && length > self.config.limits.body
        {
            return Err(self.fail(Kind::Limit(Limit::Body), Phase::ResponseBody));
        }
        let Some(head) = self.take_head(parser) else { return Ok(None) };
        let says_when = || head.header("retry-after").is_some();
        self.verdict = Some(Delivery::of_answer(status, says_when));
        let body = match framing {
            Framing::Empty | Framing::Tunnel => BodySize::Empty,
            Framing::Length(length) => BodySize::Exact(length),
            Framing::Chunked | Framing::UntilClose => BodySize::Unknown,
        };
        let switch = framing == Framing::Tunnel;
        let keep = keep && framing != Framing::UntilClose;
        let has_body = body != BodySize::Empty;
        self.decoder = Decoder::new(framing);
        let Some(state) = self.state.on(Transition::ResponseHead { body: has_body, switch, keep })
        else {
            let kind = Kind::Peer(Violation::UnexpectedSwitch);
            return Err(self.fail(kind, Phase::ResponseHead));
        };
        self.state = state;
        self.log.record(observe::Event::Responded { exchange: self.exchange, status });
        if self.pipeline.is_some() {
            self.judge_pipeline(now, version);
        }
        // A final answer instead of `100 Continue`: the body may still be sent, nobody waits.
        self.wait_continue = None;
        if has_body {
            self.await_body(now);
        }
        self.settle(now);
        Ok(Some(ClientEvent::Response { head, body }))
    }

    fn accept_interim(
        &mut self,
        status: StatusCode,
        parser: &mut HeadParser<ResponseFirst>,
    ) -> Result<Option<ClientEvent>, Error> {
        if self.interim >= self.config.limits.interim {
            return Err(self.fail(Kind::Limit(Limit::Interim), Phase::ResponseHead));
        }
        self.interim += 1;
        self.log.record(observe::Event::Interim { exchange: self.exchange, status });
        if status == StatusCode::CONTINUE && self.waits_continue {
            self.waits_continue = false;
            self.wait_continue = None;
            self.continue_due = true;
        }
        Ok(self.take_head(parser).map(ClientEvent::Informational))
    }

    fn take_head(&mut self, parser: &mut HeadParser<ResponseFirst>) -> Option<ResponseHead> {
        let first = parser.take_first()?;
        let before = self.inbox.len();
        let head = parser.take_head(first, &mut self.inbox);
        self.taken = self.taken.saturating_add((before - self.inbox.len()) as u64);
        Some(head)
    }

    pub(super) fn next_body(&mut self, now: Instant) -> Result<Option<ClientEvent>, Error> {
        let limits = &self.config.limits;
        let before = self.inbox.len();
        let polled = self.decoder.poll(&mut self.inbox, limits, limits.body, self.eof);
        self.taken = self.taken.saturating_add((before - self.inbox.len()) as u64);
        match polled.map_err(|kind| self.fail(kind, Phase::ResponseBody))? {
            None => Ok(None),
            Some(Decoded::Data(data)) => {
                self.await_body(now);
                Ok(Some(ClientEvent::Data(data)))
            }
            Some(Decoded::End(trailers)) => {
                self.state = self.transition(Transition::ResponseEnd)?;
                self.timer = None;
                self.settle(now);
                match trailers {
                    Some(trailers) => Ok(Some(ClientEvent::End(Some(*trailers)))),
                    None => Ok(Some(ClientEvent::End(None))),
                }
            }
        }
    }

    /// The next piece of the body must come within the limit.
    pub(super) fn await_body(&mut self, now: Instant) {
        self.received_mark = self.received();
        self.arm(Timer::BodyRead, self.between_bytes.map(|limit| now + limit));
    }
}
