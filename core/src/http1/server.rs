//! One server connection.

use core::time::Duration;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::StatusCode;

use super::{BodySize, Rejected, ServerConfig, StatusLine};
use crate::error::Error;
use crate::head::{Fields, RequestHead};
use crate::machine::{Layered, Machine, Status, Wire};
use crate::observe;
use crate::outbox::Outbox;
use crate::time::{Deadline, Instant};

/// What a server connection tells the application.
#[derive(Debug)]
pub enum ServerEvent {
    /// A request head. With [`BodySize::Empty`] no `Data` and no `End` follow.
    Request {
        /// Method, target, fields.
        head: RequestHead,
        /// What follows.
        body: BodySize,
    },
    /// Bytes of the request body.
    Data(Bytes),
    /// The request body is complete.
    End(Option<Fields>),
}

/// An HTTP/1.1 server connection: bytes in, requests out; responses in, bytes out.
///
/// Requests come one at a time, in order: the next head is parsed when the exchange before it is
/// over, that is, when the response is complete and the request body was pulled to its end or
/// discarded.
#[derive(Debug)]
pub struct Server {
    config: Arc<ServerConfig>,
}

impl Server {
    /// A fresh connection, accepted at `now`.
    pub fn new(config: Arc<ServerConfig>, now: Instant) -> Self {
        todo!()
    }

    /// Sends an interim response (1xx, not 101). 100 answers `Expect: 100-continue`.
    pub fn send_informational<N: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        now: Instant,
        status: StatusCode,
        fields: impl IntoIterator<Item = (N, V)>,
    ) -> Result<(), Error> {
        todo!()
    }

    /// Sends the head of the final response. The machine writes `date`, `connection`,
    /// `content-length` and `transfer-encoding` by itself; for HEAD, 204 and 304 no body is due.
    /// A 101, or a 2xx to CONNECT, ends HTTP: see [`into_upgraded`](Self::into_upgraded).
    /// With `Exact` or `Unknown`, `send_data` and `send_end` follow (also for HEAD: swallowed).
    pub fn send_response<'a, N: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        now: Instant,
        line: impl Into<StatusLine<'a>>,
        fields: impl IntoIterator<Item = (N, V)>,
        body: BodySize,
    ) -> Result<(), Error> {
        todo!()
    }

    /// Sends body bytes. Ask [`can_send`](Self::can_send) first; one chunk of overshoot is taken.
    pub fn send_data(&mut self, now: Instant, data: Bytes) -> Result<(), Rejected> {
        todo!()
    }

    /// Ends the response body, with trailers if it is chunked and the client takes them.
    pub fn send_end<N: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        now: Instant,
        trailers: impl IntoIterator<Item = (N, V)>,
    ) -> Result<(), Error> {
        todo!()
    }

    /// The response body cannot be completed: the connection ends so that the peer can tell.
    pub fn abort(&mut self, now: Instant) {
        todo!()
    }

    /// The rest of the request body is of no interest. Drains a little, or closes after the answer;
    /// call it before `send_response`, so that the head can say so.
    pub fn discard_body(&mut self, now: Instant) {
        todo!()
    }

    /// Finish what is in flight, then stop: the next response says `connection: close`, an idle
    /// connection ends at once.
    pub fn close(&mut self, now: Instant) {
        todo!()
    }

    /// Replaces the handler's time limit for the current exchange, counted from `now`.
    pub fn set_handler_timeout(&mut self, now: Instant, limit: Option<Duration>) {
        todo!()
    }

    /// Replaces the body limit for the current exchange. Fails, and answers 413, when the declared
    /// length is above it.
    pub fn set_body_limit(&mut self, now: Instant, bytes: u64) -> Result<(), Error> {
        todo!()
    }

    /// Switches the minimum rate of the request body off for the current exchange.
    pub fn lift_body_rate(&mut self) {
        todo!()
    }

    /// Whether a response is due: a request head was delivered and no final head was sent.
    pub fn awaits_response(&self) -> bool {
        todo!()
    }

    /// Whether the client waits for `100 Continue` before it sends the body.
    pub fn awaits_continue(&self) -> bool {
        todo!()
    }

    /// Whether more request body can be pulled.
    pub fn body_open(&self) -> bool {
        todo!()
    }

    /// Whether response body bytes are due: `send_data` or `send_end`.
    pub fn response_open(&self) -> bool {
        todo!()
    }

    /// Whether a producer may go on: the outbox is below its high-water mark.
    pub fn can_send(&self) -> bool {
        todo!()
    }

    /// Whether no exchange is running and no input is waiting.
    pub fn is_idle(&self) -> bool {
        todo!()
    }

    /// Counts the requests of this connection, from 1; 0 before the first.
    pub fn exchange(&self) -> u64 {
        todo!()
    }

    /// Whether the peer shut its writing side.
    pub fn peer_closed(&self) -> bool {
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

    /// Hands over the bytes left over and the outbox (which still holds the 101), once
    /// [`is_upgraded`](Self::is_upgraded).
    #[expect(clippy::result_large_err, reason = "the connection itself comes back")]
    pub fn into_upgraded(self) -> Result<(BytesMut, Outbox), Self> {
        todo!()
    }
}

impl Machine for Server {
    type Event = ServerEvent;
    type Error = Error;

    fn poll_event(&mut self, now: Instant) -> Result<Option<ServerEvent>, Error> {
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

impl Wire for Server {
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

impl Layered for Server {
    type Top = Self;

    fn top(&mut self) -> &mut Self {
        self
    }

    fn top_ref(&self) -> &Self {
        self
    }
}
