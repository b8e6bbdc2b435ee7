//! A server that is asked for more than it can do, in virtual time.

#![expect(clippy::print_stdout, clippy::disallowed_macros, reason = "the figures are a result")]

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use sinew_core::Machine;
use sinew_core::jitter::Jitter;
use sinew_core::limit::{
    Admission, AdmissionConfig, AdmissionEvent, BadAdmission, ConcurrencyConfig, Entry, Load,
    Permit, Shed,
};
use sinew_core::policy::Priority;
use sinew_core::time::Instant;

use crate::at;

fn config(places: u32) -> AdmissionConfig {
    AdmissionConfig {
        concurrency: ConcurrencyConfig {
            initial: places,
            max: places,
            ..ConcurrencyConfig::default()
        },
        ..AdmissionConfig::default()
    }
}

/// Requests of one priority.
#[derive(Clone, Debug, Default)]
struct Tally {
    offered: u64,
    served: u64,
    full: u64,
    late: u64,
    /// From arrival to answer.
    latencies: Vec<Duration>,
}

impl Tally {
    fn shed_percent(&self) -> u64 {
        (self.full + self.late) * 100 / self.offered.max(1)
    }

    fn p99(&self) -> Duration {
        let mut sorted = self.latencies.clone();
        sorted.sort();
        sorted[sorted.len() * 99 / 100]
    }
}

/// Requests that take 5 to 15 ms come at these rates a second, the least important first.
fn run(config: AdmissionConfig, rates: [u64; 5], seconds: u64) -> [Tally; 5] {
    let mut admission = Admission::new(config).unwrap();
    let mut tallies: [Tally; 5] = Default::default();
    let mut jitter = Jitter::new(11);
    let nanos = |n| Duration::from_nanos(n);
    let end = Instant::ZERO + Duration::from_secs(seconds);
    // What happens when: a request comes, or an answer is complete.
    let mut arrivals: BTreeMap<(Instant, u64), Priority> = BTreeMap::new();
    let mut answers: BTreeMap<(Instant, u64), (Priority, Instant, Instant, Permit)> =
        BTreeMap::new();
    let mut number = 0;
    for (priority, rate) in Priority::ALL.into_iter().zip(rates).filter(|(_, rate)| *rate > 0) {
        number += 1;
        arrivals
            .insert((Instant::ZERO + nanos(jitter.below(1_000_000_000 / rate)), number), priority);
    }
    loop {
        let next = |first: Option<Instant>| first.unwrap_or(Instant::MAX);
        let now = next(arrivals.keys().next().map(|key| key.0))
            .min(next(answers.keys().next().map(|key| key.0)))
            .min(next(admission.deadline().map(|due| due.at)));
        if now >= end {
            return tallies;
        }
        let mut begun: Vec<(Priority, Instant, Permit)> = Vec::new();
        if answers.keys().next().is_some_and(|key| key.0 == now) {
            let (_, (priority, since, began, permit)) = answers.pop_first().unwrap();
            admission.finish(now, permit, Load::Borne(now - began));
            let tally = &mut tallies[priority as usize];
            tally.served += 1;
            tally.latencies.push(now - since);
        } else if arrivals.keys().next().is_some_and(|key| key.0 == now) {
            let (_, priority) = arrivals.pop_first().unwrap();
            number += 1;
            let gap = jitter.below(2_000_000_000 / rates[priority as usize]);
            arrivals.insert((now + nanos(gap), number), priority);
            tallies[priority as usize].offered += 1;
            match admission.arrive(now, priority, (priority, now)) {
                Entry::Admitted((priority, since), permit) => begun.push((priority, since, permit)),
                Entry::Waiting { evicted, .. } => {
                    if let Some((victim, _)) = evicted {
                        tallies[victim as usize].full += 1;
                    }
                }
                Entry::Shed((priority, _), _) => tallies[priority as usize].full += 1,
            }
        }
        while let Ok(Some(event)) = admission.poll_event(now) {
            match event {
                AdmissionEvent::Admitted((priority, since), permit) => {
                    begun.push((priority, since, permit));
                }
                AdmissionEvent::Shed((priority, _), why) => {
                    assert_eq!(why, Shed::Late);
                    tallies[priority as usize].late += 1;
                }
            }
        }
        for (priority, since, permit) in begun {
            number += 1;
            let work = jitter.between(Duration::from_millis(5), Duration::from_millis(15));
            answers.insert((now + work, number), (priority, since, now, permit));
        }
    }
}

/// 16 places of 10 ms bear 1,600 requests a second; 8,000 come.
#[test]
fn five_times_too_much() {
    const CAPACITY: u64 = 1_600;
    let rates = [2_800, 2_000, 2_000, 800, 400];
    assert_eq!(rates.iter().sum::<u64>(), 5 * CAPACITY);
    let alone = run(config(16), [0, 0, 0, 0, 400], 20);
    let tallies = run(config(16), rates, 20);
    let [bulk, low, normal, high, critical] = &tallies;
    let served: u64 = tallies.iter().map(|tally| tally.served).sum();
    assert!(served * 100 >= CAPACITY * 20 * 90, "goodput: {served}");
    for (priority, tally) in Priority::ALL.into_iter().zip(&tallies) {
        let Tally { offered, served, full, late, .. } = tally;
        let p99 = tally.p99();
        println!(
            "{}: {offered} offered, {served} served, {full} full, {late} late, p99 {p99:?}",
            priority.name()
        );
    }
    println!("{served} served in all, of {}; alone p99 {:?}", CAPACITY * 20, alone[4].p99());
    // Within its share, and nearly as if nobody else were there.
    assert!(
        critical.served * 1_000 >= critical.offered * 990,
        "{} of {}",
        critical.served,
        critical.offered
    );
    assert!(critical.p99() <= alone[4].p99() * 2, "{:?}", critical.p99());
    // The least important goes first.
    let shed = [bulk, low, normal, high, critical].map(Tally::shed_percent);
    assert!(shed.is_sorted_by(|a, b| a >= b) && shed[0] >= 90, "{shed:?}");
    // And nobody has less than they are sure of.
    for (tally, share) in tallies.iter().zip(config(16).shares) {
        let sure = (served * u64::from(share) / 100).min(tally.offered);
        assert!(tally.served * 100 >= sure * 95, "{} of {sure} at {share} %", tally.served);
    }
    // Who is served has not waited for long, whatever it is.
    let latest =
        tallies.iter().map(|tally| tally.latencies.iter().max().copied().unwrap_or_default());
    assert!(latest.max() <= Some(Duration::from_millis(150)));
}

#[test]
fn a_burst_is_no_overload() {
    let mut admission = Admission::new(config(4)).unwrap();
    let mut permits = Vec::new();
    for n in 0..40 {
        match admission.arrive(at(0), Priority::Normal, n) {
            Entry::Admitted(_, permit) => permits.push(permit),
            Entry::Waiting { evicted, .. } => assert_eq!(evicted, None),
            Entry::Shed(..) => panic!("there is room"),
        }
    }
    // Ten requests of 9 ms one after the other are through before the interval is over.
    for round in 1..=10 {
        for permit in permits.drain(..) {
            admission.finish(at(round * 9), permit, Load::Borne(Duration::from_millis(9)));
        }
        while let Ok(Some(event)) = admission.poll_event(at(round * 9)) {
            let AdmissionEvent::Admitted(_, permit) = event else { panic!("shed at {round}") };
            permits.push(permit);
        }
    }
    assert!(permits.is_empty() && admission.waiting(Priority::Normal) == 0);
}

/// One place, and its line: who is served leaves for the next one.
struct OneLine {
    admission: Admission<u64>,
    now: Instant,
    served: Option<Permit>,
    came: u64,
}

impl OneLine {
    /// One is served, and two wait.
    fn new() -> Self {
        let admission = Admission::new(config(1)).unwrap();
        let mut line = Self { admission, now: Instant::ZERO, served: None, came: 0 };
        for _ in 0..3 {
            line.arrive();
        }
        line
    }

    fn arrive(&mut self) -> u64 {
        self.came += 1;
        match self.admission.arrive(self.now, Priority::Normal, self.came) {
            Entry::Admitted(_, permit) => self.served = Some(permit),
            Entry::Waiting { .. } => {}
            Entry::Shed(..) => panic!("there is room"),
        }
        self.came
    }

    /// Who is served next, and those that were turned away before that.
    fn finish(&mut self) -> (u64, Vec<u64>) {
        self.admission.finish(self.now, self.served.take().unwrap(), Load::Borne(Duration::ZERO));
        let mut shed = Vec::new();
        loop {
            match self.admission.poll_event(self.now) {
                Ok(Some(AdmissionEvent::Shed(who, _))) => shed.push(who),
                Ok(Some(AdmissionEvent::Admitted(who, permit))) => {
                    self.served = Some(permit);
                    return (who, shed);
                }
                Ok(None) => panic!("somebody waits"),
            }
        }
    }

    fn pass(&mut self, millis: u64) {
        self.now = self.now + Duration::from_millis(millis);
    }

    /// So many come, each when one is served, so that two wait at any time, each for three turns.
    fn steady(&mut self, requests: u32, millis: u64) {
        for _ in 0..requests {
            self.arrive();
            self.pass(millis);
            let (who, shed) = self.finish();
            assert!(shed.is_empty() && who + 2 == self.came, "{who} of {}, {shed:?}", self.came);
        }
    }
}

/// <https://www.rfc-editor.org/rfc/rfc8289#section-3.1>: a queue that drains is a good queue.
#[test]
fn a_line_that_serves_in_time_is_no_standing_queue() {
    let mut line = OneLine::new();
    line.steady(300, 1);
    // All wait for longer than the target, for less than an interval.
    line.pass(90);
    assert_eq!(
        line.finish(),
        (line.came - 1, vec![]),
        "the oldest is served, and nobody turned away"
    );
}

#[test]
fn a_line_that_serves_late_for_an_interval_is_a_standing_queue() {
    let mut line = OneLine::new();
    line.steady(13, 8);
    let old = [line.came - 1, line.came];
    line.pass(6);
    let young = [line.arrive(), line.arrive()];
    assert_eq!(line.finish(), (young[1], old.to_vec()), "the youngest is served first");
    line.pass(4);
    assert_eq!(line.finish(), (young[0], vec![]), "in time");
    // Nobody was late for an interval.
    line.pass(100);
    let after = [line.arrive(), line.arrive(), line.arrive()];
    assert_eq!(line.finish(), (after[0], vec![]), "the oldest is served first");
}

/// What is left of idle shares goes to whoever matters most.
#[test]
fn nothing_is_held_back() {
    let [bulk, _, normal, high, critical] = run(config(16), [3_000, 0, 0, 0, 0], 5);
    assert!(bulk.served >= 1_600 * 5 * 90 / 100, "{}", bulk.served);
    assert_eq!(normal.offered + high.offered + critical.offered, 0);
    let [bulk, _, _, high, _] = run(config(16), [3_000, 0, 0, 3_000, 0], 5);
    assert!(high.served > 4 * bulk.served && bulk.served * 100 >= 1_600 * 5 * 5, "{}", bulk.served);
}

#[test]
fn senseless_admissions_are_refused() {
    let bad = |config: AdmissionConfig| Admission::<()>::new(config).err();
    let sound = AdmissionConfig::default();
    assert_eq!(bad(sound), None);
    assert_eq!(
        bad(AdmissionConfig { shares: [21, 20, 20, 20, 20], ..sound }),
        Some(BadAdmission::Shares)
    );
    assert_eq!(bad(AdmissionConfig { queue: 1_000_001, ..sound }), Some(BadAdmission::Queue));
    for times in [[0, 1, 2], [5, 4, 6], [5, 6, 5]] {
        let [target, interval, patience] = times.map(Duration::from_millis);
        let config = AdmissionConfig { target, interval, patience, ..sound };
        assert_eq!(bad(config), Some(BadAdmission::Times), "{times:?}");
    }
    let concurrency = ConcurrencyConfig { min: 0, ..ConcurrencyConfig::default() };
    assert!(matches!(
        bad(AdmissionConfig { concurrency, ..sound }),
        Some(BadAdmission::Concurrency(_))
    ));
}

proptest! {
    /// A priority that waits and holds less than it is sure of gets a place after so many others as
    /// their shares are worth in its own, and one of each.
    #[test]
    fn nobody_is_starved(
        places in 1..12_u32,
        weights in prop::array::uniform5(1..=20_u8),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 1..400),
        absent in prop::collection::vec(0..5_usize, 0..3),
    ) {
        let hour = Duration::from_secs(3_600);
        let config = AdmissionConfig {
            shares: weights,
            target: hour,
            interval: hour,
            patience: hour,
            ..config(places)
        };
        let mut admission = Admission::new(config).unwrap();
        let mut permits: Vec<(Priority, Permit)> = Vec::new();
        let mut passed = [0_u32; 5];
        for (step, pick) in picks.into_iter().enumerate() {
            for priority in Priority::ALL {
                // Some come later than the others.
                let late = absent.contains(&(priority as usize)) && step % 100 < 50;
                while !late && admission.waiting(priority) < 2 {
                    if let Entry::Admitted(_, permit) = admission.arrive(at(0), priority, priority) {
                        permits.push((priority, permit));
                    }
                }
            }
            if !permits.is_empty() {
                let (_, permit) = permits.remove(pick.index(permits.len()));
                admission.finish(at(0), permit, Load::Borne(Duration::ZERO));
            }
            let below = |admission: &Admission<Priority>, priority: Priority| {
                let held = admission.running(priority) as u32 * 100;
                held < u32::from(weights[priority as usize]) * places && admission.waiting(priority) > 0
            };
            let waits = Priority::ALL.map(|priority| below(&admission, priority));
            let Ok(Some(AdmissionEvent::Admitted(chosen, permit))) = admission.poll_event(at(0)) else {
                continue;
            };
            permits.push((chosen, permit));
            for priority in Priority::ALL {
                let index = priority as usize;
                passed[index] = if waits[index] && chosen != priority { passed[index] + 1 } else { 0 };
                let worth = |other: &u8| u32::from(other.div_ceil(weights[index])) + 1;
                let bound: u32 = weights.iter().map(worth).sum();
                prop_assert!(passed[index] <= bound, "{:?} was passed over {} times", priority, passed[index]);
            }
        }
    }
}
