//! Who has which connection: the synchronous half of the pool. It knows caps, ages and who is idle;
//! who waits is the [queue](crate::limit::PriorityQueue)'s business.

use super::action::Reuse;
use super::policy::PoolPolicy;
use crate::jitter::Jitter;
use crate::resilience::Permit;
use crate::table::{Key, Link, List, Slab, Timers};
use crate::time::Instant;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    Dialing,
    Open,
    /// Carries what it carries, and nothing new.
    Retiring,
}

#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) endpoint: Key,
    pub(super) state: State,
    /// Exchanges at once.
    pub(super) capacity: u32,
    /// Exchanges that it carries.
    pub(super) used: u32,
    /// Exchanges that it ever carried.
    pub(super) uses: u32,
    pub(super) dialled_at: Instant,
    retire_at: Instant,
    /// While it is dialled: until when.
    idle_until: Instant,
    /// What the endpoint's breaker gave for dialling; goes to the exchange that it is opened for.
    pub(super) permit: Option<Permit>,
}

/// The connections of one endpoint.
#[derive(Clone, Debug)]
pub(super) struct Share {
    /// Those being dialled included.
    pub(super) connections: u32,
    /// Those that can carry another exchange; the one used last at the back.
    available: List,
}

impl Share {
    pub(super) const EMPTY: Self = Self { connections: 0, available: List::EMPTY };

    /// The one that was used last: the others may age.
    pub(super) fn available(&self) -> Option<u32> {
        self.available.back()
    }
}

#[derive(Clone, Debug)]
pub(super) struct Slots {
    table: Slab<Slot>,
    /// By place: where it stands in its endpoint's list, and in that of all idle ones.
    available_links: Vec<Link>,
    idle_links: Vec<Link>,
    /// Those that carry nothing; the one that was used longest ago in front.
    idle: List,
    pub(super) timers: Timers,
    pub(super) dialing: usize,
    idle_count: usize,
}

impl Slots {
    pub(super) const fn new() -> Self {
        Self {
            table: Slab::new(),
            available_links: Vec::new(),
            idle_links: Vec::new(),
            idle: List::EMPTY,
            timers: Timers::new(),
            dialing: 0,
            idle_count: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn idle_len(&self) -> usize {
        self.idle_count
    }

    pub(super) fn get(&self, key: Key) -> Option<&Slot> {
        self.table.get(key)
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Slot> {
        self.table.get_mut(key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &Slot)> + Clone {
        self.table.iter()
    }

    pub(super) fn key_at(&self, place: u32) -> Option<Key> {
        self.table.key_at(place)
    }

    /// Whether it can carry another exchange.
    pub(super) fn is_available(&self, key: Key) -> bool {
        let open = |slot: &Slot| slot.state == State::Open && slot.used < slot.capacity;
        self.get(key).is_some_and(open)
    }

    pub(super) fn oldest_idle(&self) -> Option<Key> {
        self.table.key_at(self.idle.front()?)
    }

    pub(super) fn is_idle(&self, key: Key) -> bool {
        self.get(key).is_some_and(|slot| slot.state == State::Open && slot.used == 0)
    }

    /// A place for a connection that is about to be dialled, until `by`.
    pub(super) fn dial(
        &mut self,
        endpoint: Key,
        share: &mut Share,
        permit: Option<Permit>,
        now: Instant,
        by: Instant,
    ) -> Key {
        let key = self.table.insert(Slot {
            endpoint,
            state: State::Dialing,
            capacity: 0,
            used: 0,
            uses: 0,
            dialled_at: now,
            retire_at: Instant::MAX,
            idle_until: by,
            permit,
        });
        let places = key.index as usize + 1;
        if self.idle_links.len() < places {
            self.idle_links.resize(places, Link::OUT);
            self.available_links.resize(places, Link::OUT);
        }
        share.connections += 1;
        self.dialing += 1;
        self.timers.arm(key.index, by);
        key
    }

    /// It is open; nobody uses it yet. Whether it was expected.
    pub(super) fn open(
        &mut self,
        now: Instant,
        key: Key,
        capacity: u32,
        policy: &PoolPolicy,
        jitter: &mut Jitter,
    ) -> bool {
        let dialled = self.table.get_mut(key).filter(|slot| slot.state == State::Dialing);
        let Some(slot) = dialled else { return false };
        slot.state = State::Open;
        slot.capacity = capacity.max(1);
        // Connections dialled together shall not end together.
        let tenth = policy.max_age / 10;
        let (low, high) =
            (policy.max_age.saturating_sub(tenth), policy.max_age.saturating_add(tenth));
        slot.retire_at = now + jitter.between(low, high);
        self.dialing -= 1;
        true
    }

    /// Gives it one exchange more.
    pub(super) fn occupy(&mut self, key: Key, share: &mut Share) -> Option<&Slot> {
        let slot = self.table.get_mut(key)?;
        slot.used += 1;
        slot.uses = slot.uses.saturating_add(1);
        if slot.used == 1 && self.idle_links.get(key.index as usize).is_some_and(|l| l.is_listed())
        {
            self.idle.remove(&mut self.idle_links, key.index);
            self.idle_count -= 1;
        }
        if slot.used >= slot.capacity {
            share.available.remove(&mut self.available_links, key.index);
        } else {
            share.available.push_back(&mut self.available_links, key.index);
        }
        self.table.get(key)
    }

    /// Takes an exchange from it. Whether it is over then, and to be [removed](Self::remove).
    #[must_use]
    pub(super) fn vacate(
        &mut self,
        now: Instant,
        key: Key,
        share: &mut Share,
        reuse: Reuse,
        policy: &PoolPolicy,
    ) -> bool {
        let Some(slot) = self.table.get_mut(key) else { return false };
        slot.used = slot.used.saturating_sub(1);
        let spent = policy.max_requests.is_some_and(|max| slot.uses >= max);
        if reuse == Reuse::Close || spent || slot.retire_at <= now {
            slot.state = State::Retiring;
        }
        if slot.state == State::Retiring {
            share.available.remove(&mut self.available_links, key.index);
            return slot.used == 0;
        }
        self.list(now, key, share, policy);
        false
    }

    /// Puts it where it is found, as the one used last.
    pub(super) fn list(&mut self, now: Instant, key: Key, share: &mut Share, policy: &PoolPolicy) {
        let Some(slot) = self.table.get_mut(key) else { return };
        if slot.state != State::Open || slot.used >= slot.capacity {
            share.available.remove(&mut self.available_links, key.index);
            return;
        }
        share.available.remove(&mut self.available_links, key.index);
        share.available.push_back(&mut self.available_links, key.index);
        if slot.used == 0 && !self.idle_links.get(key.index as usize).is_some_and(|l| l.is_listed())
        {
            slot.idle_until = (now + policy.idle).min(slot.retire_at);
            self.timers.arm(key.index, slot.idle_until);
            self.idle.push_back(&mut self.idle_links, key.index);
            self.idle_count += 1;
        }
    }

    /// It carries nothing new from now on.
    pub(super) fn retire(&mut self, key: Key, share: &mut Share) {
        if let Some(slot) = self.table.get_mut(key) {
            slot.state = State::Retiring;
            share.available.remove(&mut self.available_links, key.index);
        }
    }

    /// It is gone.
    pub(super) fn remove(&mut self, key: Key, share: &mut Share) -> Option<Slot> {
        let slot = self.table.remove(key)?;
        share.available.remove(&mut self.available_links, key.index);
        if self.idle_links.get(key.index as usize).is_some_and(|link| link.is_listed()) {
            self.idle.remove(&mut self.idle_links, key.index);
            self.idle_count -= 1;
        }
        share.connections -= 1;
        if slot.state == State::Dialing {
            self.dialing -= 1;
        }
        Some(slot)
    }

    /// What is due at this place: the connection whose time is over, and whether it was still being
    /// dialled.
    pub(super) fn due(&mut self, now: Instant, place: u32) -> Option<(Key, State)> {
        let key = self.table.key_at(place)?;
        let slot = self.table.get(key)?;
        let waits = slot.state == State::Dialing || (slot.state == State::Open && slot.used == 0);
        if !waits {
            return None;
        }
        if slot.idle_until <= now {
            return Some((key, slot.state));
        }
        self.timers.arm(place, slot.idle_until);
        None
    }

    #[cfg(test)]
    pub(super) fn audit(&self, key: Key, slot: &Slot) {
        let listed = |links: &[Link]| links.get(key.index as usize).is_some_and(|l| l.is_listed());
        let available = slot.state == State::Open && slot.used < slot.capacity;
        assert_eq!(listed(&self.available_links), available, "{slot:?}");
        assert_eq!(
            listed(&self.idle_links),
            slot.state == State::Open && slot.used == 0,
            "{slot:?}"
        );
    }
}
