//! An answer, and its body.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, Version};
use serde::de::DeserializeOwned;
use sinew_driver::{ClientResponse, Error};
use sinew_tls::PeerIdentity;

use crate::read::Reader;

/// An answer whose head is here. Its body comes as it is read.
#[derive(Debug)]
pub struct Response {
    inner: ClientResponse,
}

impl Response {
    pub(crate) fn new(inner: ClientResponse) -> Self {
        Self { inner }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.inner.status()
    }

    /// HTTP/1.0 or HTTP/1.1.
    pub fn version(&self) -> Version {
        self.inner.version()
    }

    /// The first value of a field.
    pub fn header(&self, name: &str) -> Option<HeaderValue> {
        self.inner.header(name)
    }

    /// All fields; the map is built at the first call.
    pub fn headers(&self) -> &HeaderMap {
        self.inner.headers()
    }

    /// Whom the server's certificate names.
    pub fn peer_identity(&self) -> Option<&PeerIdentity> {
        self.inner.peer_identity()
    }

    /// An error for a status of 400 and above, else the answer itself.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Status`](crate::ErrorKind::Status).
    pub fn error_for_status(self) -> Result<Self, Error> {
        self.inner.error_for_status().map(Self::new)
    }

    /// Waits for the next piece of the body; `None` at its end.
    ///
    /// # Errors
    ///
    /// Whatever cuts the body short.
    pub fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        smol::block_on(self.inner.chunk())
    }

    /// The body, to be read.
    pub fn reader(self) -> Reader {
        Reader::new(self.inner.into_body())
    }

    /// All of the body. See [`bytes`](ClientResponse::bytes).
    ///
    /// # Errors
    ///
    /// Whatever cuts the body short; a body that is too large.
    pub fn bytes(self) -> Result<Bytes, Error> {
        smol::block_on(self.inner.bytes())
    }

    /// All of the body as text.
    ///
    /// # Errors
    ///
    /// Those of [`bytes`](Self::bytes), and bytes that are not UTF-8.
    pub fn text(self) -> Result<String, Error> {
        smol::block_on(self.inner.text())
    }

    /// All of the body as JSON.
    ///
    /// # Errors
    ///
    /// Those of [`bytes`](Self::bytes), and bytes that are not the JSON of this type.
    pub fn json<T: DeserializeOwned>(self) -> Result<T, Error> {
        smol::block_on(self.inner.json())
    }
}
