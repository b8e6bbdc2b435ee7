//! How operators tell a process that what it was configured with has changed.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;

use futures_core::Stream;
use signal_hook::consts::SIGHUP;
use signal_hook::iterator;

/// SIGHUP as a stream, for [`Reloader::reload`](crate::Reloader::reload). Those that come while nobody
/// looks are one.
///
/// A thread waits for them, so that every runtime is served alike.
#[derive(Debug)]
#[must_use = "from now on, SIGHUP has no effect but this one"]
pub struct Hangups(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    come: bool,
    waker: Option<Waker>,
}

impl Hangups {
    /// Takes the signal over, for the whole process.
    ///
    /// # Errors
    ///
    /// When the system does not let signals be handled, or has no thread to spare.
    pub fn listen() -> io::Result<Self> {
        let mut signals = iterator::Signals::new([SIGHUP])?;
        let state = Arc::<Mutex<State>>::default();
        let told = Arc::clone(&state);
        thread::Builder::new().name("hangups".to_owned()).spawn(move || {
            for _ in signals.forever() {
                let mut state = lock(&told);
                state.come = true;
                let waker = state.waker.take();
                drop(state);
                waker.into_iter().for_each(Waker::wake);
            }
        })?;
        Ok(Self(state))
    }
}

impl Stream for Hangups {
    type Item = ();

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<()>> {
        let mut state = lock(&self.0);
        if std::mem::take(&mut state.come) {
            return Poll::Ready(Some(()));
        }
        let old = state.waker.replace(cx.waker().clone());
        drop(state);
        drop(old);
        Poll::Pending
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // Nothing panics under this lock.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
