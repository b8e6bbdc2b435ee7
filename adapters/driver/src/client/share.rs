//! A call on a connection that it shares with others.

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use http::header::UPGRADE;
use sinew_core::client::Want;
use sinew_core::error::Delivery;
use sinew_core::http1::{BodySize, Client};
use sinew_core::time::Instant;

use super::call::{Call, answer};
use super::conn::{Conn, refused};
use super::lane::{Lane, Lanes, Seat, Ticket, Wish};
use super::lease::{Held, Lease};
use super::response::{ClientResponse, Incoming, Source as _};
use crate::error::Error;
use crate::runtime::Runtime;

impl<R: Runtime> Call<R> {
    /// Whether this call can have others around it on its connection. The machine has the last word.
    pub(super) fn may_share(&self, body: Option<&Bytes>) -> bool {
        body.is_some_and(Bytes::is_empty)
            && self.method.is_idempotent()
            && !self.fields.contains_key(UPGRADE)
    }

    /// Makes the call on a connection that others may share.
    pub(super) async fn share(
        &self,
        lanes: &Arc<Lanes<R>>,
        deadline: Instant,
        target: &str,
        earlier: &mut Delivery,
    ) -> Result<ClientResponse, Error> {
        let mut want = Want::Any;
        loop {
            let (mut seat, reused) = match want {
                Want::Any => self.seat(lanes, deadline, target).await?,
                // https://www.rfc-editor.org/rfc/rfc9112#section-9.3.2: here the machine pipelines
                // nothing before an answer.
                Want::Fresh => {
                    let (lease, _) = self.lease(deadline, want).await?;
                    self.open(lanes, deadline, target, lease, None).await?
                }
            };
            match answer(|cx| seat.poll_event(cx)).await {
                Ok((head, body)) => {
                    let identity = seat.identity();
                    let limit = self.shared.config.max_response_size;
                    return Ok(ClientResponse::new(
                        head,
                        identity,
                        Incoming::new(seat, body),
                        limit,
                    ));
                }
                Err(error) if reused && self.is_stale(&error) => {
                    *earlier = error.delivery();
                    // What was not sent was not tried.
                    want = match earlier {
                        Delivery::NotSent => Want::Any,
                        _ => Want::Fresh,
                    };
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// A seat on a lane that has room, or on a new one; whether the connection was used before.
    async fn seat(
        &self,
        lanes: &Arc<Lanes<R>>,
        deadline: Instant,
        target: &str,
    ) -> Result<(Seat<R>, bool), Error> {
        let ticket = self.ticket(deadline);
        let mut leased = pin!(self.shared.connections.lease(deadline, Want::Any));
        let mut waiting = None;
        let placed = poll_fn(|cx| {
            let board = |lane: Arc<Lane<R>>| {
                lane.board(&self.method, ticket, |now, top| self.ask(now, top, target))
            };
            if waiting.is_none()
                && !lanes.is_crowded()
                && let Some(seat) = lanes.board(board)
            {
                return Poll::Ready(Ok(Placed::On(seat)));
            }
            if let Poll::Ready(leased) = leased.as_mut().poll(cx) {
                return Poll::Ready(leased.map(|(lease, kept)| Placed::Leased(lease, kept)));
            }
            // First the waker, then the look: room that comes between the two is not missed.
            let waiting = waiting.get_or_insert_with(|| lanes.join(Wish::Room));
            match waiting.wait(cx.waker()).then(|| lanes.board(board)).flatten() {
                Some(seat) => Poll::Ready(Ok(Placed::On(seat))),
                None => Poll::Pending,
            }
        })
        .await?;
        match placed {
            Placed::On(seat) => Ok((seat?, true)),
            Placed::Leased(lease, kept) => self.open(lanes, deadline, target, lease, kept).await,
        }
    }

    async fn open(
        &self,
        lanes: &Arc<Lanes<R>>,
        deadline: Instant,
        target: &str,
        lease: Lease<R>,
        kept: Option<Conn<R>>,
    ) -> Result<(Seat<R>, bool), Error> {
        let (conn, reused) = self.conn(kept, deadline).await?;
        let ticket = self.ticket(deadline);
        let ask = |now, top: &mut Client| self.ask(now, top, target);
        Ok((Lane::open(lanes, Held { conn, lease }, ticket, ask)?, reused))
    }

    fn ticket(&self, deadline: Instant) -> Ticket {
        Ticket { deadline, between_bytes: self.between_bytes }
    }

    /// Sends the head of a call without a body.
    fn ask(&self, now: Instant, top: &mut Client, target: &str) -> Result<(), Error> {
        top.send_request(now, self.line(target), &self.fields, BodySize::Empty).map_err(refused)
    }
}

/// Where a call that shares found its place.
enum Placed<R: Runtime> {
    On(Result<Seat<R>, Error>),
    Leased(Lease<R>, Option<Conn<R>>),
}
