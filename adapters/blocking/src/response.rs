//! An answer, and its body.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, Version};
use serde::de::DeserializeOwned;
use sinew_core::event_stream::StreamEvent;
use sinew_driver::{Body, ClientResponse, Error, Explained};
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

    /// How many attempts it took, this one included.
    pub fn attempts(&self) -> u8 {
        self.inner.attempts()
    }

    /// What became of the call up to this answer, and why, where it was to be
    /// [explained](sinew_driver::Call::explain).
    pub fn explanation(&self) -> Option<&Explained> {
        self.inner.explanation()
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

    /// The body, to be sent on with another call.
    pub fn into_body(self) -> Body {
        self.inner.into_body()
    }

    /// The events of an event stream, each waited for. See [`events`](ClientResponse::events).
    ///
    /// # Errors
    ///
    /// Another status than 200, and what is no event stream.
    pub fn events(self) -> Result<Events, Error> {
        self.inner.events().map(|inner| Events { inner })
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

/// The events of an answer, as they come. Each step waits for the next one.
#[derive(Debug)]
pub struct Events {
    inner: sinew_driver::Events,
}

impl Events {
    /// The events' reader underneath: the id of the last one, and how long to wait before asking again.
    pub fn inner(&self) -> &sinew_driver::Events {
        &self.inner
    }
}

impl Iterator for Events {
    type Item = Result<StreamEvent, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        smol::block_on(self.inner.next())
    }
}
