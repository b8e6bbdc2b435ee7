//! Where attempts go: which endpoint, which connection, or the queue.
//!
//! Waiting is late-bound: who waits belongs to no endpoint, and takes the first connection that can
//! carry it. Connections being dialled are counted, not owned: while as many are coming as calls
//! wait, nothing else is to be done for them. That goes for those that were opened ahead, and for those
//! whose caller was served elsewhere, too: whoever comes next has them sooner than one that is begun now.
//! <https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/connection_pooling>
//! When somebody gives up waiting, the one that was begun first is not counted any more until it is open,
//! whomever it was opened for: it had the most time, and nobody knows whether it ever will be.
#![expect(clippy::inline_always, reason = "every call passes here: measured by `sinew-benches`")]

use core::time::Duration;

use super::action::{
    Action, CallSpec, ConnectionId, Cut, ExchangeId, Outcome, Refusal, Retire, Reuse,
};
use super::admission::admit;
use super::alarms::Whose;
use super::balancer::Picked;
use super::call::{Call, Exchange, Instance, Lane, Want};
use super::slots::State;
use super::{Dispatcher, timer_of};
use crate::limit::Ticket;
use crate::observe::Event;
use crate::resilience::{Change, OpenFor, Permit};
use crate::table::Key;
use crate::time::Instant;

impl Dispatcher {
    /// Makes another attempt of the call, on this lane. Call [`pump`](Self::pump) afterwards.
    #[inline(never)]
    pub(super) fn attempt_again(&mut self, now: Instant, key: Key, lane: usize) {
        self.attempt(now, key, lane);
    }

    /// The same, for the first attempt: nearly always the only one.
    #[inline(always)]
    pub(super) fn attempt(&mut self, now: Instant, key: Key, lane: usize) {
        let Some(call) = self.calls.get(key) else { return };
        let CallSpec { priority, token, hash_key, .. } = call.spec;
        let (avoid, route, want) = (call.avoid, call.route, self.want(call));
        if let Some(refusal) = self.route_refuses(now, route) {
            self.unplaced(key, lane, refusal);
            return;
        }
        if self.balancer.ready.is_empty() {
            let refusal = self.nobody_ready(now);
            self.unplaced(key, lane, refusal);
            return;
        }
        // Nobody overtakes those who wait.
        if self.queue.is_empty()
            && self.room() > 0
            && let Some(picked) = self.pick(now, avoid, hash_key)
            && let Some((connection, permit)) = self.seat(now, picked.endpoint, want)
        {
            self.tell_pick(now, key, picked);
            if self.send(now, (key, lane), picked.endpoint, connection, permit) {
                self.took(now, picked.endpoint);
            }
            return;
        }
        match self.queue.push(priority, (key, lane)) {
            Ok(ticket) => {
                self.set_lane(key, lane, Lane::Queued(ticket));
                self.begin_wait(now, key);
                self.hold(token);
            }
            Err(_) if self.room() == 0 => self.unplaced(key, lane, Refusal::Admission),
            Err(_) => self.unplaced(key, lane, Refusal::PoolFull),
        }
    }

    /// A call begins to wait for a connection.
    fn begin_wait(&mut self, now: Instant, key: Key) {
        let Some(call) = self.calls.get_mut(key) else { return };
        if let Some(time) = call.spec.pool_timeout.or(self.policy.pool.wait) {
            call.wait_until = now + time;
            self.alarms.arm(Whose::Calls, key.index(), call.wait_until);
        }
    }

    /// Serves those who wait, as far as it goes, and dials for those that no connection is coming for.
    #[inline]
    pub(super) fn pump(&mut self, now: Instant) {
        if !self.queue.is_empty() || self.draining || self.slots.may_be_cold {
            self.serve_queue(now);
        }
    }

    #[inline(never)]
    fn serve_queue(&mut self, now: Instant) {
        while self.queue.len().min(self.room()) > self.slots.coming {
            let Some((next, lane)) = self.queue.peek().copied() else { break };
            let Some(call) = self.calls.get(next) else { break };
            let (avoid, hash, want) = (call.avoid, call.spec.hash_key, self.want(call));
            let Some(picked) = self.pick(now, avoid, hash) else { break };
            let picked = self.unless_slow(now, picked, (avoid, hash), want);
            let picked = if self.serves(picked.endpoint, want) {
                picked
            } else {
                // Rare: the caps are reached. Any endpoint that can take the call is fine then.
                match self.balancer.ready.iter().copied().find(|key| self.serves(*key, want)) {
                    Some(other) => Picked::only(other),
                    None if want.shun.is_some() => {
                        // Nobody waits for a second attempt while the first is on its way.
                        self.queue.pop();
                        self.drop_lane(next, lane);
                        continue;
                    }
                    None => return,
                }
            };
            let endpoint = picked.endpoint;
            // The list of the ready ones is right: whoever is on it lets calls through.
            let Some(permit) = self.permit(now, endpoint) else { continue };
            self.tell_pick(now, next, picked);
            match self.available_at(endpoint, want) {
                Some(connection) => {
                    if self.serve(now, endpoint, connection, permit) {
                        self.took(now, endpoint);
                    }
                }
                None => {
                    self.took(now, endpoint);
                    self.dial(now, endpoint, permit);
                }
            }
        }
        self.warm(now);
        // Nobody will come for them: no breaker lets anyone through.
        while self.balancer.ready.is_empty() && self.queue.len() > self.slots.coming {
            let Some((key, lane)) = self.queue.pop_last() else { break };
            let refusal = self.nobody_ready(now);
            self.unplaced(key, lane, refusal);
        }
        if self.draining && self.queue.is_empty() {
            while let Some(key) = self.slots.oldest_idle() {
                self.close(now, key, Retire::Draining);
            }
        }
    }

    /// Where the endpoint that was chosen has no connection with room, and one that is being opened took
    /// longer than somebody would wait: another that is not known to be slow, rather one that the call is not
    /// to avoid.
    fn unless_slow(
        &mut self,
        now: Instant,
        picked: Picked,
        (avoid, hash): (Option<Key>, Option<u64>),
        want: Want,
    ) -> Picked {
        let slow = |at: &Self, key: Key| {
            at.instances
                .get(key)
                .is_some_and(|one| one.share.is_slow() && !at.slots.is_available(&one.share, want))
        };
        if !slow(self, picked.endpoint) {
            return picked;
        }
        let suits = |at: &Self, key: Key| !slow(at, key) && at.serves(key, want);
        let other = self.pick(now, Some(picked.endpoint), hash);
        let other = other.filter(|other| suits(self, other.endpoint));
        match other {
            Some(other) if Some(other.endpoint) != avoid => other,
            // Rare: others are slow, too, or have just failed.
            _ => {
                let mut ready = self.balancer.ready.iter().copied();
                let found = ready.find(|key| Some(*key) != avoid && suits(self, *key));
                found.map(Picked::only).or(other).unwrap_or(picked)
            }
        }
    }

    /// A call gives up its wait for a connection. Where one less is needed, the one that takes longest to open
    /// counts for nobody until it is open: that may be never.
    pub(super) fn stop_waiting(&mut self, ticket: Ticket) {
        self.queue.remove(ticket);
        if self.slots.coming <= self.queue.len() {
            return;
        }
        let Self { slots, instances, .. } = self;
        let first = slots.first_coming().map(|(key, slot)| (key, slot.endpoint));
        if let Some((key, endpoint)) = first
            && let Some(instance) = instances.get_mut(endpoint)
        {
            slots.forsake(key, &mut instance.share);
        }
    }

    /// The connection of this endpoint that was used last, of those that have room.
    #[inline(always)]
    fn available_at(&mut self, endpoint: Key, want: Want) -> Option<Key> {
        self.slots.available(&mut self.instances.get_mut(endpoint)?.share, want)
    }

    /// The same, and what the breaker of the endpoint gives for an attempt.
    #[inline(never)]
    fn seat(&mut self, now: Instant, endpoint: Key, want: Want) -> Option<(Key, Option<Permit>)> {
        let connection = self.available_at(endpoint, want)?;
        Some((connection, self.permit(now, endpoint)?))
    }

    fn serves(&self, endpoint: Key, want: Want) -> bool {
        let available = |one: &Instance| self.slots.is_available(&one.share, want);
        self.instances.get(endpoint).is_some_and(available) || self.can_dial(endpoint)
    }

    /// What an attempt of this call that is not on its way needs.
    #[inline]
    fn want(&self, call: &Call) -> Want {
        let shun = call.lanes.iter().find_map(|lane| match lane {
            Lane::Sent(other) => self.exchanges.get(*other).map(|other| other.connection),
            _ => None,
        });
        Want { sharing: call.spec.sharing, shun }
    }

    /// What whoever is served next needs. While it waits for a connection to itself, nobody overtakes
    /// it, and those that others share empty.
    pub(super) fn next_wants(&self) -> Option<Want> {
        let (call, _) = self.queue.peek()?;
        self.calls.get(*call).map(|call| self.want(call))
    }

    /// Asks the breaker of an endpoint. `Some(None)`: it is not enforced. `None`: it refuses.
    #[inline(always)]
    #[allow(clippy::option_option, reason = "refused, let through without a permit, and with one")]
    pub(super) fn permit(&mut self, now: Instant, endpoint: Key) -> Option<Option<Permit>> {
        let mode = self.policy.breaker.mode;
        let instance = self.instances.get_mut(endpoint)?;
        if !mode.asks() {
            return Some(None);
        }
        if instance.breaker.is_closed() {
            return Some(instance.breaker.acquire(now).ok());
        }
        self.permit_unless_closed(now, endpoint)
    }

    #[inline(never)]
    #[allow(clippy::option_option, reason = "as above")]
    fn permit_unless_closed(&mut self, now: Instant, endpoint: Key) -> Option<Option<Permit>> {
        let mode = self.policy.breaker.mode;
        let instance = self.instances.get_mut(endpoint)?;
        let asked = instance.breaker.acquire(now);
        let name = instance.member.endpoint;
        if let Ok(permit) = &asked
            && let Some(change) = permit.change()
        {
            self.log.record(Event::Breaker { endpoint: name, change });
        }
        self.refresh(now, endpoint);
        match asked {
            Ok(permit) => Some(Some(permit)),
            Err(_) if mode.obeys() => None,
            Err(_) => Some(None),
        }
    }

    /// Puts an endpoint on the list of those that may be asked, or takes it off.
    #[inline]
    pub(super) fn refresh(&mut self, now: Instant, key: Key) {
        // Nearly always it is there, and stays there.
        if !self.instances.get(key).is_some_and(Instance::is_settled) {
            self.list_anew(now, key);
        }
    }

    #[inline(never)]
    pub(super) fn list_anew(&mut self, now: Instant, key: Key) {
        let Some(instance) = self.instances.get_mut(key) else { return };
        let mode = self.policy.breaker.mode;
        if mode.asks() {
            if let Some(change) = instance.breaker.handle_timeout(now) {
                let endpoint = instance.member.endpoint;
                self.log.record(Event::Breaker { endpoint, change });
            }
            if let Some(deadline) = instance.breaker.deadline() {
                self.alarms.arm(Whose::Endpoints, timer_of(key), deadline.at);
            }
        }
        let lets_through = !mode.obeys() || instance.breaker.is_ready(now);
        let heeded = instance.is_well() || self.health.is_panicking();
        let ready = lets_through && heeded && !instance.retired;
        match (ready, instance.ready_at) {
            (true, None) => {
                self.balancer.list(now, key, &mut self.instances);
                self.slots.may_be_cold = true;
            }
            (false, Some(_)) => self.balancer.unlist(key, &mut self.instances),
            (true, Some(_)) | (false, None) => {}
        }
    }

    /// Why nobody is ready: what the endpoint says that is worth asking again first.
    fn nobody_ready(&self, now: Instant) -> Refusal {
        let current = self.instances.iter().filter(|(_, instance)| !instance.retired);
        let refused = current.filter_map(|(_, instance)| instance.breaker.refuses(now));
        match refused.min_by_key(|refused| refused.until.unwrap_or(Instant::MAX)) {
            Some(OpenFor { why, until }) => Refusal::Breaker { why, until },
            None if self.instances.iter().any(|(_, instance)| !instance.retired) => {
                Refusal::NoHealthyEndpoint
            }
            None => Refusal::NoEndpoint,
        }
    }

    /// A connection that is open: for whoever waits, with the permit it was dialled with, or for later.
    pub(super) fn offer(&mut self, now: Instant, connection: Key) {
        let Some(slot) = self.slots.get_mut(connection) else { return };
        let (endpoint, permit) = (slot.endpoint, slot.permit.take());
        if self.queue.is_empty() || self.room() == 0 {
            self.release(now, endpoint, permit);
        } else if self.serve(now, endpoint, connection, permit) {
            // A breaker that opened meanwhile makes the permit one of an old epoch, which settles nothing.
            return;
        }
        self.put_back(now, connection, endpoint);
        self.hand_on(now, connection);
    }

    fn release(&mut self, now: Instant, endpoint: Key, permit: Option<Permit>) {
        if let (Some(permit), Some(instance)) = (permit, self.instances.get_mut(endpoint)) {
            instance.breaker.release(permit);
            self.refresh(now, endpoint);
        }
    }

    pub(super) fn put_back(&mut self, now: Instant, connection: Key, endpoint: Key) {
        let Self { instances, slots, policy, alarms, .. } = self;
        if let Some(instance) = instances.get_mut(endpoint) {
            slots.list(now, connection, &mut instance.share, &policy.pool, alarms);
        }
    }

    /// Gives a connection to whoever is next. Whether they take it; one whose route is not to be asked
    /// leaves instead.
    #[inline(never)]
    pub(super) fn serve(
        &mut self,
        now: Instant,
        endpoint: Key,
        connection: Key,
        permit: Option<Permit>,
    ) -> bool {
        let next = self.queue.pop();
        next.is_some_and(|next| self.send(now, next, endpoint, connection, permit))
    }

    /// Sends an attempt over a connection, if the breaker of its route lets it.
    #[inline(always)]
    fn send(
        &mut self,
        now: Instant,
        (key, lane): (Key, usize),
        endpoint: Key,
        connection: Key,
        permit: Option<Permit>,
    ) -> bool {
        let route = match self.calls.get(key).and_then(|call| call.route) {
            None => None,
            Some(route) => match self.route_permit(now, route) {
                Ok(on) => on,
                Err(refusal) => {
                    self.release(now, endpoint, permit);
                    self.unplaced(key, lane, refusal);
                    return false;
                }
            },
        };
        let Self { slots, instances, calls, exchanges, balancer, policy, alarms, log, .. } = self;
        let Some(instance) = instances.get_mut(endpoint) else { return false };
        let Some(call) = calls.get_mut(key) else { return false };
        let CallSpec { token, sharing, safety, .. } = call.spec;
        let Some(slot) = slots.occupy(connection, &mut instance.share, sharing) else {
            return false;
        };
        let first_use = slot.uses == 1;
        balancer.began(instance);
        call.attempts = call.attempts.saturating_add(1);
        let attempt = call.attempts;
        let mut by = Instant::MAX;
        if let Some(timeout) = call.spec.attempt_timeout.or(policy.attempt_timeout) {
            by = now + timeout;
            alarms.arm(Whose::Calls, key.index(), by);
        }
        let exchange = exchanges.insert(Exchange {
            call: Some(key),
            connection,
            endpoint,
            epoch: permit.as_ref().map(Permit::epoch),
            permit,
            route,
            place: admit(&mut self.admission, policy.admission.mode, token, log),
            sent_at: now,
            by,
            attempt,
            first_use,
        });
        if policy.hedge.mode.obeys()
            && call.spec.hedge
            && call.is_alone(lane)
            && let Ok(delay) = self.hedge.delay(safety)
        {
            let at = now + delay;
            call.hedge_at = Some(at);
            alarms.arm(Whose::Calls, key.index(), at);
        }
        call.set_lane(lane, Lane::Sent(exchange));
        self.actions.push(Action::Send {
            token,
            exchange: ExchangeId(exchange),
            connection: ConnectionId(connection),
            sharing,
            attempt,
            first_use,
        });
        if log.is_enabled() {
            let (exchange, endpoint) = (ExchangeId(exchange), instance.member.endpoint);
            log.record(Event::AttemptSent { token, attempt, exchange, endpoint, first_use });
        }
        true
    }

    /// Sends a call a second time, where its first attempt takes longer than most do.
    pub(super) fn send_hedge(&mut self, now: Instant, key: Key) {
        let Some(call) = self.calls.get_mut(key) else { return };
        if call.hedge_at.is_none_or(|at| now < at) {
            return;
        }
        call.hedge_at = None;
        let ([Lane::Sent(first), Lane::Empty] | [Lane::Empty, Lane::Sent(first)]) = call.lanes
        else {
            return;
        };
        let lane = usize::from(call.lanes[0] != Lane::Empty);
        let (delivered, token, route) = (call.delivered, call.spec.token, call.route);
        // Where much fails already, nothing is sent twice.
        if delivered || self.budget.is_throttled() || self.route_refuses(now, route).is_some() {
            return;
        }
        // Nor where others wait, or where there is no other connection for it.
        let Some(want) = self.calls.get(key).map(|call| self.want(call)) else { return };
        let placed = self.queue.is_empty()
            && self.room() > 0
            && self.balancer.ready.iter().any(|endpoint| self.serves(*endpoint, want));
        if !placed || self.hedge.withdraw(now).is_err() {
            return;
        }
        let first = self.exchanges.get(first);
        let after = first.map_or(Duration::ZERO, |first| now - first.sent_at);
        let endpoint = first.map(|first| first.endpoint);
        if let Some(call) = self.calls.get_mut(key) {
            call.avoid = endpoint;
        }
        self.log.record(Event::Hedged { token, after });
        self.attempt_again(now, key, lane);
    }

    /// The lane of a call finds no place.
    pub(super) fn unplaced(&mut self, key: Key, lane: usize, refusal: Refusal) {
        self.leave(key, lane, Outcome::Refused(refusal));
    }

    /// What a lane of a call waited for does not come. If the other one is on its way, that goes on; else the
    /// call ends with this.
    pub(super) fn leave(&mut self, key: Key, lane: usize, outcome: Outcome) {
        if self.calls.get(key).is_some_and(|call| call.is_alone(lane)) {
            self.vacate_lane(key, lane);
            self.complete(key, outcome);
        } else {
            self.drop_lane(key, lane);
        }
    }

    /// Nothing is sent on this lane: the call goes on without it.
    pub(super) fn drop_lane(&mut self, key: Key, lane: usize) {
        let Some(call) = self.calls.get_mut(key) else { return };
        call.set_lane(lane, Lane::Empty);
        let token = call.spec.token;
        self.log.record(Event::AttemptDropped { token });
    }

    pub(super) fn set_lane(&mut self, key: Key, lane: usize, to: Lane) {
        if let Some(call) = self.calls.get_mut(key) {
            call.set_lane(lane, to);
        }
    }

    pub(super) fn vacate_lane(&mut self, key: Key, lane: usize) {
        self.set_lane(key, lane, Lane::Empty);
    }

    /// The embedder ended an exchange. Everything that it held is given back here, and nowhere else.
    pub(super) fn end_exchange(&mut self, now: Instant, key: Key, reuse: Reuse) {
        let Some(ended) = self.exchanges.remove(key) else { return };
        let Exchange { connection, endpoint, .. } = *ended;
        let (permit, route, place) = (ended.permit.take(), ended.route.take(), ended.place.take());
        self.give_back(now, place, None);
        self.release_route(route);
        let Self { slots, instances, balancer, policy, alarms, actions, .. } = self;
        let Some(instance) = instances.get_mut(endpoint) else { return };
        balancer.ended(instance);
        if let Some(permit) = permit {
            instance.breaker.release(permit);
        }
        let share = &mut instance.share;
        let over = slots.vacate(now, connection, share, reuse, &policy.pool, alarms);
        if over {
            slots.remove(connection, share);
            if reuse == Reuse::Keep {
                // The embedder thinks that it is kept.
                let connection = ConnectionId(connection);
                actions.push(Action::Close { connection, why: Retire::Aged });
            }
        }
        if !instance.is_settled() {
            self.list_anew(now, endpoint);
            self.forget_endpoint(endpoint);
        }
    }

    /// The dispatcher ends an exchange, and says so.
    pub(super) fn cut(&mut self, now: Instant, key: Key, why: Cut) {
        let Some(exchange) = self.exchanges.get(key) else { return };
        let connection = exchange.connection;
        let token = exchange.call.and_then(|call| self.calls.get(call)).map(|c| c.spec.token);
        let alone =
            self.slots.get(connection).is_none_or(|slot| slot.capacity == 1 && slot.used == 1);
        let id = ConnectionId(connection);
        match token {
            Some(token) if !alone => {
                let exchange = ExchangeId(key);
                self.actions.push(Action::Reset { token, exchange, connection: id, why });
                self.end_exchange(now, key, Reuse::Keep);
            }
            _ => {
                self.actions.push(Action::Close { connection: id, why: Retire::Cut(why) });
                self.end_exchange(now, key, Reuse::Close);
            }
        }
    }

    /// Closes a connection that carries nothing.
    pub(super) fn close(&mut self, now: Instant, key: Key, why: Retire) {
        if self.slots.get(key).is_some() {
            self.actions.push(Action::Close { connection: ConnectionId(key), why });
            self.forget_connection(now, key);
        }
    }

    /// A connection that carries nothing is gone.
    pub(super) fn forget_connection(&mut self, now: Instant, key: Key) {
        let Some(endpoint) = self.slots.get(key).map(|slot| slot.endpoint) else { return };
        if let Some(instance) = self.instances.get_mut(endpoint)
            && let Some(permit) = self.slots.remove(key, &mut instance.share)
        {
            instance.breaker.release(permit);
        }
        self.refresh(now, endpoint);
        self.forget_endpoint(endpoint);
    }

    /// Closes the connections of an endpoint that carry nothing: they would keep others from theirs.
    pub(super) fn close_idle(&mut self, now: Instant, endpoint: Key, why: Retire) {
        let idle = |(key, slot): (Key, &super::slots::Slot)| {
            let theirs = slot.endpoint == endpoint && slot.state == State::Open && slot.used == 0;
            theirs.then_some(key)
        };
        let idle: Vec<Key> = self.slots.iter().filter_map(idle).collect();
        for key in idle {
            self.close(now, key, why);
        }
    }

    /// What the breaker of an endpoint found.
    pub(super) fn breaker_changed(&mut self, now: Instant, key: Key, change: Option<Change>) {
        self.refresh(now, key);
        let (Some(change), Some(instance)) = (change, self.instances.get(key)) else { return };
        self.log.record(Event::Breaker { endpoint: instance.member.endpoint, change });
        if matches!(change, Change::Opened { .. }) && self.policy.breaker.mode.obeys() {
            self.close_idle(now, key, Retire::BreakerOpened);
        }
    }
}
