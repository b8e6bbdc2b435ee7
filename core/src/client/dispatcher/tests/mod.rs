//! What must hold after any input, and two searches for what breaks it: random, and exhaustive.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail loudly")]

mod canonical;
mod space;
mod worlds;

use std::collections::BTreeSet;

use super::call::Lane;
use super::routes::OnRoute;
use super::slots::State;
use super::*;
use crate::resilience::{BreakerState, Permit};

impl Dispatcher {
    /// Recomputes what is kept, and says what does not agree.
    fn audit(&self, now: Instant) {
        let pool = &self.policy.pool;
        let mut queued = 0;
        for (key, call) in self.calls.iter() {
            assert!(!call.is_at_rest(), "a call waits for nothing: {call:?}");
            assert!(call.deadline() > now, "a call is late: {call:?}");
            if call.delivered {
                let sent = call.lanes.iter().filter(|lane| matches!(lane, Lane::Sent(_)));
                assert_eq!(sent.count(), 1, "a delivered call has its exchange: {call:?}");
            }
            for lane in call.lanes {
                match lane {
                    Lane::Queued(_) => {
                        queued += 1;
                        assert!(call.wait_until > now, "a call waits for too long: {call:?}");
                    }
                    Lane::Sent(exchange) => {
                        let exchange =
                            self.exchanges.get(exchange).expect("a lane without exchange");
                        assert_eq!(exchange.call, Some(key));
                    }
                    Lane::Empty | Lane::BackOff(_) => {}
                }
            }
        }
        assert_eq!(queued, self.queue.len(), "the queue and the lanes disagree");
        assert!(self.queue.len() <= pool.max_pending as usize);
        let mut coming = BTreeSet::new();
        for (key, slot) in self.slots.iter() {
            let used = self.exchanges.iter().filter(|(_, e)| e.connection == key).count();
            assert_eq!(used, slot.used as usize, "exchanges of {slot:?}");
            let dialing = slot.state == State::Dialing;
            assert!(dialing || !slot.forsaken, "open, and forsaken: {slot:?}");
            if dialing && !slot.forsaken {
                coming.insert(key.index());
            }
            assert!(
                slot.state != State::Retiring || slot.used > 0,
                "over, and still here: {slot:?}"
            );
            self.slots.audit(key, slot);
        }
        assert_eq!(coming.len(), self.slots.coming);
        assert_eq!(coming, self.slots.coming_places().into_iter().collect());
        let idle = |slot: &slots::Slot| slot.state == State::Open && slot.used == 0;
        let idles = self.slots.iter().filter(|(_, slot)| idle(slot)).count();
        assert_eq!(idles, self.slots.idle_len());
        assert!(self.slots.len() <= pool.max_connections as usize, "over the cap");
        for (key, instance) in self.instances.iter() {
            let theirs = self.slots.iter().filter(|(_, slot)| slot.endpoint == key);
            let held = |permit: &Option<Permit>| permit.as_ref().is_some_and(Permit::is_probe);
            let dials = theirs.clone().filter(|(_, slot)| held(&slot.permit)).count();
            let slow = theirs.clone().any(|(_, slot)| slot.forsaken);
            assert_eq!(slow, instance.share.is_slow());
            assert_eq!(theirs.count(), instance.share.connections as usize);
            assert!(instance.share.connections <= pool.max_per_endpoint, "over the endpoint's cap");
            let exchanges = self.exchanges.iter().filter(|(_, e)| e.endpoint == key);
            let probing = exchanges.clone().filter(|(_, e)| held(&e.permit)).count() + dials;
            assert_eq!(exchanges.count(), instance.in_flight as usize);
            if let BreakerState::HalfOpen { probes } = instance.breaker.state() {
                assert!(probes <= self.policy.breaker.probes);
                assert!(usize::from(probes) <= probing, "a probe is lost");
            }
            let heeded = instance.is_well() || self.health.is_panicking();
            let ready = !instance.retired && heeded && instance.breaker.is_ready(now);
            assert_eq!(ready, instance.ready_at.is_some(), "{instance:?}");
            assert!(!instance.retired || instance.share.connections > 0);
        }
        assert!(self.routes.iter().count() <= self.policy.max_routes as usize);
        for (at, route) in self.routes.iter().enumerate() {
            if let BreakerState::HalfOpen { probes } = route.breaker.state() {
                let of = |on: &OnRoute| on.key.0 as usize == at;
                let held =
                    |on: &OnRoute| of(on) && on.permit.as_ref().is_some_and(Permit::is_probe);
                let exchanges = self.exchanges.iter().filter_map(|(_, e)| e.route.as_ref());
                let probing = exchanges.filter(|on| held(on)).count();
                assert!(probes <= self.policy.breaker.probes);
                assert!(usize::from(probes) <= probing, "a probe of a route is lost");
            }
        }
        self.audit_list();
        let placed = self.exchanges.iter().filter(|(_, e)| e.place.is_some()).count();
        assert_eq!(placed, self.admission.in_flight() as usize, "a place is lost");
        if self.queue.len() > self.slots.coming {
            assert!(!self.balancer.ready.is_empty(), "calls wait for nobody");
        }
        if self.queue.len().min(self.room()) > self.slots.coming {
            let want = self.next_wants().expect("nobody waits");
            let free = self.slots.iter().any(|(key, slot)| {
                self.slots.fits(key, want)
                    && self.instances.get(slot.endpoint).unwrap().ready_at.is_some()
            });
            assert!(!free, "a call waits beside a connection with room");
            let dials = self.slots.len() < pool.max_connections as usize
                && self.balancer.ready.iter().any(|key| {
                    let share = &self.instances.get(*key).unwrap().share;
                    share.connections < pool.max_per_endpoint && !share.is_stuck()
                });
            assert!(!dials, "a call waits although there is room to dial");
        }
        assert!(
            self.deadline().is_none_or(|deadline| deadline.at > now),
            "a timer was left behind"
        );
    }

    /// The list of those that may be asked.
    fn audit_list(&self) {
        let ready = &self.balancer.ready;
        let near = |key: &Key| self.instances.get(*key).unwrap().near;
        for (at, key) in ready.iter().enumerate() {
            assert_eq!(self.instances.get(*key).unwrap().ready_at, Some(at as u32));
        }
        assert!(ready.is_sorted_by_key(|key| !near(key)), "one's own zone comes first");
        let current = self.instances.iter().filter(|(_, instance)| !instance.retired);
        let nears = current.clone().filter(|(_, instance)| instance.near).count();
        assert_eq!(nears, self.balancer.nears);
        self.balancer.audit(&self.instances);
        let well = current.clone().filter(|(_, instance)| instance.is_well()).count();
        self.health.audit(current.count(), well);
    }
}
