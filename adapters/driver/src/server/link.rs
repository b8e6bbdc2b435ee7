//! What a connection shares with the requests that came over it: who the peer is, and the slot
//! through which request bodies cross.

use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use sinew_core::error::{Delivery, Phase};
use sinew_core::head::Fields;
use sinew_core::http1::BodySize;
use sinew_core::server::{self, Stack, Template};
use sinew_tls::PeerIdentity;

use super::going_away::Farewell;
use super::switch::Switch;
use crate::error::{Error, ErrorKind};
use crate::io::Peer;

/// One per connection. Requests hold a count of it; those without a body never lock it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(super) peer: Peer,
    pub(super) identity: OnceLock<Arc<PeerIdentity>>,
    /// The peer, as policies see it; made at the first request.
    pub(super) policy_peer: OnceLock<Box<server::Peer>>,
    pub(super) templates: Arc<[Template]>,
    pub(super) stack: Arc<Stack>,
    /// The running exchange, shifted left by one, and whether somebody waits for its end. Zero
    /// between exchanges.
    pub(super) running: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// The exchange whose body is handed over; a handle of another one is stale.
    turn: u64,
    slot: Slot,
    /// The reader wants more.
    demand: bool,
    /// The reader's handle was dropped.
    dropped: bool,
    /// The client shut its writing side, or the connection is over.
    gone: bool,
    reader: Option<Waker>,
    pub(super) driver: Option<Waker>,
    /// Those who wait for a change of what is [gone](Gone) or [going away](super::GoingAway). Each looks
    /// for itself whether it was that.
    pub(super) watchers: Vec<Waker>,
    pub(super) farewell: Farewell,
    /// The handler of this exchange wants to take the connection over.
    pub(super) switch: Option<Box<(u64, Switch)>>,
}

impl State {
    /// Wakes this at the next change.
    pub(super) fn watch(&mut self, waker: &Waker) {
        if !self.watchers.iter().any(|known| known.will_wake(waker)) {
            self.watchers.push(waker.clone());
        }
    }
}

/// The connection's own hold on its link. When it goes, also because the task was cancelled, nobody
/// waits for ever.
#[derive(Debug)]
pub(super) struct Hold(Arc<Link>);

impl Hold {
    pub(super) fn new(link: Link) -> Self {
        Self(Arc::new(link))
    }
}

impl Deref for Hold {
    type Target = Arc<Link>;

    fn deref(&self) -> &Arc<Link> {
        &self.0
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.end(true);
        self.0.lose();
        self.0.tell_going_away();
    }
}

/// At most one piece is on its way.
#[derive(Debug, Default)]
pub(super) enum Slot {
    #[default]
    Empty,
    Data(Bytes),
    End(Option<Box<HeaderMap>>),
    Failed(Box<Error>),
}

impl Slot {
    pub(super) fn end(trailers: Option<Fields>) -> Self {
        Self::End(trailers.map(|trailers| Box::new(trailers.to_header_map())))
    }

    pub(super) fn failed(error: Error) -> Self {
        Self::Failed(Box::new(error))
    }
}

/// What the reader of a body is waiting for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Demand {
    /// Nothing.
    None,
    /// The next piece.
    Next,
    /// Never anything again: the handle is gone.
    Dropped,
}

impl Link {
    pub(super) fn new(peer: Peer, templates: Arc<[Template]>, stack: Arc<Stack>) -> Self {
        Self {
            peer,
            identity: OnceLock::new(),
            policy_peer: OnceLock::new(),
            templates,
            stack,
            running: AtomicU64::new(0),
            state: Mutex::default(),
        }
    }

    /// The same connection, for the requests that come from now on. No exchange may be running.
    pub(super) fn renewed(&self, templates: Arc<[Template]>, stack: Arc<Stack>) -> Self {
        let next = Self::new(self.peer.clone(), templates, stack);
        if let Some(identity) = self.identity.get() {
            let _ = next.identity.set(Arc::clone(identity));
        }
        next.lock().gone = self.lock().gone;
        next
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An exchange starts.
    pub(super) fn begin(&self, exchange: u64) {
        self.running.store(exchange << 1, Ordering::Release);
    }

    /// The exchange is over: whoever still holds a handle of it is told.
    #[inline]
    pub(super) fn end(&self, was_shared: bool) {
        let watched = self.running.swap(0, Ordering::AcqRel) & 1 == 1;
        if watched || was_shared {
            self.tell_end();
        }
    }

    fn tell_end(&self) {
        let mut state = self.lock();
        state.turn = 0;
        state.slot = Slot::Empty;
        let reader = state.reader.take();
        let watchers = std::mem::take(&mut state.watchers);
        state.farewell.end();
        let asking = state.switch.take_if(|switch| switch.1.waker().is_some());
        drop(state);
        let asking = asking.as_ref().and_then(|switch| switch.1.waker()).cloned();
        reader.into_iter().chain(asking).chain(watchers).for_each(Waker::wake);
    }

    /// Whether this exchange is running; somebody waits for its end then. Asked under the lock.
    pub(super) fn watch(&self, exchange: u64) -> bool {
        let (idle, watched) = (exchange << 1, exchange << 1 | 1);
        let marked =
            self.running.compare_exchange(idle, watched, Ordering::AcqRel, Ordering::Acquire);
        marked.map_or_else(|now| now == watched, |_| true)
    }

    /// Nothing more will come from the client.
    pub(super) fn lose(&self) {
        let mut state = self.lock();
        state.gone = true;
        let watchers = std::mem::take(&mut state.watchers);
        drop(state);
        watchers.into_iter().for_each(Waker::wake);
    }

    /// Opens the slot for the body of an exchange.
    pub(super) fn open_body(self: &Arc<Self>, exchange: u64, size: BodySize) -> Incoming {
        let mut state = self.lock();
        state.turn = exchange;
        state.slot = Slot::Empty;
        state.demand = false;
        state.dropped = false;
        let reader = state.reader.take();
        drop(state);
        drop(reader);
        let left = match size {
            BodySize::Empty => Some(0),
            BodySize::Exact(length) => Some(length),
            BodySize::Unknown => None,
        };
        Incoming { link: Arc::clone(self), turn: exchange, left, over: false }
    }

    /// What the reader waits for; it will wake `waker` when that changes.
    pub(super) fn demand(&self, waker: &Waker) -> Demand {
        let mut state = self.lock();
        let old = remember(&mut state.driver, waker);
        let demand = match (state.dropped, state.demand, &state.slot) {
            (true, ..) => Demand::Dropped,
            (_, true, Slot::Empty) => Demand::Next,
            _ => Demand::None,
        };
        drop(state);
        drop(old);
        demand
    }

    /// Whether the reader's handle is gone.
    pub(super) fn is_dropped(&self) -> bool {
        self.lock().dropped
    }

    /// Puts a piece into the slot. `true`: the reader is the task of `waker` itself, which has to
    /// look again; another one was woken.
    pub(super) fn deliver(&self, piece: Slot, waker: &Waker) -> bool {
        let mut state = self.lock();
        state.slot = piece;
        state.demand = false;
        let reader = state.reader.take();
        drop(state);
        match reader {
            Some(reader) if !reader.will_wake(waker) => {
                reader.wake();
                false
            }
            Some(_) => true,
            None => false,
        }
    }
}

/// Remembers whom to wake. The waker that it replaces may own what it wakes, and locks of that: it is to
/// be dropped when nothing is locked.
#[must_use]
pub(super) fn remember(slot: &mut Option<Waker>, waker: &Waker) -> Option<Waker> {
    match slot {
        Some(known) if known.will_wake(waker) => None,
        _ => slot.replace(waker.clone()),
    }
}

/// The body of a request, as the handler holds it. It may move to another task or thread.
#[derive(Debug)]
pub(super) struct Incoming {
    link: Arc<Link>,
    turn: u64,
    /// Bytes still to come, where that is known.
    left: Option<u64>,
    over: bool,
}

impl http_body::Body for Incoming {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.over {
            return Poll::Ready(None);
        }
        let mut state = self.link.lock();
        if state.turn != self.turn {
            drop(state);
            self.over = true;
            let gone = Error::new(ErrorKind::Gone, Phase::RequestBody, Delivery::Processed);
            return Poll::Ready(Some(Err(gone)));
        }
        let slot = std::mem::take(&mut state.slot);
        if let Slot::Empty = slot {
            let old = remember(&mut state.reader, cx.waker());
            state.demand = true;
            let driver = state.driver.take_if(|driver| !driver.will_wake(cx.waker()));
            drop(state);
            drop(old);
            if let Some(driver) = driver {
                driver.wake();
            }
            return Poll::Pending;
        }
        drop(state);
        let frame = match slot {
            Slot::Data(data) => {
                self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                Some(Ok(Frame::data(data)))
            }
            Slot::End(trailers) => {
                self.over = true;
                trailers.map(|trailers| Ok(Frame::trailers(*trailers)))
            }
            Slot::Failed(error) => {
                self.over = true;
                Some(Err(*error))
            }
            Slot::Empty => None,
        };
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.over
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let mut state = self.link.lock();
        if state.turn == self.turn {
            state.dropped = true;
            let reader = state.reader.take();
            let driver = state.driver.take();
            drop(state);
            drop(reader);
            if let Some(driver) = driver {
                driver.wake();
            }
        }
    }
}

/// Ready when the client has shut its writing side, or when the exchange is over.
///
/// A client that only half-closes looks like one that left; its answer is sent all the same.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Gone {
    pub(super) link: Arc<Link>,
    pub(super) exchange: u64,
}

impl Future for Gone {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.link.lock();
        if state.gone || !self.link.watch(self.exchange) {
            return Poll::Ready(());
        }
        state.watch(cx.waker());
        Poll::Pending
    }
}
