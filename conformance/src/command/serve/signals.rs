//! SIGTERM and SIGINT as a future.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{io, thread};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Ready once the process was told to stop.
///
/// A thread waits for the signals, so that every runtime is served alike. A second signal ends the
/// process at once.
#[derive(Debug)]
pub(super) struct Stopped {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    stopped: bool,
    waker: Option<Waker>,
}

impl Stopped {
    /// Takes the signals over.
    pub(super) fn install() -> io::Result<Self> {
        let mut signals = Signals::new([SIGTERM, SIGINT])?;
        let state = Arc::new(Mutex::new(State::default()));
        let told = Arc::clone(&state);
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            let mut signals = signals.forever();
            signals.next();
            let waker = {
                let mut state = lock(&told);
                state.stopped = true;
                state.waker.take()
            };
            if let Some(waker) = waker {
                waker.wake();
            }
            if let Some(second) = signals.next() {
                std::process::exit(128 + second);
            }
        })?;
        Ok(Self { state })
    }
}

impl Future for Stopped {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = lock(&self.state);
        if state.stopped {
            return Poll::Ready(());
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
