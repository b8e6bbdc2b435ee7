//! How a server leaves: every state of a small one, and longer scripts at random.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_macros,
    reason = "the size of the space is a result"
)]

use std::collections::{BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use proptest::prelude::*;
use sinew_core::Machine;
use sinew_core::server::drain::{
    Activity, BadDrain, ConnectionId, Departure, Drain, DrainConfig, DrainEvent, Ending, Phase,
    Report, TooLate,
};
use sinew_core::time::Instant;

use crate::at;

const ACTIVITIES: [Activity; 4] =
    [Activity::Idle, Activity::Request, Activity::Stream, Activity::Upgraded];
const COMMANDS: [Phase; 3] = [Phase::LameDuck, Phase::Notify, Phase::Force];

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Every phase takes a second, all but `Force` four.
fn small() -> DrainConfig {
    DrainConfig {
        propagation: seconds(1),
        notify: seconds(1),
        late: seconds(1),
        deadline: seconds(4),
        force: seconds(1),
    }
}

fn poll(drain: &mut Drain, now: Instant) -> Option<DrainEvent> {
    let Ok(event) = drain.poll_event(now);
    event
}

/// Seconds that are looked at.
const HORIZON: u64 = 6;
/// Connections in all.
const CONNECTIONS: u8 = 2;

/// A connection as its driver sees it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Seen {
    id: ConnectionId,
    activity: Activity,
    told: bool,
    reset: bool,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct World {
    second: u64,
    drain: Drain,
    connections: Vec<Seen>,
    /// Connections that may still come, changes of activity, and times it may be taken back.
    admissions: u8,
    changes: u8,
    resumes: u8,
    /// When it was told to leave.
    started: Option<u64>,
    /// Endings that were told since.
    endings: u64,
    report: Option<Report>,
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
            next.push(later.clone());
            // The same, whether the timer fires or the next input finds it due.
            later.drain.handle_timeout(later.now());
            next.push(later);
        }
        let mut polled = self.clone();
        if polled.poll() {
            next.push(polled);
        }
        if self.admissions > 0 {
            let mut world = self.clone();
            world.drain.handle_timeout(world.now());
            world.admissions -= 1;
            let late = world.drain.phase() >= Phase::Grace;
            match world.drain.admit() {
                Some(id) => {
                    assert!(!late);
                    let activity = Activity::Request;
                    world.connections.push(Seen { id, activity, told: false, reset: false });
                }
                None => assert!(late),
            }
            next.push(world);
        }
        for index in 0..self.connections.len() {
            for activity in ACTIVITIES {
                if self.changes > 0 && self.connections[index].activity != activity {
                    let mut world = self.clone();
                    world.changes -= 1;
                    if !self.connections[index].reset {
                        world.connections[index].activity = activity;
                    }
                    world.drain.set(world.now(), world.connections[index].id, activity);
                    next.push(world);
                }
            }
            for how in [Departure::Orderly, Departure::Orphaned, Departure::Broken] {
                let mut world = self.clone();
                world.leave(index, how);
                next.push(world);
            }
        }
        for phase in COMMANDS {
            let mut world = self.clone();
            world.drain.handle_timeout(world.now());
            let before = world.drain.phase();
            world.drain.advance(world.now(), phase);
            assert!(world.drain.phase() >= before.max(phase), "never back");
            if world.drain != self.drain {
                world.started = world.started.or(Some(world.second));
                next.push(world);
            }
        }
        if self.resumes > 0 && self.started.is_some() {
            let mut world = self.clone();
            world.resumes -= 1;
            world.drain.handle_timeout(world.now());
            let accepts = world.drain.phase().accepts();
            let taken_back = world.drain.resume(world.now());
            assert_eq!(taken_back, if accepts { Ok(()) } else { Err(TooLate) });
            if accepts {
                assert_eq!(world.drain.phase(), Phase::Serving);
                (world.started, world.endings) = (None, 0);
            }
            next.push(world);
        }
        next
    }

    /// Pulls one event, and checks that it may be asked for now.
    fn poll(&mut self) -> bool {
        let now = self.now();
        let Some(event) = poll(&mut self.drain, now) else {
            assert!(self.drain.deadline().is_none_or(|due| due.at > now), "a hot loop");
            return false;
        };
        assert!(self.report.is_none(), "{event:?} after the end");
        let phase = self.drain.phase();
        let seen =
            |world: &Self, id| world.connections.iter().position(|seen| seen.id == id).unwrap();
        match event {
            DrainEvent::Entered(entered) => assert_eq!(entered, phase),
            DrainEvent::Tell(id) => {
                let index = seen(self, id);
                let seen = &mut self.connections[index];
                assert!(phase.closes() && phase < Phase::Force && !seen.told);
                assert!(matches!(seen.activity, Activity::Stream | Activity::Upgraded));
                seen.told = true;
            }
            DrainEvent::Close(id) => {
                assert_eq!(phase, Phase::Grace);
                assert_eq!(self.connections[seen(self, id)].activity, Activity::Idle);
            }
            DrainEvent::Reset(id) => {
                let index = seen(self, id);
                assert!(
                    phase == Phase::Force && !self.connections[index].reset,
                    "once, at the end"
                );
                self.connections[index].reset = true;
            }
            DrainEvent::Ended(report) => {
                assert_eq!(phase, Phase::Over);
                assert_eq!(report.count(Ending::Stuck), self.connections.len() as u64);
                assert_eq!(report.total(), self.endings + self.connections.len() as u64);
                self.connections.clear();
                self.report = Some(report);
            }
        }
        true
    }

    fn leave(&mut self, index: usize, how: Departure) {
        self.drain.handle_timeout(self.now());
        let phase = self.drain.phase();
        let seen = self.connections[index];
        let ending = self.drain.leave(self.now(), seen.id, how);
        let leaves = !matches!(phase, Phase::Serving | Phase::Over);
        assert_eq!(ending.is_some(), leaves, "{phase:?}");
        if phase != Phase::Over {
            self.connections.remove(index);
        }
        self.endings += u64::from(leaves);
        match ending {
            // Only what was reset was cut, and never who had nothing to lose.
            Some(Ending::CutRequest) => assert!(seen.reset && seen.activity == Activity::Request),
            Some(Ending::CutStream) => assert!(seen.reset && seen.activity == Activity::Stream),
            Some(Ending::CutUpgraded) => assert!(seen.reset && seen.activity == Activity::Upgraded),
            Some(Ending::Told) => assert!(seen.told),
            Some(Ending::Broken) => assert_eq!(how, Departure::Broken),
            Some(Ending::Orphaned) => assert_eq!(how, Departure::Orphaned),
            Some(Ending::Finished) => assert_ne!(seen.activity, Activity::Upgraded),
            Some(Ending::Stuck) => panic!("it is gone"),
            Some(Ending::Idle | Ending::Left) | None => {}
        }
        assert_eq!(self.drain.leave(self.now(), seen.id, how), None, "a stale id");
    }

    fn check(&self) {
        let Some(started) = self.started else {
            assert_eq!(self.drain.phase(), Phase::Serving);
            assert_eq!(self.drain.deadline(), None, "a timer left behind");
            return;
        };
        let mut drain = self.drain.clone();
        drain.handle_timeout(self.now());
        let forced = self.second >= started + 4;
        assert!(!forced || drain.phase() >= Phase::Force, "the deadline passed");
        // It comes to its end, whether its driver obeys or does nothing.
        for obeys in [true, false] {
            self.finish(started, obeys);
        }
    }

    fn finish(&self, started: u64, obeys: bool) {
        let mut drain = self.drain.clone();
        let mut now = self.now();
        drain.handle_timeout(now);
        let ignored = match drain.phase() {
            Phase::Over => self.connections.len(),
            _ if obeys => self.connections.iter().filter(|seen| seen.reset).count(),
            _ => self.connections.len(),
        };
        let mut ended = self.report.is_some();
        while !ended {
            match poll(&mut drain, now) {
                Some(DrainEvent::Ended(report)) => {
                    assert!(report.count(Ending::Stuck) <= ignored as u64);
                    ended = true;
                }
                Some(DrainEvent::Tell(id) | DrainEvent::Close(id) | DrainEvent::Reset(id)) => {
                    if obeys {
                        let _ = drain.leave(now, id, Departure::Orderly);
                    }
                }
                Some(DrainEvent::Entered(_)) => {}
                None => {
                    let due = drain.deadline().unwrap();
                    assert!(due.at > now, "a hot loop");
                    now = due.at;
                }
            }
        }
        assert!(now <= at((started + 5) * 1_000).max(self.now()), "too late");
    }
}

#[test]
fn every_way_of_a_small_server_comes_to_its_end() {
    let start = World {
        second: 0,
        drain: Drain::new(small(), 1).unwrap(),
        connections: Vec::new(),
        admissions: CONNECTIONS,
        changes: 2,
        resumes: 1,
        started: None,
        endings: 0,
        report: None,
    };
    let mut seen = BTreeSet::new();
    let mut queue = VecDeque::from([start]);
    let (mut inputs, mut phases) = (0_u64, BTreeSet::new());
    while let Some(world) = queue.pop_front() {
        for next in world.next() {
            inputs += 1;
            let mut hasher = DefaultHasher::new();
            next.hash(&mut hasher);
            if seen.insert(hasher.finish()) {
                next.check();
                phases.insert(next.drain.phase());
                queue.push_back(next);
            }
        }
    }
    println!("{} states, {inputs} inputs", seen.len());
    assert_eq!(phases.len(), 7, "every phase is reached");
}

/// Everything that is told until `end`, and when; connections do as they are told.
fn told(drain: &mut Drain, mut now: Instant, end: Instant) -> Vec<(Duration, DrainEvent)> {
    let mut told = Vec::new();
    loop {
        while let Some(event) = poll(drain, now) {
            told.push((now - Instant::ZERO, event));
            if let DrainEvent::Tell(id) | DrainEvent::Close(id) | DrainEvent::Reset(id) = event {
                let _ = drain.leave(now, id, Departure::Orderly);
            }
        }
        match drain.deadline() {
            Some(due) if due.at <= end => now = due.at,
            _ => return told,
        }
    }
}

fn entered(told: &[(Duration, DrainEvent)]) -> Vec<(u64, Phase)> {
    let phase = |(at, event): &(Duration, DrainEvent)| match event {
        DrainEvent::Entered(phase) => Some((at.as_secs(), *phase)),
        _ => None,
    };
    told.iter().filter_map(phase).collect()
}

#[test]
fn a_pod_is_gone_before_it_is_killed() {
    let mut drain = Drain::new(DrainConfig::kubernetes(), 3).unwrap();
    let idle = drain.admit().unwrap();
    drain.set(at(0), idle, Activity::Idle);
    let handler = drain.admit().unwrap();
    drain.advance(at(0), Phase::LameDuck);
    let told = told(&mut drain, at(0), at(60_000));
    assert_eq!(
        entered(&told),
        [
            (0, Phase::LameDuck),
            (5, Phase::Notify),
            (10, Phase::StopAccept),
            (11, Phase::Grace),
            (25, Phase::Force),
            (25, Phase::Over)
        ]
    );
    assert!(told.contains(&(seconds(11), DrainEvent::Close(idle))));
    assert!(told.contains(&(seconds(25), DrainEvent::Reset(handler))));
    let report = drain.report();
    assert_eq!((report.count(Ending::Idle), report.count(Ending::CutRequest)), (1, 1));
    assert_eq!((report.total(), report.lost()), (2, 1));
    assert_eq!(report.to_string(), "2 connections in 25s: 1 idle, 1 cut_request");
}

#[test]
fn who_is_empty_is_gone_at_once_and_lets_in_what_waited() {
    let mut drain = Drain::new(DrainConfig::default(), 3).unwrap();
    drain.advance(at(0), Phase::LameDuck);
    assert_eq!(poll(&mut drain, at(0)), Some(DrainEvent::Entered(Phase::Notify)));
    assert_eq!(poll(&mut drain, at(0)), Some(DrainEvent::Entered(Phase::StopAccept)));
    let waited = drain.admit().unwrap();
    assert_eq!(poll(&mut drain, at(0)), None);
    drain.set(at(1), waited, Activity::Request);
    drain.set(at(1), waited, Activity::Idle);
    assert_eq!(drain.leave(at(2), waited, Departure::Orderly), Some(Ending::Finished));
    assert_eq!(poll(&mut drain, at(2)), Some(DrainEvent::Entered(Phase::Over)));
    assert!(matches!(poll(&mut drain, at(2)), Some(DrainEvent::Ended(_))));
    assert_eq!((poll(&mut drain, at(9_000)), drain.deadline()), (None, None));
    assert_eq!(drain.admit(), None);
    // While others still send here, nobody leaves early.
    let mut drain = Drain::new(DrainConfig::kubernetes(), 3).unwrap();
    drain.advance(at(0), Phase::LameDuck);
    assert_eq!(poll(&mut drain, at(0)), Some(DrainEvent::Entered(Phase::LameDuck)));
    assert_eq!(poll(&mut drain, at(4_999)), None);
}

#[test]
fn streams_are_told_spread_over_the_phase() {
    let mut drain = Drain::new(DrainConfig::kubernetes(), 3).unwrap();
    for n in 0..1_000 {
        let id = drain.admit().unwrap();
        drain.set(at(0), id, if n % 2 == 0 { Activity::Stream } else { Activity::Upgraded });
    }
    drain.advance(at(0), Phase::Notify);
    let told = told(&mut drain, at(0), at(60_000));
    let mut by_second = [0; 5];
    for (at, _) in told.iter().filter(|(_, event)| matches!(event, DrainEvent::Tell(_))) {
        by_second[(at.as_secs() as usize).min(4)] += 1;
    }
    assert_eq!(by_second.iter().sum::<u32>(), 1_000);
    assert!(by_second.iter().all(|n| (150..=250).contains(n)), "{by_second:?}");
    assert_eq!(drain.report().count(Ending::Told), 1_000);
}

#[test]
fn an_idle_connection_may_bring_one_late_request() {
    let mut drain = Drain::new(small(), 3).unwrap();
    let id = drain.admit().unwrap();
    drain.set(at(0), id, Activity::Idle);
    drain.advance(at(0), Phase::Notify);
    // The listeners close at 1 s; a request comes just before its time is over.
    drain.set(at(1_999), id, Activity::Request);
    assert_eq!(poll(&mut drain, at(2_500)), Some(DrainEvent::Entered(Phase::Grace)));
    assert_eq!(poll(&mut drain, at(2_500)), None, "it is busy");
    drain.set(at(2_600), id, Activity::Idle);
    assert_eq!(poll(&mut drain, at(3_599)), None);
    assert_eq!(poll(&mut drain, at(3_600)), Some(DrainEvent::Close(id)));
    assert_eq!(drain.leave(at(3_600), id, Departure::Broken), Some(Ending::Finished));
}

#[test]
fn who_was_idle_all_along_finished_nothing() {
    let mut drain = Drain::new(small(), 3).unwrap();
    let [silent, busy] = [(); 2].map(|()| drain.admit().unwrap());
    drain.advance(at(0), Phase::Notify);
    // What they do, they say only now that somebody asks.
    drain.set(at(0), silent, Activity::Idle);
    drain.set(at(0), busy, Activity::Request);
    drain.set(at(500), busy, Activity::Idle);
    assert_eq!(drain.leave(at(600), silent, Departure::Orderly), Some(Ending::Left));
    assert_eq!(drain.leave(at(600), busy, Departure::Orderly), Some(Ending::Finished));
}

#[test]
fn in_a_hurry_nobody_is_told_and_nothing_takes_longer() {
    let mut drain = Drain::new(DrainConfig::kubernetes(), 3).unwrap();
    let [idle, busy] = [(); 2].map(|()| drain.admit().unwrap());
    drain.hurry(at(0), seconds(10));
    assert_eq!(poll(&mut drain, at(0)), Some(DrainEvent::Entered(Phase::Grace)));
    assert_eq!((drain.admit(), drain.resume(at(0))), (None, Err(TooLate)));
    drain.set(at(1), idle, Activity::Idle);
    assert_eq!(poll(&mut drain, at(1)), Some(DrainEvent::Close(idle)));
    assert_eq!(drain.leave(at(1), idle, Departure::Orderly), Some(Ending::Idle));
    // A longer time is none; a shorter one is.
    drain.hurry(at(2_000), seconds(60));
    assert_eq!(drain.deadline().map(|deadline| deadline.at), Some(at(10_000)));
    drain.hurry(at(2_000), seconds(3));
    assert_eq!(poll(&mut drain, at(4_999)), None);
    assert_eq!(poll(&mut drain, at(5_000)), Some(DrainEvent::Entered(Phase::Force)));
    assert_eq!(poll(&mut drain, at(5_000)), Some(DrainEvent::Reset(busy)));
    assert_eq!(drain.leave(at(5_000), busy, Departure::Broken), Some(Ending::CutRequest));
    let mut drain = Drain::new(DrainConfig::kubernetes(), 3).unwrap();
    drain.hurry(at(0), Duration::ZERO);
    assert_eq!(poll(&mut drain, at(0)), Some(DrainEvent::Entered(Phase::Force)));
    assert_eq!(poll(&mut drain, at(0)), Some(DrainEvent::Entered(Phase::Over)));
}

#[test]
fn senseless_times_are_refused() {
    assert_eq!(DrainConfig::kubernetes().check(), Ok(()));
    let config = DrainConfig { notify: seconds(25), ..DrainConfig::default() };
    assert_eq!(Drain::new(config, 0).err(), Some(BadDrain::Deadline));
    let config = DrainConfig { force: Duration::ZERO, ..DrainConfig::default() };
    assert_eq!(Drain::new(config, 0).err(), Some(BadDrain::ZeroForce));
}

proptest! {
    /// Whether timers fire when they are due, or are found due by the next input.
    #[test]
    fn late_timers_change_nothing(script in prop::collection::vec((0..7u8, 0..4usize, 0..2_000u64), 0..40)) {
        let [mut punctual, mut late] = [(), ()].map(|()| Drain::new(small(), 9).unwrap());
        let (mut millis, mut ids) = (0, Vec::new());
        for (what, which, wait) in script {
            millis += wait;
            while let Some(due) = punctual.deadline().filter(|due| due.at < at(millis)) {
                punctual.handle_timeout(due.at);
                if punctual.deadline() == Some(due) {
                    break;
                }
            }
            let results = [&mut punctual, &mut late].map(|drain| {
                drain.handle_timeout(at(millis));
                match (what, ids.get(which).copied()) {
                    (0 | 1, _) => (drain.admit(), None),
                    (2 | 3, Some(id)) => {
                        drain.set(at(millis), id, ACTIVITIES[wait as usize % 4]);
                        (None, None)
                    }
                    (4, Some(id)) => (None, drain.leave(at(millis), id, Departure::Orderly)),
                    (5, _) => {
                        drain.advance(at(millis), COMMANDS[which % 3]);
                        (None, None)
                    }
                    _ => {
                        let _ = drain.resume(at(millis));
                        (None, None)
                    }
                }
            });
            prop_assert_eq!(results[0], results[1]);
            ids.extend(results[0].0);
            prop_assert_eq!(&punctual, &late);
            let events = [&mut punctual, &mut late].map(|drain| {
                std::iter::from_fn(|| poll(drain, at(millis))).collect::<Vec<_>>()
            });
            prop_assert_eq!(&events[0], &events[1]);
        }
    }
}
