//! One connection: the loop.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use sinew_core::http1::ServerEvent;
use sinew_core::machine::{Seen, Step, Wire as _};
use sinew_core::reason::Reason;
use sinew_core::server::drain::{Activity, Departure};
use sinew_core::time::{Deadline, Instant};

use super::cancel::Leave;
use super::coding::Packing;
use super::current::Current;
use super::exchange::Exchange;
use super::gate::Place;
use super::link::{Hold, Link};
use super::memory::Holdings;
use super::mode::Mode;
use super::passage::Passage;
use super::problem::Problem;
use super::proxied::Parts;
use super::request::Request;
use super::response::IntoResponse as _;
use super::seat::Orders;
use super::server_wire::ServerWire;
use super::service::{Notice, Service};
use super::session::Session;
use super::ticket::Ticket;
use crate::drive::{self, Alarm, Pipe};
use crate::runtime::Runtime;
use crate::trace::RequestSpan;
use crate::upgraded::{Carrier, Line, Upgraded};

/// Steps of one wake-up; then the other tasks of the worker get their turn.
const LAPS: usize = 64;

/// A connection that speaks HTTP.
pub(super) struct Http<W, R: Runtime, M: Mode> {
    pub(super) wire: W,
    pub(super) seen: Seen,
    /// What it goes by.
    pub(super) service: Arc<Service<M>>,
    /// What the server goes by.
    pub(super) current: Arc<Current<M>>,
    /// What it goes by from the next head on, where that is something else.
    pub(super) next: Option<Arc<Service<M>>>,
    /// The handshake began under what is not in force any more.
    pub(super) doubted: bool,
    pub(super) link: Hold,
    pub(super) exchange: Exchange<M>,
    /// What it holds of the memory of the server.
    pub(super) holdings: Holdings,
    /// The producer of the answer waits for memory: it is asked again whenever some of it has gone out.
    pub(super) held_up: bool,
    /// There is no room for what it would read.
    pub(super) starved: bool,
    /// Since when it has done nothing while memory runs short, and the bytes that had gone out by then.
    pub(super) quiet: Option<(Instant, u64)>,
    /// The place among those that are served at once, where their number is limited.
    pub(super) place: Option<Place>,
    /// How its request fared with the policies, where there are any.
    pub(super) passage: Option<Passage>,
    /// The handler, or the producer of the answer's body, may have something for us.
    pub(super) stirred: bool,
    /// The request body is handed over to a reader.
    pub(super) feeding: bool,
    pub(super) has_body: bool,
    pub(super) head_only: bool,
    pub(super) connect: bool,
    /// The request offers to leave HTTP.
    pub(super) switchable: bool,
    /// The span of the running exchange.
    pub(super) span: RequestSpan,
    /// How the answer is compressed.
    pub(super) packing: Option<Packing>,
    /// What becomes of the handler when the client goes away, where that is not the default.
    pub(super) leave: Option<Box<Leave>>,
    /// The client shut its writing side.
    pub(super) ended: bool,
    /// The client is gone, and the handler goes on.
    pub(super) orphaned: bool,
    /// Why the wire can go no further, as it was first told.
    pub(super) broken: Option<sinew_tls::Error>,
    pipe: Pipe<R::Io>,
    pub(super) runtime: R,
    pub(super) alarm: Alarm<R>,
    pub(super) ticket: Ticket,
}

impl<W: ServerWire, R: Runtime, M: Mode> Http<W, R, M> {
    pub(super) fn new(parts: Parts<W, R, M>) -> Self {
        let Parts { wire, io, runtime, service, current, peer, ticket } = parts;
        let templates = Arc::clone(service.router.templates());
        let link = Link::new(peer, templates, Arc::clone(&service.stack));
        Self {
            wire,
            seen: Seen::default(),
            service,
            current,
            next: None,
            doubted: false,
            link: Hold::new(link),
            exchange: Exchange::None,
            holdings: Holdings::new(ticket.control()),
            held_up: false,
            starved: false,
            quiet: None,
            place: None,
            passage: None,
            stirred: false,
            feeding: false,
            has_body: false,
            head_only: false,
            connect: false,
            switchable: false,
            span: RequestSpan::none(),
            packing: None,
            leave: None,
            ended: false,
            orphaned: false,
            broken: None,
            pipe: Pipe::new(io),
            runtime,
            alarm: Alarm::new(),
            ticket,
        }
    }

    /// What every wake-up starts with. `Err`: it is the last one.
    fn wake(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<(), Stop> {
        let orders = self.ticket.look(cx);
        if orders.is_any() {
            self.obey(cx, now, orders)?;
        }
        if self.starved {
            self.settle(cx);
        }
        self.seen.read_blocked = false;
        self.seen.write_blocked = false;
        if !matches!(self.exchange, Exchange::None) {
            self.stirred = true;
            self.seen.drained = false;
        }
        if self.alarm.has_fired(now) {
            self.wire.handle_timeout(now);
            self.seen.drained = false;
        }
        match self.pipe.flush(cx) {
            Poll::Ready(Err(error)) => Err(self.lost(&error)),
            _ => Ok(()),
        }
    }

    /// The server is leaving.
    fn obey(&mut self, cx: &Context<'_>, now: Instant, orders: Orders) -> Result<(), Stop> {
        if orders.contains(Orders::RESET) {
            return Err(Stop::Aborted);
        }
        if orders.contains(Orders::TELL) {
            self.link.tell_going_away();
            if self.is_event_stream() && !self.link.is_farewell_watched(cx.waker()) {
                self.end_stream(now);
                self.close(now);
            }
        }
        if orders.contains(Orders::RENEW) {
            self.renew(now);
        }
        // A client that does not know yet may have sent a request already: who is idle waits for it.
        let runs = !matches!(self.exchange, Exchange::None);
        if (orders.closes() && runs) || (orders.contains(Orders::CLOSE) && !runs) {
            self.close(now);
        }
        Ok(())
    }

    /// What runs is the last exchange.
    pub(super) fn close(&mut self, now: Instant) {
        self.wire.top().close(now);
        self.seen.drained = false;
    }

    /// A request is answered while the server is leaving: the answer says that it is the last one.
    pub(super) fn answers_last(&mut self, now: Instant) {
        self.ticket.does(Activity::Request);
        self.close(now);
    }

    /// What the connection is doing, as a server that leaves wants to know it.
    fn activity(&self, cx: &Context<'_>) -> Activity {
        match self.exchange {
            Exchange::None if self.wire.top_ref().is_idle() => Activity::Idle,
            Exchange::None => Activity::Request,
            _ if self.is_event_stream() || self.link.is_farewell_watched(cx.waker()) => {
                Activity::Stream
            }
            Exchange::Waiting(_) | Exchange::Handling(_) | Exchange::Streaming(_) => {
                Activity::Request
            }
        }
    }

    /// The application, or the machine, or both, get their turn.
    fn turn(&mut self, cx: &mut Context<'_>, now: Instant) {
        self.seen.drained = true;
        if !matches!(self.exchange, Exchange::None) {
            if self.broken.is_some() || self.wire.top_ref().error().is_some() {
                if self.outlives() {
                    return self.orphan();
                }
                self.abandon(cx);
            } else {
                if self.stirred || self.seen.producer_waits {
                    self.stirred = false;
                    self.run(cx, now);
                }
                if self.feed(cx, now) {
                    self.stirred = true;
                    self.seen.drained = false;
                }
            }
            if matches!(self.exchange, Exchange::None) {
                self.seen.drained = false;
            }
            return;
        }
        self.adopt();
        match self.wire.poll_event(now) {
            Ok(None) => {}
            Ok(Some(ServerEvent::Request { .. })) if self.is_distrusted() => {
                self.notice(&Notice::Distrusted);
                self.close(now);
                self.respond(now, Problem::because(Reason::Forbidden).into_response());
            }
            Ok(Some(ServerEvent::Request { head, body })) => {
                let exchange = self.wire.top_ref().exchange();
                let request = Request::new(head, exchange, Arc::clone(&self.link));
                self.begin(now, request, body);
                self.run(cx, now);
                self.seen.drained = self.is_quiet();
            }
            // The machine drains a discarded body by itself.
            Ok(Some(ServerEvent::Data(_) | ServerEvent::End(_))) => self.seen.drained = false,
            Err(error) => self.broke(error.into()),
        }
    }

    /// Whether neither the machine nor the application has anything to say.
    fn is_quiet(&self) -> bool {
        matches!(self.exchange, Exchange::None) && self.wire.is_quiet()
    }

    /// The wire failed. What is queued is still flushed, as the machine says.
    pub(super) fn broke(&mut self, error: sinew_tls::Error) {
        if self.broken.is_some() {
            return;
        }
        if let sinew_tls::Error::Tls(failure) = &error {
            self.notice(&Notice::TlsFailed(failure.clone()));
        }
        self.broken = Some(error);
    }

    pub(super) fn notice(&self, notice: &Notice) {
        self.service.notice(Some(&self.link.peer), notice);
    }

    /// When something is due: a timer of the machine, or a sign of life in a silent stream.
    fn deadline(&self, machine: Option<Deadline>) -> Option<Instant> {
        let machine = machine.map(|deadline| deadline.at);
        match (machine, self.exchange.pulse_at()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    fn tell(&mut self) {
        if self.service.observer.is_some() {
            while let Some(event) = self.wire.poll_observed() {
                self.notice(&Notice::Decided(event));
            }
        }
    }

    /// The socket failed: nobody will hear the answer.
    fn lost(&self, error: &io::Error) -> Stop {
        self.notice(&Notice::SocketFailed(error.kind()));
        Stop::Lost
    }

    fn laps(&mut self, cx: &mut Context<'_>) -> Result<Poll<Next>, Stop> {
        let mut now = self.runtime.now();
        self.wake(cx, now)?;
        for _ in 0..LAPS {
            match self.wire.step(self.seen) {
                Step::Poll => {
                    self.turn(cx, now);
                    if self.switchable && self.wire.top_ref().is_upgraded() {
                        self.tell();
                        return Ok(Poll::Ready(Next::Upgraded));
                    }
                    if self.orphaned {
                        return Err(Stop::Lost);
                    }
                }
                Step::Write => match self.pipe.drain(cx, self.wire.outbox()) {
                    Poll::Ready(Ok(())) => {
                        self.seen.drained = self.is_quiet();
                        self.stirred |= self.held_up;
                    }
                    Poll::Ready(Err(error)) => return Err(self.lost(&error)),
                    Poll::Pending => self.seen.write_blocked = true,
                },
                Step::Read if self.starved => self.seen.read_blocked = true,
                Step::Read => match self.pipe.fill(cx, &mut self.wire) {
                    Poll::Ready(Ok(0)) => {
                        self.wire.handle_eof(now);
                        self.link.lose();
                        self.ended = true;
                        self.stirred |= matches!(self.exchange, Exchange::Waiting(_));
                        self.seen.drained = false;
                    }
                    Poll::Ready(Ok(_)) => self.seen.drained = false,
                    Poll::Ready(Err(error)) => return Err(self.lost(&error)),
                    Poll::Pending => self.seen.read_blocked = true,
                },
                Step::Wait(deadline) => {
                    if self.ended && self.is_cancelled() {
                        return Err(Stop::Aborted);
                    }
                    let mut deadline = self.deadline(deadline);
                    if let Some(limit) = self.quiet_until(now) {
                        if limit <= now {
                            self.yield_memory(now)?;
                            continue;
                        }
                        deadline = Some(deadline.map_or(limit, |at| at.min(limit)));
                    }
                    if self.alarm.arm(cx, &self.runtime, now, deadline).is_pending() {
                        drive::return_write_block(self.wire.top().outbox());
                        drive::rest(&mut self.wire);
                        let was_starved = self.starved;
                        self.settle(cx);
                        if was_starved && !self.starved {
                            // The socket was not asked, and knows nobody to wake.
                            self.seen.read_blocked = false;
                            continue;
                        }
                        self.tell();
                        return Ok(Poll::Pending);
                    }
                    now = self.runtime.now();
                    self.wire.handle_timeout(now);
                    self.stirred = true;
                    self.seen.drained = false;
                }
                Step::HalfClose => match self.pipe.shut(cx) {
                    Poll::Ready(Ok(())) => self.seen.write_shut = true,
                    Poll::Ready(Err(error)) => return Err(self.lost(&error)),
                    Poll::Pending => {
                        let deadline = self.wire.deadline();
                        let deadline = self.deadline(deadline);
                        if self.alarm.arm(cx, &self.runtime, now, deadline).is_pending() {
                            return Ok(Poll::Pending);
                        }
                        now = self.runtime.now();
                        self.wire.handle_timeout(now);
                        self.seen.drained = false;
                    }
                },
                Step::Close(_) => return Ok(Poll::Ready(Next::End)),
            }
        }
        self.tell();
        cx.waker().wake_by_ref();
        Ok(Poll::Pending)
    }
}

/// The connection ends here and now.
pub(super) enum Stop {
    /// The server, or the policy of the route, wants it so.
    Aborted,
    /// The client is gone.
    Lost,
}

/// What becomes of a connection that no longer speaks HTTP.
pub(super) enum Next {
    End,
    /// The handler takes it over.
    Upgraded,
}

impl<W: ServerWire, R: Runtime, M: Mode> Http<W, R, M> {
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        let laps = if self.orphaned { Err(Stop::Lost) } else { self.laps(cx) };
        let departure = match laps {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(Next::Upgraded)) => return Poll::Ready(Next::Upgraded),
            Ok(Poll::Ready(Next::End)) if self.broken.is_none() => Poll::Ready(Departure::Orderly),
            Err(Stop::Lost) if self.may_outlive() => {
                if !self.orphaned {
                    self.orphan();
                }
                self.poll_orphan(cx)
            }
            Ok(Poll::Ready(Next::End)) | Err(Stop::Aborted | Stop::Lost) => {
                Poll::Ready(Departure::Broken)
            }
        };
        if self.ticket.is_leaving() {
            let activity = self.activity(cx);
            self.ticket.does(activity);
        }
        let Poll::Ready(departure) = departure else { return Poll::Pending };
        self.ticket.ends(departure);
        self.tell();
        self.end_exchange();
        Poll::Ready(Next::End)
    }

    /// Hands the connection over to the handler that asked for it. What is queued, the 101 at
    /// least, goes along.
    #[expect(clippy::result_large_err, reason = "the connection itself comes back")]
    pub(super) fn into_session(self) -> Option<Session<M>> {
        let Self { wire, pipe, runtime, exchange, link, service, current, ticket, span, .. } = self;
        let Exchange::Handling(handler) = exchange else { return None };
        let now = runtime.now();
        let turn = wire.top_ref().exchange();
        let wire = wire.into_any().try_map(|server| server.into_tunnel(now))?;
        let identity = wire.identity();
        let line: Arc<Line> = Arc::new(Line::new(Carrier::new(wire, pipe, runtime, ())?));
        link.hand_over(turn, Upgraded::new(Arc::clone(&line), identity));
        Some(Session {
            handler: Some(handler),
            line,
            link,
            service,
            current,
            ticket,
            told: false,
            span,
        })
    }
}

impl<W, R: Runtime, M: Mode> fmt::Debug for Http<W, R, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http")
            .field("peer", &self.link.peer)
            .field("exchange", &self.exchange)
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}
