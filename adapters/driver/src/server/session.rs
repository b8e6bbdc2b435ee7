//! What a connection becomes when its handler takes it over.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use sinew_core::server::drain::{Activity, Departure};

use super::current::Current;
use super::link::Hold;
use super::mode::Mode;
use super::seat::Orders;
use super::service::{Notice, Service};
use super::ticket::Ticket;
use crate::trace::RequestSpan;
use crate::upgraded::Line;

/// An upgraded connection: its handler goes on, and it is driven until it is over, also when the
/// handler has let go of it or has given it to another task.
pub(super) struct Session<M: Mode> {
    pub(super) handler: Option<M::Running>,
    pub(super) line: Arc<Line>,
    pub(super) link: Hold,
    pub(super) service: Arc<Service<M>>,
    pub(super) current: Arc<Current<M>>,
    pub(super) ticket: Ticket,
    /// It knows that the server leaves.
    pub(super) told: bool,
    pub(super) span: RequestSpan,
}

impl<M: Mode> Session<M> {
    /// What the server goes by was replaced. Whether the peer would not be let in any more.
    fn is_distrusted(&mut self) -> bool {
        self.ticket.renewed();
        let before = std::mem::replace(&mut self.service, self.current.get());
        let Some(tls) = self.service.changed_tls(&before) else { return false };
        let distrusted = !self.line.is_accepted_by(tls);
        if distrusted {
            self.service.notice(Some(&self.link.peer), &Notice::Distrusted);
        }
        distrusted
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let orders = self.ticket.look(cx);
        if orders.contains(Orders::RESET)
            || (orders.contains(Orders::RENEW) && self.is_distrusted())
        {
            self.line.stop();
            self.handler = None;
            return Poll::Ready(());
        }
        if orders.closes() {
            self.ticket.does(Activity::Upgraded);
        }
        // When one that carries bytes ends is up to its handler: see `Request::going_away`.
        if orders.contains(Orders::TELL) && !std::mem::replace(&mut self.told, true) {
            self.link.tell_going_away();
            self.line.act(|carrier| carrier.leave());
        }
        if let Some(handler) = &mut self.handler {
            let poll = AssertUnwindSafe(|| Pin::new(handler).poll(cx));
            match self.span.run(|| catch_unwind(poll)) {
                Ok(Poll::Pending) => {}
                // An answer can no longer be sent.
                Ok(Poll::Ready(_)) => self.handler = None,
                Err(_) => {
                    self.handler = None;
                    self.span.panicked();
                    self.service.notice(Some(&self.link.peer), &Notice::Panicked);
                }
            }
        }
        let mut observed = Vec::new();
        let over = self.line.poll(cx, |carrier, cx| {
            let over = carrier.poll_over(cx);
            if self.service.observer.is_some() {
                observed.extend(std::iter::from_fn(|| carrier.poll_observed()));
            }
            over
        });
        // Not under the lock of the line: an observer may send on it.
        for event in observed {
            self.service.notice(Some(&self.link.peer), &Notice::Decided(event));
        }
        if over.is_pending() || self.handler.is_some() {
            return Poll::Pending;
        }
        self.ticket.ends(Departure::Orderly);
        Poll::Ready(())
    }
}
