//! The sockets that are open.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use sinew_core::security::{PeerName, SecurityContext, Subject};
use sinew_core::websocket::Message;

use super::half::{SocketSender, TrySendError};
use crate::upgraded::Upgraded;

/// The sockets of one route, or of several: how many there are, and whose, and a word to all of them.
/// Clones are the same set.
#[derive(Clone, Debug)]
pub struct Sockets {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    per_identity: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    live: BTreeMap<u64, Entry>,
    counts: BTreeMap<Owner, usize>,
}

#[derive(Debug)]
struct Entry {
    owner: Option<Owner>,
    /// `None` until the connection has left HTTP.
    connection: Option<Weak<Upgraded>>,
}

/// Whose a socket is, where a certificate or a token says so.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Owner {
    Peer(PeerName),
    Subject(Subject),
}

/// To how many sockets a message went.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Broadcast {
    /// Those that took it. Where the [policy](super::WebSocketConfig::overflow) is to drop the oldest,
    /// another message may be dropped for it.
    pub sent: usize,
    /// Those that had no room, or were closed for that.
    pub skipped: usize,
}

impl Default for Sockets {
    fn default() -> Self {
        Self::new(Self::PER_IDENTITY)
    }
}

impl Sockets {
    /// Sockets of one identity, unless something else is said.
    pub const PER_IDENTITY: usize = 1000;

    /// No sockets yet, and so many of one identity, at most; 0: none. An identity is whom a certificate
    /// names, else of whom a token is. Those without either are bounded by the connections of the
    /// server alone, as many may share an address.
    pub fn new(per_identity: usize) -> Self {
        Self { shared: Arc::new(Shared { per_identity, state: Mutex::default() }) }
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.shared.lock().live.len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many are open of whoever sent a request with this
    /// [context](crate::Request::security); 0 where nothing but an address says who that is.
    pub fn count_of(&self, whose: &SecurityContext) -> usize {
        let count = |owner| self.shared.lock().counts.get(&owner).copied();
        Owner::of(whose).and_then(count).unwrap_or_default()
    }

    /// Senders of all that are open now, the oldest first. A socket is not closed by its owner's drop
    /// while there is one.
    pub fn senders(&self) -> Vec<SocketSender> {
        self.find(|_| true)
    }

    /// The same, of those of whoever sent a request with this [context](crate::Request::security).
    pub fn senders_of(&self, whose: &SecurityContext) -> Vec<SocketSender> {
        let wanted = Owner::of(whose);
        self.find(|owner| wanted.is_some() && *owner == wanted)
    }

    fn find(&self, wanted: impl Fn(&Option<Owner>) -> bool) -> Vec<SocketSender> {
        let state = self.shared.lock();
        let entries = state.live.values().filter(|entry| wanted(&entry.owner));
        let connections = entries.filter_map(|entry| entry.connection.as_ref()?.upgrade());
        connections.map(SocketSender::new).collect()
    }

    /// Sends a message to all that are open, and waits for none of them.
    pub fn broadcast(&self, message: impl Into<Message>) -> Broadcast {
        let message = message.into();
        let mut told = Broadcast::default();
        for sender in self.senders() {
            match sender.try_send(message.clone()) {
                Ok(()) => told.sent += 1,
                Err(TrySendError::Full(_) | TrySendError::Error(_)) => told.skipped += 1,
            }
        }
        told
    }

    /// Takes a place for a socket; `None` where its owner has as many as it may have.
    pub(crate) fn admit(&self, whose: &SecurityContext) -> Option<Seat> {
        let owner = Owner::of(whose);
        let mut state = self.shared.lock();
        if let Some(owner) = &owner {
            let count = state.counts.get(owner).copied().unwrap_or_default();
            if count >= self.shared.per_identity {
                return None;
            }
            state.counts.insert(owner.clone(), count + 1);
        }
        let id = state.next;
        state.next += 1;
        state.live.insert(id, Entry { owner, connection: None });
        Some(Seat { shared: Arc::clone(&self.shared), id })
    }

    /// The socket of a place is there.
    pub(crate) fn opened(&self, id: u64, connection: &Arc<Upgraded>) {
        if let Some(entry) = self.shared.lock().live.get_mut(&id) {
            entry.connection = Some(Arc::downgrade(connection));
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among the sockets; dropping it gives the place back.
#[derive(Debug)]
pub(crate) struct Seat {
    shared: Arc<Shared>,
    id: u64,
}

impl Seat {
    pub(crate) fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        let Some(entry) = state.live.remove(&self.id) else { return };
        if let Some(owner) = &entry.owner
            && let Some(count) = state.counts.get_mut(owner)
        {
            *count -= 1;
            if *count == 0 {
                state.counts.remove(owner);
            }
        }
    }
}

impl Owner {
    /// As quotas are counted: a certificate goes before a token.
    fn of(context: &SecurityContext) -> Option<Self> {
        let subject = || context.principal.as_ref().map(|known| known.subject.clone());
        let peer = context.peer.clone().map(Self::Peer);
        peer.or_else(|| subject().map(Self::Subject))
    }
}
