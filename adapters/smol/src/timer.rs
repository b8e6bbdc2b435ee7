//! The clock, and a timer on it.

use std::future::Future;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};
use std::time::{Instant as Clock, SystemTime, UNIX_EPOCH};

use async_io::Timer;
use sinew_core::time::{Epoch, Instant};

/// A timer of the reactor, armed for one instant.
#[derive(Debug)]
pub struct SmolTimer(Timer);

impl SmolTimer {
    pub(crate) fn at(at: Instant) -> Self {
        Self(Origin::get().clock(at).map_or_else(Timer::never, Timer::at))
    }

    pub(crate) fn reset(&mut self, at: Instant) {
        match Origin::get().clock(at) {
            Some(clock) => self.0.set_at(clock),
            None => self.0 = Timer::never(),
        }
    }
}

impl Future for SmolTimer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx).map(|_| ())
    }
}

/// Where the clock starts: one place for the whole process, so that instants compare everywhere.
pub(crate) struct Origin {
    clock: Clock,
    pub(crate) epoch: Epoch,
}

impl Origin {
    pub(crate) fn get() -> &'static Self {
        static ORIGIN: OnceLock<Origin> = OnceLock::new();
        ORIGIN.get_or_init(|| {
            let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            Self { clock: Clock::now(), epoch: Epoch::new(unix) }
        })
    }

    pub(crate) fn now(&self) -> Instant {
        Instant::ZERO + self.clock.elapsed()
    }

    /// The same time on the system's clock; `None`: later than that clock can say.
    fn clock(&self, at: Instant) -> Option<Clock> {
        self.clock.checked_add(at - Instant::ZERO)
    }
}
