//! How operators tell a process to stop.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;

use futures_core::Stream;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator;
use signal_hook::low_level::emulate_default_handler;

use super::handle::StopSignal;

/// Signals that are passed on; the one behind them has its usual effect.
const PASSED_ON: usize = 2;

/// SIGTERM and SIGINT as a stream, for [`ServerHandle::drain_on`](crate::ServerHandle::drain_on).
///
/// A thread waits for them, so that every runtime is served alike. It lives as long as the process, as
/// the handlers do: a third signal ends the process as if nobody listened, whatever the runtime is busy
/// with.
#[derive(Debug)]
#[must_use = "from now on, signals have no effect but this one"]
pub struct Signals(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    come: Vec<StopSignal>,
    waker: Option<Waker>,
}

impl Signals {
    /// Takes both signals over, for the whole process.
    ///
    /// # Errors
    ///
    /// When the system does not let signals be handled, or has no thread to spare.
    pub fn listen() -> io::Result<Self> {
        let mut signals = iterator::Signals::new([SIGTERM, SIGINT])?;
        let state = Arc::<Mutex<State>>::default();
        let told = Arc::clone(&state);
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for (before, signal) in signals.forever().enumerate() {
                if before >= PASSED_ON {
                    let _ = emulate_default_handler(signal);
                }
                let mut state = lock(&told);
                state.come.push(match signal {
                    SIGINT => StopSignal::Interrupt,
                    _ => StopSignal::Terminate,
                });
                let waker = state.waker.take();
                drop(state);
                waker.into_iter().for_each(Waker::wake);
            }
        })?;
        Ok(Self(state))
    }
}

impl Stream for Signals {
    type Item = StopSignal;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<StopSignal>> {
        let mut state = lock(&self.0);
        if !state.come.is_empty() {
            return Poll::Ready(Some(state.come.remove(0)));
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
