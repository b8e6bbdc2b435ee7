//! Time as a value: the core owns no clock.
//!
//! Every method that may arm or fire a timer takes `now`. The embedder chooses the origin, so a
//! replay or a simulation runs the same code in virtual time.

use core::fmt;
use core::ops::{Add, Sub};
use core::time::Duration;

/// A point in time: nanoseconds since an origin that the embedder chooses.
///
/// All arithmetic saturates; a `u64` of nanoseconds covers 584 years.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The origin.
    pub const ZERO: Self = Self(0);
    /// The far end of time: never reached.
    pub const MAX: Self = Self(u64::MAX);

    /// The instant `nanos` nanoseconds after the origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Time passed since `earlier`; zero when `earlier` lies ahead.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        let seconds = rhs.as_secs().saturating_mul(1_000_000_000);
        Self(self.0.saturating_add(seconds).saturating_add(u64::from(rhs.subsec_nanos())))
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, rhs: Self) -> Duration {
        self.saturating_since(rhs)
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", Duration::from_nanos(self.0))
    }
}

/// When a machine wants to be woken, and which timer asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deadline {
    /// The time at which [`handle_timeout`](crate::Machine::handle_timeout) has work to do.
    pub at: Instant,
    /// The timer that fires then.
    pub why: Timer,
}

impl Deadline {
    /// The earlier of two optional deadlines.
    pub fn earlier(a: Option<Self>, b: Option<Self>) -> Option<Self> {
        match (a, b) {
            (Some(a), Some(b)) => Some(if b.at < a.at { b } else { a }),
            (a, b) => a.or(b),
        }
    }
}

/// The name of every timer of every machine, so that a timeout can say why.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Timer {
    /// Server: a fresh connection that has not sent a byte.
    FirstByte,
    /// Server: from the first byte of a head to its end.
    HeaderRead,
    /// Server: a request body below the minimum rate. Client: no body byte for too long.
    BodyRead,
    /// A kept-alive connection without an exchange.
    Idle,
    /// Bytes are queued and the peer takes none.
    WriteStall,
    /// The writing side is shut, the peer's remaining bytes are read and thrown away.
    Linger,
    /// Server: the application has not answered.
    Handler,
    /// Client: the answer's head has not come.
    ResponseHead,
    /// Client: no interim answer to `Expect: 100-continue`; the body is sent unasked.
    Continue,
    /// TLS: the handshake is not complete.
    Handshake,
    /// Client: a connection is not open yet.
    Connect,
    /// Client: the deadline of a call, its next attempt, or the end of one.
    Call,
    /// An open breaker lets probes through.
    BreakerOpen,
    /// A probe of a breaker was not settled.
    ProbeLease,
    /// The keys of a token issuer are due to be fetched.
    KeyRefresh,
    /// The keys of a token issuer are being fetched.
    KeyFetch,
    /// A lease of tokens ends, or whoever grants them has not answered.
    Lease,
    /// Server: a request waits to be taken up.
    Admission,
    /// A health check is to be run, or takes too long.
    HealthCheck,
    /// An endpoint is to be probed, or a probe takes too long.
    EndpointProbe,
    /// Endpoints are compared, or one that was ejected returns.
    Ejection,
    /// A list of endpoints is too old to be kept.
    EndpointsKept,
    /// A name server has not answered.
    Resolve,
    /// A phase of a server that leaves ends, or a connection is to be told.
    Drain,
    /// WebSocket: the next ping is due.
    Ping,
    /// WebSocket: nothing came since a ping.
    Pong,
    /// WebSocket: the connection is to be closed.
    Close,
    /// WebSocket: the peer has not answered our close frame.
    CloseHandshake,
}

impl Timer {
    /// A fixed, lower-case name, fit for logs and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FirstByte => "first byte",
            Self::HeaderRead => "header read",
            Self::BodyRead => "body read",
            Self::Idle => "keep-alive idle",
            Self::WriteStall => "write stall",
            Self::Linger => "linger",
            Self::Handler => "handler",
            Self::ResponseHead => "response head",
            Self::Continue => "100-continue",
            Self::Handshake => "TLS handshake",
            Self::Connect => "connect",
            Self::Call => "call",
            Self::BreakerOpen => "breaker open",
            Self::ProbeLease => "probe lease",
            Self::KeyRefresh => "key refresh",
            Self::KeyFetch => "key fetch",
            Self::Lease => "lease of tokens",
            Self::Admission => "admission",
            Self::HealthCheck => "health check",
            Self::EndpointProbe => "endpoint probe",
            Self::Ejection => "ejection",
            Self::EndpointsKept => "endpoints kept",
            Self::Resolve => "name server",
            Self::Drain => "drain",
            Self::Ping => "next ping",
            Self::Pong => "sign of life",
            Self::Close => "close",
            Self::CloseHandshake => "closing handshake",
        }
    }
}

/// Ties the machine's clock to wall time, where the protocol asks for it (`Date`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Epoch {
    unix_at_origin: Duration,
}

impl Epoch {
    /// `unix_at_origin`: time since 1970-01-01T00:00:00Z at [`Instant::ZERO`].
    pub const fn new(unix_at_origin: Duration) -> Self {
        Self { unix_at_origin }
    }

    /// Time since 1970-01-01T00:00:00Z at `now`.
    pub const fn unix(self, now: Instant) -> Duration {
        self.unix_at_origin.saturating_add(Duration::from_nanos(now.as_nanos()))
    }
}
/// Whole seconds, rounded up: who comes back then is not too early.
/// <https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3>
pub fn whole_seconds(time: Duration) -> u64 {
    time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0))
}
