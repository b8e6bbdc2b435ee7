//! Stopping a server, and counting its connections, from elsewhere.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::control::{Control, Phase};
use crate::runtime::Runtime;

/// A handle of a running server; clones are handles of the same one.
#[derive(Clone)]
pub struct ServerHandle<R> {
    runtime: R,
    control: Arc<Control>,
    stop_deadline: Duration,
}

/// What became of the connections that were there when a server was told to stop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct StopReport {
    /// Carried no exchange and were closed.
    pub idle: usize,
    /// Finished their exchange.
    pub drained: usize,
    /// Lost their client, and finished their handler all the same: see
    /// [`Cancellation`](super::Cancellation).
    pub finished: usize,
    /// Were dropped in the middle: at the deadline, or because their client went away.
    pub aborted: usize,
    /// How long it took.
    pub took: Duration,
}

impl<R: Runtime> ServerHandle<R> {
    pub(super) fn new(runtime: R, control: Arc<Control>, stop_deadline: Duration) -> Self {
        Self { runtime, control, stop_deadline }
    }

    /// Connections at this moment.
    pub fn connections(&self) -> usize {
        self.control.connections()
    }

    /// Ready when the server was told to stop: the sign for endless answers to come to an end.
    pub async fn stopping(&self) {
        let wait = self.control.wait();
        poll_fn(|cx| wait.poll_stopping(cx)).await;
    }

    /// [Stops](Self::stop) within the `stop_deadline` of the configuration.
    pub async fn shutdown(&self) -> StopReport {
        self.stop(self.stop_deadline).await
    }

    /// Stops: no connection is accepted any more, idle ones are closed, running exchanges are
    /// finished and their answers say `connection: close`. What is left after `deadline` is dropped.
    ///
    /// Given up half-way, this future leaves the server draining without a deadline; call it again
    /// to set one.
    pub async fn stop(&self, deadline: Duration) -> StopReport {
        let started = self.runtime.now();
        self.control.drain(deadline);
        let wait = self.control.wait();
        let mut sleep = Some(self.runtime.sleep_until(started + deadline));
        let counts = poll_fn(|cx| {
            if let Poll::Ready(counts) = wait.poll_empty(cx) {
                return Poll::Ready(counts);
            }
            if sleep.as_mut().is_some_and(|sleep| Pin::new(sleep).poll(cx).is_ready()) {
                sleep = None;
                self.control.advance(Phase::Aborting);
                return wait.poll_empty(cx);
            }
            Poll::Pending
        })
        .await;
        StopReport {
            idle: counts.idle,
            drained: counts.drained,
            finished: counts.finished,
            aborted: counts.aborted,
            took: self.runtime.now() - started,
        }
    }
}

impl<R> fmt::Debug for ServerHandle<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandle")
            .field("connections", &self.control.connections())
            .finish_non_exhaustive()
    }
}
