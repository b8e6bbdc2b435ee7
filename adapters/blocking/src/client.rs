//! A client whose calls block.

use std::time::Duration;

use http::Method;
use sinew_driver::{CloseReport, Error, Health, RestClientConfig};
use sinew_smol::SmolRuntime;

use crate::call::Call;

/// A client of one service: `client.get("/path").send()?`.
///
/// Cheap to clone, to be shared between threads. All clones share their connections.
#[derive(Clone, Debug)]
pub struct RestClient {
    inner: sinew_smol::RestClient,
}

impl RestClient {
    /// A client with this configuration. Connects to nobody yet.
    ///
    /// # Errors
    ///
    /// Those of [`ClientBuilder::build`](sinew_driver::ClientBuilder::build).
    pub fn new(config: RestClientConfig) -> Result<Self, Error> {
        let builder = sinew_smol::RestClient::builder("").config(config);
        builder.build_on(SmolRuntime).map(Self::from)
    }

    /// A GET of `path`, which may have a query.
    pub fn get(&self, path: &str) -> Call {
        self.request(Method::GET, path)
    }

    /// A HEAD.
    pub fn head(&self, path: &str) -> Call {
        self.request(Method::HEAD, path)
    }

    /// A POST.
    pub fn post(&self, path: &str) -> Call {
        self.request(Method::POST, path)
    }

    /// A PUT.
    pub fn put(&self, path: &str) -> Call {
        self.request(Method::PUT, path)
    }

    /// A PATCH.
    pub fn patch(&self, path: &str) -> Call {
        self.request(Method::PATCH, path)
    }

    /// A DELETE.
    pub fn delete(&self, path: &str) -> Call {
        self.request(Method::DELETE, path)
    }

    /// Any other method.
    pub fn request(&self, method: Method, path: &str) -> Call {
        Call::new(self.inner.request(method, path))
    }

    /// Asks the service how it is. See [`health_check`](sinew_smol::RestClient::health_check).
    ///
    /// # Errors
    ///
    /// It cannot be asked.
    pub fn health_check(&self) -> Result<Health, Error> {
        smol::block_on(self.inner.health_check())
    }

    /// Takes no more calls, and waits for those of other threads. See
    /// [`close`](sinew_smol::RestClient::close).
    pub fn close(&self, patience: Duration) -> CloseReport {
        smol::block_on(self.inner.close(patience))
    }

    /// The client underneath, for what does not block: what is known of its connections, changes of its
    /// endpoints and of whom it trusts.
    pub fn inner(&self) -> &sinew_smol::RestClient {
        &self.inner
    }
}

/// What [`sinew_smol::RestClient::builder`] made.
impl From<sinew_smol::RestClient> for RestClient {
    fn from(inner: sinew_smol::RestClient) -> Self {
        Self { inner }
    }
}
