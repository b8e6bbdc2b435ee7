//! One exchange on a connection: request, handler, answer.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Extensions, Method, StatusCode};
use http_body::Body as _;
use sinew_core::Wire as _;
use sinew_core::error::{Misuse, Phase};
use sinew_core::head::RequestHead;
use sinew_core::http1::{self, BodySize, NO_FIELDS, Rejected, ServerEvent};
use sinew_core::observe::Event;
use sinew_core::policy::{self, Refused, Stage};
use sinew_core::problem::Ids;
use sinew_core::reason::Reason;
use sinew_core::server::{Arrival, Decision, Params, Record, Template};
use sinew_core::time::{Epoch, Instant};

use super::cancel::Leave;
use super::coding::{self, Packing};
use super::entrance::Waiting;
use super::health::{self, Prober};
use super::http1::{Http, ServerWire};
use super::link::{Demand, Slot};
use super::mode::Mode;
use super::passage::{self, Passage};
use super::problem::Problem;
use super::request::Request;
use super::response::{IntoResponse as _, Response};
use super::service::{Destination, HandlerTimeout, Notice, RouteOptions};
use super::stream::{Outgoing, Streamed};
use crate::body::Body;
use crate::coding::Unpacking;
use crate::drive;
use crate::error::Origin;
use crate::io::Peer;
use crate::runtime::Runtime;
use crate::trace::{Asked, RequestSpan};

/// Answers that are larger are booked before they are queued.
const LARGE: usize = 16 * 1024;

/// What the connection is doing for its client.
pub(super) enum Exchange<M: Mode> {
    /// Nothing; the machine may have the next request.
    None,
    /// The handler is not started yet, as others are served.
    Waiting(Box<Waiting>),
    /// The handler has not answered yet.
    Handling(M::Running),
    /// The head of the answer is sent.
    Streaming(Outgoing),
}

impl<M: Mode> Exchange<M> {
    /// When a silent stream has to show that it lives.
    pub(super) fn pulse_at(&self) -> Option<Instant> {
        match self {
            Self::Streaming(Outgoing { pulse: Some((_, at)), .. }) => Some(*at),
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
    pub(super) fn begin(&mut self, now: Instant, head: RequestHead, size: BodySize) {
        let exchange = self.wire.top_ref().exchange();
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
            && let Some(probe) = health::asked(&head)
        {
            let prober =
                if service.is_admin { Prober::Operator } else { Prober::Client(&self.link.peer) };
            let response = probes.answer(now, prober, probe);
            self.packing = None;
            self.start_span(&head, None);
            return self.respond(now, response);
        }
        let destination = service.find(&head);
        let (template, compression) = match &destination {
            Destination::Route { template, route, .. } => {
                (Some(*template), route.options.compression.over(service.compression))
            }
            Destination::Fallback(_) | Destination::Answer(_) => (None, service.compression),
        };
        self.packing = compression.map(|policy| Packing::new(policy, &head));
        if service.stack.is_empty() {
            self.start_span(&head, template);
        } else {
            let asked = AssertUnwindSafe(|| self.ask_policies(now, &head, &destination));
            match catch_unwind(asked) {
                Ok(None) => {}
                Ok(Some(response)) => return self.respond(now, response),
                // The observer did not like what it was told.
                Err(_) => return self.panicked(now),
            }
        }
        let (handler, options, template, params) = match destination {
            Destination::Answer(response) => return self.respond(now, *response),
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
        let mut request = Request {
            head,
            body: Body::empty(),
            body_limit: 0,
            params,
            template: template.and_then(|template| u32::try_from(template).ok()),
            exchange,
            link: Arc::clone(&self.link),
            record: self.passage.as_ref().map(|passage| Arc::clone(&passage.record)),
            extensions: Extensions::new(),
            headers: OnceLock::new(),
        };
        self.leave = None;
        if let Some(options) = options {
            self.leave = Leave::new(now, options, service.machine.handler);
            self.apply(now, options);
        }
        if self.has_body {
            self.describe(now);
            let limit = options.and_then(|options| options.body_limit);
            request.body_limit = limit.unwrap_or(service.machine.limits.body);
            if self.wire.top().set_body_limit(now, request.body_limit).is_err() {
                // The machine has answered: the declared body is too large.
                return self.end_exchange();
            }
            request.body = Body::own(self.link.open_body(exchange, size), Origin::Request);
            if let Some(unpacking) = unpacking {
                request.head.remove_field("content-encoding");
                request.head.remove_field("content-length");
                let body = std::mem::take(&mut request.body);
                request.body = unpacking.apply(body, request.body_limit, Origin::Request);
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

    /// Asks the policies about a request. An answer: it goes no further.
    fn ask_policies(
        &mut self,
        now: Instant,
        head: &RequestHead,
        destination: &Destination<'_, M>,
    ) -> Option<Response> {
        let service = Arc::clone(&self.service);
        let (route, policy) = match destination {
            Destination::Route { route, template, .. } => (Some(*template), &route.options.policy),
            Destination::Fallback(_) | Destination::Answer(_) => (None, &service.elsewhere),
        };
        let identity = self.link.identity.get().map(|identity| &**identity);
        let peer = self.link.policy_peer.get_or_init(|| {
            Box::new(passage::peer(&self.link.peer, identity, service.tls.as_ref(), W::SCHEME))
        });
        let arrival = Arrival {
            now,
            unix: service.machine.epoch.unwrap_or(Epoch::new(Duration::ZERO)).unix(now),
            number: service.numbers.draw(),
            head,
            has_body: self.has_body,
            route,
            fallback: matches!(destination, Destination::Fallback(_)),
            policy,
            peer,
        };
        let mut record = Record::new(&arrival);
        let on_head = AssertUnwindSafe(|| service.stack.on_head(&arrival, &mut record));
        let asked = catch_unwind(on_head);
        let failed = asked.is_err();
        if failed {
            self.notice(&Notice::Panicked);
            self.wire.top().close(now);
        }
        // Nobody knows what it would have said.
        let decision = asked.unwrap_or(Decision::Refuse(Reason::Internal));
        if service.observer.is_some() {
            let exchange = self.wire.top_ref().exchange();
            for event in record.events(exchange) {
                self.notice(&Notice::Decided(event));
            }
            if record.refused.is_some()
                && let Some(why) = service.stack.explain(&record)
            {
                self.notice(&Notice::Explained { exchange, why });
            }
        }
        if let Some(audit) = &service.audit {
            let template = route.and_then(|route| service.router.templates().get(route));
            let why = || service.stack.explain(&record);
            audit.request(arrival.unix, &record, template.map(Template::as_str), why);
        }
        let (retry_after, refused) = (record.retry_after, record.refused);
        let explained = record.refused.filter(|refused| service.explain.to_caller(refused));
        let explanation = explained.and_then(|_| service.stack.explain(&record));
        let mut passage = Passage::new(record, Arc::clone(&service.stack));
        passage.failed = failed;
        self.passage = Some(passage);
        self.start_span(head, route);
        if let Some(refused) = refused {
            self.span.refused(refused);
        }
        match decision {
            Decision::Continue => None,
            Decision::Answer(status) => Some(Response::new(status)),
            Decision::Refuse(reason) => {
                let mut problem = Problem::because(reason);
                if let Some(explanation) = explanation {
                    problem = problem.detail(explanation);
                }
                if let Some(time) = retry_after {
                    problem = problem.retry_after(time);
                }
                Some(problem.into_response())
            }
        }
    }

    /// The body comes in a coding that is not taken, or in too many. It is refused like by a layer.
    fn refuse_coding(&mut self, now: Instant, reason: Reason) {
        let refused = Refused { stage: Stage::Validate, reason, mode: policy::Mode::Enforce };
        if let Some(passage) = &mut self.passage {
            passage.refuse(refused);
        }
        let exchange = self.wire.top_ref().exchange();
        self.notice(&Notice::Decided(Event::Refused { exchange, refused }));
        self.span.refused(refused);
        self.respond(now, coding::refused(reason));
    }

    /// From here on what happens belongs to the span of the request.
    fn start_span(&mut self, head: &RequestHead, template: Option<usize>) {
        let Self { link, passage, service, .. } = self;
        let record = passage.as_ref().map(|passage| &passage.record);
        self.span = RequestSpan::start(|| Asked {
            method: head.method(),
            route: template
                .and_then(|template| service.router.templates().get(template))
                .map(Template::as_str),
            peer: &link.peer,
            // Unix sockets go without.
            secure: service.tls.is_some() && link.peer != Peer::Unix,
            trace: record.and_then(|record| record.context.trace.as_ref()),
            id: record.and_then(|record| record.request_id.as_ref()),
        });
    }

    /// Tells the machine what belongs on an answer, before it may have to write one by itself.
    pub(super) fn describe(&mut self, now: Instant) {
        let Some(passage) = self.passage.as_mut().filter(|passage| !passage.described) else {
            return;
        };
        passage.described = true;
        let mut fields = Response::new(StatusCode::INTERNAL_SERVER_ERROR);
        let dressed = passage.dress(&mut fields);
        let ids = passage.record.ids();
        let lines = fields.fields().map(|(name, value)| (name.as_str(), value.as_bytes()));
        if let Err(error) = self.wire.top().describe_failure(now, ids, lines)
            && !error.is_fatal()
        {
            self.misused(error);
        }
        if dressed.is_err() {
            self.notice(&Notice::Panicked);
        }
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
            let poll = AssertUnwindSafe(|| Pin::new(running).poll(cx).map(Response::made));
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
                Slot::End(trailers.map(|trailers| trailers.to_header_map()))
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
            let here = self.link.deliver(Slot::Failed(error), cx.waker());
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
        self.exchange = Exchange::None;
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
            passage.seen = self.runtime.now();
        }
        self.span.end(self.wire.top_ref().error());
        self.seen.producer_waits = false;
        self.stirred = false;
        self.held_up = false;
        self.feeding = false;
        self.link.end(self.has_body || self.switchable);
        self.switchable = false;
    }

    /// The handler takes the connection over, if the machine lets it.
    fn switch(&mut self, now: Instant, response: Response) {
        let mut response = response;
        if let Some(passage) = &self.passage
            && passage.dress(&mut response).is_err()
        {
            self.notice(&Notice::Panicked);
        }
        let Response { status, fields, body, malformed, .. } = response;
        let leaves = self.leaves_http(status);
        let top = self.wire.top();
        drive::lend_write_block(top.outbox());
        let lines = fields.iter().map(|(name, value)| (name, value));
        let sent = if malformed {
            Err(sinew_core::Error::usage(Misuse::FieldValue, Phase::ResponseHead))
        } else if !body.is_end_stream() {
            Err(sinew_core::Error::usage(Misuse::BodyForbidden, Phase::ResponseHead))
        } else if !leaves {
            Err(sinew_core::Error::usage(Misuse::Status, Phase::ResponseHead))
        } else {
            top.send_response(now, status, lines, BodySize::Empty)
        };
        if sent.is_ok() {
            self.span.answered(status, None);
            self.vacate(now, status);
        }
        let top = self.wire.top();
        if let Err(error) = sent {
            self.link.refuse_switch(top.exchange(), error.into());
            self.stirred = true;
            self.seen.drained = false;
        } else if let Some(passage) = &mut self.passage {
            passage.answered(now, status, None);
        }
    }

    /// Whether the bytes behind an answer with this status belong to another protocol.
    fn leaves_http(&self, status: StatusCode) -> bool {
        status == StatusCode::SWITCHING_PROTOCOLS || (self.connect && status.is_success())
    }

    pub(super) fn panicked(&mut self, now: Instant) {
        self.span.panicked();
        self.notice(&Notice::Panicked);
        self.internal_error(now);
    }

    pub(super) fn misused(&self, error: sinew_core::Error) {
        self.notice(&Notice::Misused(error));
    }

    /// 500 without a word of why, and no further request on this connection.
    fn internal_error(&mut self, now: Instant) {
        self.wire.top().close(now);
        if self.send(now, Problem::because(Reason::Internal).into_response()).is_err() {
            self.end_exchange();
        }
    }

    /// Sends what the handler answered.
    pub(super) fn respond(&mut self, now: Instant, response: Response) {
        match self.send(now, response) {
            Ok(()) => {}
            Err(error) if error.is_fatal() => self.end_exchange(),
            Err(error) => {
                self.misused(error);
                if let Some(passage) = &mut self.passage {
                    // It may be a layer that asks for what cannot be sent, and it would again.
                    passage.plain = true;
                }
                self.internal_error(now);
            }
        }
    }

    /// Sends a head, and the body if it is here already.
    fn send(&mut self, now: Instant, mut response: Response) -> Result<(), sinew_core::Error> {
        if response.malformed {
            return Err(sinew_core::Error::usage(Misuse::FieldValue, Phase::ResponseHead));
        }
        let reason = response.reason();
        match &mut self.passage {
            Some(passage) => {
                if !passage.plain && passage.dress(&mut response).is_err() && !passage.failed {
                    passage.failed = true;
                    self.panicked(now);
                    return Ok(());
                }
                response.write_problem(&passage.record.ids());
            }
            None => response.write_problem(&Ids::default()),
        }
        if let Some(packing) = self.packing {
            packing.apply(&mut response);
        }
        let Response { status, fields, mut body, trailers, pulse, .. } = response;
        // A connection leaves HTTP only if its handler takes it over: `Request::upgrade`.
        if self.leaves_http(status) {
            return Err(sinew_core::Error::usage(Misuse::Status, Phase::ResponseHead));
        }
        if matches!(
            status,
            StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED
        ) {
            body = Body::empty();
        }
        if self.ticket.is_leaving() {
            self.answers_last(now);
        }
        let full = body.take_full();
        if let Some(bytes) = &full
            && bytes.len() > LARGE
            && !self.head_only
        {
            let queued = self.wire.top().outbox().len();
            if self.holdings.take_answer(queued, bytes.len()).is_err() {
                let problem = Problem::because(Reason::InsufficientMemory);
                return self.send(now, problem.into_response());
            }
        }
        let size = match (&full, &trailers) {
            (Some(bytes), None) => BodySize::Exact(bytes.len() as u64),
            (Some(bytes), Some(_)) if bytes.is_empty() => BodySize::Empty,
            (None, None) => body.size_hint().exact().map_or(BodySize::Unknown, BodySize::Exact),
            (_, Some(_)) => BodySize::Unknown,
        };
        let streamed = full.is_none() && !self.head_only;
        // Those of a full body with trailers.
        let mut bytes = None;
        let top = self.wire.top();
        // Decided before the head is written, so that the head can say what becomes of the
        // connection. Whoever streams an answer may still be reading.
        if top.body_open() {
            if streamed && self.feeding && !self.link.is_dropped() {
                // A final answer would end the client's wait without the body.
                allow_body(top, now);
            } else {
                self.feeding = false;
                top.discard_body(now);
            }
        }
        drive::lend_write_block(top.outbox());
        let lines = fields.iter().map(|(name, value)| (name, value));
        match (full, &trailers) {
            (Some(bytes), None) => top.send_whole(now, status, lines, bytes)?,
            (full, _) => {
                top.send_response(now, status, lines, size)?;
                bytes = full;
            }
        }
        self.span.answered(status, reason);
        self.vacate(now, status);
        if let Some(passage) = &mut self.passage {
            passage.answered(now, status, reason);
        }
        let top = self.wire.top();
        if streamed && top.response_open() {
            let pulse = pulse.map(|pulse| {
                let at = now + pulse.every;
                (pulse, at)
            });
            let kind = Streamed::of(&fields);
            self.exchange = Exchange::Streaming(Outgoing { body, trailers, pulse, kind });
            return Ok(());
        }
        if top.response_open() {
            if let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty() && !self.head_only)
                && let Err(Rejected::Error(error)) = top.send_data(now, bytes)
            {
                self.misused(error);
            }
            self.finish(now, trailers.as_deref());
        }
        self.end_exchange();
        Ok(())
    }
}

/// Tells a client that holds the body back to send it.
fn allow_body(top: &mut http1::Server, now: Instant) {
    if top.awaits_continue() {
        drive::lend_write_block(top.outbox());
        // The machine has just said that one is due.
        let _ = top.send_informational(now, StatusCode::CONTINUE, NO_FIELDS);
    }
}
