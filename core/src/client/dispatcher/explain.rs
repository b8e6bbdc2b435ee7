//! Why things are as they are: what a dispatcher would say if asked.

use core::time::Duration;

use super::action::CallId;
use super::routes::Route;
use super::{Call, Dispatcher, Lane};
use crate::error::{Delivery, Phase};
use crate::mesh::{Algorithm, Endpoint, Reach, Weight, Zone};
use crate::resilience::BreakerState;
use crate::time::Instant;

/// A destination.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Explanation {
    /// Calls that are not over.
    pub calls: usize,
    /// Calls that wait for a connection.
    pub pending: usize,
    /// Connections, those being dialled included.
    pub connections: usize,
    /// Connections that carry nothing.
    pub idle: usize,
    /// Attempts that may be on their way at once, as it was found by trying.
    pub limit: u32,
    /// Attempts without a head that count towards the limit.
    pub in_flight: u32,
    /// Retries that the share of the budget has left.
    pub retries_left: u32,
    /// Tokens of the budget's throttle, in thousandths: there are retries above half of all.
    pub millitokens: u32,
    /// How an endpoint is chosen.
    pub algorithm: Algorithm,
    /// So few endpoints are well that all of them are asked.
    pub panicking: bool,
    /// Each endpoint.
    pub endpoints: Vec<EndpointExplanation>,
    /// Each route that has a breaker.
    pub routes: Vec<RouteExplanation>,
}

/// A route.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RouteExplanation {
    /// Which.
    pub route: &'static str,
    /// What its breaker is.
    pub breaker: BreakerState,
}

/// An endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EndpointExplanation {
    /// Which.
    pub endpoint: Endpoint,
    /// What its breaker is.
    pub breaker: BreakerState,
    /// Connections to it.
    pub connections: u32,
    /// Exchanges with it.
    pub in_flight: u32,
    /// Its share beside that of the others.
    pub weight: Weight,
    /// Where it runs.
    pub zone: Zone,
    /// What the balancer compares: see [`Scored::score`].
    pub cost: u64,
    /// It is worse than the others, and left alone for a while.
    pub ejected: bool,
    /// Probes found it down.
    pub down: bool,
    /// Whether calls may be sent there now.
    pub ready: bool,
    /// Whether it is still part of the destination.
    pub retired: bool,
}

/// What was chosen for an attempt, and what was not.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Pick {
    /// The endpoint.
    pub chosen: Scored,
    /// The one that it was compared with, or that would have come next; `None`: there was no other.
    pub runner_up: Option<Scored>,
    /// Whether it is in one's own zone; it is, where zones do not count.
    pub reach: Reach,
}

/// An endpoint, and what it was worth.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Scored {
    /// Which.
    pub endpoint: Endpoint,
    /// Its cost for the share that it has now; the lower one is the better. With peak-EWMA, microseconds
    /// times the requests that it would have on their way; else a thousand times those requests. Those
    /// that have turns, or a place on a ring, are not chosen by it.
    pub score: u64,
}

/// A call that is not over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CallExplanation {
    /// Attempts that were made.
    pub attempts: u8,
    /// Kept connections that proved dead on the way.
    pub stale: u8,
    /// Where it is.
    pub phase: Phase,
    /// How far the request got, over all attempts that are over.
    pub delivery: Delivery,
    /// What is left until its deadline.
    pub remaining: Duration,
    /// What is left until it is tried again, where it waits for that.
    pub retry_in: Option<Duration>,
    /// What is left until it is sent a second time, should no head have come by then.
    pub hedge_in: Option<Duration>,
    /// The endpoint that failed last.
    pub avoids: Option<Endpoint>,
    /// The route that it said it is of.
    pub route: Option<&'static str>,
    /// What was chosen for its last attempt; `None`: nothing yet, or nobody
    /// [observes](Dispatcher::observe).
    pub pick: Option<Pick>,
}

impl Dispatcher {
    /// What there is, and what has been learnt.
    pub fn explain(&mut self, now: Instant) -> Explanation {
        let endpoints = self.instances.iter().map(|(_, instance)| EndpointExplanation {
            endpoint: instance.member.endpoint,
            breaker: instance.breaker.state(),
            connections: instance.share.connections,
            in_flight: instance.in_flight,
            weight: instance.member.weight,
            zone: instance.member.zone,
            cost: self.balancer.score(now, instance),
            ejected: instance.ejected,
            down: instance.down,
            ready: instance.ready_at.is_some(),
            retired: instance.retired,
        });
        let routes = self.routes.iter();
        let routes = routes.map(|Route { name, breaker }| RouteExplanation {
            route: name,
            breaker: breaker.state(),
        });
        Explanation {
            calls: self.calls(),
            pending: self.pending(),
            connections: self.connections(),
            idle: self.idle_connections(),
            algorithm: self.policy.balance.algorithm,
            panicking: self.health.is_panicking(),
            endpoints: endpoints.collect(),
            routes: routes.collect(),
            limit: self.admission.limit(),
            in_flight: self.admission.in_flight(),
            retries_left: self.budget.remaining(now),
            millitokens: self.budget.millitokens(),
        }
    }

    /// Where a call is. `None`: it is over.
    pub fn explain_call(&self, now: Instant, call: CallId) -> Option<CallExplanation> {
        let CallId(key) = call;
        let call: &Call = self.calls.get(key)?;
        let avoids = call.avoid.and_then(|key| self.instances.get(key));
        Some(CallExplanation {
            attempts: call.attempts,
            stale: call.stale,
            phase: call.phase(),
            delivery: call.delivery,
            remaining: call.spec.deadline - now,
            retry_in: call.lanes.iter().find_map(|lane| match lane {
                Lane::BackOff(until) => Some(*until - now),
                Lane::Empty | Lane::Queued(_) | Lane::Sent(_) => None,
            }),
            hedge_in: call.hedge_at.map(|at| at - now),
            avoids: avoids.map(|instance| instance.member.endpoint),
            route: call.spec.route,
            pick: self.balancer.pick_of(key),
        })
    }
}
