//! What is known of a call, of one attempt of it, and of an endpoint.

use super::action::{CallSpec, Covers, Failure, Sharing};
use super::routes::{OnRoute, RouteKey};
use super::slots::Share;
use crate::error::{Delivery, Phase};
use crate::limit::{Place, Ticket};
use crate::mesh::{Member, PeakEwma, SlowStart, Weight};
use crate::resilience::{Breaker, Epoch, Permit};
use crate::table::Key;
use crate::time::Instant;

/// Two attempts of a call may be on their way at once.
pub(super) const LANES: usize = 2;

/// Where one of the attempts of a call is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lane {
    Empty,
    /// It waits for a connection.
    Queued(Ticket),
    /// It is an exchange.
    Sent(Key),
    /// It waits until it may try again, and holds nothing.
    BackOff(Instant),
}

#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) spec: CallSpec,
    pub(super) lanes: [Lane; LANES],
    /// Attempts that were made.
    pub(super) attempts: u8,
    /// Kept connections that proved dead, for whoever asks why it took so long.
    pub(super) stale: u8,
    /// Those of them of which there may be only so many.
    pub(super) strikes: u8,
    /// The head was given to the caller.
    pub(super) delivered: bool,
    /// When a second attempt is sent beside the first.
    pub(super) hedge_at: Option<Instant>,
    /// What waits for a connection waits until then.
    pub(super) wait_until: Instant,
    /// How far the request got, over all attempts.
    pub(super) delivery: Delivery,
    /// The endpoint that failed last: another one is preferred.
    pub(super) avoid: Option<Key>,
    /// Its route, if that has a breaker.
    pub(super) route: Option<RouteKey>,
}

impl Call {
    pub(super) fn new(spec: CallSpec, route: Option<RouteKey>) -> Self {
        Self {
            spec,
            lanes: [Lane::Empty; LANES],
            attempts: 0,
            stale: 0,
            strikes: 0,
            delivered: false,
            hedge_at: None,
            wait_until: Instant::MAX,
            delivery: Delivery::NotSent,
            avoid: None,
            route,
        }
    }

    pub(super) fn is_at_rest(&self) -> bool {
        self.lanes.iter().all(|lane| *lane == Lane::Empty)
    }

    #[inline]
    pub(super) fn set_lane(&mut self, lane: usize, to: Lane) {
        if let Some(place) = self.lanes.get_mut(lane) {
            *place = to;
        }
    }

    /// Whether there is nothing on the other lane.
    pub(super) fn is_alone(&self, lane: usize) -> bool {
        self.lanes.get(lane ^ 1).is_none_or(|other| *other == Lane::Empty)
    }

    /// The lane that carries this exchange.
    pub(super) fn lane_of(&self, exchange: Key) -> Option<usize> {
        self.lanes.iter().position(|lane| *lane == Lane::Sent(exchange))
    }

    /// The deadline, while it applies.
    pub(super) fn deadline(&self) -> Instant {
        match self.spec.covers {
            Covers::Head if self.delivered => Instant::MAX,
            Covers::Head | Covers::Body => self.spec.deadline,
        }
    }

    /// Where it is, for whoever asks why it took so long.
    pub(super) fn phase(&self) -> Phase {
        let sent = self.lanes.iter().any(|lane| matches!(lane, Lane::Sent(_)));
        if self.delivered {
            Phase::ResponseBody
        } else if sent {
            Phase::ResponseHead
        } else {
            Phase::Pool
        }
    }

    pub(super) fn note(&mut self, failure: Failure) {
        self.delivery = further(self.delivery, failure.delivery);
    }
}

/// The connection that an attempt needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Want {
    pub(super) sharing: Sharing,
    /// Not this one: it carries the other attempt of the same call.
    pub(super) shun: Option<Key>,
}

/// What two attempts together say: the less harmless of the two.
pub(super) fn further(a: Delivery, b: Delivery) -> Delivery {
    let harm = |delivery| match delivery {
        Delivery::NotSent => 0,
        Delivery::Refused => 1,
        Delivery::MaybeProcessed => 2,
        Delivery::Processed => 3,
    };
    if harm(b) > harm(a) { b } else { a }
}

#[derive(Clone, Debug)]
pub(super) struct Exchange {
    /// `None`: its answer is discarded, nobody waits for it.
    pub(super) call: Option<Key>,
    pub(super) connection: Key,
    pub(super) endpoint: Key,
    /// Until the head is here; `None` where the breaker is not enforced.
    pub(super) permit: Option<Permit>,
    /// Until the head is here: its place among those that the destination bears.
    pub(super) place: Option<Place>,
    /// That of the permit, for what fails later.
    pub(super) epoch: Option<Epoch>,
    /// What the breaker of its route gave.
    pub(super) route: Option<OnRoute>,
    pub(super) sent_at: Instant,
    /// The head must be here by then.
    pub(super) by: Instant,
    /// Which attempt of its call it is, counted from 1.
    pub(super) attempt: u8,
    /// Nothing had been sent on the connection before.
    pub(super) first_use: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Instance {
    pub(super) member: Member,
    /// What counts of its weight.
    pub(super) weight: Weight,
    /// It is in one's own zone, or zones do not count.
    pub(super) near: bool,
    /// Since when it starts slowly, and when it has its whole share.
    pub(super) born: Instant,
    pub(super) grown_at: Instant,
    pub(super) share: Share,
    pub(super) in_flight: u32,
    pub(super) breaker: Breaker,
    pub(super) latency: PeakEwma,
    /// Where it stands in the list of those that may be asked.
    pub(super) ready_at: Option<u32>,
    /// A connection came to nothing: none is opened ahead before then.
    pub(super) warm_after: Option<Instant>,
    /// It is worse than the others, and left alone for a while.
    pub(super) ejected: bool,
    /// Probes found it down.
    pub(super) down: bool,
    /// It is no longer part of the destination, and goes with its last connection.
    pub(super) retired: bool,
}

impl Instance {
    /// Whether it may be asked, and nothing is found out about it that could change that.
    #[inline]
    pub(super) const fn is_settled(&self) -> bool {
        self.breaker.is_closed() && self.ready_at.is_some() && !self.retired
    }

    pub(super) const fn is_well(&self) -> bool {
        !self.ejected && !self.down
    }

    /// It starts slowly from now on.
    pub(super) fn grows(&mut self, now: Instant, slow_start: SlowStart) {
        self.born = now;
        self.grown_at = now + slow_start.window;
    }
}
