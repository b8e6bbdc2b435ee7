//! What the application sends.

use bytes::Bytes;
use http::{Method, Version};

use crate::error::{Delivery, Error, Kind, Misuse, Phase};
use crate::head::is_host;
use crate::http1::body::Encoder;
use crate::http1::encode::{self, Given};
use crate::http1::field::{FieldName, FieldValue};
use crate::http1::framing::Asked;
use crate::http1::message::{BodySize, Rejected, RequestLine};
use crate::http1::state::{Half, Transition};
use crate::machine::CloseReason;
use crate::observe::{self};
use crate::time::{Instant, Timer};

use super::Client;

impl Client {
    /// Sends a request head.
    ///
    /// The machine writes `host`, `connection`, `content-length` and `transfer-encoding` by itself.
    /// A `host` among the fields takes precedence over the line's authority; of a given
    /// `connection` only `close` is honoured; a given `content-length` must agree with `body`; an
    /// `upgrade` offers to switch protocols. With `Exact` (but 0) or `Unknown`,
    /// [`send_data`](Self::send_data) and [`send_end`](Self::send_end) follow.
    ///
    /// Behind requests that are on their way: where [`can_pipeline`](Self::can_pipeline) says so.
    pub fn send_request<N: FieldName, V: FieldValue>(
        &mut self,
        now: Instant,
        line: RequestLine<'_>,
        fields: impl IntoIterator<Item = (N, V)>,
        body: BodySize,
    ) -> Result<(), Error> {
        self.check(now)?;
        let body = if body == BodySize::Exact(0) { BodySize::Empty } else { body };
        let follows = !self.reusable();
        if follows && !(body == BodySize::Empty && self.can_pipeline(line.method)) {
            // A server that spoke or left in between cannot answer this request.
            let kind = match self.state.request {
                Half::Idle => Kind::Closed,
                _ => Kind::Usage(Misuse::OutOfTurn),
            };
            return Err(Error { kind, phase: Phase::Idle, delivery: Delivery::NotSent });
        }
        let sent_mark = self.outbox.drained() + self.outbox.len() as u64;
        let written = self.write_request(line, fields, body, follows);
        let given = written.map_err(|misuse| self.misuse(misuse))?;
        if follows {
            self.follow(now, Asked::from(line.method), sent_mark, !given.close);
            return Ok(());
        }
        let has_body = body != BodySize::Empty;
        let switch = given.upgrade.is_some() || *line.method == Method::CONNECT;
        let keep = !given.close && !self.closing;
        self.state = self.transition(Transition::RequestHead { body: has_body, switch, keep })?;
        self.encoder = match body {
            BodySize::Empty => Encoder::Done,
            BodySize::Exact(length) => Encoder::Length(length),
            BodySize::Unknown => Encoder::Chunked,
        };
        self.offered = given.upgrade.unwrap_or_default();
        self.waits_continue = has_body && given.expects_continue;
        self.arm_continue(self.waits_continue.then_some(now + self.config.continue_wait));
        self.continue_due = false;
        if let Some(pipeline) = &mut self.pipeline {
            pipeline.lead(now, !switch && !given.expects_continue && line.method.is_idempotent());
        }
        self.begin(now, Asked::from(line.method), sent_mark);
        self.log.record(observe::Event::RequestStarted { exchange: self.exchange });
        self.watch_writes(now);
        Ok(())
    }

    /// The next answer belongs to this request.
    #[inline]
    pub(super) fn begin(&mut self, now: Instant, asked: Asked, sent_mark: u64) {
        self.asked = asked;
        self.verdict = None;
        self.sent_mark = sent_mark;
        self.interim = 0;
        self.between_bytes = self.config.between_bytes;
        self.exchange += 1;
        self.arm(Timer::ResponseHead, self.config.response_head.map(|wait| now + wait));
    }

    pub(super) fn write_request<N: FieldName, V: FieldValue>(
        &mut self,
        line: RequestLine<'_>,
        fields: impl IntoIterator<Item = (N, V)>,
        body: BodySize,
        follows: bool,
    ) -> Result<Given, Misuse> {
        let mut head = self.outbox.draft();
        encode::request_line(&mut head, line)?;
        let mut given = Given::default();
        given.write(&mut head, fields)?;
        if follows && given.upgrade.is_some() {
            // Nothing can be on its way behind a change of protocol.
            return Err(Misuse::OutOfTurn);
        }
        if !given.host {
            // https://www.rfc-editor.org/rfc/rfc9112#section-3.2
            // A connection leads to one host: what was sound the last time still is.
            if self.host.is_empty() || self.host != line.authority {
                if !is_host(line.authority) {
                    return Err(Misuse::Host);
                }
                self.host.clear();
                self.host.extend_from_slice(line.authority);
            }
            encode::field(&mut head, b"host", line.authority);
        }
        match (body, given.content_length) {
            (BodySize::Exact(length), None) => encode::content_length(&mut head, length),
            (BodySize::Exact(length), Some(given)) if given == length => {
                encode::content_length(&mut head, length);
            }
            (BodySize::Unknown, None) => head.put(b"transfer-encoding: chunked\r\n"),
            // https://www.rfc-editor.org/rfc/rfc9110#section-8.6: where a method anticipates
            // content, its absence is said.
            (BodySize::Empty, None | Some(0)) => {
                let anticipates = [Method::POST, Method::PUT, Method::PATCH];
                if given.content_length.is_some() || anticipates.contains(line.method) {
                    encode::content_length(&mut head, 0);
                }
            }
            _ => return Err(Misuse::ContentLength),
        }
        let keep = !given.close && !self.closing;
        encode::connection(&mut head, keep, Version::HTTP_11, given.upgrade.is_some());
        head.put(b"\r\n");
        head.finish();
        Ok(given)
    }

    /// Sends body bytes. Ask [`can_send`](Self::can_send) first; one chunk of overshoot is taken.
    ///
    /// Once the response is complete the bytes are dropped: nobody reads them.
    pub fn send_data(&mut self, now: Instant, data: Bytes) -> Result<(), Rejected> {
        self.check(now)?;
        if self.state.request == Half::Body && !self.can_send() {
            return Err(Rejected::Full(data));
        }
        let queued = self.encoder.data(&mut self.outbox, data);
        queued.map_err(|misuse| self.misuse(misuse))?;
        self.watch_writes(now);
        Ok(())
    }

    /// Ends the request body. Trailers travel with a chunked body and are dropped with any other.
    pub fn send_end<N: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        now: Instant,
        trailers: impl IntoIterator<Item = (N, V)>,
    ) -> Result<(), Error> {
        self.check(now)?;
        let written = self.encoder.end(&mut self.outbox, trailers);
        written.map_err(|misuse| self.misuse(misuse))?;
        self.wait_continue = None;
        self.waits_continue = false;
        self.state = self.transition(Transition::RequestEnd)?;
        self.settle(now);
        self.watch_writes(now);
        Ok(())
    }

    /// The request body cannot be completed. The connection ends after the response, or at once
    /// where none has begun.
    pub fn abort(&mut self, now: Instant) {
        if self.check(now).is_err() || self.state.request != Half::Body {
            return;
        }
        self.encoder = Encoder::Done;
        self.wait_continue = None;
        if let Some(state) = self.state.on(Transition::RequestBroken) {
            self.state = state;
        }
        if self.state.response == Half::Idle {
            self.outbox.clear();
            self.close_with(CloseReason::Done);
        }
        self.settle(now);
    }
}
