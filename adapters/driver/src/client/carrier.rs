//! What carries an attempt: a connection of its own, or a seat on one that calls share.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use sinew_core::error::{Delivery, Phase};
use sinew_core::http1::{BodySize, ClientEvent};
use sinew_core::machine::Layered as _;
use sinew_core::resilience::Replay;
use sinew_core::time::Instant;
use sinew_tls::PeerIdentity;

use super::conn::Conn;
use super::hub::Hub;
use super::lane::{Lane, Seat};
use super::outgoing::Outgoing;
use super::response::ClientResponse;
use super::seats::Ticket;
use crate::error::{Error, ErrorKind};
use crate::runtime::Runtime;

/// Whose time something has to come in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Whose {
    /// That of the call.
    Call,
    /// That of one of its phases.
    Phase,
}

impl Whose {
    /// What it is that it did not come in.
    pub(super) const fn late(self) -> ErrorKind {
        match self {
            Self::Call => ErrorKind::Deadline,
            Self::Phase => ErrorKind::Timeout,
        }
    }
}

/// Until when something has to come, and whose time that is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Until {
    pub(super) at: Instant,
    pub(super) whose: Whose,
}

impl Until {
    /// Whose time is over, if it is.
    pub(super) fn is_over(until: Option<Self>, now: Instant) -> Option<Whose> {
        until.filter(|until| until.at <= now).map(|until| until.whose)
    }
}

/// What carries an attempt.
pub(super) enum Carrier<R: Runtime> {
    Conn(Box<Conn<R>>),
    Seat(Box<Seat<R>>),
}

impl<R: Runtime> Carrier<R> {
    /// Sends an attempt on a connection of its own, if that is still good.
    pub(super) fn send(
        cx: &mut Context<'_>,
        mut conn: Box<Conn<R>>,
        ticket: Ticket,
        request: &mut Outgoing,
    ) -> Result<Self, Error> {
        if !ticket.first_use && !conn.is_alive(cx) {
            let closed = ErrorKind::Io(std::io::ErrorKind::NotConnected);
            return Err(Error::new(closed, Phase::RequestHead, Delivery::NotSent));
        }
        request.send(&mut conn)?;
        Ok(Self::Conn(conn))
    }

    /// Gets an attempt on a connection that calls share.
    pub(super) fn board(
        hub: &Arc<Hub<R>>,
        lane: Arc<Lane<R>>,
        ticket: Ticket,
        request: &mut Outgoing,
    ) -> Result<Self, Error> {
        request.depart(hub.runtime.now())?;
        Seat::board(hub, lane, ticket, request).map(Box::new).map(Self::Seat)
    }

    /// The next event of the answer.
    pub(super) fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<ClientEvent, Error>> {
        match self {
            Self::Conn(conn) => conn.poll_event(cx),
            Self::Seat(seat) => seat.poll_event(cx),
        }
    }

    /// The head of the final answer, and what follows it.
    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(ClientResponse, BodySize), Error>> {
        loop {
            match ready!(self.poll_event(cx))? {
                ClientEvent::Response { head, body } => {
                    return Poll::Ready(Ok((ClientResponse::bare(head), body)));
                }
                ClientEvent::Informational(_) | ClientEvent::Continue => {}
                // No body comes before its head.
                ClientEvent::Data(_) | ClientEvent::End(_) => {
                    let (phase, delivery) = (Phase::ResponseHead, Delivery::MaybeProcessed);
                    return Poll::Ready(Err(Error::new(ErrorKind::Gone, phase, delivery)));
                }
            }
        }
    }

    /// Whether the request can be sent once more.
    pub(super) fn replay(&self, request: &Outgoing) -> Replay {
        match self {
            Self::Conn(conn) if conn.can_rewind() => Replay::Possible,
            Self::Conn(_) | Self::Seat(_) => request.replay(),
        }
    }

    /// The answer is its caller's: the request is not sent once more.
    pub(super) fn forget_sent(&mut self) {
        if let Self::Conn(conn) = self {
            conn.forget_sent();
        }
    }

    /// Takes the body back, if it can be sent once more.
    pub(super) fn recover(&mut self, request: &mut Outgoing) {
        if let Self::Conn(conn) = self {
            request.recover(conn);
        }
    }

    /// This time is over: how far the request got.
    pub(super) fn timed_out(&self, whose: Whose) -> Error {
        match self {
            Self::Conn(conn) => conn.timed_out(whose),
            Self::Seat(seat) => seat.timed_out(whose),
        }
    }

    /// When the answer has to be here; `None` where it is streamed.
    pub(super) fn set_until(&mut self, until: Option<Until>) {
        match self {
            Self::Conn(conn) => conn.until = until,
            Self::Seat(seat) => seat.until = until,
        }
    }

    /// Whom the server's certificate names.
    pub(super) fn identity(&self) -> Option<Arc<PeerIdentity>> {
        match self {
            Self::Conn(conn) => conn.wire.identity(),
            Self::Seat(seat) => seat.identity(),
        }
    }

    /// Whether it left HTTP.
    pub(super) fn is_upgraded(&self) -> bool {
        match self {
            Self::Conn(conn) => conn.wire.top_ref().is_upgraded(),
            Self::Seat(_) => false,
        }
    }
}
