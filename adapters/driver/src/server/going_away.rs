//! How a handler is told that its server leaves.

use std::future::Future;
use std::num::NonZeroU64;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::link::{Link, remember};

/// Ready when the server leaves and wants this connection to come to its end, or when the exchange is over,
/// or the connection that it became: [`Request::going_away`](super::Request::going_away).
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct GoingAway {
    pub(super) link: Arc<Link>,
    pub(super) exchange: u64,
}

/// What a connection knows of it.
#[derive(Debug, Default)]
pub(super) struct Farewell {
    told: bool,
    /// Somebody wants to be told.
    watched: bool,
    /// The exchange whose handler took the connection over.
    pub(super) handed_over: Option<NonZeroU64>,
}

impl Farewell {
    /// The exchange is over. Whoever took the connection over waits on.
    pub(super) fn end(&mut self) {
        self.watched &= self.handed_over.is_some();
    }
}

impl Link {
    /// Tells whoever wants to know that the connection is to end.
    pub(super) fn tell_going_away(&self) {
        let mut state = self.lock();
        state.farewell.told = true;
        let watchers = std::mem::take(&mut state.watchers);
        drop(state);
        watchers.into_iter().for_each(Waker::wake);
    }

    /// Whether somebody wants to be told.
    pub(super) fn is_farewell_watched(&self, driver: &Waker) -> bool {
        let mut state = self.lock();
        let old = remember(&mut state.driver, driver);
        let is_watched = state.farewell.watched;
        drop(state);
        drop(old);
        is_watched
    }
}

impl Future for GoingAway {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.link.lock();
        let farewell = &state.farewell;
        let goes_on = farewell.handed_over.is_some_and(|turn| turn.get() == self.exchange);
        if farewell.told || !(goes_on || self.link.watch(self.exchange)) {
            return Poll::Ready(());
        }
        state.watch(cx.waker());
        // The connection says what it does when it is looked at.
        let first = !std::mem::replace(&mut state.farewell.watched, true);
        let driver = state.driver.take_if(|driver| first && !driver.will_wake(cx.waker()));
        drop(state);
        driver.into_iter().for_each(Waker::wake);
        Poll::Pending
    }
}
