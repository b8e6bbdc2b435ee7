//! What a connection becomes when its handler takes it over.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::control::{Ending, Phase, Ticket};
use super::link::Hold;
use super::mode::Mode;
use super::service::{Notice, Service};
use crate::trace::RequestSpan;
use crate::upgraded::Line;

/// An upgraded connection: its handler goes on, and it is driven until it is over, also when the
/// handler has let go of it or has given it to another task.
pub(super) struct Session<M: Mode> {
    pub(super) handler: Option<M::Running>,
    pub(super) line: Arc<Line>,
    pub(super) link: Hold,
    pub(super) service: Arc<Service<M>>,
    pub(super) ticket: Ticket,
    pub(super) ending: Option<Ending>,
    pub(super) span: RequestSpan,
}

impl<M: Mode> Session<M> {
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.ticket.phase(cx) {
            Phase::Serving => {}
            // When one that carries bytes ends is up to its handler: see `ServerHandle::stopping`.
            Phase::Draining => {
                if self.ending.replace(Ending::Drained).is_none() {
                    // The second half is left for the answers.
                    self.line.act(|carrier| carrier.leave(self.ticket.patience() / 2));
                }
            }
            Phase::Aborting => {
                self.line.stop();
                self.handler = None;
                return Poll::Ready(());
            }
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
        let over = self.line.poll(cx, |carrier, cx| {
            let over = carrier.poll_over(cx);
            if self.service.observer.is_some() {
                while let Some(event) = carrier.poll_observed() {
                    self.service.notice(Some(&self.link.peer), &Notice::Decided(event));
                }
            }
            over
        });
        if over.is_pending() || self.handler.is_some() {
            return Poll::Pending;
        }
        self.ticket.ends(self.ending.unwrap_or(Ending::Aborted));
        Poll::Ready(())
    }
}
