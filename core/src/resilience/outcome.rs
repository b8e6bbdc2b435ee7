//! What an attempt says about its endpoint.

use core::time::Duration;

use http::StatusCode;

use crate::error::Fault;

/// What an attempt says about its endpoint. One that its caller gave up says nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Outcome {
    /// It answers.
    Success,
    /// 429: alive, and asked too much.
    Limited,
    /// It does not do what it is there for.
    Failure,
}

impl Outcome {
    /// What an answer says: 500, 502, 503 and 504 are failures. 501 and 505, like any other 4xx than
    /// 429, say something about the request.
    pub const fn of_status(status: StatusCode) -> Self {
        match status.as_u16() {
            429 => Self::Limited,
            500 | 502..=504 => Self::Failure,
            _ => Self::Success,
        }
    }

    /// What an attempt without an answer says: nothing, if the fault is ours.
    pub const fn of_fault(fault: Fault) -> Option<Self> {
        match fault {
            Fault::Local => None,
            Fault::Peer | Fault::Network => Some(Self::Failure),
        }
    }

    /// A fixed, lower-case name, fit for logs and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Limited => "limited",
            Self::Failure => "failure",
        }
    }
}

/// What is told of an attempt, once its head is there or will not come.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Report {
    /// How it went.
    pub outcome: Outcome,
    /// How long that took.
    pub latency: Duration,
    /// How long the endpoint asks to be left alone.
    pub retry_after: Option<Duration>,
}
