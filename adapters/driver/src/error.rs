//! What a call, a body or a server can fail with.

use std::fmt;
use std::io;

use http::StatusCode;
use sinew_core::client::dispatcher::{Failure, Refusal};
use sinew_core::client::reconnect::WhyNever;
use sinew_core::client::redirect::RedirectRefusal;
use sinew_core::error::{Delivery, Fault, Phase};
use sinew_core::resilience::NoRetry;
use sinew_core::security::EgressRefusal;
use sinew_core::websocket::handshake::BadAnswer;

use crate::client::Explained;

/// The source of an error that is not ours.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What went wrong, where, and how far the request got.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    phase: Phase,
    delivery: Delivery,
    origin: Origin,
    attempts: u8,
    no_retry: Option<NoRetry>,
    source: Option<BoxError>,
    explained: Option<Box<Explained>>,
}

/// Which exchange went wrong, as seen by a handler: the one that it answers, or one of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Origin {
    /// A call.
    #[default]
    Call,
    /// The request that is to be answered.
    Request,
}

/// What went wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The configuration, a URL, a path or a field makes no sense; the text says why.
    Config(String),
    /// The name has no address, or asking failed.
    Resolve,
    /// No address took the connection.
    Connect(io::ErrorKind),
    /// The proxy opened no tunnel; what it answered.
    Proxy(StatusCode),
    /// TLS failed.
    Tls(sinew_tls::Failure),
    /// HTTP failed: the peer broke it, a limit was exceeded, a timer of the connection fired.
    Protocol(sinew_core::Error),
    /// The socket failed.
    Io(io::ErrorKind),
    /// There is no listening at this place: `host:port`, or `unix:/path`.
    Listen(Box<str>, io::ErrorKind),
    /// The time given to this call is over.
    Deadline,
    /// The time given to this phase of a call is over: to a wait for a connection, to opening one, to an attempt,
    /// to a body.
    Timeout,
    /// The producer of a body failed.
    Body,
    /// The other side went away, or the exchange that this body belonged to is over.
    Gone,
    /// A collected body is larger than allowed, in bytes.
    TooLarge(u64),
    /// Bytes that are not what they should be: JSON, form, text.
    Decode,
    /// A body that does not unpack as its `Content-Encoding` says.
    Coding,
    /// A body that unpacks to more than so many times its size.
    Inflated(u32),
    /// An answer with an error status, where success was asked for; one with any status, where a
    /// switch of protocols was.
    Status(StatusCode),
    /// An answer to an opening handshake of WebSocket that is none.
    Handshake(BadAnswer),
    /// A socket that was meant to [last](crate::websocket::LastingSocket) was lost, and is not opened
    /// again. The source says how, or [`closed`](crate::websocket::LastingSocket::closed).
    Lost(WhyNever),
    /// The client let no attempt through, or no further one; the source says how the last one failed.
    Refused(Refusal),
    /// No token could be had; the source says why.
    Token,
    /// An answer sends the call on, and it must not go there.
    Redirect(RedirectRefusal),
    /// The client must not talk to whom it would have to.
    Forbidden(EgressRefusal),
    /// The client, or the server, was stopped.
    Stopped,
}

impl Error {
    /// An error of this kind in this phase.
    pub fn new(kind: ErrorKind, phase: Phase, delivery: Delivery) -> Self {
        Self {
            kind,
            phase,
            delivery,
            origin: Origin::default(),
            attempts: 0,
            no_retry: None,
            source: None,
            explained: None,
        }
    }

    /// A configuration that makes no sense.
    pub fn config(why: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config(why.into()), Phase::Idle, Delivery::NotSent)
    }

    /// Names the error behind this one.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same error, of a request that got this far.
    #[must_use]
    pub fn with_delivery(mut self, delivery: Delivery) -> Self {
        self.delivery = delivery;
        self
    }

    /// The same error, of a call that was tried so often, and why it is not tried again.
    pub(crate) fn of_call(mut self, attempts: u8, no_retry: Option<NoRetry>) -> Self {
        self.attempts = attempts;
        self.no_retry = no_retry;
        self
    }

    /// The same error, of a connection that is not open yet.
    pub(crate) fn while_connecting(mut self) -> Self {
        self.phase = Phase::Connect;
        self.with_delivery(Delivery::NotSent)
    }

    /// The same error, behind an attempt that got `earlier` and was given up.
    pub(crate) fn after(self, earlier: Delivery) -> Self {
        let delivery = self.delivery.max(earlier);
        self.with_delivery(delivery)
    }

    /// The same error, of this exchange.
    pub(crate) fn of(mut self, origin: Origin) -> Self {
        self.origin = origin;
        self
    }

    pub(crate) fn origin(&self) -> Origin {
        self.origin
    }

    /// What went wrong.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// In which phase.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// How often the call was tried: attempts that were sent, and connections that could not be opened
    /// for it. 0 where it was refused before that.
    pub fn attempts(&self) -> u8 {
        self.attempts
    }

    /// Why the call was not tried once more, where its last attempt failed, or the time of the call was
    /// over before there was an answer. `None` where it was to be, and found no connection in time.
    pub fn no_retry(&self) -> Option<NoRetry> {
        self.no_retry
    }

    pub(crate) fn explained(mut self, explained: Box<Explained>) -> Self {
        self.explained = Some(explained);
        self
    }

    /// What became of the call that failed with this, and why, where it was to be
    /// [explained](crate::Call::explain).
    pub fn explanation(&self) -> Option<&Explained> {
        self.explained.as_deref()
    }

    /// What the dispatcher is told of it.
    pub(crate) fn failure(&self) -> Failure {
        Failure { delivery: self.delivery, phase: self.phase, fault: self.fault() }
    }

    /// How far the request got: what a retry may conclude.
    pub fn delivery(&self) -> Delivery {
        self.delivery
    }

    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match &self.kind {
            ErrorKind::Lost(WhyNever::Refused) => Fault::Peer,
            ErrorKind::Lost(WhyNever::Done | WhyNever::Exhausted) => Fault::Network,
            ErrorKind::Config(_)
            | ErrorKind::Listen(..)
            | ErrorKind::Body
            | ErrorKind::Refused(_)
            | ErrorKind::Token
            | ErrorKind::Forbidden(_)
            | ErrorKind::Stopped => Fault::Local,
            // What it says of credentials and permissions it says again; the rest is the network's.
            ErrorKind::Proxy(status) if status.is_client_error() => Fault::Local,
            ErrorKind::Deadline | ErrorKind::Timeout if self.phase == Phase::ResponseHead => {
                Fault::Peer
            }
            ErrorKind::Protocol(error) => error.fault(),
            ErrorKind::Tls(failure) => failure.fault(),
            ErrorKind::Resolve
            | ErrorKind::Connect(_)
            | ErrorKind::Proxy(_)
            | ErrorKind::Io(_)
            | ErrorKind::Deadline
            | ErrorKind::Timeout
            | ErrorKind::Gone => Fault::Network,
            ErrorKind::TooLarge(_)
            | ErrorKind::Decode
            | ErrorKind::Coding
            | ErrorKind::Inflated(_)
            | ErrorKind::Redirect(_)
            | ErrorKind::Handshake(_)
            | ErrorKind::Status(_) => Fault::Peer,
        }
    }

    /// Whether time ran out, of the call or of one of its phases.
    pub fn is_timeout(&self) -> bool {
        match &self.kind {
            ErrorKind::Deadline | ErrorKind::Timeout => true,
            ErrorKind::Tls(failure) => matches!(failure.reason, sinew_tls::Reason::Timeout(_)),
            ErrorKind::Protocol(error) => {
                matches!(error.kind, sinew_core::error::Kind::Timeout(_))
            }
            _ => false,
        }
    }
}

impl From<sinew_core::Error> for Error {
    fn from(error: sinew_core::Error) -> Self {
        Self::new(ErrorKind::Protocol(error), error.phase, error.delivery)
    }
}

impl From<sinew_tls::Error> for Error {
    fn from(error: sinew_tls::Error) -> Self {
        match error {
            sinew_tls::Error::Wire(error) => error.into(),
            sinew_tls::Error::Tls(failure) => {
                let (phase, delivery) = (failure.phase(), failure.delivery());
                Self::new(ErrorKind::Tls(failure), phase, delivery)
            }
        }
    }
}

fn explain(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::NoEndpoint => "the service has no endpoint",
        Refusal::NoHealthyEndpoint => "no endpoint of the service is well",
        Refusal::Breaker { .. } => "the breaker lets no call through",
        Refusal::Admission => "as many calls are on their way as the service bears",
        Refusal::PoolFull => "too many calls wait for a connection",
        Refusal::TooManyCalls => "too many calls",
        Refusal::Draining => "the client is being closed",
        _ => "not let through",
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = self.phase.name();
        match &self.kind {
            ErrorKind::Config(why) => write!(f, "{why}"),
            ErrorKind::Resolve => write!(f, "the name has no address"),
            ErrorKind::Connect(kind) => write!(f, "cannot connect: {kind}"),
            ErrorKind::Proxy(status) => write!(f, "the proxy opens no tunnel: {status}"),
            ErrorKind::Tls(failure) => write!(f, "TLS: {failure}"),
            ErrorKind::Protocol(error) => write!(f, "{error}"),
            ErrorKind::Io(kind) => write!(f, "socket failed in the {phase}: {kind}"),
            ErrorKind::Listen(place, kind) => write!(f, "cannot listen on {place}: {kind}"),
            // Nothing else says so before there is an attempt: the middleware had not let the call on.
            ErrorKind::Deadline if self.phase == Phase::Idle => {
                write!(f, "deadline exceeded in a layer of the client")
            }
            ErrorKind::Deadline => write!(f, "deadline exceeded in the {phase}"),
            ErrorKind::Timeout => write!(f, "timed out in the {phase}"),
            ErrorKind::Body => write!(f, "the body's producer failed"),
            ErrorKind::Gone => write!(f, "the other side is gone"),
            ErrorKind::TooLarge(limit) => write!(f, "body larger than {limit} bytes"),
            ErrorKind::Decode => write!(f, "malformed {phase}"),
            ErrorKind::Coding => write!(f, "the body does not unpack"),
            ErrorKind::Inflated(ratio) => write!(f, "unpacks to more than {ratio} times its size"),
            ErrorKind::Status(status) => write!(f, "answered {status}"),
            ErrorKind::Handshake(why) => write!(f, "{why}"),
            ErrorKind::Lost(why) => write!(f, "not opened again: {why}"),
            ErrorKind::Refused(refusal) => f.write_str(explain(*refusal)),
            ErrorKind::Token => write!(f, "no token could be had"),
            ErrorKind::Redirect(why) => write!(f, "{why}"),
            ErrorKind::Forbidden(why) => write!(f, "{why}"),
            ErrorKind::Stopped => write!(f, "stopped"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
