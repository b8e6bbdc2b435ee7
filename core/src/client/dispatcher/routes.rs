//! The breakers of routes: where one kind of call fails, it is left alone, and its endpoints are not.
//!
//! A route is told of its exchanges alone, not of connections that could not be opened. Nobody waits for
//! the breaker of a route: it refuses at once, so that it needs no timer.

use std::collections::BTreeMap;

use super::Dispatcher;
use super::action::Refusal;
use crate::observe::Event;
use crate::resilience::{
    Breaker, BreakerConfig, BreakerState, Change, Epoch, Forced, OpenFor, Outcome, Permit, Report,
};
use crate::time::Instant;

/// The place of a route in its table; none is ever given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct RouteKey(pub(super) u32);

#[derive(Clone, Debug)]
pub(super) struct Route {
    pub(super) name: &'static str,
    pub(super) breaker: Breaker,
}

/// What the breaker of a route gave for an attempt.
#[derive(Clone, Debug)]
pub(super) struct OnRoute {
    pub(super) key: RouteKey,
    /// That of the permit, for what fails later.
    pub(super) epoch: Epoch,
    /// Until the head is here.
    pub(super) permit: Option<Permit>,
}

/// The routes that have a breaker of their own.
#[derive(Clone, Debug)]
pub(super) struct Routes {
    table: Vec<Route>,
    by_name: BTreeMap<&'static str, RouteKey>,
    max: usize,
}

impl Routes {
    pub(super) const fn new(max: u32) -> Self {
        Self { table: Vec::new(), by_name: BTreeMap::new(), max: max as usize }
    }

    /// The route of this name; a new one, while there is room. `None`: it has no breaker of its own.
    fn find(
        &mut self,
        name: &'static str,
        config: BreakerConfig,
        seed: impl FnOnce() -> u64,
    ) -> Option<RouteKey> {
        if let Some(known) = self.by_name.get(name) {
            return Some(*known);
        }
        if self.table.len() >= self.max {
            return None;
        }
        // The configuration was checked when the dispatcher was built.
        let breaker = Breaker::new(config, seed()).ok()?;
        let key = RouteKey(u32::try_from(self.table.len()).ok()?);
        self.table.push(Route { name, breaker });
        self.by_name.insert(name, key);
        Some(key)
    }

    pub(super) fn get(&self, key: RouteKey) -> Option<&Route> {
        self.table.get(key.0 as usize)
    }

    pub(super) fn get_mut(&mut self, key: RouteKey) -> Option<&mut Route> {
        self.table.get_mut(key.0 as usize)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Route> {
        self.table.iter()
    }
}

impl Dispatcher {
    /// Wants the breaker of a route open or closed, whatever it finds; `None` leaves it to itself. Where
    /// the route is not known yet, and there is room, it is from now on.
    pub fn force_route(&mut self, now: Instant, route: &'static str, forced: Option<Forced>) {
        use crate::machine::Machine as _;
        self.handle_timeout(now);
        if let Some(route) = self.route(route).and_then(|key| self.routes.get_mut(key)) {
            route.breaker.force(forced);
        }
    }

    pub(super) fn route(&mut self, name: &'static str) -> Option<RouteKey> {
        let Self { routes, policy, jitter, .. } = self;
        routes.find(name, policy.breaker, || jitter.draw())
    }

    /// Why the breaker of a route lets no attempt through.
    #[inline]
    pub(super) fn route_refuses(&self, now: Instant, key: Option<RouteKey>) -> Option<Refusal> {
        let route = self.routes.get(key?)?;
        let refused = route.breaker.refuses(now).filter(|_| self.policy.breaker.mode.obeys());
        refused.map(|OpenFor { why, until }| Refusal::Route { why, until })
    }

    /// Asks the breaker of a route. `Ok(None)`: it is not enforced.
    pub(super) fn route_permit(
        &mut self,
        now: Instant,
        key: RouteKey,
    ) -> Result<Option<OnRoute>, Refusal> {
        let mode = self.policy.breaker.mode;
        if !mode.asks() {
            return Ok(None);
        }
        let Some(route) = self.routes.get_mut(key) else { return Ok(None) };
        match route.breaker.acquire(now) {
            Ok(permit) => {
                self.route_changed(key, permit.change());
                Ok(Some(OnRoute { key, epoch: permit.epoch(), permit: Some(permit) }))
            }
            Err(OpenFor { why, until }) if mode.obeys() => Err(Refusal::Route { why, until }),
            Err(_) => Ok(None),
        }
    }

    /// The head of an attempt is there, or will not come. Whether the route [answers](Self::answers) for it.
    pub(super) fn tell_route(
        &mut self,
        now: Instant,
        key: RouteKey,
        permit: Option<Permit>,
        report: Report,
    ) -> bool {
        let Some(route) = self.routes.get_mut(key) else { return false };
        let change = permit.and_then(|permit| route.breaker.settle(now, permit, report));
        self.route_changed(key, change);
        report.outcome != Outcome::Success && self.answers(key)
    }

    /// The body of an answer ended too early. Whether the route [answers](Self::answers) for it.
    pub(super) fn route_failed_late(&mut self, now: Instant, key: RouteKey, epoch: Epoch) -> bool {
        let Some(route) = self.routes.get_mut(key) else { return false };
        let change = route.breaker.late_failure(now, epoch);
        self.route_changed(key, change);
        self.answers(key)
    }

    /// Whether a failure is the route's, and not its endpoint's: whatever fails on a route that is not
    /// closed, or with this failure is not any more. Else a route that fails would take along the endpoint
    /// that does everything else well.
    fn answers(&self, key: RouteKey) -> bool {
        let closed = |route: &Route| {
            matches!(
                route.breaker.state(),
                BreakerState::Closed | BreakerState::Forced(Forced::Closed)
            )
        };
        self.routes.get(key).is_some_and(|route| !closed(route))
    }

    fn route_changed(&mut self, key: RouteKey, change: Option<Change>) {
        if let (Some(change), Some(route)) = (change, self.routes.get(key)) {
            self.log.record(Event::RouteBreaker { route: route.name, change });
        }
    }

    /// The attempt was given up, and says nothing.
    pub(super) fn release_route(&mut self, on: Option<OnRoute>) {
        if let Some(OnRoute { key, permit: Some(permit), .. }) = on
            && let Some(route) = self.routes.get_mut(key)
        {
            route.breaker.release(permit);
        }
    }
}
