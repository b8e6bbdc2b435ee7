//! Quotas that replicas share: two of them and a store in memory, with clocks of their own.

#![expect(clippy::unwrap_used, reason = "outside of `#[test]` too, a test stops where it is wrong")]

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use sinew_core::Machine as _;
use sinew_core::limit::{
    Answer, Ask, AskId, AskOutcome, BadLease, Basis, KeyHash, KeyHasher, LeaseConfig, LeaseVerdict,
    Leases, Quota, Shortage, TokenBucket, Wait, WithoutStore,
};
use sinew_core::observe::Event;
use sinew_core::time::{Instant, Timer};

const MS: u64 = 1_000_000;

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn quota(count: u32, burst: u32) -> Quota {
    Quota::new(count, Duration::from_secs(1), burst).unwrap()
}

fn keys() -> KeyHasher {
    KeyHasher::new([4; 16])
}

/// A store as simple as one can be: a bucket a client, on a clock of its own.
struct Store {
    quota: Quota,
    buckets: BTreeMap<String, TokenBucket>,
    /// Its clock is ahead of that of the test by so much.
    ahead: Duration,
}

impl Store {
    fn new(quota: Quota, ahead: Duration) -> Self {
        Self { quota, buckets: BTreeMap::new(), ahead }
    }

    fn answer(&mut self, now: Instant, ask: Ask) -> Answer {
        let now = now + self.ahead;
        let bucket = self.buckets.entry(format!("{:?}", ask.key)).or_default();
        let tokens = bucket.remaining(now, &self.quota).min(ask.tokens);
        assert_eq!(bucket.take(now, &self.quota, tokens), Wait::No);
        let retry_after = match bucket.wait(now, &self.quota, 1) {
            Wait::For(time) => time,
            Wait::No | Wait::Forever => Duration::ZERO,
        };
        Answer::Granted { tokens, retry_after }
    }
}

/// Replicas and a store, with a way between them that takes its time.
struct Mesh {
    replicas: Vec<(Leases, Duration)>,
    store: Store,
    /// Answers on their way, and when they arrive.
    mail: Vec<(Instant, usize, AskId, Answer)>,
    is_up: bool,
    dice: u64,
    now: Instant,
}

impl Mesh {
    /// Clocks that differ by hours.
    fn new(config: &LeaseConfig, quota: Quota) -> Self {
        let replica = |ahead| (Leases::new(config.clone()).unwrap(), ahead);
        Self {
            replicas: vec![replica(Duration::ZERO), replica(Duration::from_secs(7200))],
            store: Store::new(quota, Duration::from_secs(3600)),
            mail: Vec::new(),
            is_up: true,
            dice: 1,
            now: Instant::from_nanos(MS),
        }
    }

    fn roll(&mut self, sides: u64) -> u64 {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.dice >> 33) % sides
    }

    /// One request.
    fn ask(&mut self, replica: usize, client: &str) -> LeaseVerdict {
        let (leases, ahead) = &mut self.replicas[replica];
        let key = keys().hash(client);
        leases.check(self.now + *ahead, 1, key, key.into())
    }

    /// A millisecond passes.
    fn tick(&mut self) {
        self.now = self.now + millis(1);
        let mail = std::mem::take(&mut self.mail);
        for (at, to, id, answer) in mail {
            if at <= self.now {
                let (leases, ahead) = &mut self.replicas[to];
                leases.handle_answer(self.now + *ahead, id, answer);
            } else {
                self.mail.push((at, to, id, answer));
            }
        }
        for replica in 0..self.replicas.len() {
            let (leases, ahead) = &mut self.replicas[replica];
            let local = self.now + *ahead;
            leases.handle_timeout(local);
            while let Some(ask) = self.replicas[replica].0.poll_event(local).unwrap() {
                if self.is_up {
                    let answer = self.store.answer(self.now, ask);
                    let at = self.now + millis(1 + self.roll(20));
                    self.mail.push((at, replica, ask.id, answer));
                }
            }
            let deadline = self.replicas[replica].0.deadline();
            assert!(deadline.is_none_or(|deadline| deadline.at > local), "{deadline:?}");
        }
    }
}

/// Both replicas are asked much more often than the quota allows.
fn flood(mesh: &mut Mesh, for_millis: u64, mut seen: impl FnMut(Instant, LeaseVerdict)) {
    for _ in 0..for_millis {
        for _ in 0..mesh.roll(3) {
            let replica = mesh.roll(2) as usize;
            let verdict = mesh.ask(replica, "ann");
            seen(mesh.now, verdict);
        }
        mesh.tick();
    }
}

fn slack(config: &LeaseConfig) -> u32 {
    2 * (config.tokens + config.ahead)
}

#[test]
fn two_replicas_share_one_quota() {
    let config = LeaseConfig::default();
    let shared = quota(100, 20);
    let mut mesh = Mesh::new(&config, shared);
    // A bucket of the same rate that also has the slack holds all that is let through, whenever one
    // begins to count.
    let bound = quota(100, 20 + slack(&config));
    let mut counted = TokenBucket::new();
    let mut allowed = 0;
    flood(&mut mesh, 60_000, |now, verdict| {
        if let LeaseVerdict::Allowed(_) = verdict {
            assert_eq!(counted.take(now, &bound, 1), Wait::No, "too many after {allowed}");
            allowed += 1;
        }
    });
    assert!(allowed <= 6_000 + 20 + slack(&config), "{allowed}");
    assert!(allowed >= 5_900, "{allowed}: what there is is given out");
}

#[test]
fn closed_without_a_store_only_what_is_on_lease_goes_on() {
    let config = LeaseConfig::default();
    let mut mesh = Mesh::new(&config, quota(1_000, 1_000));
    flood(&mut mesh, 1_000, |_, _| {});
    mesh.is_up = false;
    mesh.mail.clear();
    let mut allowed = 0;
    let mut last = None;
    flood(&mut mesh, 5_000, |_, verdict| match verdict {
        LeaseVerdict::Allowed(_) => allowed += 1,
        LeaseVerdict::Refused { reason, retry_after } => last = Some((reason, retry_after)),
    });
    assert!(allowed <= slack(&config), "{allowed}");
    let (reason, retry_after) = last.unwrap();
    assert_eq!(reason, Shortage::NoStore);
    assert!(retry_after.unwrap() <= config.pause);
    // Nobody is let in on credit while there is no store.
    let verdict = mesh.ask(0, "bob");
    assert!(matches!(verdict, LeaseVerdict::Refused { reason: Shortage::NoStore, .. }));
    // It comes back: one ask finds that out.
    mesh.is_up = true;
    let mut allowed = 0;
    flood(&mut mesh, 3_000, |_, verdict| {
        allowed += u32::from(matches!(verdict, LeaseVerdict::Allowed(_)));
    });
    assert!(allowed > 1_000, "{allowed}");
}

#[test]
fn without_a_store_each_replica_may_have_a_quota_of_its_own() {
    let without_store = WithoutStore::Local(quota(10, 5));
    let config = LeaseConfig { without_store, ..LeaseConfig::default() };
    let mut mesh = Mesh::new(&config, quota(100, 20));
    mesh.is_up = false;
    let (mut allowed, mut local) = (0, 0);
    let mut refused = None;
    flood(&mut mesh, 10_000, |_, verdict| match verdict {
        LeaseVerdict::Allowed(basis) => {
            allowed += 1;
            local += u32::from(basis == Basis::Local);
        }
        LeaseVerdict::Refused { reason, .. } => refused = Some(reason),
    });
    // Ten seconds of ten a second each.
    assert!((190..=2 * (100 + 5)).contains(&local), "{local}");
    assert!(allowed <= local + slack(&config), "{allowed} and {local}");
    assert_eq!(refused, Some(Shortage::Local));
}

#[test]
fn open_without_a_store_nobody_is_held_up() {
    let config = LeaseConfig { without_store: WithoutStore::Open, ..LeaseConfig::default() };
    let mut leases = Leases::new(config.clone()).unwrap();
    let key = keys().hash("ann");
    let mut now = Instant::ZERO;
    let mut check = |now| leases.check(now, 1, key, key.into());
    for _ in 0..config.ahead {
        assert_eq!(check(now), LeaseVerdict::Allowed(Basis::Ahead));
    }
    // As long as the store may still answer, it is waited for.
    assert!(matches!(check(now), LeaseVerdict::Refused { reason: Shortage::Unanswered, .. }));
    now = now + config.patience;
    for _ in 0..1_000 {
        assert_eq!(check(now), LeaseVerdict::Allowed(Basis::Uncounted));
    }
}

#[test]
fn what_the_store_has_not_decided_is_owed_and_paid_first() {
    let config = LeaseConfig { ahead: 3, tokens: 10, ..LeaseConfig::default() };
    let mut leases = Leases::new(config.clone()).unwrap();
    let key = keys().hash("ann");
    let mut now = Instant::ZERO;
    for _ in 0..3 {
        assert_eq!(leases.check(now, 1, key, key.into()), LeaseVerdict::Allowed(Basis::Ahead));
    }
    let unanswered = Shortage::Unanswered;
    let retry_after = Some(config.patience);
    let refused = LeaseVerdict::Refused { reason: unanswered, retry_after };
    assert_eq!(leases.check(now, 1, key, key.into()), refused);
    let ask = leases.poll_event(now).unwrap().unwrap();
    // The first request asked; what was owed since is asked for next.
    assert_eq!((ask.key, ask.tokens), (key, 11));
    assert_eq!(leases.poll_event(now).unwrap(), None, "one ask a client");
    let spent = |tokens| Answer::Granted { tokens, retry_after: millis(500) };
    leases.handle_answer(now, ask.id, spent(2));
    let refused = LeaseVerdict::Refused { reason: Shortage::Spent, retry_after: Some(millis(500)) };
    assert_eq!(leases.check(now, 1, key, key.into()), refused, "one is owed still");
    // Nobody asks any more: the debt is paid all the same, and the rest given up.
    now = leases.deadline().unwrap().at;
    assert_eq!(now, Instant::ZERO + millis(500));
    let ask = leases.poll_event(now).unwrap().unwrap();
    assert_eq!(ask.tokens, 11);
    leases.handle_answer(now, ask.id, spent(1));
    assert_eq!(leases.clients(), 1, "that there is no more is remembered");
    now = now + millis(500);
    leases.handle_timeout(now);
    assert_eq!((leases.clients(), leases.pending(), leases.deadline()), (0, 0, None));
}

#[test]
fn leases_end() {
    let config = LeaseConfig::default();
    let mut leases = Leases::new(config.clone()).unwrap();
    let key = keys().hash("ann");
    let now = Instant::ZERO;
    assert_eq!(leases.check(now, 1, key, key.into()), LeaseVerdict::Allowed(Basis::Ahead));
    let ask = leases.poll_event(now).unwrap().unwrap();
    let answer = Answer::Granted { tokens: ask.tokens + 7, retry_after: Duration::ZERO };
    leases.handle_answer(now + millis(99), ask.id, answer);
    for _ in 0..5 {
        let verdict = leases.check(now + millis(999), 1, key, key.into());
        assert_eq!(verdict, LeaseVerdict::Allowed(Basis::Lease));
    }
    // Since it was asked for, a second: the store may have counted from then on.
    let deadline = leases.deadline().unwrap();
    assert_eq!((deadline.at, deadline.why), (now + config.lifetime, Timer::Lease));
    let verdict = leases.check(now + config.lifetime, 1, key, key.into());
    assert_eq!(verdict, LeaseVerdict::Allowed(Basis::Ahead), "five are given up");
}

#[test]
fn a_late_answer_changes_nothing() {
    let config = LeaseConfig { ahead: 0, ..LeaseConfig::default() };
    let mut leases = Leases::new(config.clone()).unwrap();
    let key = keys().hash("ann");
    let now = Instant::ZERO;
    assert!(matches!(leases.check(now, 1, key, key.into()), LeaseVerdict::Refused { .. }));
    let ask = leases.poll_event(now).unwrap().unwrap();
    let late = now + config.patience;
    let answer = Answer::Granted { tokens: 10, retry_after: Duration::ZERO };
    leases.handle_answer(late, ask.id, answer);
    let LeaseVerdict::Refused { reason, retry_after } = leases.check(late, 1, key, key.into())
    else {
        panic!("its tokens are lost");
    };
    assert_eq!((reason, retry_after), (Shortage::NoStore, Some(config.pause)));
    assert_eq!(leases.poll_event(late).unwrap(), None, "it is left alone");
    // Then it gets one ask, not one for each client.
    let after = late + config.pause;
    for client in 0..5 {
        let key = keys().hash(client);
        let _ = leases.check(after, 1, key, key.into());
    }
    assert!(leases.poll_event(after).unwrap().is_some());
    assert_eq!(leases.poll_event(after).unwrap(), None);
}

#[test]
fn what_came_of_each_ask_is_told_once() {
    let config =
        LeaseConfig { ahead: 0, pause: millis(1), observe: true, ..LeaseConfig::default() };
    let mut leases = Leases::new(config.clone()).unwrap();
    let key = keys().hash("ann");
    let mut now = Instant::ZERO;
    let mut told = Vec::new();
    let all = |tokens| Answer::Granted { tokens, retry_after: millis(1) };
    for answer in [Some(all(10)), Some(all(9)), Some(Answer::Failed), None] {
        // Whatever was on lease is given up.
        now = now + config.lifetime;
        let _ = leases.check(now, 1, key, key.into());
        let ask = leases.poll_event(now).unwrap().unwrap();
        match answer {
            Some(answer) => leases.handle_answer(now, ask.id, answer),
            None => leases.handle_timeout(now + config.patience),
        }
        told.extend(std::iter::from_fn(|| leases.poll_observed()));
    }
    let outcomes =
        [AskOutcome::Granted, AskOutcome::Short, AskOutcome::Failed, AskOutcome::Unanswered];
    assert_eq!(told, outcomes.map(Event::Asked));
}

#[test]
fn leases_that_make_no_sense_are_refused() {
    let zero = Duration::ZERO;
    let default = LeaseConfig::default;
    for (config, why) in [
        (LeaseConfig { tokens: 0, ..default() }, BadLease::Lease),
        (LeaseConfig { lifetime: zero, ..default() }, BadLease::Lease),
        (LeaseConfig { patience: zero, ..default() }, BadLease::Time),
        (LeaseConfig { pause: zero, ..default() }, BadLease::Time),
        (LeaseConfig { asks: 0, ..default() }, BadLease::Room),
        (LeaseConfig { clients: 0, ..default() }, BadLease::Room),
    ] {
        assert_eq!(Leases::new(config).err(), Some(why));
    }
}

#[derive(Clone, Debug)]
enum Act {
    Wait(u64),
    Check(u8, u32),
    Answer(usize, u32, u64),
    Fail(usize),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (0..2_000_000_000u64).prop_map(Act::Wait),
        (any::<u8>(), 0..30u32).prop_map(|(client, cost)| Act::Check(client, cost)),
        (0..4usize, 0..40u32, 0..3_000_000_000u64).prop_map(|(n, t, w)| Act::Answer(n, t, w)),
        (0..4usize).prop_map(Act::Fail),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens: the caps hold, no timer is left behind, no client is given more than was
    /// granted and may be owed, and in the end nothing is left.
    #[test]
    fn any_script_is_survived(script in vec(act(), 1..200)) {
        let config = LeaseConfig { asks: 3, clients: 20, ..LeaseConfig::default() };
        let mut leases = Leases::new(config.clone()).unwrap();
        let mut now = Instant::ZERO;
        let mut asks: Vec<Ask> = Vec::new();
        let mut given: BTreeMap<String, i64> = BTreeMap::new();
        let name = |key: KeyHash| format!("{key:?}");
        for act in script {
            match act {
                Act::Wait(nanos) => {
                    now = now + Duration::from_nanos(nanos);
                    leases.handle_timeout(now);
                }
                Act::Check(client, cost) => {
                    let key = keys().hash(client);
                    if let LeaseVerdict::Allowed(_) = leases.check(now, cost, key, key.into()) {
                        *given.entry(name(key)).or_default() -= i64::from(cost);
                    }
                }
                Act::Answer(at, tokens, wait) if at < asks.len() => {
                    let ask = asks.remove(at);
                    let tokens = tokens.min(ask.tokens);
                    *given.entry(name(ask.key)).or_default() += i64::from(tokens);
                    let retry_after = Duration::from_nanos(wait);
                    leases.handle_answer(now, ask.id, Answer::Granted { tokens, retry_after });
                }
                Act::Fail(at) if at < asks.len() => {
                    leases.handle_answer(now, asks.remove(at).id, Answer::Failed);
                }
                Act::Answer(..) | Act::Fail(_) => {}
            }
            while let Some(ask) = leases.poll_event(now).unwrap() {
                asks.push(ask);
            }
            prop_assert!(leases.pending() <= config.asks && leases.clients() <= config.clients);
            prop_assert!(leases.deadline().is_none_or(|deadline| deadline.at > now));
            for balance in given.values() {
                prop_assert!(*balance >= -i64::from(config.ahead), "{given:?}");
            }
        }
        // A store that grants everything pays all debts.
        for _ in 0..200 {
            let Some(deadline) = leases.deadline() else { break };
            now = deadline.at;
            leases.handle_timeout(now);
            while let Some(ask) = leases.poll_event(now).unwrap() {
                let answer = Answer::Granted { tokens: ask.tokens, retry_after: Duration::ZERO };
                leases.handle_answer(now, ask.id, answer);
            }
        }
        prop_assert_eq!((leases.clients(), leases.pending(), leases.deadline()), (0, 0, None));
    }
}
