//! The TLS session itself: everything of a [`Tls`](crate::Tls) but the inner wire.

mod decrypt;
mod encrypt;

use std::io::{self, Read};
use std::sync::Arc;

use bytes::BytesMut;
use rustls::Connection;
use sinew_core::error::{Delivery, Kind, Phase};
use sinew_core::machine::{CloseReason, Status};
use sinew_core::observe::Event;
use sinew_core::outbox::{Outbox, WriteStall};
use sinew_core::time::{Deadline, Instant, Timer};
use sinew_core::{Error as WireError, Wire};

use crate::failure::Reason;
use crate::{Error, Failure, Options, PeerIdentity};

/// Ciphertext waiting to be decrypted: above this the layer does not want to read. Larger than any
/// record, so that a whole one always fits.
const INBOX_FULL: usize = 32 * 1024;
/// After a failure: bytes of the peer that are thrown away while it reads our alert.
const LINGER_BYTES: usize = 256 * 1024;

pub(crate) struct Session {
    pub(crate) tls: Box<Connection>,
    pub(crate) inbox: BytesMut,
    /// The inbox's length when it was last looked at.
    kept: usize,
    /// Bytes at the front of the inbox that rustls has already: 0 or 1.
    ahead: usize,
    /// Ciphertext for the peer.
    pub(crate) outbox: Outbox,
    pub(crate) identity: Option<Arc<PeerIdentity>>,
    options: Options,
    /// The handshake's time limit, while it runs.
    handshake: Option<Instant>,
    stall: WriteStall,
    /// The watch was started by the time of the last call that brought one, maybe long ago.
    stall_is_early: bool,
    /// After a failure: until when, and for how many bytes, the peer may still read our alert.
    linger: Option<(Instant, usize)>,
    /// The time of the last call that brought one: encryption happens where no time is given.
    now: Instant,
    input: Input,
    heard: bool,
    close_sent: bool,
    /// The first error told; it stays.
    error: Option<Error>,
    /// TLS failed: nothing goes through any more but an alert.
    dead: bool,
    ended: Option<CloseReason>,
    news: [Option<Event>; 2],
    /// rustls' buffer grew to hold a large record.
    grown: bool,
}

/// What is known about the end of the peer's stream.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Input {
    Open,
    /// The transport ended; what it means is judged when everything before it was delivered.
    Ended,
    /// Nothing more will be delivered.
    Over,
}

impl Session {
    pub(crate) fn new(tls: Connection, options: Options, now: Instant) -> Self {
        Self {
            tls: Box::new(tls),
            inbox: BytesMut::new(),
            kept: 0,
            ahead: 0,
            outbox: Outbox::new(),
            identity: None,
            options,
            handshake: Some(now + options.handshake_timeout),
            stall: WriteStall::new(),
            stall_is_early: false,
            linger: None,
            now,
            input: Input::Open,
            heard: false,
            close_sent: false,
            error: None,
            dead: false,
            ended: None,
            news: [None; 2],
            grown: false,
        }
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.handshake.is_some()
    }

    pub(crate) fn is_server(&self) -> bool {
        matches!(*self.tls, Connection::Server(_))
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead
    }

    pub(crate) fn poll<W>(&mut self, inner: &mut W, now: Instant) -> Result<Option<W::Event>, Error>
    where
        W: Wire<Error = WireError>,
    {
        self.tick(now);
        if self.inbox.len() < self.kept {
            self.fail_edited();
        }
        let polled = self.advance(inner, now);
        self.kept = self.inbox.len();
        self.stall.observe(&self.outbox, now, self.options.write_stall);
        polled
    }

    /// What was decrypted comes first, then one record more, and so on: an error is told after
    /// everything that came before it.
    fn advance<W>(&mut self, inner: &mut W, now: Instant) -> Result<Option<W::Event>, Error>
    where
        W: Wire<Error = WireError>,
    {
        loop {
            if self.dead {
                self.discard();
                return match &self.error {
                    Some(error) => Err(error.clone()),
                    None => Ok(None),
                };
            }
            match inner.poll_event(now) {
                Ok(Some(event)) => return Ok(Some(event)),
                Ok(None) if self.feed(inner, now) => {}
                Ok(None) if self.dead => {}
                Ok(None) => return Ok(None),
                Err(error) => {
                    if error.kind == Kind::Timeout(Timer::WriteStall) {
                        // What is encrypted already is as stuck as the rest, and so would be a
                        // close_notify.
                        self.dead = true;
                        self.abandon();
                    }
                    let error = self.error.get_or_insert(Error::Wire(error)).clone();
                    // A failed machine that lingers still wants to see, and drop, what comes.
                    while self.feed(inner, now) {
                        let _ = inner.poll_event(now);
                    }
                    return Err(error);
                }
            }
        }
    }

    pub(crate) fn end_of_input(&mut self, now: Instant) {
        self.tick(now);
        if self.input == Input::Open {
            self.input = Input::Ended;
        }
        self.linger = None;
    }

    /// Runs the timers of this layer.
    pub(crate) fn tick(&mut self, now: Instant) {
        self.now = self.now.max(now);
        if self.handshake.is_some_and(|at| at <= now) && !self.dead {
            self.fail(Failure::local(Reason::Timeout(Timer::Handshake), false));
            self.abandon();
        }
        if core::mem::take(&mut self.stall_is_early) {
            self.stall = WriteStall::new();
            self.stall.observe(&self.outbox, now, self.options.write_stall);
        }
        if self.stall.expired(&self.outbox, now, self.options.write_stall) {
            let established = !self.is_handshaking();
            self.fail(Failure::local(Reason::Timeout(Timer::WriteStall), established));
            self.abandon();
        }
        if self.linger.is_some_and(|(at, _)| at <= now) {
            self.linger = None;
        }
    }

    /// Nobody takes what is queued.
    fn abandon(&mut self) {
        self.flush();
        self.outbox.clear();
        self.linger = None;
    }

    pub(crate) fn deadline(&self) -> Option<Deadline> {
        let handshake = self.handshake.map(|at| Deadline { at, why: Timer::Handshake });
        let linger = self.linger.map(|(at, _)| Deadline { at, why: Timer::Linger });
        let stall = self.stall.deadline(&self.outbox);
        Deadline::earlier(Deadline::earlier(handshake, linger), stall)
    }

    pub(crate) fn wants_read<W: Wire>(&self, inner: &W) -> bool {
        if self.input != Input::Open {
            return false;
        }
        if self.dead {
            return self.linger.is_some();
        }
        self.inbox.len() < INBOX_FULL && (self.is_handshaking() || inner.wants_read())
    }

    pub(crate) fn status<W: Wire>(&self, inner: &W) -> Status {
        if !self.outbox.is_empty() || self.tls.wants_write() {
            return Status::Open;
        }
        if self.dead {
            return match self.ended {
                Some(reason) => Status::Close(reason),
                None if self.linger.is_some() => Status::HalfClose,
                None => Status::Close(CloseReason::Failed),
            };
        }
        match inner.status() {
            _ if !self.close_sent => Status::Open,
            status => status,
        }
    }

    pub(crate) fn rest(&mut self) {
        if self.inbox.is_empty() {
            self.inbox = BytesMut::new();
        }
        self.outbox.rest();
        if self.grown && self.ahead == 0 && !self.dead {
            // The only way to make rustls shrink its buffer: a read that gives nothing.
            self.grown = self.tls.read_tls(&mut Dry).is_ok();
        }
    }

    pub(crate) fn next_news(&mut self) -> Option<Event> {
        self.news.iter_mut().find_map(Option::take)
    }

    fn tell(&mut self, event: Event) {
        if let Some(slot) = self.news.iter_mut().find(|slot| slot.is_none()) {
            *slot = Some(event);
        }
    }

    fn fail_rustls(&mut self, error: &rustls::Error) {
        let (server, established) = (self.is_server(), !self.is_handshaking());
        self.fail(Failure::from_rustls(error, server, established));
    }

    fn fail(&mut self, failure: Failure) {
        let event = Event::Failed(failure.to_core());
        self.die(Error::Tls(failure), event);
        if self.input == Input::Open && self.tls.wants_write() {
            self.linger = Some((self.now + self.options.linger, LINGER_BYTES));
        }
    }

    /// An edit that keeps the length cannot pass for input: it does not authenticate.
    fn fail_edited(&mut self) {
        let delivery =
            if self.is_handshaking() { Delivery::NotSent } else { Delivery::MaybeProcessed };
        let error = WireError { kind: Kind::InboxEdited, phase: Phase::Tls, delivery };
        self.die(Error::Wire(error), Event::Failed(error));
    }

    fn die(&mut self, error: Error, event: Event) {
        if self.dead {
            return;
        }
        self.dead = true;
        self.error.get_or_insert(error);
        self.handshake = None;
        self.tell(event);
    }

    /// Throws away what came after the failure.
    fn discard(&mut self) {
        if let Some((_, left)) = &mut self.linger {
            *left = left.saturating_sub(self.inbox.len());
            if *left == 0 {
                self.linger = None;
            }
        }
        self.inbox.clear();
        self.ahead = 0;
    }
}

/// A source with nothing to read at the moment.
struct Dry;

impl Read for Dry {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}
