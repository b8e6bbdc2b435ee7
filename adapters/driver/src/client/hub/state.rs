//! What the dispatcher says, carried out as far as it can be under the lock.

use std::sync::Arc;
use std::task::Waker;

use sinew_core::Machine as _;
use sinew_core::client::Dispatcher;
use sinew_core::client::dispatcher::{
    Action, ConnectionId, Endpoint, Failure, Outcome, ProbeRun, Retire, Reuse,
};
use sinew_core::error::{Delivery, Fault, Phase};
use sinew_core::observe::Event;
use sinew_core::resilience::Replay;
use sinew_core::time::Instant;

use super::sites::Sites;
use crate::client::base::Instance;
use crate::client::dial::Plan;
use crate::client::explained::Explaining;
use crate::client::seats::{Letter, Over, Seats, Ticket};
use crate::client::table::{Place, Ride, Rider, Table};
use crate::error::Error;
use crate::runtime::Runtime;

/// What the lock of the hub guards.
pub(super) struct State<R: Runtime> {
    pub(super) dispatcher: Dispatcher,
    pub(super) seats: Seats<R>,
    pub(super) table: Table<R>,
    /// How connections are opened from now on.
    pub(super) plan: Arc<Plan>,
    /// Whether calls share connections.
    pub(super) pipelining: bool,
    /// No calls are taken any more.
    pub(super) draining: bool,
    /// Those who wait until nothing is left.
    pub(super) closers: Vec<Waker>,
    /// Connections that rang while a call had them: looked at when they are back.
    pub(super) early: Vec<ConnectionId>,
    pub(super) sites: Sites,
    /// What is to be opened, by the keeper.
    pub(super) dials: Vec<Dial>,
    /// Whom it is to ask.
    pub(super) probes: Vec<Probe>,
    pub(super) keeper: Keeping,
    /// Why the connection could not be opened of which the dispatcher is being told.
    pub(super) not_connected: Option<Error>,
}

/// The keeper, as seen from here.
#[derive(Clone, Copy)]
pub(super) struct Keeping {
    pub(super) running: bool,
    /// It comes by itself at this time.
    pub(super) comes_at: Instant,
}

/// A connection to be opened.
pub(in crate::client) struct Dial {
    pub(in crate::client) connection: ConnectionId,
    pub(in crate::client) instance: Instance,
    pub(in crate::client) plan: Arc<Plan>,
    pub(in crate::client) by: Instant,
}

/// An endpoint to be asked how it is.
pub(in crate::client) struct Probe {
    pub(in crate::client) run: ProbeRun,
    pub(in crate::client) instance: Instance,
    pub(in crate::client) plan: Arc<Plan>,
    pub(in crate::client) by: Instant,
}

/// What is done after the lock was released.
pub(super) struct Afterwards<R: Runtime> {
    pub(super) wake: Vec<Waker>,
    pub(super) lost: Vec<Lost<R>>,
    pub(super) call_keeper: bool,
}

/// What is dropped then: it may be the last that holds a connection.
#[expect(dead_code, reason = "it is there to be dropped")]
pub(super) enum Lost<R: Runtime> {
    Place(Place<R>),
    Ride(Ride<R>),
    Letter(Letter<R>),
}

impl<R: Runtime> Afterwards<R> {
    pub(super) fn new() -> Self {
        Self { wake: Vec::new(), lost: Vec::new(), call_keeper: false }
    }
}

impl<R: Runtime> State<R> {
    pub(super) fn new(dispatcher: Dispatcher, plan: Plan) -> Self {
        Self {
            dispatcher,
            pipelining: plan.machine.pipelining > 1,
            plan: Arc::new(plan),
            seats: Seats::new(),
            table: Table::new(),
            draining: false,
            closers: Vec::new(),
            early: Vec::new(),
            sites: Sites::default(),
            dials: Vec::new(),
            probes: Vec::new(),
            keeper: Keeping { running: false, comes_at: Instant::MAX },
            not_connected: None,
        }
    }

    /// Does what the dispatcher says, as far as it can be done under the lock; the rest goes to `after`.
    pub(super) fn hand_on(&mut self, now: Instant, after: &mut Afterwards<R>) {
        while let Ok(Some(action)) = self.dispatcher.poll_event(now) {
            match action {
                Action::Dial { connection, endpoint, by } => {
                    self.dial(connection, endpoint, by, after);
                }
                Action::Probe { run, endpoint, by } => self.probe(now, run, endpoint, by, after),
                Action::Send { token, exchange, connection, sharing, attempt, first_use } => {
                    let ticket = Ticket { token, exchange, connection, attempt, first_use };
                    match self.table.hand_out(connection, Rider { token, exchange }, sharing) {
                        Some(ride) => self.post(token, Letter::Send(ticket, ride), after),
                        None => self.dispatcher.failed(
                            now,
                            exchange,
                            GONE,
                            Replay::Possible,
                            Reuse::Close,
                        ),
                    }
                }
                Action::Reset { token, exchange, connection, why } => {
                    let recalled = self.seats.recall(token, connection).is_some();
                    let (reuse, lost) = self.table.ride_over(connection, exchange);
                    after.lost.extend(lost.map(Lost::Place));
                    if reuse == Reuse::Close {
                        self.dispatcher.retire(now, connection);
                    }
                    self.resize(now, connection);
                    if !recalled {
                        self.post(token, Letter::Cut(connection, why), after);
                    }
                }
                Action::Close { connection, why } => self.close(connection, why, after),
                // Who has the answer waits for nothing more.
                Action::Complete { token, .. } if self.seats.end(token) => {}
                Action::Complete { token, outcome, delivery, attempts } => {
                    self.complete(token, outcome, delivery, attempts, after);
                }
            }
        }
        self.not_connected = None;
        after.call_keeper |= !self.early.is_empty() && self.is_early_one_back();
        if !self.closers.is_empty() && self.is_drained() {
            after.wake.append(&mut self.closers);
        }
        let next = self.dispatcher.due_at().unwrap_or(Instant::MAX);
        if next < self.keeper.comes_at {
            self.keeper.comes_at = next;
            after.call_keeper = true;
        }
    }

    /// A connection is to be opened. (Apart, as is what else is rare: every call passes
    /// [`hand_on`](Self::hand_on).)
    #[inline(never)]
    fn dial(
        &mut self,
        connection: ConnectionId,
        endpoint: Endpoint,
        by: Instant,
        after: &mut Afterwards<R>,
    ) {
        let Some(instance) = self.sites.instance(endpoint).cloned() else { return };
        self.table.insert(connection, Place::Dialing(Phase::Resolve, None));
        self.dials.push(Dial { connection, instance, plan: Arc::clone(&self.plan), by });
        after.call_keeper = true;
    }

    /// An endpoint is to be asked how it is.
    #[inline(never)]
    fn probe(
        &mut self,
        now: Instant,
        run: ProbeRun,
        endpoint: Endpoint,
        by: Instant,
        after: &mut Afterwards<R>,
    ) {
        let Some(instance) = self.sites.instance(endpoint).cloned() else { return };
        // Where nobody came for them, they are of no use any more.
        self.probes.retain(|probe| probe.by > now);
        self.probes.push(Probe { run, instance, plan: Arc::clone(&self.plan), by });
        after.call_keeper = true;
    }

    /// A call is over without an answer.
    #[inline(never)]
    fn complete(
        &mut self,
        token: u64,
        outcome: Outcome,
        delivery: Delivery,
        attempts: u8,
        after: &mut Afterwards<R>,
    ) {
        let not_connected = match outcome {
            Outcome::Failed { .. } => self.not_connected.take(),
            _ => None,
        };
        let dialing = match outcome {
            Outcome::TimedOut(Phase::Pool) | Outcome::PoolTimeout => self.table.dialing(),
            _ => None,
        };
        let over = Over { outcome, delivery, attempts, not_connected, dialing };
        self.post(token, Letter::Over(Box::new(over)), after);
    }

    /// The call is to be explained.
    #[cold]
    pub(super) fn explain(&mut self, now: Instant, token: u64, explaining: &Explaining) {
        explaining.begin(token, now);
        self.seats.explain(token, explaining);
        self.dispatcher.observe(true);
    }

    /// What was decided, after those calls were told that are to be explained. `observer`: whether anybody else
    /// wants to know.
    pub(super) fn take_events(&mut self, now: Instant, observer: bool) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.dispatcher.poll_observed() {
            for explaining in self.seats.concerned(&event) {
                explaining.note(now, &event, |endpoint| self.sites.address(endpoint));
            }
            if observer {
                events.push(event);
            }
        }
        self.seats.let_go();
        self.dispatcher.observe(observer || self.seats.explaining > 0);
        events
    }

    /// A connection rang. Where a call has it, or is about to give it back, that is for later.
    pub(super) fn heard_early(&mut self, connection: ConnectionId) {
        if let Some(Place::Out(_)) = self.table.get(connection)
            && !self.early.contains(&connection)
        {
            self.early.push(connection);
        }
    }

    /// Whether a connection is back that rang before. Those that will not come back are forgotten.
    fn is_early_one_back(&mut self) -> bool {
        let Self { early, table, .. } = self;
        early.retain(|connection| table.get(*connection).is_some());
        early.iter().any(|connection| matches!(table.get(*connection), Some(Place::Kept(_))))
    }

    pub(super) fn is_drained(&self) -> bool {
        self.dispatcher.calls() == 0 && self.dispatcher.exchanges() == 0
    }

    fn post(&mut self, token: u64, letter: Letter<R>, after: &mut Afterwards<R>) {
        match self.seats.post(token, letter) {
            Ok(Some(waker)) => after.wake.push(waker),
            Ok(None) => {}
            Err(letter) => after.lost.push(Lost::Letter(letter)),
        }
    }

    fn close(&mut self, connection: ConnectionId, why: Retire, after: &mut Afterwards<R>) {
        let Some(place) = self.table.remove(connection) else { return };
        match place {
            // Whoever opens it finds out that it is not wanted any more.
            Place::Dialing(_, waker) => {
                self.dials.retain(|dial| dial.connection != connection);
                after.wake.extend(waker);
            }
            Place::Kept(_) => after.lost.push(Lost::Place(place)),
            Place::Out(rider) => self.take_away(rider.token, connection, why, after),
            Place::Shared(lane, riders) => {
                for rider in riders {
                    self.take_away(rider.token, connection, why, after);
                }
                let conn = lane.vacate().map_or_else(|lost| lost, Some);
                after.lost.extend(conn.map(|conn| Lost::Place(Place::Kept(conn))));
            }
        }
    }

    /// What a call has on this connection is over.
    fn take_away(
        &mut self,
        token: u64,
        connection: ConnectionId,
        why: Retire,
        after: &mut Afterwards<R>,
    ) {
        match (self.seats.recall(token, connection), why) {
            (Some(ride), _) => after.lost.push(Lost::Ride(ride)),
            (None, Retire::Cut(why)) => self.post(token, Letter::Cut(connection, why), after),
            (None, _) => {}
        }
    }

    /// Tells the dispatcher how many exchanges a connection can carry that calls share.
    pub(super) fn resize(&mut self, now: Instant, connection: ConnectionId) {
        if self.pipelining
            && let Some(capacity) = self.table.capacity(connection)
        {
            self.dispatcher.set_capacity(now, connection, capacity);
        }
    }
}

/// What it is sent on is not there any more.
const GONE: Failure =
    Failure { delivery: Delivery::NotSent, phase: Phase::Pool, fault: Fault::Network };
