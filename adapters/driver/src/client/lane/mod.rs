//! A connection that several calls share, and the seat that each of them has on it.
//!
//! There is no task behind it: whoever is polled drives the connection for all, and puts what comes
//! for others into their mail. The socket wakes everybody who waits, so that it does not matter who
//! was polled last, who is dropped, and who is not polled any more.

mod mail;
mod seat;
mod signal;
mod table;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::Method;
use sinew_core::Wire as _;
use sinew_core::error::{Delivery, Kind, Phase};
use sinew_core::http1::{BodySize, Client, ClientEvent};
use sinew_core::machine::Layered as _;
use sinew_core::time::Instant;
use sinew_tls::PeerIdentity;

pub(super) use seat::{Seat, Ticket};
pub(super) use table::{Lanes, Wish};

use self::mail::Mail;
use self::signal::Signal;
use super::lease::Held;
use crate::drive;
use crate::error::{Error, ErrorKind};
use crate::runtime::Runtime;

/// After this time no more calls get on: the connection runs empty, and the pool looks at its age.
const TENURE: Duration = Duration::from_secs(10);

/// A connection that several calls share.
pub(super) struct Lane<R: Runtime> {
    lanes: Arc<Lanes<R>>,
    runtime: R,
    signal: Arc<Signal>,
    /// The signal, as the connection's waker.
    waker: Waker,
    until: Instant,
    identity: OnceLock<Option<Arc<PeerIdentity>>>,
    state: Mutex<State<R>>,
}

struct State<R: Runtime> {
    /// `None` once the connection was given back or closed.
    held: Option<Held<R>>,
    /// The exchange that is being answered.
    turn: u64,
    mail: BTreeMap<u64, Mail>,
}

impl<R: Runtime> Lane<R> {
    /// Gets on a connection that nobody else has. Others may follow.
    pub(super) fn open(
        lanes: &Arc<Lanes<R>>,
        held: Held<R>,
        ticket: Ticket,
        send: impl FnOnce(Instant, &mut Client) -> Result<(), Error>,
    ) -> Result<Seat<R>, Error> {
        let runtime = held.conn.runtime.clone();
        let signal = Arc::new(Signal::default());
        let turn = held.conn.wire.top_ref().exchange() + 1;
        let lane = Arc::new(Self {
            lanes: Arc::clone(lanes),
            waker: Waker::from(Arc::clone(&signal)),
            signal,
            until: runtime.now() + TENURE,
            runtime,
            identity: OnceLock::new(),
            state: Mutex::new(State { held: Some(held), turn, mail: BTreeMap::new() }),
        });
        lanes.open(&lane);
        lane.seat(&mut lane.lock(), ticket, send)
    }

    /// Gets on behind the others, where the machine lets a request of this method follow theirs.
    pub(super) fn board(
        self: &Arc<Self>,
        method: &Method,
        ticket: Ticket,
        send: impl FnOnce(Instant, &mut Client) -> Result<(), Error>,
    ) -> Option<Result<Seat<R>, Error>> {
        let mut state = self.lock();
        if self.until <= self.runtime.now() || !state.has_room(method) {
            return None;
        }
        Some(self.seat(&mut state, ticket, send))
    }

    fn seat(
        self: &Arc<Self>,
        state: &mut State<R>,
        ticket: Ticket,
        send: impl FnOnce(Instant, &mut Client) -> Result<(), Error>,
    ) -> Result<Seat<R>, Error> {
        let Some(held) = &mut state.held else { return Err(gone()) };
        let top = held.conn.wire.top();
        drive::lend_write_block(top.outbox());
        send(self.runtime.now(), top)?;
        let number = top.exchange();
        state.mail.insert(number, Mail::new(ticket.between_bytes));
        // The request is to be written.
        self.signal.note();
        if state.has_room(&Method::GET) {
            self.lanes.room();
        }
        Ok(Seat::new(Arc::clone(self), number, ticket.deadline))
    }

    /// Whom the server's certificate names; known once an answer came.
    fn identity(&self) -> Option<Arc<PeerIdentity>> {
        self.identity.get().cloned().flatten()
    }

    fn lock(&self) -> MutexGuard<'_, State<R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drives the connection until it waits, or until a call has to read its mail.
    fn drive(&self, state: &mut State<R>) -> Option<Held<R>> {
        if !self.signal.take_news() {
            return None;
        }
        let mut cx = Context::from_waker(&self.waker);
        loop {
            let turn = state.turn;
            if state.mail.get(&turn).is_some_and(Mail::is_full) {
                self.signal.note();
                return None;
            }
            let conn = &mut state.held.as_mut()?.conn;
            match conn.poll_event(&mut cx) {
                Poll::Pending => return None,
                Poll::Ready(Err(error)) => return state.fail(error),
                Poll::Ready(Ok(event)) => {
                    self.identity.get_or_init(|| conn.wire.identity());
                    if let Some(leaving) = self.deliver(state, event) {
                        return Some(leaving);
                    }
                }
            }
        }
    }

    /// Puts an event into the mail of the call whose turn it is.
    fn deliver(&self, state: &mut State<R>, event: ClientEvent) -> Option<Held<R>> {
        let turn = state.turn;
        let conn = &mut state.held.as_mut()?.conn;
        let mail = state.mail.get_mut(&turn)?;
        let complete = match &event {
            ClientEvent::Informational(_) | ClientEvent::Continue => return None,
            ClientEvent::Response { body: BodySize::Empty, .. } | ClientEvent::End(_) => true,
            ClientEvent::Response { .. } => {
                conn.wire.top().set_between_bytes(self.runtime.now(), mail.between_bytes);
                false
            }
            ClientEvent::Data(_) => false,
        };
        let excess = mail.post(event);
        self.signal.call(turn);
        if excess {
            return state.fail(gone());
        }
        if !complete {
            return None;
        }
        mail.complete = true;
        if !mail.is_read() {
            state.mail.remove(&turn);
        }
        state.turn += 1;
        if state.turn > conn.wire.top_ref().exchange() {
            return state.held.take();
        }
        if state.has_room(&Method::GET) {
            self.lanes.room();
        }
        None
    }

    /// Does what has to wait until the lane is unlocked. A connection with something on it is closed.
    fn settle(self: &Arc<Self>, leaving: Option<Held<R>>) {
        let Some(held) = leaving else { return };
        self.lanes.close(self);
        held.give_back();
        self.signal.call_all();
    }
}

impl<R: Runtime> State<R> {
    fn has_room(&self, method: &Method) -> bool {
        self.held.as_ref().is_some_and(|held| held.conn.wire.top_ref().can_pipeline(method))
    }

    /// Whether somebody still waits for an answer.
    fn is_wanted(&self) -> bool {
        self.mail.values().any(|mail| !mail.complete && mail.is_read())
    }

    /// How far the request of this number got, if its answer has not begun.
    fn unanswered(&self, number: u64) -> Option<Delivery> {
        let mut lost = self.held.as_ref()?.conn.wire.top_ref().unanswered();
        Some(lost.find(|lost| lost.exchange == number)?.delivery)
    }

    /// The connection is over. Who has its turn is told why; those behind are told how far they got.
    fn fail(&mut self, error: Error) -> Option<Held<R>> {
        let (mut error, turn) = (Some(error), self.turn);
        let lost: Vec<(u64, Delivery)> = match &self.held {
            Some(held) => {
                let unanswered = held.conn.wire.top_ref().unanswered();
                unanswered.map(|lost| (lost.exchange, lost.delivery)).collect()
            }
            None => Vec::new(),
        };
        for (number, mail) in self.mail.iter_mut().filter(|(_, mail)| !mail.complete) {
            let delivery = lost.iter().find(|(lost, _)| lost == number).map(|(_, far)| *far);
            let told = match (error.take_if(|_| *number == turn), delivery) {
                // That nothing was sent TLS may know better than who counts what it took.
                (Some(error), Some(far)) if error.delivery() != Delivery::NotSent => {
                    error.with_delivery(far)
                }
                (Some(error), _) => error,
                (None, delivery) => {
                    let delivery = delivery.unwrap_or(Delivery::MaybeProcessed);
                    let phase = Phase::ResponseHead;
                    sinew_core::Error { kind: Kind::Closed, phase, delivery }.into()
                }
            };
            mail.fail(told);
        }
        self.held.take()
    }
}

fn gone() -> Error {
    Error::new(ErrorKind::Gone, Phase::ResponseHead, Delivery::NotSent)
}
