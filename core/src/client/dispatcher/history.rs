//! One call, looked back at: an observer that keeps what is decided about it.

use core::fmt;
use core::time::Duration;

use super::action::{Cut, Ended, Failure, Outcome};
use super::explain::{Pick, Scored};
use crate::error::{Delivery, Fault};
use crate::mesh::Endpoint;
use crate::observe::Event;
use crate::resilience::{NoRetry, RetryDelay};
use crate::time::Instant;

/// Attempts that are kept: ten of the [rules](crate::resilience::RetryPolicy), a hedge, and those that a
/// kept connection cost.
const ATTEMPTS: usize = 32;

/// What became of a call, attempt by attempt, and why.
///
/// Whoever [observes](super::Dispatcher::observe) a dispatcher hands it what is
/// [told](crate::machine::Machine::poll_observed), and it keeps what is about its call. [`Display`](fmt::Display)
/// writes it in lines.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CallHistory {
    token: u64,
    /// Each attempt that was sent, or charged with a connection that could not be opened, in order; the
    /// first 32.
    pub attempts: Vec<AttemptHistory>,
    /// What the next attempt waits for, or waited for when the call ended.
    pub waiting: Option<Waiting>,
    /// Why there was no further attempt, although the last one failed, or was answered with a failure.
    pub no_retry: Option<NoRetry>,
    /// How the call ended; `None`: it is on its way, or its answer is being read.
    pub outcome: Option<Outcome>,
    /// Decisions that were not kept, of this call or of others: too many at once.
    pub lost: u64,
}

/// An attempt, before it is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Waiting {
    /// Why there is one.
    pub cause: Cause,
    /// Since when it may be sent: for one that is made again later, the time that it waits for.
    pub since: Instant,
    /// What was chosen for it; `None`: nothing yet.
    pub pick: Option<Pick>,
    /// It waits as so many attempts are on their way: as many as the destination bears.
    pub limit: Option<u32>,
}

/// An attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AttemptHistory {
    /// Which, counted from 1. One that a kept connection cost has the number of the one that replaced it.
    pub attempt: u8,
    /// Why it was made.
    pub cause: Cause,
    /// What was chosen for it, and what was not.
    pub pick: Option<Pick>,
    /// Whose it was: the first connection that had room may be that of another endpoint.
    pub endpoint: Endpoint,
    /// How long it waited, after the wait of its [cause](Cause).
    pub waited: Duration,
    /// For what.
    pub waited_for: Waited,
    /// How long it took, to the head of its answer; `None`: it is on its way.
    pub took: Option<Duration>,
    /// What came of it; `None`: it is on its way.
    pub ended: Option<Ended>,
    sent_at: Instant,
}

/// Why an attempt was made.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
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
        Self { cause, since, pick: None, limit: None }
    }
}

impl CallHistory {
    /// The history of the call that has this token, and that begins now.
    pub const fn new(token: u64, now: Instant) -> Self {
        Self {
            token,
            attempts: Vec::new(),
            waiting: Some(Waiting::new(Cause::First, now)),
            no_retry: None,
            outcome: None,
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
            Event::Picked { pick, .. } => self.wait(now).pick = Some(pick),
            Event::Held { limit, mode, .. } if mode.obeys() => {
                self.wait(now).limit = Some(limit);
            }
            Event::AttemptSent { attempt, endpoint, first_use, .. } => {
                let waited_for =
                    if first_use { Waited::NewConnection } else { Waited::KeptConnection };
                self.begin(now, attempt, endpoint, waited_for);
            }
            Event::AttemptEnded { attempt, endpoint, ended, .. } => {
                self.end(now, attempt, endpoint, ended);
            }
            Event::RetryScheduled { after, delay, mode, .. } if mode.obeys() => {
                let cause = Cause::Retry { after, delay };
                self.waiting = Some(Waiting::new(cause, now + after));
            }
            Event::RetryRefused { why, mode, .. } if mode.obeys() => self.no_retry = Some(why),
            Event::Hedged { after, .. } => {
                self.waiting = Some(Waiting::new(Cause::Hedge { after }, now));
            }
            Event::CallEnded { outcome, .. } => {
                self.outcome = Some(outcome);
                if let Outcome::Failed { why, .. } = outcome {
                    self.no_retry = Some(why);
                }
            }
            _ => {}
        }
    }

    fn wait(&mut self, now: Instant) -> &mut Waiting {
        self.waiting.get_or_insert_with(|| Waiting::new(Cause::First, now))
    }

    fn begin(&mut self, now: Instant, attempt: u8, endpoint: Endpoint, waited_for: Waited) {
        let Waiting { cause, since, pick, limit } = *self.wait(now);
        (self.waiting, self.no_retry) = (None, None);
        if self.attempts.len() < ATTEMPTS {
            self.attempts.push(AttemptHistory {
                attempt,
                cause,
                pick,
                endpoint,
                waited: now - since,
                waited_for: limit.map_or(waited_for, Waited::Limit),
                took: None,
                ended: None,
                sent_at: now,
            });
        }
    }

    fn end(&mut self, now: Instant, attempt: u8, endpoint: Endpoint, ended: Ended) {
        if let Ended::Answered { .. } = ended {
            // It is no failure, unless what follows says so.
            self.no_retry = None;
        }
        let on_its_way = |one: &AttemptHistory| one.attempt == attempt && one.ended.is_none();
        if !self.attempts.iter().any(on_its_way) {
            self.begin(now, attempt, endpoint, Waited::NoConnection);
        }
        if let Some(one) = self.attempts.iter_mut().rev().find(|one| on_its_way(one)) {
            one.took = Some(now - one.sent_at);
            one.ended = Some(ended);
        }
        if let Ended::Stale { .. } = ended {
            self.waiting = Some(Waiting::new(Cause::Stale, now));
        }
    }

    /// Writes it in lines, with names for the endpoints.
    ///
    /// # Errors
    ///
    /// Those of whatever it is written to.
    pub fn write(
        &self,
        f: &mut fmt::Formatter<'_>,
        name: &dyn Fn(Endpoint, &mut fmt::Formatter<'_>) -> fmt::Result,
    ) -> fmt::Result {
        for attempt in &self.attempts {
            attempt.write(f, name)?;
            writeln!(f)?;
        }
        if let (Some(Waiting { cause, limit, .. }), Some(_)) = (self.waiting, self.outcome) {
            write!(f, "not sent")?;
            write_cause(f, cause)?;
            match limit {
                Some(limit) => writeln!(f, ": waited, as {limit} attempts were on their way")?,
                None => writeln!(f)?,
            }
        }
        match (self.no_retry, self.outcome) {
            (Some(why), _) => writeln!(f, "no further attempt: {}", why.name())?,
            (None, Some(outcome)) if outcome != Outcome::Done => {
                writeln!(f, "{}: {}", outcome.name(), outcome.reason())?;
            }
            (None, _) => {}
        }
        match self.lost {
            0 => Ok(()),
            lost => writeln!(f, "{lost} decisions were not kept"),
        }
    }
}

impl fmt::Display for CallHistory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, &|Endpoint(number), f| write!(f, "endpoint {number}"))
    }
}

impl AttemptHistory {
    fn write(
        &self,
        f: &mut fmt::Formatter<'_>,
        name: &dyn Fn(Endpoint, &mut fmt::Formatter<'_>) -> fmt::Result,
    ) -> fmt::Result {
        write!(f, "attempt {}", self.attempt)?;
        write_cause(f, self.cause)?;
        write!(f, ": ")?;
        name(self.endpoint, f)?;
        match self.pick {
            Some(Pick { chosen, .. }) if chosen.endpoint != self.endpoint => {
                write!(f, " had room before ")?;
                name(chosen.endpoint, f)?;
            }
            Some(Pick { chosen, runner_up: Some(Scored { endpoint, score }), .. }) => {
                write!(f, " (cost {}) rather than ", chosen.score)?;
                name(endpoint, f)?;
                write!(f, " ({score})")?;
            }
            _ => {}
        }
        let waited = self.waited;
        match self.waited_for {
            Waited::KeptConnection if waited.is_zero() => write!(f, ", on a kept connection"),
            Waited::KeptConnection => write!(f, ", on a kept connection after {waited:.1?}"),
            Waited::NewConnection => write!(f, ", on a new connection after {waited:.1?}"),
            Waited::NoConnection => write!(f, ", without a connection after {waited:.1?}"),
            Waited::Limit(limit) => write!(f, ", after {waited:.1?}, as {limit} were on their way"),
        }?;
        let took = self.took.unwrap_or_default();
        match self.ended {
            None => write!(f, "; on its way"),
            Some(Ended::Answered { status, delivery }) => {
                write!(f, "; {} after {took:.1?}", status.as_u16())?;
                match delivery {
                    Delivery::Processed => Ok(()),
                    other => write!(f, ", {}", reached(other)),
                }
            }
            Some(Ended::Failed(Failure { delivery, phase, fault })) => {
                let whose = match fault {
                    Fault::Peer => "the peer's fault",
                    Fault::Network => "the network's fault",
                    Fault::Local => "a fault of one's own",
                };
                let phase = phase.name();
                write!(
                    f,
                    "; failed in the {phase} after {took:.1?}, {whose}, {}",
                    reached(delivery)
                )
            }
            Some(Ended::Stale { delivery }) => {
                write!(f, "; the connection had ended, {}", reached(delivery))
            }
            Some(Ended::Cut(Cut::Deadline)) => write!(f, "; cut by the deadline after {took:.1?}"),
            Some(Ended::Cut(Cut::AttemptTimeout)) => write!(f, "; timed out after {took:.1?}"),
            Some(Ended::Cut(Cut::HedgeLost)) => write!(f, "; overtaken after {took:.1?}"),
        }
    }
}

fn write_cause(f: &mut fmt::Formatter<'_>, cause: Cause) -> fmt::Result {
    match cause {
        Cause::First => Ok(()),
        Cause::Retry { after, delay: RetryDelay::Backoff } => {
            write!(f, ", {after:.1?} later by backoff")
        }
        Cause::Retry { after, delay: RetryDelay::RetryAfter } => {
            write!(f, ", {after:.1?} later as Retry-After asks")
        }
        Cause::Hedge { after } => write!(f, ", beside the first after {after:.1?}"),
        Cause::Stale => write!(f, ", at once"),
    }
}

/// How far a request got, in words.
const fn reached(delivery: Delivery) -> &'static str {
    match delivery {
        Delivery::NotSent => "not sent",
        Delivery::Refused => "refused",
        Delivery::MaybeProcessed => "maybe processed",
        Delivery::Processed => "processed",
    }
}
