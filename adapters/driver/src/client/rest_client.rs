//! A client of one service.

use std::sync::Arc;

use http::Method;
use sinew_core::client::dispatcher::Explanation;

use super::base::{Base, shown};
use super::builder::ClientBuilder;
use super::call::Call;
use super::config::RestClientConfig;
use super::hub::Hub;
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
    /// endpoint.
    pub fn explain(&self) -> Explanation {
        self.shared.hub.explain()
    }
}
