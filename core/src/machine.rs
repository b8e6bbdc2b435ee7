//! The vocabulary: [`Machine`], [`Wire`], [`Layered`], and the rule that says when to sleep.
//!
//! # The laws
//!
//! They hold for every machine and are property-tested.
//!
//! 1. Any method, in any order, any number of times, leaves the machine consistent. There is no
//!    call-order contract.
//! 2. No clock, no entropy, no IO, no threads, no locks, no globals. Time is an argument; a seed is
//!    a constructor argument.
//! 3. Split-invariance: with adjacent `Data` merged, the events, the errors, the bytes left over
//!    and the outbox do not depend on how the input was cut. (One permission: an interim 100 may be
//!    absent when the body was pulled before it was asked for, and bytes of it were there.)
//! 4. An `Err` is fatal and sticky for `poll_event` and the verbs: the same error again. Except
//!    `Usage`, which changes nothing. What remains is orderly: the driver keeps flushing the outbox
//!    and obeys `wants_read`, `deadline` and `status`. An orderly close is a status, never an `Err`.
//! 5. A fatal error of the peer puts the right answer into the outbox by itself, if no byte of a
//!    response was queued.
//! 6. Sleep only if the last `poll_event` gave `None`, the outbox is empty or the socket blocked, no
//!    producer waits on a high-water mark that is no longer reached, and a read would block or is
//!    not wanted; [`Wire::step`] decides it for everyone. Every input first runs the timers due at
//!    its `now`; after any input or timeout, once `poll_event` gave `None`, `deadline().at > now`.
//! 7. Nothing is allocated in proportion to what a peer merely declares; every buffer and table has
//!    a cap.
//! 8. Nothing leaks: after any script and a close there are 0 exchanges, 0 timers, 0 bytes.

use bytes::BytesMut;

use crate::observe;
use crate::outbox::Outbox;
use crate::time::{Deadline, Instant};

/// Anything with timers or events.
///
/// Beside these, a machine has four kinds of method and no fifth: getters; `handle_*` (world to
/// machine); `send_*` and other verbs (application to machine); `poll_*` (machine to application).
pub trait Machine {
    /// What the machine tells the application.
    type Event;
    /// Why the machine can go no further.
    type Error;

    /// Pulls one event. `None`: nothing until something changes.
    ///
    /// Parses on demand: bytes that nobody asked for stay bytes, which is the back-pressure.
    fn poll_event(&mut self, now: Instant) -> Result<Option<Self::Event>, Self::Error>;

    /// Runs the timers due at `now`. Called early it does nothing.
    fn handle_timeout(&mut self, now: Instant);

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called next, and for which timer.
    fn deadline(&self) -> Option<Deadline>;

    /// Drains the machine's log of decisions; a layer passes the inner ones on.
    fn poll_observed(&mut self) -> Option<observe::Event> {
        None
    }
}

/// A machine that speaks bytes.
pub trait Wire: Machine {
    /// Where the driver appends what it read. Append only: found shorter or edited, the machine
    /// fails with `InboxEdited`.
    fn inbox(&mut self) -> &mut BytesMut;

    /// Whether more input is welcome. `false` when full, paused or closed: that is back-pressure.
    fn wants_read(&self) -> bool;

    /// The peer shut its writing side.
    fn handle_eof(&mut self, now: Instant);

    /// Whether the end of the stream, right here, could not pass for the end of a message: between
    /// messages, and in messages that say themselves where they end.
    ///
    /// A layer that can tell an orderly end from a cut (TLS) passes a cut on as
    /// [`handle_eof`](Self::handle_eof) only while this holds, and fails otherwise.
    fn is_self_delimited(&self) -> bool {
        false
    }

    /// What the driver writes.
    fn outbox(&mut self) -> &mut Outbox;

    /// Whether a producer that the high-water mark stopped may go on. A layer asks the machine
    /// inside: its own outbox may be empty while it cannot take anything yet (a handshake).
    fn has_room(&mut self) -> bool {
        !self.outbox().is_full()
    }

    /// What is to become of the connection once the outbox is empty.
    fn status(&self) -> Status;

    /// The connection is about to sleep with nothing buffered: give memory back.
    fn rest(&mut self);

    /// The sleep rule (law 6), in one place: what a driver does next.
    fn step(&mut self, seen: Seen) -> Step {
        if !seen.drained {
            return Step::Poll;
        }
        if seen.producer_waits && self.has_room() {
            return Step::Poll;
        }
        let queued = !self.outbox().is_empty();
        if queued && !seen.write_blocked {
            return Step::Write;
        }
        if !queued {
            match self.status() {
                Status::Open => {}
                Status::HalfClose if seen.write_shut => {}
                Status::HalfClose => return Step::HalfClose,
                Status::Close(reason) => return Step::Close(reason),
            }
        }
        if self.wants_read() && !seen.read_blocked {
            return Step::Read;
        }
        Step::Wait(self.deadline())
    }
}

/// Reaches the machine that takes commands through any number of layers.
///
/// A bare machine is its own `Top`; TLS over `W` has the `Top` of `W`.
pub trait Layered: Wire {
    /// The machine that the application talks to.
    type Top: Wire;

    /// The machine that the application talks to.
    fn top(&mut self) -> &mut Self::Top;

    /// The machine that the application talks to.
    fn top_ref(&self) -> &Self::Top;
}

/// What is to become of a connection. Stays `Open` until the outbox is empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// Go on.
    Open,
    /// Shut the writing side and keep reading, so that the peer can read our last answer.
    HalfClose,
    /// Drop the connection.
    Close(CloseReason),
}

/// Why a connection ends.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum CloseReason {
    /// Everything was exchanged and one of the two asked for the end.
    Done,
    /// The peer went away between exchanges.
    PeerClosed,
    /// A kept-alive connection, or a fresh one, on which nothing was sent in time.
    Idle,
    /// The machine failed; `poll_event` says why.
    Failed,
}

/// What the driver knows about the socket and the application since the last change.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Seen {
    /// The last `poll_event` gave `None` or `Err`, and nothing was fed, drained, commanded or fired
    /// since.
    pub drained: bool,
    /// The last read would have blocked.
    pub read_blocked: bool,
    /// The last write would have blocked.
    pub write_blocked: bool,
    /// A producer of body bytes has more but was stopped by the high-water mark.
    pub producer_waits: bool,
    /// The writing side was shut.
    pub write_shut: bool,
}

/// What a driver does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Pull events, or let the waiting producer go on.
    Poll,
    /// Write from the outbox.
    Write,
    /// Read into the inbox.
    Read,
    /// Sleep until the socket, the application or this deadline wakes us.
    Wait(Option<Deadline>),
    /// Shut the writing side of the socket.
    HalfClose,
    /// Drop the connection.
    Close(CloseReason),
}
