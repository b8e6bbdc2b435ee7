//! How long each part of a call may take.

use core::fmt;
use core::time::Duration;

use crate::error::Phase;

/// How long each part of a call may take. Where there is no figure, it is what is left of the call.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Timeouts {
    /// All attempts, to the head of the last answer. Default 30 s.
    pub call: Duration,
    /// One attempt, to its head. Default: none.
    pub attempt: Option<Duration>,
    /// Waiting for a connection of the pool. Default: none.
    pub pool: Option<Duration>,
    /// Turning a name into addresses. Default: none.
    pub resolve: Option<Duration>,
    /// Opening a connection. Default 1 s.
    pub connect: Option<Duration>,
    /// Securing it. Default 2 s.
    pub tls: Option<Duration>,
    /// Waiting for a response head. Default: none.
    pub head: Option<Duration>,
    /// Between two pieces of a response body. Default 15 s.
    pub between_bytes: Option<Duration>,
    /// The whole response body. Default: none, and the call does not limit it either.
    pub body: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            call: Duration::from_secs(30),
            attempt: None,
            pool: None,
            resolve: None,
            connect: Some(Duration::from_secs(1)),
            tls: Some(Duration::from_secs(2)),
            head: None,
            between_bytes: Some(Duration::from_secs(15)),
            body: None,
        }
    }
}

/// A timeout that makes no sense.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum BadTimeouts {
    /// Nothing could be done in it.
    Zero,
    /// A part of the call would have longer than the whole of it.
    AboveCall,
}

impl Timeouts {
    /// Refuses what makes no sense.
    pub fn check(&self) -> Result<(), BadTimeouts> {
        let parts = [self.attempt, self.pool, self.resolve, self.connect, self.tls, self.head];
        let all = parts.into_iter().chain([Some(self.call), self.between_bytes, self.body]);
        if all.flatten().any(|time| time.is_zero()) {
            return Err(BadTimeouts::Zero);
        }
        // Those with a default are cut by `within`, so that a short call needs no second figure.
        if [self.attempt, self.pool, self.head].into_iter().flatten().any(|part| part > self.call) {
            return Err(BadTimeouts::AboveCall);
        }
        Ok(())
    }

    /// How long a phase may take when so much of the call is left. `None`: as long as it likes.
    pub fn within(&self, phase: Phase, remaining: Duration) -> Option<Duration> {
        let own = match phase {
            Phase::Pool => self.pool,
            Phase::Resolve => self.resolve,
            Phase::Connect => self.connect,
            Phase::Tls => self.tls,
            Phase::ResponseHead => self.head,
            Phase::Token | Phase::RequestHead | Phase::RequestBody => None,
            // The deadline of the call ends with the head.
            Phase::ResponseBody => return self.body,
            Phase::Idle | Phase::Tunnel | Phase::WebSocket => return None,
        };
        Some(own.map_or(remaining, |own| own.min(remaining)))
    }
}

impl fmt::Display for BadTimeouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Zero => "a timeout is some time; leave it out to have none",
            Self::AboveCall => "a part of a call cannot take longer than the whole of it",
        })
    }
}

impl core::error::Error for BadTimeouts {}
