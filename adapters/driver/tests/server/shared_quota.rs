//! A quota that replicas share: when the store is asked, and what becomes of requests without it.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Method;
use sinew_core::limit::{
    Answer, AskOutcome, KeyHash, LeaseConfig, Quota, RateLimiterConfig, WithoutStore,
};
use sinew_core::observe::Event;
use sinew_driver::{LeaseStore, MemoryStore, Notice, Request, RouteOptions, SharedQuota};

use crate::support::Sim;
use crate::support::running::{Builder, Running, get, seconds, serve};

/// What a store does with the next ask.
#[derive(Clone, Copy, Debug)]
enum Does {
    Grant,
    Fail,
    Panic,
    /// It never answers.
    Wait,
}

/// Does as it is told; then it waits.
#[derive(Default)]
struct Scripted {
    script: Mutex<VecDeque<Does>>,
    asked: Mutex<Vec<u32>>,
}

impl LeaseStore for Scripted {
    fn quota(&self) -> Quota {
        Quota::new(100, seconds(60), 100).unwrap()
    }

    async fn take(&self, _: KeyHash, tokens: u32) -> Answer {
        self.asked.lock().unwrap().push(tokens);
        let next = self.script.lock().unwrap().pop_front();
        match next.unwrap_or(Does::Wait) {
            Does::Grant => Answer::Granted { tokens, retry_after: Duration::ZERO },
            Does::Fail => Answer::Failed,
            Does::Panic => panic!("on purpose"),
            Does::Wait => pending().await,
        }
    }
}

fn running(leases: LeaseConfig, script: &[Does]) -> (Running, Arc<Scripted>) {
    let store = Arc::new(Scripted::default());
    store.script.lock().unwrap().extend(script);
    let shared = SharedQuota::new(Arc::clone(&store), [3; 16]).leases(leases);
    let running = serve(|builder, _| {
        let probe = RouteOptions::new().cost(0);
        builder
            .shared_quota(shared)
            .route_with(Method::GET, "/probe", probe, async |_: Request| "alive")
            .route(Method::GET, "/", async |_: Request| "in")
    });
    running.sim.run();
    (running, store)
}

impl Running {
    /// The status of an answer, and its `Retry-After`.
    fn status(&self, path: &str) -> (u16, Option<String>) {
        let answer = self.ask(get(path));
        let retry_after = answer.lines().find_map(|line| line.strip_prefix("retry-after: "));
        (answer[9..12].parse().unwrap(), retry_after.map(str::to_owned))
    }

    fn asked(&self) -> Vec<AskOutcome> {
        let notices = self.notices.lock().unwrap();
        let outcomes = notices.iter().filter_map(|notice| match notice {
            Notice::Decided(Event::Asked(outcome)) => Some(*outcome),
            _ => None,
        });
        outcomes.collect()
    }
}

#[test]
fn the_store_is_asked_for_some_tokens_at_a_time() {
    let (running, store) = running(LeaseConfig::default(), &[Does::Grant; 20]);
    for _ in 0..50 {
        assert_eq!(running.status("/").0, 200);
    }
    let asked = store.asked.lock().unwrap().clone();
    assert!((5..=12).contains(&asked.len()), "{asked:?}");
    assert!(asked.iter().all(|tokens| (5..=11).contains(tokens)), "{asked:?}");
    assert_eq!(running.asked(), vec![AskOutcome::Granted; asked.len()]);
}

#[test]
fn closed_without_a_store_requests_are_refused_until_it_is_back() {
    let (running, store) = running(LeaseConfig::default(), &[]);
    for _ in 0..5 {
        assert_eq!(running.status("/").0, 200, "ahead of the store");
    }
    assert_eq!(running.status("/"), (429, Some("1".into())), "not heard yet");
    running.sim.advance(Duration::from_millis(100));
    assert_eq!(running.status("/"), (503, Some("1".into())));
    assert_eq!(running.status("/probe").0, 200, "what costs nothing asks nobody");
    assert_eq!(running.asked(), [AskOutcome::Unanswered]);
    // It is left alone for a while, and asked for the debt then.
    store.script.lock().unwrap().extend([Does::Grant; 2]);
    running.sim.advance(seconds(1));
    assert_eq!(running.status("/").0, 200);
    assert_eq!(running.asked()[..2], [AskOutcome::Unanswered, AskOutcome::Granted]);
    assert_eq!(store.asked.lock().unwrap()[1], 15, "ten, and the five that are owed");
}

#[test]
fn without_a_store_each_server_may_count_by_itself_or_not_at_all() {
    let local = Quota::new(1, seconds(60), 3).unwrap();
    for (without_store, let_through) in [(WithoutStore::Local(local), 3), (WithoutStore::Open, 50)]
    {
        let leases = LeaseConfig { ahead: 0, without_store, ..LeaseConfig::default() };
        let (running, _) = running(leases, &[Does::Fail]);
        assert_eq!(running.status("/").0, 429, "nobody has counted yet");
        let through = (0..50).filter(|_| running.status("/").0 == 200).count();
        assert_eq!(through, let_through, "{without_store:?}");
        assert_eq!(running.asked(), [AskOutcome::Failed]);
    }
}

#[test]
fn a_store_that_panics_has_failed_and_is_asked_again() {
    let (running, _) = running(LeaseConfig::default(), &[Does::Panic, Does::Grant]);
    assert_eq!(running.status("/").0, 200);
    assert_eq!(running.asked(), [AskOutcome::Failed]);
    running.sim.advance(seconds(1));
    assert_eq!(running.asked(), [AskOutcome::Failed, AskOutcome::Granted]);
    assert_eq!(running.status("/").0, 200);
}

#[test]
fn a_store_in_memory_gives_what_there_is_and_says_when_there_is_more() {
    let sim = Sim::new();
    let quota = Quota::new(60, seconds(60), 12).unwrap();
    let store = MemoryStore::new(sim.clone(), quota, &RateLimiterConfig::default()).unwrap();
    let names = sinew_core::limit::KeyHasher::new([1; 16]);
    let store = Arc::new(store);
    let take = |client: &str, tokens| {
        let (store, client) = (Arc::clone(&store), names.hash(client));
        sim.block_on(async move { store.take(client, tokens).await })
    };
    let granted = |tokens, wait| Answer::Granted { tokens, retry_after: seconds(wait) };
    assert_eq!(take("ann", 10), granted(10, 0));
    assert_eq!(take("ann", 10), granted(2, 1));
    assert_eq!(take("ann", 10), granted(0, 1));
    assert_eq!(take("bob", 10), granted(10, 0));
    sim.advance(seconds(2));
    assert_eq!(take("ann", 1), granted(1, 0));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let builder = |sim: &Sim| -> Builder { sim.server() };
    let sim = Sim::new();
    let shared = |leases| SharedQuota::new(Scripted::default(), [0; 16]).leases(leases);
    let dear = RouteOptions::new().cost(101);
    for (builder, why) in [
        (
            builder(&sim).shared_quota(shared(LeaseConfig { tokens: 0, ..LeaseConfig::default() })),
            "no tokens",
        ),
        (
            builder(&sim).shared_quota(shared(LeaseConfig::default())).route_with(
                Method::GET,
                "/dear",
                dear,
                async |_: Request| "in",
            ),
            "route /dear: a request that costs 101 never gets through: the quota \"shared\" holds 100",
        ),
    ] {
        let error = sim.block_on(builder.bind()).err().unwrap().to_string();
        assert!(error.contains(why), "{error}");
    }
}
