//! How many attempts may be on their way at once: as many as the destination proved to bear.
//!
//! Where a part of it is gone, the rest would drown in what all of it bore. What is too much waits, and
//! once the destination is known to be short, no more than one round of it: who came last among the
//! least important is turned away while there is time to do something else.

use super::Dispatcher;
use super::action::{Failure, Refusal};
use crate::error::{Delivery, Fault, Phase};
use crate::limit::{Concurrency, Load, Place};
use crate::observe::{Event, Log};
use crate::policy::Mode;
use crate::time::Instant;

/// Attempts that may wait for a destination that is short, if no more may be on their way.
const WAITING: u32 = 2;

impl Dispatcher {
    /// How many more attempts may be sent now.
    pub(super) fn room(&self) -> usize {
        let enforced = self.policy.admission.mode.obeys();
        if enforced { self.admission.room() as usize } else { usize::MAX }
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

    /// An attempt says this about what the destination bears; `None`: nothing.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a few instructions of every call")]
    pub(super) fn give_back(&mut self, now: Instant, place: Option<Place>, load: Option<Load>) {
        let Some(place) = place else { return };
        let Some(load) = load else { return self.admission.release(place) };
        if let Some(limit) = self.admission.settle(now, place, load) {
            self.log.record(Event::ConcurrencyLimit { limit });
        }
    }
}

/// The place of an attempt that is sent now. `None`: nobody counts it.
#[inline(always)]
#[expect(clippy::inline_always, reason = "a few instructions of every call")]
pub(super) fn admit(
    admission: &mut Concurrency,
    mode: Mode,
    token: u64,
    log: &mut Log,
) -> Option<Place> {
    if !mode.asks() {
        return None;
    }
    match admission.acquire() {
        Ok(place) => Some(place),
        Err(full) => {
            log.record(Event::Held { token, limit: full.limit, mode });
            None
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
