//! Every state of a small world, for every order of inputs: two calls at once, two connections, one
//! endpoint.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_macros,
    reason = "the size of the space is a result"
)]

use std::collections::{BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use http::StatusCode;

use super::*;
use crate::error::{Fault, Phase};
use crate::limit::ConcurrencyConfig;
use crate::policy::Mode;
use crate::resilience::{
    Backoff, Breaker, BreakerConfig, BudgetConfig, HedgeConfig, Replay, RetryPolicy, Safety,
};

/// All times are so many of these.
const fn units(units: u64) -> Duration {
    Duration::from_micros(units)
}

/// Wide enough that nothing is ever forgotten.
const WINDOW: Duration = Duration::from_secs(600);

const BACK_OFF: u64 = 2;

/// What is looked at.
#[derive(Clone, Copy, Debug)]
struct Setting {
    /// Exchanges at once, of each connection.
    capacity: u32,
    /// Attempts at once.
    limit: u32,
    /// How often a call is tried.
    attempts: u8,
    hedge: Mode,
    /// Calls that want a connection to themselves, too.
    exclusive: bool,
    /// Calls of a route, too.
    route: bool,
    /// What a call has, in units.
    deadline: u64,
    attempt_timeout: Option<u64>,
    /// How long a call waits for a connection, and how long that takes to open.
    wait: Option<u64>,
    connect: u64,
}

impl Setting {
    fn policy(self) -> Policy {
        Policy {
            pool: PoolPolicy {
                max_connections: 2,
                max_per_endpoint: 2,
                max_pending: 2,
                max_calls: 2,
                idle: units(2),
                max_age: Duration::from_secs(1_000_000),
                max_requests: None,
                connect: units(self.connect),
                wait: self.wait.map(units),
                warm: 0,
            },
            retry: RetryPolicy {
                attempts: self.attempts,
                backoff: Backoff { base: units(BACK_OFF), cap: units(BACK_OFF) },
                ..RetryPolicy::default()
            },
            admission: ConcurrencyConfig {
                initial: self.limit,
                min: self.limit,
                max: self.limit,
                ..ConcurrencyConfig::default()
            },
            budget: BudgetConfig {
                tokens: 1_000,
                percent: 100,
                per_second: 1_000,
                window: WINDOW,
                ..BudgetConfig::default()
            },
            breaker: BreakerConfig {
                consecutive: 2,
                window: WINDOW,
                minimum_calls: u32::MAX,
                open_min: units(1),
                open_max: units(1),
                probes: 1,
                lease: units(2),
                ..BreakerConfig::default()
            },
            hedge: HedgeConfig {
                mode: self.hedge,
                percent: 50,
                minimum_samples: 1,
                window: WINDOW,
                delay_min: units(1),
                ..HedgeConfig::default()
            },
            attempt_timeout: self.attempt_timeout.map(units),
            max_routes: 1,
            ..Policy::default()
        }
    }
}

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Input {
    Start(Sharing, Safety, Option<&'static str>),
    Abandon(CallId, Reuse),
    Connected(ConnectionId),
    DialFailed(ConnectionId),
    Retired(ConnectionId),
    Head(ExchangeId, StatusCode),
    Finished(ExchangeId, Reuse),
    Upgraded(ExchangeId),
    Failed(ExchangeId, Delivery, Reuse),
    /// Time passes, until something is due.
    Due,
}

#[derive(Clone)]
struct World {
    setting: Setting,
    dispatcher: Dispatcher,
    now: Instant,
}

impl World {
    fn new(setting: Setting) -> Self {
        let now = Instant::ZERO + Duration::from_secs(1);
        let mut dispatcher = Dispatcher::new(setting.policy(), 0).unwrap();
        dispatcher.update_endpoints(now, 1, &[Endpoint(0)]);
        // What is wide open: hedges for all calls, and the delay known.
        for _ in 0..100_000 {
            dispatcher.hedge.call(now);
        }
        dispatcher.hedge.record(now, Duration::ZERO);
        Self { setting, dispatcher, now }
    }

    fn inputs(&self) -> Vec<Input> {
        let at = &self.dispatcher;
        let mut inputs = Vec::new();
        if at.calls() < 2 {
            inputs.push(Input::Start(Sharing::Shared, Safety::Safe, None));
            if self.setting.exclusive {
                inputs.push(Input::Start(Sharing::Exclusive, Safety::Unsafe, None));
            }
            if self.setting.route {
                inputs.push(Input::Start(Sharing::Shared, Safety::Safe, Some("GET /")));
            }
        }
        if at.deadline().is_some() {
            inputs.push(Input::Due);
        }
        for (key, _) in at.calls.iter() {
            inputs.extend([Reuse::Keep, Reuse::Close].map(|r| Input::Abandon(CallId(key), r)));
        }
        for (key, slot) in at.slots.iter() {
            let connection = ConnectionId(key);
            if slot.state == State::Dialing {
                inputs.extend([Input::Connected(connection), Input::DialFailed(connection)]);
            } else {
                inputs.push(Input::Retired(connection));
            }
        }
        for (key, exchange) in at.exchanges.iter() {
            let id = ExchangeId(key);
            let call = exchange.call.and_then(|call| at.calls.get(call));
            let waits = call.is_some_and(|call| !call.delivered);
            if waits {
                let statuses = [StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE];
                inputs.extend(statuses.map(|status| Input::Head(id, status)));
                inputs.push(Input::Failed(id, Delivery::NotSent, Reuse::Close));
                inputs.push(Input::Failed(id, Delivery::Refused, Reuse::Keep));
            } else {
                inputs.push(Input::Finished(id, Reuse::Keep));
                inputs.push(Input::Upgraded(id));
            }
            inputs.push(Input::Failed(id, Delivery::MaybeProcessed, Reuse::Close));
            inputs.push(Input::Finished(id, Reuse::Close));
        }
        inputs
    }

    /// The world after this input, which keeps all promises.
    fn after(&self, input: Input, seed: u64) -> Self {
        let mut world = self.clone();
        let Self { dispatcher, now, .. } = &mut world;
        dispatcher.jitter = Jitter::new(seed);
        let tokens = |at: &Dispatcher| -> Vec<u64> {
            at.calls.iter().map(|(_, call)| call.spec.token).collect()
        };
        let mut live = tokens(dispatcher);
        let at = *now;
        match input {
            Input::Start(sharing, safety, route) => {
                let token = (0..u64::MAX).find(|token| !live.contains(token)).unwrap();
                live.push(token);
                let deadline = at + units(self.setting.deadline);
                let spec = CallSpec { sharing, route, ..CallSpec::new(token, deadline, safety) };
                dispatcher.start(at, spec);
            }
            Input::Abandon(call, reuse) => {
                let token = dispatcher.calls.get(call.0).unwrap().spec.token;
                live.retain(|one| *one != token);
                dispatcher.abandon(at, call, reuse);
            }
            Input::Connected(connection) => {
                dispatcher.connected(at, connection, self.setting.capacity);
            }
            Input::DialFailed(connection) => {
                let failure = failure(Delivery::NotSent, Phase::Connect);
                dispatcher.dial_failed(at, connection, failure);
            }
            Input::Retired(connection) => dispatcher.retire(at, connection),
            Input::Head(exchange, status) => {
                let refused = status == StatusCode::SERVICE_UNAVAILABLE;
                let delivery = if refused { Delivery::Refused } else { Delivery::Processed };
                let replay = Replay::Possible;
                let facts = HeadFacts { status, delivery, retry_after: None, replay };
                let _ = dispatcher.head(at, exchange, facts);
            }
            Input::Finished(exchange, reuse) => dispatcher.finished(at, exchange, reuse),
            Input::Upgraded(exchange) => dispatcher.upgraded(at, exchange),
            Input::Failed(exchange, delivery, reuse) => {
                let failure = failure(delivery, Phase::ResponseHead);
                dispatcher.failed(at, exchange, failure, Replay::Possible, reuse);
            }
            Input::Due => {
                *now = dispatcher.deadline().unwrap().at;
                assert!(at < *now, "a timer was left behind");
                dispatcher.handle_timeout(*now);
            }
        }
        world.obey(&mut live);
        let Self { dispatcher, now, .. } = &world;
        let mut left = tokens(dispatcher);
        left.sort_unstable();
        live.sort_unstable();
        assert_eq!(left, live, "a call ended, and nobody was told");
        dispatcher.audit(*now);
        world
    }

    fn obey(&mut self, live: &mut Vec<u64>) {
        let Self { dispatcher, now, .. } = self;
        while let Ok(Some(action)) = dispatcher.poll_event(*now) {
            match action {
                Action::Send { token, exchange, connection, .. } => {
                    assert!(live.contains(&token), "sent for a call that is over");
                    let sent = dispatcher.exchanges.get(exchange.0).unwrap();
                    assert_eq!(sent.connection, connection.0);
                    let state = dispatcher.slots.get(connection.0).unwrap().state;
                    assert_eq!(state, State::Open, "sent on a connection that is not open");
                }
                Action::Complete { token, .. } => {
                    assert!(live.contains(&token), "completed twice");
                    live.retain(|one| *one != token);
                }
                Action::Probe { .. } => unreachable!("there are none"),
                Action::Dial { connection, by, .. } => {
                    assert!(by > *now && dispatcher.slots.get(connection.0).is_some());
                }
                Action::Close { connection, .. } => {
                    assert!(dispatcher.slots.get(connection.0).is_none(), "closed, and kept");
                }
                Action::Reset { exchange, .. } => {
                    assert!(dispatcher.exchanges.get(exchange.0).is_none(), "reset, and kept");
                }
            }
        }
    }

    /// Ids that are stale change nothing.
    fn ignores_strangers(&self) {
        let before = self.dispatcher.canonical(self.now);
        let mut world = self.clone();
        let (at, dispatcher) = (world.now, &mut world.dispatcher);
        let (exchange, connection) = (ExchangeId(Key::NOBODY), ConnectionId(Key::NOBODY));
        dispatcher.abandon(at, CallId::NONE, Reuse::Close);
        dispatcher.connected(at, connection, 2);
        dispatcher.retire(at, connection);
        dispatcher.finished(at, exchange, Reuse::Close);
        dispatcher.upgraded(at, exchange);
        assert_eq!(before, dispatcher.canonical(at), "a stranger changed something");
        assert_eq!(dispatcher.poll_event(at), Ok(None));
    }

    /// Everybody goes home, from wherever they are.
    fn goes_home(&self) {
        let mut world = self.clone();
        let Self { dispatcher, now, .. } = &mut world;
        while let Some((key, _)) = { dispatcher.calls.iter().next() } {
            dispatcher.abandon(*now, CallId(key), Reuse::Close);
        }
        while let Some((key, _)) = { dispatcher.exchanges.iter().next() } {
            dispatcher.finished(*now, ExchangeId(key), Reuse::Close);
        }
        while let Some((key, _)) = { dispatcher.slots.iter().next() } {
            dispatcher.retire(*now, ConnectionId(key));
        }
        assert_eq!((dispatcher.pending(), dispatcher.admission.in_flight()), (0, 0));
        let breaker = &dispatcher.instances.iter().next().unwrap().1.breaker;
        let mut breakers = dispatcher.routes.iter().map(|route| &route.breaker).chain([breaker]);
        let probing =
            |breaker: &Breaker| matches!(breaker.state(), BreakerState::HalfOpen { probes: 1.. });
        assert!(!breakers.any(probing), "a probe did not come home");
    }

    fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.dispatcher.canonical(self.now).hash(&mut hasher);
        hasher.finish()
    }
}

fn failure(delivery: Delivery, phase: Phase) -> Failure {
    Failure { delivery, phase, fault: Fault::Network }
}

/// How big a space is.
#[derive(Clone, Copy, Default, Debug)]
struct Size {
    states: usize,
    inputs: usize,
    /// Inputs from the start to the last state that was found.
    depth: u32,
    /// States in which a call is sent twice, waits, or is to be tried again; with a breaker that is not
    /// closed; with a connection that left HTTP.
    hedged: usize,
    waiting: usize,
    /// With a connection being opened that nobody is to wait for.
    forsaken: usize,
    backing_off: usize,
    tripped: usize,
    /// With the breaker of a route that is not closed beside that of its endpoint, which is.
    spared: usize,
    tunnels: usize,
    /// There is nothing else.
    complete: bool,
}

impl Size {
    fn count(&mut self, at: &Dispatcher) {
        let lanes = |is: fn(&Lane) -> bool, of: usize| {
            at.calls.iter().any(|(_, call)| call.lanes.iter().filter(|lane| is(lane)).count() >= of)
        };
        self.hedged += usize::from(lanes(|lane| matches!(lane, Lane::Sent(_)), 2));
        self.waiting += usize::from(lanes(|lane| matches!(lane, Lane::Queued(_)), 1));
        self.backing_off += usize::from(lanes(|lane| matches!(lane, Lane::BackOff(_)), 1));
        let closed = |(_, one): (Key, &Instance)| one.breaker.state() == BreakerState::Closed;
        let tripped = !at.instances.iter().all(closed);
        self.tripped += usize::from(tripped);
        let mut routes = at.routes.iter().map(|route| route.breaker.state());
        let cut = routes.any(|state| state != BreakerState::Closed);
        self.spared += usize::from(cut && !tripped);
        self.forsaken += usize::from(at.slots.iter().any(|(_, slot)| slot.forsaken));
        self.tunnels += usize::from(at.slots.iter().any(|(_, slot)| slot.state == State::Tunnel));
    }
}

/// Everything that can happen, the shortest ways first, up to so many states. The way to a violation
/// is told.
fn explore(setting: Setting, states: usize) -> Size {
    let seed = (0..u64::MAX).find(|seed| {
        let longest = units(BACK_OFF);
        Jitter::new(*seed).between(Duration::ZERO, longest) == units(1)
    });
    let seed = seed.unwrap();
    let start = World::new(setting);
    let mut seen = BTreeSet::from([start.hash()]);
    // From which state each was found, by what.
    let mut found = vec![(0, Input::Due)];
    let mut queue = VecDeque::from([(0, 0, start)]);
    let mut size = Size { complete: true, ..Size::default() };
    while let Some((name, depth, world)) = queue.pop_front() {
        if seen.len() >= states {
            size.complete = false;
            break;
        }
        for input in world.inputs() {
            size.inputs += 1;
            let step = || {
                let next = world.after(input, seed);
                let hash = next.hash();
                let new = seen.len() < states && !seen.contains(&hash);
                if new {
                    next.ignores_strangers();
                    next.goes_home();
                }
                (next, hash, new)
            };
            match catch_unwind(AssertUnwindSafe(step)) {
                Ok((next, hash, true)) => {
                    seen.insert(hash);
                    size.count(&next.dispatcher);
                    found.push((name, input));
                    queue.push_back((found.len() - 1, depth + 1, next));
                    size.depth = depth + 1;
                }
                Ok(_) => {}
                Err(violation) => {
                    println!("after {} states, {} inputs of {setting:?}:", seen.len(), size.inputs);
                    let mut way = vec![input];
                    let mut at = name;
                    while at != 0 {
                        way.push(found[at].1);
                        at = found[at].0;
                    }
                    way.iter().rev().for_each(|input| println!("  {input:?}"));
                    resume_unwind(violation);
                }
            }
        }
    }
    size.states = seen.len();
    size
}

/// What the others differ from.
const ALL: Setting = Setting {
    capacity: 1,
    limit: 4,
    attempts: 2,
    hedge: Mode::Enforce,
    exclusive: false,
    route: false,
    deadline: 2,
    attempt_timeout: None,
    wait: None,
    connect: 1,
};

/// Complete with `SINEW_SPACE=4000000`: one attempt, short attempts, hedges, the limit, short waits and a route,
/// 39,710, 249,479, 460,549, 312,595, 627,017 and 503,834 states, 28.7 million inputs in all. Of the other three
/// the first 4 million states each, after 19 inputs, 127.2 million inputs in all. All keep every promise.
///
/// `SINEW_SPACE=N cargo test --release -p sinew-core --lib every_state -- --test-threads 1` looks at up to so
/// many states of each setting.
fn keeps_the_promises(setting: Setting) {
    let states = option_env!("SINEW_SPACE").and_then(|n| n.parse().ok()).unwrap_or(40_000);
    let size = explore(setting, states);
    println!("{setting:?}: {size:?}");
    let Size { waiting, forsaken, backing_off, tripped, tunnels, .. } = size;
    assert!([waiting, forsaken, tripped, tunnels].iter().all(|seen| *seen > 0), "they show little");
    assert_eq!(backing_off > 0, setting.attempts > 1, "they show little");
    let hedges = setting.hedge == Mode::Enforce && setting.limit > 1;
    assert_eq!(size.hedged > 0, hedges, "they show little");
    assert_eq!(size.spared > 0, setting.route, "they show little");
}

#[test]
fn every_state_keeps_the_promises_at_one_attempt() {
    keeps_the_promises(Setting { attempts: 1, hedge: Mode::Off, ..ALL });
}

#[test]
fn every_state_keeps_the_promises_at_short_attempts() {
    keeps_the_promises(Setting { hedge: Mode::Off, attempt_timeout: Some(1), ..ALL });
}

#[test]
fn every_state_keeps_the_promises_with_hedges() {
    keeps_the_promises(ALL);
}

#[test]
fn every_state_keeps_the_promises_at_its_limit() {
    keeps_the_promises(Setting { limit: 1, ..ALL });
}

#[test]
fn every_state_keeps_the_promises_on_shared_connections() {
    keeps_the_promises(Setting { capacity: 2, exclusive: true, ..ALL });
}

#[test]
fn every_state_keeps_the_promises_at_long_calls() {
    keeps_the_promises(Setting { deadline: 3, attempt_timeout: Some(2), ..ALL });
}

#[test]
fn every_state_keeps_the_promises_at_short_waits() {
    keeps_the_promises(Setting { wait: Some(1), connect: 2, hedge: Mode::Off, ..ALL });
}

#[test]
fn every_state_keeps_the_promises_of_a_route() {
    keeps_the_promises(Setting { route: true, attempts: 1, hedge: Mode::Off, ..ALL });
}

#[test]
fn every_state_keeps_the_promises_of_a_route_with_hedges() {
    keeps_the_promises(Setting { route: true, ..ALL });
}
