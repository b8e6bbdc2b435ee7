//! Which endpoints are well: those that are worse than the others are ejected, those that a probe finds
//! down are left alone, and where too few are left all of them are asked.

use super::action::Action;
use super::alarms::Whose;
use super::call::Instance;
use super::policy::{BadPolicy, Policy};
use super::{Dispatcher, MESH};
use crate::machine::Machine as _;
use crate::mesh::{OutlierEvent, Outliers, PanicThreshold, ProbeEvent, ProbeRun, Probes};
use crate::observe::Event;
use crate::resilience::Outcome;
use crate::table::Key;
use crate::time::{Deadline, Instant};

/// What is known of the health of the endpoints.
#[derive(Clone, Debug)]
pub(super) struct Health {
    /// `None`: nobody asks.
    outliers: Option<Outliers>,
    probes: Option<Probes>,
    /// There are probes to be made, from the first call on.
    pub(super) asleep: bool,
    panic: PanicThreshold,
    /// Endpoints of the destination, and those of them that are well.
    all: u32,
    well: u32,
}

impl Health {
    pub(super) fn new(policy: &Policy, seed: u64) -> Result<Self, BadPolicy> {
        let outliers = policy.outlier.mode.asks().then_some(policy.outlier);
        let outliers = outliers.map(|config| Outliers::new(Instant::ZERO, config));
        let probes = policy.health.mode.asks().then_some(policy.health);
        let probes = probes.map(|config| Probes::new(config, seed));
        Ok(Self {
            outliers: outliers.transpose().map_err(BadPolicy::Outlier)?,
            probes: probes.transpose().map_err(BadPolicy::Health)?,
            asleep: policy.health.mode.asks(),
            panic: PanicThreshold::new(policy.balance.panic_percent),
            all: 0,
            well: 0,
        })
    }

    pub(super) const fn is_panicking(&self) -> bool {
        self.panic.is_panicking()
    }

    #[cfg(test)]
    pub(super) fn audit(&self, all: usize, well: usize) {
        assert_eq!((all, well), (self.all as usize, self.well as usize));
        assert!(well <= all);
    }

    /// What is due first, and why.
    pub(super) fn deadline(&self) -> Option<Deadline> {
        let outliers = self.outliers.as_ref().and_then(Outliers::deadline);
        let probes = self.probes.as_ref().and_then(Probes::deadline);
        outliers.into_iter().chain(probes).min_by_key(|deadline| deadline.at)
    }
}

impl Dispatcher {
    /// What a [probe](Action::Probe) found. Does nothing for one that is stale, or took too long.
    pub fn probed(&mut self, now: Instant, run: ProbeRun, is_well: bool) {
        self.handle_timeout(now);
        if let Some(probes) = &mut self.health.probes {
            probes.handle_result(now, run, is_well);
            self.health_due(now);
            self.pump(now);
        }
    }

    /// The first call is made.
    #[inline(never)]
    pub(super) fn start_probes(&mut self, now: Instant) {
        self.health.asleep = false;
        let current = self.instances.iter().filter(|(_, instance)| !instance.retired);
        let places: Vec<u32> = current.map(|(key, _)| key.index()).collect();
        if let Some(probes) = &mut self.health.probes {
            for place in places {
                probes.insert(now, place);
            }
            self.health_due(now);
        }
    }

    pub(super) fn stop_probes(&mut self) {
        self.health.asleep = false;
        self.health.probes = None;
    }

    /// An endpoint is here. Call [`health_due`](Self::health_due) afterwards.
    pub(super) fn watch(&mut self, now: Instant, key: Key) {
        let Self { health, .. } = self;
        if let Some(outliers) = &mut health.outliers {
            outliers.insert(key.index());
        }
        if let Some(probes) = health.probes.as_mut().filter(|_| !health.asleep) {
            probes.insert(now, key.index());
        }
        health.all += 1;
        health.well += 1;
    }

    /// An endpoint is no part of the destination any more.
    pub(super) fn unwatch(&mut self, key: Key) {
        let Self { health, instances, .. } = self;
        if let Some(outliers) = &mut health.outliers {
            outliers.remove(key.index());
        }
        if let Some(probes) = &mut health.probes {
            probes.remove(key.index());
        }
        health.all -= 1;
        health.well -= u32::from(instances.get(key).is_some_and(Instance::is_well));
    }

    /// What an attempt said of its endpoint.
    #[inline]
    pub(super) fn judge(&mut self, now: Instant, key: Key, outcome: Outcome) {
        if self.health.outliers.is_some() {
            self.judge_outlier(now, key, outcome);
        }
    }

    #[inline(never)]
    fn judge_outlier(&mut self, now: Instant, key: Key, outcome: Outcome) {
        let Some(outliers) = &mut self.health.outliers else { return };
        if self.instances.get(key).is_none_or(|instance| instance.retired) {
            return;
        }
        match outcome {
            Outcome::Success | Outcome::Limited => outliers.handle_success(now, key.index()),
            Outcome::Failure => outliers.handle_failure(now, key.index()),
        }
        if outliers.has_events() {
            self.health_due(now);
        } else if let Some(deadline) = outliers.deadline() {
            self.alarms.arm(Whose::Endpoints, MESH, deadline.at);
        }
    }

    /// Does what is due, and tells what was found.
    #[inline(never)]
    pub(super) fn health_due(&mut self, now: Instant) {
        while let Some(event) = self.health.outliers.as_mut().and_then(|outliers| {
            let Ok(event) = outliers.poll_event(now);
            event
        }) {
            self.outlier(now, event);
        }
        while let Some(event) = self.health.probes.as_mut().and_then(|probes| {
            if self.health.asleep {
                return None;
            }
            let Ok(event) = probes.poll_event(now);
            event
        }) {
            self.probe_event(now, event);
        }
        self.note_panic(now);
        if let Some(deadline) = self.health.deadline() {
            self.alarms.arm(Whose::Endpoints, MESH, deadline.at);
        }
    }

    fn outlier(&mut self, now: Instant, event: OutlierEvent) {
        let mode = self.policy.outlier.mode;
        let (place, ejected) = match event {
            OutlierEvent::Ejected { place, .. } => (place, Some(mode.obeys())),
            OutlierEvent::Spared { place, .. } => (place, None),
            OutlierEvent::Returned { place } => (place, Some(false)),
        };
        let Some(key) = self.instances.key_at(place) else { return };
        let Some(instance) = self.instances.get_mut(key) else { return };
        let (was_well, endpoint) = (instance.is_well(), instance.member.endpoint);
        if let Some(ejected) = ejected {
            instance.ejected = ejected;
        }
        self.log.record(match event {
            OutlierEvent::Ejected { why, until, .. } => {
                Event::Ejected { endpoint, why, until, mode }
            }
            OutlierEvent::Spared { why, .. } => Event::EjectionSpared { endpoint, why, mode },
            OutlierEvent::Returned { .. } => Event::EjectionEnded { endpoint, mode },
        });
        self.well_changed(now, key, was_well);
    }

    fn probe_event(&mut self, now: Instant, event: ProbeEvent) {
        let mode = self.policy.health.mode;
        let (place, up) = match event {
            ProbeEvent::Probe(run) => {
                let key = self.instances.key_at(run.place());
                if let Some(instance) = key.and_then(|key| self.instances.get(key)) {
                    let (endpoint, by) =
                        (instance.member.endpoint, now + self.policy.health.timeout);
                    self.actions.push(Action::Probe { run, endpoint, by });
                }
                return;
            }
            // Whoever makes it has a time for it.
            ProbeEvent::Cancel(_) => return,
            ProbeEvent::Up(place) => (place, true),
            ProbeEvent::Down(place) => (place, false),
        };
        let Some(key) = self.instances.key_at(place) else { return };
        let Some(instance) = self.instances.get_mut(key) else { return };
        let (was_well, endpoint) = (instance.is_well(), instance.member.endpoint);
        instance.down = !up && mode.obeys();
        self.log.record(Event::Probed { endpoint, up, mode });
        self.well_changed(now, key, was_well);
    }

    /// Puts an endpoint where it belongs now. One that is well again starts slowly.
    fn well_changed(&mut self, now: Instant, key: Key, was_well: bool) {
        let Some(instance) = self.instances.get_mut(key) else { return };
        match (was_well, instance.is_well()) {
            (true, false) => self.health.well -= 1,
            (false, true) => {
                self.health.well += 1;
                instance.grows(now, self.policy.balance.slow_start);
            }
            (true, true) | (false, false) => return,
        }
        self.list_anew(now, key);
    }

    /// Whether all endpoints are asked, whatever is known of their health.
    fn note_panic(&mut self, now: Instant) {
        let (well, all) = (self.health.well, self.health.all);
        if !self.health.panic.note(well, all) {
            return;
        }
        let panics = self.health.is_panicking();
        self.log.record(Event::Panic { panics, well, all });
        let unwell: Vec<Key> = self
            .instances
            .iter()
            .filter(|(_, instance)| !instance.retired && !instance.is_well())
            .map(|(key, _)| key)
            .collect();
        for key in unwell {
            self.list_anew(now, key);
        }
    }
}
