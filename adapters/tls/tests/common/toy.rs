//! A wire that passes bytes through, with everything a real one has: limits, an end, a timer.

use bytes::{Bytes, BytesMut};
use sinew_core::error::{Delivery, Error, Kind, Phase};
use sinew_core::machine::{CloseReason, Layered, Machine, Status, Wire};
use sinew_core::outbox::Outbox;
use sinew_core::time::{Deadline, Instant};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToyEvent {
    Data(Bytes),
    /// The peer said that this was all.
    End,
}

#[derive(Debug, Default)]
pub struct Toy {
    pub inbox: BytesMut,
    pub outbox: Outbox,
    /// What `is_self_delimited` says.
    pub delimited: bool,
    /// Nobody pulls.
    pub paused: bool,
    pub timer: Option<Deadline>,
    pub error: Option<Error>,
    eof: bool,
    ended: bool,
    then: Option<Status>,
}

/// Above this the toy wants no more input.
pub const INBOX: usize = 8 * 1024;
/// What one `Data` holds at most.
const PIECE: usize = 4 * 1024;

impl Toy {
    pub fn send(&mut self, bytes: impl Into<Bytes>) {
        self.outbox.push(bytes.into());
    }

    pub fn can_send(&self) -> bool {
        !self.outbox.is_full()
    }

    pub fn close(&mut self) {
        self.then = Some(Status::Close(CloseReason::Done));
    }

    pub fn half_close(&mut self) {
        self.then = Some(Status::HalfClose);
    }

    pub fn fail(&mut self, kind: Kind) {
        self.error = Some(Error { kind, phase: Phase::Idle, delivery: Delivery::MaybeProcessed });
    }
}

impl Machine for Toy {
    type Event = ToyEvent;
    type Error = Error;

    fn poll_event(&mut self, now: Instant) -> Result<Option<ToyEvent>, Error> {
        self.handle_timeout(now);
        if let Some(error) = self.error {
            self.inbox.clear();
            return Err(error);
        }
        if self.paused {
            return Ok(None);
        }
        if !self.inbox.is_empty() {
            let len = self.inbox.len().min(PIECE);
            return Ok(Some(ToyEvent::Data(self.inbox.split_to(len).freeze())));
        }
        if self.eof && !self.ended {
            self.ended = true;
            return Ok(Some(ToyEvent::End));
        }
        Ok(None)
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.timer.is_some_and(|timer| timer.at <= now) {
            self.timer = None;
            self.then = Some(Status::Close(CloseReason::Idle));
        }
    }

    fn deadline(&self) -> Option<Deadline> {
        self.timer
    }
}

impl Wire for Toy {
    fn inbox(&mut self) -> &mut BytesMut {
        &mut self.inbox
    }

    fn wants_read(&self) -> bool {
        !self.eof && self.inbox.len() < INBOX
    }

    fn handle_eof(&mut self, _: Instant) {
        self.eof = true;
    }

    fn is_self_delimited(&self) -> bool {
        self.delimited
    }

    fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    fn status(&self) -> Status {
        match self.then {
            Some(status) if self.outbox.is_empty() => status,
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

impl Layered for Toy {
    type Top = Self;

    fn top(&mut self) -> &mut Self {
        self
    }

    fn top_ref(&self) -> &Self {
        self
    }
}
