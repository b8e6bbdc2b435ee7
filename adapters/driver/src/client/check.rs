//! Asking an endpoint how it is, over a connection of its own.

use std::future::poll_fn;
use std::sync::Arc;

use http::{HeaderMap, Method};
use sinew_core::error::Phase;
use sinew_core::http1::{BodySize, ClientEvent, RequestLine};
use sinew_core::machine::Layered as _;
use sinew_core::mesh::ProbeConfig;
use sinew_core::time::Instant;

use super::base::{Base, Instance};
use super::dial::{Plan, connect, open, within};
use crate::error::Error;
use crate::runtime::Runtime;

/// How endpoints are asked whether they are well: from the first call on, each over connections of its
/// own, which count neither towards the limits of the client nor in what it learns about latencies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ActiveChecks {
    /// What an endpoint has to do.
    pub method: CheckMethod,
    /// How often, and how many results say something. Default: every 10 s, 5 s for each, three failures
    /// in a row for down, two successes for up.
    pub timing: ProbeConfig,
}

/// What an endpoint has to do to be well.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum CheckMethod {
    /// Accept a connection.
    Connect,
    /// Complete a handshake of TLS, and show who has to answer there.
    Tls,
    /// Answer a GET of this path with a status of 200 to 299; over TLS, where the client speaks it.
    Http {
        /// Below the base URL, with a slash in front.
        path: String,
    },
}

impl ActiveChecks {
    /// With the default timing.
    pub fn new(method: CheckMethod) -> Self {
        Self { method, timing: ProbeConfig::default() }
    }

    /// A GET of this path.
    pub fn http(path: impl Into<String>) -> Self {
        Self::new(CheckMethod::Http { path: path.into() })
    }

    /// A connection.
    pub fn connect() -> Self {
        Self::new(CheckMethod::Connect)
    }

    /// A handshake.
    pub fn tls() -> Self {
        Self::new(CheckMethod::Tls)
    }

    /// With another timing.
    #[must_use]
    pub const fn timing(mut self, timing: ProbeConfig) -> Self {
        self.timing = timing;
        self
    }
}

/// What is done for a check.
#[derive(Clone)]
pub(super) enum Check {
    Connect,
    Tls,
    Http { target: String, authority: Arc<str> },
}

impl Check {
    pub(super) fn new(method: &CheckMethod, base: &Base) -> Result<Self, Error> {
        match method {
            CheckMethod::Connect => Ok(Self::Connect),
            CheckMethod::Tls if base.secure => Ok(Self::Tls),
            CheckMethod::Tls => Err(Error::config("a check of TLS needs an https URL")),
            CheckMethod::Http { path } => {
                let (target, authority) = (base.target(path)?, Arc::clone(&base.authority));
                let (method, host) = (&Method::GET, authority.as_bytes());
                let line = RequestLine { method, target: target.as_bytes(), authority: host };
                line.check()
                    .map_err(|why| Error::config("a path that cannot be sent").with_source(why))?;
                Ok(Self::Http { target, authority })
            }
        }
    }

    /// Asks, and is over by this time.
    pub(super) async fn run<R: Runtime>(
        &self,
        runtime: &R,
        plan: &Plan,
        instance: &Instance,
        by: Instant,
    ) -> Result<bool, Error> {
        let (target, authority) = match self {
            Self::Connect => {
                return connect(runtime, plan, &instance.site, by, &|_| {}).await.map(|_| true);
            }
            Self::Tls => return open(runtime, plan, instance, by, |_| {}).await.map(|_| true),
            Self::Http { target, authority } => (target.as_bytes(), authority.as_bytes()),
        };
        let mut conn = open(runtime, plan, instance, by, |_| {}).await?;
        let line = RequestLine { method: &Method::GET, target, authority };
        let top = conn.wire.top();
        top.send_request(runtime.now(), line, &HeaderMap::new(), BodySize::Empty)
            .map_err(Error::from)?;
        within(runtime, (Phase::ResponseHead, by), async {
            loop {
                let event = poll_fn(|cx| conn.poll_event(cx)).await?;
                if let ClientEvent::Response { head, .. } = event {
                    return Ok(head.status().is_success());
                }
            }
        })
        .await?
    }
}
