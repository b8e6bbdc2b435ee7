//! How much each client may ask for of all replicas together.

use super::rate_limit::hash;
use super::{Arrival, Decision, Interest, Layer, Record};
use crate::limit::{KeyGroup, KeyHash, KeyHasher, LeaseVerdict, Shortage};
use crate::policy::Stage;
use crate::reason::Reason;
use crate::time::Instant;

/// Who gives tokens on lease, for all connections: [`Leases`](crate::limit::Leases), what guards them,
/// and who carries their asks to the store.
pub trait Lessor {
    /// See [`Leases::check`](crate::limit::Leases::check).
    fn check(&self, now: Instant, cost: u32, key: KeyHash, prefix: KeyGroup) -> LeaseVerdict;
}

/// Holds clients to a quota that replicas share: by certificate, else by token, else by API key, else
/// by address.
///
/// What the store, or this replica in its place, has no more of is refused with 429; what nobody can
/// count, with 503.
#[derive(Debug)]
pub struct SharedLimit<L> {
    lessor: L,
    hasher: KeyHasher,
}

impl<L: Lessor> SharedLimit<L> {
    /// `secret` is the same at all replicas: clients have the same names at the store then.
    pub fn new(lessor: L, secret: [u8; 16]) -> Self {
        Self { lessor, hasher: KeyHasher::new(secret) }
    }
}

impl<L: Lessor> Layer for SharedLimit<L> {
    fn stage(&self) -> Stage {
        Stage::Limit
    }

    fn interest(&self) -> Interest {
        Interest::HEAD
    }

    fn on_head(&self, arrival: &Arrival<'_>, record: &mut Record) -> Decision {
        let cost = arrival.policy.cost.0;
        // What costs nothing, probes for instance, is held up by nobody's death.
        if cost == 0 {
            return Decision::Continue;
        }
        let (prefix, key) = hash(&self.hasher, &record.security.client_key());
        let verdict = self.lessor.check(arrival.now, cost, key, prefix);
        record.lease = Some(verdict);
        let (reason, retry_after) = match verdict {
            LeaseVerdict::Allowed(_) => return Decision::Continue,
            LeaseVerdict::Refused { reason, retry_after } => (reason, retry_after),
        };
        record.retry_after = retry_after;
        Decision::Refuse(match reason {
            Shortage::Spent | Shortage::Unanswered | Shortage::Local => Reason::RateLimited,
            Shortage::NoStore | Shortage::NoRoom => Reason::Unavailable,
        })
    }
}
