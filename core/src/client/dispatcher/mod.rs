//! All calls to one destination, as one machine: which endpoint, which connection, whether again.
//!
//! Inputs say what happened; [`poll_event`](Machine::poll_event) says what to [do](Action). Drain it
//! after every input. Nothing here waits: [`deadline`](Machine::deadline) says when to come back. Ids
//! that are stale or foreign change nothing, so a driver and its dispatcher can never disagree for
//! long.
//!
//! An exchange that was handed out with [`Action::Send`] is given back once: with
//! [`finished`](Dispatcher::finished), [`upgraded`](Dispatcher::upgraded) or
//! [`failed`](Dispatcher::failed), or with its call by [`abandon`](Dispatcher::abandon), unless
//! [`Action::Reset`] or [`Action::Close`] took it away.

mod action;
mod admission;
mod alarms;
mod balancer;
mod call;
mod dial;
mod endpoints;
mod explain;
mod health;
mod history;
mod place;
mod policy;
mod routes;
mod slots;
mod verdict;

#[cfg(test)]
mod tests;

use core::convert::Infallible;
use std::collections::VecDeque;

use crate::error::{Delivery, Fault, Phase};
use crate::jitter::Jitter;
use crate::limit::{Concurrency, PriorityQueue};
use crate::machine::Machine;
use crate::observe::{Event, Log};
use crate::resilience::{Budget, Forced, Hedge};
use crate::table::{Fifo, Key, Slab};
use crate::time::{Deadline, Instant, Timer};

use alarms::{Alarms, Whose};
use balancer::Balancer;
use call::{Call, Exchange, Instance, Lane};
use health::Health;
use routes::Routes;
use slots::{Slots, State};

pub use crate::mesh::{Endpoint, ProbeRun};
pub use action::{
    Action, CallId, CallSpec, ConnectionId, Covers, Cut, Ended, ExchangeId, Failure, HeadFacts,
    HeadVerdict, Outcome, Refusal, Retire, Reuse, Sharing,
};
pub use explain::{
    CallExplanation, EndpointExplanation, Explanation, Pick, RouteExplanation, Scored,
};
pub use history::{AttemptHistory, CallHistory, Cause, Waited, Waiting};
pub use policy::{BadPolicy, Policy, PoolPolicy};

/// The place of the timer of what is found about endpoints; those of the endpoints come after it.
const MESH: u32 = 0;

/// The place of the timer of an endpoint.
const fn timer_of(key: Key) -> u32 {
    MESH + 1 + key.index()
}

/// The place of the endpoint that has this timer; `None`: it is that of what is found about all.
const fn timed_by(timer: u32) -> Option<u32> {
    timer.checked_sub(MESH + 1)
}

/// All calls to one destination.
///
/// Its tables are bounded by the [caps](PoolPolicy) of its policy and by the number of endpoints.
#[derive(Clone, Debug)]
pub struct Dispatcher {
    policy: Policy,
    calls: Slab<Call>,
    exchanges: Slab<Exchange>,
    slots: Slots,
    instances: Slab<Instance>,
    alarms: Alarms,
    routes: Routes,
    balancer: Balancer,
    health: Health,
    /// Calls that wait for a connection, with the lane that does.
    queue: PriorityQueue<(Key, usize)>,
    admission: Concurrency,
    budget: Budget,
    hedge: Hedge,
    version: u64,
    /// What somebody wants of the breakers of endpoints, listed or not; the last one said is at the back.
    forced: VecDeque<(Endpoint, Forced)>,
    draining: bool,
    actions: Fifo<Action>,
    log: Log,
    jitter: Jitter,
}

impl Dispatcher {
    /// A dispatcher without endpoints. `seed` spreads what must not happen at the same time elsewhere,
    /// nothing else.
    ///
    /// # Errors
    ///
    /// See [`BadPolicy`].
    pub fn new(policy: Policy, seed: u64) -> Result<Self, BadPolicy> {
        policy.check()?;
        let admission = Concurrency::new(policy.admission).map_err(BadPolicy::Admission)?;
        let budget = Budget::new(policy.budget).map_err(BadPolicy::Budget)?;
        let hedge = Hedge::new(policy.hedge).map_err(BadPolicy::Hedge)?;
        let mut jitter = Jitter::new(seed);
        let health =
            Health::new(&policy, if policy.health.mode.asks() { jitter.draw() } else { 0 })?;
        Ok(Self {
            policy,
            calls: Slab::new(),
            exchanges: Slab::new(),
            slots: Slots::new(),
            instances: Slab::new(),
            alarms: Alarms::new(),
            routes: Routes::new(policy.max_routes),
            balancer: Balancer::new(policy.balance),
            health,
            queue: PriorityQueue::new(policy.pool.max_pending as usize),
            admission,
            budget,
            hedge,
            version: 0,
            forced: VecDeque::new(),
            draining: false,
            actions: Fifo::new(),
            log: Log::new(),
            jitter,
        })
    }

    /// Starts or stops keeping decisions for [`poll_observed`](Machine::poll_observed).
    pub fn observe(&mut self, enabled: bool) {
        self.log.enable(enabled);
    }

    /// Whether it keeps them.
    pub const fn is_observed(&self) -> bool {
        self.log.is_enabled()
    }

    /// Makes a call. It never fails: what is refused is told as [`Action::Complete`].
    pub fn start(&mut self, now: Instant, spec: CallSpec) -> CallId {
        self.handle_timeout(now);
        if self.health.asleep {
            self.start_probes(now);
        }
        self.budget.call(now);
        if self.policy.hedge.mode.obeys() {
            self.hedge.call(now);
        }
        let refusal = if self.draining {
            Some(Outcome::Refused(Refusal::Draining))
        } else if spec.deadline <= now {
            Some(Outcome::TimedOut(Phase::Pool))
        } else if self.calls.len() >= self.policy.pool.max_calls as usize {
            Some(Outcome::Refused(Refusal::TooManyCalls))
        } else {
            None
        };
        let route = spec.route.and_then(|name| self.route(name));
        let call = self.calls.insert(Call::new(spec, route));
        match refusal {
            Some(outcome) => self.complete(call, outcome),
            None => {
                self.alarms.arm(Whose::Calls, call.index(), spec.deadline);
                self.attempt(now, call, 0);
                self.pump(now);
            }
        }
        CallId(call)
    }

    /// The caller does not want the answer any more. Its exchanges are over; what becomes of their
    /// connections says `reuse`: [`Keep`](Reuse::Keep) only where nothing of them was sent.
    pub fn abandon(&mut self, now: Instant, call: CallId, reuse: Reuse) {
        self.handle_timeout(now);
        let CallId(key) = call;
        self.tell_abandoned(key);
        let Some(lanes) = self.calls.remove(key).map(|call| call.lanes) else { return };
        // First out of the queue, or it would be served with what it leaves behind.
        for lane in lanes {
            if let Lane::Queued(ticket) = lane {
                self.stop_waiting(ticket);
            }
        }
        for lane in lanes {
            let Lane::Sent(exchange) = lane else { continue };
            let connection = self.exchanges.get(exchange).map(|ended| ended.connection);
            self.end_exchange(now, exchange, reuse);
            if let Some(connection) = connection {
                self.hand_on(now, connection);
            }
        }
        self.pump(now);
    }

    /// A connection is open and can carry `capacity` exchanges at once: 1, a pipelining depth, a
    /// setting of HTTP/2.
    pub fn connected(&mut self, now: Instant, connection: ConnectionId, capacity: u32) {
        self.handle_timeout(now);
        let ConnectionId(key) = connection;
        let Self { slots, instances, policy, jitter, .. } = self;
        let endpoint = slots.get(key).map(|slot| slot.endpoint);
        let Some(instance) = endpoint.and_then(|key| instances.get_mut(key)) else { return };
        if slots.open(now, key, &mut instance.share, capacity, &policy.pool, jitter) {
            self.offer(now, key);
            self.pump(now);
        }
    }

    /// A connection can carry more or fewer exchanges at once from now on. At least 1.
    pub fn set_capacity(&mut self, now: Instant, connection: ConnectionId, capacity: u32) {
        self.handle_timeout(now);
        let Some(slot) = self.slots.get_mut(connection.0) else { return };
        if slot.state == State::Dialing {
            return;
        }
        slot.capacity = capacity.max(1);
        let endpoint = slot.endpoint;
        self.put_back(now, connection.0, endpoint);
        self.hand_on(now, connection.0);
        self.pump(now);
    }

    /// A connection could not be opened.
    pub fn dial_failed(&mut self, now: Instant, connection: ConnectionId, failure: Failure) {
        self.handle_timeout(now);
        if self.slots.is_dialing(connection.0) {
            self.undo_dial(now, connection.0, failure);
            self.pump(now);
        }
    }

    /// A connection is to carry nothing new: its peer said so, or closed it. One that carries nothing,
    /// or left HTTP, is over with that; the embedder closes it.
    pub fn retire(&mut self, now: Instant, connection: ConnectionId) {
        self.handle_timeout(now);
        let ConnectionId(key) = connection;
        let Some(slot) = self.slots.get(key) else { return };
        let (endpoint, unused) = (slot.endpoint, slot.uses == 0);
        let empty = slot.state == State::Dialing || slot.used == 0;
        if unused {
            self.warm_later(now, endpoint);
        }
        if empty {
            self.forget_connection(now, key);
        } else if let Some(instance) = self.instances.get_mut(endpoint) {
            self.slots.retire(key, &mut instance.share);
        }
        self.pump(now);
    }

    /// No connection that is here carries anything new, not even one that is being opened: for whoever
    /// changes their identity, or whom they trust. What is on its way, and what left HTTP, goes on.
    pub fn retire_all(&mut self, now: Instant, why: Retire) {
        self.handle_timeout(now);
        let all: Vec<Key> = self.slots.iter().map(|(key, _)| key).collect();
        for key in all {
            self.retire_one(now, key, why);
        }
        self.pump(now);
    }

    /// Takes no more calls. Those that are here go on; connections close as they are not needed
    /// any more.
    pub fn drain(&mut self, now: Instant) {
        self.handle_timeout(now);
        self.draining = true;
        self.stop_probes();
        self.pump(now);
    }

    /// Calls that are not over.
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// Exchanges that are not over; more than there are calls for while answers are discarded.
    pub fn exchanges(&self) -> usize {
        self.exchanges.len()
    }

    /// Connections, those being dialled included.
    pub fn connections(&self) -> usize {
        self.slots.len()
    }

    /// Connections that carry nothing.
    pub fn idle_connections(&self) -> usize {
        self.slots.idle_len()
    }

    /// Calls that wait for a connection.
    pub fn pending(&self) -> usize {
        self.queue.len()
    }

    /// When its [`deadline`](Machine::deadline) is, for whoever does not ask why. Early at times: what was due
    /// then may be settled since.
    #[inline]
    pub fn due_at(&self) -> Option<Instant> {
        self.alarms.first()
    }

    /// What it was built from.
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Closes a connection, once it carries nothing.
    fn retire_one(&mut self, now: Instant, key: Key, why: Retire) {
        let Some(slot) = self.slots.get(key) else { return };
        if slot.state == State::Tunnel {
            return;
        }
        let (unused, endpoint) = (slot.state == State::Dialing || slot.used == 0, slot.endpoint);
        if unused {
            self.close(now, key, why);
        } else if let Some(instance) = self.instances.get_mut(endpoint) {
            self.slots.retire(key, &mut instance.share);
        }
    }

    /// The call is over. Whatever it holds is given back first.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a few instructions of every call")]
    fn complete(&mut self, key: Key, outcome: Outcome) {
        let Some(call) = self.calls.remove(key) else { return };
        debug_assert!(call.delivered || call.is_at_rest(), "a call that is over holds nothing");
        let delivery = match outcome {
            Outcome::Done => Delivery::Processed,
            Outcome::Failed { .. }
            | Outcome::Refused(_)
            | Outcome::TimedOut(_)
            | Outcome::PoolTimeout => call.delivery,
        };
        let (token, attempts) = (call.spec.token, call.attempts);
        self.actions.push(Action::Complete { token, outcome, delivery, attempts });
        self.log.record(Event::CallEnded { token, outcome, attempts });
    }

    /// What is due for the call at this place.
    fn call_due(&mut self, now: Instant, place: u32) {
        let Some(key) = self.calls.key_at(place) else { return };
        let Some(call) = self.calls.get(key) else { return };
        if call.deadline() <= now {
            self.time_out(now, key);
            return;
        }
        for lane in 0..call::LANES {
            let Some(call) = self.calls.get_mut(key) else { return };
            match call.lanes.get(lane).copied() {
                Some(Lane::BackOff(until)) if until <= now => {
                    self.vacate_lane(key, lane);
                    self.attempt_again(now, key, lane);
                }
                Some(Lane::Queued(ticket)) if call.wait_until <= now => {
                    self.stop_waiting(ticket);
                    self.leave(key, lane, Outcome::PoolTimeout);
                }
                Some(Lane::Sent(exchange)) => {
                    let late = |exchange: &Exchange| exchange.by <= now;
                    if !call.delivered && self.exchanges.get(exchange).is_some_and(late) {
                        self.cut_late(now, key, lane, exchange);
                    }
                }
                _ => {}
            }
        }
        self.send_hedge(now, key);
        self.rearm_call(key);
    }

    /// The call's timer for whatever is due next.
    fn rearm_call(&mut self, key: Key) {
        let Some(call) = self.calls.get(key) else { return };
        let mut next = call.deadline();
        for lane in call.lanes {
            match lane {
                Lane::BackOff(until) => next = next.min(until),
                Lane::Queued(_) => next = next.min(call.wait_until),
                Lane::Sent(exchange) if !call.delivered => {
                    let by = self.exchanges.get(exchange).map_or(Instant::MAX, |e| e.by);
                    next = next.min(by);
                }
                _ => {}
            }
        }
        let next = next.min(call.hedge_at.unwrap_or(Instant::MAX));
        self.alarms.arm(Whose::Calls, key.index(), next);
    }

    /// The deadline of the call.
    fn time_out(&mut self, now: Instant, key: Key) {
        let Some(call) = self.calls.get(key) else { return };
        let (phase, lanes, delivered) = (call.phase(), call.lanes, call.delivered);
        for (at, lane) in lanes.into_iter().enumerate() {
            self.vacate_lane(key, at);
            match lane {
                Lane::Queued(ticket) => self.stop_waiting(ticket),
                Lane::Sent(exchange) => {
                    if !delivered {
                        self.tell_end(exchange, Ended::Cut(Cut::Deadline));
                        let failure = Failure {
                            delivery: Delivery::MaybeProcessed,
                            phase: Phase::ResponseHead,
                            fault: Fault::Peer,
                        };
                        self.blame(now, exchange, failure);
                        if let Some(call) = self.calls.get_mut(key) {
                            call.note(failure);
                        }
                    }
                    self.cut(now, exchange, Cut::Deadline);
                }
                Lane::Empty | Lane::BackOff(_) => {}
            }
        }
        self.complete(key, Outcome::TimedOut(phase));
    }

    /// What is due for the connection at this place.
    fn slot_due(&mut self, now: Instant, place: u32) {
        match self.slots.due(now, place, &mut self.alarms) {
            Some((key, State::Dialing)) => {
                let failure = Failure {
                    delivery: Delivery::NotSent,
                    phase: Phase::Connect,
                    fault: Fault::Network,
                };
                self.actions.push(Action::Close {
                    connection: ConnectionId(key),
                    why: Retire::ConnectTimeout,
                });
                self.undo_dial(now, key, failure);
            }
            Some((key, _)) => self.close(now, key, Retire::Idle),
            None => {}
        }
    }

    /// What is due for the endpoint that has this timer.
    fn instance_due(&mut self, now: Instant, timer: u32) {
        let Some(place) = timed_by(timer) else { return self.health_due(now) };
        let Some(key) = self.instances.key_at(place) else { return };
        if let Some(instance) = self.instances.get_mut(key)
            && let Some(after) = instance.warm_after
        {
            if after <= now {
                instance.warm_after = None;
                self.slots.may_be_cold = true;
            } else {
                self.alarms.arm(Whose::Endpoints, timer, after);
            }
        }
        self.refresh(now, key);
    }

    fn next_action(&mut self) -> Option<Action> {
        while let Some(action) = self.actions.pop() {
            // A call may have ended between the decision and now.
            let stale = match action {
                Action::Send { exchange, .. } => self.exchanges.get(exchange.0).is_none(),
                Action::Dial { connection, .. } => self.slots.get(connection.0).is_none(),
                _ => false,
            };
            if !stale {
                return Some(action);
            }
        }
        None
    }

    /// Does what is due.
    #[inline(never)]
    fn run_due(&mut self, now: Instant) {
        while let Some((whose, place)) = self.alarms.pop_due(now) {
            match whose {
                Whose::Endpoints => self.instance_due(now, place),
                Whose::Connections => self.slot_due(now, place),
                Whose::Calls => self.call_due(now, place),
            }
        }
        self.pump(now);
    }

    /// Whose time this is, which is the first of all.
    fn timer_at(&self, at: Instant) -> Timer {
        if self.alarms.first_place(Whose::Calls, at).is_some() {
            return Timer::Call;
        }
        if let Some(place) = self.alarms.first_place(Whose::Connections, at) {
            let dials = self.slots.key_at(place).is_some_and(|key| self.slots.is_dialing(key));
            return if dials { Timer::Connect } else { Timer::Idle };
        }
        let timer = self.alarms.first_place(Whose::Endpoints, at);
        if timer == Some(MESH) {
            return self.health.deadline().map_or(Timer::Ejection, |deadline| deadline.why);
        }
        let key = timer.and_then(timed_by).and_then(|place| self.instances.key_at(place));
        let Some(instance) = key.and_then(|key| self.instances.get(key)) else {
            return Timer::BreakerOpen;
        };
        if instance.warm_after == Some(at) {
            return Timer::Connect;
        }
        instance.breaker.deadline().map_or(Timer::BreakerOpen, |deadline| deadline.why)
    }
}

impl Machine for Dispatcher {
    type Event = Action;
    type Error = Infallible;

    #[inline]
    fn poll_event(&mut self, now: Instant) -> Result<Option<Action>, Infallible> {
        self.handle_timeout(now);
        Ok(if self.actions.is_empty() { None } else { self.next_action() })
    }

    #[inline]
    fn handle_timeout(&mut self, now: Instant) {
        if self.alarms.is_due(now) {
            self.run_due(now);
        }
    }

    fn deadline(&self) -> Option<Deadline> {
        let at = self.due_at()?;
        Some(Deadline { at, why: self.timer_at(at) })
    }

    fn poll_observed(&mut self) -> Option<Event> {
        self.log.pop()
    }
}
