//! The TLS session itself: everything of a [`Tls`](crate::Tls) but the inner wire.

use std::io::{self, BufRead as _, IoSlice, Read, Write as _};
use std::sync::Arc;

use bytes::{Buf as _, BytesMut};
use rustls::Connection;
use sinew_core::error::{Delivery, Kind, Phase};
use sinew_core::machine::{CloseReason, Status};
use sinew_core::observe::Event;
use sinew_core::outbox::{Outbox, WriteStall};
use sinew_core::time::{Deadline, Instant, Timer};
use sinew_core::{Error as WireError, Wire};

use crate::failure::Reason;
use crate::record;
use crate::{Error, Failure, Options, PeerIdentity};

/// Ciphertext waiting to be decrypted: above this the layer does not want to read. Larger than any
/// record, so that a whole one always fits.
const INBOX_FULL: usize = 32 * 1024;
/// Plaintext of one record. <https://www.rfc-editor.org/rfc/rfc8446#section-5.1>
const RECORD: usize = 16 * 1024;
/// Pieces of the inner outbox that go into one record.
const PIECES: usize = 16;
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
                    // A failed machine that lingers still wants to see, and drop, what comes.
                    let error = self.error.get_or_insert(Error::Wire(error)).clone();
                    while self.feed(inner, now) {
                        let _ = inner.poll_event(now);
                    }
                    return Err(error);
                }
            }
        }
    }

    /// Hands one record to rustls and what it decrypts to the inner machine. `false`: no progress.
    fn feed<W: Wire>(&mut self, inner: &mut W, now: Instant) -> bool {
        if self.dead || self.input == Input::Over {
            self.inbox.clear();
            self.ahead = 0;
            return false;
        }
        if !self.is_handshaking() && !inner.wants_read() {
            return false;
        }
        let Some(len) = record::next_len(&self.inbox) else {
            if self.input == Input::Ended {
                self.judge_end(inner, now);
                return true;
            }
            return false;
        };
        self.heard = true;
        // One byte of the next record goes along: a buffer that is never empty keeps its size, and
        // takes the next record in one read.
        let upto = self.inbox.len().min(len + 1);
        let mut input = &self.inbox[self.ahead..upto];
        self.grown |= input.len() > 4096;
        let mut closed = false;
        while !input.is_empty() && !closed {
            match self.tls.read_tls(&mut input) {
                Ok(n) if n > 0 => {}
                // Nothing taken of something given: rustls can hold no more of this handshake.
                _ => {
                    self.fail(Failure::local(Reason::Protocol, !self.is_handshaking()));
                    return false;
                }
            }
            match self.tls.process_new_packets() {
                Ok(state) => closed = state.peer_has_closed(),
                Err(error) => {
                    self.fail_rustls(&error);
                    return false;
                }
            }
        }
        self.ahead = upto - len;
        if len == self.inbox.len() {
            self.inbox.clear();
        } else {
            self.inbox.advance(len);
        }
        if self.is_handshaking() && !self.tls.is_handshaking() {
            self.establish();
        }
        self.deliver(inner);
        if closed {
            // https://www.rfc-editor.org/rfc/rfc8446#section-6.1: what follows is ignored.
            self.input = Input::Over;
            self.inbox.clear();
            self.ahead = 0;
            inner.handle_eof(now);
        }
        true
    }

    fn deliver<W: Wire>(&mut self, inner: &mut W) {
        let mut plain = self.tls.reader();
        while let Ok(chunk) = plain.fill_buf() {
            let len = chunk.len();
            if len == 0 {
                break;
            }
            inner.inbox().extend_from_slice(chunk);
            plain.consume(len);
        }
    }

    fn establish(&mut self) {
        self.handshake = None;
        let leaf = self.tls.peer_certificates().and_then(<[_]>::first);
        self.identity = leaf.map(|leaf| Arc::new(PeerIdentity::read(leaf)));
        let peer_authenticated = self.identity.is_some();
        self.tell(Event::TlsEstablished { peer_authenticated });
    }

    /// The transport ended without `close_notify`: a cut, possibly somebody's attack.
    /// <https://www.rfc-editor.org/rfc/rfc9112#section-9.8>
    fn judge_end<W: Wire>(&mut self, inner: &mut W, now: Instant) {
        self.input = Input::Over;
        self.inbox.clear();
        self.ahead = 0;
        if self.is_handshaking() {
            if self.is_server() && !self.heard {
                // A health check of the port, or a client that thought better of it.
                self.handshake = None;
                self.dead = true;
                self.ended = Some(CloseReason::PeerClosed);
            } else {
                self.fail(Failure::local(Reason::Truncated, false));
            }
        } else if inner.is_self_delimited() || inner.status() != Status::Open {
            inner.handle_eof(now);
        } else {
            self.fail(Failure::local(Reason::Truncated, true));
        }
    }

    /// Encrypts what the inner machine has queued, a bounded distance ahead of the socket.
    pub(crate) fn pump<W: Wire>(&mut self, inner: &mut W) {
        self.flush();
        while !self.dead && !self.is_handshaking() && !self.outbox.is_full() {
            let plain = inner.outbox();
            if plain.is_empty() {
                break;
            }
            let before = self.outbox.len();
            let taken = self.encrypt(plain);
            plain.advance(taken);
            self.flush();
            // rustls says that it took the bytes, and drops them, when the key of a TLS 1.2 session
            // is used up.
            if taken == 0 || self.outbox.len() < before + taken {
                self.fail(Failure::local(Reason::KeysExhausted, true));
            }
        }
        if !self.dead && !self.close_sent && inner.status() != Status::Open {
            self.close_sent = true;
            self.tls.send_close_notify();
            self.flush();
        }
        self.stall.observe(&self.outbox, self.now, self.options.write_stall);
    }

    /// Encrypts up to one record's worth from the front of `plain` and says how much.
    fn encrypt(&mut self, plain: &Outbox) -> usize {
        let mut pieces = [IoSlice::new(&[]); PIECES];
        let count = plain.chunks_vectored(&mut pieces);
        let mut cut = [IoSlice::new(&[]); PIECES];
        let mut room = RECORD;
        let mut used = 0;
        for (cut, piece) in cut.iter_mut().zip(&pieces[..count]) {
            if room == 0 {
                break;
            }
            let len = piece.len().min(room);
            *cut = IoSlice::new(&piece[..len]);
            room -= len;
            used += 1;
        }
        self.tls.writer().write_vectored(&cut[..used]).unwrap_or(0)
    }

    /// Moves what rustls wants sent into the outbox; this cannot fail.
    fn flush(&mut self) {
        while self.tls.wants_write() {
            if !matches!(self.tls.write_tls(&mut Sink(&mut self.outbox)), Ok(n) if n > 0) {
                break;
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

/// The outbox as rustls writes into it.
struct Sink<'a>(&'a mut Outbox);

impl io::Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.put(bytes);
        Ok(bytes.len())
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let before = self.0.len();
        for piece in pieces {
            self.0.put(piece);
        }
        Ok(self.0.len() - before)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A source with nothing to read at the moment.
struct Dry;

impl Read for Dry {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}
