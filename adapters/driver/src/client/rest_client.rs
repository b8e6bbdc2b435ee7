//! A client of one service.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::{Method, StatusCode};
use sinew_core::client::dispatcher::{CallExplanation, Explanation};
use sinew_core::policy::Priority;

use super::base::{Base, shown};
use super::builder::ClientBuilder;
use super::call::Call;
use super::config::RestClientConfig;
use super::hub::Hub;
use super::replay::ReplayMemory;
use crate::drive::Alarm;
use crate::error::Error;
use crate::runtime::Runtime;

/// A client of one service: `client.get("/path").send().await`.
///
/// Cheap to clone; all clones share their connections, retries, breakers and everything that was
/// learnt of the service. The first call starts a task that looks after them; it ends, and what is
/// kept is closed, with the last clone and the last answer.
pub struct RestClient<R: Runtime> {
    pub(super) shared: Arc<Shared<R>>,
}

pub(super) struct Shared<R: Runtime> {
    pub(super) config: RestClientConfig,
    pub(super) base: Base,
    pub(super) hub: Arc<Hub<R>>,
    pub(super) memory: Arc<ReplayMemory>,
}

impl<R: Runtime> Clone for RestClient<R> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<R: Runtime> std::fmt::Debug for RestClient<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RestClient")
            .field("base_url", &shown(&self.shared.config.base_url))
            .field("hub", &self.shared.hub)
            .finish()
    }
}

impl<R: Runtime> RestClient<R> {
    /// Starts building a client for this base URL: `https://host[:port][/prefix]`, `http://…`, or
    /// `unix:/path/of/socket`.
    pub fn builder(base_url: impl Into<String>) -> ClientBuilder<R> {
        ClientBuilder::new(RestClientConfig::new(base_url))
    }

    /// A GET of `path`, which may have a query.
    pub fn get(&self, path: &str) -> Call<R> {
        self.request(Method::GET, path)
    }

    /// A HEAD.
    pub fn head(&self, path: &str) -> Call<R> {
        self.request(Method::HEAD, path)
    }

    /// A POST.
    pub fn post(&self, path: &str) -> Call<R> {
        self.request(Method::POST, path)
    }

    /// A PUT.
    pub fn put(&self, path: &str) -> Call<R> {
        self.request(Method::PUT, path)
    }

    /// A PATCH.
    pub fn patch(&self, path: &str) -> Call<R> {
        self.request(Method::PATCH, path)
    }

    /// A DELETE.
    pub fn delete(&self, path: &str) -> Call<R> {
        self.request(Method::DELETE, path)
    }

    /// Any other method.
    pub fn request(&self, method: Method, path: &str) -> Call<R> {
        Call::new(&self.shared, method, path)
    }

    pub(crate) fn runtime(&self) -> &R {
        &self.shared.hub.runtime
    }

    /// Connections that are open: in use, and kept.
    pub fn connections(&self) -> usize {
        self.shared.hub.counts().0
    }

    /// Connections that are kept for the next call.
    pub fn idle_connections(&self) -> usize {
        self.shared.hub.counts().1
    }

    /// The addresses of the service from now on, in place of those before: `host[:port]` or
    /// `unix:/path`. Connections to others finish what they carry.
    ///
    /// # Errors
    ///
    /// No address at all, or one that is none.
    pub fn update_endpoints<A: AsRef<str>>(
        &self,
        addresses: impl IntoIterator<Item = A>,
    ) -> Result<(), Error> {
        let sites = self.shared.base.sites(addresses)?;
        self.shared.hub.update_sites(&sites);
        Ok(())
    }

    /// What there is, and what has been learnt: calls, connections, budget, the breaker of each
    /// endpoint. An endpoint's number is its place in the order in which addresses came.
    pub fn explain(&self) -> Explanation {
        self.shared.hub.explain()
    }

    /// Each call whose answer is not complete: where it is, what it reached, what is left of its time.
    pub fn explain_calls(&self) -> Vec<CallExplanation> {
        self.shared.hub.explain_calls()
    }

    /// Asks the service how it is, by a GET of [`health_path`](RestClientConfig::health_path), once and
    /// for 5 s at most.
    ///
    /// # Errors
    ///
    /// It cannot be asked; among others, as its breaker is open.
    pub async fn health_check(&self) -> Result<Health, Error> {
        let began = self.runtime().now();
        let call = self.get(&self.shared.config.health_path).timeout(HEALTH_TIMEOUT).no_retry();
        let status = call.hedge(false).priority(Priority::Critical).send().await?.status();
        Ok(Health { status, took: self.runtime().now() - began })
    }

    /// Takes no more calls, and waits until those on their way are over, their answers read to the end,
    /// for `patience` at most. Then calls whose answer has not begun fail as
    /// [stopped](crate::ErrorKind::Stopped); an answer is left to whoever reads it.
    pub async fn close(&self, patience: Duration) -> CloseReport {
        let hub = &self.shared.hub;
        hub.drain();
        let until = hub.runtime.now() + patience;
        let mut alarm = Alarm::<R>::new();
        let over = poll_fn(|cx| {
            if hub.poll_drained(cx).is_ready() {
                return Poll::Ready(true);
            }
            let now = hub.runtime.now();
            let late = until <= now || alarm.arm(cx, &hub.runtime, now, Some(until)).is_ready();
            if late { Poll::Ready(false) } else { Poll::Pending }
        })
        .await;
        let stopped = if over { 0 } else { hub.stop() };
        CloseReport { stopped, unread: hub.explain().calls.saturating_sub(stopped) }
    }
}

/// How long a service has to say how it is.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);

/// How a service is, as it says itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Health {
    /// What it answered.
    pub status: StatusCode,
    /// How long that took.
    pub took: Duration,
}

impl Health {
    /// Whether it can be asked for more.
    pub fn is_healthy(&self) -> bool {
        self.status.is_success()
    }
}

/// What was left when a client was closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CloseReport {
    /// Calls that were given up.
    pub stopped: usize,
    /// Answers that somebody still reads.
    pub unread: usize,
}
