//! What the policies say of a request, and what of that is told, written down and answered.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use sinew_core::head::Lines;
use sinew_core::head::RequestHead;
use sinew_core::observe::Event;
use sinew_core::policy::{self, Refused, Stage};
use sinew_core::reason::Reason;
use sinew_core::server::{Arrival, Decision, Template};
use sinew_core::time::{Epoch, Instant};

use super::coding;
use super::http1::Http;
use super::mode::Mode;
use super::numbers;
use super::passage::{self, Passage};
use super::problem::Problem;
use super::response::{IntoResponse as _, Response};
use super::server_wire::ServerWire;
use super::service::{Destination, Notice, Service};
use crate::io::Peer;
use crate::runtime::Runtime;
use crate::trace::{Asked, RequestSpan};

impl<W: ServerWire, R: Runtime, M: Mode> Http<W, R, M> {
    /// Asks the policies about a request. An answer: it goes no further.
    pub(super) fn ask_policies(
        &mut self,
        now: Instant,
        service: &Service<M>,
        head: &RequestHead,
        destination: &Destination<'_, M>,
    ) -> Option<Response> {
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
            number: numbers::draw(),
            head,
            has_body: self.has_body,
            route,
            fallback: matches!(destination, Destination::Fallback(_)),
            policy,
            peer,
        };
        let mut record = passage::record(&arrival);
        // It is shared with the handler later; nobody has it yet.
        let on_head = AssertUnwindSafe(|| {
            Arc::get_mut(&mut record).map(|record| service.stack.on_head(&arrival, record))
        });
        let asked = catch_unwind(on_head);
        let failed = asked.is_err();
        if failed {
            self.notice(&Notice::Panicked);
            self.wire.top().close(now);
        }
        // Nobody knows what it would have said.
        let decision = asked.ok().flatten().unwrap_or(Decision::Refuse(Reason::Internal));
        if service.observer.is_some() {
            let exchange = self.wire.top_ref().exchange();
            record.each_event(exchange, |event| self.notice(&Notice::Decided(event)));
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
    pub(super) fn refuse_coding(&mut self, now: Instant, reason: Reason) {
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
    pub(super) fn start_span(&mut self, head: &RequestHead, template: Option<usize>) {
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
        let ready = fields.0.lines.iter().flat_map(Lines::iter);
        let lines = fields.fields().map(|(name, value)| (name.as_str(), value.as_bytes()));
        if let Err(error) = self.wire.top().describe_failure(now, ids, lines.chain(ready))
            && !error.is_fatal()
        {
            self.misused(error, None);
        }
        passage::reuse(fields.0.lines.take());
        if dressed.is_err() {
            self.notice(&Notice::Panicked);
        }
    }
}
