//! Frames in: one event at a time, no more than was asked for.

use bytes::{Buf, Bytes};
use core::time::Duration;

use super::{Connection, Event};
use crate::error::{Kind, Limit, Violation};
use crate::observe;
use crate::time::Instant;
use crate::websocket::close;
#[cfg(feature = "deflate")]
use crate::websocket::deflate::Flaw;
use crate::websocket::frame::{Header, Opcode, Rules};
use crate::websocket::message::{Message, Text, make_room};
use crate::websocket::utf8::{NotUtf8, Utf8};

/// A frame of which the header was read, and taken out of the inbox.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    header: Header,
    /// Bytes of the payload; they fit the memory, as the limit does.
    len: usize,
    /// So many of them have left the inbox.
    taken: usize,
    /// So many at the start of the inbox were unmasked, and checked.
    ready: usize,
}

impl Open {
    /// Bytes that the inbox has to hold for the frame to be complete.
    pub(super) const fn wanted(&self) -> usize {
        self.len - self.taken
    }

    pub(super) const fn is_control(&self) -> bool {
        self.header.opcode.is_control()
    }
}

/// A message that is put together.
#[derive(Debug)]
pub(super) struct Assembly {
    text: bool,
    compressed: bool,
    fragments: u32,
    data: Vec<u8>,
}

impl Assembly {
    fn append(&mut self, piece: &[u8], limit: usize) {
        make_room(&mut self.data, piece.len(), limit);
        self.data.extend_from_slice(piece);
    }
}

/// Pings of the peer in the second that runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct PingRate {
    since: Instant,
    count: u32,
}

impl PingRate {
    pub(super) const fn new(now: Instant) -> Self {
        Self { since: now, count: 0 }
    }

    fn count(&mut self, now: Instant) -> u32 {
        if now - self.since >= Duration::from_secs(1) {
            *self = Self::new(now);
        }
        self.count = self.count.saturating_add(1);
        self.count
    }
}

impl From<NotUtf8> for Kind {
    fn from(_: NotUtf8) -> Self {
        Self::Peer(Violation::Utf8)
    }
}

impl Connection {
    /// The next event; `None` where more bytes are needed, or room in the outbox.
    pub(super) fn receive(&mut self, now: Instant) -> Result<Option<Event>, Kind> {
        loop {
            if self.is_held_back() {
                return Ok(None);
            }
            let frame = if self.frame.is_some() { self.frame.take() } else { self.begin()? };
            let Some(frame) = frame else { return Ok(None) };
            if frame.header.opcode.is_control() {
                return self.control(frame, now);
            }
            let event = match &self.message {
                Some(_) => self.streamed(frame)?,
                None => self.whole(frame)?,
            };
            if event.is_some() || self.frame.is_some() {
                return Ok(event);
            }
        }
    }

    /// Takes a message that is all there, in one frame, out of the inbox: most are. `None`: there is
    /// none, or there is more to look at.
    #[inline]
    pub(super) fn take_plain(&mut self, now: Instant) -> Option<Message> {
        let begun = self.frame.is_some() || self.message.is_some();
        if begun || self.held || !self.guard.holds(&self.inbox) || !self.is_quiet(now) {
            return None;
        }
        let (text, mask, at) = Header::parse_plain(&self.inbox, self.masks.is_none())?;
        let payload = self.inbox.get_mut(at.clone())?;
        if payload.len() > self.config.limits.frame {
            return None;
        }
        let ascii = match mask {
            Some(mask) => mask.apply_to_text(payload),
            None => !text || payload.is_ascii(),
        };
        if text && !ascii && core::str::from_utf8(payload).is_err() {
            // Put back, for whoever looks closer.
            if let Some(mask) = mask {
                mask.apply(payload, 0);
            }
            return None;
        }
        let mut payload = self.inbox.split_to(at.end).freeze();
        payload.advance(at.start);
        self.guard.remember(&self.inbox);
        self.drained = false;
        Some(message(text, payload))
    }

    /// Takes a header out of the inbox, if it is all there.
    #[inline]
    fn begin(&mut self) -> Result<Option<Open>, Kind> {
        let rules = Rules {
            masked: self.masks.is_none(),
            #[cfg(feature = "deflate")]
            deflate: self.codec.is_some(),
            #[cfg(not(feature = "deflate"))]
            deflate: false,
            continuing: self.message.is_some(),
        };
        let Some((header, size)) = Header::parse(&self.inbox, rules).map_err(Kind::Peer)? else {
            return Ok(None);
        };
        let limits = &self.config.limits;
        let control = header.opcode.is_control();
        let fits = |len: &usize| control || *len <= limits.frame;
        let len = usize::try_from(header.len).ok().filter(fits);
        let len = len.ok_or(Kind::Limit(Limit::Frame))?;
        if !control {
            match &mut self.message {
                Some(message) => {
                    message.fragments += 1;
                    if message.fragments > limits.fragments {
                        return Err(Kind::Limit(Limit::Fragments));
                    }
                    // What a compressed message takes is counted as it is unpacked.
                    if !message.compressed && len > limits.message - message.data.len() {
                        return Err(Kind::Limit(Limit::Message));
                    }
                }
                None => {
                    self.utf8 = Utf8::default();
                    if !header.rsv1 && len > limits.message {
                        return Err(Kind::Limit(Limit::Message));
                    }
                    if !header.fin || header.rsv1 {
                        let text = header.opcode == Opcode::Text;
                        let compressed = header.rsv1;
                        self.message =
                            Some(Assembly { text, compressed, fragments: 1, data: Vec::new() });
                    }
                }
            }
        }
        self.inbox.advance(size);
        Ok(Some(Open { header, len, taken: 0, ready: 0 }))
    }

    /// A message in one frame stays in the inbox until it is complete, and leaves it as a slice.
    #[inline]
    fn whole(&mut self, mut frame: Open) -> Result<Option<Event>, Kind> {
        let have = self.inbox.len().min(frame.len);
        let fresh = &mut self.inbox[frame.ready..have];
        if let Some(mask) = frame.header.mask {
            mask.apply(fresh, frame.ready);
        }
        let text = frame.header.opcode == Opcode::Text;
        if text {
            self.utf8.push(fresh)?;
        }
        frame.ready = have;
        if have < frame.len {
            self.frame = Some(frame);
            return Ok(None);
        }
        if text && !self.utf8.is_complete() {
            return Err(Kind::Peer(Violation::Utf8));
        }
        let payload = self.inbox.split_to(have).freeze();
        Ok(Some(Event::Message(message(text, payload))))
    }

    /// A piece of a message leaves the inbox as it comes.
    fn streamed(&mut self, mut frame: Open) -> Result<Option<Event>, Kind> {
        let Some(message) = &mut self.message else { return Ok(None) };
        let have = self.inbox.len().min(frame.wanted());
        let fresh = &mut self.inbox[..have];
        if let Some(mask) = frame.header.mask {
            mask.apply(fresh, frame.taken);
        }
        frame.taken += have;
        let last = frame.wanted() == 0 && frame.header.fin;
        let before = message.data.len();
        let limit = self.config.limits.message;
        #[cfg(feature = "deflate")]
        let unpacked = match (&mut self.codec, message.compressed) {
            (Some(codec), true) => {
                let piece = codec.inflate(fresh, &mut message.data, limit);
                let done = |()| if last { codec.finish(&mut message.data, limit) } else { Ok(()) };
                let unpacked = piece.and_then(done);
                // No more than the limit is looked at, however the bytes were cut.
                message.data.truncate(limit);
                unpacked
            }
            _ => {
                message.append(fresh, limit);
                Ok(())
            }
        };
        #[cfg(not(feature = "deflate"))]
        message.append(fresh, limit);
        self.inbox.advance(have);
        if message.text {
            self.utf8.push(&message.data[before..])?;
        }
        #[cfg(feature = "deflate")]
        unpacked.map_err(|flaw| match flaw {
            Flaw::Corrupt => Kind::Peer(Violation::Deflate),
            Flaw::TooLong => Kind::Limit(Limit::Message),
        })?;
        self.frame = (frame.wanted() > 0).then_some(frame);
        if !last {
            return Ok(None);
        }
        if message.text && !self.utf8.is_complete() {
            return Err(Kind::Peer(Violation::Utf8));
        }
        let Some(Assembly { text, data, .. }) = self.message.take() else { return Ok(None) };
        Ok(Some(Event::Message(self::message(text, Bytes::from(data)))))
    }

    fn control(&mut self, frame: Open, now: Instant) -> Result<Option<Event>, Kind> {
        let answered = frame.header.opcode == Opcode::Ping && self.is_open();
        self.paused = answered && self.outbox.len() >= self.config.limits.queued;
        if self.inbox.len() < frame.len || self.paused {
            // The mask is taken off once, when all of it is there.
            self.frame = Some(frame);
            return Ok(None);
        }
        let mut payload = self.inbox.split_to(frame.len);
        if let Some(mask) = frame.header.mask {
            mask.apply(&mut payload, 0);
        }
        let payload = payload.freeze();
        match frame.header.opcode {
            Opcode::Ping => {
                if self.pings.count(now) > self.config.limits.pings {
                    return Err(Kind::Limit(Limit::Pings));
                }
                if answered {
                    self.put_pong(&payload);
                }
                Ok(Some(Event::Ping(payload)))
            }
            Opcode::Pong => {
                let heartbeat = self.heartbeat.as_mut();
                match heartbeat.and_then(|heartbeat| heartbeat.pong(&payload, now)) {
                    Some(rtt) => {
                        self.log.record(observe::Event::RoundTrip { rtt });
                        self.receive(now)
                    }
                    None => Ok(Some(Event::Pong(payload))),
                }
            }
            _ => {
                let (code, reason) = close::read(&payload).map_err(Kind::Peer)?;
                Ok(Some(self.closed(code, reason)))
            }
        }
    }
}

fn message(text: bool, payload: Bytes) -> Message {
    if text { Message::Text(Text::checked(payload)) } else { Message::Binary(payload) }
}
