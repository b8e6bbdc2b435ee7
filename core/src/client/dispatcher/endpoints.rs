//! The endpoints of the destination, as they come, change and go.

use std::collections::{BTreeMap, BTreeSet};

use super::Dispatcher;
use super::action::Retire;
use super::call::Instance;
use super::slots::Share;
use crate::machine::Machine as _;
use crate::mesh::{Algorithm, BalanceConfig, Endpoint, Member, PeakEwma};
use crate::observe::Event;
use crate::resilience::{Breaker, Forced};
use crate::table::Key;
use crate::time::Instant;

/// Endpoints of which it is remembered what somebody wants their breakers to be.
const FORCED: usize = 1_024;

impl Dispatcher {
    /// The endpoints of the destination, all of them; of those that are named twice the first counts.
    /// Connections to those that are not among them any more finish what they carry. A `version` that is
    /// not above the last one changes nothing.
    pub fn update_endpoints<E: Copy + Into<Member>>(
        &mut self,
        now: Instant,
        version: u64,
        endpoints: &[E],
    ) {
        self.handle_timeout(now);
        if version <= self.version {
            return;
        }
        self.version = version;
        let members = endpoints.iter().map(|member| -> Member { (*member).into() });
        let listed: BTreeSet<Endpoint> = members.clone().map(|member| member.endpoint).collect();
        let current = self.instances.iter().filter(|(_, instance)| !instance.retired);
        let known: BTreeMap<Endpoint, Key> =
            current.map(|(key, instance)| (instance.member.endpoint, key)).collect();
        let (mut added, mut removed, mut changed) = (0, 0, 0);
        for (endpoint, key) in &known {
            if !listed.contains(endpoint) {
                self.retire_endpoint(now, *key);
                removed += 1;
            }
        }
        let mut seen = BTreeSet::new();
        for member in members.filter(|member| seen.insert(member.endpoint)) {
            match known.get(&member.endpoint) {
                Some(key) => changed += u32::from(self.change_endpoint(now, *key, member)),
                None => {
                    self.add_endpoint(now, member);
                    added += 1;
                }
            }
        }
        if added + removed + changed > 0 {
            self.balancer.draw_ring(&self.instances);
            let all = u32::try_from(listed.len()).unwrap_or(u32::MAX);
            self.log.record(Event::EndpointsUpdated { added, removed, changed, all });
        }
        self.health_due(now);
        self.pump(now);
    }

    /// Wants the breaker of an endpoint open or closed, whatever it finds; `None` leaves it to itself.
    /// One that is not listed, or leaves the list and comes back, is what was said of it last; the last
    /// 1,024 endpoints of which something was said are remembered.
    pub fn force_breaker(&mut self, now: Instant, endpoint: Endpoint, forced: Option<Forced>) {
        self.handle_timeout(now);
        let meant = |instance: &Instance| !instance.retired && instance.member.endpoint == endpoint;
        let found = self.instances.iter().find(|(_, instance)| meant(instance));
        let found = found.map(|(key, _)| key);
        self.forced.retain(|(known, _)| *known != endpoint);
        if let Some(forced) = forced {
            self.forced.push_back((endpoint, forced));
        }
        if self.forced.len() > FORCED {
            self.forced.pop_front();
        }
        let Some(key) = found else { return };
        if let Some(instance) = self.instances.get_mut(key) {
            instance.breaker.force(forced);
        }
        self.refresh(now, key);
        if forced == Some(Forced::Open) && self.policy.breaker.mode.obeys() {
            self.close_idle(now, key, Retire::BreakerOpened);
        }
        self.pump(now);
    }

    fn add_endpoint(&mut self, now: Instant, member: Member) {
        let seed = self.jitter.draw();
        // The configuration was checked when the dispatcher was built.
        let Ok(breaker) = Breaker::new(self.policy.breaker, seed) else { return };
        let costs = match self.policy.balance.algorithm {
            Algorithm::PeakEwma(config) => config,
            _ => BalanceConfig::default(),
        };
        let Ok(latency) = PeakEwma::with_config(now, costs) else { return };
        let near = self.balancer.is_near(member);
        let mut instance = Instance {
            member,
            weight: self.balancer.weight(member.weight),
            near,
            born: now,
            grown_at: now,
            share: Share::EMPTY,
            in_flight: 0,
            breaker,
            latency,
            ready_at: None,
            warm_after: None,
            ejected: false,
            down: false,
            retired: false,
        };
        instance.grows(now, self.policy.balance.slow_start);
        let wanted = self.forced.iter().find(|(known, _)| *known == member.endpoint);
        if let Some((_, forced)) = wanted {
            instance.breaker.force(Some(*forced));
        }
        let key = self.instances.insert(instance);
        self.balancer.nears += usize::from(near);
        self.watch(now, key);
        self.refresh(now, key);
    }

    /// Something else is said of an endpoint that is here. Whether it is.
    fn change_endpoint(&mut self, now: Instant, key: Key, member: Member) -> bool {
        let Self { instances, balancer, .. } = self;
        if instances.get(key).is_none_or(|instance| instance.member == member) {
            return false;
        }
        balancer.unlist(key, instances);
        if let Some(instance) = instances.get_mut(key) {
            let near = balancer.is_near(member);
            balancer.nears -= usize::from(instance.near);
            balancer.nears += usize::from(near);
            instance.weight = balancer.weight(member.weight);
            (instance.member, instance.near) = (member, near);
        }
        self.list_anew(now, key);
        true
    }

    fn retire_endpoint(&mut self, now: Instant, key: Key) {
        self.unwatch(key);
        if let Some(instance) = self.instances.get_mut(key) {
            instance.retired = true;
            self.balancer.nears -= usize::from(instance.near);
        }
        self.refresh(now, key);
        let theirs: Vec<Key> = self
            .slots
            .iter()
            .filter(|(_, slot)| slot.endpoint == key)
            .map(|(connection, _)| connection)
            .collect();
        for connection in theirs {
            self.retire_one(now, connection, Retire::EndpointRetired);
        }
        self.forget_endpoint(key);
    }

    /// An endpoint that is no longer part of the destination goes with its last connection.
    pub(super) fn forget_endpoint(&mut self, key: Key) {
        let over = |instance: &Instance| instance.retired && instance.share.connections == 0;
        if self.instances.get(key).is_some_and(over) {
            self.instances.remove(key);
        }
    }
}
