//! One exchange on a connection: request, handler, answer.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Method;
use sinew_core::http1::{BodySize, ServerEvent};
use sinew_core::reason::Reason;
use sinew_core::server::Params;
use sinew_core::time::Instant;

use super::answer::allow_body;
use super::cancel::Leave;
use super::coding::Packing;
use super::entrance::Waiting;
use super::health::{self, Prober};
use super::http1::Http;
use super::link::{Demand, Slot};
use super::mode::Mode;
use super::request::Request;
use super::server_wire::ServerWire;
use super::service::{Destination, HandlerTimeout, Notice, RouteOptions};
use super::stream::Outgoing;
use crate::body::Body;
use crate::coding::Unpacking;
use crate::error::Origin;
use crate::runtime::Runtime;

/// What the connection is doing for its client.
pub(super) enum Exchange<M: Mode> {
    /// Nothing; the machine may have the next request.
    None,
    /// The handler is not started yet, as others are served.
    Waiting(Box<Waiting>),
    /// The handler has not answered yet.
    Handling(M::Running),
    /// The head of the answer is sent.
    Streaming(Box<Outgoing>),
}

impl<M: Mode> Exchange<M> {
    /// When a silent stream has to show that it lives.
    pub(super) fn pulse_at(&self) -> Option<Instant> {
        match self {
            Self::Streaming(outgoing) => outgoing.pulse.as_ref().map(|(_, at)| *at),
            _ => None,
        }
    }
}

impl<M: Mode> fmt::Debug for Exchange<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Waiting(_) => "Waiting",
            Self::Handling(_) => "Handling",
            Self::Streaming(_) => "Streaming",
        })
    }
}

impl<W: ServerWire, R: Runtime, M: Mode> Http<W, R, M> {
    /// A request came: finds its handler and starts it.
    pub(super) fn begin(&mut self, now: Instant, mut request: Request, size: BodySize) {
        let exchange = request.0.exchange;
        let head = &request.0.head;
        if exchange == 1
            && let Some(identity) = self.wire.identity()
        {
            let _ = self.link.identity.set(identity);
        }
        self.head_only = *head.method() == Method::HEAD;
        self.connect = *head.method() == Method::CONNECT;
        self.switchable = head.offers_switch();
        self.has_body = size != BodySize::Empty;
        self.link.begin(exchange);

        let service = Arc::clone(&self.service);
        if let Some(probes) = &service.probes
            && let Some(probe) = health::asked(head)
        {
            let prober =
                if service.is_admin { Prober::Operator } else { Prober::Client(&self.link.peer) };
            let response = probes.answer(now, prober, probe);
            self.packing = None;
            self.start_span(head, None);
            return self.respond(now, response);
        }
        let destination = service.find(head);
        let (template, compression) = match &destination {
            Destination::Route { template, route, .. } => {
                (Some(*template), route.options.compression.over(service.compression))
            }
            Destination::Fallback(_) | Destination::Answer(_) => (None, service.compression),
        };
        self.packing = compression.map(|policy| Packing::new(policy, head));
        if service.stack.is_empty() {
            self.start_span(head, template);
        } else {
            let asked = AssertUnwindSafe(|| self.ask_policies(now, &service, head, &destination));
            match catch_unwind(asked) {
                Ok(None) => {}
                Ok(Some(response)) => return self.respond(now, response),
                // The observer did not like what it was told.
                Err(_) => return self.panicked(now),
            }
        }
        let (handler, options, template, params) = match destination {
            Destination::Answer(response) => return self.respond(now, response),
            Destination::Route { route, template, params } => {
                (&route.handler, Some(&route.options), Some(template), params)
            }
            Destination::Fallback(handler) => (handler, None, None, Params::default()),
        };
        let decompression = options.map(|options| options.decompression).unwrap_or_default();
        let unpacking = match decompression.over(service.decompression) {
            Some(policy) if self.has_body => match Unpacking::of(policy, head.fields()) {
                Ok(unpacking) => unpacking,
                Err(reason) => return self.refuse_coding(now, reason),
            },
            _ => None,
        };
        request.0.params = params;
        request.0.template = template.and_then(|template| u32::try_from(template).ok());
        request.0.record = self.passage.as_ref().map(|passage| Arc::clone(&passage.record));
        self.leave = None;
        if let Some(options) = options {
            self.leave = Leave::new(now, options, service.machine.handler);
            self.apply(now, options);
        }
        if self.has_body {
            self.describe(now);
            let limit = options.and_then(|options| options.body_limit);
            request.0.body_limit = limit.unwrap_or(service.machine.limits.body);
            if self.wire.top().set_body_limit(now, request.0.body_limit).is_err() {
                // The machine has answered: the declared body is too large.
                return self.end_exchange();
            }
            request.0.body = Body::own(self.link.open_body(exchange, size), Origin::Request);
            if let Some(unpacking) = unpacking {
                request.0.head.remove_field("content-encoding");
                request.0.head.remove_field("content-length");
                let body = std::mem::take(&mut request.0.body);
                request.0.body = unpacking.apply(body, request.0.body_limit, Origin::Request);
            }
            self.feeding = true;
        }
        let of_route = options.map(|options| options.policy.priority);
        let priority = match &self.passage {
            Some(passage) => passage.record.context.priority,
            None => of_route.unwrap_or_default(),
        };
        self.enter(now, request, priority, handler);
    }

    fn apply(&mut self, now: Instant, options: &RouteOptions) {
        let top = self.wire.top();
        match options.handler_timeout {
            HandlerTimeout::Inherit => {}
            HandlerTimeout::After(limit) => top.set_handler_timeout(now, Some(limit)),
            HandlerTimeout::Never => top.set_handler_timeout(now, None),
        }
        if self.has_body && options.slow_body {
            top.lift_body_rate();
        }
    }

    /// Polls the handler, or the producer of the answer's body.
    pub(super) fn run(&mut self, cx: &mut Context<'_>, now: Instant) {
        self.stirred = false;
        if let Exchange::Waiting(_) = &self.exchange
            && !self.wait(cx, now)
        {
            return;
        }
        if let Exchange::Handling(running) = &mut self.exchange {
            let poll = AssertUnwindSafe(|| {
                let mut polled = Pin::new(running).poll(cx);
                if let Poll::Ready(response) = &mut polled {
                    response.0.body.make();
                }
                polled
            });
            match self.span.run(|| catch_unwind(poll)) {
                Ok(Poll::Pending) => {
                    self.describe(now);
                    if self.switchable
                        && let Some(response) =
                            self.link.asked_switch(self.wire.top_ref().exchange(), cx.waker())
                    {
                        self.switch(now, response);
                    }
                    return;
                }
                Ok(Poll::Ready(response)) => {
                    // What the handler held goes first: an unread body is seen to be unwanted.
                    self.exchange = Exchange::None;
                    self.respond(now, response);
                }
                Err(_) => {
                    self.exchange = Exchange::None;
                    self.panicked(now);
                }
            }
        }
        self.stream(cx, now);
    }

    /// Hands the next piece of the request body over, if its reader asked for one. `true`: the
    /// reader, or the wire, has to be looked at again.
    pub(super) fn feed(&mut self, cx: &Context<'_>, now: Instant) -> bool {
        if !self.feeding {
            return false;
        }
        match self.link.demand(cx.waker()) {
            Demand::None => return false,
            Demand::Dropped => {
                // A handler that dropped the body may still be at work: its answer decides.
                if matches!(self.exchange, Exchange::Streaming(_)) {
                    self.feeding = false;
                    self.wire.top().discard_body(now);
                }
                return false;
            }
            Demand::Next => {}
        }
        allow_body(self.wire.top(), now);
        let piece = match self.wire.poll_event(now) {
            Ok(Some(ServerEvent::Data(data))) => Slot::Data(data),
            Ok(Some(ServerEvent::End(trailers))) => {
                self.feeding = false;
                Slot::end(trailers)
            }
            Ok(Some(ServerEvent::Request { .. }) | None) => return false,
            Err(error) => {
                self.broke(error.into());
                return true;
            }
        };
        self.link.deliver(piece, cx.waker())
    }

    /// The wire failed in the middle of an exchange. The handler gets a last look, so that it sees
    /// why its body ended; what it answers is not sent.
    pub(super) fn abandon(&mut self, cx: &mut Context<'_>) {
        if self.feeding {
            let error = match (&self.broken, self.wire.top_ref().error()) {
                (Some(error), _) => error.clone().into(),
                (None, Some(error)) => error.into(),
                (None, None) => return,
            };
            let here = self.link.deliver(Slot::failed(error), cx.waker());
            if let (true, Exchange::Handling(running)) = (here, &mut self.exchange) {
                let poll = AssertUnwindSafe(|| Pin::new(running).poll(cx));
                if self.span.run(|| catch_unwind(poll)).is_err() {
                    self.span.panicked();
                    self.notice(&Notice::Panicked);
                }
            }
        }
        self.end_exchange();
    }

    pub(super) fn end_exchange(&mut self) {
        // Most often it is over already, and there is nothing to drop.
        if !matches!(self.exchange, Exchange::None) {
            self.exchange = Exchange::None;
        }
        self.give_up();
        if let Some(mut passage) = self.passage.take() {
            let top = self.wire.top_ref();
            if passage.status.is_none()
                && let Some(error) = top.error()
                && let Some(status) = error.status()
            {
                // The machine has answered by itself.
                (passage.status, passage.reason) = (Some(status), Some(Reason::of(&error)));
            }
            passage.bodies = top.body_bytes();
            if passage.is_awaited() {
                passage.seen = self.runtime.now();
            }
        }
        self.span.end(self.wire.top_ref().error());
        self.seen.producer_waits = false;
        self.stirred = false;
        self.held_up = false;
        self.feeding = false;
        self.link.end(self.has_body || self.switchable);
        self.switchable = false;
    }
}
