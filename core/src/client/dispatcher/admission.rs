//! How many attempts may be on their way at once: as many as the destination proved to bear.
//!
//! Where a part of it is gone, the rest would drown in what all of it bore. What is too much waits, and
//! once the destination is known to be short, no more than one round of it: who came last among the
//! least important is turned away while there is time to do something else.

use http::StatusCode;

use super::Dispatcher;
use super::action::{Failure, Refusal};
use crate::error::{Delivery, Fault, Phase};
use crate::limit::{Load, Place};
use crate::observe::Event;
use crate::table::Key;
use crate::time::Instant;

/// Attempts that may wait for a destination that is short, if no more may be on their way.
const WAITING: u32 = 10;

impl Dispatcher {
    /// How many more attempts may be sent now.
    pub(super) fn room(&self) -> usize {
        let enforced = self.policy.admission.mode.obeys();
        if enforced { self.admission.room() as usize } else { usize::MAX }
    }

    /// The place of an attempt that is sent now. `None`: nobody counts it.
    pub(super) fn admit(&mut self, token: u64) -> Option<Place> {
        let mode = self.policy.admission.mode;
        if !mode.asks() {
            return None;
        }
        match self.admission.acquire() {
            Ok(place) => Some(place),
            Err(full) => {
                self.log.record(Event::Held { token, limit: full.limit, mode });
                None
            }
        }
    }

    /// A call waits. If that is because the destination bears no more, somebody may have to leave.
    pub(super) fn hold(&mut self, token: u64) {
        let beyond = self.queue.len().saturating_sub(self.room());
        if beyond == 0 {
            return;
        }
        let (limit, mode) = (self.admission.limit(), self.policy.admission.mode);
        self.log.record(Event::Held { token, limit, mode });
        if self.admission.is_strained()
            && beyond > limit.max(WAITING) as usize
            && let Some((call, lane)) = self.queue.pop_last()
        {
            self.unplaced(call, lane, Refusal::Admission);
        }
    }

    /// What an answer says about what the destination bears. One that took more than half of the time
    /// that an attempt has comes from a queue in which the next ones may be lost: a mark in time.
    /// <https://www.rfc-editor.org/rfc/rfc3168#section-5>
    pub(super) fn load_of_answer(&self, now: Instant, key: Key, status: StatusCode) -> Load {
        let sent_at = self.exchanges.get(key).map_or(now, |exchange| exchange.sent_at);
        match self.policy.attempt_timeout {
            Some(time) if now - sent_at > time / 2 => Load::Overload,
            _ => Load::of_status(status),
        }
    }

    /// An attempt says this about what the destination bears; `None`: nothing.
    pub(super) fn give_back(&mut self, place: Option<Place>, load: Option<Load>) {
        let Some(place) = place else { return };
        let Some(load) = load else { return self.admission.release(place) };
        let before = self.admission.limit();
        self.admission.settle(place, load);
        let limit = self.admission.limit();
        if limit != before {
            self.log.record(Event::ConcurrencyLimit { limit });
        }
    }
}

/// What a failure says about what the destination bears.
pub(super) fn load_of(failure: Failure) -> Option<Load> {
    match failure {
        Failure { fault: Fault::Local, .. } => None,
        Failure { delivery: Delivery::Refused, .. } => Some(Load::Overload),
        // No answer in time. A connection that breaks is the network's fault, and says nothing.
        Failure { phase: Phase::ResponseHead, fault: Fault::Peer, .. } => Some(Load::Overload),
        _ => None,
    }
}
