//! One connection: the loop.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use sinew_core::http1::{self, ServerEvent};
use sinew_core::limit::Stage;
use sinew_core::machine::{Layered, Machine, Seen, Status, Step, Wire};
use sinew_core::reason::Reason;
use sinew_core::server::Scheme;
use sinew_core::server::drain::{Activity, Departure};
use sinew_core::time::{Deadline, Instant};
use sinew_tls::{PeerIdentity, ServerTls, Tls};

use super::cancel::Leave;
use super::coding::Packing;
use super::control::Ticket;
use super::current::Current;
use super::exchange::Exchange;
use super::gate::Place;
use super::link::{Hold, Link};
use super::memory::Holdings;
use super::mode::Mode;
use super::passage::Passage;
use super::problem::Problem;
use super::proxied::Parts;
use super::response::IntoResponse as _;
use super::seat::Orders;
use super::service::{Notice, Service};
use super::session::Session;
use crate::drive::{self, Alarm, Pipe};
use crate::runtime::Runtime;
use crate::trace::RequestSpan;
use crate::upgraded::{Carrier, Line, Upgraded};
use crate::wire::AnyWire;

/// Bytes that a connection may have read and not parsed although memory is short.
const HEARD: usize = 16 * 1024;

/// Steps of one wake-up; then the other tasks of the worker get their turn.
const LAPS: usize = 64;

/// A wire with an HTTP/1.1 server on top: the bare machine, or the machine under TLS.
pub trait ServerWire:
    Layered<Top = http1::Server>
    + Machine<Event = ServerEvent, Error: Into<sinew_tls::Error>>
    + Unpin
    + 'static
{
    /// What it speaks.
    const SCHEME: Scheme;

    /// Whom the peer's certificate names, once the handshake is complete.
    fn identity(&self) -> Option<Arc<PeerIdentity>>;

    /// Whether a server that goes by this would let the peer in, as far as it is known.
    fn is_accepted_by(&self, tls: &ServerTls) -> bool {
        let _ = tls;
        true
    }

    /// Whether who the peer is turns out later.
    fn is_anonymous_yet(&self) -> bool {
        false
    }

    /// Whether pulling an event would certainly give none: saves the pull.
    fn is_quiet(&self) -> bool {
        false
    }

    /// Bytes that were read and not parsed, and those that are to be written; what a TLS session has in
    /// hand is not among them.
    fn held(&mut self) -> (usize, usize);

    /// The same, bare or under TLS.
    fn into_any(self) -> AnyWire<http1::Server>;
}

impl ServerWire for http1::Server {
    const SCHEME: Scheme = Scheme::Http;

    fn identity(&self) -> Option<Arc<PeerIdentity>> {
        None
    }

    fn is_quiet(&self) -> bool {
        self.is_idle() && !self.peer_closed() && self.status() == Status::Open
    }

    fn held(&mut self) -> (usize, usize) {
        (self.inbox().len(), self.outbox().len())
    }

    fn into_any(self) -> AnyWire<http1::Server> {
        AnyWire::Plain(Box::new(self))
    }
}

impl ServerWire for Tls<http1::Server> {
    const SCHEME: Scheme = Scheme::Https;

    fn identity(&self) -> Option<Arc<PeerIdentity>> {
        self.shared_peer_identity()
    }

    fn held(&mut self) -> (usize, usize) {
        let (inbox, outbox) = self.top().held();
        (inbox + self.inbox().len(), outbox + self.outbox().len())
    }

    fn is_accepted_by(&self, tls: &ServerTls) -> bool {
        self.is_handshaking() || self.is_accepted_by(tls)
    }

    fn is_anonymous_yet(&self) -> bool {
        self.is_handshaking()
    }

    fn into_any(self) -> AnyWire<http1::Server> {
        AnyWire::Secure(Box::new(self))
    }
}

/// A connection that speaks HTTP.
pub(super) struct Http<W, R: Runtime, M: Mode> {
    pub(super) wire: W,
    pub(super) seen: Seen,
    /// What it goes by.
    pub(super) service: Arc<Service<M>>,
    /// What the server goes by.
    current: Arc<Current<M>>,
    /// What it goes by from the next head on, where that is something else.
    next: Option<Arc<Service<M>>>,
    /// The handshake began under what is not in force any more.
    doubted: bool,
    pub(super) link: Hold,
    pub(super) exchange: Exchange<M>,
    /// What it holds of the memory of the server.
    pub(super) holdings: Holdings,
    /// The producer of the answer waits for memory: it is asked again whenever some of it has gone out.
    pub(super) held_up: bool,
    /// There is no room for what it would read.
    starved: bool,
    /// Since when it has done nothing while memory runs short, and the bytes that had gone out by then.
    quiet: Option<(Instant, u64)>,
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

    /// What the server goes by was replaced: it holds from the next head on. Whom it would not let in any
    /// more is told to close.
    fn renew(&mut self, now: Instant) {
        self.ticket.renewed();
        let next = self.current.get();
        if let Some(tls) = next.changed_tls(&self.service) {
            self.doubted = self.wire.is_anonymous_yet();
            if !self.wire.is_accepted_by(tls) {
                self.notice(&Notice::Distrusted);
                self.close(now);
            }
        }
        self.next = Some(next);
        self.seen.drained = false;
    }

    /// No exchange is running: goes by what is in force.
    fn adopt(&mut self) {
        let Some(next) = self.next.take() else { return };
        if self.wire.top().reconfigure(Arc::clone(&next.machine)).is_err() {
            // The rest of a body is still being thrown away.
            self.next = Some(next);
            return;
        }
        let templates = Arc::clone(next.router.templates());
        self.link = Hold::new(self.link.renewed(templates, Arc::clone(&next.stack)));
        self.service = next;
    }

    /// The first request of a connection whose handshake began under what is not in force any more:
    /// whether its client would not be let in now.
    fn is_distrusted(&mut self) -> bool {
        let doubted = std::mem::take(&mut self.doubted);
        let tls = self.service.tls.as_ref().filter(|_| doubted);
        tls.is_some_and(|tls| !self.wire.is_accepted_by(tls))
    }

    /// What runs is the last exchange.
    fn close(&mut self, now: Instant) {
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
                self.begin(now, head, body);
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

    /// Books what the connection holds while it sleeps.
    fn settle(&mut self, cx: &Context<'_>) {
        let held = self.wire.held();
        let short = self.holdings.settle(cx, held, self.held_up).is_err();
        // A little is read in any case: who is let in is heard, and a handshake is finished.
        self.starved = short && held.0 > HEARD;
    }

    /// While memory runs short, a connection that does nothing does so for a shorter time: one without
    /// a request, and one whose client takes nothing.
    fn quiet_until(&mut self, now: Instant) -> Option<Instant> {
        if self.holdings.stage() < Stage::ShortenIdle {
            self.quiet = None;
            return None;
        }
        let (inbox, queued) = self.wire.held();
        let machine = &self.service.machine;
        let runs = !matches!(self.exchange, Exchange::None);
        let limit = match queued {
            0 if runs || inbox > 0 || !self.wire.top_ref().is_idle() => None,
            0 => Some(machine.idle),
            _ => Some(machine.write_stall),
        };
        let Some(limit) = limit else {
            self.quiet = None;
            return None;
        };
        let drained = self.wire.outbox().drained();
        let since = match self.quiet {
            Some((since, before)) if before == drained => since,
            _ => now,
        };
        self.quiet = Some((since, drained));
        Some(since + self.holdings.idle(limit))
    }

    /// Gives back what it holds for nothing.
    fn yield_memory(&mut self, now: Instant) -> Result<(), Stop> {
        self.quiet = None;
        let (_, queued) = self.wire.held();
        if queued > 0 {
            return Err(Stop::Aborted);
        }
        self.close(now);
        Ok(())
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
enum Stop {
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
