//! Why things are as they are: what a dispatcher would say if asked.

use core::time::Duration;

use super::action::CallId;
use super::routes::Route;
use super::{Call, Dispatcher};
use crate::error::{Delivery, Phase};
use crate::mesh::Endpoint;
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
    /// What the balancer compares: a latency, weighed by what is in flight.
    pub cost: u64,
    /// Whether it is still part of the destination.
    pub retired: bool,
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
    /// The endpoint that failed last.
    pub avoids: Option<Endpoint>,
    /// The route that it said it is of.
    pub route: Option<&'static str>,
}

impl Dispatcher {
    /// What there is, and what has been learnt.
    pub fn explain(&mut self, now: Instant) -> Explanation {
        let endpoints = self.instances.iter().map(|(_, instance)| EndpointExplanation {
            endpoint: instance.endpoint,
            breaker: instance.breaker.state(),
            connections: instance.share.connections,
            in_flight: instance.in_flight,
            cost: instance.latency.cost(now, instance.in_flight),
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
        let call: &Call = self.calls.get(call.0)?;
        let avoids = call.avoid.and_then(|key| self.instances.get(key));
        Some(CallExplanation {
            attempts: call.attempts,
            stale: call.stale,
            phase: call.phase(),
            delivery: call.delivery,
            remaining: call.spec.deadline - now,
            avoids: avoids.map(|instance| instance.endpoint),
            route: call.spec.route,
        })
    }
}
