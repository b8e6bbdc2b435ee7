//! A call that blocks.

use std::io::Read;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use serde::Serialize;
use sinew_core::policy::Priority;
use sinew_core::propagation::CallContext;
use sinew_core::resilience::RetryPolicy;
use sinew_driver::{Body, Error};
use sinew_smol::SmolRuntime;

use crate::read::body_of;
use crate::response::Response;

/// A call that is being put together. Nothing happens before [`send`](Self::send).
#[must_use = "a call is not made before it is sent"]
#[derive(Debug)]
pub struct Call {
    inner: sinew_driver::Call<SmolRuntime>,
}

/// What means the same for a call that blocks.
macro_rules! same {
    ($($name:ident($($argument:ident: $type:ty),*);)*) => {$(
        #[doc = concat!("See [`", stringify!($name), "`](sinew_driver::Call::", stringify!($name), ").")]
        pub fn $name(self, $($argument: $type),*) -> Self {
            Self::new(self.inner.$name($($argument),*))
        }
    )*};
}

impl Call {
    pub(crate) fn new(inner: sinew_driver::Call<SmolRuntime>) -> Self {
        Self { inner }
    }

    same! {
        bearer(token: &str);
        query(pairs: &(impl Serialize + ?Sized));
        json(value: &(impl Serialize + ?Sized));
        form(pairs: &(impl Serialize + ?Sized));
        body(body: impl Into<Body>);
        expect_continue();
        context(context: &CallContext);
        timeout(timeout: Duration);
        attempt_timeout(timeout: Duration);
        pool_timeout(timeout: Duration);
        between_bytes(limit: Option<Duration>);
        body_timeout(limit: Option<Duration>);
        route(name: &'static str);
        retry(policy: RetryPolicy);
        no_retry();
        hedge(allowed: bool);
        priority(priority: Priority);
        idempotency_key(key: &str);
        mint_idempotency_key();
        explain();
    }

    /// Adds a field. See [`header`](sinew_driver::Call::header).
    pub fn header<N, V>(self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName, Error: Into<http::Error>>,
        V: TryInto<HeaderValue, Error: Into<http::Error>>,
    {
        Self::new(self.inner.header(name, value))
    }

    /// The body: what this reads, to its end. It is read by the thread that makes the call, as the server
    /// takes it, and cannot be sent a second time.
    pub fn reader(self, reader: impl Read + Send + 'static) -> Self {
        self.body(body_of(reader))
    }

    /// Makes the call, and waits for the head of the answer.
    ///
    /// # Errors
    ///
    /// Those of [`sinew_driver::Call::send`].
    pub fn send(self) -> Result<Response, Error> {
        smol::block_on(self.inner.send()).map(Response::new)
    }
}
