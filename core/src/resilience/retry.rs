//! Whether a call is tried again.

use core::fmt;
use core::time::Duration;

use http::{Method, StatusCode};

use super::{Backoff, BadBackoff, BudgetReason};
use crate::error::Delivery;
use crate::jitter::Jitter;
use crate::policy::Mode;

/// Whether, and when, a call is tried again. A plain value: a call may bring its own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RetryPolicy {
    /// What becomes of a retry. Default: it is made.
    pub mode: Mode,
    /// Attempts in all, the first one included: 1 to 10. Default 3.
    pub attempts: u8,
    /// How long to wait between them.
    pub backoff: Backoff,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { mode: Mode::Enforce, attempts: 3, backoff: Backoff::MESH }
    }
}

/// Why a [`RetryPolicy`] makes no sense.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum BadRetry {
    /// No attempt at all, or more than ten.
    Attempts,
    /// The backoff makes no sense.
    Backoff(BadBackoff),
}

/// What happens if a request is processed twice.
/// <https://www.rfc-editor.org/rfc/rfc9110#section-9.2>
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Safety {
    /// Nothing happens even once.
    Safe,
    /// The same as if it were processed once.
    Idempotent,
    /// The same, because it has an `Idempotency-Key`.
    Keyed,
    /// Nobody knows.
    Unsafe,
}

impl Safety {
    /// What the method says.
    pub fn of(method: &Method) -> Self {
        if method.is_safe() {
            Self::Safe
        } else if method.is_idempotent() {
            Self::Idempotent
        } else {
            Self::Unsafe
        }
    }

    /// The same request with an `Idempotency-Key`.
    pub const fn keyed(self) -> Self {
        match self {
            Self::Unsafe => Self::Keyed,
            known => known,
        }
    }

    /// Whether it may be sent again although it may have been processed.
    pub const fn is_repeatable(self) -> bool {
        !matches!(self, Self::Unsafe)
    }
}

/// Whether the body of a request can be sent once more. Ask when an attempt ended: it changes while a
/// body is read.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Replay {
    /// It is still there, or there is none.
    Possible,
    /// Some of it is gone.
    Impossible,
}

/// How an attempt ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Attempt {
    /// The head of an answer is there; nobody has seen it yet.
    Answered {
        /// Its status.
        status: StatusCode,
        /// As [`ResponseHead::delivery`](crate::head::ResponseHead::delivery) says.
        delivery: Delivery,
        /// How long the endpoint asks to wait.
        retry_after: Option<Duration>,
    },
    /// It failed without an answer.
    Failed(Delivery),
    /// The head was given to the caller; what failed came later.
    Delivered,
    /// It was never made: the breaker is open, or there is no room for more calls.
    NotAdmitted,
}

impl Attempt {
    /// Whether another one would not do better, whatever the call is.
    pub const fn is_final(&self) -> bool {
        match self {
            Self::Answered { status, delivery: Delivery::Processed, .. } => {
                !matches!(*status, StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT)
            }
            Self::Failed(Delivery::Processed) => true,
            Self::Answered { .. } | Self::Failed(_) | Self::Delivered | Self::NotAdmitted => false,
        }
    }

    /// What decided about a wait of this length.
    pub(crate) fn delay(&self, wait: Duration) -> RetryDelay {
        match *self {
            Self::Answered { retry_after: Some(asked), .. } if asked == wait => {
                RetryDelay::RetryAfter
            }
            _ => RetryDelay::Backoff,
        }
    }
}

/// What is to be known of a call for [`RetryPolicy::decide`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RetryFacts {
    /// Attempts that were made, this one included.
    pub attempts: u8,
    /// How the last one ended.
    pub attempt: Attempt,
    /// What happens if the request is processed twice.
    pub safety: Safety,
    /// Whether its body is still there.
    pub replay: Replay,
    /// What is left until the deadline of the call.
    pub remaining: Duration,
}

/// Whether to try again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[must_use]
pub enum RetryVerdict {
    /// Once more, if the [budget](super::Budget) agrees.
    Retry {
        /// After this wait, which ends before the deadline.
        after: Duration,
    },
    /// This was the last one.
    GiveUp(NoRetry),
}

/// What decides how long a call waits until it is tried again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum RetryDelay {
    /// The [backoff](Backoff) of the client.
    Backoff,
    /// The endpoint asked for it, with `Retry-After`.
    RetryAfter,
}

/// Why a call is not tried again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum NoRetry {
    /// Retries are off, or only tried in shadow.
    Off,
    /// The answer would not get better.
    Final,
    /// The request may have been processed, and must not be twice.
    NotRepeatable,
    /// The caller has the head already.
    Delivered,
    /// It was refused here: the same would happen again.
    NotAdmitted,
    /// The body cannot be sent once more.
    BodySpent,
    /// It was tried often enough.
    Attempts,
    /// The wait would end after the deadline.
    Deadline,
    /// The endpoint asks for a wait that would end after the deadline.
    RetryAfterBeyondDeadline,
    /// The destination had its retries.
    Budget(BudgetReason),
}

impl NoRetry {
    /// A fixed, lower-case name, fit for logs and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "retries_off",
            Self::Final => "final_answer",
            Self::NotRepeatable => "not_repeatable",
            Self::Delivered => "head_delivered",
            Self::NotAdmitted => "not_admitted",
            Self::BodySpent => "body_spent",
            Self::Attempts => "attempts",
            Self::Deadline => "deadline",
            Self::RetryAfterBeyondDeadline => "retry_after_exceeds_deadline",
            Self::Budget(reason) => reason.name(),
        }
    }
}

impl RetryPolicy {
    /// Refuses what makes no sense.
    pub fn check(&self) -> Result<(), BadRetry> {
        if !(1..=10).contains(&self.attempts) {
            return Err(BadRetry::Attempts);
        }
        self.backoff.check().map_err(BadRetry::Backoff)
    }

    /// Whether to try again. Draws from `jitter` only if so. The budget is asked afterwards, by the
    /// caller, so that a call that gives up anyway takes nothing from it.
    pub fn decide(&self, facts: &RetryFacts, jitter: &mut Jitter) -> RetryVerdict {
        match self.consider(facts, jitter) {
            Ok(after) => RetryVerdict::Retry { after },
            Err(reason) => RetryVerdict::GiveUp(reason),
        }
    }

    fn consider(&self, facts: &RetryFacts, jitter: &mut Jitter) -> Result<Duration, NoRetry> {
        let retry_after = worthwhile(facts.attempt, facts.safety)?;
        if facts.replay == Replay::Impossible {
            return Err(NoRetry::BodySpent);
        }
        if facts.attempts >= self.attempts {
            return Err(NoRetry::Attempts);
        }
        if retry_after.is_some_and(|wait| wait >= facts.remaining) {
            return Err(NoRetry::RetryAfterBeyondDeadline);
        }
        let retry = u32::from(facts.attempts.saturating_sub(1));
        let after = self.backoff.delay(retry, jitter).max(retry_after.unwrap_or_default());
        if after >= facts.remaining { Err(NoRetry::Deadline) } else { Ok(after) }
    }
}

/// Whether another attempt may do better, and do no harm; and the wait that the endpoint asks for.
fn worthwhile(attempt: Attempt, safety: Safety) -> Result<Option<Duration>, NoRetry> {
    if attempt.is_final() {
        return Err(NoRetry::Final);
    }
    let repeatable = if safety.is_repeatable() { Ok(()) } else { Err(NoRetry::NotRepeatable) };
    match attempt {
        Attempt::Delivered => Err(NoRetry::Delivered),
        Attempt::NotAdmitted => Err(NoRetry::NotAdmitted),
        Attempt::Failed(Delivery::NotSent | Delivery::Refused) => Ok(None),
        Attempt::Failed(_) => repeatable.map(|()| None),
        Attempt::Answered { delivery, retry_after, .. } => match delivery {
            Delivery::NotSent | Delivery::Refused => Ok(retry_after),
            Delivery::MaybeProcessed | Delivery::Processed => repeatable.map(|()| retry_after),
        },
    }
}

impl fmt::Display for BadRetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attempts => f.write_str("a call has 1 to 10 attempts"),
            Self::Backoff(why) => why.fmt(f),
        }
    }
}

impl core::error::Error for BadRetry {}
