//! What an attempt came to: what the breaker, the budget and the balancer learn from it, and whether
//! there is another.
#![expect(clippy::inline_always, reason = "every call passes here: measured by `sinew-benches`")]

use core::time::Duration;

use http::StatusCode;

use super::Dispatcher;
use super::action::{
    Cut, Ended, ExchangeId, Failure, HeadFacts, HeadVerdict, Outcome as CallOutcome, Reuse,
};
use super::admission::load_of;
use super::alarms::Whose;
use super::call::{Call, Lane, further};
use crate::error::{Delivery, Fault, Phase};
use crate::limit::Load;
use crate::observe::Event;
use crate::policy::Mode;
use crate::resilience::{
    Attempt, NoRetry, Outcome, Permit, Replay, Report, RetryFacts, RetryVerdict,
};
use crate::table::Key;
use crate::time::Instant;

/// Kept connections that may end under a request of one call before that counts as a failure. One that
/// was dead before anything was sent, and is closed for it, does not: there are only so many. One that
/// stays, as others are on it, does: it could be tried without end.
const MAX_STALE: u8 = 3;

/// An endpoint that asks to be left alone counts as one that took as long as that, up to this.
const LONGEST_BIAS: Duration = Duration::from_secs(300);

impl Dispatcher {
    /// The head of an answer is here.
    pub fn head(&mut self, now: Instant, exchange: ExchangeId, facts: HeadFacts) -> HeadVerdict {
        use crate::machine::Machine as _;
        self.handle_timeout(now);
        let ExchangeId(key) = exchange;
        let Some(call) = self.exchanges.get(key).and_then(|exchange| exchange.call) else {
            return HeadVerdict::Discard;
        };
        let waiting = self.calls.get(call).filter(|call| !call.delivered);
        let Some(lane) = waiting.and_then(|call| call.lane_of(key)) else {
            return HeadVerdict::Discard;
        };
        self.learn(now, key, Heard::Answer(facts.status, facts.retry_after));
        let (status, delivery) = (facts.status, facts.delivery);
        self.tell_end(key, Ended::Answered { status, delivery });
        let attempt = Attempt::Answered {
            status: facts.status,
            delivery: facts.delivery,
            retry_after: facts.retry_after,
        };
        let decided = if attempt.is_final() {
            Decided::GiveUp(NoRetry::Final)
        } else {
            self.decide(now, call, lane, attempt, facts.replay)
        };
        let delivered = match decided {
            Decided::Retry(until) => {
                if let Some(call) = self.calls.get_mut(call) {
                    call.delivery = further(call.delivery, facts.delivery);
                }
                self.avoid(call, key);
                self.detach(key);
                self.set_lane(call, lane, Lane::BackOff(until));
                self.alarms.arm(Whose::Calls, call.index(), until);
                self.handle_timeout(now);
                false
            }
            Decided::OtherLane => {
                self.detach(key);
                self.vacate_lane(call, lane);
                false
            }
            Decided::GiveUp(_) => {
                self.deliver(now, call, lane);
                true
            }
        };
        self.pump(now);
        if delivered { HeadVerdict::Deliver } else { HeadVerdict::Discard }
    }

    /// Both directions of an exchange are over, or nobody wants the rest.
    pub fn finished(&mut self, now: Instant, exchange: ExchangeId, reuse: Reuse) {
        use crate::machine::Machine as _;
        self.handle_timeout(now);
        let ExchangeId(key) = exchange;
        let Some(ended) = self.exchanges.get(key) else { return };
        let (connection, call) = (ended.connection, ended.call);
        if call.is_some_and(|call| !self.calls.get(call).is_some_and(|call| call.delivered)) {
            // It cannot be over before its head was here.
            let failure = Failure {
                delivery: Delivery::MaybeProcessed,
                phase: Phase::ResponseHead,
                fault: Fault::Peer,
            };
            self.failed(now, exchange, failure, Replay::Impossible, reuse);
            return;
        }
        self.end_exchange(now, key, reuse);
        if let Some(call) = call {
            self.complete(call, CallOutcome::Done);
        }
        self.hand_on(now, connection);
        self.pump(now);
    }

    /// The connection of an exchange left HTTP. The exchange is over, and its call is done. The
    /// connection keeps its place under the caps until it is [retired](Self::retire).
    pub fn upgraded(&mut self, now: Instant, exchange: ExchangeId) {
        use crate::machine::Machine as _;
        self.handle_timeout(now);
        let ExchangeId(key) = exchange;
        let Some(ended) = self.exchanges.get(key) else { return };
        if let Some(instance) = self.instances.get_mut(ended.endpoint) {
            self.slots.tunnel(ended.connection, &mut instance.share);
        }
        self.finished(now, exchange, Reuse::Keep);
    }

    /// An exchange failed. `replay`: whether its request could be sent once more.
    pub fn failed(
        &mut self,
        now: Instant,
        exchange: ExchangeId,
        failure: Failure,
        replay: Replay,
        reuse: Reuse,
    ) {
        use crate::machine::Machine as _;
        self.handle_timeout(now);
        let ExchangeId(key) = exchange;
        let Some(ended) = self.exchanges.get(key) else { return };
        let (connection, endpoint, epoch) = (ended.connection, ended.endpoint, ended.epoch);
        let route = ended.route.as_ref().map(|on| (on.key, on.epoch));
        let (first_use, call) = (ended.first_use, ended.call);
        let lane = call.and_then(|call| self.calls.get(call)?.lane_of(key));
        let (Some(key_of_call), Some(lane)) = (call, lane) else {
            self.end_exchange(now, key, reuse);
            self.hand_on(now, connection);
            self.pump(now);
            return;
        };
        let call = key_of_call;
        let Some(known) = self.calls.get(call) else { return };
        let counts = failure.delivery != Delivery::NotSent || reuse == Reuse::Keep;
        let is_stale = !first_use
            && replay == Replay::Possible
            && (!counts || known.strikes < MAX_STALE)
            && self.ended_unanswered(failure, known);
        if known.delivered {
            if failure.fault != Fault::Local {
                let answers =
                    route.is_some_and(|(route, epoch)| self.route_failed_late(now, route, epoch));
                if let (Some(epoch), Some(instance)) = (epoch, self.instances.get_mut(endpoint))
                    && !answers
                {
                    let change = instance.breaker.late_failure(now, epoch);
                    self.breaker_changed(now, endpoint, change);
                    self.judge(now, endpoint, Outcome::Failure);
                }
            }
            self.end_exchange(now, key, reuse);
            let why = NoRetry::Delivered;
            self.complete(call, CallOutcome::Failed { failure, why });
        } else if is_stale {
            // The peer closed the connection while it was idle: nobody's failure. At once again,
            // without a verdict, a budget or an attempt.
            // https://www.rfc-editor.org/rfc/rfc9112#section-9.3.1
            self.tell_end(key, Ended::Stale { delivery: failure.delivery });
            self.end_exchange(now, key, reuse);
            if let Some(call) = self.calls.get_mut(call) {
                call.note(failure);
                call.stale = call.stale.saturating_add(1);
                call.strikes += u8::from(counts);
                call.attempts = call.attempts.saturating_sub(1);
            }
            self.vacate_lane(call, lane);
            self.attempt_again(now, call, lane);
        } else {
            self.blame(now, key, failure);
            self.tell_end(key, Ended::Failed(failure));
            self.avoid(call, key);
            self.end_exchange(now, key, reuse);
            let attempt = Attempt::Failed(failure.delivery);
            self.failed_attempt_with(now, call, lane, attempt, failure, replay);
        }
        self.hand_on(now, connection);
        self.handle_timeout(now);
        self.pump(now);
    }

    /// Whether a connection ended before anything of an answer came, under a request that was not sent,
    /// or that may be sent twice.
    fn ended_unanswered(&self, failure: Failure, call: &Call) -> bool {
        let retry = call.spec.retry.unwrap_or(self.policy.retry);
        match failure.delivery {
            Delivery::NotSent => failure.fault != Fault::Local,
            Delivery::MaybeProcessed => {
                failure.phase == Phase::ResponseHead
                    && failure.fault == Fault::Network
                    && call.spec.safety.is_repeatable()
                    && retry.attempts > 1
                    && retry.mode.obeys()
            }
            Delivery::Refused | Delivery::Processed => false,
        }
    }

    /// The head of this attempt did not come in the time it had.
    pub(super) fn cut_late(&mut self, now: Instant, call: Key, lane: usize, exchange: Key) {
        let failure = Failure {
            delivery: Delivery::MaybeProcessed,
            phase: Phase::ResponseHead,
            fault: Fault::Peer,
        };
        self.blame(now, exchange, failure);
        self.tell_end(exchange, Ended::Cut(Cut::AttemptTimeout));
        self.avoid(call, exchange);
        self.vacate_lane(call, lane);
        self.cut(now, exchange, Cut::AttemptTimeout);
        self.failed_attempt(now, call, lane, Attempt::Failed(failure.delivery), failure);
    }

    /// An attempt failed whose request is still there.
    pub(super) fn failed_attempt(
        &mut self,
        now: Instant,
        call: Key,
        lane: usize,
        attempt: Attempt,
        failure: Failure,
    ) {
        self.failed_attempt_with(now, call, lane, attempt, failure, Replay::Possible);
    }

    /// An attempt failed, and everything that it held is given back.
    fn failed_attempt_with(
        &mut self,
        now: Instant,
        key: Key,
        lane: usize,
        attempt: Attempt,
        failure: Failure,
        replay: Replay,
    ) {
        let Some(call) = self.calls.get_mut(key) else { return };
        call.note(failure);
        let decided = if failure.fault == Fault::Local {
            Decided::GiveUp(NoRetry::Final)
        } else {
            self.decide(now, key, lane, attempt, replay)
        };
        match decided {
            Decided::Retry(until) => {
                self.set_lane(key, lane, Lane::BackOff(until));
                self.alarms.arm(Whose::Calls, key.index(), until);
            }
            Decided::OtherLane => self.vacate_lane(key, lane),
            Decided::GiveUp(why) => {
                self.vacate_lane(key, lane);
                let at_rest = self.calls.get(key).is_some_and(Call::is_at_rest);
                if at_rest {
                    self.complete(key, CallOutcome::Failed { failure, why });
                }
            }
        }
    }

    /// Whether the call is tried again on this lane.
    fn decide(
        &mut self,
        now: Instant,
        key: Key,
        lane: usize,
        attempt: Attempt,
        replay: Replay,
    ) -> Decided {
        let Some(call) = self.calls.get(key) else { return Decided::GiveUp(NoRetry::Final) };
        let token = call.spec.token;
        let policy = call.spec.retry.unwrap_or(self.policy.retry);
        let facts = RetryFacts {
            attempts: call.attempts,
            attempt,
            safety: call.spec.safety,
            replay,
            remaining: call.spec.deadline - now,
        };
        if !policy.mode.asks() {
            return Decided::GiveUp(NoRetry::Off);
        }
        let (mode, budget) = (policy.mode, self.policy.budget.mode);
        let after = match policy.decide(&facts, &mut self.jitter) {
            RetryVerdict::Retry { after } => after,
            RetryVerdict::GiveUp(why) => {
                if why != NoRetry::Final {
                    self.log.record(Event::RetryRefused { token, why, mode });
                }
                return Decided::GiveUp(why);
            }
        };
        // The other attempt of the call is its next one already.
        if !call.is_alone(lane) && mode.obeys() {
            return Decided::OtherLane;
        }
        let asked = match (budget.asks(), mode) {
            (false, _) => Ok(()),
            (true, Mode::Enforce) => self.budget.withdraw(now),
            // What is not made spends nothing.
            (true, Mode::Shadow | Mode::Off) => self.budget.check(now),
        };
        if let Err(reason) = asked {
            let why = NoRetry::Budget(reason);
            let mode = if mode.obeys() { budget } else { mode };
            self.log.record(Event::RetryRefused { token, why, mode });
            if budget.obeys() {
                return Decided::GiveUp(if policy.mode.obeys() { why } else { NoRetry::Off });
            }
        }
        let (attempts, delay) = (facts.attempts, attempt.delay(after));
        self.log.record(Event::RetryScheduled { token, attempts, after, delay, mode });
        if mode.obeys() { Decided::Retry(now + after) } else { Decided::GiveUp(NoRetry::Off) }
    }

    /// This is the answer of the call.
    #[inline]
    fn deliver(&mut self, now: Instant, key: Key, lane: usize) {
        let Some(call) = self.calls.get_mut(key) else { return };
        call.delivered = true;
        call.hedge_at = None;
        if !call.is_alone(lane) {
            self.cut_others(now, key, lane);
        }
    }

    /// Nobody waits for the other attempts of a call.
    #[inline(never)]
    fn cut_others(&mut self, now: Instant, key: Key, lane: usize) {
        let Some(lanes) = self.calls.get(key).map(|call| call.lanes) else { return };
        for (at, other) in lanes.into_iter().enumerate().filter(|(at, _)| *at != lane) {
            match other {
                Lane::Queued(ticket) => {
                    self.queue.remove(ticket);
                    self.drop_lane(key, at);
                }
                Lane::Sent(exchange) => {
                    self.vacate_lane(key, at);
                    // What takes long would be forgotten otherwise, and the delay shrink.
                    if let Some(loser) = self.exchanges.get(exchange) {
                        self.hedge.record(now, now - loser.sent_at);
                    }
                    self.tell_end(exchange, Ended::Cut(Cut::HedgeLost));
                    self.cut(now, exchange, Cut::HedgeLost);
                }
                Lane::Empty | Lane::BackOff(_) => self.vacate_lane(key, at),
            }
        }
    }

    /// Nobody waits for this exchange any more.
    fn detach(&mut self, exchange: Key) {
        if let Some(exchange) = self.exchanges.get_mut(exchange) {
            exchange.call = None;
        }
    }

    /// The next attempt of the call had better go elsewhere.
    fn avoid(&mut self, call: Key, exchange: Key) {
        let endpoint = self.exchanges.get(exchange).map(|exchange| exchange.endpoint);
        if let Some(call) = self.calls.get_mut(call) {
            call.avoid = endpoint;
        }
    }

    /// Tells what came of an attempt, to whoever looks.
    #[inline]
    pub(super) fn tell_end(&mut self, exchange: Key, ended: Ended) {
        if self.log.is_enabled() {
            self.write_end(exchange, ended);
        }
    }

    /// Tells that the attempts of a call end of which nothing came yet.
    pub(super) fn tell_abandoned(&mut self, call: Key) {
        let Some(call) = self.calls.get(call).filter(|call| !call.delivered) else { return };
        for lane in call.lanes {
            if let Lane::Sent(exchange) = lane {
                self.tell_end(exchange, Ended::Abandoned);
            }
        }
    }

    #[inline(never)]
    fn write_end(&mut self, key: Key, ended: Ended) {
        let Some(exchange) = self.exchanges.get(key) else { return };
        if let Some(call) = exchange.call.and_then(|call| self.calls.get(call))
            && let Some(instance) = self.instances.get(exchange.endpoint)
        {
            let (token, attempt) = (call.spec.token, exchange.attempt);
            let endpoint = instance.member.endpoint;
            let exchange = Some(ExchangeId(key));
            self.log.record(Event::AttemptEnded { token, attempt, exchange, endpoint, ended });
        }
    }

    /// An attempt ended without an answer.
    pub(super) fn blame(&mut self, now: Instant, exchange: Key, failure: Failure) {
        self.learn(now, exchange, Heard::Failure(failure));
    }

    /// What an attempt says about its endpoint and about the destination.
    #[inline(always)]
    fn learn(&mut self, now: Instant, key: Key, heard: Heard) {
        let Some(exchange) = self.exchanges.get_mut(key) else { return };
        let (endpoint, latency) = (exchange.endpoint, now - exchange.sent_at);
        let (outcome, retry_after, load) = match heard {
            Heard::Answer(status, retry_after) => {
                let load = Some(Load::of_status(status, latency));
                (Outcome::of_status(status), retry_after, load)
            }
            Heard::Failure(failure) => {
                let Some(outcome) = Outcome::of_fault(failure.fault) else { return };
                (outcome, None, load_of(failure))
            }
        };
        let (permit, place) = (exchange.permit.take(), exchange.place.take());
        let route = exchange.route.as_mut().map(|on| (on.key, on.permit.take()));
        self.give_back(now, place, load);
        let report = Report { outcome, latency, retry_after };
        let answers = route.is_some_and(|(key, permit)| self.tell_route(now, key, permit, report));
        // An endpoint that is being probed wants to know whatever it can.
        let permit = if answers { permit.filter(Permit::is_probe) } else { permit };
        self.tell(now, endpoint, permit, report);
        if !answers {
            self.judge(now, endpoint, outcome);
        }
    }

    /// A connection could not be opened.
    pub(super) fn report(
        &mut self,
        now: Instant,
        endpoint: Key,
        permit: Option<Permit>,
        fault: Fault,
        latency: Duration,
    ) {
        match Outcome::of_fault(fault) {
            Some(outcome) => {
                self.tell(now, endpoint, permit, Report { outcome, latency, retry_after: None });
                self.judge(now, endpoint, outcome);
            }
            None => {
                if let (Some(permit), Some(instance)) = (permit, self.instances.get_mut(endpoint)) {
                    instance.breaker.release(permit);
                }
            }
        }
    }

    #[inline(always)]
    fn tell(&mut self, now: Instant, endpoint: Key, permit: Option<Permit>, report: Report) {
        self.budget.settle(report.outcome);
        let Some(instance) = self.instances.get_mut(endpoint) else { return };
        match report.outcome {
            Outcome::Success => {
                instance.latency.observe(now, report.latency);
                if self.policy.hedge.mode.obeys() {
                    self.hedge.record(now, report.latency);
                }
            }
            Outcome::Failure | Outcome::Limited => {
                let asked = report.retry_after.unwrap_or_default().min(LONGEST_BIAS);
                instance.latency.penalise(now, report.latency.max(asked));
            }
        }
        let change = permit.and_then(|permit| instance.breaker.settle(now, permit, report));
        if change.is_some() || !instance.breaker.is_closed() {
            self.breaker_changed(now, endpoint, change);
        }
    }

    /// A connection has room again: whoever waits for longest takes it, even if another is being
    /// dialled for them.
    #[inline]
    pub(super) fn hand_on(&mut self, now: Instant, connection: Key) {
        if !self.queue.is_empty() {
            self.offer_to_queue(now, connection);
        }
    }

    #[inline(never)]
    fn offer_to_queue(&mut self, now: Instant, connection: Key) {
        // Whose route is not to be asked leaves; then it is the next one's.
        while let Some(want) = self.next_wants() {
            if !self.slots.fits(connection, want) || self.room() == 0 {
                return;
            }
            let Some(endpoint) = self.slots.get(connection).map(|slot| slot.endpoint) else {
                return;
            };
            let ready = self.instances.get(endpoint).is_some_and(|one| one.ready_at.is_some());
            if !ready {
                return;
            }
            let Some(permit) = self.permit(now, endpoint) else { return };
            if self.serve(now, endpoint, connection, permit) {
                self.took(now, endpoint);
                return;
            }
        }
    }
}

/// What came of an attempt.
#[derive(Clone, Copy)]
enum Heard {
    /// An answer, and how long it asks to wait.
    Answer(StatusCode, Option<Duration>),
    Failure(Failure),
}

/// Whether a call is tried again.
enum Decided {
    /// At this time.
    Retry(Instant),
    /// Another attempt of it is on its way.
    OtherLane,
    GiveUp(NoRetry),
}
