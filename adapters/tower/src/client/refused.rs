//! What a layer does not let through.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use sinew_core::limit::Full;
use sinew_core::resilience::OpenFor;

/// A layer did not let a call through: the destination was not asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Refused {
    /// The breaker is open.
    Breaker(OpenFor),
    /// As many calls are on their way as the destination bears.
    Concurrency(Full),
    /// The quota is used up; so long until it is worth asking again. `None`: it never has as many tokens.
    Rate(Option<Duration>),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Breaker(open) => write!(f, "not asked: {}", open.why.name()),
            Self::Concurrency(full) => {
                write!(f, "not asked: {} calls are on their way already", full.limit)
            }
            Self::Rate(_) => f.write_str("not asked: the quota is used up"),
        }
    }
}

impl Error for Refused {}
