//! Random worlds: any input, in any order, with ids that are stale; the whole state is recomputed and
//! compared after each.

#![expect(clippy::print_stdout, clippy::disallowed_macros, reason = "the world to look at")]

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use http::StatusCode;

use super::*;
use crate::limit::ConcurrencyConfig;
use crate::mesh::{
    Algorithm, BalanceConfig, BalancePolicy, Member, OutlierConfig, ProbeConfig, RingConfig,
    SlowStart, Weight, Zone,
};
use crate::policy::{Mode, Priority};
use crate::resilience::{
    Backoff, BreakerConfig, BudgetConfig, Forced, HedgeConfig, Replay, RetryPolicy, Safety,
};

/// What the embedder knows of an exchange.
#[derive(Clone, Copy)]
struct Sent {
    token: u64,
    connection: ConnectionId,
    sharing: Sharing,
    /// It told the head.
    answered: bool,
}

/// What the embedder knows.
struct World {
    dispatcher: Dispatcher,
    now: Instant,
    random: Jitter,
    dials: Vec<ConnectionId>,
    open: Vec<ConnectionId>,
    /// Exchanges that are to be given back.
    exchanges: BTreeMap<ExchangeId, Sent>,
    calls: BTreeMap<u64, (CallId, Sharing)>,
    /// Open connections that left HTTP.
    tunnels: Vec<ConnectionId>,
    stale: Vec<ExchangeId>,
    probes: Vec<ProbeRun>,
    /// Attempts that were told to be sent, and not to have ended.
    told: BTreeSet<ExchangeId>,
    probed: u64,
    ejected: u64,
    panics: u64,
    next: u64,
    version: u64,
    completed: u64,
    /// Calls with two exchanges at once.
    doubled: u64,
    /// Exchanges that were sent beside another.
    shared: u64,
    upgraded: u64,
    /// Calls that the destination would not bear.
    turned_away: u64,
    /// Calls whose route was left alone.
    off_route: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Jitter::new(seed);
        let small = |random: &mut Jitter, bound| 1 + random.below(bound) as u32;
        let max_connections = small(&mut random, 5);
        let policy = Policy {
            pool: PoolPolicy {
                max_connections,
                max_per_endpoint: small(&mut random, u64::from(max_connections)),
                max_pending: random.below(6) as u32,
                max_calls: 8,
                idle: Duration::from_millis(1 + random.below(400)),
                max_age: Duration::from_millis(50 + random.below(2_000)),
                max_requests: (random.below(3) == 0).then(|| small(&mut random, 4)),
                connect: Duration::from_millis(1 + random.below(200)),
                wait: (random.below(3) == 0).then(|| Duration::from_millis(1 + random.below(100))),
                warm: u32::from(random.below(4) == 0),
            },
            retry: RetryPolicy {
                attempts: 1 + random.below(4) as u8,
                backoff: Backoff { base: Duration::from_millis(1), cap: Duration::from_millis(40) },
                ..RetryPolicy::default()
            },
            budget: BudgetConfig {
                tokens: 1_000,
                percent: 100,
                per_second: 1_000,
                ..BudgetConfig::default()
            },
            admission: ConcurrencyConfig {
                mode: [Mode::Enforce, Mode::Shadow, Mode::Off][random.below(3) as usize],
                initial: small(&mut random, 16),
                min: 1,
                max: 16,
                late: Duration::from_millis(20 + random.below(200)),
            },
            breaker: BreakerConfig {
                consecutive: small(&mut random, 4),
                open_min: Duration::from_millis(5),
                open_max: Duration::from_millis(50 + random.below(300)),
                probes: small(&mut random, 3) as u8,
                lease: Duration::from_millis(10 + random.below(500)),
                ..BreakerConfig::default()
            },
            hedge: HedgeConfig {
                mode: if random.below(2) == 0 { Mode::Enforce } else { Mode::Off },
                percent: 50,
                minimum_samples: 1,
                ..HedgeConfig::default()
            },
            max_routes: random.below(3) as u32,
            attempt_timeout: (random.below(2) == 0)
                .then(|| Duration::from_millis(1 + random.below(100))),
            balance: Self::balance(&mut random),
            outlier: OutlierConfig {
                mode: [Mode::Enforce, Mode::Shadow, Mode::Off][random.below(3) as usize],
                consecutive: small(&mut random, 4),
                interval: Duration::from_millis(1 + random.below(200)),
                minimum_calls: small(&mut random, 3),
                minimum_endpoints: 2,
                base: Duration::from_millis(1 + random.below(300)),
                max: Duration::from_millis(500),
                max_percent: small(&mut random, 100),
                ..OutlierConfig::default()
            },
            health: ProbeConfig {
                mode: [Mode::Enforce, Mode::Shadow, Mode::Off][random.below(3) as usize],
                interval: Duration::from_millis(100 + random.below(400)),
                timeout: Duration::from_millis(1 + random.below(80)),
                down_after: small(&mut random, 3),
                up_after: small(&mut random, 2),
            },
        };
        let mut dispatcher = Dispatcher::new(policy, random.draw()).unwrap();
        dispatcher.observe(random.below(2) == 0);
        let mut world = Self {
            dispatcher,
            now: Instant::ZERO + Duration::from_secs(1),
            random,
            dials: Vec::new(),
            open: Vec::new(),
            exchanges: BTreeMap::new(),
            calls: BTreeMap::new(),
            tunnels: Vec::new(),
            stale: Vec::new(),
            probes: Vec::new(),
            told: BTreeSet::new(),
            probed: 0,
            ejected: 0,
            panics: 0,
            next: 0,
            version: 0,
            completed: 0,
            doubled: 0,
            shared: 0,
            upgraded: 0,
            turned_away: 0,
            off_route: 0,
        };
        world.endpoints();
        world
    }

    fn balance(random: &mut Jitter) -> BalancePolicy {
        let ring = RingConfig { points: 3, ..RingConfig::default() };
        let algorithms = [
            Algorithm::PeakEwma(BalanceConfig::default()),
            Algorithm::LeastRequest,
            Algorithm::RoundRobin,
            Algorithm::WeightedRoundRobin,
            Algorithm::RingHash(ring),
        ];
        BalancePolicy {
            algorithm: algorithms[random.below(5) as usize],
            slow_start: SlowStart { window: Duration::from_millis(random.below(1_000)) },
            zone: (random.below(2) == 0).then_some(Zone(0)),
            panic_percent: [0, 50, 100][random.below(3) as usize],
            ..BalancePolicy::default()
        }
    }

    fn chance(&mut self, of: u64) -> bool {
        self.random.below(of) == 0
    }

    fn any<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        of.get(self.random.below(of.len() as u64) as usize).copied()
    }

    fn endpoints(&mut self) {
        self.version += 1;
        let all: Vec<Endpoint> = (0..=self.random.below(4)).map(Endpoint).collect();
        let skip = self.random.below(6) as usize;
        let set: Vec<Member> = all
            .iter()
            .enumerate()
            .filter(|(at, _)| *at != skip)
            .map(|(_, one)| Member {
                weight: Weight::new(self.random.below(4) as u16),
                zone: Zone(self.random.below(2) as u32),
                ..Member::from(*one)
            })
            .collect();
        self.dispatcher.update_endpoints(self.now, self.version, &set);
    }

    /// Does what it is told to, and holds it to its promises.
    fn obey(&mut self) {
        while let Ok(Some(action)) = self.dispatcher.poll_event(self.now) {
            match action {
                Action::Dial { connection, by, .. } => {
                    assert!(by > self.now);
                    self.dials.push(connection);
                }
                Action::Probe { run, by, .. } => {
                    assert!(by > self.now);
                    self.probes.push(run);
                }
                Action::Send { token, exchange, connection, sharing, .. } => {
                    let call = self.calls.get(&token);
                    let (_, wanted) = *call.expect("sent for a call that is over");
                    assert_eq!(sharing, wanted);
                    assert!(
                        self.open.contains(&connection),
                        "sent on a connection that is not open"
                    );
                    assert!(!self.tunnels.contains(&connection), "sent on a tunnel");
                    for beside in self.exchanges.values().filter(|s| s.connection == connection) {
                        let both = [beside.sharing, sharing];
                        assert_eq!(both, [Sharing::Shared; 2], "beside one that is to be alone");
                        self.shared += 1;
                    }
                    let other = |sent: &Sent| sent.token == token && sent.connection == connection;
                    assert!(
                        !self.exchanges.values().any(|sent| other(sent) && !sent.answered),
                        "twice on one connection"
                    );
                    let twice = |sent: &Sent| sent.token == token && !sent.answered;
                    self.doubled += u64::from(self.exchanges.values().any(twice));
                    let sent = Sent { token, connection, sharing, answered: false };
                    self.exchanges.insert(exchange, sent);
                }
                Action::Reset { exchange, .. } => {
                    assert!(self.exchanges.remove(&exchange).is_some());
                    self.stale.push(exchange);
                }
                Action::Close { connection, .. } => {
                    self.gone(connection);
                }
                Action::Complete { token, outcome, .. } => {
                    let refused = outcome == Outcome::Refused(Refusal::Admission);
                    self.turned_away += u64::from(refused);
                    let by_route = matches!(outcome, Outcome::Refused(Refusal::Route { .. }));
                    self.off_route += u64::from(by_route);
                    assert!(self.calls.remove(&token).is_some(), "completed twice");
                    self.completed += 1;
                }
            }
        }
    }

    fn gone(&mut self, connection: ConnectionId) {
        self.dials.retain(|one| *one != connection);
        self.open.retain(|one| *one != connection);
        self.tunnels.retain(|one| *one != connection);
        let stale = &mut self.stale;
        self.exchanges.retain(|exchange, sent| {
            if sent.connection == connection {
                stale.push(*exchange);
            }
            sent.connection != connection
        });
    }

    fn start(&mut self) {
        self.next += 1;
        let token = self.next;
        let safety =
            [Safety::Safe, Safety::Safe, Safety::Idempotent, Safety::Keyed, Safety::Unsafe];
        let spec = CallSpec {
            token,
            deadline: self.now + Duration::from_millis(self.random.below(300)),
            covers: if self.chance(2) { Covers::Head } else { Covers::Body },
            safety: self.any(&safety).unwrap(),
            sharing: if self.chance(3) { Sharing::Exclusive } else { Sharing::Shared },
            priority: if self.chance(4) { Priority::High } else { Priority::Normal },
            hedge: !self.chance(4),
            retry: None,
            attempt_timeout: self
                .chance(4)
                .then(|| Duration::from_millis(1 + self.random.below(100))),
            pool_timeout: self.chance(4).then(|| Duration::from_millis(1 + self.random.below(100))),
            route: self.any(&[None, Some("GET /a"), Some("GET /b"), Some("PUT /c")]).unwrap(),
            hash_key: self.chance(2).then(|| self.random.below(8)),
        };
        // It may complete before it is known.
        self.calls.insert(token, (CallId::NONE, spec.sharing));
        let call = self.dispatcher.start(self.now, spec);
        self.calls.insert(token, (call, spec.sharing));
    }

    fn carries(&self, connection: ConnectionId) -> bool {
        self.exchanges.values().any(|sent| sent.connection == connection)
    }

    fn give_back(&mut self, exchange: ExchangeId, reuse: Reuse) {
        let Some(Sent { connection, .. }) = self.exchanges.remove(&exchange) else { return };
        self.stale.push(exchange);
        if reuse == Reuse::Close && !self.carries(connection) {
            self.gone(connection);
        }
    }

    fn reuse(&mut self) -> Reuse {
        if self.chance(3) { Reuse::Close } else { Reuse::Keep }
    }

    fn failure(&mut self) -> Failure {
        let delivery = [Delivery::NotSent, Delivery::Refused, Delivery::MaybeProcessed];
        let fault = [Fault::Peer, Fault::Network, Fault::Local];
        Failure {
            delivery: self.any(&delivery).unwrap(),
            phase: Phase::ResponseHead,
            fault: self.any(&fault).unwrap(),
        }
    }

    fn step(&mut self) {
        let exchanges: Vec<ExchangeId> = self.exchanges.keys().copied().collect();
        match self.random.below(26) {
            0..=4 => self.start(),
            5..=7 => {
                if let Some(connection) = self.any(&self.dials.clone()) {
                    self.dials.retain(|one| *one != connection);
                    self.open.push(connection);
                    let capacity = if self.chance(3) { 1 + self.random.below(4) as u32 } else { 1 };
                    self.dispatcher.connected(self.now, connection, capacity);
                }
            }
            8 => {
                if let Some(connection) = self.any(&self.dials.clone()) {
                    self.dials.retain(|one| *one != connection);
                    let failure = Failure { delivery: Delivery::NotSent, ..self.failure() };
                    self.dispatcher.dial_failed(self.now, connection, failure);
                }
            }
            9..=12 => {
                if let Some(exchange) = self.any(&exchanges) {
                    let statuses = [200, 200, 200, 404, 429, 500, 503];
                    let status = StatusCode::from_u16(self.any(&statuses).unwrap()).unwrap();
                    let delivery =
                        if status == 503 { Delivery::Refused } else { Delivery::Processed };
                    let facts =
                        HeadFacts { status, delivery, retry_after: None, replay: Replay::Possible };
                    let _ = self.dispatcher.head(self.now, exchange, facts);
                    if let Some(entry) = self.exchanges.get_mut(&exchange) {
                        entry.answered = true;
                    }
                }
            }
            13..=15 => {
                let answered =
                    |id: &&ExchangeId| self.exchanges.get(*id).is_some_and(|sent| sent.answered);
                let answered: Vec<ExchangeId> =
                    exchanges.iter().filter(answered).copied().collect();
                if let Some(exchange) = self.any(&answered) {
                    if self.chance(12) {
                        let connection = self.exchanges[&exchange].connection;
                        self.give_back(exchange, Reuse::Keep);
                        self.tunnels.push(connection);
                        self.upgraded += 1;
                        self.dispatcher.upgraded(self.now, exchange);
                    } else {
                        let reuse = self.reuse();
                        self.give_back(exchange, reuse);
                        self.dispatcher.finished(self.now, exchange, reuse);
                    }
                }
            }
            16 => {
                if let Some(exchange) = self.any(&exchanges) {
                    let (failure, reuse) = (self.failure(), self.reuse());
                    let replay = if self.chance(5) { Replay::Impossible } else { Replay::Possible };
                    self.give_back(exchange, reuse);
                    self.dispatcher.failed(self.now, exchange, failure, replay, reuse);
                }
            }
            17 => {
                let calls: Vec<u64> = self.calls.keys().copied().collect();
                if let Some(token) = self.any(&calls) {
                    let (call, _) = self.calls.remove(&token).unwrap();
                    let reuse = self.reuse();
                    // Answers that are discarded stay with whoever drains them.
                    let theirs: Vec<ExchangeId> = self
                        .exchanges
                        .iter()
                        .filter(|(id, sent)| {
                            sent.token == token
                                && self
                                    .dispatcher
                                    .exchanges
                                    .get(id.0)
                                    .is_some_and(|e| e.call.is_some())
                        })
                        .map(|(id, _)| *id)
                        .collect();
                    for exchange in theirs {
                        self.give_back(exchange, reuse);
                    }
                    self.dispatcher.abandon(self.now, call, reuse);
                }
            }
            18 => {
                if let Some(connection) = self.any(&self.open.clone()) {
                    if !self.carries(connection) {
                        self.gone(connection);
                    }
                    self.dispatcher.retire(self.now, connection);
                }
            }
            19 => {
                if let Some(exchange) = self.any(&self.stale.clone()) {
                    let failure = self.failure();
                    self.dispatcher.failed(
                        self.now,
                        exchange,
                        failure,
                        Replay::Possible,
                        Reuse::Close,
                    );
                    self.dispatcher.finished(self.now, exchange, Reuse::Keep);
                }
            }
            20 if self.chance(8) => self.endpoints(),
            20 if self.chance(8) => self.dispatcher.retire_all(self.now, Retire::TrustChanged),
            21 if self.chance(8) => {
                let endpoint = Endpoint(self.random.below(4));
                let forced = [None, None, Some(Forced::Open), Some(Forced::Closed)];
                let forced = self.any(&forced).unwrap();
                self.dispatcher.force_breaker(self.now, endpoint, forced);
                let forced = self.any(&[None, Some(Forced::Open)]).unwrap();
                self.dispatcher.force_route(self.now, "GET /a", forced);
            }
            22 => {
                if let Some(connection) = self.any(&self.open.clone()) {
                    let capacity = 1 + self.random.below(3) as u32;
                    self.dispatcher.set_capacity(self.now, connection, capacity);
                }
            }
            24 | 25 => {
                // Twice at times, and late.
                if let Some(run) = self.any(&self.probes.clone()) {
                    if !self.chance(4) {
                        self.probes.retain(|one| *one != run);
                    }
                    let is_well = self.chance(2);
                    self.probed += 1;
                    self.dispatcher.probed(self.now, run, is_well);
                }
            }
            _ => {
                self.now = self.now + Duration::from_micros(self.random.below(20_000));
                self.dispatcher.handle_timeout(self.now);
            }
        }
        self.obey();
        self.dispatcher.audit(self.now);
        self.hear();
    }

    /// Whoever looks is told of each attempt that it is sent, and once that it has ended.
    fn hear(&mut self) {
        while let Some(event) = self.dispatcher.poll_observed() {
            self.ejected += u64::from(matches!(event, Event::Ejected { .. }));
            self.panics += u64::from(matches!(event, Event::Panic { panics: true, .. }));
            match event {
                Event::AttemptSent { exchange, .. } => assert!(self.told.insert(exchange)),
                Event::AttemptEnded { exchange: Some(exchange), .. } => {
                    assert!(self.told.remove(&exchange), "ended twice: {event:?}");
                }
                Event::Lost(_) => panic!("more than can be kept"),
                _ => {}
            }
        }
    }

    /// Everybody goes home.
    fn end(&mut self) {
        // One at a time: what one leaves behind may complete another.
        while let Some((_, (call, _))) = self.calls.pop_first() {
            self.dispatcher.abandon(self.now, call, Reuse::Close);
            self.obey();
        }
        while let Some((exchange, _)) = self.exchanges.pop_first() {
            self.dispatcher.finished(self.now, exchange, Reuse::Close);
            self.obey();
        }
        self.hear();
        assert_eq!(self.told, BTreeSet::new(), "sent, and never told to have ended");
        self.dispatcher.drain(self.now);
        for connection in std::mem::take(&mut self.tunnels) {
            self.dispatcher.retire(self.now, connection);
        }
        for connection in std::mem::take(&mut self.dials) {
            let failure = Failure { delivery: Delivery::NotSent, ..self.failure() };
            self.dispatcher.dial_failed(self.now, connection, failure);
        }
        self.obey();
        self.dispatcher.audit(self.now);
        let dispatcher = &self.dispatcher;
        assert_eq!(dispatcher.admission.in_flight(), 0, "a place did not come home");
        let left = (dispatcher.calls(), dispatcher.exchanges(), dispatcher.connections());
        assert_eq!((left, dispatcher.pending()), ((0, 0, 0), 0), "something did not come home");
        let breakers = dispatcher.instances.iter().map(|(_, instance)| &instance.breaker);
        for breaker in breakers.chain(dispatcher.routes.iter().map(|route| &route.breaker)) {
            if let BreakerState::HalfOpen { probes } = breaker.state() {
                assert_eq!(probes, 0, "a probe did not come home");
            }
        }
    }
}

/// Inputs of each world.
const INPUTS: u64 = 400;

/// 260,000 worlds, which are 104 million inputs, keep every promise; that takes half a minute.
///
/// `SINEW_WORLDS=N cargo test --release -p sinew-core --lib random_worlds` searches longer.
#[test]
fn random_worlds() {
    let worlds = option_env!("SINEW_WORLDS").and_then(|n| n.parse().ok()).unwrap_or(3_000);
    let [mut completed, mut doubled, mut shared, mut upgraded, mut turned_away, mut off_route] =
        [0; 6];
    let [mut probed, mut ejected, mut panics] = [0; 3];
    for seed in 0..worlds {
        let mut input = 0;
        let world = catch_unwind(AssertUnwindSafe(|| {
            let mut world = World::new(seed);
            while input < INPUTS {
                world.step();
                input += 1;
            }
            world.end();
            world
        }));
        let world = world.unwrap_or_else(|violation| {
            println!("in world {seed}, input {input}");
            resume_unwind(violation)
        });
        completed += world.completed;
        doubled += world.doubled;
        shared += world.shared;
        upgraded += world.upgraded;
        turned_away += world.turned_away;
        off_route += world.off_route;
        probed += world.probed;
        ejected += world.ejected;
        panics += world.panics;
    }
    let little = |what: u64| what < worlds / 10;
    assert!(
        ![probed, ejected, panics].into_iter().any(little),
        "{probed} probed, {ejected} ejected, {panics} panics in {worlds} worlds: they show little"
    );
    assert!(off_route > worlds, "{off_route} off route in {worlds} worlds: they show little");
    assert!(
        turned_away > worlds / 4,
        "{turned_away} turned away in {worlds} worlds: they show little"
    );
    assert!(shared > worlds, "{shared} sent beside others in {worlds} worlds: they show little");
    assert!(upgraded > worlds / 4, "{upgraded} upgrades in {worlds} worlds: they show little");
    assert!(doubled > worlds / 20, "{doubled} hedges in {worlds} worlds: they show little");
    assert!(completed > worlds * 20, "{completed} calls in {worlds} worlds: they show little");
}
