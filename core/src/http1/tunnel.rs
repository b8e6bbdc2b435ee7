//! What follows HTTP on a connection that left it: bytes, both ways.

use core::time::Duration;

use bytes::{Bytes, BytesMut};

use super::body::take;
use super::message::Rejected;
use super::{ClientConfig, ServerConfig};
use crate::error::{Delivery, Error, Kind, Misuse, Phase};
use crate::inbox::InboxGuard;
use crate::machine::{CloseReason, Layered, Machine, Status, Wire};
use crate::observe::{self, Log};
use crate::outbox::{Outbox, WriteStall};
use crate::time::{Deadline, Instant, Timer};

/// Limits and timers of a [`Tunnel`]. It inherits those of the connection that it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelConfig {
    /// Unread bytes above which no more are read. Default 64 KiB.
    pub inbox: usize,
    /// Queued bytes of which the peer takes none; noticed within twice that time. Default 30 s.
    pub write_stall: Duration,
    /// After [`Tunnel::close`], the peer's remaining bytes are read for at most this time. Default
    /// 1 s.
    pub linger: Duration,
    /// ... and at most this many bytes. Default 256 KiB.
    pub linger_bytes: u64,
    /// Whether decisions are kept for `poll_observed`.
    pub observe: bool,
}

impl Default for TunnelConfig {
    fn default() -> Self {
        Self::from(&ServerConfig::default())
    }
}

impl From<&ServerConfig> for TunnelConfig {
    fn from(config: &ServerConfig) -> Self {
        Self {
            inbox: config.limits.inbox,
            write_stall: config.write_stall,
            linger: config.linger,
            linger_bytes: config.linger_bytes,
            observe: config.observe,
        }
    }
}

impl From<&ClientConfig> for TunnelConfig {
    fn from(config: &ClientConfig) -> Self {
        Self {
            inbox: config.limits.inbox,
            write_stall: config.write_stall,
            observe: config.observe,
            ..Self::default()
        }
    }
}

/// What a tunnel tells the application.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TunnelEvent {
    /// Bytes of the peer, cut as they came.
    Data(Bytes),
    /// The peer shut its writing side.
    End,
}

/// A connection after a 101, or after a 2xx to CONNECT. It knows nothing of what it carries.
///
/// It is over when both sides have ended. A half-closed one lives on, for as long as its
/// application likes: the only timers are that of a peer that takes nothing, and that of a peer
/// that stays after [`close`](Self::close).
#[derive(Debug)]
pub struct Tunnel {
    config: TunnelConfig,
    inbox: BytesMut,
    guard: InboxGuard,
    outbox: Outbox,
    stall: WriteStall,
    /// The peer will send nothing more.
    eof: bool,
    /// The application knows that.
    told: bool,
    /// The application will send nothing more.
    shut: bool,
    /// After `close`: input is thrown away, so many bytes at most.
    discarding: Option<u64>,
    linger: Option<Instant>,
    closed: Option<CloseReason>,
    error: Option<Error>,
    log: Log,
}

impl Tunnel {
    /// Takes over what an upgrade handed over.
    pub fn new(config: TunnelConfig, inbox: BytesMut, outbox: Outbox, now: Instant) -> Self {
        let mut log = Log::new();
        log.enable(config.observe);
        let mut guard = InboxGuard::default();
        guard.remember(&inbox);
        let mut stall = WriteStall::new();
        stall.observe(&outbox, now, config.write_stall);
        Self {
            config,
            inbox,
            guard,
            outbox,
            stall,
            eof: false,
            told: false,
            shut: false,
            discarding: None,
            linger: None,
            closed: None,
            error: None,
            log,
        }
    }

    /// Whether a producer may go on: nothing was shut, and the outbox is below its high-water mark.
    pub fn can_send(&self) -> bool {
        !self.shut && self.error.is_none() && !self.outbox.is_full()
    }

    /// Sends bytes. Ask [`can_send`](Self::can_send) first; one piece of overshoot is taken.
    ///
    /// # Errors
    ///
    /// The bytes, where there is no room; `Usage` after [`shut`](Self::shut).
    pub fn send(&mut self, now: Instant, data: Bytes) -> Result<(), Rejected> {
        self.check(now)?;
        if self.shut {
            return Err(Error::usage(Misuse::OutOfTurn, Phase::Tunnel).into());
        }
        if self.outbox.is_full() {
            return Err(Rejected::Full(data));
        }
        self.outbox.push(data);
        self.watch_writes(now);
        Ok(())
    }

    /// Sends nothing more: the writing side is shut once what is queued is out. Reading goes on.
    pub fn shut(&mut self, now: Instant) {
        if self.check(now).is_ok() {
            self.shut = true;
            self.settle();
        }
    }

    /// Nobody is interested any more: what is queued is still sent, what comes is thrown away until
    /// the peer closes or has had its time, so that it can read our last bytes.
    pub fn close(&mut self, now: Instant) {
        if self.check(now).is_ok() {
            self.shut = true;
            self.discarding.get_or_insert(self.config.linger_bytes);
            self.discard(now);
        }
    }

    /// Whether the peer shut its writing side.
    pub fn peer_closed(&self) -> bool {
        self.eof
    }

    /// What a machine of another protocol takes over: the bytes that were not read yet, and those that
    /// were not written yet. Where the [peer closed](Self::peer_closed), it has to be told, too.
    pub fn into_parts(self) -> (BytesMut, Outbox) {
        (self.inbox, self.outbox)
    }

    /// The fatal error, once there is one.
    pub fn error(&self) -> Option<Error> {
        self.error
    }

    /// Runs what is due, then lets a verb through or repeats the fatal error.
    fn check(&mut self, now: Instant) -> Result<(), Error> {
        self.handle_timeout(now);
        match (self.error, self.closed) {
            (Some(error), _) => Err(error),
            (None, None) => Ok(()),
            (None, Some(_)) => Err(fatal(Kind::Closed)),
        }
    }

    /// Both sides have ended: so has the tunnel.
    fn settle(&mut self) {
        if self.told && self.shut && self.closed.is_none() {
            self.closed(CloseReason::Done);
        }
    }

    fn discard(&mut self, now: Instant) {
        let Some(left) = &mut self.discarding else { return };
        *left = left.saturating_sub(self.inbox.len() as u64);
        let exhausted = *left == 0;
        self.inbox.clear();
        self.guard.remember(&self.inbox);
        self.told |= self.eof;
        self.settle();
        if self.closed.is_some() || !self.outbox.is_empty() {
            return;
        }
        if exhausted {
            self.closed(CloseReason::Done);
        } else if self.linger.is_none() {
            self.linger = Some(now + self.config.linger);
        }
    }

    fn closed(&mut self, reason: CloseReason) {
        self.linger = None;
        self.closed = Some(reason);
        self.log.record(observe::Event::Closed(reason));
    }

    fn fail(&mut self, kind: Kind) {
        let error = fatal(kind);
        self.error = Some(error);
        self.log.record(observe::Event::Failed(error));
        self.inbox.clear();
        self.outbox.clear();
        self.closed(CloseReason::Failed);
    }

    fn watch_writes(&mut self, now: Instant) {
        self.stall.observe(&self.outbox, now, self.config.write_stall);
    }
}

fn fatal(kind: Kind) -> Error {
    Error { kind, phase: Phase::Tunnel, delivery: Delivery::MaybeProcessed }
}

impl Machine for Tunnel {
    type Event = TunnelEvent;
    type Error = Error;

    fn poll_event(&mut self, now: Instant) -> Result<Option<TunnelEvent>, Error> {
        if self.error.is_none() && !self.guard.holds(&self.inbox) {
            self.fail(Kind::InboxEdited);
        }
        self.handle_timeout(now);
        self.watch_writes(now);
        if let Some(error) = self.error {
            self.inbox.clear();
            return Err(error);
        }
        if self.discarding.is_some() {
            self.discard(now);
            return Ok(None);
        }
        let event = if !self.inbox.is_empty() {
            let all = self.inbox.len();
            Some(TunnelEvent::Data(take(&mut self.inbox, all)))
        } else if self.eof && !self.told {
            self.told = true;
            self.settle();
            Some(TunnelEvent::End)
        } else {
            None
        };
        self.guard.remember(&self.inbox);
        Ok(event)
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.stall.expired(&self.outbox, now, self.config.write_stall) {
            self.fail(Kind::Timeout(Timer::WriteStall));
        }
        if self.linger.is_some_and(|at| at <= now) {
            self.closed(CloseReason::Done);
        }
    }

    fn deadline(&self) -> Option<Deadline> {
        let linger = self.linger.map(|at| Deadline { at, why: Timer::Linger });
        Deadline::earlier(linger, self.stall.deadline(&self.outbox))
    }

    fn poll_observed(&mut self) -> Option<observe::Event> {
        self.log.pop()
    }
}

impl Wire for Tunnel {
    fn inbox(&mut self) -> &mut BytesMut {
        &mut self.inbox
    }

    fn wants_read(&self) -> bool {
        !self.eof && self.closed.is_none() && self.inbox.len() < self.config.inbox
    }

    fn handle_eof(&mut self, now: Instant) {
        self.handle_timeout(now);
        self.eof = true;
    }

    fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    fn status(&self) -> Status {
        match self.closed {
            _ if !self.outbox.is_empty() => Status::Open,
            Some(reason) => Status::Close(reason),
            None if self.shut => Status::HalfClose,
            None => Status::Open,
        }
    }

    fn rest(&mut self) {
        if self.inbox.is_empty() {
            self.inbox = BytesMut::new();
        }
        self.outbox.rest();
    }
}

impl Layered for Tunnel {
    type Top = Self;

    fn top(&mut self) -> &mut Self {
        self
    }

    fn top_ref(&self) -> &Self {
        self
    }
}

#[cfg(test)]
mod tests {
    use bytes::Buf;

    use super::*;

    const NOW: Instant = Instant::from_nanos(1);

    fn tunnel(leftover: &[u8]) -> Tunnel {
        let mut outbox = Outbox::new();
        outbox.put(b"101 and so on");
        Tunnel::new(TunnelConfig::default(), BytesMut::from(leftover), outbox, NOW)
    }

    fn drain(tunnel: &mut Tunnel) -> Vec<u8> {
        let outbox = tunnel.outbox();
        outbox.copy_to_bytes(outbox.remaining()).to_vec()
    }

    #[test]
    fn what_was_left_over_comes_first_and_half_closes_are_told_apart() {
        let mut tunnel = tunnel(b"early");
        tunnel.inbox().extend_from_slice(b" late");
        let data = TunnelEvent::Data(Bytes::from_static(b"early late"));
        assert_eq!(tunnel.poll_event(NOW), Ok(Some(data)));
        tunnel.handle_eof(NOW);
        assert_eq!(tunnel.poll_event(NOW), Ok(Some(TunnelEvent::End)));
        assert_eq!(tunnel.poll_event(NOW), Ok(None));
        tunnel.send(NOW, Bytes::from_static(b" answer")).unwrap();
        tunnel.shut(NOW);
        assert_eq!(tunnel.status(), Status::Open, "bytes are queued");
        assert_eq!(drain(&mut tunnel), b"101 and so on answer");
        assert_eq!(tunnel.status(), Status::Close(CloseReason::Done));
        assert_eq!(tunnel.poll_event(NOW), Ok(None));
        assert_eq!(tunnel.deadline(), None);
    }

    #[test]
    fn after_shut_nothing_is_sent_and_the_peer_is_still_heard() {
        let mut tunnel = tunnel(b"");
        tunnel.shut(NOW);
        drain(&mut tunnel);
        assert_eq!(tunnel.status(), Status::HalfClose);
        let refused = Error::usage(Misuse::OutOfTurn, Phase::Tunnel);
        let sent = tunnel.send(NOW, Bytes::from_static(b"x"));
        assert_eq!(sent, Err(Rejected::Error(refused)));
        tunnel.inbox().extend_from_slice(b"still here");
        let data = TunnelEvent::Data(Bytes::from_static(b"still here"));
        assert_eq!(tunnel.poll_event(NOW), Ok(Some(data)));
        assert_eq!(tunnel.status(), Status::HalfClose);
    }

    #[test]
    fn a_closed_tunnel_gives_its_peer_time_to_read() {
        let mut tunnel = tunnel(b"unread");
        let config = TunnelConfig::default();
        tunnel.close(NOW);
        assert_eq!(tunnel.poll_event(NOW), Ok(None));
        assert_eq!(tunnel.status(), Status::Open);
        drain(&mut tunnel);
        assert_eq!(tunnel.poll_event(NOW), Ok(None));
        assert_eq!(tunnel.status(), Status::HalfClose);
        let due = Deadline { at: NOW + config.linger, why: Timer::Linger };
        assert_eq!(tunnel.deadline(), Some(due));
        tunnel.inbox().extend_from_slice(&[0; 1000]);
        assert_eq!(tunnel.poll_event(due.at), Ok(None));
        assert_eq!(tunnel.status(), Status::Close(CloseReason::Done));
        assert!(tunnel.inbox().is_empty());
        assert_eq!(tunnel.deadline(), None);
    }

    #[test]
    fn a_peer_that_floods_a_closed_tunnel_is_cut() {
        let mut tunnel = tunnel(b"");
        drain(&mut tunnel);
        tunnel.close(NOW);
        for _ in 0..4 {
            assert_eq!(tunnel.status(), Status::HalfClose);
            tunnel.inbox().extend_from_slice(&vec![0; 64 * 1024]);
            assert_eq!(tunnel.poll_event(NOW), Ok(None));
        }
        assert_eq!(tunnel.status(), Status::Close(CloseReason::Done));
    }

    #[test]
    fn a_peer_that_takes_nothing_is_cut_in_time() {
        let mut tunnel = tunnel(b"");
        let due = Deadline { at: NOW + Duration::from_secs(30), why: Timer::WriteStall };
        assert_eq!(tunnel.deadline(), Some(due));
        tunnel.handle_timeout(due.at);
        let error = fatal(Kind::Timeout(Timer::WriteStall));
        assert_eq!(tunnel.poll_event(due.at), Err(error));
        assert_eq!(tunnel.send(due.at, Bytes::new()), Err(Rejected::Error(error)));
        assert_eq!(tunnel.status(), Status::Close(CloseReason::Failed));
        assert_eq!(tunnel.deadline(), None);
    }

    #[test]
    fn unread_bytes_stop_the_reading_and_a_full_outbox_the_producer() {
        let mut tunnel = tunnel(b"");
        tunnel.inbox().extend_from_slice(&vec![0; 64 * 1024]);
        assert!(!tunnel.wants_read());
        assert!(tunnel.poll_event(NOW).is_ok_and(|event| event.is_some()));
        assert!(tunnel.wants_read());
        assert!(tunnel.can_send());
        tunnel.send(NOW, Bytes::from(vec![0; 64 * 1024])).unwrap();
        assert!(!tunnel.can_send());
        let more = Bytes::from_static(b"more");
        assert_eq!(tunnel.send(NOW, more.clone()), Err(Rejected::Full(more)));
    }

    #[test]
    fn an_edited_inbox_is_noticed() {
        let mut tunnel = tunnel(b"left over");
        tunnel.inbox().truncate(3);
        assert_eq!(tunnel.poll_event(NOW), Err(fatal(Kind::InboxEdited)));
    }
}
