//! One client connection.

use core::time::Duration;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::{BodySize, ClientConfig, Rejected, RequestLine};
use crate::error::{Delivery, Error};
use crate::head::{Fields, ResponseHead};
use crate::machine::{Layered, Machine, Status, Wire};
use crate::observe;
use crate::outbox::Outbox;
use crate::time::{Deadline, Instant};

/// What a client connection tells the application.
#[derive(Debug)]
pub enum ClientEvent {
    /// An interim response (1xx, not 101).
    Informational(ResponseHead),
    /// The body of a request with `Expect: 100-continue` may be sent: the server asked for it, or
    /// did not answer in time.
    Continue,
    /// The head of the final response. With [`BodySize::Empty`] no `Data` and no `End` follow.
    Response {
        /// Status and fields.
        head: ResponseHead,
        /// What follows.
        body: BodySize,
    },
    /// Bytes of the response body.
    Data(Bytes),
    /// The response body is complete.
    End(Option<Fields>),
}

/// An HTTP/1.1 client connection, one exchange at a time.
#[derive(Debug)]
pub struct Client {
    config: Arc<ClientConfig>,
}

impl Client {
    /// A fresh connection, established at `now`.
    pub fn new(config: Arc<ClientConfig>, now: Instant) -> Self {
        todo!()
    }

    /// Sends a request head. The machine writes `host`, `connection`, `content-length` and
    /// `transfer-encoding` by itself; a `host` among the fields takes precedence over the line's
    /// authority. With `Exact` or `Unknown`, `send_data` and `send_end` follow.
    pub fn send_request<N: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        now: Instant,
        line: RequestLine<'_>,
        fields: impl IntoIterator<Item = (N, V)>,
        body: BodySize,
    ) -> Result<(), Error> {
        todo!()
    }

    /// Sends body bytes. Ask [`can_send`](Self::can_send) first; one chunk of overshoot is taken.
    /// After the server's final answer the bytes are dropped.
    pub fn send_data(&mut self, now: Instant, data: Bytes) -> Result<(), Rejected> {
        todo!()
    }

    /// Ends the request body, with trailers if it is chunked.
    pub fn send_end<N: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        now: Instant,
        trailers: impl IntoIterator<Item = (N, V)>,
    ) -> Result<(), Error> {
        todo!()
    }

    /// No further request: an idle connection ends at once, a running exchange is finished first.
    pub fn close(&mut self, now: Instant) {
        todo!()
    }

    /// Replaces the limit on the wait for the response's head, counted from `now`.
    pub fn set_response_head_timeout(&mut self, now: Instant, limit: Option<Duration>) {
        todo!()
    }

    /// Replaces the limit between two pieces of the response body for the current exchange
    /// (off for event streams).
    pub fn set_between_bytes(&mut self, now: Instant, limit: Option<Duration>) {
        todo!()
    }

    /// Whether a body producer may go on: body is due, not held back by `Expect: 100-continue`, and
    /// the outbox is below its high-water mark.
    pub fn can_send(&self) -> bool {
        todo!()
    }

    /// Whether request body is still due (`send_data` or `send_end`).
    pub fn request_open(&self) -> bool {
        todo!()
    }

    /// Whether the final response's head has not come yet.
    pub fn awaits_response(&self) -> bool {
        todo!()
    }

    /// Whether more response body can be pulled.
    pub fn body_open(&self) -> bool {
        todo!()
    }

    /// Whether another request can be sent on this connection: no exchange, nothing queued, nothing
    /// unread, no EOF, no close agreed.
    pub fn reusable(&self) -> bool {
        todo!()
    }

    /// Whether the peer shut its writing side.
    pub fn peer_closed(&self) -> bool {
        todo!()
    }

    /// How far the current (or last) request got.
    pub fn delivery(&self) -> Delivery {
        todo!()
    }

    /// The fatal error, once there is one.
    pub fn error(&self) -> Option<Error> {
        todo!()
    }

    /// Whether the connection left HTTP by a 101 or a 2xx to CONNECT.
    pub fn is_upgraded(&self) -> bool {
        todo!()
    }

    /// Hands over the bytes left over and the outbox, once [`is_upgraded`](Self::is_upgraded).
    #[expect(clippy::result_large_err, reason = "the connection itself comes back")]
    pub fn into_upgraded(self) -> Result<(BytesMut, Outbox), Self> {
        todo!()
    }
}

impl Machine for Client {
    type Event = ClientEvent;
    type Error = Error;

    fn poll_event(&mut self, now: Instant) -> Result<Option<ClientEvent>, Error> {
        todo!()
    }

    fn handle_timeout(&mut self, now: Instant) {
        todo!()
    }

    fn deadline(&self) -> Option<Deadline> {
        todo!()
    }

    fn poll_observed(&mut self) -> Option<observe::Event> {
        todo!()
    }
}

impl Wire for Client {
    fn inbox(&mut self) -> &mut BytesMut {
        todo!()
    }

    fn wants_read(&self) -> bool {
        todo!()
    }

    fn handle_eof(&mut self, now: Instant) {
        todo!()
    }

    fn outbox(&mut self) -> &mut Outbox {
        todo!()
    }

    fn status(&self) -> Status {
        todo!()
    }

    fn rest(&mut self) {
        todo!()
    }
}

impl Layered for Client {
    type Top = Self;

    fn top(&mut self) -> &mut Self {
        self
    }

    fn top_ref(&self) -> &Self {
        self
    }
}
