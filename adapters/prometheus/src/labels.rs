//! Labels, each with a fixed number of values.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use http::{Method, StatusCode};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use sinew_core::error::{Error, Kind};
use sinew_core::limit::{AskOutcome, Shed, Stage};
use sinew_core::observe::NamedVerdict;
use sinew_core::policy::{Priority, Refused};
use sinew_core::reason::Reason;
use sinew_core::security::Expiry;
use sinew_core::server::{End, Record, ReloadOutcome};

/// A request that is being answered.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(crate) struct Active {
    http_request_method: &'static str,
    url_scheme: &'static str,
}

impl Active {
    pub(crate) fn of(record: &Record) -> Self {
        Self { http_request_method: known(&record.method), url_scheme: record.scheme.name() }
    }
}

/// A request that is over.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(crate) struct Answered {
    http_request_method: &'static str,
    url_scheme: &'static str,
    http_route: Arc<str>,
    http_response_status_code: Option<u16>,
    error_type: Option<ErrorType>,
}

impl Answered {
    pub(crate) fn new(record: &Record, route: Arc<str>, end: &End) -> Self {
        let Active { http_request_method, url_scheme } = Active::of(record);
        Self {
            http_request_method,
            url_scheme,
            http_route: route,
            http_response_status_code: end.status.map(|status| status.as_u16()),
            error_type: ErrorType::of(end),
        }
    }
}

/// How a request failed, and whose fault is not the client's.
/// <https://opentelemetry.io/docs/specs/semconv/http/http-spans/#status>
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum ErrorType {
    Unanswered,
    Reason(Reason),
    Status(StatusCode),
}

impl ErrorType {
    fn of(end: &End) -> Option<Self> {
        match (end.status, end.reason) {
            (None, _) => Some(Self::Unanswered),
            (Some(status), _) if !status.is_server_error() => None,
            (Some(_), Some(reason)) => Some(Self::Reason(reason)),
            (Some(status), None) => Some(Self::Status(status)),
        }
    }
}

impl EncodeLabelValue for ErrorType {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(match self {
            Self::Unanswered => "unanswered",
            Self::Reason(reason) => reason.name(),
            Self::Status(status) => status.as_str(),
        })
    }
}

/// A verdict.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(crate) struct Decided {
    policy: &'static str,
    verdict: &'static str,
}

impl From<NamedVerdict> for Decided {
    fn from(NamedVerdict { policy, verdict }: NamedVerdict) -> Self {
        Self { policy, verdict }
    }
}

/// An ask for tokens on lease.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(crate) struct Asked {
    outcome: &'static str,
}

impl From<AskOutcome> for Asked {
    fn from(outcome: AskOutcome) -> Self {
        Self { outcome: outcome.name() }
    }
}

/// What became of a request where not all can be served.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(crate) struct Admission {
    priority: &'static str,
    outcome: &'static str,
}

impl Admission {
    pub(crate) fn of(priority: Priority, shed: Option<Shed>) -> Self {
        Self { priority: priority.name(), outcome: shed.map_or("admitted", Shed::name) }
    }
}

/// How much a request matters.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(crate) struct Class {
    priority: &'static str,
}

impl From<Priority> for Class {
    fn from(priority: Priority) -> Self {
        Self { priority: priority.name() }
    }
}

/// What is done about memory.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(crate) struct Pressure {
    stage: &'static str,
}

impl From<Stage> for Pressure {
    fn from(stage: Stage) -> Self {
        Self { stage: stage.name() }
    }
}

/// A change of what a server goes by.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(crate) struct Reloaded {
    outcome: &'static str,
}

impl From<ReloadOutcome> for Reloaded {
    fn from(outcome: ReloadOutcome) -> Self {
        Self { outcome: outcome.name() }
    }
}

/// How long certificates are still good.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(crate) struct Left {
    left: &'static str,
}

impl From<Expiry> for Left {
    fn from(expiry: Expiry) -> Self {
        Self { left: expiry.name() }
    }
}

/// A refusal.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(crate) struct Refusal {
    stage: &'static str,
    reason: &'static str,
    mode: &'static str,
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        Self {
            stage: refused.stage.name(),
            reason: refused.reason.name(),
            mode: refused.mode.name(),
        }
    }
}

/// An answer that says why.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(crate) struct Problem {
    reason: &'static str,
}

impl From<Reason> for Problem {
    fn from(reason: Reason) -> Self {
        Self { reason: reason.name() }
    }
}

/// A connection that failed.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(crate) struct Failure {
    reason: &'static str,
    phase: &'static str,
}

impl Failure {
    pub(crate) fn of(error: &Error) -> Self {
        let reason = match (error.status(), error.kind) {
            (Some(_), _) => Reason::of(error).name(),
            (None, Kind::Timeout(timer)) => timer.name(),
            (None, Kind::Truncated) => "truncated",
            (None, Kind::Closed) => "closed",
            (None, Kind::Peer(violation)) => violation.explain(),
            (None, _) => Reason::Internal.name(),
        };
        Self { reason, phase: error.phase.name() }
    }
}

/// A method, as the semantic conventions know it.
fn known(method: &Method) -> &'static str {
    const KNOWN: [(&Method, &str); 9] = [
        (&Method::GET, "GET"),
        (&Method::HEAD, "HEAD"),
        (&Method::POST, "POST"),
        (&Method::PUT, "PUT"),
        (&Method::DELETE, "DELETE"),
        (&Method::CONNECT, "CONNECT"),
        (&Method::OPTIONS, "OPTIONS"),
        (&Method::TRACE, "TRACE"),
        (&Method::PATCH, "PATCH"),
    ];
    KNOWN.iter().find(|(known, _)| *known == method).map_or("_OTHER", |(_, name)| name)
}
