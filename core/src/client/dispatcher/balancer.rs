//! Which endpoint an attempt goes to: those that it may go to, and how one of them is chosen.

use core::cmp::Ordering;
use core::ops::Range;

use super::Dispatcher;
use super::call::Instance;
use super::explain::{Pick, Scored};
use crate::jitter::Jitter;
use crate::mesh::{
    Algorithm, BalancePolicy, Endpoint, Member, PowerOfTwo, Reach, Ring, Turns, Weight,
};
use crate::observe::Event;
use crate::table::{Key, Slab};
use crate::time::Instant;

/// Those that a call may be sent to, in an order that means nothing but that one's own zone comes first.
#[derive(Clone, Debug)]
pub(super) struct Balancer {
    pub(super) policy: BalancePolicy,
    pub(super) ready: Vec<Key>,
    /// So many of them are in one's own zone; all of them, where zones do not count.
    near: usize,
    /// The endpoints there, whether they are ready or not.
    pub(super) nears: usize,
    /// The weights of those that are ready: there, and elsewhere.
    weights: [u64; 2],
    /// The exchanges with those that are ready: there, and elsewhere.
    in_flight: [u32; 2],
    /// Whose turn it is: there, and elsewhere.
    turns: [Turns; 2],
    ring: Ring,
    /// By the place of a call: what was chosen for its last attempt, if anybody looked.
    picks: Vec<Option<(Key, Pick)>>,
}

/// What was chosen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Picked {
    pub(super) endpoint: Key,
    /// What would have been chosen otherwise; where that takes a search, for whoever looks alone.
    runner_up: Option<Key>,
}

impl Picked {
    /// Nothing else was to be had.
    pub(super) const fn only(endpoint: Key) -> Self {
        Self { endpoint, runner_up: None }
    }
}

/// What one more attempt costs there, for the share that it has; less is better.
#[derive(Clone, Copy)]
struct Load {
    cost: u64,
    share: u64,
}

impl Load {
    const WORST: Self = Self { cost: u64::MAX, share: 1 };
}

impl Ord for Load {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        // Nothing is divided, so that nothing is rounded.
        let product = |cost: u64, share: u64| u128::from(cost) * u128::from(share);
        product(self.cost, other.share).cmp(&product(other.cost, self.share))
    }
}

impl PartialOrd for Load {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Load {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Load {}

/// What tells the side that a key is on from its place on the ring: any number.
const SIDES: u64 = 0x7369_6465_732e_2e2e;

/// Where a list or a pair of turns begins: with one's own zone.
fn side(near: bool) -> usize {
    usize::from(!near)
}

impl Balancer {
    pub(super) fn new(policy: BalancePolicy) -> Self {
        Self {
            policy,
            ready: Vec::new(),
            near: 0,
            nears: 0,
            weights: [0; 2],
            in_flight: [0; 2],
            turns: [Turns::new(), Turns::new()],
            ring: Ring::default(),
            picks: Vec::new(),
        }
    }

    pub(super) fn is_near(&self, member: Member) -> bool {
        self.policy.zone.is_none_or(|own| own == member.zone)
    }

    /// What counts of a weight.
    pub(super) fn weight(&self, weight: Weight) -> Weight {
        match self.policy.algorithm {
            Algorithm::RoundRobin => Weight::ONE,
            _ => weight,
        }
    }

    fn takes_turns(&self) -> bool {
        matches!(self.policy.algorithm, Algorithm::RoundRobin | Algorithm::WeightedRoundRobin)
    }

    fn note_pick(&mut self, call: Key, pick: Pick) {
        let at = call.index() as usize;
        if self.picks.len() <= at {
            self.picks.resize(at + 1, None);
        }
        if let Some(known) = self.picks.get_mut(at) {
            *known = Some((call, pick));
        }
    }

    /// What was chosen for the last attempt of a call.
    pub(super) fn pick_of(&self, call: Key) -> Option<Pick> {
        let known = self.picks.get(call.index() as usize).copied().flatten();
        known.filter(|(whose, _)| *whose == call).map(|(_, pick)| pick)
    }

    /// An endpoint may be asked.
    pub(super) fn list(&mut self, now: Instant, key: Key, instances: &mut Slab<Instance>) {
        let Some(instance) = instances.get(key) else { return };
        let (near, share) = (instance.near, self.share(now, instance));
        self.weights[side(near)] += u64::from(instance.weight.get());
        self.in_flight[side(near)] += instance.in_flight;
        if self.takes_turns() {
            self.turns[side(near)].insert(key.index(), share);
        }
        self.ready.push(key);
        let last = self.ready.len() - 1;
        self.note_place(last, instances);
        if near {
            self.swap(last, self.near, instances);
            self.near += 1;
        }
    }

    /// An endpoint is not asked any more.
    pub(super) fn unlist(&mut self, key: Key, instances: &mut Slab<Instance>) {
        let Some(instance) = instances.get_mut(key) else { return };
        let Some(at) = instance.ready_at.take() else { return };
        let (mut at, near) = (at as usize, instance.near);
        self.weights[side(near)] -= u64::from(instance.weight.get());
        self.in_flight[side(near)] -= instance.in_flight;
        self.turns[side(near)].remove(key.index());
        if near {
            self.near -= 1;
            self.swap(at, self.near, instances);
            at = self.near;
        }
        self.ready.swap_remove(at);
        self.note_place(at, instances);
        if let Some(instance) = instances.get_mut(key) {
            instance.ready_at = None;
        }
    }

    /// An exchange with an endpoint begins.
    #[inline]
    pub(super) fn began(&mut self, instance: &mut Instance) {
        instance.in_flight += 1;
        if instance.ready_at.is_some() {
            self.in_flight[side(instance.near)] += 1;
        }
    }

    /// An exchange with an endpoint is over.
    #[inline]
    pub(super) fn ended(&mut self, instance: &mut Instance) {
        instance.in_flight -= 1;
        if instance.ready_at.is_some() {
            self.in_flight[side(instance.near)] -= 1;
        }
    }

    fn swap(&mut self, a: usize, b: usize, instances: &mut Slab<Instance>) {
        self.ready.swap(a, b);
        self.note_place(a, instances);
        self.note_place(b, instances);
    }

    /// Writes down who stands there.
    fn note_place(&self, at: usize, instances: &mut Slab<Instance>) {
        if let Some(key) = self.ready.get(at)
            && let Some(instance) = instances.get_mut(*key)
        {
            instance.ready_at = Some(at as u32);
        }
    }

    /// The endpoints of the destination are others than before, or weigh something else.
    pub(super) fn draw_ring(&mut self, instances: &Slab<Instance>) {
        if let Algorithm::RingHash(config) = self.policy.algorithm {
            let current = instances.iter().filter(|(_, instance)| !instance.retired);
            let members: Vec<_> = current
                .map(|(key, one)| (key.index(), Endpoint(one.member.hash), one.weight))
                .collect();
            self.ring = Ring::new(config, &members);
        }
    }

    /// The part of its weight that counts now, in parts of 65,536.
    #[inline]
    fn share(&self, now: Instant, instance: &Instance) -> u64 {
        if now >= instance.grown_at {
            u64::from(instance.weight.get()) << 16
        } else {
            self.policy.slow_start.share(now, instance.born, instance.weight)
        }
    }

    /// What is compared.
    #[inline]
    fn load(&self, now: Instant, instance: &Instance) -> Load {
        let cost = match self.policy.algorithm {
            Algorithm::PeakEwma(_) => instance.latency.cost(now, instance.in_flight),
            _ => (u64::from(instance.in_flight) + 1) * 1_000,
        };
        Load { cost, share: self.share(now, instance) }
    }

    /// What is compared, as one number.
    pub(super) fn score(&self, now: Instant, instance: &Instance) -> u64 {
        let Load { cost, share } = self.load(now, instance);
        let score = (u128::from(cost) << 16) / u128::from(share.max(1));
        u64::try_from(score).unwrap_or(u64::MAX)
    }

    /// Those of the list that an attempt may go to.
    #[inline]
    fn span(&self, avoid: Option<usize>, hash: Option<u64>, jitter: &mut Jitter) -> Range<usize> {
        let all = self.ready.len();
        if self.near == all { 0..all } else { self.side_of(avoid, hash, jitter) }
    }

    #[inline(never)]
    fn side_of(
        &self,
        avoid: Option<usize>,
        hash: Option<u64>,
        jitter: &mut Jitter,
    ) -> Range<usize> {
        let all = self.ready.len();
        let (here, there) = (0..self.near, self.near..all);
        let preference = &self.policy.zone_preference;
        // A key stays on its side for as long as that is strong enough. Its place on the ring is drawn
        // from the same key, and says nothing of its side.
        let mut keyed = hash.map(|hash| Jitter::new(hash ^ SIDES));
        let jitter = keyed.as_mut().unwrap_or(jitter);
        let (side, other) = match preference.reach(here.len(), self.nears, there.len(), jitter) {
            Reach::Local => (here, there),
            Reach::Remote => (there, here),
        };
        let failed = side.len() == 1 && avoid.is_some_and(|at| side.contains(&at));
        if failed && !other.is_empty() { other } else { side }
    }

    /// Recomputes what is kept of those that are ready.
    #[cfg(test)]
    pub(super) fn audit(&self, instances: &Slab<Instance>) {
        let listed = self.ready.iter().filter_map(|key| Some((key, instances.get(*key)?)));
        let (mut weights, mut in_flight) = ([0; 2], [0; 2]);
        let mut turns = [0; 2];
        for (key, instance) in listed {
            weights[side(instance.near)] += u64::from(instance.weight.get());
            in_flight[side(instance.near)] += instance.in_flight;
            turns[side(instance.near)] += usize::from(self.takes_turns());
            let has_turns = self.turns[side(instance.near)].contains(key.index());
            assert_eq!(has_turns, self.takes_turns());
        }
        assert_eq!((weights, in_flight), (self.weights, self.in_flight));
        assert_eq!(turns, [self.turns[0].len(), self.turns[1].len()]);
        assert_eq!(turns[0] + turns[1], if self.takes_turns() { self.ready.len() } else { 0 });
    }

    /// The less loaded one of two.
    #[inline]
    fn of_two(
        &self,
        now: Instant,
        span: Range<usize>,
        avoid: Option<usize>,
        instances: &Slab<Instance>,
        jitter: &mut Jitter,
    ) -> Option<Picked> {
        let ready = self.ready.get(span.clone())?;
        let avoid = avoid.and_then(|at| at.checked_sub(span.start));
        let load = |at: usize| {
            let instance = ready.get(at).and_then(|key| instances.get(*key));
            instance.map_or(Load::WORST, |instance| self.load(now, instance))
        };
        let choice = PowerOfTwo::pick(ready.len(), avoid, load, jitter)?;
        let endpoint = ready.get(choice.chosen).copied()?;
        let runner_up = choice.runner_up.and_then(|at| ready.get(at).copied());
        Some(Picked { endpoint, runner_up })
    }

    #[inline(never)]
    fn in_turn(
        &mut self,
        near: bool,
        avoid: Option<Key>,
        tells: bool,
        instances: &Slab<Instance>,
    ) -> Option<Picked> {
        let turns = self.turns.get_mut(side(near))?;
        let place = turns.first(avoid.map(Key::index))?;
        let runner_up = if tells { turns.first(Some(place)) } else { None };
        let runner_up = runner_up.filter(|other| *other != place);
        Some(Picked {
            endpoint: instances.key_at(place)?,
            runner_up: runner_up.and_then(|place| instances.key_at(place)),
        })
    }

    /// The place of a key on the ring, and the one after it.
    #[inline(never)]
    fn on_ring(
        &self,
        span: &Range<usize>,
        avoid: Option<Key>,
        key: u64,
        tells: bool,
        instances: &Slab<Instance>,
    ) -> Option<Picked> {
        let at = |place: u32| instances.get(instances.key_at(place)?);
        let side = side(span.start < self.near);
        let (weights, in_flight) = (self.weights[side], self.in_flight[side]);
        let listed = |place: u32| {
            at(place)
                .is_some_and(|one| one.ready_at.is_some_and(|at| span.contains(&(at as usize))))
        };
        // By whole weights: a key has one owner, whether that starts slowly or not, and the bounds of all
        // have to add up to what is on its way.
        let has_room = |place: u32| {
            at(place).is_some_and(|one| {
                let weight = u64::from(one.weight.get());
                self.ring.is_within_bound(one.in_flight, in_flight, weight, weights)
            })
        };
        let avoid = avoid.map(Key::index);
        let next = |but: Option<u32>| {
            let other = |place: u32| listed(place) && Some(place) != avoid && Some(place) != but;
            let found = self.ring.pick(key, |place| other(place) && has_room(place));
            found.or_else(|| self.ring.pick(key, other))
        };
        let place = next(None).or_else(|| self.ring.pick(key, listed))?;
        let runner_up = if tells { next(Some(place)) } else { None };
        let runner_up = runner_up.and_then(|place| instances.key_at(place));
        Some(Picked { endpoint: instances.key_at(place)?, runner_up })
    }
}

impl Dispatcher {
    /// The endpoint for the next attempt of a call. It has its turn only with [`took`](Self::took).
    pub(super) fn pick(
        &mut self,
        now: Instant,
        avoid: Option<Key>,
        hash: Option<u64>,
    ) -> Option<Picked> {
        let Self { balancer, instances, jitter, log, .. } = self;
        let avoided = avoid.and_then(|key| instances.get(key)?.ready_at).map(|at| at as usize);
        let span = balancer.span(avoided, hash, jitter);
        match balancer.policy.algorithm {
            Algorithm::PeakEwma(_) | Algorithm::LeastRequest => {
                balancer.of_two(now, span, avoided, instances, jitter)
            }
            Algorithm::RoundRobin | Algorithm::WeightedRoundRobin => {
                let near = span.start < balancer.near;
                balancer.in_turn(near, avoid, log.is_enabled(), instances)
            }
            Algorithm::RingHash(_) => {
                // Without a key, it is anyone's.
                let key = hash.unwrap_or_else(|| jitter.draw());
                balancer.on_ring(&span, avoid, key, log.is_enabled(), instances)
            }
        }
    }

    /// An endpoint was chosen, and is asked, or dialled for whoever asks.
    #[inline]
    pub(super) fn took(&mut self, now: Instant, key: Key) {
        if self.balancer.takes_turns() {
            self.took_turn(now, key);
        }
    }

    #[inline(never)]
    fn took_turn(&mut self, now: Instant, key: Key) {
        let Self { balancer, instances, .. } = self;
        if let Some(instance) = instances.get(key) {
            let share = balancer.share(now, instance);
            balancer.turns[side(instance.near)].take(key.index(), share);
        }
    }

    /// Tells what was chosen, to whoever looks.
    #[inline]
    pub(super) fn tell_pick(&mut self, now: Instant, call: Key, picked: Picked) {
        if self.log.is_enabled() {
            self.write_pick(now, call, picked);
        }
    }

    #[inline(never)]
    fn write_pick(&mut self, now: Instant, call: Key, picked: Picked) {
        let Self { balancer, instances, .. } = self;
        let scored = |key: Key| {
            let instance = instances.get(key)?;
            let score = balancer.score(now, instance);
            Some(Scored { endpoint: instance.member.endpoint, score })
        };
        let Some(chosen) = scored(picked.endpoint) else { return };
        let near = instances.get(picked.endpoint).is_some_and(|one| one.near);
        let pick = Pick {
            chosen,
            runner_up: picked.runner_up.and_then(scored),
            reach: if near { Reach::Local } else { Reach::Remote },
        };
        self.balancer.note_pick(call, pick);
        if let Some(call) = self.calls.get(call) {
            self.log.record(Event::Picked { token: call.spec.token, pick });
        }
    }
}
