//! How an exchange ends, and how the connection does.

use crate::error::{Delivery, Error, Kind, Phase};
use crate::http1::body::Encoder;
use crate::http1::framing::Asked;
use crate::http1::state::{Half, Outcome, State};
use crate::machine::CloseReason;
use crate::observe::{self};
use crate::time::{Instant, Timer};

use super::{End, Server};

impl Server {
    /// Starts the next exchange or ends the connection, where the current exchange is over.
    pub(super) fn settle(&mut self, now: Instant) {
        let outcome = self.state.outcome();
        let reusable = outcome == Outcome::Next;
        if outcome == Outcome::Running {
            return;
        }
        self.log.record(observe::Event::ExchangeEnded { exchange: self.exchange, reusable });
        self.timer = None;
        self.handler = Instant::MAX;
        self.discarding = false;
        self.waits_continue = false;
        match outcome {
            Outcome::Running => {}
            Outcome::Next => {
                self.state = State::START;
                self.asked = Asked::Other;
                self.forget_description();
                self.body_limit = self.config.limits.body;
                if self.inbox.is_empty() {
                    self.arm(Timer::Idle, now + self.config.idle);
                }
            }
            Outcome::Over => self.finish(now, CloseReason::Done),
            Outcome::Switched => {
                self.log.record(observe::Event::Upgraded { exchange: self.exchange });
            }
        }
    }

    /// Ends the connection in a way that lets the client read the last answer.
    /// <https://www.rfc-editor.org/rfc/rfc9112#section-9.6>
    pub(super) fn finish(&mut self, now: Instant, reason: CloseReason) {
        self.timer = None;
        self.handler = Instant::MAX;
        self.end = End::Lingering(reason);
        self.discards = self.config.linger_bytes;
        self.linger(now);
    }

    pub(super) fn closed(&mut self, reason: CloseReason) {
        self.timer = None;
        self.handler = Instant::MAX;
        self.end = End::Closed(reason);
        self.log.record(observe::Event::Closed(reason));
    }

    /// Throws away what still comes, until the client closes or has had its time.
    pub(super) fn linger(&mut self, now: Instant) {
        let End::Lingering(reason) = self.end else { return };
        self.discards = self.discards.saturating_sub(self.inbox.len() as u64);
        let exhausted = self.discards == 0;
        self.inbox.clear();
        // A verb may end the connection between two polls: what it threw away was not edited.
        self.guard.remember(&self.inbox);
        if !self.outbox.is_empty() {
            return;
        }
        if self.eof || exhausted {
            self.closed(reason);
        } else if self.timer.is_none() {
            self.arm(Timer::Linger, now + self.config.linger);
        }
    }

    /// Ends the connection with an error, and with the answer that it deserves.
    pub(super) fn fail(&mut self, now: Instant, kind: Kind, phase: Phase) -> Error {
        let delivery = match phase {
            Phase::Idle | Phase::RequestHead => Delivery::Refused,
            _ => Delivery::MaybeProcessed,
        };
        let error = Error { kind, phase, delivery };
        self.error = Some(error);
        self.log.record(observe::Event::Failed(error));
        if self.state.response == Half::Idle {
            self.answer_error(now, &error);
        }
        self.encoder = Encoder::Done;
        self.waits_continue = false;
        let unheard =
            matches!(kind, Kind::Truncated | Kind::InboxEdited | Kind::Timeout(Timer::WriteStall));
        if matches!(kind, Kind::Timeout(Timer::WriteStall)) {
            self.outbox.clear();
        }
        if unheard {
            self.closed(CloseReason::Failed);
        } else {
            self.finish(now, CloseReason::Failed);
        }
        self.watch_writes(now);
        error
    }
}
