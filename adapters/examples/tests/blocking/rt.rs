//! The client whose calls block, as the suite calls it: what blocks does so on a thread that is there
//! for it.

use std::ops::Deref;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sinew_core::client::redirect::RedirectPolicy;
use sinew_core::propagation::CallContext;
use sinew_core::resilience::{BreakerConfig, HedgeConfig, RetryPolicy};
use sinew_core::security::EgressPolicy;
use sinew_driver::{Body, Error, Explained, Middleware, Proxy};
use sinew_tls::{ClientTls, PeerIdentity};

pub(crate) use sinew_smol::{RestServer, SmolRuntime as Runtime, Threads as Mode};

pub(crate) fn run<F: Future>(test: F) -> F::Output {
    smol::block_on(test)
}

/// A client; what does not block is that of the client underneath.
#[derive(Clone, Debug)]
pub(crate) struct RestClient(sinew_blocking::RestClient);

impl RestClient {
    pub(crate) fn builder(url: impl Into<String>) -> ClientBuilder {
        ClientBuilder(sinew_smol::RestClient::builder(url))
    }
}

impl Deref for RestClient {
    type Target = sinew_smol::RestClient;

    fn deref(&self) -> &Self::Target {
        self.0.inner()
    }
}

macro_rules! methods {
    ($($name:ident)*) => {
        impl RestClient {
            $(pub(crate) fn $name(&self, path: &str) -> Call {
                Call(self.0.$name(path))
            })*

            pub(crate) fn request(&self, method: Method, path: &str) -> Call {
                Call(self.0.request(method, path))
            }
        }
    };
}

methods! { get head post put patch delete }

/// Settings that are handed on as they are.
macro_rules! settings {
    ($type:ident: $($name:ident($($argument:ident: $of:ty),*))*) => {
        impl $type {
            $(pub(crate) fn $name(self, $($argument: $of),*) -> Self {
                Self(self.0.$name($($argument),*))
            })*
        }
    };
}

pub(crate) struct ClientBuilder(sinew_driver::ClientBuilder<Runtime>);

impl ClientBuilder {
    pub(crate) fn build(self) -> Result<RestClient, Error> {
        self.0.build().map(|client| RestClient(client.into()))
    }
}

settings! { ClientBuilder:
    allow_plaintext()
    allow_plaintext_tokens()
    breaker(config: BreakerConfig)
    connect_timeout(timeout: Duration)
    endpoints(endpoints: impl IntoIterator<Item = impl Into<sinew_driver::ServiceEndpoint>>)
    hedge(config: HedgeConfig)
    max_connections(connections: usize)
    middleware(middleware: impl Middleware)
    proxy(proxy: Proxy)
    redirects(policy: RedirectPolicy)
    retry(policy: RetryPolicy)
    security(policy: EgressPolicy)
    server_name(name: &str)
    timeout(timeout: Duration)
    tls(tls: ClientTls)
}

#[derive(Debug)]
pub(crate) struct Call(sinew_blocking::Call);

settings! { Call:
    attempt_timeout(timeout: Duration)
    between_bytes(limit: Option<Duration>)
    body(body: impl Into<Body>)
    context(context: &CallContext)
    explain()
    form(pairs: &(impl Serialize + ?Sized))
    hedge(allowed: bool)
    json(value: &(impl Serialize + ?Sized))
    mint_idempotency_key()
    no_retry()
    query(pairs: &(impl Serialize + ?Sized))
    retry(policy: RetryPolicy)
    timeout(timeout: Duration)
}

impl Call {
    pub(crate) fn header<N, V>(self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName, Error: Into<http::Error>>,
        V: TryInto<HeaderValue, Error: Into<http::Error>>,
    {
        Self(self.0.header(name, value))
    }

    pub(crate) async fn send(self) -> Result<Response, Error> {
        smol::unblock(|| self.0.send()).await.map(|response| Response(Some(response)))
    }
}

/// An answer. It is taken out while something blocks on it.
#[derive(Debug)]
pub(crate) struct Response(Option<sinew_blocking::Response>);

impl Response {
    fn inner(&self) -> &sinew_blocking::Response {
        self.0.as_ref().unwrap()
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.inner().status()
    }

    pub(crate) fn attempts(&self) -> u8 {
        self.inner().attempts()
    }

    pub(crate) fn explanation(&self) -> Option<&Explained> {
        self.inner().explanation()
    }

    pub(crate) fn header(&self, name: &str) -> Option<HeaderValue> {
        self.inner().header(name)
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        self.inner().headers()
    }

    pub(crate) fn peer_identity(&self) -> Option<&PeerIdentity> {
        self.inner().peer_identity()
    }

    pub(crate) fn into_body(self) -> Body {
        self.0.unwrap().into_body()
    }

    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        let mut inner = self.0.take().unwrap();
        let (inner, chunk) = smol::unblock(move || {
            let chunk = inner.chunk();
            (inner, chunk)
        })
        .await;
        self.0 = Some(inner);
        chunk
    }

    pub(crate) async fn bytes(self) -> Result<Bytes, Error> {
        smol::unblock(|| self.0.unwrap().bytes()).await
    }

    pub(crate) async fn text(self) -> Result<String, Error> {
        smol::unblock(|| self.0.unwrap().text()).await
    }

    pub(crate) async fn json<T: DeserializeOwned + Send + 'static>(self) -> Result<T, Error> {
        smol::unblock(|| self.0.unwrap().json()).await
    }
}
