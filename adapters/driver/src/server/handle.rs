//! Telling a server to leave, and counting its connections, from elsewhere.

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_core::Stream;
use sinew_core::server::drain::{Phase, TooLate};

use super::control::Control;
use super::memory::MemoryReport;
use super::pacer::{Pacer, Role};
use super::report::DrainReport;
use crate::runtime::Runtime;

/// How an operator tells a process to stop.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum StopSignal {
    /// SIGTERM: what supervisors send, while others still send requests.
    Terminate,
    /// SIGINT, Ctrl-C: somebody sits there and waits.
    Interrupt,
}

impl StopSignal {
    /// Where a server that serves goes when it comes; one that leaves goes to [`Phase::Force`].
    pub const fn phase(self) -> Phase {
        match self {
            Self::Terminate => Phase::LameDuck,
            Self::Interrupt => Phase::Notify,
        }
    }
}

/// A handle of a running server; clones are handles of the same one.
#[derive(Clone)]
pub struct ServerHandle<R> {
    runtime: R,
    control: Arc<Control>,
}

impl<R: Runtime> ServerHandle<R> {
    pub(super) fn new(runtime: R, control: Arc<Control>) -> Self {
        Self { runtime, control }
    }

    /// Connections at this moment.
    pub fn connections(&self) -> usize {
        self.control.connections()
    }

    /// The bytes that the server holds at this moment, for its connections, its queue and its limiter.
    pub fn memory(&self) -> MemoryReport {
        self.control.memory.report()
    }

    /// How far the server has gone on its way out: what it was told last, by [`advance`](Self::advance),
    /// [`undrain`](Self::undrain) or a signal, holds at once, whether or not its task has run since. A
    /// phase that time brings is seen when that task, or whoever waits in [`drained`](Self::drained), runs.
    pub fn phase(&self) -> Phase {
        self.control.phase()
    }

    /// Ready when the server was told to leave: from [`Phase::LameDuck`] on, while it still serves. The time
    /// to tell registries and balancers.
    pub async fn leaving(&self) {
        let wait = self.control.wait();
        poll_fn(|cx| wait.poll_told(cx)).await;
    }

    /// Ready when clients are told that the server leaves: from [`Phase::Notify`] on.
    ///
    /// Whoever answers without end rather waits for
    /// [`Request::going_away`](super::Request::going_away), which comes to each at a moment of its own.
    pub async fn stopping(&self) {
        let wait = self.control.wait();
        poll_fn(|cx| wait.poll_leaving(cx)).await;
    }

    /// Leaves without losing a request, [phase](sinew_core::server::drain) by phase, each with its time
    /// in [`RestServerConfig::drain`](super::RestServerConfig::drain). Ready when nothing is left.
    ///
    /// The server's own task goes on with it, whatever becomes of this future. While it is
    /// [taken back](Self::undrain), the future waits.
    pub async fn drain(&self) -> DrainReport {
        self.advance(Phase::LameDuck);
        self.drained().await
    }

    /// Takes it back: the server serves on. Who was told already leaves all the same.
    ///
    /// # Errors
    ///
    /// From [`Phase::StopAccept`] on it cannot be taken back.
    pub fn undrain(&self) -> Result<(), TooLate> {
        self.control.resume()
    }

    /// Goes on to this phase at once, never back: to [`Phase::Notify`] without waiting until everybody
    /// knows, to [`Phase::Force`] to be gone.
    pub fn advance(&self, phase: Phase) {
        self.control.command(|drain, now| drain.advance(now, phase));
    }

    /// Leaves in a hurry: no connection is accepted any more, idle ones are closed at once, running
    /// exchanges are finished and their answers say `connection: close`. What is left after `deadline` is
    /// dropped. For tests, and for servers whose clients know already; others [drain](Self::drain).
    pub async fn stop(&self, deadline: Duration) -> DrainReport {
        self.control.command(|drain, now| drain.hurry(now, deadline));
        self.drained().await
    }

    /// Leaves as operators say: a first signal [drains](Self::drain), Ctrl-C without the time for
    /// propagation; a second one of either kind forces. Ready when the server has left, whoever told it.
    ///
    /// Nothing here installs a handler: the signals come from the feature `signals`
    /// (`Signals::listen()`), from the runtime, or from elsewhere.
    pub async fn drain_on(&self, signals: impl Stream<Item = StopSignal>) -> DrainReport {
        let mut signals = pin!(signals);
        let mut is_open = true;
        let mut pacer = Pacer::new(self.runtime.clone(), &self.control, Role::Waiter);
        poll_fn(|cx| {
            while is_open && let Poll::Ready(signal) = signals.as_mut().poll_next(cx) {
                is_open = signal.is_some();
                if let Some(signal) = signal {
                    self.control.command(|drain, now| {
                        let is_first = drain.phase() == Phase::Serving;
                        drain.advance(now, if is_first { signal.phase() } else { Phase::Force });
                    });
                }
            }
            pacer.poll(cx)
        })
        .await
    }

    /// Ready when the server has left.
    pub async fn drained(&self) -> DrainReport {
        let mut pacer = Pacer::new(self.runtime.clone(), &self.control, Role::Waiter);
        poll_fn(|cx| pacer.poll(cx)).await
    }
}

impl<R> fmt::Debug for ServerHandle<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandle").field("control", &self.control).finish_non_exhaustive()
    }
}
