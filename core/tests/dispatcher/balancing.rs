//! Where calls go, by each policy, in virtual time.

use std::collections::BTreeMap;

use sinew_core::client::dispatcher::BadPolicy;
use sinew_core::client::dispatcher::{Failure, Outcome, Refusal};
use sinew_core::error::{Fault, Phase};
use sinew_core::mesh::{
    Algorithm, BadBalance, BadBalancePolicy, BalanceConfig, BalancePolicy, Member, Outlier,
    OutlierConfig, ProbeConfig, ProbeRun, RingConfig, SlowStart, Weight, Zone,
};
use sinew_core::observe::Event;
use sinew_core::policy::Mode;
use sinew_core::resilience::{BreakerConfig, BreakerState, BudgetConfig, Forced, RetryPolicy};

use super::*;

/// A dispatcher over a service that answers, one call at a time.
struct Service {
    bench: Bench,
    /// To whom a connection leads.
    leads: BTreeMap<ConnectionId, u64>,
    probes: Vec<(u64, ProbeRun)>,
    token: u64,
    version: u64,
}

/// What an endpoint does: it answers with this status, after this time.
type Answers = fn(u64) -> (u16, u64);

fn well(_: u64) -> (u16, u64) {
    (200, 5)
}

/// Only the balancer decides.
fn policy(algorithm: Algorithm) -> Policy {
    Policy {
        balance: BalancePolicy {
            algorithm,
            slow_start: SlowStart { window: ms(0) },
            ..BalancePolicy::default()
        },
        breaker: BreakerConfig { mode: Mode::Off, ..BreakerConfig::default() },
        budget: BudgetConfig { mode: Mode::Off, ..BudgetConfig::default() },
        retry: RetryPolicy { attempts: 1, ..RetryPolicy::default() },
        ..Policy::default()
    }
}

fn members(weights: &[u16]) -> Vec<Member> {
    let member = |(number, weight): (u64, &u16)| Member {
        weight: Weight::new(*weight),
        ..Member::from(Endpoint(number))
    };
    (0..).zip(weights).map(member).collect()
}

impl Service {
    #[expect(clippy::large_types_passed_by_value, reason = "once a test")]
    fn new(policy: Policy, members: &[Member]) -> Self {
        let bench = Bench::new(policy, 0);
        let (leads, probes) = (BTreeMap::new(), Vec::new());
        let mut service = Self { bench, leads, probes, token: 0, version: 1 };
        service.update(members);
        service
    }

    fn update(&mut self, members: &[Member]) {
        self.version += 1;
        self.bench.dispatcher.update_endpoints(self.bench.now, self.version, members);
    }

    fn advance(&mut self, millis: u64) {
        self.bench.now = self.bench.now + ms(millis);
        self.bench.dispatcher.handle_timeout(self.bench.now);
    }

    /// Makes a call, and answers it. Where it went; or why it went nowhere.
    fn call(&mut self, key: Option<u64>, answers: Answers) -> Result<u64, Outcome> {
        self.token += 1;
        let deadline = self.bench.now + ms(30_000);
        let spec = CallSpec { hash_key: key, ..CallSpec::new(self.token, deadline, Safety::Safe) };
        self.bench.dispatcher.start(self.bench.now, spec);
        let mut went = None;
        loop {
            let actions = self.bench.actions();
            if actions.is_empty() {
                return Ok(went.unwrap());
            }
            for action in actions {
                match action {
                    Action::Dial { connection, endpoint, .. } => {
                        self.leads.insert(connection, endpoint.0);
                        self.bench.dispatcher.connected(self.bench.now, connection, 1);
                    }
                    Action::Send { exchange, connection, .. } => {
                        let to = self.leads[&connection];
                        let (status, takes) = answers(to);
                        went = Some(to);
                        self.bench.now = self.bench.now + ms(takes);
                        assert_eq!(self.bench.head(exchange, status), HeadVerdict::Deliver);
                        self.bench.dispatcher.finished(self.bench.now, exchange, Reuse::Keep);
                    }
                    Action::Probe { run, endpoint, .. } => self.probes.push((endpoint.0, run)),
                    Action::Complete { outcome: Outcome::Done, .. } | Action::Close { .. } => {}
                    Action::Complete { outcome, .. } => return Err(outcome),
                    Action::Reset { .. } => panic!("{action:?}"),
                }
            }
        }
    }

    /// So many calls; how many went where.
    fn calls(&mut self, calls: u64, answers: Answers) -> Vec<u64> {
        let mut went = vec![0; 10];
        for _ in 0..calls {
            went[self.call(None, answers).unwrap() as usize] += 1;
        }
        while went.len() > 1 && went.last() == Some(&0) {
            went.pop();
        }
        went
    }

    fn told(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.bench.dispatcher.poll_observed()).collect()
    }

    /// Everything that is to be asked is asked, and answers.
    fn probe(&mut self, is_well: impl Fn(u64) -> bool) {
        let found: Vec<Action> = self.bench.actions();
        let probes = found.into_iter().filter_map(|action| match action {
            Action::Probe { run, endpoint, .. } => Some((endpoint.0, run)),
            _ => None,
        });
        self.probes.extend(probes);
        for (endpoint, run) in std::mem::take(&mut self.probes) {
            self.bench.dispatcher.probed(self.bench.now, run, is_well(endpoint));
        }
    }
}

#[test]
fn turns_are_even_or_as_the_weights_say() {
    let mut even = Service::new(policy(Algorithm::RoundRobin), &members(&[1, 2, 3]));
    assert_eq!(even.calls(300, well), [100, 100, 100]);
    let mut weighted = Service::new(policy(Algorithm::WeightedRoundRobin), &members(&[1, 2, 3]));
    assert_eq!(weighted.calls(600, well), [100, 200, 300]);
    // Another weight counts from the next turn on, and what was learnt stays.
    weighted.update(&members(&[3, 2, 1]));
    let went = weighted.calls(600, well);
    assert!(went[0].abs_diff(300) <= 3 && went[2].abs_diff(100) <= 3, "{went:?}");
    let changed = Event::EndpointsUpdated { added: 0, removed: 0, changed: 2, all: 3 };
    weighted.told();
    weighted.update(&members(&[1, 2, 3]));
    assert_eq!(weighted.told(), [changed]);
    assert_eq!(weighted.bench.dispatcher.connections(), 3);
}

#[test]
fn a_first_burst_has_its_turns_too() {
    let mut service = Service::new(policy(Algorithm::RoundRobin), &members(&[1; 4]));
    for _ in 0..8 {
        service.token += 1;
        service.bench.start(service.token, Sharing::Exclusive);
    }
    let mut dialled = [0; 4];
    for action in service.bench.actions() {
        let Action::Dial { endpoint, .. } = action else { panic!("{action:?}") };
        dialled[endpoint.0 as usize] += 1;
    }
    assert_eq!(dialled, [2; 4]);
}

#[test]
fn of_two_the_better_one_is_chosen() {
    let slow: Answers = |endpoint| (200, if endpoint == 0 { 50 } else { 5 });
    let mut service = Service::new(policy(Algorithm::default()), &members(&[1; 10]));
    service.calls(500, slow);
    let went = service.calls(2_000, slow);
    assert!(went[0] < 100, "{went:?}");
    assert!(went[1..].iter().all(|calls| (100..400).contains(calls)), "{went:?}");
    // What fails at once is not quick.
    let failing: Answers = |endpoint| if endpoint == 1 { (500, 0) } else { (200, 5) };
    let went = service.calls(2_000, failing);
    assert!(went[1] < 40, "{went:?}");
}

#[test]
fn scores_go_by_weight_and_are_told() {
    for algorithm in [Algorithm::default(), Algorithm::LeastRequest] {
        let mut service = Service::new(policy(algorithm), &members(&[1, 4]));
        service.told();
        let went = service.calls(100, well);
        // Idle ones are worth what they weigh: of two, the heavier one is always the better.
        assert!(went[1] > 95, "{algorithm:?}: {went:?}");
        let mut picks = 0;
        for event in service.told() {
            let Event::Picked { pick, .. } = event else { continue };
            let runner_up = pick.runner_up.unwrap();
            assert!(pick.chosen.score <= runner_up.score, "{pick:?}");
            assert_ne!(pick.chosen.endpoint, runner_up.endpoint);
            picks += 1;
        }
        assert!(picks > 10, "{picks}");
    }
}

#[test]
fn the_choice_is_explained() {
    let mut service = Service::new(policy(Algorithm::default()), &members(&[1; 3]));
    let call = service.bench.start(77, Sharing::Exclusive);
    let explained = service.bench.dispatcher.explain_call(service.bench.now, call).unwrap();
    let pick = explained.pick.unwrap();
    assert!(pick.runner_up.is_some());
    let told = service.told();
    assert!(told.contains(&Event::Picked { token: 77, pick }), "{told:?}");
    // Nothing is kept for whom nobody asks.
    service.bench.dispatcher.observe(false);
    let call = service.bench.start(78, Sharing::Exclusive);
    let explained = service.bench.dispatcher.explain_call(service.bench.now, call).unwrap();
    assert_eq!(explained.pick, None);
}

#[test]
fn a_new_endpoint_starts_slowly() {
    let slow_start = SlowStart { window: ms(10_000) };
    let balance = BalancePolicy { slow_start, ..policy(Algorithm::WeightedRoundRobin).balance };
    let policy = Policy { balance, ..policy(Algorithm::WeightedRoundRobin) };
    let mut service = Service::new(policy, &members(&[1; 3]));
    service.advance(20_000);
    service.update(&members(&[1; 4]));
    // 5 ms each: two seconds.
    let first = service.calls(400, well);
    assert!((8..30).contains(&first[3]), "{first:?}");
    service.advance(10_000);
    let later = service.calls(400, well);
    assert!((95..=105).contains(&later[3]), "{later:?}");
}

#[test]
fn a_key_stays_with_its_endpoint() {
    let ring = policy(Algorithm::RingHash(RingConfig::default()));
    let mut service = Service::new(ring, &members(&[1; 5]));
    let place = |service: &mut Service, key| service.call(Some(key), well).unwrap();
    let before: Vec<u64> = (0..200).map(|key| place(&mut service, key)).collect();
    let again: Vec<u64> = (0..200).map(|key| place(&mut service, key)).collect();
    assert_eq!(before, again);
    assert!((0..5).all(|one| before.iter().filter(|at| **at == one).count() > 15), "{before:?}");
    // Of an endpoint that goes, only its own keys move.
    service.update(&members(&[1; 4]));
    for (key, was) in (0..200).zip(&before) {
        let now = place(&mut service, key);
        assert!(*was == 4 || now == *was, "{key} moved from {was} to {now}");
    }
    // Another client with the same endpoints sends it to the same one.
    let ring = policy(Algorithm::RingHash(RingConfig::default()));
    let mut other = Service::new(ring, &members(&[1; 5]));
    let theirs: Vec<u64> = (0..200).map(|key| place(&mut other, key)).collect();
    assert_eq!(theirs, before);
}

/// 40 calls of one key at once, and none of them is over. How many are at each endpoint.
fn hold(service: &mut Service) -> Vec<u32> {
    for _ in 0..40 {
        service.token += 1;
        let deadline = service.bench.now + ms(30_000);
        let spec = CallSpec::new(service.token, deadline, Safety::Safe);
        let spec = CallSpec { hash_key: Some(7), ..spec };
        service.bench.dispatcher.start(service.bench.now, spec);
        for action in service.bench.actions() {
            if let Action::Dial { connection, .. } = action {
                service.bench.dispatcher.connected(service.bench.now, connection, 1);
            }
        }
    }
    let endpoints = service.bench.dispatcher.explain(service.bench.now).endpoints;
    endpoints.iter().filter(|one| !one.retired).map(|one| one.in_flight).collect()
}

/// 125 % of an even share of 40 is 12.5.
fn is_spread(load: &[u32]) -> bool {
    load.iter().sum::<u32>() == 40 && load.iter().all(|one| (1..=13).contains(one))
}

#[test]
fn a_hot_key_spills_over() {
    let ring = policy(Algorithm::RingHash(RingConfig::default()));
    let mut service = Service::new(ring, &members(&[1; 4]));
    let load = hold(&mut service);
    assert!(is_spread(&load), "{load:?}");
    // What those still carry that are gone is no load of those that came.
    let later: Vec<Member> = members(&[1; 8]).split_off(4);
    service.update(&later);
    let load = hold(&mut service);
    assert!(is_spread(&load), "{load:?}");
}

#[test]
fn a_hot_key_spills_over_while_endpoints_are_new() {
    let ring = policy(Algorithm::RingHash(RingConfig::default()));
    let balance = BalancePolicy { slow_start: SlowStart::default(), ..ring.balance };
    let mut service = Service::new(Policy { balance, ..ring }, &members(&[1; 4]));
    let load = hold(&mut service);
    assert!(is_spread(&load), "{load:?}");
}

/// What leaves one's own zone leaves it whatever its place on the ring is.
#[test]
fn keys_that_leave_their_zone_go_everywhere_there() {
    let ring = Algorithm::RingHash(RingConfig { points: 1, ..RingConfig::default() });
    let balance = BalancePolicy { zone: Some(Zone(1)), ..policy(ring).balance };
    let breaker = BreakerConfig::default();
    let zoned = |member: Member| Member { zone: Zone(u32::from(member.endpoint.0 < 2)), ..member };
    let all: Vec<Member> = members(&[1; 8]).into_iter().map(zoned).collect();
    let mut service = Service::new(Policy { balance, breaker, ..policy(ring) }, &all);
    let now = service.bench.now;
    service.bench.dispatcher.force_breaker(now, Endpoint(0), Some(Forced::Open));
    let mut went = vec![0; 8];
    for key in 0..2_000 {
        went[service.call(Some(key), |_| (200, 0)).unwrap() as usize] += 1;
    }
    assert!((1_300..1_500).contains(&went[1]), "{went:?}");
    assert!(went[2..].iter().all(|calls| *calls > 0), "{went:?}");
}

/// Who forced it knows nothing of lists.
#[test]
fn a_forced_breaker_stays_forced_while_its_endpoint_comes_and_goes() {
    let breaker = BreakerConfig::default();
    let mut bench = Bench::new(Policy { breaker, ..Policy::default() }, 2);
    let state = |bench: &mut Bench, endpoint: u64| {
        let endpoints = bench.dispatcher.explain(bench.now).endpoints;
        endpoints.into_iter().find(|one| one.endpoint == Endpoint(endpoint)).unwrap().breaker
    };
    let open = BreakerState::Forced(Forced::Open);
    bench.dispatcher.force_breaker(bench.now, Endpoint(1), Some(Forced::Open));
    bench.dispatcher.force_breaker(bench.now, Endpoint(2), Some(Forced::Open));
    for (version, listed) in [(2, vec![0]), (3, vec![0, 1, 2])] {
        let listed: Vec<Endpoint> = listed.into_iter().map(Endpoint).collect();
        bench.dispatcher.update_endpoints(bench.now, version, &listed);
    }
    let states = [0, 1, 2].map(|endpoint| state(&mut bench, endpoint));
    assert_eq!(states, [BreakerState::Closed, open, open]);
    // Nor is what was taken back.
    bench.dispatcher.update_endpoints(bench.now, 4, &[Endpoint(0)]);
    bench.dispatcher.force_breaker(bench.now, Endpoint(1), None);
    bench.dispatcher.update_endpoints(bench.now, 5, &[0, 1, 2].map(Endpoint));
    assert_eq!([state(&mut bench, 1), state(&mut bench, 2)], [BreakerState::Closed, open]);
    // Only so many are remembered.
    bench.dispatcher.update_endpoints(bench.now, 6, &[Endpoint(0)]);
    for endpoint in 3..3 + 1_024 {
        bench.dispatcher.force_breaker(bench.now, Endpoint(endpoint), Some(Forced::Closed));
    }
    bench.dispatcher.update_endpoints(bench.now, 7, &[0, 2, 1_026].map(Endpoint));
    let states = [state(&mut bench, 2), state(&mut bench, 1_026)];
    assert_eq!(states, [BreakerState::Closed, BreakerState::Forced(Forced::Closed)]);
}

#[test]
fn ones_own_zone_comes_first_and_spills_over() {
    for algorithm in [
        Algorithm::default(),
        Algorithm::LeastRequest,
        Algorithm::RoundRobin,
        Algorithm::WeightedRoundRobin,
        Algorithm::RingHash(RingConfig::default()),
    ] {
        let balance = BalancePolicy { zone: Some(Zone(1)), ..policy(algorithm).balance };
        let outlier = OutlierConfig::default();
        let policy = Policy { balance, outlier, ..policy(algorithm) };
        let zoned =
            |member: Member| Member { zone: Zone(u32::from(member.endpoint.0 < 4)), ..member };
        let all: Vec<Member> = members(&[1; 8]).into_iter().map(zoned).collect();
        let mut service = Service::new(policy, &all);
        assert_eq!(service.calls(200, well)[4..].iter().sum::<u64>(), 0, "{algorithm:?}");
        // Two of four there are ejected: the rest carries 70 % of what comes.
        for _ in 0..400 {
            let sick: Answers = |endpoint| if endpoint < 2 { (500, 0) } else { (200, 0) };
            service.call(None, sick).unwrap();
        }
        let ejected = service.bench.dispatcher.explain(service.bench.now).endpoints;
        let ejected = ejected.iter().filter(|one| one.ejected).count();
        if ejected == 2 {
            let went = service.calls(1_000, |_| (200, 0));
            let (near, far) = (went[..4].iter().sum::<u64>(), went[4..].iter().sum::<u64>());
            assert_eq!(went[..2], [0, 0]);
            assert!((650..750).contains(&near), "{algorithm:?}: {near} near, {far} far");
        } else {
            // Who is avoided by its cost need not fail often enough.
            assert!(matches!(algorithm, Algorithm::PeakEwma(_)), "{algorithm:?}");
        }
    }
}

#[test]
fn half_may_be_ejected_and_the_rest_is_spared() {
    let policy = Policy { outlier: OutlierConfig::default(), ..policy(Algorithm::RoundRobin) };
    let mut service = Service::new(policy, &members(&[1; 4]));
    let mut told = Vec::new();
    for _ in 0..40 {
        service.call(None, |_| (500, 0)).unwrap();
        told.append(&mut service.told());
    }
    let count = |wanted: fn(&Event) -> bool| told.iter().filter(|event| wanted(event)).count();
    let why = |event: &Event| matches!(event, Event::Ejected { why: Outlier::Consecutive, .. });
    assert_eq!(count(why), 2, "{told:?}");
    assert!(count(|event| matches!(event, Event::EjectionSpared { .. })) >= 2, "{told:?}");
    let explained = service.bench.dispatcher.explain(service.bench.now);
    let ready = explained.endpoints.iter().filter(|one| one.ready).count();
    assert_eq!((ready, explained.panicking), (2, false));
    // They return, and start slowly.
    service.advance(30_000);
    let told = service.told();
    assert_eq!(told.iter().filter(|e| matches!(e, Event::EjectionEnded { .. })).count(), 2);
    assert!(service.bench.dispatcher.explain(service.bench.now).endpoints.iter().all(|e| e.ready));
}

#[test]
fn an_ejection_in_shadow_is_told_and_changes_nothing() {
    let outlier = OutlierConfig { mode: Mode::Shadow, ..OutlierConfig::default() };
    let mut service =
        Service::new(Policy { outlier, ..policy(Algorithm::RoundRobin) }, &members(&[1; 2]));
    for _ in 0..20 {
        service.call(None, |endpoint| (if endpoint == 0 { 500 } else { 200 }, 0)).unwrap();
    }
    let ejected = |event: &Event| matches!(event, Event::Ejected { mode: Mode::Shadow, .. });
    assert!(service.told().iter().any(ejected));
    assert_eq!(service.calls(10, well), [5, 5]);
}

/// Failed dials eject, too.
#[test]
fn who_cannot_be_reached_is_ejected() {
    let outlier = OutlierConfig { consecutive: 2, ..OutlierConfig::default() };
    let mut service =
        Service::new(Policy { outlier, ..policy(Algorithm::RoundRobin) }, &members(&[1; 2]));
    for token in 0..8 {
        service.bench.start(token, Sharing::Exclusive);
        for action in service.bench.actions() {
            if let Action::Dial { connection, endpoint: Endpoint(0), .. } = action {
                let failure = Failure {
                    delivery: Delivery::NotSent,
                    phase: Phase::Connect,
                    fault: Fault::Network,
                };
                service.bench.dispatcher.dial_failed(service.bench.now, connection, failure);
            }
        }
        service.bench.actions();
    }
    let endpoints = service.bench.dispatcher.explain(service.bench.now).endpoints;
    assert_eq!(endpoints.iter().map(|one| one.ejected).collect::<Vec<_>>(), [true, false]);
}

fn probing(panic_percent: u32) -> Service {
    let timing = ProbeConfig { timeout: ms(1_000), ..ProbeConfig::default() };
    let balance = BalancePolicy { panic_percent, ..policy(Algorithm::RoundRobin).balance };
    let policy = Policy { health: timing, balance, ..policy(Algorithm::RoundRobin) };
    Service::new(policy, &members(&[1; 4]))
}

#[test]
fn who_is_down_is_left_alone_until_too_few_are_up() {
    let mut service = probing(50);
    assert_eq!(service.bench.actions(), [], "nobody is asked before there is a call");
    service.call(None, well).unwrap();
    service.probe(|endpoint| endpoint != 0);
    assert_eq!(service.calls(30, well), [0, 10, 10, 10]);
    // The first result decided alone; now three in a row do.
    for _ in 0..3 {
        service.advance(11_000);
        service.probe(|endpoint| endpoint >= 2);
    }
    let went = service.calls(30, well);
    assert_eq!(went[..2], [0, 0], "half are up, which is enough: {went:?}");
    service.told();
    for _ in 0..3 {
        service.advance(11_000);
        service.probe(|endpoint| endpoint == 3);
    }
    let told = service.told();
    assert!(told.contains(&Event::Panic { panics: true, well: 1, all: 4 }), "{told:?}");
    assert!(service.calls(40, well).iter().all(|calls| *calls >= 9), "all are asked");
    service.told();
    for _ in 0..2 {
        service.advance(11_000);
        service.probe(|_| true);
    }
    let told = service.told();
    assert!(told.iter().any(|e| matches!(e, Event::Panic { panics: false, .. })), "{told:?}");
}

#[test]
fn without_panic_nobody_is_asked_when_all_are_down() {
    let mut service = probing(0);
    service.call(None, well).unwrap();
    service.probe(|_| false);
    let refused = Outcome::Refused(Refusal::NoHealthyEndpoint);
    assert_eq!(service.call(None, well), Err(refused));
    service.update(&[]);
    assert_eq!(service.call(None, well), Err(Outcome::Refused(Refusal::NoEndpoint)));
}

#[test]
fn what_is_not_answered_in_time_is_down_and_who_comes_is_asked_at_once() {
    let mut service = probing(0);
    service.call(None, well).unwrap();
    let probes = std::mem::take(&mut service.probes);
    assert_eq!(probes.len(), 4);
    service.advance(1_000);
    for (_, run) in probes {
        service.bench.dispatcher.probed(service.bench.now, run, true);
    }
    assert!(service.bench.dispatcher.explain(service.bench.now).endpoints.iter().all(|e| e.down));
    service.update(&members(&[1; 5]));
    service.probe(|endpoint| endpoint == 4);
    assert_eq!(service.calls(3, well), [0, 0, 0, 0, 3]);
    // A dispatcher that takes no more calls asks nobody any more.
    service.bench.dispatcher.drain(service.bench.now);
    service.bench.actions();
    service.advance(60_000);
    assert_eq!(service.bench.actions(), []);
}

#[test]
fn the_same_seed_goes_the_same_way() {
    let run = || {
        let mut service = Service::new(policy(Algorithm::default()), &members(&[1, 2, 3, 4]));
        let went: Vec<u64> = (0..500).map(|_| service.call(None, well).unwrap()).collect();
        (went, service.told())
    };
    assert_eq!(run(), run());
}

#[test]
fn senseless_policies_are_refused() {
    let good = BalancePolicy::default();
    let ring = |ring| BalancePolicy { algorithm: Algorithm::RingHash(ring), ..good };
    let decay = BalanceConfig { decay: ms(0), ..BalanceConfig::default() };
    let preference = sinew_core::mesh::ZonePreference { overprovision_percent: 99 };
    for (balance, why) in [
        (ring(RingConfig { points: 0, ..RingConfig::default() }), BadBalancePolicy::Ring),
        (ring(RingConfig { bound_percent: 99, ..RingConfig::default() }), BadBalancePolicy::Ring),
        (
            BalancePolicy { algorithm: Algorithm::PeakEwma(decay), ..good },
            BadBalancePolicy::PeakEwma(BadBalance::Decay),
        ),
        (BalancePolicy { zone_preference: preference, ..good }, BadBalancePolicy::Overprovision),
        (BalancePolicy { panic_percent: 101, ..good }, BadBalancePolicy::Panic),
    ] {
        let refused = Dispatcher::new(Policy { balance, ..Policy::default() }, 0);
        assert_eq!(refused.err(), Some(BadPolicy::Balance(why)));
    }
}
