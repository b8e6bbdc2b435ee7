//! The connections of a client, by the names that the dispatcher gave them.

use std::sync::Arc;
use std::task::Waker;

use sinew_core::client::dispatcher::{ConnectionId, ExchangeId, Reuse, Sharing};
use sinew_core::error::Phase;
use sinew_core::machine::Layered as _;

use super::conn::Conn;
use super::lane::Lane;
use crate::runtime::Runtime;

/// Where a connection is.
pub(super) enum Place<R: Runtime> {
    /// On its way; the waker is that of whoever opens it.
    Dialing(Phase, Option<Waker>),
    /// Here: nothing is on it.
    Kept(Box<Conn<R>>),
    /// With this call, or with whoever has its answer.
    Out(Rider),
    /// Shared by these.
    Shared(Arc<Lane<R>>, Vec<Rider>),
}

/// Who is on a lane, or about to get on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Rider {
    pub(super) token: u64,
    pub(super) exchange: ExchangeId,
}

/// What a call is sent on.
pub(super) enum Ride<R: Runtime> {
    Alone(Box<Conn<R>>),
    Shared(Arc<Lane<R>>),
}

/// The connections, by their names.
pub(super) struct Table<R: Runtime> {
    entries: Vec<Option<(ConnectionId, Place<R>)>>,
}

impl<R: Runtime> Table<R> {
    pub(super) const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    pub(super) fn insert(&mut self, id: ConnectionId, place: Place<R>) {
        let at = id.index();
        if self.entries.len() <= at {
            self.entries.resize_with(at + 1, || None);
        }
        if let Some(entry) = self.entries.get_mut(at) {
            *entry = Some((id, place));
        }
    }

    pub(super) fn get(&mut self, id: ConnectionId) -> Option<&mut Place<R>> {
        let (known, place) = self.entries.get_mut(id.index())?.as_mut()?;
        (*known == id).then_some(place)
    }

    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<Place<R>> {
        self.get(id)?;
        self.entries.get_mut(id.index())?.take().map(|(_, place)| place)
    }

    /// Hands a connection to a call.
    pub(super) fn hand_out(
        &mut self,
        id: ConnectionId,
        rider: Rider,
        sharing: Sharing,
    ) -> Option<Ride<R>> {
        let place = self.get(id)?;
        let (ride, next) = match (std::mem::replace(place, Place::Out(rider)), sharing) {
            (Place::Kept(conn), Sharing::Exclusive) => (Ride::Alone(conn), Place::Out(rider)),
            (Place::Kept(conn), Sharing::Shared) => {
                let lane = Arc::new(Lane::new(id, conn));
                (Ride::Shared(Arc::clone(&lane)), Place::Shared(lane, vec![rider]))
            }
            (Place::Shared(lane, mut riders), Sharing::Shared) => {
                riders.push(rider);
                (Ride::Shared(Arc::clone(&lane)), Place::Shared(lane, riders))
            }
            (other, _) => {
                *place = other;
                return None;
            }
        };
        *place = next;
        Some(ride)
    }

    /// An exchange is over, and its connection did not come back: whether others are on it still, or it
    /// can be used again; and what is to be closed.
    pub(super) fn ride_over(
        &mut self,
        id: ConnectionId,
        exchange: ExchangeId,
    ) -> (Reuse, Option<Place<R>>) {
        let Some(place) = self.get(id) else { return (Reuse::Close, None) };
        let (lane, riders) = match place {
            Place::Out(rider) if rider.exchange == exchange => {
                return (Reuse::Close, self.remove(id));
            }
            Place::Shared(lane, riders) if riders.iter().any(|on| on.exchange == exchange) => {
                (lane, riders)
            }
            // It was over already: the connection is somebody else's, or nobody's.
            _ => return (Reuse::Keep, None),
        };
        riders.retain(|rider| rider.exchange != exchange);
        if !riders.is_empty() {
            return (Reuse::Keep, None);
        }
        match lane.vacate() {
            Ok(conn) => {
                *place = Place::Kept(conn);
                (Reuse::Keep, None)
            }
            Err(lost) => {
                self.remove(id);
                (Reuse::Close, lost.map(Place::Kept))
            }
        }
    }

    /// How many exchanges a lane can carry at once.
    pub(super) fn capacity(&mut self, id: ConnectionId) -> Option<u32> {
        match self.get(id)? {
            Place::Shared(lane, _) => Some(lane.capacity()),
            Place::Kept(conn) => Some(conn.wire.top_ref().room()),
            Place::Dialing(..) | Place::Out(_) => None,
        }
    }

    /// Takes a connection back; it returns where it is not expected any more.
    pub(super) fn put_back(
        &mut self,
        id: ConnectionId,
        conn: Box<Conn<R>>,
    ) -> Result<(), Box<Conn<R>>> {
        match self.get(id) {
            Some(place @ Place::Out(_)) => {
                *place = Place::Kept(conn);
                Ok(())
            }
            _ => Err(conn),
        }
    }

    /// Those who are opening connections.
    pub(super) fn take_dialers(&mut self) -> impl Iterator<Item = Waker> {
        self.entries.iter_mut().flatten().filter_map(|(_, place)| match place {
            Place::Dialing(_, waker) => waker.take(),
            Place::Kept(_) | Place::Out(_) | Place::Shared(..) => None,
        })
    }

    /// How far one of the connections is that are being opened.
    pub(super) fn dialing(&self) -> Option<Phase> {
        self.places().find_map(|place| match place {
            Place::Dialing(phase, _) => Some(*phase),
            Place::Kept(_) | Place::Out(_) | Place::Shared(..) => None,
        })
    }

    pub(super) fn places(&self) -> impl Iterator<Item = &Place<R>> {
        self.entries.iter().flatten().map(|(_, place)| place)
    }
}
