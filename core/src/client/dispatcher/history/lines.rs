//! A history in lines, for people.

use core::fmt;

use super::{AttemptHistory, CallHistory, Cause, Waited};
use crate::client::dispatcher::{Cut, Ended, Failure, Outcome, Pick, Scored};
use crate::error::{Delivery, Fault, Phase};
use crate::mesh::Endpoint;
use crate::resilience::RetryDelay;

impl CallHistory {
    /// The same lines as those of its [`Display`](fmt::Display), with names for the endpoints.
    pub fn display_with(
        &self,
        name: impl Fn(Endpoint, &mut fmt::Formatter<'_>) -> fmt::Result,
    ) -> impl fmt::Display {
        Named { history: self, name }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, name: Naming<'_>) -> fmt::Result {
        match self.forgotten {
            0 => {}
            1 => writeln!(f, "1 attempt before was not kept")?,
            forgotten => writeln!(f, "{forgotten} attempts before were not kept")?,
        }
        let on_its_way = if self.given_up { "given up" } else { "on its way" };
        for attempt in &self.attempts {
            attempt.write(f, name, on_its_way)?;
            writeln!(f)?;
        }
        if self.outcome.is_some() || self.given_up {
            for waiting in self.waiting.iter().chain(&self.waiting_next) {
                write!(f, "not sent")?;
                write_cause(f, waiting.cause)?;
                match waiting.held_by() {
                    Some(limit) => writeln!(f, ": waited, as {limit} attempts were on their way")?,
                    None => writeln!(f)?,
                }
            }
        }
        if let Some(why) = self.no_retry {
            writeln!(f, "no further attempt: {}", why.name())?;
        }
        match self.outcome {
            Some(Outcome::TimedOut(phase)) => {
                writeln!(f, "deadline exceeded in the {}", phase.name())?;
            }
            Some(Outcome::PoolTimeout) => writeln!(f, "timed out in the {}", Phase::Pool.name())?,
            Some(Outcome::Refused(refusal)) => writeln!(f, "refused: {}", refusal.name())?,
            Some(Outcome::Done | Outcome::Failed { .. }) | None => {}
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

/// Writes the name of an endpoint.
type Naming<'a> = &'a dyn Fn(Endpoint, &mut fmt::Formatter<'_>) -> fmt::Result;

/// A history, and the names of its endpoints.
struct Named<'a, F> {
    history: &'a CallHistory,
    name: F,
}

impl<F> fmt::Display for Named<'_, F>
where
    F: Fn(Endpoint, &mut fmt::Formatter<'_>) -> fmt::Result,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.history.write(f, &self.name)
    }
}

impl AttemptHistory {
    fn write(&self, f: &mut fmt::Formatter<'_>, name: Naming<'_>, on_its_way: &str) -> fmt::Result {
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
            None => write!(f, "; {on_its_way}"),
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
                write!(f, "; failed in the {}", phase.name())?;
                // What was not sent failed while it waited.
                if let Some(took) = self.took {
                    write!(f, " after {took:.1?}")?;
                }
                write!(f, ", {whose}, {}", reached(delivery))
            }
            Some(Ended::Stale { delivery }) => {
                write!(f, "; the connection had ended, {}", reached(delivery))
            }
            Some(Ended::Cut(Cut::Deadline)) => write!(f, "; cut by the deadline after {took:.1?}"),
            Some(Ended::Cut(Cut::AttemptTimeout)) => write!(f, "; timed out after {took:.1?}"),
            Some(Ended::Cut(Cut::HedgeLost)) => write!(f, "; overtaken after {took:.1?}"),
            Some(Ended::Abandoned) => write!(f, "; given up after {took:.1?}"),
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
