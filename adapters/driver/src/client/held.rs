//! An exchange whose answer has begun: whoever has it has what carries it.

use std::sync::Arc;
use std::task::{Context, Poll};

use sinew_core::client::dispatcher::ConnectionId;
use sinew_core::http1::{BodySize, ClientEvent};
use sinew_core::machine::Layered as _;
use sinew_core::resilience::{NoRetry, Replay};
use sinew_core::time::Instant;
use sinew_tls::PeerIdentity;

use super::carrier::{Carrier, Until, Whose};
use super::hub::Hub;
use super::response::{ClientResponse, Incoming, Source};
use super::seats::Ticket;
use crate::error::Error;
use crate::runtime::Runtime;
use crate::upgraded::Line;

/// An exchange whose answer has begun. Dropped, it closes its connection, unless others share it.
pub(super) struct Held<R: Runtime> {
    hub: Arc<Hub<R>>,
    ticket: Ticket,
    /// `None` once the exchange is over.
    carrier: Option<Carrier<R>>,
    /// The body must be here by then, however it is read.
    body_by: Option<Until>,
}

impl<R: Runtime> Held<R> {
    pub(super) fn new(hub: &Arc<Hub<R>>, ticket: Ticket, carrier: Carrier<R>) -> Self {
        Self { hub: Arc::clone(hub), ticket, carrier: Some(carrier), body_by: None }
    }

    /// The head was given to the caller, who has until `deadline` for the rest, and never longer than until
    /// `body_by`.
    pub(super) fn delivered(&mut self, deadline: Instant, body_by: Option<Instant>) {
        self.body_by = body_by.map(|at| Until { at, whose: Whose::Phase });
        let Some(carrier) = &mut self.carrier else { return };
        let call = Until { at: deadline, whose: Whose::Call };
        carrier.set_until(Some(self.body_by.filter(|body| body.at < deadline).unwrap_or(call)));
        if let Carrier::Seat(seat) = carrier
            && seat.judged()
        {
            self.hub.finished(self.ticket, None);
        }
    }

    /// The answer, with what is still to come of it.
    pub(super) fn respond(self, answer: ClientResponse, body: BodySize) -> ClientResponse {
        let identity = self.identity();
        if self.is_upgraded() {
            return answer.switched(identity, self.upgrade());
        }
        answer.with(identity, Incoming::new(self, body))
    }

    /// Whom the server's certificate names.
    fn identity(&self) -> Option<Arc<PeerIdentity>> {
        self.carrier.as_ref()?.identity()
    }

    /// Whether its connection left HTTP.
    fn is_upgraded(&self) -> bool {
        self.carrier.as_ref().is_some_and(Carrier::is_upgraded)
    }

    /// The connection has left HTTP: it is its caller's now, together with its place under the caps.
    fn upgrade(mut self) -> Option<Arc<Line>> {
        let Some(Carrier::Conn(conn)) = self.carrier.take() else { return None };
        self.hub.upgraded(self.ticket);
        conn.upgrade(Place { hub: Arc::clone(&self.hub), connection: self.ticket.connection })
    }

    /// The exchange is over. What is `whole` can carry another.
    fn end(&mut self, whole: bool) {
        match self.carrier.take() {
            Some(Carrier::Conn(conn)) if whole => self.hub.finished(self.ticket, Some(conn)),
            Some(Carrier::Conn(conn)) => {
                self.hub.finished(self.ticket, None);
                drop(conn);
            }
            Some(Carrier::Seat(seat)) if seat.leave() => self.hub.finished(self.ticket, None),
            Some(Carrier::Seat(_)) | None => {}
        }
    }
}

impl<R: Runtime> Drop for Held<R> {
    fn drop(&mut self) {
        self.end(false);
    }
}

impl<R: Runtime> Source for Held<R> {
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<ClientEvent, Error>> {
        match &mut self.carrier {
            Some(carrier) => carrier.poll_event(cx),
            None => Poll::Pending,
        }
    }

    fn lift_deadline(&mut self) {
        if let Some(carrier) = &mut self.carrier {
            carrier.set_until(self.body_by);
        }
    }

    fn lift_silence(&mut self) {
        if let Some(Carrier::Conn(conn)) = &mut self.carrier {
            let now = conn.runtime.now();
            conn.wire.top().set_between_bytes(now, None);
        }
    }

    fn complete(mut self) {
        self.end(true);
    }

    /// What was read already may complete the body: then nothing is wrong with the connection.
    fn leave(mut self) {
        let whole = match &mut self.carrier {
            Some(Carrier::Conn(conn)) => conn.discard(),
            Some(Carrier::Seat(_)) | None => true,
        };
        self.end(whole);
    }

    fn fail(mut self, error: Error) -> Error {
        let failed = match &self.carrier {
            Some(Carrier::Conn(_)) => true,
            Some(Carrier::Seat(seat)) => seat.leave(),
            None => false,
        };
        let carrier = self.carrier.take();
        if failed {
            self.hub.failed(self.ticket, error.failure(), Replay::Impossible);
        }
        drop(carrier);
        error.of_call(self.ticket.attempt, Some(NoRetry::Delivered))
    }
}

/// The place under the caps of a connection that left HTTP.
struct Place<R: Runtime> {
    hub: Arc<Hub<R>>,
    connection: ConnectionId,
}

impl<R: Runtime> Drop for Place<R> {
    fn drop(&mut self) {
        self.hub.tunnel_ended(self.connection);
    }
}
