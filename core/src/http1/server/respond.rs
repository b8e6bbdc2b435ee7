//! What the application sends.

use bytes::Bytes;
use http::{StatusCode, Version};

use crate::error::{Error, Misuse};
use crate::http1::body::Encoder;
use crate::http1::encode::{self, Given};
use crate::http1::field::{FieldName, FieldValue};
use crate::http1::framing::{Asked, has_no_content};
use crate::http1::message::{BodySize, Rejected, StatusLine};
use crate::http1::state::{Half, Switch, Transition};
use crate::http1::upgrade;
use crate::machine::CloseReason;
use crate::observe::{self};
use crate::outbox::Outbox;
use crate::time::Instant;

use super::{End, Server};

impl Server {
    /// Sends an interim response (1xx, not 101). 100 answers `Expect: 100-continue`.
    pub fn send_informational<N: FieldName, V: FieldValue>(
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
        let written = Self::write_interim(&mut self.outbox, status, fields);
        written.map_err(|misuse| self.misuse(misuse))?;
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
    pub fn send_response<'a, N: FieldName, V: FieldValue>(
        &mut self,
        now: Instant,
        line: impl Into<StatusLine<'a>>,
        fields: impl IntoIterator<Item = (N, V)>,
        body: BodySize,
    ) -> Result<(), Error> {
        self.respond(now, line.into(), fields, body, None)
    }

    /// Sends a final response whose body is here: the same as
    /// [`send_response`](Self::send_response), [`send_data`](Self::send_data) and
    /// [`send_end`](Self::send_end), in one go, and all of it or nothing.
    ///
    /// It is taken above the high-water mark, too: one response of overshoot.
    pub fn send_whole<'a, N: FieldName, V: FieldValue>(
        &mut self,
        now: Instant,
        line: impl Into<StatusLine<'a>>,
        fields: impl IntoIterator<Item = (N, V)>,
        body: Bytes,
    ) -> Result<(), Error> {
        let size = BodySize::Exact(body.len() as u64);
        self.respond(now, line.into(), fields, size, Some(body))
    }

    /// With `whole`, nothing follows the head but these bytes.
    fn respond<N: FieldName, V: FieldValue>(
        &mut self,
        now: Instant,
        line: StatusLine<'_>,
        fields: impl IntoIterator<Item = (N, V)>,
        body: BodySize,
        whole: Option<Bytes>,
    ) -> Result<(), Error> {
        self.check(now)?;
        let status = line.status;
        if !self.awaits_response() {
            return Err(self.misuse(Misuse::OutOfTurn));
        }
        let switch = status == StatusCode::SWITCHING_PROTOCOLS
            || (self.asked == Asked::Connect && status.is_success());
        if status.is_informational() && !switch {
            return Err(self.misuse(Misuse::Status));
        }
        if switch && self.state.switch != Switch::Offered {
            return Err(self.misuse(Misuse::Upgrade));
        }
        // Nothing of the request may be left when the connection changes its protocol.
        if switch && self.state.request != Half::Done {
            return Err(self.misuse(Misuse::OutOfTurn));
        }
        let body = if body == BodySize::Exact(0) { BodySize::Empty } else { body };
        // https://www.rfc-editor.org/rfc/rfc9110#section-15.3.6: a 205 is framed, and empty.
        let empty = switch || has_no_content(status) || status == StatusCode::RESET_CONTENT;
        if body != BodySize::Empty && empty {
            return Err(self.misuse(Misuse::BodyForbidden));
        }
        let written = self.write_response(now, &line, fields, body, switch);
        let keep = written.map_err(|misuse| self.misuse(misuse))?;
        self.encoder = match body {
            BodySize::Empty => Encoder::Done,
            _ if whole.is_some() => Encoder::Done,
            _ if self.asked == Asked::Head => Encoder::Swallow,
            BodySize::Exact(length) => Encoder::Length(length),
            BodySize::Unknown if self.version == Version::HTTP_10 => Encoder::UntilClose,
            BodySize::Unknown => Encoder::Chunked,
        };
        let body = self.encoder != Encoder::Done;
        self.state = self.transition(Transition::ResponseHead { body, switch, keep })?;
        if let Some(whole) = whole
            && self.asked != Asked::Head
        {
            self.bodies.sent += whole.len() as u64;
            self.outbox.push(whole);
        }
        self.handler = Instant::MAX;
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

    fn write_interim<N: FieldName, V: FieldValue>(
        outbox: &mut Outbox,
        status: StatusCode,
        fields: impl IntoIterator<Item = (N, V)>,
    ) -> Result<(), Misuse> {
        let mut head = outbox.draft();
        encode::status_line(&mut head, &status.into())?;
        let mut given = Given::default();
        given.write(&mut head, fields)?;
        if given.content_length.is_some() {
            return Err(Misuse::ContentLength);
        }
        head.put(b"\r\n");
        head.finish();
        Ok(())
    }

    /// Writes the head; whether the connection is kept.
    pub(super) fn write_response<N: FieldName, V: FieldValue>(
        &mut self,
        now: Instant,
        line: &StatusLine<'_>,
        fields: impl IntoIterator<Item = (N, V)>,
        body: BodySize,
        switch: bool,
    ) -> Result<bool, Misuse> {
        let mut head = self.outbox.draft();
        let status = line.status;
        encode::status_line(&mut head, line)?;
        let mut given = Given::default();
        given.write(&mut head, fields)?;
        if let Some(lines) = line.lines {
            head.put(lines.as_bytes());
        }
        // https://www.rfc-editor.org/rfc/rfc9110#section-7.8: to what was offered, and say to what.
        if status == StatusCode::SWITCHING_PROTOCOLS
            && !(given.upgrade.as_ref().zip(self.offered.as_ref()))
                .is_some_and(|(chosen, offered)| upgrade::is_offered(offered, chosen))
        {
            return Err(Misuse::Upgrade);
        }
        if let (false, Some(epoch)) = (given.date, self.config.epoch) {
            head.put(self.date.line(epoch, now));
        }
        let to_head = self.asked == Asked::Head;
        let mut keep = self.state.keep && !self.closing && !given.close && !self.waits_continue;
        match (body, given.content_length) {
            (BodySize::Exact(length), None) => encode::content_length(&mut head, length),
            (BodySize::Exact(length), Some(given)) if given == length => {
                encode::content_length(&mut head, length);
            }
            (BodySize::Unknown, None) if self.version == Version::HTTP_11 => {
                head.put(b"transfer-encoding: chunked\r\n");
            }
            // https://www.rfc-editor.org/rfc/rfc9112#section-6.1: chunked is not for 1.0.
            (BodySize::Unknown, None) => keep &= to_head,
            // https://www.rfc-editor.org/rfc/rfc9110#section-8.6
            (BodySize::Empty, Some(length)) if to_head || status == StatusCode::NOT_MODIFIED => {
                encode::content_length(&mut head, length);
            }
            (BodySize::Empty, None) if to_head || switch || has_no_content(status) => {}
            (BodySize::Empty, None | Some(0)) if !switch && !has_no_content(status) => {
                head.put(b"content-length: 0\r\n");
            }
            _ => return Err(Misuse::ContentLength),
        }
        // On a connection that leaves HTTP nothing is kept, and nothing closed.
        let upgrade = switch || given.upgrade.is_some();
        encode::connection(&mut head, keep || switch, self.version, upgrade);
        head.put(b"\r\n");
        head.finish();
        Ok(keep)
    }

    /// Sends body bytes. Ask [`can_send`](Self::can_send) first; one chunk of overshoot is taken.
    pub fn send_data(&mut self, now: Instant, data: Bytes) -> Result<(), Rejected> {
        self.check(now)?;
        if !self.can_send() {
            return Err(Rejected::Full(data));
        }
        let bytes = if self.encoder == Encoder::Swallow { 0 } else { data.len() as u64 };
        let queued = self.encoder.data(&mut self.outbox, data);
        queued.map_err(|misuse| self.misuse(misuse))?;
        self.bodies.sent += bytes;
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
        let written = self.encoder.end(&mut self.outbox, trailers);
        written.map_err(|misuse| self.misuse(misuse))?;
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
            if !self.discarding {
                self.discarding = true;
                self.discards = self.config.drain_bytes;
            }
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

    /// The rest of the request will not be looked at; nothing can follow it.
    pub(super) fn break_request(&mut self) {
        if let Some(state) = self.state.on(Transition::RequestBroken) {
            self.state = state;
        }
        self.waits_continue = false;
        self.timer = None;
    }
}
