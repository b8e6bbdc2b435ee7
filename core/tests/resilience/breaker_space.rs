//! Every state of a small breaker, with every permit that is out, for every order of inputs.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_macros,
    reason = "the size of the space is a result"
)]

use std::collections::{BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use sinew_core::resilience::{
    Breaker, BreakerConfig, BreakerState, Change, Forced, OpenReason, Outcome, Permit, Report,
};
use sinew_core::time::Instant;

use crate::{at, ms};

/// Seconds that are looked at.
const HORIZON: u64 = 5;
/// Permits in all.
const CALLS: u8 = 6;
/// Permits at once, the lost ones included.
const PERMITS: usize = 3;
const PROBES: usize = 2;

#[derive(Clone, PartialEq, Eq, Hash)]
struct World {
    second: u64,
    /// Permits that may still be given.
    calls: u8,
    /// How often somebody may still force it.
    forces: u8,
    breaker: Breaker,
    /// In the order in which they were given, and whether a probe's place is still its own.
    out: Vec<Permit>,
}

fn config() -> BreakerConfig {
    BreakerConfig {
        consecutive: 2,
        window: ms(10_000),
        minimum_calls: 3,
        failure_percent: 50,
        slow_percent: 100,
        open_min: ms(2_000),
        open_max: ms(2_000),
        retry_after_max: ms(3_000),
        probes: PROBES as u8,
        lease: ms(2_000),
        ..BreakerConfig::default()
    }
}

fn good() -> Report {
    Report { outcome: Outcome::Success, latency: ms(1), retry_after: None }
}

impl World {
    fn now(&self) -> Instant {
        at(self.second * 1_000)
    }

    /// Every world that is one input away.
    fn next(&self) -> Vec<Self> {
        let mut next = Vec::new();
        if self.second < HORIZON {
            let mut later = self.clone();
            later.second += 1;
            let mut idle = later.clone();
            let _ = idle.breaker.handle_timeout(idle.now());
            assert!(idle.breaker.deadline().is_none_or(|due| due.at > idle.now()), "a hot loop");
            // The same, whether the timer fires or the next input finds it due.
            next.extend([later, idle]);
        }
        if self.out.len() < PERMITS && self.calls > 0 {
            let mut world = self.clone();
            world.calls -= 1;
            let now = world.now();
            let ready = world.breaker.is_ready(now);
            let permit = world.breaker.acquire(now);
            assert_eq!(permit.is_ok(), ready);
            match permit {
                Ok(permit) => world.out.push(permit),
                Err(refusal) => {
                    let comes_back = refusal.until.is_some_and(|until| until > now);
                    assert!(comes_back || refusal.why == OpenReason::Forced, "{refusal:?}");
                }
            }
            next.push(world);
        }
        let failure = Report { outcome: Outcome::Failure, ..good() };
        let asks = Report { retry_after: Some(ms(9_000)), ..failure };
        let limited = Report { outcome: Outcome::Limited, ..good() };
        let slow = Report { latency: ms(20_000), ..good() };
        for index in 0..self.out.len() {
            for report in [good(), failure, asks, limited, slow] {
                let mut world = self.clone();
                let permit = world.out.remove(index);
                world.settle(permit, report);
                next.push(world);
            }
            let mut released = self.clone();
            let permit = released.out.remove(index);
            released.breaker.release(permit);
            next.push(released);
            let mut lost = self.clone();
            let epoch = lost.out.remove(index).epoch();
            next.push(lost.clone());
            let mut due = lost.breaker.clone();
            let due_change = due.handle_timeout(lost.now());
            let change = lost.breaker.late_failure(lost.now(), epoch);
            if epoch != due.epoch() {
                assert_eq!((&lost.breaker, change), (&due, due_change), "a stale late failure");
            }
            next.push(lost);
        }
        let state = self.breaker.state();
        let forced = matches!(state, BreakerState::Forced(_));
        if self.forces > 0 {
            for force in [Some(Forced::Open), Some(Forced::Closed), None] {
                if force.is_some() != forced {
                    let mut world = self.clone();
                    world.forces -= 1;
                    world.breaker.force(force);
                    next.push(world);
                }
            }
        }
        next
    }

    fn settle(&mut self, permit: Permit, report: Report) {
        let now = self.now();
        // What is due is not the doing of the verdict.
        let mut due = self.breaker.clone();
        let due_change = due.handle_timeout(now);
        let probe = permit.is_probe();
        let stale = permit.epoch() != due.epoch();
        let change = self.breaker.settle(now, permit, report);
        if stale {
            assert_eq!(
                (&self.breaker, change),
                (&due, due_change),
                "a stale verdict did something"
            );
        }
        match change {
            Some(Change::Closed) => assert!(probe && report == good()),
            Some(Change::Opened { until, .. }) => assert!(until > now && report != good()),
            Some(Change::HalfOpened) | None => {}
        }
    }

    fn check(&self) {
        if let BreakerState::HalfOpen { probes } = self.breaker.state() {
            assert!(usize::from(probes) <= PROBES, "{probes} probes");
        }
        self.recover();
    }

    /// It is never wedged: however it got here, and whatever became of the permits, an endpoint that is
    /// well from now on is found well after one open time, one lease and as many probes as it takes.
    fn recover(&self) {
        let mut breaker = self.breaker.clone();
        if matches!(breaker.state(), BreakerState::Forced(_)) {
            breaker.force(None);
        }
        let mut now = self.now();
        let patience = now + ms(3_000) + ms(2_000);
        for _ in 0..8 {
            match breaker.acquire(now) {
                Ok(permit) => {
                    let _ = breaker.settle(now, permit, good());
                    if breaker.state() == BreakerState::Closed {
                        return;
                    }
                }
                Err(refusal) => {
                    now = refusal.until.unwrap();
                    assert!(now <= patience, "too long");
                }
            }
        }
        panic!("wedged: {:?}", self.breaker);
    }
}

#[test]
fn no_state_is_wedged() {
    let start = World {
        second: 0,
        calls: CALLS,
        forces: 1,
        breaker: Breaker::new(config(), 0).unwrap(),
        out: Vec::new(),
    };
    let mut seen = BTreeSet::new();
    let mut queue = VecDeque::from([start]);
    let (mut inputs, mut kinds) = (0_u64, BTreeSet::new());
    while let Some(world) = queue.pop_front() {
        for next in world.next() {
            inputs += 1;
            let mut hasher = DefaultHasher::new();
            next.hash(&mut hasher);
            if seen.insert(hasher.finish()) {
                next.check();
                kinds.insert(match next.breaker.state() {
                    BreakerState::Closed => 0,
                    BreakerState::Open { .. } => 1,
                    BreakerState::HalfOpen { .. } => 2,
                    BreakerState::Forced(_) => 3,
                });
                queue.push_back(next);
            }
        }
    }
    println!("{} states, {inputs} inputs", seen.len());
    assert_eq!(kinds.len(), 4, "every kind of state is reached");
}
