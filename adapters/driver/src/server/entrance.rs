//! A request at the gate: whether its handler starts now, later, or never.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::StatusCode;
use sinew_core::error::Kind;
use sinew_core::limit::{AdmissionConfig, Load, Owner, Shed};
use sinew_core::observe::Event;
use sinew_core::policy::{Mode as Verdicts, Priority, Refused, Stage};
use sinew_core::reason::Reason;
use sinew_core::server::Record;
use sinew_core::time::{Instant, Timer};

use super::exchange::Exchange;
use super::gate::{Entrance, Turn};
use super::http1::Http;
use super::memory::Booked;
use super::mode::Mode;
use super::problem::Problem;
use super::request::{Inner, Request};
use super::response::IntoResponse as _;
use super::server_wire::ServerWire;
use super::service::{Destination, Notice};
use crate::runtime::Runtime;

/// A request that waits for its handler to be started.
pub(super) struct Waiting {
    request: Request,
    turn: Turn,
    priority: Priority,
    _held: Booked,
}

/// About what a request takes while it waits.
fn size(request: &Request) -> usize {
    let lines = request.0.head.fields().iter().map(|(name, value)| name.len() + value.len() + 4);
    let head = request.0.head.target().len() + lines.sum::<usize>();
    head + size_of::<Waiting>() + size_of::<Inner>() + size_of::<Record>()
}

impl<W: ServerWire, R: Runtime, M: Mode> Http<W, R, M> {
    /// Starts the handler, or waits until it may be.
    pub(super) fn enter(
        &mut self,
        now: Instant,
        mut request: Request,
        priority: Priority,
        handler: &M::Handler,
    ) {
        if self.holdings.stage().sheds(priority) {
            return self.turn_away(now, request, priority, Shed::Memory);
        }
        let Some(gate) = &self.service.gate else { return self.start(now, request, handler) };
        let mode = gate.mode();
        match gate.arrive(now, priority) {
            Entrance::Admitted(place) => {
                self.place = Some(place);
                self.admitted(priority, Duration::ZERO);
                self.start(now, request, handler);
            }
            Entrance::Waits(turn) => {
                let held = size(&request);
                let Ok(held) = Booked::new(self.ticket.control(), Owner::Queue, held) else {
                    drop(turn);
                    return self.turn_away(now, request, priority, Shed::Memory);
                };
                let waiting = Waiting { request, turn, priority, _held: held };
                self.exchange = Exchange::Waiting(Box::new(waiting));
                self.stirred = true;
                if self.service.observer.is_some() {
                    let exchange = self.wire.top_ref().exchange();
                    self.notice(&Notice::Decided(Event::Queued { exchange, priority }));
                }
            }
            Entrance::Shed(why) if mode.obeys() => self.turn_away(now, request, priority, why),
            Entrance::Shed(why) => {
                // What is noted is noted in the record, which nobody shares yet.
                request.0.record = None;
                self.note_shed(priority, why, mode);
                request.0.record = self.passage.as_ref().map(|passage| Arc::clone(&passage.record));
                self.start(now, request, handler);
            }
        }
    }

    /// Looks whether a request that waits may go on. `false`: it waits.
    pub(super) fn wait(&mut self, cx: &Context<'_>, now: Instant) -> bool {
        let Exchange::Waiting(waiting) = &mut self.exchange else { return true };
        let looked = match waiting.turn.poll(cx) {
            // Nobody may be left to answer; whoever only shut the writing side is told at once.
            Poll::Pending if self.ended => Err(Shed::Gone),
            Poll::Pending => {
                self.describe(now);
                return false;
            }
            Poll::Ready(looked) => looked,
        };
        let Exchange::Waiting(waiting) = std::mem::replace(&mut self.exchange, Exchange::None)
        else {
            return true;
        };
        let Waiting { request, turn, priority, _held } = *waiting;
        drop(turn);
        let service = Arc::clone(&self.service);
        match looked {
            Err(why) => self.turn_away(now, request, priority, why),
            Ok((place, waited)) => {
                self.place = Some(place);
                self.admitted(priority, waited);
                match service.find(&request.0.head) {
                    Destination::Route { route, .. } => self.start(now, request, &route.handler),
                    Destination::Fallback(handler) => self.start(now, request, handler),
                    Destination::Answer(response) => self.respond(now, response),
                }
            }
        }
        true
    }

    fn start(&mut self, now: Instant, request: Request, handler: &M::Handler) {
        match self.span.run(|| catch_unwind(AssertUnwindSafe(|| handler(request)))) {
            Ok(running) => {
                self.exchange = Exchange::Handling(running);
                self.stirred = true;
            }
            Err(_) => self.panicked(now),
        }
    }

    /// Answers a request that is not taken up: whoever sent it may send it elsewhere.
    fn turn_away(&mut self, now: Instant, request: Request, priority: Priority, why: Shed) {
        drop(request);
        self.note_shed(priority, why, Verdicts::Enforce);
        let gate = self.service.gate.as_ref();
        let wait = gate.map_or_else(|| AdmissionConfig::default().retry_after, |g| g.retry_after());
        self.respond(now, Problem::because(Reason::Overloaded).retry_after(wait).into_response());
    }

    fn admitted(&self, priority: Priority, waited: Duration) {
        if self.service.observer.is_some() {
            let exchange = self.wire.top_ref().exchange();
            self.notice(&Notice::Decided(Event::Admitted { exchange, priority, waited }));
        }
    }

    fn note_shed(&mut self, priority: Priority, why: Shed, mode: Verdicts) {
        let refused = Refused { stage: Stage::Admit, reason: Reason::Overloaded, mode };
        if let Some(passage) = &mut self.passage {
            passage.refuse(refused);
        }
        let exchange = self.wire.top_ref().exchange();
        self.notice(&Notice::Decided(Event::Shed { exchange, priority, why, mode }));
        self.notice(&Notice::Decided(Event::Refused { exchange, refused }));
        if mode.obeys() {
            self.span.refused(refused);
        }
    }

    /// The head of the answer is sent: the place is free.
    #[inline]
    pub(super) fn vacate(&mut self, now: Instant, status: StatusCode) {
        if let Some(place) = self.place.take() {
            let limit = place.settle(now, |took| Load::of_status(status, took));
            self.tell_limit(limit);
        }
    }

    /// The exchange is over, without an answer of the handler.
    pub(super) fn give_up(&mut self) {
        let Some(place) = self.place.take() else { return };
        let late = self
            .wire
            .top_ref()
            .error()
            .is_some_and(|error| matches!(error.kind, Kind::Timeout(Timer::Handler)));
        if late {
            let limit = place.settle(self.runtime.now(), |_| Load::Overload);
            self.tell_limit(limit);
        }
    }

    fn tell_limit(&self, limit: Option<u32>) {
        if let Some(limit) = limit {
            self.notice(&Notice::Decided(Event::ConcurrencyLimit { limit }));
        }
    }
}
