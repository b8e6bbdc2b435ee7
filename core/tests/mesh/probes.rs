//! Three down, two up.

use proptest::collection::vec;
use proptest::prelude::*;
use sinew_core::Machine as _;
use sinew_core::mesh::{BadProbe, ProbeConfig, ProbeEvent, ProbeRun, Probes};
use sinew_core::time::Instant;

use crate::{at, events, secs};

fn of(count: u32) -> Probes {
    let mut probes = Probes::new(ProbeConfig::default(), 5).unwrap();
    (0..count).for_each(|place| probes.insert(at(0), place));
    probes
}

/// Goes on to the next probes, and answers them. What else is told.
fn round(probes: &mut Probes, now: &mut Instant, is_well: impl Fn(u32) -> bool) -> Vec<ProbeEvent> {
    let mut told = Vec::new();
    let mut left = 0;
    while left == 0 || probes.deadline().is_some_and(|next| next.at <= *now + secs(4)) {
        *now = (*now).max(probes.deadline().unwrap().at);
        for event in events(probes, *now) {
            match event {
                ProbeEvent::Probe(run) => {
                    left += 1;
                    probes.handle_result(*now, run, is_well(run.place()));
                }
                other => told.push(other),
            }
        }
        told.extend(events(probes, *now));
    }
    told
}

#[test]
fn the_first_result_decides_then_three_down_two_up() {
    let (mut probes, mut now) = (of(1), at(0));
    assert!(probes.is_up(0), "up until somebody says otherwise");
    let told: Vec<_> = [false, true, true, false, false, true, false, false, false]
        .map(|well| round(&mut probes, &mut now, |_| well))
        .map(|told| {
            told.into_iter()
                .find(|event| *event == ProbeEvent::Up(0) || *event == ProbeEvent::Down(0))
        })
        .into_iter()
        .collect();
    let (up, down) = (Some(ProbeEvent::Up(0)), Some(ProbeEvent::Down(0)));
    assert_eq!(told, [down, None, up, None, None, None, None, None, down]);
}

#[test]
fn probes_come_every_ten_seconds_give_or_take_a_tenth() {
    let mut probes = of(1);
    let (mut now, mut last, mut gaps) = (at(0), None::<Instant>, Vec::new());
    while gaps.len() < 50 {
        for event in events(&mut probes, now) {
            if let ProbeEvent::Probe(run) = event {
                gaps.extend(last.map(|last| now - last));
                last = Some(now);
                probes.handle_result(now, run, true);
            }
        }
        now = probes.deadline().unwrap().at;
    }
    assert!(gaps.iter().all(|gap| (secs(9)..=secs(11)).contains(gap)), "{gaps:?}");
    assert!(gaps.iter().max() > gaps.iter().min());
}

#[test]
fn what_takes_too_long_has_failed_and_its_result_is_stale() {
    let mut probes = of(1);
    let [ProbeEvent::Probe(run)] = events(&mut probes, at(0))[..] else { panic!() };
    assert_eq!(probes.deadline().unwrap().at, at(5_000));
    let told = events(&mut probes, at(5_000));
    assert_eq!(told[..2], [ProbeEvent::Cancel(run), ProbeEvent::Down(0)]);
    probes.handle_result(at(5_001), run, true);
    assert_eq!(probes.up(), 0);
}

#[test]
fn what_nobody_polls_does_not_pile_up() {
    let mut probes = of(2);
    let runs: Vec<ProbeRun> = events(&mut probes, at(0))
        .into_iter()
        .map(|event| match event {
            ProbeEvent::Probe(run) => run,
            other => panic!("{other:?}"),
        })
        .collect();
    let mut now = at(0);
    for _ in 0..100 {
        now = probes.deadline().unwrap().at;
        probes.handle_timeout(now);
    }
    let mut told = events(&mut probes, now);
    // What was asked is called off; what was not, is not.
    told.retain(|event| !matches!(event, ProbeEvent::Probe(_)));
    let [first, second] = runs[..] else { panic!("{runs:?}") };
    for event in [
        ProbeEvent::Cancel(first),
        ProbeEvent::Cancel(second),
        ProbeEvent::Down(0),
        ProbeEvent::Down(1),
    ] {
        let at = told.iter().position(|one| *one == event);
        told.remove(at.unwrap_or_else(|| panic!("{event:?} of {told:?}")));
    }
    assert_eq!(told, []);
}

#[test]
fn those_that_are_up_are_counted() {
    let (mut probes, mut now) = (of(4), at(0));
    let told = round(&mut probes, &mut now, |place| place >= 2);
    assert_eq!(told, [ProbeEvent::Down(0), ProbeEvent::Down(1)]);
    assert!(!probes.is_up(0) && probes.is_up(2));
    assert!(!probes.is_up(9), "who is not here is not up");
    assert_eq!(probes.up(), 2);
    probes.remove(0);
    probes.remove(3);
    assert_eq!(probes.up(), 1);
}

#[test]
fn who_leaves_is_not_spoken_of() {
    let mut probes = of(2);
    probes.remove(0);
    probes.remove(0);
    let told = events(&mut probes, at(0));
    assert!(matches!(told[..], [ProbeEvent::Probe(run)] if run.place() == 1), "{told:?}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let good = ProbeConfig::default();
    for (config, why) in [
        (ProbeConfig { interval: secs(0), ..good }, BadProbe::Time),
        (ProbeConfig { timeout: secs(9), ..good }, BadProbe::Time),
        (ProbeConfig { down_after: 0, ..good }, BadProbe::ZeroResults),
        (ProbeConfig { up_after: 0, ..good }, BadProbe::ZeroResults),
    ] {
        assert_eq!(Probes::new(config, 0).err(), Some(why));
    }
}

proptest! {
    #[test]
    fn any_script(steps in vec((0u32..5, 0u8..5, 0u64..15_000), 0..300)) {
        let mut probes = of(3);
        let mut now = at(0);
        let mut runs: Vec<ProbeRun> = Vec::new();
        for (place, what, passed) in steps {
            match what {
                0 => now = now + std::time::Duration::from_millis(passed),
                1 => probes.insert(now, place),
                2 => probes.remove(place),
                _ => if let Some(run) = runs.pop() { probes.handle_result(now, run, what == 3) },
            }
            for event in events(&mut probes, now) {
                if let ProbeEvent::Probe(run) = event {
                    runs.push(run);
                }
            }
            prop_assert!(probes.deadline().is_none_or(|next| next.at > now));
        }
        (0..5).for_each(|place| probes.remove(place));
        prop_assert_eq!(probes.up(), 0);
        while let Some(next) = probes.deadline() {
            prop_assert_eq!(events(&mut probes, next.at), []);
        }
    }
}
