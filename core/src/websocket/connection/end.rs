//! How the machine ends: <https://www.rfc-editor.org/rfc/rfc6455#section-7>

use core::time::Duration;

use super::send::check_close;
use super::{Closed, Connection, Event, Role, Side, fatal};
use crate::error::{Error, Kind};
use crate::machine::CloseReason;
use crate::observe;
use crate::time::{Deadline, Instant, Timer};
use crate::websocket::close::CloseCode;
use crate::websocket::message::Text;

/// How far the end is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// Nobody has closed.
    Open,
    /// Our close frame is on its way, the peer's has not come; until then, once ours was written.
    Closing { until: Option<Instant> },
    /// Everything is said. What comes is thrown away, so that the peer can read our last bytes
    /// before the connection ends.
    Draining { until: Option<Instant>, left: u64, shut: bool, reason: CloseReason },
    /// The connection may go.
    Over(CloseReason),
}

/// A close that was announced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Scheduled {
    pub(super) at: Instant,
    code: CloseCode,
    reason: &'static str,
}

impl Stage {
    #[inline]
    pub(super) const fn deadline(&self) -> Option<Deadline> {
        match *self {
            Self::Closing { until: Some(at) } => Some(Deadline { at, why: Timer::CloseHandshake }),
            Self::Draining { until: Some(at), .. } => Some(Deadline { at, why: Timer::Linger }),
            _ => None,
        }
    }
}

impl Connection {
    /// Closes at this time, as [`close`](Self::close) does, unless it is over by then: of a token that
    /// expires. The earliest of several times counts.
    ///
    /// # Errors
    ///
    /// Those of [`close`](Self::close).
    pub fn close_at(
        &mut self,
        now: Instant,
        at: Instant,
        code: CloseCode,
        reason: &'static str,
    ) -> Result<(), Error> {
        self.check(now)?;
        check_close(code, reason)?;
        if self.scheduled.is_none_or(|earlier| at < earlier.at) {
            self.scheduled = Some(Scheduled { at, code, reason });
            self.close_as_scheduled(now);
            self.watch(now);
        }
        Ok(())
    }

    /// Closes at some time within this one: of a server that stops. Clients that are told at once come
    /// back at once.
    ///
    /// # Errors
    ///
    /// Those of [`close`](Self::close).
    pub fn close_within(
        &mut self,
        now: Instant,
        within: Duration,
        code: CloseCode,
        reason: &'static str,
    ) -> Result<(), Error> {
        let at = now + self.spread.between(Duration::ZERO, within);
        self.close_at(now, at, code, reason)
    }

    pub(super) fn close_as_scheduled(&mut self, now: Instant) {
        if let Some(Scheduled { at, code, reason }) = self.scheduled
            && at <= now
            && self.is_open()
        {
            self.put_close(Some(code), reason);
            self.enter(Stage::Closing { until: None });
        }
    }

    /// From here on every turn is looked at: it may be the one in which the last byte leaves.
    pub(super) fn enter(&mut self, stage: Stage) {
        self.stage = stage;
        self.timer = None;
        self.wake = Instant::ZERO;
    }

    /// The timers of the end run from when the last byte was written.
    pub(super) fn start_timer(&mut self, now: Instant) {
        if !self.outbox.is_empty() {
            return;
        }
        match &mut self.stage {
            Stage::Closing { until } => {
                until.get_or_insert(now + self.config.close_handshake);
            }
            Stage::Draining { until, .. } => {
                until.get_or_insert(now + self.config.linger);
            }
            Stage::Open | Stage::Over(_) => {}
        }
    }

    /// The timer of the end fired.
    pub(super) fn run_out(&mut self) {
        match self.stage {
            Stage::Closing { .. } => {
                self.untold = Some(self.abnormal(Side::Local));
                self.over(CloseReason::Done);
            }
            Stage::Draining { reason, .. } => self.over(reason),
            Stage::Open | Stage::Over(_) => {}
        }
    }

    /// Both close frames were seen, or will be once ours is written.
    pub(super) fn closed(&mut self, code: CloseCode, reason: Text) -> Event {
        let by = match self.stage {
            Stage::Open => Side::Peer,
            _ => Side::Local,
        };
        if by == Side::Peer {
            // https://www.rfc-editor.org/rfc/rfc6455#section-5.5.1: the code goes back, the words
            // do not.
            self.put_close((code != CloseCode::NO_STATUS).then_some(code), "");
        }
        // https://www.rfc-editor.org/rfc/rfc6455#section-7.1.1: the server ends the connection
        // first, and the client waits for that.
        self.drain(self.role() == Role::Server, CloseReason::Done);
        self.log.record(observe::Event::WebSocketClosed { code, by });
        Event::Closed(Closed { code, reason, by })
    }

    /// There is no close frame, and there will be none.
    pub(super) fn cut(&mut self) -> Event {
        let by = match self.stage {
            Stage::Open => Side::Peer,
            _ => Side::Local,
        };
        let closed = self.abnormal(by);
        self.over(CloseReason::PeerClosed);
        Event::Closed(closed)
    }

    pub(super) fn abnormal(&mut self, by: Side) -> Closed {
        let code = CloseCode::ABNORMAL;
        self.log.record(observe::Event::WebSocketClosed { code, by });
        Closed { code, reason: Text::default(), by }
    }

    /// The machine failed: the peer is told why, and what it sends from now on is thrown away.
    pub(super) fn fail(&mut self, kind: Kind) {
        match self.stage {
            Stage::Open | Stage::Closing { .. } => {}
            // The end was told already: there is only less to wait for.
            Stage::Draining { .. } => {
                self.outbox.clear();
                return self.over(CloseReason::Failed);
            }
            Stage::Over(_) => return self.outbox.clear(),
        }
        let error = fatal(kind);
        self.error = Some(error);
        self.log.record(observe::Event::Failed(error));
        // Nobody takes what is queued; nobody would take more.
        let gone = match kind {
            Kind::Timeout(Timer::WriteStall) => true,
            Kind::Timeout(_) => !self.outbox.is_empty(),
            _ => false,
        };
        if gone {
            self.outbox.clear();
            return self.over(CloseReason::Failed);
        }
        if self.is_open() {
            self.put_close(CloseCode::of(&error), "");
        }
        self.drain(true, CloseReason::Failed);
    }

    pub(super) fn drain(&mut self, shut: bool, reason: CloseReason) {
        let left = self.config.linger_bytes;
        self.enter(Stage::Draining { until: None, left, shut, reason });
        self.forget();
    }

    pub(super) fn over(&mut self, reason: CloseReason) {
        self.enter(Stage::Over(reason));
        self.eof = true;
        self.inbox.clear();
        self.guard.remember(&self.inbox);
        self.forget();
        self.log.record(observe::Event::Closed(reason));
    }

    /// Whatever was half received is of no use any more.
    fn forget(&mut self) {
        self.frame = None;
        self.message = None;
        self.paused = false;
        #[cfg(feature = "deflate")]
        {
            self.codec = None;
        }
    }

    /// Throws away what came after the end.
    pub(super) fn discard(&mut self) {
        let came = self.inbox.len() as u64;
        self.inbox.clear();
        let eof = self.eof;
        if let Stage::Draining { left, reason, .. } = &mut self.stage {
            *left = left.saturating_sub(came);
            let reason = *reason;
            if eof || *left == 0 {
                self.over(reason);
            }
        }
    }

    pub(super) fn next_event(&mut self, now: Instant) -> Result<Option<Event>, Error> {
        if let (None, Stage::Open | Stage::Closing { .. }) = (self.error, self.stage) {
            match self.receive(now) {
                Ok(Some(event)) => return Ok(Some(event)),
                Ok(None) if self.eof && !self.paused && !self.is_held_back() => {
                    return Ok(Some(self.cut()));
                }
                Ok(None) => return Ok(None),
                Err(kind) => self.fail(kind),
            }
        }
        self.discard();
        if let Some(error) = self.error {
            return Err(error);
        }
        Ok(self.untold.take().map(Event::Closed))
    }
}
