//! Without the feature `tracing`: nothing is told, and nothing is kept.

#![expect(clippy::unused_self, reason = "the other side of the feature needs it")]

use std::future::Future;

use http::{Method, StatusCode};
use sinew_core::observe::TraceContext;
use sinew_core::policy::Refused;
use sinew_core::reason::Reason;

use super::Asked;
use crate::error::Error;

#[derive(Debug)]
pub(crate) struct RequestSpan;

impl RequestSpan {
    pub(crate) const fn none() -> Self {
        Self
    }

    pub(crate) fn start<'a>(_: impl FnOnce() -> Asked<'a>) -> Self {
        Self
    }

    pub(crate) fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        work()
    }

    pub(crate) fn refused(&self, _: Refused) {}

    pub(crate) fn panicked(&self) {}

    pub(crate) fn answered(&self, _: StatusCode, _: Option<Reason>) {}

    pub(crate) fn end(&self, _: Option<sinew_core::Error>) {}
}

#[derive(Debug)]
pub(crate) struct CallSpan;

impl CallSpan {
    pub(crate) fn start(
        _: &Method,
        _: &str,
        trace: Option<TraceContext>,
    ) -> (Self, Option<TraceContext>) {
        (Self, trace)
    }

    pub(crate) fn follow<T>(
        self,
        call: impl Future<Output = Result<T, Error>>,
        _: impl FnOnce(&T) -> StatusCode,
    ) -> impl Future<Output = Result<T, Error>> {
        call
    }
}

#[derive(Debug)]
pub(crate) struct AttemptSpan;

impl AttemptSpan {
    pub(crate) fn start(_: u8, trace: Option<&TraceContext>) -> (Self, Option<[u8; 55]>) {
        (Self, trace.map(TraceContext::traceparent))
    }

    pub(crate) fn answered(&self, _: StatusCode) {}

    pub(crate) fn failed(&self, _: &Error) {}

    pub(crate) fn overtaken(&self) {}
}
