//! One end of a connection: a machine, its application, and the sleep rule between them.
//!
//! It is a driver without a runtime: whatever it does, [`Wire::step`] told it to.

use core::fmt;

use bytes::BytesMut;
use sinew_core::machine::{CloseReason, Machine, Seen, Status, Step, Wire};
use sinew_core::outbox::Outbox;
use sinew_core::time::{Deadline, Instant};

/// An application on top of a machine.
pub trait Application<W: Wire> {
    /// An event was pulled.
    fn event(&mut self, wire: &mut W, event: W::Event, now: Instant);

    /// Nothing is left to pull: a chance to act.
    fn act(&mut self, _wire: &mut W, _now: Instant) -> Activity {
        Activity::Idle
    }

    /// Whether events are wanted: an application that does not pull puts the peer under pressure.
    fn wants_events(&self, _now: Instant) -> bool {
        true
    }

    /// When the application wakes by itself.
    fn wakes_at(&self) -> Option<Instant> {
        None
    }
}

/// What an application did when it was given the chance.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Activity {
    /// Something: ask again.
    Acted,
    /// Nothing.
    Idle,
    /// It has more to send, but the high-water mark is reached.
    Waits,
}

/// The socket of an [`End`].
pub trait Socket {
    /// Reads into `inbox`.
    fn read(&mut self, inbox: &mut BytesMut, now: Instant) -> Read;
    /// Writes from `outbox` and advances it; 0: would block.
    fn write(&mut self, outbox: &mut Outbox, now: Instant) -> usize;
    /// The writing side is shut.
    fn shut(&mut self);
    /// The connection is dropped.
    fn close(&mut self);
}

/// What a read gave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Read {
    /// So many bytes, at least one.
    Bytes(usize),
    /// The peer shut its writing side.
    Eof,
    /// Nothing now.
    Blocked,
}

/// A broken law, in words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Breach(pub String);

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an [`End`] did in one turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    /// Something: give it another turn.
    Moved,
    /// It sleeps until its socket, its application or this deadline wakes it.
    Waits(Option<Deadline>),
    /// The connection was dropped.
    Over(CloseReason),
}

/// A machine, its application, and what its driver knows.
#[derive(Debug)]
pub struct End<W: Wire, A> {
    /// The machine.
    pub wire: W,
    /// The application.
    pub app: A,
    /// The fatal error, once `poll_event` gave one.
    pub error: Option<W::Error>,
    /// Whether the writing side was shut.
    pub half_closed: bool,
    /// Why the connection was dropped.
    pub over: Option<CloseReason>,
    seen: Seen,
    eof_seen: bool,
}

impl<W, A> End<W, A>
where
    W: Wire,
    W::Error: Clone + PartialEq + fmt::Debug,
    A: Application<W>,
{
    /// A fresh end.
    pub fn new(wire: W, app: A) -> Self {
        Self {
            wire,
            app,
            error: None,
            half_closed: false,
            over: None,
            seen: Seen::default(),
            eof_seen: false,
        }
    }

    /// Does what the sleep rule says, once.
    pub fn turn<S: Socket>(&mut self, socket: &mut S, now: Instant) -> Result<Turn, Breach> {
        if let Some(reason) = self.over {
            return Ok(Turn::Over(reason));
        }
        match self.wire.step(self.seen) {
            Step::Poll => self.poll(now)?,
            Step::Write => {
                let before = self.wire.outbox().len();
                let written = socket.write(self.wire.outbox(), now);
                if before - self.wire.outbox().len() != written {
                    return Err(Breach("the socket miscounted what it wrote".to_owned()));
                }
                self.seen.write_blocked = written == 0;
                self.seen.drained &= written == 0;
            }
            Step::Read => match socket.read(self.wire.inbox(), now) {
                Read::Bytes(_) => self.seen.drained = false,
                Read::Eof if self.eof_seen => {
                    return Err(Breach("reading is wanted behind the end of the input".to_owned()));
                }
                Read::Eof => {
                    self.eof_seen = true;
                    self.wire.handle_eof(now);
                    self.seen.drained = false;
                }
                Read::Blocked => self.seen.read_blocked = true,
            },
            Step::HalfClose => {
                socket.shut();
                self.seen.write_shut = true;
                self.half_closed = true;
            }
            Step::Close(reason) => {
                socket.close();
                self.over = Some(reason);
                return Ok(Turn::Over(reason));
            }
            Step::Wait(deadline) => return Ok(Turn::Waits(deadline)),
        }
        Ok(Turn::Moved)
    }

    /// The socket may be readable or writable again.
    pub fn socket_woke(&mut self) {
        self.seen.read_blocked = false;
        self.seen.write_blocked = false;
    }

    /// The application woke, or a command was given from outside.
    pub fn app_woke(&mut self) {
        self.seen.drained = false;
    }

    /// Runs the timers due at `now`.
    pub fn fire(&mut self, now: Instant) {
        self.wire.handle_timeout(now);
        self.seen.drained = false;
    }

    fn poll(&mut self, now: Instant) -> Result<(), Breach> {
        if self.app.wants_events(now) {
            match self.wire.poll_event(now) {
                Ok(Some(event)) => {
                    if self.error.is_some() {
                        return Err(Breach("an event behind a fatal error".to_owned()));
                    }
                    self.app.event(&mut self.wire, event, now);
                    return Ok(());
                }
                Ok(None) if self.error.is_some() => {
                    return Err(Breach("a fatal error that did not stick".to_owned()));
                }
                Ok(None) => {}
                Err(error) => {
                    if self.error.as_ref().is_some_and(|first| *first != error) {
                        return Err(Breach(format!("{error:?} behind {:?}", self.error)));
                    }
                    self.error = Some(error);
                }
            }
        }
        match self.app.act(&mut self.wire, now) {
            Activity::Acted => {
                self.seen.producer_waits = false;
                return Ok(());
            }
            Activity::Idle => self.seen.producer_waits = false,
            Activity::Waits => self.seen.producer_waits = true,
        }
        self.seen.drained = true;
        check_rest(&mut self.wire, now)
    }
}

/// What holds once `poll_event` gave nothing.
fn check_rest<W: Wire>(wire: &mut W, now: Instant) -> Result<(), Breach> {
    // Law 6: no timer left behind.
    if let Some(deadline) = wire.deadline()
        && deadline.at <= now
    {
        return Err(Breach(format!("the timer {:?} is due and was left behind", deadline.why)));
    }
    let queued = wire.outbox().len();
    let status = wire.status();
    if queued > 0 && status != Status::Open {
        return Err(Breach(format!("{status:?} with {queued} bytes queued")));
    }
    if matches!(status, Status::Close(_)) && wire.wants_read() {
        return Err(Breach("a closed connection wants to read".to_owned()));
    }
    Ok(())
}

/// Whether a machine that ended holds nothing any more (law 8).
pub fn check_over<W: Machine + Wire>(wire: &mut W) -> Result<(), Breach> {
    if let Some(deadline) = wire.deadline() {
        return Err(Breach(format!("the timer {:?} outlived its connection", deadline.why)));
    }
    if !wire.outbox().is_empty() {
        return Err(Breach(format!("{} bytes stay queued", wire.outbox().len())));
    }
    Ok(())
}
