//! A connection that several calls share, and the seat that each of them has on it.
//!
//! There is no task behind it: whoever is polled drives the connection for all, and puts what comes
//! for others into their mail. The socket wakes everybody who waits, so that it does not matter who
//! was polled last, who is dropped, and who is not polled any more.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http_body::{Frame, SizeHint};
use sinew_core::Machine as _;
use sinew_core::Wire as _;
use sinew_core::error::{Delivery, Kind, Phase};
use sinew_core::http1::{BodySize, Client, ClientEvent};
use sinew_core::machine::Layered as _;
use sinew_core::time::Instant;
use sinew_tls::PeerIdentity;

use super::conn::Conn;
use super::lanes::Lanes;
use super::lease::Lease;
use super::response::Arriving;
use crate::drive::{self, Alarm};
use crate::error::{Error, ErrorKind};
use crate::runtime::Runtime;

/// Bytes of an answer that are kept for a call that does not read them, so that the answers behind
/// it can come. The piece that exceeds it is kept too.
const MAIL: usize = 64 * 1024;

/// Bytes of an answer that nobody wants any more, read for the sake of those behind it. Beyond that
/// the connection is closed, and they are asked again.
const DISCARD: u64 = 64 * 1024;

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
    held: Option<(Conn<R>, Lease<R>)>,
    /// The exchange that is being answered.
    turn: u64,
    mail: BTreeMap<u64, Mail>,
}

/// What has come for a call.
struct Mail {
    letters: VecDeque<Result<ClientEvent, Error>>,
    bytes: usize,
    /// Nothing more will come.
    complete: bool,
    between_bytes: Option<Duration>,
    reader: Reader,
}

enum Reader {
    Here,
    /// It left; so many bytes were thrown away since.
    Gone(u64),
}

/// What becomes of a connection that nobody is on any more, once no lock is held.
struct Leaving<R: Runtime> {
    conn: Conn<R>,
    lease: Lease<R>,
    fate: Fate,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    GiveBack,
    Close,
}

impl<R: Runtime> Lane<R> {
    /// Gets on a connection that nobody else has. Others may follow.
    pub(super) fn open(
        lanes: &Arc<Lanes<R>>,
        (conn, lease): (Conn<R>, Lease<R>),
        ticket: Ticket,
        send: impl FnOnce(Instant, &mut Client) -> Result<(), Error>,
    ) -> Result<Seat<R>, Error> {
        let runtime = conn.runtime.clone();
        let signal = Arc::new(Signal::default());
        let turn = conn.wire.top_ref().exchange() + 1;
        let lane = Arc::new(Self {
            lanes: Arc::clone(lanes),
            waker: Waker::from(Arc::clone(&signal)),
            signal,
            until: runtime.now() + TENURE,
            runtime,
            identity: OnceLock::new(),
            state: Mutex::new(State { held: Some((conn, lease)), turn, mail: BTreeMap::new() }),
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
        let Some((conn, _)) = &mut state.held else { return Err(gone()) };
        let top = conn.wire.top();
        drive::lend_write_block(top.outbox());
        send(self.runtime.now(), top)?;
        let number = top.exchange();
        state.mail.insert(number, Mail::new(ticket.between_bytes));
        // The request is to be written.
        self.signal.news.store(true, Ordering::Release);
        if state.has_room(&Method::GET) {
            self.lanes.room();
        }
        let (lane, deadline) = (Arc::clone(self), Some(ticket.deadline));
        Ok(Seat { lane, number, deadline, alarm: Alarm::new() })
    }

    /// Whom the server's certificate names; known once an answer came.
    pub(super) fn identity(&self) -> Option<Arc<PeerIdentity>> {
        self.identity.get().cloned().flatten()
    }

    fn lock(&self) -> MutexGuard<'_, State<R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drives the connection until it waits, or until a call has to read its mail.
    fn drive(&self, state: &mut State<R>) -> Option<Leaving<R>> {
        if !self.signal.news.swap(false, Ordering::AcqRel) {
            return None;
        }
        let mut cx = Context::from_waker(&self.waker);
        loop {
            let turn = state.turn;
            if state.mail.get(&turn).is_some_and(|mail| mail.bytes > MAIL) {
                self.signal.news.store(true, Ordering::Release);
                return None;
            }
            let (conn, _) = state.held.as_mut()?;
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
    fn deliver(&self, state: &mut State<R>, event: ClientEvent) -> Option<Leaving<R>> {
        let turn = state.turn;
        let (conn, _) = state.held.as_mut()?;
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
        if matches!(mail.reader, Reader::Gone(_)) {
            state.mail.remove(&turn);
        }
        state.turn += 1;
        if state.turn > conn.wire.top_ref().exchange() {
            return state.leave(Fate::GiveBack);
        }
        if state.has_room(&Method::GET) {
            self.lanes.room();
        }
        None
    }

    /// Does what has to wait until the lane is unlocked.
    fn settle(self: &Arc<Self>, leaving: Option<Leaving<R>>) {
        let Some(Leaving { conn, lease, fate }) = leaving else { return };
        self.lanes.close(self);
        match fate {
            Fate::GiveBack => lease.give_back(conn),
            Fate::Close => drop((conn, lease)),
        }
        self.signal.call_all();
    }
}

impl<R: Runtime> State<R> {
    fn has_room(&self, method: &Method) -> bool {
        self.held.as_ref().is_some_and(|(conn, _)| conn.wire.top_ref().can_pipeline(method))
    }

    fn leave(&mut self, fate: Fate) -> Option<Leaving<R>> {
        let (conn, lease) = self.held.take()?;
        Some(Leaving { conn, lease, fate })
    }

    /// Whether somebody still waits for an answer.
    fn is_wanted(&self) -> bool {
        self.mail.values().any(|mail| !mail.complete && matches!(mail.reader, Reader::Here))
    }

    /// How far the request of this number got, if its answer has not begun.
    fn unanswered(&self, number: u64) -> Option<Delivery> {
        let (conn, _) = self.held.as_ref()?;
        let mut lost = conn.wire.top_ref().unanswered();
        Some(lost.find(|lost| lost.exchange == number)?.delivery)
    }

    /// The connection is over. Who has its turn is told why; those behind are told how far they got.
    fn fail(&mut self, error: Error) -> Option<Leaving<R>> {
        let (mut error, turn) = (Some(error), self.turn);
        let lost: Vec<(u64, Delivery)> = match &self.held {
            Some((conn, _)) => {
                let unanswered = conn.wire.top_ref().unanswered();
                unanswered.map(|lost| (lost.exchange, lost.delivery)).collect()
            }
            None => Vec::new(),
        };
        for (number, mail) in self.mail.iter_mut().filter(|(_, mail)| !mail.complete) {
            let delivery = lost.iter().find(|(lost, _)| lost == number).map(|(_, far)| *far);
            let told = match (error.take_if(|_| *number == turn), delivery) {
                (Some(error), Some(delivery)) => error.with_delivery(delivery),
                (Some(error), None) => error,
                (None, delivery) => {
                    let delivery = delivery.unwrap_or(Delivery::MaybeProcessed);
                    let phase = Phase::ResponseHead;
                    sinew_core::Error { kind: Kind::Closed, phase, delivery }.into()
                }
            };
            mail.letters.push_back(Err(told));
            mail.complete = true;
        }
        self.leave(Fate::Close)
    }
}

impl Mail {
    fn new(between_bytes: Option<Duration>) -> Self {
        let reader = Reader::Here;
        Self { letters: VecDeque::new(), bytes: 0, complete: false, between_bytes, reader }
    }

    /// Keeps an event, or throws it away where nobody reads it; whether that was too much.
    fn post(&mut self, event: ClientEvent) -> bool {
        let bytes = match &event {
            ClientEvent::Data(data) => data.len(),
            _ => 0,
        };
        match &mut self.reader {
            Reader::Here => {
                self.bytes += bytes;
                self.letters.push_back(Ok(event));
                false
            }
            Reader::Gone(discarded) => {
                *discarded += bytes as u64;
                *discarded > DISCARD
            }
        }
    }

    fn take(&mut self) -> Option<Result<ClientEvent, Error>> {
        let letter = self.letters.pop_front()?;
        if let Ok(ClientEvent::Data(data)) = &letter {
            self.bytes -= data.len();
        }
        Some(letter)
    }
}

fn gone() -> Error {
    Error::new(ErrorKind::Gone, Phase::ResponseHead, Delivery::NotSent)
}

/// Wakes the calls of a lane.
#[derive(Default)]
struct Signal {
    /// Something may have happened since the connection was driven.
    news: AtomicBool,
    waiting: Mutex<Vec<(u64, Waker)>>,
}

impl Signal {
    /// Who is to be woken. A waker that it replaces is dropped when the lock is not held: it may be
    /// the last that holds a task.
    fn wait(&self, number: u64, waker: &Waker) {
        let mut waiting = self.lock();
        let replaced = match waiting.iter_mut().find(|(waits, _)| *waits == number) {
            Some((_, known)) if known.will_wake(waker) => None,
            Some((_, known)) => Some(std::mem::replace(known, waker.clone())),
            None => {
                waiting.push((number, waker.clone()));
                None
            }
        };
        drop(waiting);
        drop(replaced);
    }

    fn take(&self, number: u64) -> Option<Waker> {
        let mut waiting = self.lock();
        let at = waiting.iter().position(|(waits, _)| *waits == number)?;
        Some(waiting.swap_remove(at).1)
    }

    fn call(&self, number: u64) {
        self.take(number).into_iter().for_each(Waker::wake);
    }

    fn call_all(&self) {
        let waiting = std::mem::take(&mut *self.lock());
        for (_, waker) in waiting {
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(u64, Waker)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.news.store(true, Ordering::Release);
        self.call_all();
    }
}

/// What a call brings along.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    pub(super) deadline: Instant,
    pub(super) between_bytes: Option<Duration>,
}

/// The place of one call on a lane.
pub(super) struct Seat<R: Runtime> {
    lane: Arc<Lane<R>>,
    number: u64,
    /// When the call ends, whatever it has reached.
    deadline: Option<Instant>,
    alarm: Alarm<R>,
}

impl<R: Runtime> Unpin for Seat<R> {}

impl<R: Runtime> Seat<R> {
    /// Whom the server's certificate names.
    pub(super) fn identity(&self) -> Option<Arc<PeerIdentity>> {
        self.lane.identity()
    }

    /// Waits for the next event of this call's answer, and drives the connection meanwhile.
    pub(super) fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<ClientEvent, Error>> {
        let lane = &self.lane;
        let now = lane.runtime.now();
        lane.signal.wait(self.number, cx.waker());
        let mut state = lane.lock();
        let late = self.deadline.is_some_and(|deadline| deadline <= now);
        let has_mail = state.mail.get(&self.number).is_some_and(|mail| !mail.letters.is_empty());
        let leaving = if late || has_mail { None } else { lane.drive(&mut state) };
        let letter = state.mail.get_mut(&self.number).and_then(Mail::take);
        let unanswered = state.unanswered(self.number);
        let is_over = state.held.is_none();
        drop(state);
        lane.settle(leaving);
        let ready = match letter {
            Some(Err(error)) => Some(Err(error)),
            _ if late => {
                let begun = (Phase::ResponseBody, Delivery::Processed);
                let (phase, delivery) = unanswered.map_or(begun, |far| (Phase::ResponseHead, far));
                Some(Err(Error::new(ErrorKind::Timeout, phase, delivery)))
            }
            None if is_over => Some(Err(gone())),
            letter => letter,
        };
        if let Some(ready) = ready {
            drop(lane.signal.take(self.number));
            return Poll::Ready(ready);
        }
        if self.alarm.arm(cx, &lane.runtime, now, self.deadline).is_ready() {
            // The next poll finds the deadline passed.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

/// The answer is thrown away for the sake of those behind it. With nobody behind it the connection
/// is closed, unless all of the answer is here.
impl<R: Runtime> Drop for Seat<R> {
    fn drop(&mut self) {
        let lane = &self.lane;
        let mut state = lane.lock();
        let Some(mail) = state.mail.get_mut(&self.number) else { return };
        mail.reader = Reader::Gone(std::mem::take(&mut mail.bytes) as u64);
        let letters = std::mem::take(&mut mail.letters);
        if mail.complete {
            state.mail.remove(&self.number);
        }
        let mut leaving = None;
        if !state.is_wanted() {
            let now = lane.runtime.now();
            while let Some((conn, _)) = &mut state.held
                && let Ok(Some(event)) = conn.wire.poll_event(now)
            {
                leaving = lane.deliver(&mut state, event);
            }
            leaving = leaving.or_else(|| state.leave(Fate::Close));
        }
        drop(state);
        drop((letters, lane.signal.take(self.number)));
        lane.settle(leaving);
        // Whoever waits goes on in its place.
        lane.signal.wake_by_ref();
    }
}

/// The body of an answer that came on a lane.
pub(super) struct SharedBody<R: Runtime> {
    /// `None` once the body has ended, or failed.
    seat: Option<Seat<R>>,
    left: Option<u64>,
}

impl<R: Runtime> SharedBody<R> {
    /// `None` where no body comes.
    pub(super) fn new(seat: Seat<R>, size: BodySize) -> Option<Self> {
        let left = match size {
            BodySize::Empty => return None,
            BodySize::Exact(length) => Some(length),
            BodySize::Unknown => None,
        };
        Some(Self { seat: Some(seat), left })
    }
}

impl<R: Runtime> http_body::Body for SharedBody<R> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        loop {
            let Some(seat) = &mut self.seat else { return Poll::Ready(None) };
            match ready!(seat.poll_event(cx)) {
                Ok(ClientEvent::Data(data)) => {
                    if let Some(left) = &mut self.left {
                        *left = left.saturating_sub(data.len() as u64);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Ok(ClientEvent::End(trailers)) => {
                    self.seat = None;
                    let trailers = trailers.map(|all| Ok(Frame::trailers(all.to_header_map())));
                    return Poll::Ready(trailers);
                }
                Ok(_) => {}
                Err(error) => {
                    self.seat = None;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.seat.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.seat, self.left) {
            (None, _) => SizeHint::with_exact(0),
            (Some(_), Some(left)) => SizeHint::with_exact(left),
            (Some(_), None) => SizeHint::default(),
        }
    }
}

impl<R: Runtime> Arriving for SharedBody<R> {
    fn lift_deadline(mut self: Pin<&mut Self>) {
        if let Some(seat) = &mut self.seat {
            seat.deadline = None;
        }
    }
}
