//! The pool against a model that is slow and plain: every list walked, nothing cached.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail loudly")]

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use sinew_core::Machine;
use sinew_core::client::{Action, ConnId, Destination, Pool, PoolConfig, Verdict, WaiterId, Want};
use sinew_core::time::Instant;

const IDLE: Duration = Duration::from_secs(15);
const AGE: Duration = Duration::from_secs(40);

/// One input, with numbers that are taken modulo what there is.
#[derive(Clone, Copy, Debug)]
enum Input {
    CheckOut {
        destination: u64,
        patience: u64,
        fresh: bool,
    },
    CheckIn(usize),
    Discard(usize),
    Abandon(usize),
    /// Ids that were valid once.
    Stale(usize),
    Pass(u64),
}

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        6 => (0..3u64, 0..30u64, prop::bool::weighted(0.2)).prop_map(
            |(destination, patience, fresh)| Input::CheckOut { destination, patience, fresh }
        ),
        5 => any::<usize>().prop_map(Input::CheckIn),
        2 => any::<usize>().prop_map(Input::Discard),
        2 => any::<usize>().prop_map(Input::Abandon),
        1 => any::<usize>().prop_map(Input::Stale),
        2 => (0..12u64).prop_map(Input::Pass),
    ]
}

#[derive(Clone, Copy, Debug)]
struct Open {
    destination: u64,
    /// Dialled at this time; the pool retires it 36 to 44 s later.
    born: Instant,
    /// Given back at this time.
    idle_since: Option<Instant>,
    /// Orders what was given back at the same time.
    turn: u64,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    id: WaiterId,
    destination: u64,
    by: Instant,
    fresh: bool,
}

struct Model {
    pool: Pool,
    config: PoolConfig,
    now: Instant,
    open: BTreeMap<ConnId, Open>,
    waiting: Vec<Waiting>,
    gone: Vec<ConnId>,
    left: Vec<WaiterId>,
    turn: u64,
}

impl Model {
    fn new(config: PoolConfig, seed: u64) -> Self {
        Self {
            pool: Pool::new(config.clone(), seed).unwrap(),
            config,
            now: Instant::ZERO + Duration::from_secs(1),
            open: BTreeMap::new(),
            waiting: Vec::new(),
            gone: Vec::new(),
            left: Vec::new(),
            turn: 0,
        }
    }

    fn out(&self) -> Vec<ConnId> {
        let out = self.open.iter().filter(|(_, open)| open.idle_since.is_none());
        out.map(|(conn, _)| *conn).collect()
    }

    fn idle_at(&self, destination: u64) -> Vec<(ConnId, Open)> {
        let all = self.open.iter().map(|(conn, open)| (*conn, *open));
        let mut idle: Vec<_> = all
            .filter(|(_, open)| open.destination == destination && open.idle_since.is_some())
            .collect();
        idle.sort_by_key(|(_, open)| open.turn);
        idle
    }

    fn open_at(&self, destination: u64) -> usize {
        self.open.values().filter(|open| open.destination == destination).count()
    }

    /// Whether a call could have a connection at once.
    fn could_serve(&self, destination: u64) -> bool {
        let any_idle = self.open.values().any(|open| open.idle_since.is_some());
        let room = self.open.len() < self.config.max_connections || any_idle;
        !self.idle_at(destination).is_empty()
            || (room && self.open_at(destination) < self.config.max_per_destination)
    }

    fn apply(&mut self, input: Input) {
        match input {
            Input::CheckOut { destination, patience, fresh } => {
                self.check_out(destination, Duration::from_secs(patience), fresh);
            }
            Input::CheckIn(n) => {
                let out = self.out();
                if let Some(conn) = out.get(n % out.len().max(1)).copied() {
                    self.turn += 1;
                    let open = self.open.get_mut(&conn).unwrap();
                    open.idle_since = Some(self.now);
                    open.turn = self.turn;
                    self.pool.check_in(self.now, conn);
                }
            }
            Input::Discard(n) => {
                let all: Vec<_> = self.open.keys().copied().collect();
                if let Some(conn) = all.get(n % all.len().max(1)).copied() {
                    self.forget(conn);
                    self.pool.discard(self.now, conn);
                }
            }
            Input::Abandon(n) => {
                if !self.waiting.is_empty() {
                    let waiter = self.waiting.remove(n % self.waiting.len());
                    self.left.push(waiter.id);
                    self.pool.abandon(self.now, waiter.id);
                }
            }
            Input::Stale(n) => self.stale(n),
            Input::Pass(seconds) => self.now = self.now + Duration::from_secs(seconds),
        }
    }

    fn check_out(&mut self, destination: u64, patience: Duration, fresh: bool) {
        let overtakes = self.waiting.iter().any(|waiting| waiting.destination == destination);
        let want = if fresh { Want::Fresh } else { Want::Any };
        let newest = self.idle_at(destination).last().map(|(conn, _)| *conn);
        let could = self.could_serve(destination);
        let full = self.waiting.len() >= self.config.max_waiting;
        let by = self.now + patience;
        match self.pool.check_out(self.now, Destination(destination), by, want) {
            Verdict::Use(conn) => {
                assert_eq!(Some(conn), newest, "the one used last goes first");
                assert!(!fresh && !overtakes);
                self.use_kept(conn, destination);
            }
            Verdict::Dial(conn) => {
                assert!(could && !overtakes);
                assert!(fresh || newest.is_none(), "a kept one was there");
                self.dial(conn, destination);
            }
            Verdict::Wait(id) => {
                assert!(!could || overtakes, "waits beside a connection");
                assert!(!full);
                self.waiting.push(Waiting { id, destination, by, fresh });
            }
            Verdict::Full => assert!(full && (!could || overtakes)),
        }
    }

    fn stale(&mut self, n: usize) {
        let before = (self.pool.open(), self.pool.idle(), self.pool.waiting());
        if let Some(conn) = self.gone.get(n % self.gone.len().max(1)).copied() {
            self.pool.check_in(self.now, conn);
            self.pool.discard(self.now, conn);
        }
        if let Some(waiter) = self.left.get(n % self.left.len().max(1)).copied() {
            self.pool.abandon(self.now, waiter);
        }
        // An idle connection is not with a call: giving it back again means nothing.
        let idle: Vec<_> =
            self.open.iter().filter(|(_, o)| o.idle_since.is_some()).map(|(c, _)| *c).collect();
        if let Some(conn) = idle.get(n % idle.len().max(1)).copied() {
            self.pool.check_in(self.now, conn);
        }
        assert_eq!(before, (self.pool.open(), self.pool.idle(), self.pool.waiting()));
    }

    fn forget(&mut self, conn: ConnId) -> Open {
        self.gone.push(conn);
        self.open.remove(&conn).expect("an id that is not open")
    }

    fn use_kept(&mut self, conn: ConnId, destination: u64) {
        let open = self.open.get_mut(&conn).expect("an id that is not open");
        let since = open.idle_since.take().expect("it was not idle");
        assert_eq!(open.destination, destination);
        assert!(self.now < since + IDLE, "it was idle for too long");
        assert!(self.now < open.born + AGE + AGE / 10, "it is too old");
    }

    fn dial(&mut self, conn: ConnId, destination: u64) {
        let open = Open { destination, born: self.now, idle_since: None, turn: 0 };
        assert!(self.open.insert(conn, open).is_none(), "an id that is open already");
    }

    /// Takes what the pool decided, and checks every decision and the state afterwards.
    fn settle(&mut self) {
        let mut actions = 0;
        while let Ok(Some(action)) = self.pool.poll_event(self.now) {
            actions += 1;
            assert!(actions < 1000, "decides without end");
            self.take(action);
        }
        // What was evicted may be told after what was dialled in its place, not later.
        assert!(self.open.len() <= self.config.max_connections);
        for destination in 0..3 {
            assert!(self.open_at(destination) <= self.config.max_per_destination);
        }
        assert_eq!(self.pool.open(), self.open.len());
        assert_eq!(self.pool.idle(), self.open.len() - self.out().len());
        assert_eq!(self.pool.waiting(), self.waiting.len());
        for waiting in &self.waiting {
            assert!(!self.could_serve(waiting.destination), "waits beside a connection");
            assert!(waiting.by > self.now);
        }
        for open in self.open.values() {
            if let Some(since) = open.idle_since {
                assert!(self.now < since + IDLE && self.now < open.born + AGE + AGE / 10);
            }
        }
        let due = self.pool.deadline().map(|deadline| deadline.at);
        assert!(due.is_none_or(|due| due > self.now), "a timer was left behind");
        let timed = !self.waiting.is_empty() || self.pool.idle() > 0;
        assert_eq!(due.is_some(), timed);
        if let Some(next) = self.waiting.iter().map(|waiting| waiting.by).min() {
            assert!(due <= Some(next));
        }
    }

    fn take(&mut self, action: Action) {
        match action {
            Action::Use { waiter, conn } => {
                let waiting = self.serve(waiter);
                assert!(!waiting.fresh);
                let newest = self.idle_at(waiting.destination).last().map(|(conn, _)| *conn);
                assert_eq!(Some(conn), newest);
                self.use_kept(conn, waiting.destination);
            }
            Action::Dial { waiter, conn } => {
                let waiting = self.serve(waiter);
                self.dial(conn, waiting.destination);
            }
            Action::Close(conn) => {
                let open = self.forget(conn);
                let since = open.idle_since.expect("closed while a call has it");
                let over = self.now >= since + IDLE || self.now >= open.born + AGE * 9 / 10;
                assert!(over || self.is_oldest_idle(&open), "closed without need");
            }
            Action::Expired(waiter) => {
                let at = self.waiting.iter().position(|w| w.id == waiter).unwrap();
                let waiting = self.waiting.remove(at);
                self.left.push(waiter);
                assert!(waiting.by <= self.now);
            }
        }
    }

    /// The oldest waiter of its destination leaves the queue.
    fn serve(&mut self, waiter: WaiterId) -> Waiting {
        let at = self.waiting.iter().position(|w| w.id == waiter).expect("nobody waits so");
        let waiting = self.waiting.remove(at);
        let earlier = self.waiting[..at].iter().any(|w| w.destination == waiting.destination);
        assert!(!earlier, "overtaken");
        assert!(waiting.by > self.now, "served after its deadline");
        self.left.push(waiter);
        waiting
    }

    /// Whether no connection gave way that was used later than one that was kept, at its own
    /// destination at least.
    fn is_oldest_idle(&self, closed: &Open) -> bool {
        self.idle_at(closed.destination).iter().all(|(_, open)| open.turn > closed.turn)
    }
}

fn config() -> impl Strategy<Value = PoolConfig> {
    (1..5usize, 1..5usize, 0..4usize).prop_map(|(total, per, max_waiting)| PoolConfig {
        max_connections: total,
        max_per_destination: per.min(total),
        max_waiting,
        idle: IDLE,
        max_age: AGE,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_decision_is_the_model_s(
        config in config(),
        seed in any::<u64>(),
        inputs in prop::collection::vec((input(), prop::bool::weighted(0.9)), 1..80),
    ) {
        let mut model = Model::new(config, seed);
        for (input, settle) in inputs {
            // Now and then the decisions are fetched late, as a driver may that is slow.
            let late = !settle && matches!(input, Input::Discard(_));
            model.apply(input);
            if !late {
                model.settle();
            }
        }
        model.settle();
        // Whoever holds something lets go: nothing is left.
        for waiter in std::mem::take(&mut model.waiting) {
            model.pool.abandon(model.now, waiter.id);
        }
        for conn in model.open.keys() {
            model.pool.discard(model.now, *conn);
        }
        let Ok(left) = model.pool.poll_event(model.now);
        prop_assert_eq!(left, None);
        prop_assert_eq!((model.pool.open(), model.pool.idle(), model.pool.waiting()), (0, 0, 0));
        prop_assert_eq!(model.pool.deadline(), None);
    }
}

fn at(seconds: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(seconds)
}

fn small(max_connections: usize, max_per_destination: usize) -> Pool {
    let config = PoolConfig { max_connections, max_per_destination, ..PoolConfig::default() };
    Pool::new(config, 7).unwrap()
}

fn ask(pool: &mut Pool, now: Instant, destination: u64) -> Verdict {
    pool.check_out(now, Destination(destination), now + Duration::from_secs(5), Want::Any)
}

fn next(pool: &mut Pool, now: Instant) -> Option<Action> {
    let Ok(action) = pool.poll_event(now);
    action
}

#[test]
fn at_the_cap_the_oldest_idle_one_elsewhere_gives_way() {
    let mut pool = small(2, 2);
    let Verdict::Dial(older) = ask(&mut pool, at(1), 1) else { panic!() };
    let Verdict::Dial(younger) = ask(&mut pool, at(1), 2) else { panic!() };
    pool.check_in(at(2), older);
    pool.check_in(at(3), younger);
    assert_eq!(next(&mut pool, at(3)), None);
    let Verdict::Dial(_) = ask(&mut pool, at(4), 3) else { panic!() };
    assert_eq!(next(&mut pool, at(4)), Some(Action::Close(older)));
    assert_eq!(next(&mut pool, at(4)), None);
    assert_eq!((pool.open(), pool.idle()), (2, 1));
}

#[test]
fn an_idle_one_elsewhere_gives_way_to_who_waits_already() {
    let mut pool = small(1, 1);
    let Verdict::Dial(conn) = ask(&mut pool, at(1), 1) else { panic!() };
    let Verdict::Wait(waiter) = ask(&mut pool, at(1), 2) else { panic!() };
    assert_eq!(next(&mut pool, at(1)), None);
    pool.check_in(at(2), conn);
    let Some(Action::Dial { waiter: served, .. }) = next(&mut pool, at(2)) else { panic!() };
    assert_eq!(served, waiter);
    assert_eq!(next(&mut pool, at(2)), Some(Action::Close(conn)));
}

#[test]
fn who_wants_a_fresh_one_does_not_get_a_kept_one() {
    let mut pool = small(1, 1);
    let Verdict::Dial(kept) = ask(&mut pool, at(1), 1) else { panic!() };
    pool.check_in(at(1), kept);
    let asked = pool.check_out(at(2), Destination(1), at(9), Want::Fresh);
    let Verdict::Dial(fresh) = asked else { panic!("{asked:?}") };
    assert_ne!(fresh, kept);
    assert_eq!(next(&mut pool, at(2)), Some(Action::Close(kept)));
}

#[test]
fn a_waiter_that_leaves_takes_nothing_along() {
    let mut pool = small(1, 1);
    let Verdict::Dial(conn) = ask(&mut pool, at(1), 1) else { panic!() };
    let Verdict::Wait(first) = ask(&mut pool, at(1), 1) else { panic!() };
    let Verdict::Wait(second) = ask(&mut pool, at(1), 1) else { panic!() };
    pool.abandon(at(2), first);
    pool.discard(at(2), conn);
    let Some(Action::Dial { waiter, .. }) = next(&mut pool, at(2)) else { panic!() };
    assert_eq!(waiter, second);
    assert_eq!(pool.waiting(), 0);
}

#[test]
fn ages_are_spread_by_a_tenth() {
    let config = PoolConfig { idle: Duration::MAX, max_age: AGE, ..PoolConfig::default() };
    let mut pool = Pool::new(config, 1).unwrap();
    let mut ends = Vec::new();
    for _ in 0..100 {
        let Verdict::Dial(conn) = ask(&mut pool, at(0), 1) else { panic!() };
        pool.check_in(at(0), conn);
        ends.push(pool.deadline().unwrap().at);
        pool.discard(at(0), conn);
    }
    ends.sort_unstable();
    let (first, last) = (ends[0], ends[99]);
    assert!(first >= at(36) && last <= at(44));
    assert!(last - first > Duration::from_secs(6), "spread over {:?}", last - first);
}

#[test]
fn caps_that_allow_nothing_are_refused() {
    for (max_connections, max_per_destination) in [(0, 0), (1, 0), (1, 2)] {
        let config = PoolConfig { max_connections, max_per_destination, ..PoolConfig::default() };
        assert!(Pool::new(config, 0).is_err());
    }
}
