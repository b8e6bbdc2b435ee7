//! Who has which connection: the synchronous half of the pool. It knows caps, ages and who is idle;
//! who waits is the [queue](crate::limit::PriorityQueue)'s business.
#![expect(clippy::inline_always, reason = "every call passes here: measured by `sinew-benches`")]

use super::action::{Reuse, Sharing};
use super::alarms::{Alarms, Whose};
use super::call::Want;
use super::policy::PoolPolicy;
use crate::jitter::Jitter;
use crate::resilience::Permit;
use crate::table::{Key, Link, List, Slab};
use crate::time::Instant;

/// Connections being opened at an endpoint that somebody gave up waiting for, beside which no other is
/// opened.
const FORSAKEN: u32 = 2;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    Dialing,
    Open,
    /// Carries what it carries, and nothing new.
    Retiring,
    /// It left HTTP: it carries nothing new, and is here until the embedder says that it is gone.
    Tunnel,
}

/// The list in which a connection stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Standing {
    /// None: it takes nothing.
    Out,
    /// Those that carry nothing; of its endpoint, and of all.
    Idle,
    /// Those of its endpoint that carry something, and have room beside it.
    Busy,
}

#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) endpoint: Key,
    pub(super) state: State,
    /// Exchanges at once.
    pub(super) capacity: u32,
    /// Exchanges that it carries.
    pub(super) used: u32,
    /// The one that it carries wants it for itself.
    pub(super) exclusive: bool,
    standing: Standing,
    /// Exchanges that it ever carried.
    pub(super) uses: u32,
    pub(super) dialled_at: Instant,
    retire_at: Instant,
    /// While it is dialled: until when.
    pub(super) idle_until: Instant,
    /// What the endpoint's breaker gave for dialling; goes to the exchange that it is opened for.
    pub(super) permit: Option<Permit>,
    /// While it is dialled: who waited for it gave up, and nobody else is to wait for it.
    pub(super) forsaken: bool,
}

impl Slot {
    /// Where it belongs.
    fn belongs(&self) -> Standing {
        if self.state != State::Open {
            Standing::Out
        } else if self.used == 0 {
            Standing::Idle
        } else if self.used < self.capacity && !self.exclusive {
            Standing::Busy
        } else {
            Standing::Out
        }
    }

    /// Whether it can carry another exchange.
    fn has_room(&self, sharing: Sharing) -> bool {
        match self.belongs() {
            Standing::Idle => true,
            Standing::Busy => sharing == Sharing::Shared,
            Standing::Out => false,
        }
    }
}

/// The connections of one endpoint.
#[derive(Clone, Debug)]
pub(super) struct Share {
    /// Those being dialled included.
    pub(super) connections: u32,
    /// Those of them that carry nothing.
    idles: u32,
    /// Those of them that are being dialled, and that nobody is to wait for.
    forsaken: u32,
    /// Those that carry nothing, the one used last at the back. Who is taken stays in it until somebody
    /// looks for another: most are back before that.
    idle: List,
    /// Those that have room beside what they carry.
    busy: List,
}

impl Share {
    pub(super) const EMPTY: Self =
        Self { connections: 0, idles: 0, forsaken: 0, idle: List::EMPTY, busy: List::EMPTY };

    /// Whether a connection takes longer to open than somebody would wait.
    pub(super) const fn is_slow(&self) -> bool {
        self.forsaken > 0
    }

    /// Whether so many do that no other one is opened beside them: whoever never waits long would open one
    /// a call.
    pub(super) const fn is_stuck(&self) -> bool {
        self.forsaken >= FORSAKEN
    }
}

#[derive(Clone, Debug)]
pub(super) struct Slots {
    table: Slab<Slot>,
    lists: Lists,
    /// Connections being dialled that whoever waits may count on.
    pub(super) coming: usize,
    /// Something changed since it was looked whether an endpoint has the connections that are to be open
    /// ahead.
    pub(super) may_be_cold: bool,
}

/// The lists of connections.
#[derive(Clone, Debug)]
struct Lists {
    /// By place: where it stands in a list of its endpoint, and in one of all.
    share_links: Vec<Link>,
    idle_links: Vec<Link>,
    /// Those being dialled that whoever waits may count on; the one dialled first in front.
    coming: List,
    /// Those that carry nothing; the one that was used longest ago in front. Who is taken stays in it
    /// as well.
    idle: List,
    idles: usize,
}

impl Lists {
    /// Moves a connection to the back of the list where it belongs. The one where it stood.
    #[inline(always)]
    fn stand(&mut self, place: u32, slot: &mut Slot, share: &mut Share) -> Standing {
        let to = slot.belongs();
        let from = std::mem::replace(&mut slot.standing, to);
        match from {
            Standing::Out => {}
            Standing::Busy => share.busy.remove(&mut self.share_links, place),
            Standing::Idle => {
                share.idles -= 1;
                self.idles -= 1;
            }
        }
        match to {
            Standing::Out => {}
            Standing::Busy => {
                share.idle.remove(&mut self.share_links, place);
                share.busy.push_back(&mut self.share_links, place);
            }
            Standing::Idle => {
                share.idle.move_to_back(&mut self.share_links, place);
                self.idle.move_to_back(&mut self.idle_links, place);
                share.idles += 1;
                self.idles += 1;
            }
        }
        from
    }

    /// Takes a connection that belongs to none out of the lists of idle ones, where it may still stand.
    fn forget(&mut self, place: u32, share: &mut Share) {
        share.idle.remove(&mut self.share_links, place);
        self.idle.remove(&mut self.idle_links, place);
    }

    /// Moves a connection to where it belongs; one that rests from now on does so for a time.
    #[inline(always)]
    fn list(
        &mut self,
        now: Instant,
        place: u32,
        slot: &mut Slot,
        share: &mut Share,
        policy: &PoolPolicy,
        alarms: &mut Alarms,
    ) {
        let from = self.stand(place, slot, share);
        if from != Standing::Idle && slot.standing == Standing::Idle {
            slot.idle_until = (now + policy.idle).min(slot.retire_at);
            alarms.arm(Whose::Connections, place, slot.idle_until);
        }
    }
}

impl Slots {
    pub(super) const fn new() -> Self {
        Self {
            table: Slab::new(),
            lists: Lists {
                share_links: Vec::new(),
                idle_links: Vec::new(),
                coming: List::EMPTY,
                idle: List::EMPTY,
                idles: 0,
            },
            coming: 0,
            may_be_cold: true,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn idle_len(&self) -> usize {
        self.lists.idles
    }

    pub(super) fn get(&self, key: Key) -> Option<&Slot> {
        self.table.get(key)
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Slot> {
        self.table.get_mut(key)
    }

    /// Whether a connection is not open yet.
    pub(super) fn is_dialing(&self, key: Key) -> bool {
        self.table.get(key).is_some_and(|slot| slot.state == State::Dialing)
    }

    /// The connection at this place.
    pub(super) fn key_at(&self, place: u32) -> Option<Key> {
        self.table.key_at(place)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &Slot)> + Clone {
        self.table.iter()
    }

    /// The one of an endpoint that was used last: the others may age. Who can share leaves the idle
    /// ones to others.
    #[inline]
    pub(super) fn available(&mut self, share: &mut Share, want: Want) -> Option<Key> {
        if let Some(busy) = self.shared(share, want) {
            return self.table.key_at(busy);
        }
        while let Some((key, slot)) = share.idle.back().and_then(|place| self.table.at(place)) {
            if slot.standing == Standing::Idle {
                return Some(key);
            }
            share.idle.remove(&mut self.lists.share_links, key.index());
        }
        None
    }

    /// Whether there is one.
    pub(super) fn is_available(&self, share: &Share, want: Want) -> bool {
        share.idles > 0 || self.shared(share, want).is_some()
    }

    /// The one that was used last of those that have room beside what they carry.
    #[inline]
    fn shared(&self, share: &Share, want: Want) -> Option<u32> {
        let busy = match want.sharing {
            Sharing::Shared => share.busy.back()?,
            Sharing::Exclusive => return None,
        };
        let shunned = want.shun.is_some_and(|shun| shun.index() == busy);
        if shunned { List::ahead_of(&self.lists.share_links, busy) } else { Some(busy) }
    }

    /// Whether this one is what is needed.
    pub(super) fn fits(&self, key: Key, want: Want) -> bool {
        want.shun != Some(key) && self.get(key).is_some_and(|slot| slot.has_room(want.sharing))
    }

    /// The one that was used longest ago of all that carry nothing.
    pub(super) fn oldest_idle(&mut self) -> Option<Key> {
        let Lists { idle, idle_links, .. } = &mut self.lists;
        while let Some((key, slot)) = idle.front().and_then(|place| self.table.at(place)) {
            if slot.standing == Standing::Idle {
                return Some(key);
            }
            idle.remove(idle_links, key.index());
        }
        None
    }

    /// A place for a connection that is about to be dialled, until `by`.
    pub(super) fn dial(
        &mut self,
        endpoint: Key,
        share: &mut Share,
        permit: Option<Permit>,
        now: Instant,
        by: Instant,
        alarms: &mut Alarms,
    ) -> Key {
        let key = self.table.insert(Slot {
            endpoint,
            state: State::Dialing,
            capacity: 0,
            used: 0,
            exclusive: false,
            standing: Standing::Out,
            uses: 0,
            dialled_at: now,
            retire_at: Instant::MAX,
            idle_until: by,
            permit,
            forsaken: false,
        });
        let places = key.index() as usize + 1;
        if self.lists.idle_links.len() < places {
            self.lists.idle_links.resize(places, Link::OUT);
            self.lists.share_links.resize(places, Link::OUT);
        }
        self.lists.coming.push_back(&mut self.lists.idle_links, key.index());
        share.connections += 1;
        self.coming += 1;
        alarms.arm(Whose::Connections, key.index(), by);
        key
    }

    /// Of those being dialled that whoever waits may count on, the one dialled first.
    pub(super) fn first_coming(&self) -> Option<(Key, &Slot)> {
        self.table.at(self.lists.coming.front()?)
    }

    /// Nobody is to wait for this one, which is being dialled, until it is open.
    pub(super) fn forsake(&mut self, key: Key, share: &mut Share) {
        if let Some(slot) = self.table.get_mut(key).filter(|slot| !slot.forsaken) {
            self.lists.coming.remove(&mut self.lists.idle_links, key.index());
            self.coming -= 1;
            slot.forsaken = true;
            share.forsaken += 1;
        }
    }

    /// It is not being dialled any more.
    fn dialled(&mut self, key: Key, share: &mut Share) {
        let Some(slot) = self.table.get_mut(key) else { return };
        if std::mem::take(&mut slot.forsaken) {
            share.forsaken -= 1;
        } else {
            self.lists.coming.remove(&mut self.lists.idle_links, key.index());
            self.coming -= 1;
        }
    }

    /// It is open; nobody uses it yet. Whether it was expected.
    pub(super) fn open(
        &mut self,
        now: Instant,
        key: Key,
        share: &mut Share,
        capacity: u32,
        policy: &PoolPolicy,
        jitter: &mut Jitter,
    ) -> bool {
        if !self.is_dialing(key) {
            return false;
        }
        self.dialled(key, share);
        let Some(slot) = self.table.get_mut(key) else { return false };
        slot.state = State::Open;
        slot.capacity = capacity.max(1);
        // Connections dialled together shall not end together.
        let tenth = policy.max_age / 10;
        let (low, high) =
            (policy.max_age.saturating_sub(tenth), policy.max_age.saturating_add(tenth));
        slot.retire_at = now + jitter.between(low, high);
        true
    }

    /// Gives it one exchange more.
    #[inline(always)]
    pub(super) fn occupy(
        &mut self,
        key: Key,
        share: &mut Share,
        sharing: Sharing,
    ) -> Option<&Slot> {
        let slot = self.table.get_mut(key)?;
        slot.used += 1;
        slot.uses = slot.uses.saturating_add(1);
        slot.exclusive = sharing == Sharing::Exclusive;
        self.lists.stand(key.index(), slot, share);
        Some(slot)
    }

    /// Takes an exchange from it. Whether it is over then, and to be [removed](Self::remove).
    #[must_use]
    #[inline]
    pub(super) fn vacate(
        &mut self,
        now: Instant,
        key: Key,
        share: &mut Share,
        reuse: Reuse,
        policy: &PoolPolicy,
        alarms: &mut Alarms,
    ) -> bool {
        let Some(slot) = self.table.get_mut(key) else { return false };
        slot.used = slot.used.saturating_sub(1);
        slot.exclusive = false;
        if slot.state == State::Tunnel && reuse == Reuse::Keep {
            return false;
        }
        let spent = policy.max_requests.is_some_and(|max| slot.uses >= max);
        if reuse == Reuse::Close || spent || slot.retire_at <= now {
            slot.state = State::Retiring;
        }
        self.lists.list(now, key.index(), slot, share, policy, alarms);
        slot.state == State::Retiring && slot.used == 0
    }

    /// Puts it where it is found, as the one used last.
    pub(super) fn list(
        &mut self,
        now: Instant,
        key: Key,
        share: &mut Share,
        policy: &PoolPolicy,
        alarms: &mut Alarms,
    ) {
        if let Some(slot) = self.table.get_mut(key) {
            self.lists.list(now, key.index(), slot, share, policy, alarms);
        }
    }

    /// It carries nothing new from now on.
    pub(super) fn retire(&mut self, key: Key, share: &mut Share) {
        self.leave(key, share, State::Retiring);
    }

    /// It left HTTP.
    pub(super) fn tunnel(&mut self, key: Key, share: &mut Share) {
        self.leave(key, share, State::Tunnel);
    }

    fn leave(&mut self, key: Key, share: &mut Share, state: State) {
        if let Some(slot) = self.table.get_mut(key) {
            slot.state = state;
            self.lists.stand(key.index(), slot, share);
        }
    }

    /// It is gone. The permit that it was dialled with, if nobody had it yet.
    pub(super) fn remove(&mut self, key: Key, share: &mut Share) -> Option<Permit> {
        if self.is_dialing(key) {
            self.dialled(key, share);
        }
        self.leave(key, share, State::Retiring);
        self.lists.forget(key.index(), share);
        share.connections -= 1;
        self.may_be_cold = true;
        self.table.remove(key)?.permit.take()
    }

    /// What is due at this place: the connection whose time is over, and whether it was still being
    /// dialled.
    pub(super) fn due(
        &self,
        now: Instant,
        place: u32,
        alarms: &mut Alarms,
    ) -> Option<(Key, State)> {
        let key = self.table.key_at(place)?;
        let slot = self.table.get(key)?;
        let waits = slot.state == State::Dialing || (slot.state == State::Open && slot.used == 0);
        if !waits {
            return None;
        }
        if slot.idle_until <= now {
            return Some((key, slot.state));
        }
        alarms.arm(Whose::Connections, place, slot.idle_until);
        None
    }

    /// By place, of those of one endpoint: the busy ones, and those that are idle.
    #[cfg(test)]
    pub(super) fn lists(&self, share: &Share) -> [Vec<u32>; 2] {
        let [busy, mut idle] =
            [share.busy, share.idle].map(|list| list.places(&self.lists.share_links));
        let is_idle = |(_, slot): (Key, &Slot)| slot.standing == Standing::Idle;
        idle.retain(|place| self.table.at(*place).is_some_and(is_idle));
        assert_eq!(idle.len(), share.idles as usize);
        [busy, idle]
    }

    /// By place, those being dialled that whoever waits may count on.
    #[cfg(test)]
    pub(super) fn coming_places(&self) -> Vec<u32> {
        self.lists.coming.places(&self.lists.idle_links)
    }

    /// The places that are free, the one that is used next in front.
    #[cfg(test)]
    pub(super) fn free(&self) -> impl Iterator<Item = u32> {
        self.table.free_places()
    }

    #[cfg(test)]
    pub(super) fn audit(&self, key: Key, slot: &Slot) {
        let listed =
            |links: &[Link]| links.get(key.index() as usize).is_some_and(|l| l.is_listed());
        assert_eq!(slot.standing, slot.belongs(), "{slot:?}");
        assert!(listed(&self.lists.share_links) || !slot.has_room(Sharing::Shared), "{slot:?}");
        assert!(listed(&self.lists.idle_links) || !slot.has_room(Sharing::Exclusive), "{slot:?}");
        assert!(!slot.exclusive || slot.used == 1, "not by itself: {slot:?}");
    }
}
