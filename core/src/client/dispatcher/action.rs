//! What goes into a [`Dispatcher`](super::Dispatcher), and what comes out: plain values, so that a
//! recording, a replay and a simulation are wrappers and not rewrites.

use core::time::Duration;

use http::StatusCode;

use crate::error::{Delivery, Fault, Phase};
use crate::mesh::{Endpoint, ProbeRun};
use crate::policy::Priority;
use crate::resilience::{NoRetry, OpenReason, Replay, RetryPolicy, Safety};
use crate::table::Key;
use crate::time::Instant;

/// A call, from [`start`](super::Dispatcher::start) to its [`Action::Complete`]. Stale afterwards.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CallId(pub(super) Key);

/// One attempt of a call on one connection: what is sent, cancelled, answered and blamed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ExchangeId(pub(super) Key);

/// A connection, from [`Action::Dial`] to its end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnectionId(pub(super) Key);

impl CallId {
    /// An id that no call has: every input about it changes nothing.
    pub const NONE: Self = Self(Key::NOBODY);
}

impl ExchangeId {
    /// An id that no exchange has: every input about it changes nothing.
    pub const NONE: Self = Self(Key::NOBODY);
}

impl ConnectionId {
    /// The place in a table of connections; below the highest number ever open at once.
    pub fn index(self) -> usize {
        self.0.index() as usize
    }
}

/// What is to be known of a call before it starts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct CallSpec {
    /// The embedder's name for it; comes back in every action about it.
    pub token: u64,
    /// Over all attempts.
    pub deadline: Instant,
    /// What the deadline covers.
    pub covers: Covers,
    /// What happens if it is processed twice.
    pub safety: Safety,
    /// Whether others may be on its connection.
    pub sharing: Sharing,
    /// Who is served first where not all can be.
    pub priority: Priority,
    /// Whether it may be sent twice at a time, where the policy has hedges and its safety allows it.
    pub hedge: bool,
    /// Its own rules, instead of the destination's. The budget is the destination's always.
    pub retry: Option<RetryPolicy>,
    /// How long one attempt has for its head, instead of what the policy says.
    pub attempt_timeout: Option<Duration>,
    /// How long it waits for a connection at a time, instead of what the policy says.
    pub pool_timeout: Option<Duration>,
    /// The route that it is of, as `GET /orders/{id}`: one that fails is left alone by its own breaker,
    /// and its endpoint is not blamed for it. The first names that come have one, up to
    /// [`max_routes`](super::Policy::max_routes).
    pub route: Option<&'static str>,
    /// What decides which endpoint it goes to, where that is decided by
    /// [key](crate::mesh::Algorithm::RingHash). Default: none, any endpoint will do.
    pub hash_key: Option<u64>,
}

impl CallSpec {
    /// A call that leaves everything else at its default.
    pub fn new(token: u64, deadline: Instant, safety: Safety) -> Self {
        Self {
            token,
            deadline,
            covers: Covers::default(),
            safety,
            sharing: Sharing::default(),
            priority: Priority::default(),
            hedge: true,
            retry: None,
            attempt_timeout: None,
            pool_timeout: None,
            route: None,
            hash_key: None,
        }
    }
}

/// Whether a call shares its connection, where that can carry several exchanges at once.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
pub enum Sharing {
    /// Others may be there before it, beside it and after it.
    #[default]
    Shared,
    /// It takes a connection that carries nothing, and nothing joins it until its exchange is over:
    /// over HTTP/1.1, what has a body, must not be processed twice, or asks to leave HTTP.
    Exclusive,
}

/// How far the deadline of a call reaches.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
pub enum Covers {
    /// To the head of the answer; who streams a body has other timers.
    #[default]
    Head,
    /// To the last byte of the answer.
    Body,
}

/// What the head of an answer says.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct HeadFacts {
    /// Its status.
    pub status: StatusCode,
    /// What it says about how far the request got.
    pub delivery: Delivery,
    /// How long it asks to wait.
    pub retry_after: Option<Duration>,
    /// Whether the request could be sent once more.
    pub replay: Replay,
}

/// What becomes of an answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[must_use]
pub enum HeadVerdict {
    /// It is the answer of the call.
    Deliver,
    /// Another attempt follows, or another answer was faster. The exchange is still to be ended, with
    /// [`finished`](super::Dispatcher::finished): drained, if that is cheap, or closed.
    Discard,
}

/// Whether a connection can carry another exchange.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reuse {
    /// It is clean.
    Keep,
    /// It is gone, or to be closed by the embedder.
    Close,
}

/// How an attempt failed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Failure {
    /// How far the request got.
    pub delivery: Delivery,
    /// Where it failed.
    pub phase: Phase,
    /// Whose fault it was; what is [local](Fault::Local) is not tried again. A connection that ended is
    /// the [network's](Fault::Network); what did not come in time, or made no sense, is the
    /// [peer's](Fault::Peer).
    pub fault: Fault,
}

/// Why a call was not let through.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// There is no endpoint.
    NoEndpoint,
    /// No endpoint is well, and they are not asked in spite of that.
    NoHealthyEndpoint,
    /// No breaker lets a call through.
    Breaker {
        /// Why.
        why: OpenReason,
        /// When it is worth asking again, if somebody knows.
        until: Option<Instant>,
    },
    /// The breaker of its route lets no call through.
    Route {
        /// Why.
        why: OpenReason,
        /// When it is worth asking again, if somebody knows.
        until: Option<Instant>,
    },
    /// As many calls are on their way as the destination has proved to bear.
    Admission,
    /// Too many calls wait for a connection.
    PoolFull,
    /// Too many calls.
    TooManyCalls,
    /// No calls are taken any more.
    Draining,
}

impl Refusal {
    /// A fixed, lower-case name, fit for logs and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoEndpoint => "no_endpoint",
            Self::NoHealthyEndpoint => "no_healthy_endpoint",
            Self::Breaker { why, .. } => why.name(),
            Self::Route { why, .. } => why.route_name(),
            Self::Admission => "admission",
            Self::PoolFull => "pool_full",
            Self::TooManyCalls => "too_many_calls",
            Self::Draining => "draining",
        }
    }
}

/// How a call ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Outcome {
    /// Its answer was delivered, to the end.
    Done,
    /// The last attempt failed, and there is no other.
    Failed {
        /// How.
        failure: Failure,
        /// Why there is no other.
        why: NoRetry,
    },
    /// It was not let through.
    Refused(Refusal),
    /// Its deadline came in this phase.
    TimedOut(Phase),
    /// It waited for a connection as long as it may [at a time](CallSpec::pool_timeout).
    PoolTimeout,
}

impl Outcome {
    /// A fixed, lower-case name, fit for logs and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed { .. } => "failed",
            Self::Refused(_) => "refused",
            Self::TimedOut(_) | Self::PoolTimeout => "timed_out",
        }
    }

    /// Why, by the name of the table that says it: why there was no other attempt, why it was not let
    /// through, in which phase its time was over. Empty for what is done.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Done => "",
            Self::Failed { why, .. } => why.name(),
            Self::Refused(refusal) => refusal.name(),
            Self::TimedOut(phase) => phase.name(),
            Self::PoolTimeout => Phase::Pool.name(),
        }
    }
}

/// What came of an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Ended {
    /// The head of an answer is here. Its call may be tried again, instead of being given it.
    Answered {
        /// Its status.
        status: StatusCode,
        /// What it says about how far the request got.
        delivery: Delivery,
    },
    /// It failed.
    Failed(Failure),
    /// Its connection, which had been used before, ended before anything of an answer came: nobody's
    /// failure, and it is made again at once.
    Stale {
        /// How far the request got.
        delivery: Delivery,
    },
    /// The dispatcher gave it up.
    Cut(Cut),
    /// Its call was given up by its caller, before anything of an answer came.
    Abandoned,
}

/// Why an exchange is given up.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Cut {
    /// The call's deadline.
    Deadline,
    /// The attempt's own.
    AttemptTimeout,
    /// Another attempt of the same call was faster.
    HedgeLost,
}

/// Why a connection is to be closed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Retire {
    /// Nobody used it for long enough.
    Idle,
    /// It is too old, or was used often enough.
    Aged,
    /// Its place is needed for another endpoint.
    Evicted,
    /// The breaker of its endpoint opened.
    BreakerOpened,
    /// Its endpoint is no more.
    EndpointRetired,
    /// It was opened under another identity, or while others were trusted.
    TrustChanged,
    /// It could not be opened in time.
    ConnectTimeout,
    /// Its exchange is given up.
    Cut(Cut),
    /// No calls are taken any more.
    Draining,
}

/// What the embedder is to do, in this order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Action {
    /// Open a connection, and say [`connected`](super::Dispatcher::connected) or
    /// [`dial_failed`](super::Dispatcher::dial_failed).
    Dial {
        /// Its name.
        connection: ConnectionId,
        /// To whom.
        endpoint: Endpoint,
        /// After that it is of no use.
        by: Instant,
    },
    /// Ask an endpoint how it is, over a connection of its own, and say
    /// [`probed`](super::Dispatcher::probed).
    Probe {
        /// The name of this probe.
        run: ProbeRun,
        /// Whom.
        endpoint: Endpoint,
        /// After that nobody wants to know: it has failed.
        by: Instant,
    },
    /// Send the request of a call.
    Send {
        /// Whose.
        token: u64,
        /// The name of this attempt.
        exchange: ExchangeId,
        /// On this connection.
        connection: ConnectionId,
        /// Whether others may be on the connection meanwhile.
        sharing: Sharing,
        /// Which attempt it is, counted from 1.
        attempt: u8,
        /// Nothing was sent on the connection yet. Else look for what came while it was idle.
        first_use: bool,
    },
    /// Give up one exchange of a connection that carries several. It is over for the dispatcher.
    Reset {
        /// Whose.
        token: u64,
        /// Which.
        exchange: ExchangeId,
        /// On this connection.
        connection: ConnectionId,
        /// Why.
        why: Cut,
    },
    /// Close a connection, or stop opening it. Its place under the caps is given away already: an
    /// embedder that is slow to close may exceed them for a moment.
    Close {
        /// Which.
        connection: ConnectionId,
        /// Why.
        why: Retire,
    },
    /// The call is over: exactly once for each call that is not abandoned, and after everything else
    /// about it.
    Complete {
        /// Whose.
        token: u64,
        /// How it ended.
        outcome: Outcome,
        /// How far the request got, over all attempts.
        delivery: Delivery,
        /// How many attempts were made.
        attempts: u8,
    },
}
