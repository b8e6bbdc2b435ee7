//! The place of one call on a lane.

use std::sync::Arc;
use std::task::{Context, Poll, Wake as _};

use sinew_core::error::{Delivery, Phase};
use sinew_core::http1::ClientEvent;
use sinew_tls::PeerIdentity;

use super::mail::Mail;
use super::{Lane, News, no_room};
use crate::client::carrier::{Until, Whose};
use crate::client::hub::Hub;
use crate::client::outgoing::Outgoing;
use crate::client::seats::Ticket;
use crate::drive::Alarm;
use crate::error::Error;
use crate::runtime::Runtime;

/// The place of one call on a lane.
pub(in crate::client) struct Seat<R: Runtime> {
    hub: Arc<Hub<R>>,
    lane: Arc<Lane<R>>,
    number: u64,
    /// When the answer has to be here, unless it is streamed.
    pub(in crate::client) until: Option<Until>,
    alarm: Alarm<R>,
}

impl<R: Runtime> Seat<R> {
    /// Gets on a lane.
    pub(in crate::client) fn board(
        hub: &Arc<Hub<R>>,
        lane: Arc<Lane<R>>,
        ticket: Ticket,
        request: &Outgoing,
    ) -> Result<Self, Error> {
        let number = lane.board(hub, ticket, request)?;
        Ok(Self { hub: Arc::clone(hub), lane, number, until: None, alarm: Alarm::new() })
    }

    /// Whom the server's certificate names.
    pub(in crate::client) fn identity(&self) -> Option<Arc<PeerIdentity>> {
        self.lane.identity()
    }

    /// Waits for the next event of this call's answer, and drives the connection meanwhile.
    pub(in crate::client) fn poll_event(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<ClientEvent, Error>> {
        let lane = &self.lane;
        let now = lane.runtime.now();
        lane.signal.wait(self.number, cx.waker());
        let mut news = News::none();
        let mut state = lane.lock();
        let late = Until::is_over(self.until, now);
        let has_mail = state.mail.get(&self.number).is_some_and(|mail| !mail.is_empty());
        if late.is_none() && !has_mail {
            lane.signal.hold();
            lane.drive(&mut state, &mut news);
            news.call_all = lane.signal.release();
        }
        let letter = state.mail.get_mut(&self.number).and_then(Mail::take);
        let is_over = state.conn.is_none();
        let late = late.map(|whose| (whose, state.unanswered(self.number)));
        news.resized = state.measure() != state.capacity;
        drop(state);
        lane.settle(&self.hub, news);
        let ready = match (letter, late) {
            (Some(Err(error)), _) => Some(Err(error)),
            (_, Some((whose, unanswered))) => Some(Err(timed_out(whose, unanswered))),
            (None, None) if is_over => Some(Err(no_room())),
            (letter, None) => letter,
        };
        if let Some(ready) = ready {
            drop(lane.signal.take(self.number));
            return Poll::Ready(ready);
        }
        if self.alarm.arm(cx, &lane.runtime, now, self.until.map(|until| until.at)).is_ready() {
            // The next poll finds that it is over.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// The time of the call, or of this attempt, is over.
    pub(in crate::client) fn timed_out(&self, whose: Whose) -> Error {
        timed_out(whose, self.lane.lock().unanswered(self.number))
    }

    /// The head was given to the caller. Whether the exchange is over with that, as the rest is here.
    pub(in crate::client) fn judged(&self) -> bool {
        let mut state = self.lane.lock();
        let mail = state.mail.get_mut(&self.number);
        mail.is_some_and(|mail| mail.judge().is_some())
    }

    /// Leaves: the answer is thrown away for the sake of those behind it. Whether the exchange is over
    /// with that, and was not before.
    pub(in crate::client) fn leave(&self) -> bool {
        let lane = &self.lane;
        let mut state = lane.lock();
        let Some(mail) = state.mail.get_mut(&self.number) else { return false };
        let (unread, ended, complete) = (mail.leave(), mail.close(), mail.complete);
        if complete {
            state.mail.remove(&self.number);
        }
        drop(state);
        drop((unread, lane.signal.take(self.number)));
        if !complete {
            // It may have been what the others waited for.
            lane.signal.wake_by_ref();
        }
        ended
    }
}

fn timed_out(whose: Whose, unanswered: Option<Delivery>) -> Error {
    let begun = (Phase::ResponseBody, Delivery::Processed);
    let (phase, delivery) = unanswered.map_or(begun, |far| (Phase::ResponseHead, far));
    Error::new(whose.late(), phase, delivery)
}

impl<R: Runtime> Drop for Seat<R> {
    fn drop(&mut self) {
        self.leave();
    }
}
