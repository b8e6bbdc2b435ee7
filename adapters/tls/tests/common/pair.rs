//! Two ends, two pipes, one virtual clock.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use sinew_core::Wire;
use sinew_core::machine::{CloseReason, Seen, Step};
use sinew_core::time::{Deadline, Instant};
use sinew_tls::Error;

/// One direction of a connection.
#[derive(Debug)]
pub struct Pipe {
    pub bytes: VecDeque<u8>,
    pub shut: bool,
    pub capacity: usize,
}

impl Pipe {
    fn new() -> Self {
        Self { bytes: VecDeque::new(), shut: false, capacity: 16 * 1024 }
    }
}

/// A machine and what its driver knows.
pub struct End<W: Wire> {
    pub wire: W,
    pub events: Vec<W::Event>,
    pub error: Option<Error>,
    pub closed: Option<CloseReason>,
    pub half_closed: bool,
    pub deadline: Option<Deadline>,
    /// The most bytes that ever waited in the inbox and in the outbox.
    pub peak: (usize, usize),
    /// Bytes that `produce` still wants sent.
    pub to_send: Vec<u8>,
    seen: Seen,
    eof_told: bool,
}

impl<W: Wire> End<W>
where
    W::Error: Into<Error>,
{
    pub fn new(wire: W) -> Self {
        Self {
            wire,
            events: Vec::new(),
            error: None,
            closed: None,
            half_closed: false,
            deadline: None,
            peak: (0, 0),
            to_send: Vec::new(),
            seen: Seen::default(),
            eof_told: false,
        }
    }

    /// Something was commanded from outside.
    pub fn nudge(&mut self) {
        self.seen.drained = false;
    }

    pub fn timeout(&mut self, now: Instant) {
        if self.closed.is_none() {
            self.wire.handle_timeout(now);
            self.seen.drained = false;
        }
    }

    /// Does what `step` says until it waits. `cut` says how many bytes a read or write takes.
    pub fn run(
        &mut self,
        incoming: &mut Pipe,
        outgoing: &mut Pipe,
        now: Instant,
        cut: &mut dyn FnMut() -> usize,
        produce: &mut dyn FnMut(&mut W, &mut Vec<u8>) -> bool,
    ) -> bool {
        let mut progress = false;
        if self.closed.is_some() {
            return false;
        }
        self.seen.read_blocked &= incoming.bytes.is_empty() && (!incoming.shut || self.eof_told);
        self.seen.write_blocked &= outgoing.bytes.len() >= outgoing.capacity;
        for _ in 0..1_000_000 {
            let step = self.wire.step(self.seen);
            self.peak.0 = self.peak.0.max(self.wire.inbox().len());
            self.peak.1 = self.peak.1.max(self.wire.outbox().len());
            progress |= !matches!(step, Step::Wait(_));
            match step {
                Step::Poll => {
                    self.seen.producer_waits = produce(&mut self.wire, &mut self.to_send);
                    match self.wire.poll_event(now) {
                        Ok(Some(event)) => self.events.push(event),
                        Ok(None) => {
                            assert!(self.error.is_none(), "an error does not stick");
                            self.drained(now);
                        }
                        Err(error) => {
                            let error = error.into();
                            assert!(self.error.as_ref().is_none_or(|old| *old == error));
                            self.error = Some(error);
                            self.drained(now);
                        }
                    }
                }
                Step::Write => {
                    let room = outgoing.capacity.saturating_sub(outgoing.bytes.len());
                    let outbox = self.wire.outbox();
                    let len = outbox.chunk().len().min(cut()).min(room);
                    if len == 0 {
                        self.seen.write_blocked = true;
                        continue;
                    }
                    outgoing.bytes.extend(&outbox.chunk()[..len]);
                    outbox.advance(len);
                    self.seen.drained = false;
                }
                Step::Read => {
                    let len = incoming.bytes.len().min(cut());
                    if len > 0 {
                        let bytes: BytesMut = incoming.bytes.drain(..len).collect();
                        self.wire.inbox().extend_from_slice(&bytes);
                        self.seen.drained = false;
                    } else if incoming.shut && incoming.bytes.is_empty() && !self.eof_told {
                        self.eof_told = true;
                        self.wire.handle_eof(now);
                        self.seen.drained = false;
                    } else {
                        self.seen.read_blocked = true;
                    }
                }
                Step::Wait(deadline) => {
                    self.deadline = deadline;
                    return progress;
                }
                Step::HalfClose => {
                    outgoing.shut = true;
                    self.half_closed = true;
                    self.seen.write_shut = true;
                }
                Step::Close(reason) => {
                    outgoing.shut = true;
                    incoming.bytes.clear();
                    incoming.capacity = usize::MAX;
                    self.closed = Some(reason);
                    self.deadline = None;
                    return true;
                }
            }
        }
        panic!("a hot loop");
    }

    /// Law 6: nothing due is left behind.
    fn drained(&mut self, now: Instant) {
        self.seen.drained = true;
        if let Some(deadline) = self.wire.deadline() {
            assert!(deadline.at > now, "{deadline:?} at {now:?}");
        }
    }
}

pub struct Pair<A: Wire, B: Wire> {
    pub client: End<A>,
    pub server: End<B>,
    pub up: Pipe,
    pub down: Pipe,
    pub now: Instant,
}

impl<A, B> Pair<A, B>
where
    A: Wire,
    B: Wire,
    A::Error: Into<Error>,
    B::Error: Into<Error>,
{
    pub fn new(client: A, server: B) -> Self {
        Self {
            client: End::new(client),
            server: End::new(server),
            up: Pipe::new(),
            down: Pipe::new(),
            now: Instant::ZERO,
        }
    }

    /// Runs both ends until neither can do anything more at this time.
    pub fn settle(&mut self) {
        self.settle_with(&mut || usize::MAX, &mut |_, _| false, &mut |_, _| false);
    }

    pub fn settle_cut(&mut self, cut: &mut dyn FnMut() -> usize) {
        self.settle_with(cut, &mut |_, _| false, &mut |_, _| false);
    }

    pub fn settle_with(
        &mut self,
        cut: &mut dyn FnMut() -> usize,
        from_client: &mut dyn FnMut(&mut A, &mut Vec<u8>) -> bool,
        from_server: &mut dyn FnMut(&mut B, &mut Vec<u8>) -> bool,
    ) {
        loop {
            let (up, down) = (&mut self.up, &mut self.down);
            let a = self.client.run(down, up, self.now, cut, from_client);
            let b = self.server.run(up, down, self.now, cut, from_server);
            if !a && !b {
                return;
            }
        }
    }

    /// Lets time pass to the next deadline of either end, and settles. `false`: there is none.
    pub fn tick(&mut self) -> bool {
        let next = Deadline::earlier(self.client.deadline, self.server.deadline);
        let Some(next) = next else { return false };
        self.now = self.now.max(next.at);
        self.client.timeout(self.now);
        self.server.timeout(self.now);
        self.settle();
        true
    }

    pub fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.client.timeout(self.now);
        self.server.timeout(self.now);
        self.settle();
    }

    pub fn nudge(&mut self) {
        self.client.nudge();
        self.server.nudge();
    }
}
