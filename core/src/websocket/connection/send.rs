//! The verbs, and the frames that they become.

use bytes::{Bytes, BytesMut};

use super::{Connection, Rejected, Stage};
use crate::error::{Error, Misuse, Phase};
use crate::machine::CloseReason;
use crate::time::Instant;
use crate::websocket::close::{CloseCode, REASON_MAX, Side};
use crate::websocket::frame::{CONTROL_MAX, Header, Opcode};
use crate::websocket::message::Message;

/// Payloads up to this many bytes are masked on their way into the outbox; larger ones in place, or
/// in a copy that the outbox then holds by reference.
const COPIED: usize = 1024;

const USAGE: fn(Misuse) -> Error = |misuse| Error::usage(misuse, Phase::WebSocket);

const fn opcode(message: &Message) -> Opcode {
    match message {
        Message::Text(_) => Opcode::Text,
        Message::Binary(_) => Opcode::Binary,
    }
}

/// Refuses what a close frame cannot say.
pub(super) fn check_close(code: CloseCode, reason: &str) -> Result<(), Error> {
    let sound = code.is_sendable() && reason.len() <= REASON_MAX;
    if sound { Ok(()) } else { Err(USAGE(Misuse::CloseCode)) }
}

impl Connection {
    /// Sends a message. Ask [`can_send`](Self::can_send) first; one message of overshoot is taken.
    ///
    /// # Errors
    ///
    /// The message, where the queue is full; `Usage` after [`close`](Self::close); `Closed` once the
    /// connection is over; the fatal error.
    pub fn send_message(&mut self, now: Instant, message: Message) -> Result<(), Rejected> {
        // Where there is nothing to look at, the connection is open.
        if !self.is_quiet(now) {
            self.check_open(now)?;
        }
        if self.outbox.len() >= self.config.limits.queued {
            return Err(Rejected::Full(message));
        }
        // Most are small, and go out as they are.
        if message.len() <= COPIED && message.len() <= self.config.frame && !self.is_packing() {
            let opcode = opcode(&message);
            let header = Header { fin: true, rsv1: false, opcode, mask: None, len: 0 };
            self.put_small(header, message.as_bytes());
        } else {
            self.put_packed(message);
        }
        self.queued(now);
        Ok(())
    }

    /// Asks for a sign of life, or gives one to what lies between. The peer answers with the same
    /// payload.
    ///
    /// # Errors
    ///
    /// `Usage`: more than 125 bytes, after [`close`](Self::close), or where
    /// [`can_send`](Self::can_send) is false; `Closed` once the connection is over; the fatal error.
    pub fn send_ping(&mut self, now: Instant, payload: &[u8]) -> Result<(), Error> {
        self.check_open(now)?;
        if payload.len() > CONTROL_MAX {
            return Err(USAGE(Misuse::ControlTooLong));
        }
        if !self.can_send() {
            return Err(USAGE(Misuse::OutOfTurn));
        }
        self.put_ping(payload);
        self.queued(now);
        Ok(())
    }

    /// Closes: what is queued is still sent, then a close frame. What the peer sent before it answers
    /// is still told. A second call does nothing.
    ///
    /// # Errors
    ///
    /// `Usage` for a code that must not be sent, or a reason of more than 123 bytes; `Closed` once
    /// the connection is over; the fatal error.
    pub fn close(&mut self, now: Instant, code: CloseCode, reason: &str) -> Result<(), Error> {
        self.close_behind(now, code, reason, [])
    }

    /// Closes behind these messages, whether or not there is room for them.
    pub(in crate::websocket) fn close_behind(
        &mut self,
        now: Instant,
        code: CloseCode,
        reason: &str,
        messages: impl IntoIterator<Item = Message>,
    ) -> Result<(), Error> {
        self.check(now)?;
        check_close(code, reason)?;
        if self.is_open() {
            for message in messages {
                self.put_packed(message);
            }
            self.put_close(Some(code), reason);
            self.enter(Stage::Closing { until: None });
            self.queued(now);
        }
        Ok(())
    }

    /// Drops the connection, and what is queued, without a word.
    pub fn abort(&mut self, now: Instant) {
        self.tick(now);
        match self.stage {
            Stage::Open | Stage::Closing { .. } => {
                self.untold = Some(self.abnormal(Side::Local));
                self.outbox.clear();
                self.over(CloseReason::Done);
            }
            Stage::Draining { reason, .. } => {
                self.outbox.clear();
                self.over(reason);
            }
            Stage::Over(_) => {}
        }
    }

    #[inline(never)]
    fn check_open(&mut self, now: Instant) -> Result<(), Error> {
        self.check(now)?;
        if self.is_open() { Ok(()) } else { Err(USAGE(Misuse::OutOfTurn)) }
    }

    /// Whether messages may have to be compressed.
    #[cfg_attr(
        not(feature = "deflate"),
        expect(clippy::unused_self, reason = "with the feature it is used")
    )]
    const fn is_packing(&self) -> bool {
        #[cfg(feature = "deflate")]
        return self.codec.is_some();
        #[cfg(not(feature = "deflate"))]
        false
    }

    #[cfg(feature = "deflate")]
    fn deflate(&mut self, payload: &[u8]) -> Option<Bytes> {
        self.codec.as_mut()?.deflate(payload)
    }

    #[cfg(not(feature = "deflate"))]
    #[expect(clippy::unused_self, reason = "with the feature it is used")]
    fn deflate(&self, _: &[u8]) -> Option<Bytes> {
        None
    }

    /// A message, compressed where that was agreed on.
    #[inline(never)]
    fn put_packed(&mut self, message: Message) {
        let (opcode, payload) = (opcode(&message), message.into_bytes());
        match self.deflate(&payload) {
            None => self.put_message(opcode, false, payload),
            Some(packed) => self.put_message(opcode, true, packed),
        }
    }

    /// A message in as many frames as it needs.
    fn put_message(&mut self, opcode: Opcode, rsv1: bool, message: Bytes) {
        if message.len() <= self.config.frame {
            self.put_frame(Header { fin: true, rsv1, opcode, mask: None, len: 0 }, message);
        } else {
            self.put_frames(opcode, rsv1, message);
        }
    }

    #[inline(never)]
    fn put_frames(&mut self, mut opcode: Opcode, mut rsv1: bool, mut rest: Bytes) {
        let frame = self.config.frame;
        while !rest.is_empty() {
            let piece = rest.split_to(frame.min(rest.len()));
            let fin = rest.is_empty();
            self.put_large(Header { fin, rsv1, opcode, mask: None, len: 0 }, piece);
            opcode = Opcode::Continuation;
            rsv1 = false;
        }
    }

    pub(super) fn put_ping(&mut self, payload: &[u8]) {
        self.put_control(Opcode::Ping, payload);
    }

    pub(super) fn put_pong(&mut self, payload: &[u8]) {
        self.put_control(Opcode::Pong, payload);
    }

    pub(super) fn put_close(&mut self, code: Option<CloseCode>, reason: &str) {
        let mut payload = [0; CONTROL_MAX];
        let mut len = 0;
        if let Some(code) = code {
            payload[..2].copy_from_slice(&code.as_u16().to_be_bytes());
            len = 2 + reason.len().min(REASON_MAX);
            payload[2..len].copy_from_slice(&reason.as_bytes()[..len - 2]);
        }
        self.put_control(Opcode::Close, &payload[..len]);
    }

    fn put_control(&mut self, opcode: Opcode, payload: &[u8]) {
        let header = Header { fin: true, rsv1: false, opcode, mask: None, len: 0 };
        self.put_small(header, payload);
    }

    /// A frame; its length and mask are filled in behind this.
    #[inline]
    fn put_frame(&mut self, header: Header, payload: Bytes) {
        if payload.len() <= COPIED {
            self.put_small(header, &payload);
        } else {
            self.put_large(header, payload);
        }
    }

    #[inline(never)]
    fn put_large(&mut self, header: Header, payload: Bytes) {
        let mask = self.masks.as_mut().map(|masks| masks.draw());
        self.put_header(Header { mask, len: payload.len() as u64, ..header });
        let payload = match mask {
            None => payload,
            Some(mask) => {
                // In place, where nobody else holds it.
                let mut own =
                    payload.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
                mask.apply(&mut own, 0);
                own.freeze()
            }
        };
        self.outbox.push(payload);
    }

    #[expect(clippy::inline_always, reason = "a tenth of what a small message costs")]
    #[inline(always)]
    fn put_small(&mut self, header: Header, payload: &[u8]) {
        let mask = self.masks.as_mut().map(|masks| masks.draw());
        let header = Header { mask, len: payload.len() as u64, ..header };
        let size = header.size();
        let mut draft = self.outbox.draft();
        let (head, body) = draft.room(size + payload.len()).split_at_mut(size);
        header.write(head);
        body.copy_from_slice(payload);
        if let Some(mask) = mask {
            mask.apply(body, 0);
        }
        draft.finish();
    }

    #[inline]
    fn put_header(&mut self, header: Header) {
        let mut draft = self.outbox.draft();
        header.write(draft.room(header.size()));
        draft.finish();
    }
}
