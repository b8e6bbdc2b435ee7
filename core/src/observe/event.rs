//! Every event and every reason.

use core::time::Duration;

use http::StatusCode;

use crate::client::dispatcher::{Ended, Endpoint, ExchangeId, Outcome, Pick};
use crate::error::Error;
use crate::limit::{AskOutcome, LeaseVerdict, QuotaId, Shed, Stage, Verdict};
use crate::machine::CloseReason;
use crate::mesh::Outlier;
use crate::policy::{Mode, Priority, Refused};
use crate::resilience::{Change, NoRetry, RetryDelay};
use crate::security::{AccessVerdict, CorsKind, CorsReason, CredentialVerdict, Expiry};
use crate::server::drain::{Ending, Phase};
use crate::server::health::{CheckId, CheckState};
use crate::server::{ConnectionRefused, ReloadOutcome};
use crate::time::Instant;
#[cfg(feature = "websocket")]
use crate::websocket::{CloseCode, Side};

/// One decision of a machine. No strings: every reason is an enum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A request head was accepted (server) or sent (client).
    RequestStarted {
        /// Counts the exchanges of this connection, from 1.
        exchange: u64,
    },
    /// An interim response was sent (server) or received (client).
    Interim {
        /// The exchange it belongs to.
        exchange: u64,
        /// A 1xx status.
        status: StatusCode,
    },
    /// The head of a final response was sent (server) or received (client).
    Responded {
        /// The exchange it belongs to.
        exchange: u64,
        /// Its status.
        status: StatusCode,
    },
    /// Request and response are complete.
    ExchangeEnded {
        /// The exchange that ended.
        exchange: u64,
        /// Whether the connection can carry another one.
        reusable: bool,
    },
    /// The bytes from here on belong to another protocol.
    Upgraded {
        /// The exchange that asked for it.
        exchange: u64,
    },
    /// So many requests may be on their way from now on (client).
    PipelineWindow {
        /// At least 1.
        size: u32,
    },
    /// The machine failed.
    Failed(Error),
    /// The connection is over.
    Closed(CloseReason),
    /// The TLS handshake is complete.
    TlsEstablished {
        /// Whether the peer showed a certificate that was accepted.
        peer_authenticated: bool,
    },
    /// What a request is to CORS, and what it was granted (server).
    Cors {
        /// The exchange.
        exchange: u64,
        /// What it is.
        kind: CorsKind,
        /// Why it was granted what it was.
        reason: CorsReason,
    },
    /// What became of a credential (server).
    Credential {
        /// The exchange.
        exchange: u64,
        /// Whether it is good, and if not, why.
        verdict: CredentialVerdict,
    },
    /// Which access rule decided (server).
    Access {
        /// The exchange.
        exchange: u64,
        /// The rule, and what it says.
        verdict: AccessVerdict,
    },
    /// Whether a request was within its quotas (server).
    Quota {
        /// The exchange.
        exchange: u64,
        /// The one that refuses, or has the least left.
        quota: QuotaId,
        /// Whether it was.
        verdict: Verdict,
    },
    /// Whether a request was within a quota that replicas share (server).
    Lease {
        /// The exchange.
        exchange: u64,
        /// By which tokens it goes on, or why there are none.
        verdict: LeaseVerdict,
    },
    /// What came of an ask to the store of a quota that replicas share (server).
    Asked(AskOutcome),
    /// A layer of the stack refused a request, or would have (server).
    Refused {
        /// The exchange.
        exchange: u64,
        /// Which one, why, and whether that was enforced.
        refused: Refused,
    },
    /// A request waits, as others are served (server).
    Queued {
        /// The exchange.
        exchange: u64,
        /// How much it matters.
        priority: Priority,
    },
    /// A request was taken up (server).
    Admitted {
        /// The exchange.
        exchange: u64,
        /// How much it matters.
        priority: Priority,
        /// How long it had to wait.
        waited: Duration,
    },
    /// A request was turned away, or would have been, as not all can be served (server).
    Shed {
        /// The exchange.
        exchange: u64,
        /// How much it matters.
        priority: Priority,
        /// Why.
        why: Shed,
        /// Whether it was.
        mode: Mode,
    },
    /// The endpoints of the destination are others than before (client).
    EndpointsUpdated {
        /// Those that were not there before.
        added: u32,
        /// Those that are there no more.
        removed: u32,
        /// Those that have another weight, another zone, or another place on the ring.
        changed: u32,
        /// All that are there now.
        all: u32,
    },
    /// An endpoint was chosen for an attempt (client). Where no connection of it has room, the attempt
    /// takes the first that has, whosever that is.
    Picked {
        /// The call, by the embedder's name.
        token: u64,
        /// What was chosen, and what was not.
        pick: Pick,
    },
    /// An endpoint is worse than the others, and left alone, or would be (client).
    Ejected {
        /// Which.
        endpoint: Endpoint,
        /// Why.
        why: Outlier,
        /// Until then.
        until: Instant,
        /// Whether it is.
        mode: Mode,
    },
    /// An endpoint would be ejected, but too few would be left (client).
    EjectionSpared {
        /// Which.
        endpoint: Endpoint,
        /// Why.
        why: Outlier,
        /// Whether it would be.
        mode: Mode,
    },
    /// An endpoint that was ejected takes part again (client).
    EjectionEnded {
        /// Which.
        endpoint: Endpoint,
        /// Whether it did not.
        mode: Mode,
    },
    /// Probes found that an endpoint is up, or down (client).
    Probed {
        /// Which.
        endpoint: Endpoint,
        /// Whether it is up.
        up: bool,
        /// Whether that is heeded.
        mode: Mode,
    },
    /// So few endpoints are well that all of them are asked, or enough of them are again (client).
    Panic {
        /// Whether all of them are asked.
        panics: bool,
        /// Those that are well.
        well: u32,
        /// All that there are.
        all: u32,
    },
    /// An attempt of a call was sent to an endpoint (client).
    AttemptSent {
        /// The call, by the embedder's name.
        token: u64,
        /// Which attempt, counted from 1.
        attempt: u8,
        /// Its name.
        exchange: ExchangeId,
        /// To whom.
        endpoint: Endpoint,
        /// Nothing was sent on its connection before.
        first_use: bool,
    },
    /// An attempt of a call is over, or has the head of its answer (client). One that was charged with a
    /// connection that could not be opened was not sent.
    AttemptEnded {
        /// The call, by the embedder's name.
        token: u64,
        /// Which attempt, counted from 1.
        attempt: u8,
        /// Its name; `None`: it was not sent.
        exchange: Option<ExchangeId>,
        /// Whose it was.
        endpoint: Endpoint,
        /// What came of it.
        ended: Ended,
    },
    /// An attempt of a call that waited to be sent is not made: the other one goes on, or was answered
    /// (client). Of two that wait, it is the one that came last.
    AttemptDropped {
        /// The call, by the embedder's name.
        token: u64,
    },
    /// An attempt of a call waits, or would: as many as the destination bears are on their way
    /// (client).
    Held {
        /// The call, by the embedder's name.
        token: u64,
        /// So many.
        limit: u32,
        /// Whether it does.
        mode: Mode,
    },
    /// So many attempts may be on their way (client), or requests be served (server), at once from now
    /// on.
    ConcurrencyLimit {
        /// At least 1.
        limit: u32,
    },
    /// A call is tried again, or would be (client).
    RetryScheduled {
        /// The call, by the embedder's name.
        token: u64,
        /// Attempts that were made.
        attempts: u8,
        /// After this wait.
        after: Duration,
        /// Who says so.
        delay: RetryDelay,
        /// Whether it is.
        mode: Mode,
    },
    /// A call is not tried again, or would not be, although its last attempt failed (client).
    RetryRefused {
        /// The call, by the embedder's name.
        token: u64,
        /// Why.
        why: NoRetry,
        /// Whether that is enforced.
        mode: Mode,
    },
    /// A call is sent a second time, as its first attempt takes longer than most do (client).
    Hedged {
        /// The call, by the embedder's name.
        token: u64,
        /// So long after its first attempt.
        after: Duration,
    },
    /// A call is over (client).
    CallEnded {
        /// The call, by the embedder's name.
        token: u64,
        /// How it ended.
        outcome: Outcome,
        /// How many attempts were made.
        attempts: u8,
    },
    /// The breaker of an endpoint changed (client).
    Breaker {
        /// Whose.
        endpoint: Endpoint,
        /// To what, and why.
        change: Change,
    },
    /// The breaker of a route changed (client).
    RouteBreaker {
        /// Whose.
        route: &'static str,
        /// To what, and why.
        change: Change,
    },
    /// A server that leaves went on, or was told to stay (server).
    Drain(Phase),
    /// What became of a connection of a server that leaves (server).
    Drained(Ending),
    /// What is known of a health check changed (server).
    Health {
        /// Which one.
        check: CheckId,
        /// To what.
        state: CheckState,
    },
    /// What a server goes by was replaced, or its replacement was refused (server).
    Reload(ReloadOutcome),
    /// How long the certificates of a server are still good (server): told when they come into force,
    /// and when that changes.
    CertificateExpiry {
        /// The last moment of the first one that runs out, since 1970-01-01T00:00:00Z.
        not_after: Duration,
        /// What that means now.
        expiry: Expiry,
    },
    /// So many audit records did not fit (server).
    AuditLost(u64),
    /// Memory runs short, or does so no more (server).
    Pressure(Stage),
    /// A connection was cut, as memory runs short and its client took nothing of what waited for it
    /// (server).
    Reclaimed {
        /// Of so many bytes.
        bytes: u64,
    },
    /// A connection was dropped before anything was answered (server).
    ConnectionRefused(ConnectionRefused),
    /// A ping of the heartbeat was answered (WebSocket).
    #[cfg(feature = "websocket")]
    RoundTrip {
        /// After this time.
        rtt: Duration,
    },
    /// A connection was closed, in order or by being cut (WebSocket).
    #[cfg(feature = "websocket")]
    WebSocketClosed {
        /// The peer's code, or what stands for the lack of one.
        code: CloseCode,
        /// Who closed first.
        by: Side,
    },
    /// The log overflowed: this many events were dropped since the last one drained.
    Lost(u64),
}

impl Event {
    /// The call that it is about, by the embedder's name; `None`: it is about no call of a
    /// [dispatcher](crate::client::Dispatcher).
    pub const fn token(&self) -> Option<u64> {
        match *self {
            Self::Picked { token, .. }
            | Self::AttemptSent { token, .. }
            | Self::AttemptEnded { token, .. }
            | Self::AttemptDropped { token }
            | Self::Held { token, .. }
            | Self::RetryScheduled { token, .. }
            | Self::RetryRefused { token, .. }
            | Self::Hedged { token, .. }
            | Self::CallEnded { token, .. } => Some(token),
            _ => None,
        }
    }
}
