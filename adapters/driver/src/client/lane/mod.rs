//! A connection that several calls share, and the seat that each of them has on it.
//!
//! There is no task behind it: whoever is polled drives the connection for all, and puts what comes
//! for others into their mail. The socket wakes everybody who waits, so that it does not matter who
//! was polled last, who is dropped, and who is not polled any more.
//!
//! A lane lives from the first call that is sent on an idle connection to the last that is over. The
//! hub may lock it; a lane never locks the hub.

mod mail;
mod seat;
mod signal;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use sinew_core::Wire as _;
use sinew_core::client::dispatcher::ConnectionId;
use sinew_core::error::{Delivery, Kind, Phase};
use sinew_core::http1::{BodySize, ClientEvent};
use sinew_core::machine::Layered as _;
use sinew_tls::PeerIdentity;
use smallvec::SmallVec;

pub(super) use seat::Seat;

use self::mail::Mail;
use self::signal::Signal;
use super::conn::Conn;
use super::hub::Hub;
use super::outgoing::Outgoing;
use super::seats::Ticket;
use crate::drive;
use crate::error::{Error, ErrorKind};
use crate::runtime::Runtime;

/// A connection that several calls share.
pub(super) struct Lane<R: Runtime> {
    connection: ConnectionId,
    runtime: R,
    signal: Arc<Signal>,
    /// The signal, as the connection's waker.
    waker: Waker,
    identity: OnceLock<Option<Arc<PeerIdentity>>>,
    state: Mutex<State<R>>,
}

struct State<R: Runtime> {
    /// `None` once the connection was given back or closed.
    conn: Option<Box<Conn<R>>>,
    /// The exchange that is being answered.
    turn: u64,
    mail: BTreeMap<u64, Mail>,
    /// How many exchanges the dispatcher thinks that it can carry at once.
    capacity: u32,
}

/// What the hub has to hear when the lane is unlocked.
struct News<R: Runtime> {
    /// Exchanges that are over, though whoever has the answer did not read all of it.
    ended: SmallVec<[Ticket; 2]>,
    /// The connection failed.
    lost: Option<Box<Conn<R>>>,
    /// There is more or less room than the dispatcher thinks.
    resized: bool,
    /// For whom something came.
    wake: SmallVec<[Waker; 2]>,
    /// The connection wants to be driven again.
    call_all: bool,
}

impl<R: Runtime> News<R> {
    fn none() -> Self {
        let (ended, wake) = (SmallVec::new(), SmallVec::new());
        Self { ended, lost: None, resized: false, wake, call_all: false }
    }
}

impl<R: Runtime> Lane<R> {
    /// A lane on a connection that carries nothing.
    pub(super) fn new(connection: ConnectionId, conn: Box<Conn<R>>) -> Self {
        let signal = Arc::new(Signal::default());
        let turn = conn.wire.top_ref().exchange() + 1;
        let capacity = conn.wire.top_ref().room();
        Self {
            connection,
            waker: Waker::from(Arc::clone(&signal)),
            signal,
            runtime: conn.runtime.clone(),
            identity: OnceLock::new(),
            state: Mutex::new(State { conn: Some(conn), turn, mail: BTreeMap::new(), capacity }),
        }
    }

    /// Sends the head of a call, behind those that are on their way. Its number.
    fn board(&self, hub: &Hub<R>, ticket: Ticket, request: &Outgoing) -> Result<u64, Error> {
        let mut state = self.lock();
        let lost = state.lose_if_dead(ticket.first_use);
        let State { conn, mail, turn, .. } = &mut *state;
        let Some(conn) = conn else {
            drop(state);
            drop(lost);
            // Those who are about to get on keep it: it would be given to this call again.
            hub.lane_failed(self.connection);
            return Err(no_room());
        };
        let idle = *turn > conn.wire.top_ref().exchange();
        if !idle && !conn.wire.top_ref().can_pipeline(&request.method) {
            return Err(no_room());
        }
        drive::lend_write_block(conn.wire.top().outbox());
        request.send_head(conn, self.runtime.now(), BodySize::Empty)?;
        let number = conn.wire.top_ref().exchange();
        mail.insert(number, Mail::new(ticket, request.between_bytes));
        // The request is to be written.
        self.signal.note();
        Ok(number)
    }

    /// How many exchanges it can carry at once, those that it carries included.
    pub(super) fn capacity(&self) -> u32 {
        let mut state = self.lock();
        state.capacity = state.measure();
        state.capacity
    }

    /// Takes the connection, as nobody is on the lane any more: `Ok` where another exchange can follow.
    pub(super) fn vacate(&self) -> Result<Box<Conn<R>>, Option<Box<Conn<R>>>> {
        let mut state = self.lock();
        let conn = state.conn.take().ok_or(None)?;
        let idle = state.turn > conn.wire.top_ref().exchange();
        drop(state);
        if idle { conn.rested().map_err(Some) } else { Err(Some(conn)) }
    }

    /// Whom the server's certificate names; known once an answer came.
    fn identity(&self) -> Option<Arc<PeerIdentity>> {
        self.identity.get().cloned().flatten()
    }

    fn lock(&self) -> MutexGuard<'_, State<R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drives the connection until it waits, or until a call has to read its mail.
    fn drive(&self, state: &mut State<R>, news: &mut News<R>) {
        if !self.signal.take_news() {
            return;
        }
        let mut cx = Context::from_waker(&self.waker);
        loop {
            let turn = state.turn;
            if state.mail.get(&turn).is_some_and(Mail::is_full) {
                self.signal.note();
                return;
            }
            let Some(conn) = &mut state.conn else { return };
            match conn.poll_event(&mut cx) {
                Poll::Pending => return,
                Poll::Ready(Err(error)) => return state.fail(error, news),
                Poll::Ready(Ok(event)) => {
                    self.identity.get_or_init(|| conn.wire.identity());
                    self.deliver(state, event, news);
                }
            }
        }
    }

    /// Puts an event into the mail of the call whose turn it is.
    fn deliver(&self, state: &mut State<R>, event: ClientEvent, news: &mut News<R>) {
        let turn = state.turn;
        let Some(conn) = &mut state.conn else { return };
        let Some(mail) = state.mail.get_mut(&turn) else { return };
        let complete = match &event {
            ClientEvent::Informational(_) | ClientEvent::Continue => return,
            ClientEvent::Response { body: BodySize::Empty, .. } | ClientEvent::End(_) => true,
            ClientEvent::Response { .. } => {
                conn.wire.top().set_between_bytes(self.runtime.now(), mail.between_bytes);
                false
            }
            ClientEvent::Data(_) => false,
        };
        let excess = mail.post(event);
        news.wake.extend(self.signal.take(turn));
        if excess {
            return state.fail(no_room(), news);
        }
        if complete {
            mail.complete = true;
            news.ended.extend(mail.end());
            if !mail.is_read() {
                state.mail.remove(&turn);
            }
            state.turn += 1;
        }
    }

    /// Wakes the others, and tells the hub what happened, when the lane is unlocked.
    fn settle(&self, hub: &Hub<R>, news: News<R>) {
        news.wake.into_iter().for_each(Waker::wake);
        for ticket in news.ended {
            hub.finished(ticket, None);
        }
        if news.lost.is_some() {
            hub.lane_failed(self.connection);
        } else if news.resized {
            hub.lane_resized(self.connection);
        }
        if news.call_all || news.lost.is_some() {
            self.signal.call_all();
        }
    }
}

impl<R: Runtime> State<R> {
    /// Takes the connection, if nothing is on it, and it is not good any more.
    fn lose_if_dead(&mut self, first_use: bool) -> Option<Box<Conn<R>>> {
        let Self { conn, turn, mail, .. } = self;
        // What is fresh, or was answered just now, needs no look.
        if first_use || !mail.is_empty() {
            return None;
        }
        // Whoever is polled next drives it, and is woken from then on.
        let dead = |conn: &mut Box<Conn<R>>| {
            *turn > conn.wire.top_ref().exchange()
                && !conn.is_alive(&mut Context::from_waker(Waker::noop()))
        };
        conn.take_if(dead)
    }

    /// Those who are on it, and those for whom there is room.
    fn measure(&self) -> u32 {
        let on = self.mail.values().filter(|mail| !mail.is_over()).count() as u32;
        let room = self.conn.as_ref().map_or(0, |conn| conn.wire.top_ref().room());
        on.saturating_add(room).max(1)
    }

    /// How far the request of this number got, if its answer has not begun.
    fn unanswered(&self, number: u64) -> Option<Delivery> {
        let mut lost = self.conn.as_ref()?.wire.top_ref().unanswered();
        Some(lost.find(|lost| lost.exchange == number)?.delivery)
    }

    /// The connection is over. Who has its turn is told why; those behind are told how far they got.
    fn fail(&mut self, error: Error, news: &mut News<R>) {
        let (mut error, turn) = (Some(error), self.turn);
        let lost: Vec<(u64, Delivery)> = match &self.conn {
            Some(conn) => {
                let unanswered = conn.wire.top_ref().unanswered();
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
        news.lost = self.conn.take();
    }
}

/// Nothing was sent: the lane is over, or takes nobody.
fn no_room() -> Error {
    Error::new(ErrorKind::Gone, Phase::ResponseHead, Delivery::NotSent)
}
