//! The calls that are on their way, each with what the dispatcher has said to it and it has not read.

use std::collections::VecDeque;
use std::task::Waker;

use sinew_core::client::dispatcher::{CallId, ConnectionId, Cut, ExchangeId, Outcome};
use sinew_core::error::{Delivery, Phase};
use sinew_core::observe::Event;

use super::explained::Explaining;
use super::table::Ride;
use crate::error::Error;
use crate::runtime::Runtime;

/// What the dispatcher says to a call.
pub(super) enum Letter<R: Runtime> {
    /// Send the request.
    Send(Ticket, Ride<R>),
    /// What is on this connection is over.
    Cut(ConnectionId, Cut),
    /// The call is over.
    Over(Box<Over>),
    /// The client is being closed, and does not wait any longer.
    Stop,
}

/// One attempt: whose it is, and what it is sent on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ticket {
    pub(super) token: u64,
    pub(super) exchange: ExchangeId,
    pub(super) connection: ConnectionId,
    /// Counted from 1.
    pub(super) attempt: u8,
    /// Nothing was sent on the connection before.
    pub(super) first_use: bool,
}

/// How a call ended without an answer.
#[derive(Debug)]
pub(super) struct Over {
    pub(super) outcome: Outcome,
    pub(super) delivery: Delivery,
    pub(super) attempts: u8,
    /// Why the connection that it waited for could not be opened.
    pub(super) not_connected: Option<Error>,
    /// How far the connection is that it waits for.
    pub(super) dialing: Option<Phase>,
}

struct Seat<R: Runtime> {
    generation: u32,
    waker: Option<Waker>,
    letters: VecDeque<Letter<R>>,
    /// Whether somebody reads the letters.
    attended: bool,
    call: CallId,
    /// Where the call is to be explained.
    explaining: Option<Explaining>,
}

/// The calls, by their tokens: a place, and a generation that makes tokens of old stale.
pub(super) struct Seats<R: Runtime> {
    places: Vec<Seat<R>>,
    free: Vec<u32>,
    /// Calls that are to be explained.
    pub(super) explaining: usize,
    /// Those of them that left, and hear the last of what is decided.
    departed: Vec<u64>,
}

impl<R: Runtime> Seats<R> {
    pub(super) const fn new() -> Self {
        Self { places: Vec::new(), free: Vec::new(), explaining: 0, departed: Vec::new() }
    }

    /// A token for a new call.
    pub(super) fn take(&mut self) -> u64 {
        let index = self.free.pop().unwrap_or_else(|| {
            let (waker, letters) = (None, VecDeque::new());
            let call = CallId::NONE;
            let (attended, explaining) = (false, None);
            self.places.push(Seat { generation: 0, waker, letters, attended, call, explaining });
            self.places.len() as u32 - 1
        });
        let generation = self.places.get_mut(index as usize).map_or(0, |seat| {
            seat.attended = true;
            seat.generation
        });
        u64::from(generation) << 32 | u64::from(index)
    }

    fn get(&mut self, token: u64) -> Option<&mut Seat<R>> {
        let seat = self.places.get_mut(token as u32 as usize)?;
        (u64::from(seat.generation) == token >> 32).then_some(seat)
    }

    /// What the dispatcher calls it.
    pub(super) fn name(&mut self, token: u64, call: CallId) {
        if let Some(seat) = self.get(token) {
            seat.call = call;
        }
    }

    /// The call is to be explained.
    pub(super) fn explain(&mut self, token: u64, explaining: &Explaining) {
        if let Some(seat) = self.get(token) {
            seat.explaining = Some(explaining.clone());
            self.explaining += 1;
        }
    }

    /// Those who left have heard everything.
    pub(super) fn let_go(&mut self) {
        while let Some(token) = self.departed.pop() {
            let left = self.get(token).and_then(|seat| seat.explaining.take());
            self.explaining -= usize::from(left.is_some());
        }
    }

    /// Those who are to know of an event: the call that it is about, or all of them.
    pub(super) fn concerned(&self, event: &Event) -> impl Iterator<Item = &Explaining> {
        let at = |token| token as u32 as usize;
        let seats = match (event, event.token()) {
            (Event::Lost(_), _) => self.places.get(..),
            (_, Some(token)) => self.places.get(at(token)..=at(token)),
            (_, None) => None,
        };
        seats.unwrap_or_default().iter().filter_map(|seat| seat.explaining.as_ref())
    }

    /// The calls, some of which are over.
    pub(super) fn calls(&self) -> impl Iterator<Item = CallId> {
        self.places.iter().map(|seat| seat.call)
    }

    /// Stops every call whose answer has not begun, and that is not over. Whom that wakes, for each.
    pub(super) fn stop(&mut self) -> Vec<Option<Waker>> {
        let is_over =
            |seat: &Seat<R>| seat.letters.iter().any(|one| matches!(one, Letter::Over(_)));
        let waiting = self.places.iter_mut().filter(|seat| seat.attended && !is_over(seat));
        waiting
            .map(|seat| {
                seat.letters.push_back(Letter::Stop);
                seat.waker.take()
            })
            .collect()
    }

    /// Puts a letter in; whom it wakes. It comes back where nobody reads it.
    pub(super) fn post(
        &mut self,
        token: u64,
        letter: Letter<R>,
    ) -> Result<Option<Waker>, Letter<R>> {
        match self.get(token) {
            Some(seat) if seat.attended => {
                seat.letters.push_back(letter);
                Ok(seat.waker.take())
            }
            _ => Err(letter),
        }
    }

    /// A call is over. Whether nobody reads that: then the seat is free.
    pub(super) fn end(&mut self, token: u64) -> bool {
        let is_left = self.get(token).is_some_and(|seat| !seat.attended);
        if is_left {
            // Who left took its letters along: nothing is on the seat.
            self.free(token);
        }
        is_left
    }

    pub(super) fn next(&mut self, token: u64) -> Option<Letter<R>> {
        self.get(token)?.letters.pop_front()
    }

    /// Whom the next letter wakes; the waker that it replaces is dropped when nothing is locked.
    pub(super) fn wait(&mut self, token: u64, waker: &Waker) -> Option<Waker> {
        let seat = self.get(token)?;
        match &seat.waker {
            Some(known) if known.will_wake(waker) => None,
            _ => seat.waker.replace(waker.clone()),
        }
    }

    /// The connection of a letter that was not read, which is not to be used any more.
    pub(super) fn recall(&mut self, token: u64, connection: ConnectionId) -> Option<Ride<R>> {
        let letters = &mut self.get(token)?.letters;
        let sent = |letter: &Letter<R>| matches!(letter, Letter::Send(ticket, _) if ticket.connection == connection);
        match letters.remove(letters.iter().position(sent)?)? {
            Letter::Send(_, ride) => Some(ride),
            Letter::Cut(..) | Letter::Over(_) | Letter::Stop => None,
        }
    }

    /// Nobody reads the letters any more. The token stays until the call is over.
    pub(super) fn leave(&mut self, token: u64) -> Option<Leavings<R>> {
        let seat = self.get(token)?;
        seat.attended = false;
        let explained = seat.explaining.is_some();
        let leavings = seat.clear();
        if explained {
            self.departed.push(token);
        }
        Some(leavings)
    }

    /// The call is over.
    pub(super) fn free(&mut self, token: u64) -> Option<Leavings<R>> {
        let seat = self.get(token)?;
        seat.generation = seat.generation.wrapping_add(1);
        seat.attended = false;
        let explained = seat.explaining.take().is_some();
        let leavings = seat.clear();
        self.explaining -= usize::from(explained);
        self.free.push(token as u32);
        Some(leavings)
    }
}

/// What was left on a seat. It is dropped when nothing is locked: wakers and connections may hold the
/// last end of a task, and that of a call.
pub(super) struct Leavings<R: Runtime> {
    _waker: Option<Waker>,
    _letters: Option<VecDeque<Letter<R>>>,
}

impl<R: Runtime> Seat<R> {
    fn clear(&mut self) -> Leavings<R> {
        // What is empty keeps its room for the next call.
        let letters = (!self.letters.is_empty()).then(|| std::mem::take(&mut self.letters));
        Leavings { _waker: self.waker.take(), _letters: letters }
    }
}
