//! Why a request got an error for an answer: one table of reasons and statuses.
//!
#![doc = include_str!("reason.md")]

use http::StatusCode;

use crate::error::{Error, Kind, Limit, Violation};
use crate::time::Timer;

/// Why a request was refused, for programs: the member `reason`, and a label of metrics.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Reason {
    /// It breaks the grammar, or the framing, of HTTP.
    MalformedRequest,
    /// Its path could be read in two ways.
    BadPath,
    /// Its credential cannot be read.
    BadCredential,
    /// It lacks a field that the route asks for.
    MissingField,
    /// Its body does not unpack as its `Content-Encoding` says.
    BadEncoding,
    /// It asks for another protocol in a way that this protocol forbids.
    BadUpgrade,
    /// Nobody proved who they are.
    Unauthenticated,
    /// The token or key is not good.
    InvalidToken,
    /// They are known, and may not.
    Forbidden,
    /// The token is good, and not good enough.
    InsufficientScope,
    /// A page of another origin asks for what only pages of some origins may have.
    ForeignOrigin,
    /// No route has this path.
    NotFound,
    /// The path has a route, and not for this method.
    MethodNotAllowed,
    /// It came too slowly.
    RequestTimeout,
    /// The body is larger than the route takes.
    BodyTooLarge,
    /// The target is too long.
    TargetTooLong,
    /// The route does not take this type of content, or this coding of it.
    UnsupportedMediaType,
    /// It expects what is not offered.
    ExpectationFailed,
    /// The body is well-formed, and not what the route takes.
    InvalidBody,
    /// Another protocol is spoken there, or another version of it.
    UpgradeRequired,
    /// The client, or everyone together, asks too often.
    RateLimited,
    /// The client has as many sockets open as it may have.
    TooManySockets,
    /// The head, or the trailers, are too large.
    HeadTooLarge,
    /// A handler failed.
    Internal,
    /// It uses a part of HTTP that is not implemented.
    NotImplemented,
    /// A call that the handler made was not answered as it should have been.
    BadGateway,
    /// The handler took too long.
    HandlerTimeout,
    /// Something that is needed to decide cannot be asked now.
    Unavailable,
    /// More is asked for than can be served; it was not taken up, and may be sent elsewhere.
    Overloaded,
    /// The answer is ready, and there is no memory left to send it from.
    InsufficientMemory,
    /// Whom the handler called could not be reached, or refused to serve now.
    UpstreamUnavailable,
    /// A call that the handler made was not answered in time.
    GatewayTimeout,
    /// Whoever asked had stopped waiting when it came.
    Expired,
    /// It speaks a version of HTTP that is not spoken here.
    VersionNotSupported,
}

impl Reason {
    /// Every reason, by status.
    pub const ALL: [Self; 34] = [
        Self::MalformedRequest,
        Self::BadPath,
        Self::BadCredential,
        Self::MissingField,
        Self::BadEncoding,
        Self::BadUpgrade,
        Self::Unauthenticated,
        Self::InvalidToken,
        Self::Forbidden,
        Self::InsufficientScope,
        Self::ForeignOrigin,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::BodyTooLarge,
        Self::TargetTooLong,
        Self::UnsupportedMediaType,
        Self::ExpectationFailed,
        Self::InvalidBody,
        Self::UpgradeRequired,
        Self::RateLimited,
        Self::TooManySockets,
        Self::HeadTooLarge,
        Self::Internal,
        Self::NotImplemented,
        Self::BadGateway,
        Self::HandlerTimeout,
        Self::Unavailable,
        Self::Overloaded,
        Self::InsufficientMemory,
        Self::UpstreamUnavailable,
        Self::GatewayTimeout,
        Self::Expired,
        Self::VersionNotSupported,
    ];

    /// The status of the answer.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::MalformedRequest
            | Self::BadPath
            | Self::BadCredential
            | Self::MissingField
            | Self::BadEncoding
            | Self::BadUpgrade => StatusCode::BAD_REQUEST,
            Self::Unauthenticated | Self::InvalidToken => StatusCode::UNAUTHORIZED,
            Self::Forbidden | Self::InsufficientScope | Self::ForeignOrigin => {
                StatusCode::FORBIDDEN
            }
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::ExpectationFailed => StatusCode::EXPECTATION_FAILED,
            Self::InvalidBody => StatusCode::UNPROCESSABLE_ENTITY,
            Self::UpgradeRequired => StatusCode::UPGRADE_REQUIRED,
            Self::RateLimited | Self::TooManySockets => StatusCode::TOO_MANY_REQUESTS,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NotImplemented => StatusCode::NOT_IMPLEMENTED,
            Self::BadGateway => StatusCode::BAD_GATEWAY,
            Self::HandlerTimeout
            | Self::Unavailable
            | Self::Overloaded
            | Self::InsufficientMemory
            | Self::UpstreamUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::GatewayTimeout | Self::Expired => StatusCode::GATEWAY_TIMEOUT,
            Self::VersionNotSupported => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
        }
    }

    /// A fixed, lower-case name, as it stands in documents and labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MalformedRequest => "malformed_request",
            Self::BadPath => "bad_path",
            Self::BadCredential => "bad_credential",
            Self::MissingField => "missing_field",
            Self::BadEncoding => "bad_encoding",
            Self::BadUpgrade => "bad_upgrade",
            Self::Unauthenticated => "unauthenticated",
            Self::InvalidToken => "invalid_token",
            Self::Forbidden => "forbidden",
            Self::InsufficientScope => "insufficient_scope",
            Self::ForeignOrigin => "foreign_origin",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::RequestTimeout => "request_timeout",
            Self::BodyTooLarge => "body_too_large",
            Self::TargetTooLong => "target_too_long",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::ExpectationFailed => "expectation_failed",
            Self::InvalidBody => "invalid_body",
            Self::UpgradeRequired => "upgrade_required",
            Self::RateLimited => "rate_limited",
            Self::TooManySockets => "too_many_sockets",
            Self::HeadTooLarge => "head_too_large",
            Self::Internal => "internal",
            Self::NotImplemented => "not_implemented",
            Self::BadGateway => "bad_gateway",
            Self::HandlerTimeout => "handler_timeout",
            Self::Unavailable => "unavailable",
            Self::Overloaded => "overloaded",
            Self::InsufficientMemory => "insufficient_memory",
            Self::UpstreamUnavailable => "upstream_unavailable",
            Self::GatewayTimeout => "gateway_timeout",
            Self::Expired => "expired",
            Self::VersionNotSupported => "version_not_supported",
        }
    }

    /// What it means, in one phrase.
    pub const fn explain(self) -> &'static str {
        match self {
            Self::MalformedRequest => "the request breaks the grammar or the framing of HTTP",
            Self::BadPath => "the path could be read in two ways",
            Self::BadCredential => "the credential cannot be read",
            Self::MissingField => "a field that the route asks for is missing",
            Self::BadEncoding => "the body does not unpack as `Content-Encoding` says",
            Self::BadUpgrade => "the protocol that is asked for forbids to ask in this way",
            Self::Unauthenticated => "nobody proved who they are",
            Self::InvalidToken => "the token or key is not good",
            Self::Forbidden => "the caller is known, and may not",
            Self::InsufficientScope => "the token is good, and not good enough",
            Self::ForeignOrigin => "pages of this origin may not have it",
            Self::NotFound => "no route has this path",
            Self::MethodNotAllowed => "the path has no route for this method",
            Self::RequestTimeout => "the request came too slowly",
            Self::BodyTooLarge => "the body is larger than the route takes",
            Self::TargetTooLong => "the target is too long",
            Self::UnsupportedMediaType => "the route does not take this content type or coding",
            Self::ExpectationFailed => "the expectation is not `100-continue`",
            Self::InvalidBody => "the body is well-formed, and not what the route takes",
            Self::UpgradeRequired => "another protocol, or another version of it, is spoken there",
            Self::RateLimited => "too many requests; `Retry-After` says when the next one fits",
            Self::TooManySockets => "as many sockets are open as the client may have",
            Self::HeadTooLarge => "the head or the trailers are too large",
            Self::Internal => "the handler failed",
            Self::NotImplemented => "the transfer coding is not implemented",
            Self::HandlerTimeout => "the handler took too long",
            Self::BadGateway => "what the handler called did not answer as it should",
            Self::Unavailable => "what is needed to decide cannot be asked now",
            Self::Overloaded => "refused before processing, as too much is asked for at once",
            Self::InsufficientMemory => "no memory is left to send the answer from",
            Self::UpstreamUnavailable => "what the handler called cannot serve now",
            Self::GatewayTimeout => "what the handler called did not answer in time",
            Self::Expired => "the caller had stopped waiting when the request came",
            Self::VersionNotSupported => "the version of HTTP is not spoken here",
        }
    }

    /// The reason behind an error of a server machine that has an answer.
    pub const fn of(error: &Error) -> Self {
        match error.kind {
            Kind::Peer(Violation::VersionUnsupported) => Self::VersionNotSupported,
            Kind::Peer(Violation::TransferCoding) => Self::NotImplemented,
            Kind::Peer(Violation::Expectation) => Self::ExpectationFailed,
            Kind::Limit(Limit::Target) => Self::TargetTooLong,
            Kind::Limit(Limit::Body) => Self::BodyTooLarge,
            Kind::Limit(
                Limit::HeadBytes | Limit::Fields | Limit::TrailerBytes | Limit::Trailers,
            ) => Self::HeadTooLarge,
            Kind::Peer(_)
            | Kind::Limit(
                Limit::ChunkLine
                | Limit::ChunkExtensions
                | Limit::Interim
                | Limit::Frame
                | Limit::Message
                | Limit::Fragments
                | Limit::Pings
                | Limit::EventLine
                | Limit::Event,
            ) => Self::MalformedRequest,
            Kind::Timeout(Timer::Handler) => Self::HandlerTimeout,
            Kind::Timeout(_) => Self::RequestTimeout,
            Kind::Usage(_) | Kind::Truncated | Kind::Closed | Kind::InboxEdited => Self::Internal,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Write as _;

    use super::*;

    fn table() -> String {
        let mut table = String::from("| status | reason | meaning |\n|---|---|---|\n");
        for reason in Reason::ALL {
            let (status, name) = (reason.status().as_u16(), reason.name());
            writeln!(table, "| {status} | `{name}` | {} |", reason.explain()).unwrap();
        }
        table
    }

    #[test]
    fn the_docs_have_the_table() {
        assert_eq!(include_str!("reason.md"), table(), "\n{}", table());
    }

    #[test]
    fn reasons_are_listed_once_and_by_status() {
        assert!(Reason::ALL.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(Reason::ALL.windows(2).all(|pair| pair[0].status() <= pair[1].status()));
        let names: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
    }
}
