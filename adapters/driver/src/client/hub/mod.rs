//! The dispatcher of a client, behind one lock, and who does what it says.
//!
//! An input is made under the lock, and what it causes is handed on before the lock is released: to
//! the caller, to the seats of other calls, to the [keeper](super::keeper). Whoever is to be woken, and
//! whatever is to be closed, comes after that.

mod sites;
mod state;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use sinew_core::Machine as _;
use sinew_core::client::Dispatcher;
use sinew_core::client::dispatcher::{
    CallExplanation, CallId, CallSpec, ConnectionId, Endpoint, Explanation, Failure, HeadFacts,
    HeadVerdict, ProbeRun, Retire, Reuse, Sharing,
};
use sinew_core::error::Phase;
use sinew_core::observe::Event;
use sinew_core::resilience::{Forced, Replay};
use sinew_core::time::Instant;
use sinew_tls::ClientTls;
use smallvec::SmallVec;

use self::state::{Afterwards, State};
pub(super) use self::state::{Dial, Probe};
use super::base::{Site, Upstream};
use super::bell::Bells;
use super::conn::Conn;
use super::dial::Plan;
use super::explained::Explaining;
use super::keeper;
use super::rest_client::CloseReport;
use super::seats::{Letter, Ticket};
use super::service_endpoint::ServiceEndpoint;
use super::table::{Place, Ride};
use crate::error::Error;
use crate::runtime::{Runtime, Task};

/// The dispatcher of a client, and the connections that it decides about.
pub(super) struct Hub<R: Runtime> {
    pub(super) runtime: R,
    pub(super) bells: Arc<Bells>,
    pub(super) observer: Option<Observer>,
    state: Mutex<State<R>>,
}

/// Who is told what the dispatcher decides.
pub(super) type Observer = Arc<dyn Fn(&Event) + Send + Sync>;

/// A call that was started.
pub(super) struct Started<R: Runtime> {
    pub(super) token: u64,
    pub(super) call: CallId,
    /// What it was told at once.
    pub(super) letter: Option<Letter<R>>,
}

impl<R: Runtime> Hub<R> {
    pub(super) fn new(
        runtime: R,
        plan: Plan,
        observer: Option<Observer>,
        mut dispatcher: Dispatcher,
        upstreams: Vec<Upstream>,
    ) -> Arc<Self> {
        dispatcher.observe(observer.is_some());
        let state = Mutex::new(State::new(dispatcher, plan));
        let bells = Arc::default();
        let hub = Arc::new(Self { runtime, bells, observer, state });
        hub.update(upstreams);
        hub
    }

    /// Makes a call; the first one starts the keeper.
    pub(super) fn start(
        self: &Arc<Self>,
        mut spec: CallSpec,
        explaining: Option<&Explaining>,
        waker: &Waker,
    ) -> Started<R> {
        let start = |state: &mut State<R>, now| {
            spec.token = state.seats.take();
            if let Some(explaining) = explaining {
                state.explain(now, spec.token, explaining);
            }
            if !state.pipelining {
                spec.sharing = Sharing::Exclusive;
            }
            (spec.token, state.dispatcher.start(now, spec))
        };
        let (started, alone) = self.tell_and_ask(start, |state, (token, call)| {
            state.seats.name(token, call);
            let started = Started { token, call, letter: state.seats.next(token) };
            // It was not there to be woken by what it does itself.
            state.seats.wait(token, waker);
            (started, !std::mem::replace(&mut state.keeper.running, true))
        });
        if alone {
            self.spawn(Box::pin(keeper::run(Arc::downgrade(self))));
        }
        started
    }

    /// What a call was told since it read last; where that is nothing, the next letter wakes it.
    pub(super) fn next_letter(&self, token: u64, waker: &Waker) -> Option<Letter<R>> {
        let mut state = self.lock();
        let letter = state.seats.next(token);
        let replaced = match letter {
            None => state.seats.wait(token, waker),
            Some(_) => None,
        };
        drop(state);
        drop(replaced);
        letter
    }

    /// A call has read that it is over.
    pub(super) fn leave(&self, token: u64) {
        let left = self.lock().seats.free(token);
        drop(left);
    }

    /// The head of an answer is here.
    pub(super) fn head(&self, ticket: Ticket, facts: HeadFacts) -> HeadVerdict {
        let (verdict, left) = self.tell(|state, now| {
            let verdict = state.dispatcher.head(now, ticket.exchange, facts);
            let left = match verdict {
                HeadVerdict::Deliver => state.seats.leave(ticket.token),
                HeadVerdict::Discard => None,
            };
            (verdict, left)
        });
        drop(left);
        verdict
    }

    /// An exchange is over; its connection comes back if it can be used again, and nobody shares it.
    pub(super) fn finished(&self, ticket: Ticket, conn: Option<Box<Conn<R>>>) {
        let Ticket { exchange, connection, .. } = ticket;
        let (conn, worn) = match conn.map(Conn::rested) {
            Some(Ok(conn)) => (Some(conn), None),
            Some(Err(worn)) => (None, Some(worn)),
            None => (None, None),
        };
        let lost = self.tell(|state, now| {
            let (reuse, lost) = match conn.map(|conn| state.table.put_back(connection, conn)) {
                Some(Ok(())) => (Reuse::Keep, None),
                Some(Err(conn)) => (Reuse::Close, Some(Place::Kept(conn))),
                None => state.table.ride_over(connection, exchange),
            };
            state.resize(now, connection);
            state.dispatcher.finished(now, exchange, reuse);
            lost
        });
        drop((lost, worn));
    }

    /// An exchange failed, and with it its connection, if nobody shares it.
    pub(super) fn failed(&self, ticket: Ticket, failure: Failure, replay: Replay) {
        let Ticket { exchange, connection, .. } = ticket;
        let lost = self.tell(|state, now| {
            let (reuse, lost) = state.table.ride_over(connection, exchange);
            state.resize(now, connection);
            state.dispatcher.failed(now, exchange, failure, replay, reuse);
            lost
        });
        drop(lost);
    }

    /// Nobody wants the answer any more. What was sent on a connection by itself closes it.
    pub(super) fn abandon(&self, token: u64, call: CallId, sent: &[Ticket]) {
        let left = self.tell(|state, now| {
            let mut lost: SmallVec<[Place<R>; 2]> = SmallVec::new();
            let mut ended: SmallVec<[ConnectionId; 2]> =
                sent.iter().map(|ticket| ticket.connection).collect();
            let mut reuse = Reuse::Keep;
            for ticket in sent {
                let (each, place) = state.table.ride_over(ticket.connection, ticket.exchange);
                lost.extend(place);
                if each == Reuse::Close {
                    reuse = each;
                }
            }
            while let Some(letter) = state.seats.next(token) {
                let Letter::Send(ticket, ride) = letter else { continue };
                match ride {
                    // All of a call's exchanges end alike: what was not used goes with what was.
                    Ride::Alone(conn) if reuse == Reuse::Keep => {
                        let back = state.table.put_back(ticket.connection, conn);
                        lost.extend(back.err().map(Place::Kept));
                    }
                    Ride::Alone(conn) => {
                        lost.extend(state.table.remove(ticket.connection));
                        lost.push(Place::Kept(conn));
                    }
                    Ride::Shared(_) => {
                        ended.push(ticket.connection);
                        let (each, place) =
                            state.table.ride_over(ticket.connection, ticket.exchange);
                        lost.extend(place);
                        if each == Reuse::Close {
                            reuse = each;
                        }
                    }
                }
            }
            if reuse == Reuse::Close {
                // The dispatcher forgets all that the call was on, a lane that others left as well.
                for connection in &ended {
                    if let Some(Place::Kept(_)) = state.table.get(*connection) {
                        lost.extend(state.table.remove(*connection));
                    }
                }
            }
            for ticket in sent {
                state.resize(now, ticket.connection);
            }
            state.dispatcher.abandon(now, call, reuse);
            (lost, state.seats.free(token))
        });
        drop(left);
    }

    /// The connection of a lane failed: it takes nobody any more.
    pub(super) fn lane_failed(&self, connection: ConnectionId) {
        self.tell(|state, now| state.dispatcher.retire(now, connection));
    }

    /// There is more or less room on a lane than there was.
    pub(super) fn lane_resized(&self, connection: ConnectionId) {
        self.tell(|state, now| state.resize(now, connection));
    }

    /// The connection of an exchange left HTTP, and keeps its place.
    pub(super) fn upgraded(&self, ticket: Ticket) {
        self.tell(|state, now| state.dispatcher.upgraded(now, ticket.exchange));
    }

    /// A connection that left HTTP is gone.
    pub(super) fn tunnel_ended(&self, connection: ConnectionId) {
        let lost = self.tell(|state, now| {
            let lost = state.table.remove(connection);
            state.dispatcher.retire(now, connection);
            lost
        });
        drop(lost);
    }

    /// Whether this connection is still to be opened; if so, `waker` is that of whoever does it.
    pub(super) fn is_dialing(&self, connection: ConnectionId, waker: &Waker) -> bool {
        let mut state = self.lock();
        let Some(Place::Dialing(_, known)) = state.table.get(connection) else { return false };
        let replaced = match known {
            Some(known) if known.will_wake(waker) => None,
            _ => known.replace(waker.clone()),
        };
        drop(state);
        drop(replaced);
        true
    }

    /// How far a connection is.
    pub(super) fn dial_reached(&self, connection: ConnectionId, phase: Phase) {
        if let Some(Place::Dialing(known, _)) = self.lock().table.get(connection) {
            *known = phase;
        }
    }

    /// What came of opening a connection.
    pub(super) fn dialled(&self, connection: ConnectionId, opened: Result<Box<Conn<R>>, Error>) {
        let opened = opened.map(|mut conn| {
            conn.bell = Some(self.bells.bell(connection));
            conn
        });
        let lost = self.tell(|state, now| match (state.table.get(connection), opened) {
            (Some(place @ Place::Dialing(..)), Ok(conn)) => {
                let dialled = std::mem::replace(place, Place::Kept(conn));
                state.dispatcher.connected(now, connection, 1);
                Some(dialled)
            }
            (Some(Place::Dialing(..)), Err(error)) => {
                let dialled = state.table.remove(connection);
                let failure = error.failure();
                state.not_connected = Some(error);
                state.dispatcher.dial_failed(now, connection, failure);
                dialled
            }
            (_, Ok(conn)) => Some(Place::Kept(conn)),
            (_, Err(_)) => None,
        });
        drop(lost);
        self.bells.ring(connection);
    }

    /// The endpoints of the service, all of them.
    pub(super) fn update(&self, upstreams: Vec<Upstream>) {
        self.tell(|state, now| {
            let (version, members) = state.sites.replace(upstreams);
            state.dispatcher.update_endpoints(now, version, &members);
        });
    }

    /// What was said of them, each with its number.
    pub(super) fn endpoints(&self) -> Vec<(Endpoint, ServiceEndpoint)> {
        self.lock().sites.listed()
    }

    /// How an endpoint is.
    pub(super) fn probed(&self, run: ProbeRun, is_well: bool) {
        self.tell(|state, now| state.dispatcher.probed(now, run, is_well));
    }

    /// Wants the breaker of a route as somebody says.
    pub(super) fn force_route(&self, route: &'static str, forced: Option<Forced>) {
        self.tell(|state, now| state.dispatcher.force_route(now, route, forced));
    }

    /// Wants the breaker of an endpoint as somebody says.
    pub(super) fn force_endpoint(&self, site: &Site, forced: Option<Forced>) {
        self.tell(|state, now| {
            if let Some(endpoint) = state.sites.find(site) {
                state.dispatcher.force_breaker(now, endpoint, forced);
            }
        });
    }

    /// Whom to trust and what to show.
    pub(super) fn tls(&self) -> Option<ClientTls> {
        self.lock().plan.tls.clone()
    }

    /// How connections are opened; another one whenever that changed.
    pub(super) fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.lock().plan)
    }

    /// Whom to trust and what to show from now on: what was opened, or is being opened, as it was before
    /// takes nobody any more.
    pub(super) fn reload_tls(&self, tls: &ClientTls) {
        self.tell(|state, now| {
            let tls = Some(tls.clone());
            state.plan = Arc::new(Plan { tls, ..Plan::clone(&state.plan) });
            if state.plan.server_name.is_some() {
                state.dispatcher.retire_all(now, Retire::TrustChanged);
            }
        });
    }

    /// Connections open, and those of them that are kept.
    pub(super) fn counts(&self) -> (usize, usize) {
        let state = self.lock();
        state.table.places().fold((0, 0), |(open, kept), place| match place {
            Place::Dialing(..) => (open, kept),
            Place::Kept(_) => (open + 1, kept + 1),
            Place::Out(_) | Place::Shared(..) => (open + 1, kept),
        })
    }

    pub(super) fn explain(&self) -> Explanation {
        let now = self.runtime.now();
        self.lock().dispatcher.explain(now)
    }

    /// Each call that is on its way.
    pub(super) fn explain_calls(&self) -> Vec<CallExplanation> {
        let now = self.runtime.now();
        let state = self.lock();
        let calls = state.seats.calls();
        calls.filter_map(|call| state.dispatcher.explain_call(now, call)).collect()
    }

    /// Takes no more calls.
    pub(super) fn drain(&self) {
        self.tell(|state, now| {
            state.draining = true;
            state.dispatcher.drain(now);
        });
    }

    /// Whether it takes no more calls.
    pub(super) fn is_draining(&self) -> bool {
        self.lock().draining
    }

    /// Ready when no call is on its way, and no answer.
    pub(super) fn poll_drained(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.is_drained() {
            return Poll::Ready(());
        }
        if !state.closers.iter().any(|known| known.will_wake(cx.waker())) {
            state.closers.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Whether no call is on its way, and no answer.
    pub(super) fn is_drained(&self) -> bool {
        self.lock().is_drained()
    }

    /// Gives up every call that waits for the head of its answer. How many, and how many answers are
    /// left to whoever reads them.
    pub(super) fn stop(&self) -> CloseReport {
        let mut state = self.lock();
        let waiting = state.seats.stop();
        let stopped = waiting.len();
        let unread = state.dispatcher.calls().saturating_sub(stopped);
        drop(state);
        waiting.into_iter().flatten().for_each(Waker::wake);
        CloseReport { stopped, unread }
    }

    /// Looks after what rang and what is due, for the keeper: what is to be opened, who is to be asked,
    /// and when to come back.
    pub(super) fn keep(&self) -> (Vec<Dial>, Vec<Probe>, Option<Instant>) {
        let mut rang = self.bells.take();
        let look = |state: &mut State<R>, now| {
            state.dispatcher.handle_timeout(now);
            rang.append(&mut state.early);
            let mut lost: SmallVec<[Place<R>; 2]> = SmallVec::new();
            for connection in rang {
                if let Some(Place::Kept(conn)) = state.table.get(connection)
                    && !conn.is_undisturbed()
                {
                    lost.extend(state.table.remove(connection));
                    state.dispatcher.retire(now, connection);
                } else {
                    state.heard_early(connection);
                }
            }
            lost
        };
        let (lost, dials, probes, deadline) = self.tell_and_ask(look, |state, lost| {
            let deadline = state.dispatcher.due_at();
            state.keeper.comes_at = deadline.unwrap_or(Instant::MAX);
            let (dials, probes) = (&mut state.dials, &mut state.probes);
            (lost, std::mem::take(dials), std::mem::take(probes), deadline)
        });
        drop(lost);
        (dials, probes, deadline)
    }

    /// The keeper is gone: the next call starts another.
    pub(super) fn keeper_ended(&self) {
        self.lock().keeper.running = false;
    }

    pub(super) fn observer(&self) -> Option<Observer> {
        self.observer.clone()
    }

    pub(super) fn spawn(&self, task: Task) {
        self.runtime.spawn(task);
    }

    /// Makes an input, hands on what it causes, and does the rest when the lock is released.
    fn tell<T>(&self, input: impl FnOnce(&mut State<R>, Instant) -> T) -> T {
        self.tell_and_ask(input, |_, told| told)
    }

    /// The same, with a look at what it caused.
    fn tell_and_ask<T, U>(
        &self,
        input: impl FnOnce(&mut State<R>, Instant) -> T,
        ask: impl FnOnce(&mut State<R>, T) -> U,
    ) -> U {
        let now = self.runtime.now();
        let mut state = self.lock();
        let told = input(&mut state, now);
        let mut after = Afterwards::new();
        state.hand_on(now, &mut after);
        let told = ask(&mut state, told);
        let events = if state.dispatcher.is_observed() {
            state.take_events(now, self.observer.is_some())
        } else {
            Vec::new()
        };
        drop(state);
        let Afterwards { wake, lost, call_keeper } = after;
        drop(lost);
        wake.into_iter().for_each(Waker::wake);
        if call_keeper {
            self.bells.call();
        }
        // Last: it is not ours, and may panic.
        if let Some(observer) = &self.observer {
            for event in &events {
                observer(event);
            }
        }
        told
    }

    fn lock(&self) -> MutexGuard<'_, State<R>> {
        // Nothing panics under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nothing outlives the client: whoever still opens a connection, and the keeper, find out.
impl<R: Runtime> Drop for Hub<R> {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        for waker in state.table.take_dialers() {
            waker.wake();
        }
        self.bells.call();
    }
}

impl<R: Runtime> std::fmt::Debug for Hub<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (open, kept) = self.counts();
        write!(f, "Hub({open} open, {kept} kept)")
    }
}
