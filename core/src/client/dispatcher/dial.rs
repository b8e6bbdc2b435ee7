//! Connections that are opened: where there may be another one, for whoever waits or ahead, and what
//! becomes of who waits where one comes to nothing.

use core::time::Duration;

use super::action::{Action, ConnectionId, Ended, Failure, Retire};
use super::alarms::Whose;
use super::call::Instance;
use super::{Dispatcher, timer_of};
use crate::observe::Event;
use crate::resilience::{Attempt, Permit};
use crate::table::Key;
use crate::time::Instant;

/// After a connection came to nothing, or was closed before anything was sent on it, none is opened ahead
/// at its endpoint for this long.
const WARM_AGAIN: Duration = Duration::from_secs(1);

impl Dispatcher {
    pub(super) fn has_room(&self) -> bool {
        self.slots.len() < self.policy.pool.max_connections as usize
    }

    /// Whether another connection may be opened there, if need be in place of an idle one elsewhere.
    pub(super) fn can_dial(&self, endpoint: Key) -> bool {
        let most = self.policy.pool.max_per_endpoint;
        let may_grow = |one: &Instance| one.share.connections < most && !one.share.is_stuck();
        let room = self.has_room() || self.slots.idle_len() > 0;
        room && self.instances.get(endpoint).is_some_and(may_grow)
    }

    /// Opens a connection for whoever waits when it is open.
    pub(super) fn dial(&mut self, now: Instant, key: Key, permit: Option<Permit>) {
        if !self.has_room()
            && let Some(oldest) = self.slots.oldest_idle()
        {
            self.close(now, oldest, Retire::Evicted);
        }
        let Some(instance) = self.instances.get_mut(key) else { return };
        let by = now + self.policy.pool.connect;
        let (share, alarms) = (&mut instance.share, &mut self.alarms);
        let connection = self.slots.dial(key, share, permit, now, by, alarms);
        let connection = ConnectionId(connection);
        self.actions.push(Action::Dial { connection, endpoint: instance.member.endpoint, by });
    }

    /// A connection came to nothing. It is charged to whoever waits for longest, who leaves the queue:
    /// a burst of failed dials then takes one attempt from each and not all from one. One that nobody
    /// waited for is charged to nobody.
    pub(super) fn undo_dial(&mut self, now: Instant, key: Key, failure: Failure) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        let (endpoint, permit, forsaken) = (slot.endpoint, slot.permit.take(), slot.forsaken);
        let waited = now - slot.dialled_at;
        self.warm_later(now, endpoint);
        self.report(now, endpoint, permit, failure.fault, waited);
        self.forget_connection(now, key);
        if forsaken {
            return;
        }
        let Some((call, lane)) = self.queue.pop() else { return };
        if let Some(call) = self.calls.get_mut(call) {
            call.attempts = call.attempts.saturating_add(1);
            call.avoid = Some(endpoint);
            if let Some(instance) = self.instances.get(endpoint) {
                let (token, attempt) = (call.spec.token, call.attempts);
                let (endpoint, ended) = (instance.member.endpoint, Ended::Failed(failure));
                let exchange = None;
                self.log.record(Event::AttemptEnded { token, attempt, exchange, endpoint, ended });
            }
        }
        self.failed_attempt(now, call, lane, Attempt::Failed(failure.delivery), failure);
    }

    /// Opens what is to be open ahead.
    pub(super) fn warm(&mut self, now: Instant) {
        let warm = self.policy.pool.warm;
        let due = std::mem::take(&mut self.slots.may_be_cold);
        if warm == 0 || self.draining || !due {
            return;
        }
        for at in 0..self.balancer.ready.len() {
            let Some(endpoint) = self.balancer.ready.get(at).copied() else { return };
            // Who waits for a time is asked again when it comes.
            let enough = |at: &Self| {
                at.instances
                    .get(endpoint)
                    .is_none_or(|one| one.share.connections >= warm || one.warm_after.is_some())
            };
            while !enough(self) && self.has_room() && self.can_dial(endpoint) {
                let Some(permit) = self.permit(now, endpoint) else { break };
                self.dial(now, endpoint, permit);
            }
        }
    }

    /// Opens nothing ahead at this endpoint for a while: else what fails at once is dialled without end.
    pub(super) fn warm_later(&mut self, now: Instant, endpoint: Key) {
        if self.policy.pool.warm == 0 {
            return;
        }
        if let Some(instance) = self.instances.get_mut(endpoint) {
            let after = now + WARM_AGAIN;
            instance.warm_after = Some(after);
            self.alarms.arm(Whose::Endpoints, timer_of(endpoint), after);
        }
    }
}
