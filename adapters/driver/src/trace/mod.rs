//! Spans and events for the crate `tracing`, with the feature of that name; without it, nothing.
//!
//! Names and values are those of OpenTelemetry's semantic conventions for HTTP, version 1.23:
//! <https://opentelemetry.io/docs/specs/semconv/http/http-spans/>. Of what a client chose, only the
//! method (if it is a known one) and ids that are safe to print are in them. No path and no query is:
//! both may hold secrets; `http.route` says where a request went.

#[cfg(not(feature = "tracing"))]
mod absent;
#[cfg(feature = "tracing")]
mod present;

use http::Method;
use sinew_core::observe::{RequestId, TraceContext};

#[cfg(not(feature = "tracing"))]
pub(crate) use absent::{AttemptSpan, CallSpan, RequestSpan};
#[cfg(feature = "tracing")]
pub(crate) use present::{AttemptSpan, CallSpan, RequestSpan};

use crate::io::Peer;

/// What is known of a request when its span starts.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "tracing"), expect(dead_code, reason = "nobody asks"))]
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a Method,
    /// The template of the route.
    pub(crate) route: Option<&'a str>,
    pub(crate) peer: &'a Peer,
    pub(crate) secure: bool,
    /// The place of the request in its trace; known on servers with policies.
    pub(crate) trace: Option<&'a TraceContext>,
    pub(crate) id: Option<&'a RequestId>,
}
