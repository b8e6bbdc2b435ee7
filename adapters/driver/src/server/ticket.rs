//! A connection among all that a server has.

use std::sync::Arc;
use std::task::{Context, Waker};

use sinew_core::limit::Stage;
use sinew_core::observe::Event;
use sinew_core::server::drain::{Activity, ConnectionId, Departure};
use sinew_core::server::{ConnectionPlace, ConnectionRefused};

use super::control::{Control, wake};
use super::report::{Departed, DrainReport};
use super::seat::{Orders, Seat};
use crate::io::Peer;

/// A connection's place; dropping it gives the place back.
#[derive(Debug)]
pub(super) struct Ticket {
    control: Arc<Control>,
    id: ConnectionId,
    place: Option<ConnectionPlace>,
    peer: Peer,
    seat: Arc<Seat>,
    waker: Option<Waker>,
    /// What it last said that it does.
    said: Option<Activity>,
    departure: Departure,
}

impl Ticket {
    pub(super) fn new(
        control: &Arc<Control>,
        id: ConnectionId,
        place: ConnectionPlace,
        peer: Peer,
        seat: Arc<Seat>,
    ) -> Self {
        let (control, place) = (Arc::clone(control), Some(place));
        let (waker, said, departure) = (None, None, Departure::Broken);
        Self { control, id, place, peer, seat, waker, said, departure }
    }

    /// Whose place it is.
    pub(super) fn control(&self) -> &Arc<Control> {
        &self.control
    }

    /// What the connection is to do; a change of it wakes this task.
    #[inline]
    pub(super) fn look(&mut self, cx: &Context<'_>) -> Orders {
        if !self.waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            self.remember(cx.waker());
        }
        self.seat.orders()
    }

    #[cold]
    fn remember(&mut self, waker: &Waker) {
        self.seat.remember(waker.clone());
        self.waker = Some(waker.clone());
    }

    /// It goes by what is in force now.
    pub(super) fn renewed(&self) {
        self.seat.obeyed(Orders::RENEW);
    }

    /// Whether every answer is the last one of its connection.
    pub(super) fn is_leaving(&self) -> bool {
        self.seat.orders().closes()
    }

    /// Says what the connection does; of interest only once the server is leaving.
    pub(super) fn does(&mut self, activity: Activity) {
        if self.said == Some(activity) {
            return;
        }
        self.said = Some(activity);
        let mut state = self.control.lock();
        let id = self.id;
        let ((), is_due) =
            self.control.hear(&mut state, |state, now| state.drain.set(now, id, activity));
        let woken = if is_due { std::mem::take(&mut state.waiting) } else { vec![] };
        drop(state);
        wake(woken);
    }

    /// Says how the connection ends.
    pub(super) fn ends(&mut self, how: Departure) {
        self.departure = how;
    }

    /// The connection is dropped.
    pub(super) fn refuse(&self, why: ConnectionRefused) {
        self.control.tell(Some(&self.peer), Event::ConnectionRefused(why));
    }

    /// A proxy says for whom the connection is. `Err`: that one has as many as it may have.
    pub(super) fn speaks_for(&mut self, peer: Peer) -> Result<(), ConnectionRefused> {
        let address = peer.address();
        let mut state = self.control.lock();
        let had_room = state.connections.has_room(Stage::Calm);
        if let Some(place) = self.place.take() {
            state.connections.leave(place);
        }
        let admitted = state.connections.admit(address, Stage::Calm);
        // The place is free already: whoever waits for one is not told again when this is dropped.
        let woken = if admitted.is_err() && !had_room {
            std::mem::take(&mut state.waiting)
        } else {
            vec![]
        };
        drop(state);
        wake(woken);
        match admitted {
            Ok(place) => {
                (self.place, self.peer) = (Some(place), peer);
                Ok(())
            }
            Err(refused) => {
                self.peer = peer;
                self.refuse(refused);
                Err(refused)
            }
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.control.lock();
        let had_room = state.connections.has_room(Stage::Calm);
        if let Some(place) = self.place.take() {
            state.connections.leave(place);
        }
        // A waker may own what it wakes: none is dropped under the lock.
        let seat = state.seats.remove(&self.id);
        let (id, how) = (self.id, self.departure);
        let (ending, is_due) =
            self.control.hear(&mut state, |state, now| state.drain.leave(now, id, how));
        if let Some(ending) = ending
            && state.departed.len() < DrainReport::LISTED
        {
            state.departed.push(Departed { peer: self.peer.clone(), ending });
        }
        let woken = if is_due || !had_room { std::mem::take(&mut state.waiting) } else { vec![] };
        drop(state);
        drop(seat);
        wake(woken);
        if let Some(ending) = ending {
            self.control.tell(Some(&self.peer), Event::Drained(ending));
        }
    }
}
