//! Probes, answered from what is known.

use std::time::Duration;

use proptest::prelude::*;
use sinew_core::Machine;
use sinew_core::server::drain::Phase;
use sinew_core::server::health::{
    BadHealth, Check, CheckState, Detail, Finding, Health, HealthConfig, HealthEvent, MAX_CHECKS,
    Probe, Run, Saturation,
};
use sinew_core::time::Instant;

use crate::at;

fn config(checks: &[(&str, Probe)]) -> HealthConfig {
    let checks = checks.iter().map(|(name, probe)| Check::new(name, *probe)).collect();
    HealthConfig { checks, ..HealthConfig::default() }
}

fn health(checks: &[(&str, Probe)]) -> Health {
    Health::new(config(checks), 5).unwrap()
}

fn poll(health: &mut Health, now: Instant) -> Option<HealthEvent> {
    let Ok(event) = health.poll_event(now);
    event
}

/// Runs that are to be started now.
fn runs(health: &mut Health, now: Instant) -> Vec<Run> {
    let events = std::iter::from_fn(|| poll(health, now));
    events
        .filter_map(|event| if let HealthEvent::Run(run) = event { Some(run) } else { None })
        .collect()
}

fn statuses(health: &Health, now: Instant) -> [u16; 4] {
    Probe::ALL.map(|probe| health.answer(now, probe, Detail::Brief).status.as_u16())
}

fn verbose(health: &Health, now: Instant, probe: Probe) -> String {
    health.answer(now, probe, Detail::Verbose).body
}

#[test]
fn a_server_without_checks_is_well() {
    let health = health(&[]);
    assert_eq!(statuses(&health, at(0)), [200; 4]);
    let answer = health.answer(at(0), Probe::Health, Detail::Brief);
    assert_eq!(answer.body, r#"{"status":"healthy"}"#);
    assert_eq!(health.deadline(), None);
}

#[test]
fn it_is_ready_once_it_has_started_and_every_check_is_good() {
    let checks = [("loop", Probe::Live), ("db", Probe::Ready), ("cache", Probe::Startup)];
    let mut health = health(&checks);
    let started = runs(&mut health, at(0));
    assert_eq!(started.len(), 3);
    // Nobody is killed because nobody has looked yet.
    assert_eq!(statuses(&health, at(0)), [200, 503, 503, 503]);
    health.handle_finding(at(3), started[0], Finding::Pass);
    health.handle_finding(at(4), started[1], Finding::Pass);
    assert_eq!(statuses(&health, at(5)), [200, 503, 503, 503]);
    health.handle_finding(at(6), started[2], Finding::Pass);
    assert_eq!(statuses(&health, at(7)), [200; 4]);
    assert_eq!(
        verbose(&health, at(1_006), Probe::Ready),
        concat!(
            r#"{"status":"healthy","checks":[{"name":"drain","status":"pass"},"#,
            r#"{"name":"saturation","status":"pass"},"#,
            r#"{"name":"db","status":"pass","age_ms":1002,"took_ms":4},"#,
            r#"{"name":"cache","status":"pass","age_ms":1000,"took_ms":6}]}"#
        )
    );
    // What was good at the start may fail later without undoing it.
    let again = runs(&mut health, at(11_500));
    health.handle_finding(at(11_500), again[2], Finding::Fail);
    health.handle_finding(at(11_500), again[0], Finding::Fail);
    health.handle_finding(at(11_500), again[1], Finding::Warn);
    assert_eq!(statuses(&health, at(11_500)), [503, 200, 200, 503]);
    assert!(verbose(&health, at(11_500), Probe::Ready).starts_with(r#"{"status":"degraded""#));
}

#[test]
fn what_takes_too_long_has_failed() {
    let mut health = health(&[("db", Probe::Ready)]);
    let run = runs(&mut health, at(0))[0];
    assert_eq!(health.deadline().map(|due| due.at), Some(at(5_000)));
    assert_eq!(poll(&mut health, at(4_999)), None);
    assert_eq!(poll(&mut health, at(5_000)), Some(HealthEvent::Cancel(run)));
    let state = CheckState::TimedOut;
    assert_eq!(poll(&mut health, at(5_000)), Some(HealthEvent::Changed(run.check(), state)));
    let body = verbose(&health, at(6_000), Probe::Ready);
    assert!(body.contains(r#""reason":"timed_out","age_ms":1000,"took_ms":5000"#), "{body}");
    // It comes back later, and nobody cares.
    health.handle_finding(at(6_000), run, Finding::Pass);
    assert_eq!(statuses(&health, at(6_000)), [200, 503, 200, 503]);
    let next = runs(&mut health, at(11_500))[0];
    health.handle_finding(at(11_500), run, Finding::Pass);
    assert_eq!(health.state(at(11_500), next.check()), CheckState::TimedOut, "a stale run");
    health.handle_finding(at(11_500), next, Finding::Pass);
    assert_eq!(statuses(&health, at(11_500)), [200; 4]);
}

#[test]
fn a_result_that_is_too_old_is_none() {
    let mut health = health(&[("db", Probe::Live)]);
    let run = runs(&mut health, at(0))[0];
    health.handle_finding(at(0), run, Finding::Pass);
    // Whoever should run it again is gone.
    assert_eq!(statuses(&health, at(30_000)), [200; 4]);
    assert_eq!(statuses(&health, at(30_001)), [503, 200, 200, 503]);
    assert!(verbose(&health, at(30_001), Probe::Live).contains(r#""reason":"stale""#));
}

#[test]
fn readiness_follows_drain_certificate_and_saturation() {
    let mut health = health(&[]);
    let ready = |health: &Health, now| {
        let answer = health.answer(now, Probe::Ready, Detail::Verbose);
        assert_eq!(health.answer(now, Probe::Live, Detail::Brief).status, 200);
        (answer.status.as_u16(), answer.body)
    };
    health.handle_phase(Phase::LameDuck);
    let (status, body) = ready(&health, at(0));
    assert_eq!(status, 503);
    assert!(body.contains(r#"{"name":"drain","status":"fail","reason":"lame_duck"}"#), "{body}");
    health.handle_phase(Phase::Serving);
    for (saturation, status, text) in [
        (Saturation::Busy, 200, r#"{"status":"degraded""#),
        (Saturation::Full, 503, r#"{"name":"saturation","status":"fail","reason":"full"}"#),
        (Saturation::Free, 200, r#"{"status":"healthy""#),
    ] {
        health.handle_saturation(saturation);
        let (found, body) = ready(&health, at(0));
        assert!(found == status && body.contains(text), "{found} {body}");
    }
    let day = 24 * 3_600_000;
    health.handle_certificate(Some(at(2 * day)));
    for (now, status, text) in [
        (day, 200, r#"{"name":"certificate","status":"pass"}"#),
        (day + 1, 200, r#"{"name":"certificate","status":"warn","reason":"expires_soon"}"#),
        (2 * day - 1, 200, "expires_soon"),
        (2 * day, 503, r#"{"name":"certificate","status":"fail","reason":"expired"}"#),
    ] {
        let (found, body) = ready(&health, at(now));
        assert!(found == status && body.contains(text), "{now}: {found} {body}");
    }
    // Where withdrawal is somebody else's business, it is ready for as long as it listens.
    let config = HealthConfig { not_ready_from: Phase::StopAccept, ..HealthConfig::default() };
    let mut health = Health::new(config, 5).unwrap();
    health.handle_phase(Phase::Notify);
    assert_eq!(ready(&health, at(0)).0, 200);
    health.handle_phase(Phase::StopAccept);
    assert_eq!(ready(&health, at(0)).0, 503);
}

#[test]
fn probes_are_known_by_path_and_query() {
    for (path, probe) in [
        ("/livez", Some(Probe::Live)),
        ("/readyz", Some(Probe::Ready)),
        ("/startupz", Some(Probe::Startup)),
        ("/health", Some(Probe::Health)),
        ("/healthz", None),
        ("/readyz/", None),
    ] {
        assert_eq!(Probe::of_path(path), probe, "{path}");
    }
    for (query, detail) in [
        (None, Detail::Brief),
        (Some(""), Detail::Brief),
        (Some("verbose"), Detail::Verbose),
        (Some("a=b&verbose=1"), Detail::Verbose),
        (Some("nonverbose"), Detail::Brief),
    ] {
        assert_eq!(Detail::of_query(query), detail, "{query:?}");
    }
}

#[test]
fn senseless_checks_are_refused() {
    let refused = |checks: &[(&str, Probe)]| config(checks).check().err();
    let db = ("db", Probe::Ready);
    assert_eq!(refused(&[db, ("", Probe::Live)]), Some(BadHealth::Name(1)));
    assert_eq!(refused(&[("a b", Probe::Live)]), Some(BadHealth::Name(0)));
    assert_eq!(refused(&[(&"n".repeat(65), Probe::Live)]), Some(BadHealth::Name(0)));
    assert_eq!(refused(&[db, db]), Some(BadHealth::NameTaken(1)));
    assert_eq!(refused(&[("drain", Probe::Live)]), Some(BadHealth::NameTaken(0)));
    assert_eq!(refused(&[("db", Probe::Health)]), Some(BadHealth::Probe(0)));
    let names: Vec<_> = (0..=MAX_CHECKS).map(|n| n.to_string()).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), Probe::Live)).collect();
    assert_eq!(refused(&many), Some(BadHealth::TooMany));
    assert_eq!(refused(&many[1..]), None);
    let mut config = config(&[db]);
    config.checks[0].timeout = Duration::ZERO;
    assert_eq!(config.check(), Err(BadHealth::ZeroTime(0)));
    config.checks[0] =
        Check { max_age: Duration::from_millis(15_999), ..Check::new("db", Probe::Ready) };
    assert_eq!(config.check(), Err(BadHealth::MaxAge(0)));
    config.checks[0].max_age = Duration::from_secs(16);
    assert_eq!(config.check(), Ok(()));
    config.not_ready_from = Phase::Serving;
    assert_eq!(config.check(), Err(BadHealth::NotReadyFrom));
}

proptest! {
    /// Whatever is found, and however late anyone looks: one run at a time, none for ever, no hot loop,
    /// and an answer says what the states say.
    #[test]
    fn checks_are_run_one_at_a_time(script in prop::collection::vec((0..4u8, 0..3usize, 0..20_000u64), 0..60)) {
        let checks = [("live", Probe::Live), ("ready", Probe::Ready), ("start", Probe::Startup)];
        let mut health = health(&checks);
        let (mut millis, mut running) = (0, [None::<(Run, u64)>; 3]);
        for (what, which, wait) in script {
            millis += wait;
            let now = at(millis);
            if let (0..3, Some((run, _))) = (what, running[which]) {
                health.handle_finding(now, run, [Finding::Pass, Finding::Warn, Finding::Fail][usize::from(what)]);
                running[which] = running[which].filter(|(_, since)| since + 5_000 <= millis);
            }
            while let Some(event) = poll(&mut health, now) {
                match event {
                    HealthEvent::Run(run) => {
                        let known = running[run.check().index()].replace((run, millis));
                        prop_assert_eq!(known, None, "two at once");
                    }
                    HealthEvent::Cancel(run) => {
                        let known = running[run.check().index()].take();
                        prop_assert_eq!(known.map(|(run, _)| run), Some(run));
                        prop_assert!(known.is_some_and(|(_, since)| since + 5_000 <= millis));
                    }
                    HealthEvent::Changed(check, state) => {
                        prop_assert_eq!(health.state(now, check), state);
                    }
                }
            }
            prop_assert!(running.iter().flatten().all(|(_, since)| since + 5_000 > millis));
            prop_assert!(health.deadline().is_some_and(|due| due.at > now));
            let [live, ready, startup, all] = statuses(&health, now);
            prop_assert_eq!(all == 200, live == 200 && ready == 200);
            prop_assert!(startup == 200 || ready == 503);
        }
    }
}
