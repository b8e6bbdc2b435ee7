//! What becomes of a handler whose client goes away.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use sinew_core::error::{Delivery, Kind, Phase as At};
use sinew_core::http1::ServerEvent;
use sinew_core::server::drain::Departure;
use sinew_core::time::{Instant, Timer};

use super::exchange::Exchange;
use super::http1::Http;
use super::link::{Demand, Slot};
use super::mode::Mode;
use super::seat::Orders;
use super::server_wire::ServerWire;
use super::service::{HandlerTimeout, Notice, RouteOptions};
use crate::error::{Error, ErrorKind};
use crate::runtime::Runtime;

/// What becomes of a handler whose client goes away before the head of the answer is sent.
///
/// A client that closed its socket and one that only shut its writing side, and still reads, look
/// the same until something is written to it: an end of stream. A socket that fails, or a request
/// body that ends half-way, leaves no doubt.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Cancellation {
    /// The handler is dropped when the client is gone beyond doubt. After an end of stream it goes
    /// on, and its answer is sent; a handler that wants to know waits for
    /// [`Request::gone`](super::Request::gone). The default.
    #[default]
    WhenLost,
    /// The handler is dropped at an end of stream already, unless its answer is ready by then. A
    /// client that only shuts its writing side gets no answer.
    Cancel,
    /// The handler goes on to its end, its handler timeout, or the deadline of a
    /// [stop](super::ServerHandle::stop), whichever is first. Its answer is dropped.
    ///
    /// Until then it keeps its place among the connections. What came of the request body can still
    /// be read.
    Finish,
    /// The same, for so long at most, counted from the loss.
    FinishWithin(Duration),
}

/// How the running handler is to be cancelled, where a route says so.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leave {
    policy: Cancellation,
    /// When a handler that goes on without its client has to be done.
    by: Option<Instant>,
}

impl Leave {
    /// A handler starts.
    #[inline]
    pub(super) fn new(
        now: Instant,
        options: &RouteOptions,
        default_timeout: Option<Duration>,
    ) -> Option<Box<Self>> {
        let policy = options.cancellation;
        if policy == Cancellation::WhenLost {
            return None;
        }
        let limit = match options.handler_timeout {
            HandlerTimeout::Inherit => default_timeout,
            HandlerTimeout::After(limit) => Some(limit),
            HandlerTimeout::Never => None,
        };
        Some(Box::new(Self { policy, by: limit.map(|limit| now + limit) }))
    }
}

impl<W: ServerWire, R: Runtime, M: Mode> Http<W, R, M> {
    /// Whether the handler goes on although the wire failed: because the client is gone, not because
    /// of what it sent.
    pub(super) fn outlives(&self) -> bool {
        let lost = match (self.wire.top_ref().error(), &self.broken) {
            (Some(error), _) => {
                matches!(error.kind, Kind::Truncated | Kind::Timeout(Timer::WriteStall))
            }
            (None, broken) => broken.is_some(),
        };
        lost && self.may_outlive()
    }

    /// Whether there is a handler that outlives its client.
    pub(super) fn may_outlive(&self) -> bool {
        let finish =
            |policy| matches!(policy, Cancellation::Finish | Cancellation::FinishWithin(_));
        self.policy().is_some_and(finish)
    }

    /// Whether there is a handler that ends with the stream.
    pub(super) fn is_cancelled(&self) -> bool {
        self.policy() == Some(Cancellation::Cancel)
    }

    /// What holds for the running handler.
    fn policy(&self) -> Option<Cancellation> {
        let handling = matches!(self.exchange, Exchange::Handling(_));
        self.leave.as_ref().filter(|_| handling).map(|leave| leave.policy)
    }

    /// The client is gone, and the handler goes on.
    pub(super) fn orphan(&mut self) {
        let now = self.runtime.now();
        if let Some(leave) = &mut self.leave
            && let Cancellation::FinishWithin(limit) = leave.policy
        {
            let by = now + limit;
            leave.by = Some(leave.by.map_or(by, |known| known.min(by)));
        }
        self.wire.handle_eof(now);
        self.link.lose();
        self.orphaned = true;
    }

    /// Drives a handler whose client is gone. Ready: how it ended.
    pub(super) fn poll_orphan(&mut self, cx: &mut Context<'_>) -> Poll<Departure> {
        if self.ticket.look(cx).contains(Orders::RESET) {
            return Poll::Ready(Departure::Broken);
        }
        let exchange = self.wire.top_ref().exchange();
        let by = self.leave.as_ref().and_then(|leave| leave.by);
        loop {
            let now = self.runtime.now();
            if by.is_some_and(|by| by <= now) {
                return Poll::Ready(Departure::Broken);
            }
            let Exchange::Handling(running) = &mut self.exchange else {
                return Poll::Ready(Departure::Broken);
            };
            let poll = AssertUnwindSafe(|| Pin::new(running).poll(cx));
            match self.span.run(|| catch_unwind(poll)) {
                Ok(Poll::Ready(_for_nobody)) => return Poll::Ready(Departure::Orphaned),
                Ok(Poll::Pending) => {}
                Err(_) => {
                    self.span.panicked();
                    self.notice(&Notice::Panicked);
                    return Poll::Ready(Departure::Broken);
                }
            }
            if self.switchable && self.link.asked_switch(exchange, cx.waker()).is_some() {
                let gone = Error::new(ErrorKind::Gone, At::ResponseHead, Delivery::MaybeProcessed);
                self.link.refuse_switch(exchange, gone);
                continue;
            }
            if self.feed_rest(cx, now) {
                continue;
            }
            if self.alarm.arm(cx, &self.runtime, now, by).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Hands over what came of the request body, and then that no more will. `true`: its reader is
    /// this very task.
    fn feed_rest(&mut self, cx: &Context<'_>, now: Instant) -> bool {
        if !self.feeding || self.link.demand(cx.waker()) != Demand::Next {
            return false;
        }
        let piece = match self.wire.poll_event(now) {
            Ok(Some(ServerEvent::Data(data))) => Slot::Data(data),
            Ok(Some(ServerEvent::End(trailers))) => Slot::end(trailers),
            Ok(Some(ServerEvent::Request { .. }) | None) => {
                Slot::failed(Error::new(ErrorKind::Gone, At::RequestBody, Delivery::MaybeProcessed))
            }
            Err(error) => {
                let error: sinew_tls::Error = error.into();
                Slot::failed(error.into())
            }
        };
        self.feeding = matches!(piece, Slot::Data(_));
        self.link.deliver(piece, cx.waker())
    }
}
