//! One call, looked back at: an observer that keeps what is decided about it.

mod lines;

use core::time::Duration;

use super::action::{Ended, ExchangeId, Outcome};
use super::explain::Pick;
use crate::mesh::Endpoint;
use crate::observe::Event;
use crate::resilience::{NoRetry, RetryDelay};
use crate::time::Instant;

/// What became of a call, attempt by attempt, and why.
///
/// Whoever [observes](super::Dispatcher::observe) a dispatcher hands it what is
/// [told](crate::machine::Machine::poll_observed), and it keeps what is about its call. [`Display`](core::fmt::Display)
/// writes it in lines.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CallHistory {
    token: u64,
    /// Each attempt that was sent, or charged with a connection that could not be opened, in order; the
    /// last [`MAX_ATTEMPTS`](Self::MAX_ATTEMPTS).
    pub attempts: Vec<AttemptHistory>,
    /// Attempts that were not kept, as too many came after them.
    pub forgotten: u32,
    /// What the next attempt waits for, or waited for when the call ended.
    pub waiting: Option<Waiting>,
    /// What the one after it waits for: a hedge, and the first once more, wait at the same time.
    pub waiting_next: Option<Waiting>,
    /// Why there was no further attempt, although the last one failed, or was answered with a failure.
    pub no_retry: Option<NoRetry>,
    /// How the call ended; `None`: it is on its way, or its answer is being read.
    pub outcome: Option<Outcome>,
    /// Its caller [gave it up](Self::give_up).
    pub given_up: bool,
    /// Decisions that were not kept, of this call or of others: too many at once.
    pub lost: u64,
}

/// An attempt, before it is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Waiting {
    /// Why there is one.
    pub cause: Cause,
    /// Since when it may be sent: for one that is made again later, the time that it waits for.
    pub since: Instant,
    /// What was chosen for it; `None`: nothing yet.
    pub pick: Option<Pick>,
    /// It waits, or waited until something was chosen for it, as so many attempts are on their way: as many as
    /// the destination bears.
    pub limit: Option<u32>,
    picked_at: Option<Instant>,
}

/// An attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AttemptHistory {
    /// Which, counted from 1. One that a kept connection cost does not count: another has its number.
    pub attempt: u8,
    /// Why it was made.
    pub cause: Cause,
    /// What was chosen for it, and what was not.
    pub pick: Option<Pick>,
    /// Whose it was: the first connection that had room may be that of another endpoint.
    pub endpoint: Endpoint,
    /// How long it waited, after the wait of its [cause](Cause).
    pub waited: Duration,
    /// For what, or for what most of the time.
    pub waited_for: Waited,
    /// How long it took, to the head of its answer; `None`: it is on its way, or was not sent.
    pub took: Option<Duration>,
    /// What came of it; `None`: it is on its way.
    pub ended: Option<Ended>,
    exchange: Option<ExchangeId>,
    sent_at: Instant,
}

/// Why an attempt was made.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Cause {
    /// It is the first.
    First,
    /// The one before it failed, or was answered with a failure.
    Retry {
        /// It waited so long.
        after: Duration,
        /// Who said so.
        delay: RetryDelay,
    },
    /// The one before it took longer than most do.
    Hedge {
        /// It took so long already.
        after: Duration,
    },
    /// The kept connection of the one before it had ended.
    Stale,
}

/// What an attempt waited for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Waited {
    /// A connection that was kept: for nothing, or until others had done with it.
    KeptConnection,
    /// A connection that was opened.
    NewConnection,
    /// A connection that could not be opened: it was not sent.
    NoConnection,
    /// Others, as so many attempts were on their way.
    Limit(u32),
}

impl Waiting {
    const fn new(cause: Cause, since: Instant) -> Self {
        Self { cause, since, pick: None, limit: None, picked_at: None }
    }

    /// What it waited for most of the time, where it ends with this.
    fn waited_for(&self, now: Instant, end: Waited) -> Waited {
        let limited = |picked_at| now - picked_at <= picked_at - self.since;
        match (self.limit, end) {
            (Some(limit), Waited::KeptConnection | Waited::NewConnection)
                if self.picked_at.is_none_or(limited) =>
            {
                Waited::Limit(limit)
            }
            _ => end,
        }
    }

    /// The limit that keeps it from being sent.
    const fn held_by(&self) -> Option<u32> {
        if self.picked_at.is_none() { self.limit } else { None }
    }
}

impl CallHistory {
    /// Attempts that are kept: ten of the [rules](crate::resilience::RetryPolicy), a hedge, and those that a
    /// kept connection cost.
    pub const MAX_ATTEMPTS: usize = 32;

    /// The history of the call that has this token, and that begins now.
    pub const fn new(token: u64, now: Instant) -> Self {
        Self {
            token,
            attempts: Vec::new(),
            forgotten: 0,
            waiting: Some(Waiting::new(Cause::First, now)),
            waiting_next: None,
            no_retry: None,
            outcome: None,
            given_up: false,
            lost: 0,
        }
    }

    /// Keeps what was decided, where it is about this call.
    pub fn note(&mut self, now: Instant, event: &Event) {
        if let Event::Lost(lost) = *event {
            self.lost = self.lost.saturating_add(lost);
        }
        if event.token() != Some(self.token) {
            return;
        }
        match *event {
            Event::Picked { pick, .. } => {
                let waiting = self.waiting.get_or_insert_with(|| Waiting::new(Cause::First, now));
                waiting.pick = Some(pick);
                waiting.picked_at.get_or_insert(now);
            }
            // Who comes is held, not who waits already.
            Event::Held { limit, mode, .. } if mode.obeys() => {
                if let Some(last) = self.waiting_next.as_mut().or(self.waiting.as_mut()) {
                    last.limit = Some(limit);
                }
            }
            Event::AttemptSent { attempt, exchange, endpoint, first_use, .. } => {
                let waited_for =
                    if first_use { Waited::NewConnection } else { Waited::KeptConnection };
                self.begin(now, attempt, endpoint, waited_for, Some(exchange), None);
            }
            Event::AttemptEnded { attempt, exchange, endpoint, ended, .. } => {
                if let Ended::Answered { .. } = ended {
                    // It is no failure, unless what follows says so.
                    self.no_retry = None;
                }
                match exchange {
                    Some(exchange) => self.end(now, exchange, ended),
                    None => {
                        let end = Waited::NoConnection;
                        self.begin(now, attempt, endpoint, end, None, Some(ended));
                    }
                }
            }
            Event::AttemptDropped { .. } => {
                let next = &mut self.waiting_next;
                *(if next.is_some() { next } else { &mut self.waiting }) = None;
            }
            Event::RetryScheduled { after, delay, mode, .. } if mode.obeys() => {
                self.wait_for(Waiting::new(Cause::Retry { after, delay }, now + after));
            }
            Event::RetryRefused { why, mode, .. } if mode.obeys() => self.no_retry = Some(why),
            Event::Hedged { after, .. } => self.wait_for(Waiting::new(Cause::Hedge { after }, now)),
            Event::CallEnded { outcome, .. } => {
                self.outcome = Some(outcome);
                if let Outcome::Failed { why, .. } = outcome {
                    self.no_retry = Some(why);
                }
            }
            _ => {}
        }
    }

    /// The caller does not want its answer any more: what is on its way stays without an end, unless that is
    /// told afterwards.
    pub fn give_up(&mut self) {
        self.given_up = self.outcome.is_none();
    }

    /// Nothing else of the call waits.
    fn wait_for(&mut self, waiting: Waiting) {
        self.waiting = Some(waiting);
        self.waiting_next = None;
    }

    fn begin(
        &mut self,
        now: Instant,
        attempt: u8,
        endpoint: Endpoint,
        end: Waited,
        exchange: Option<ExchangeId>,
        ended: Option<Ended>,
    ) {
        let waiting = self.waiting.take().unwrap_or_else(|| Waiting::new(Cause::First, now));
        (self.waiting, self.no_retry) = (self.waiting_next.take(), None);
        if self.attempts.len() >= Self::MAX_ATTEMPTS {
            // What is on its way is yet to end.
            let ended = self.attempts.iter().position(|one| one.ended.is_some());
            self.attempts.remove(ended.unwrap_or(0));
            self.forgotten = self.forgotten.saturating_add(1);
        }
        let Waiting { cause, since, pick, .. } = waiting;
        self.attempts.push(AttemptHistory {
            attempt,
            cause,
            pick,
            endpoint,
            waited: now - since,
            waited_for: waiting.waited_for(now, end),
            took: None,
            ended,
            exchange,
            sent_at: now,
        });
    }

    fn end(&mut self, now: Instant, exchange: ExchangeId, ended: Ended) {
        let sent = self.attempts.iter_mut().find(|one| one.exchange == Some(exchange));
        if let Some(one) = sent {
            one.took = Some(now - one.sent_at);
            one.ended = Some(ended);
        }
        if let Ended::Stale { .. } = ended {
            let again = Waiting::new(Cause::Stale, now);
            match self.waiting {
                // A hedge that waits is served first.
                Some(Waiting { cause: Cause::Hedge { .. }, .. }) => self.waiting_next = Some(again),
                _ => self.wait_for(again),
            }
        }
    }
}
