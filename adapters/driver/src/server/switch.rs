//! How a connection gets from the driver to a handler that takes it over.

use std::future::Future;
use std::num::NonZeroU64;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use sinew_core::error::{Delivery, Phase};

use super::link::{Link, State, remember};
use super::response::Response;
use crate::error::{Error, ErrorKind};
use crate::upgraded::Upgraded;

/// How far it got.
#[derive(Debug)]
pub(super) enum Switch {
    /// The handler asks for it, with this answer.
    Asked(Response, Waker),
    /// The answer is being sent.
    Granted(Waker),
    Refused(Error),
    Taken(Upgraded),
}

impl Switch {
    /// Who waits for it to be settled.
    pub(super) fn waker(&self) -> Option<&Waker> {
        match self {
            Self::Asked(_, waker) | Self::Granted(waker) => Some(waker),
            Self::Refused(_) | Self::Taken(_) => None,
        }
    }
}

impl State {
    /// Takes out how far the hand-over of an exchange got.
    fn switch_of(&mut self, exchange: u64) -> Option<Switch> {
        self.switch.take_if(|switch| switch.0 == exchange).map(|switch| switch.1)
    }
}

impl Link {
    /// The answer with which the handler wants to take the connection over, once.
    pub(super) fn asked_switch(&self, exchange: u64, waker: &Waker) -> Option<Response> {
        let mut state = self.lock();
        let old = remember(&mut state.driver, waker);
        let asked = state.switch_of(exchange).and_then(|asked| {
            let (asked, next) = match asked {
                Switch::Asked(response, waker) => (Some(response), Switch::Granted(waker)),
                other => (None, other),
            };
            state.switch = Some(Box::new((exchange, next)));
            asked
        });
        drop(state);
        drop(old);
        asked
    }

    /// The connection stays what it is.
    pub(super) fn refuse_switch(&self, exchange: u64, error: Error) {
        self.settle_switch(exchange, Switch::Refused(error));
    }

    /// The connection goes to the handler; the exchange is over.
    pub(super) fn hand_over(&self, exchange: u64, upgraded: Upgraded) {
        self.lock().farewell.handed_over = NonZeroU64::new(exchange);
        self.settle_switch(exchange, Switch::Taken(upgraded));
        self.end(true);
    }

    fn settle_switch(&self, exchange: u64, settled: Switch) {
        let mut state = self.lock();
        let asking = state.switch_of(exchange);
        // Whoever asked may have lost interest.
        let Some(Switch::Granted(waker)) = asking else {
            // Closing a connection that nobody fetches takes its own lock.
            drop(state);
            return drop(settled);
        };
        state.switch = Some(Box::new((exchange, settled)));
        drop(state);
        waker.wake();
    }
}

/// A handler that wants to take its connection over.
#[derive(Debug)]
pub(super) struct Switching {
    pub(super) link: Arc<Link>,
    pub(super) exchange: u64,
    /// What is to be answered, until it was asked.
    pub(super) response: Option<Response>,
}

impl Future for Switching {
    type Output = Result<Upgraded, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let gone = Error::new(ErrorKind::Gone, Phase::ResponseHead, Delivery::MaybeProcessed);
        let running = this.link.running.load(Ordering::Acquire) >> 1 == this.exchange;
        let mut state = this.link.lock();
        if let Some(response) = this.response.take() {
            if !running {
                return Poll::Ready(Err(gone));
            }
            let asked = Switch::Asked(response, cx.waker().clone());
            let old = state.switch.replace(Box::new((this.exchange, asked)));
            let driver = state.driver.take_if(|driver| !driver.will_wake(cx.waker()));
            drop(state);
            drop(old);
            driver.into_iter().for_each(Waker::wake);
            return Poll::Pending;
        }
        let (waiting, old) = match state.switch_of(this.exchange) {
            Some(Switch::Taken(upgraded)) => return Poll::Ready(Ok(upgraded)),
            Some(Switch::Refused(error)) => return Poll::Ready(Err(error)),
            None => return Poll::Ready(Err(gone)),
            Some(Switch::Asked(response, old)) => {
                (Switch::Asked(response, cx.waker().clone()), old)
            }
            Some(Switch::Granted(old)) => (Switch::Granted(cx.waker().clone()), old),
        };
        state.switch = Some(Box::new((this.exchange, waiting)));
        drop(state);
        drop(old);
        Poll::Pending
    }
}

impl Drop for Switching {
    fn drop(&mut self) {
        let left = self.link.lock().switch_of(self.exchange);
        drop(left);
    }
}
