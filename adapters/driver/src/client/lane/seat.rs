//! The place of one call on a lane.

use std::sync::Arc;
use std::task::{Context, Poll, Wake as _};
use std::time::Duration;

use sinew_core::error::{Delivery, Phase};
use sinew_core::http1::ClientEvent;
use sinew_core::time::Instant;
use sinew_tls::PeerIdentity;

use super::mail::Mail;
use super::{Lane, gone};
use crate::client::response::Source;
use crate::drive::Alarm;
use crate::error::{Error, ErrorKind};
use crate::runtime::Runtime;

/// What a call brings along.
#[derive(Clone, Copy, Debug)]
pub(in crate::client) struct Ticket {
    pub(in crate::client) deadline: Instant,
    pub(in crate::client) between_bytes: Option<Duration>,
}

/// The place of one call on a lane.
pub(in crate::client) struct Seat<R: Runtime> {
    lane: Arc<Lane<R>>,
    number: u64,
    /// When the call ends, whatever it has reached.
    deadline: Option<Instant>,
    alarm: Alarm<R>,
}

impl<R: Runtime> Seat<R> {
    pub(super) fn new(lane: Arc<Lane<R>>, number: u64, deadline: Instant) -> Self {
        Self { lane, number, deadline: Some(deadline), alarm: Alarm::new() }
    }

    /// Whom the server's certificate names.
    pub(in crate::client) fn identity(&self) -> Option<Arc<PeerIdentity>> {
        self.lane.identity()
    }
}

impl<R: Runtime> Source for Seat<R> {
    /// Waits for the next event of this call's answer, and drives the connection meanwhile.
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<ClientEvent, Error>> {
        let lane = &self.lane;
        let now = lane.runtime.now();
        lane.signal.wait(self.number, cx.waker());
        let mut state = lane.lock();
        let late = self.deadline.is_some_and(|deadline| deadline <= now);
        let has_mail = state.mail.get(&self.number).is_some_and(|mail| !mail.is_empty());
        let leaving = if late || has_mail { None } else { lane.drive(&mut state) };
        let letter = state.mail.get_mut(&self.number).and_then(Mail::take);
        let unanswered = if late { state.unanswered(self.number) } else { None };
        let is_over = state.held.is_none();
        drop(state);
        lane.settle(leaving);
        let ready = match letter {
            Some(Err(error)) => Some(Err(error)),
            _ if late => {
                let begun = (Phase::ResponseBody, Delivery::Processed);
                let (phase, delivery) = unanswered.map_or(begun, |far| (Phase::ResponseHead, far));
                Some(Err(Error::new(ErrorKind::Timeout, phase, delivery)))
            }
            None if is_over => Some(Err(gone())),
            letter => letter,
        };
        if let Some(ready) = ready {
            drop(lane.signal.take(self.number));
            return Poll::Ready(ready);
        }
        if self.alarm.arm(cx, &lane.runtime, now, self.deadline).is_ready() {
            // The next poll finds the deadline passed.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn lift_deadline(&mut self) {
        self.deadline = None;
    }

    fn complete(self) {}

    fn leave(self) {}
}

/// The answer is thrown away for the sake of those behind it; with nobody left who waits for one, the
/// connection is closed.
impl<R: Runtime> Drop for Seat<R> {
    fn drop(&mut self) {
        let lane = &self.lane;
        let mut state = lane.lock();
        let Some(mail) = state.mail.get_mut(&self.number) else { return };
        let unread = mail.leave();
        let complete = mail.complete;
        if complete {
            state.mail.remove(&self.number);
        }
        let leaving = if state.is_wanted() { None } else { state.held.take() };
        drop(state);
        drop((unread, lane.signal.take(self.number)));
        lane.settle(leaving);
        if !complete {
            // It may have been what the others waited for.
            lane.signal.wake_by_ref();
        }
    }
}
