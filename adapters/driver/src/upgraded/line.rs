//! What everyone shares who has to do with an upgraded connection: whoever calls drives it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use sinew_tls::ServerTls;

use super::carry::{Carry, Stir};

/// The connection, and those who wait for it.
pub(crate) struct Line<C: ?Sized = dyn Carry> {
    callers: Arc<Callers>,
    /// Wakes all callers. The socket and the timer know no other.
    waker: Waker,
    carrier: Mutex<C>,
}

impl<C: Carry> Line<C> {
    pub(crate) fn new(carrier: C) -> Self {
        let callers = Arc::new(Callers::default());
        let waker = Waker::from(Arc::clone(&callers));
        Self { callers, waker, carrier: Mutex::new(carrier) }
    }
}

impl Line {
    /// Lets a caller drive the connection. Pending, it is woken when it is worth another look.
    pub(crate) fn poll<T>(
        &self,
        cx: &Context<'_>,
        act: impl FnOnce(&mut dyn Carry, &mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.callers.enter(cx.waker());
        let mut carrier = self.lock();
        let polled = act(&mut *carrier, &mut Context::from_waker(&self.waker));
        let stir = carrier.take_stir();
        // A waker may run whoever is woken.
        drop(carrier);
        match stir {
            Stir::Nobody => {}
            Stir::Others => self.callers.wake_others(cx.waker()),
            Stir::All => self.waker.wake_by_ref(),
        }
        polled
    }

    /// Does what needs no waiting.
    pub(crate) fn act<T>(&self, act: impl FnOnce(&mut dyn Carry) -> T) -> T {
        let mut carrier = self.lock();
        let done = act(&mut *carrier);
        let stir = carrier.take_stir();
        drop(carrier);
        if stir != Stir::Nobody {
            self.waker.wake_by_ref();
        }
        done
    }

    /// The application is through with it.
    pub(super) fn close(&self) {
        self.lock().close(&mut Context::from_waker(&self.waker));
        self.waker.wake_by_ref();
    }

    /// The server lost its patience.
    pub(crate) fn stop(&self) {
        self.lock().stop();
        self.waker.wake_by_ref();
    }

    /// Whether a server that goes by this would let the peer in.
    pub(crate) fn is_accepted_by(&self, tls: &ServerTls) -> bool {
        self.lock().is_accepted_by(tls)
    }

    fn lock(&self) -> MutexGuard<'_, dyn Carry + 'static> {
        // Nothing panics under this lock.
        self.carrier.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Those who wait. A reader, a writer and the server's own task may be three different ones, and a
/// runtime remembers one waker a socket.
#[derive(Default)]
struct Callers(Mutex<Vec<Waker>>);

impl Callers {
    fn lock(&self) -> MutexGuard<'_, Vec<Waker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, waker: &Waker) {
        let mut callers = self.lock();
        if !callers.iter().any(|known| known.will_wake(waker)) {
            callers.push(waker.clone());
        }
    }

    fn wake_others(&self, but: &Waker) {
        let mut callers = self.lock();
        let (own, others) = callers.drain(..).partition(|known| known.will_wake(but));
        *callers = own;
        drop(callers);
        let others: Vec<Waker> = others;
        others.into_iter().for_each(Waker::wake);
    }
}

impl Wake for Callers {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let callers = std::mem::take(&mut *self.lock());
        callers.into_iter().for_each(Waker::wake);
    }
}
