//! Floods of bad credentials, stopped in front of whoever verifies them.

use http::HeaderName;

use super::rate_limit::{Buckets, hash};
use super::{Arrival, Decision, End, Exchanges, Interest, Layer, Record};
use crate::head::Place;
use crate::limit::{
    BadLimiter, Charge, KeyHasher, Quota, QuotaId, RateLimiter, RateLimiterConfig, Verdict,
};
use crate::policy::Stage;
use crate::reason::Reason;
use crate::security::SecurityContext;

/// Turns those away, by address, whose credentials were refused too often of late: before anyone
/// has to verify another one.
#[derive(Debug)]
pub struct Shield<B> {
    buckets: B,
    hasher: KeyHasher,
    api_key: Option<HeaderName>,
}

impl<B: Buckets> Shield<B> {
    /// `failures`: how many refused credentials an address has; 50 a minute, say. `seed` is a secret.
    ///
    /// # Errors
    ///
    /// See [`BadLimiter`].
    pub fn new(
        failures: Quota,
        bytes: usize,
        seed: [u8; 16],
        share: impl FnOnce(RateLimiter) -> B,
    ) -> Result<Self, BadLimiter> {
        let limiter = RateLimiter::new(&RateLimiterConfig { bytes }, [(failures, true)])?;
        Ok(Self { buckets: share(limiter), hasher: KeyHasher::new(seed), api_key: None })
    }

    /// API keys in the field of this name are credentials, too.
    #[must_use]
    pub fn api_key(mut self, field: Option<HeaderName>) -> Self {
        self.api_key = field;
        self
    }

    /// Apart, as is [`count`](Self::count), so that a request does not pay for it while nobody fails.
    #[inline(never)]
    fn look(&self, arrival: &Arrival<'_>, record: &mut Record) -> Decision {
        let charge = self.charge(&record.security);
        match self.buckets.peek(arrival.now, 1, &[charge]).verdict {
            Verdict::Allowed => Decision::Continue,
            Verdict::Limited { retry_after } => {
                record.retry_after = retry_after;
                Decision::Refuse(Reason::RateLimited)
            }
        }
    }

    #[inline(never)]
    fn count(&self, record: &Record, end: &End) {
        let failed = record
            .refusals()
            .any(|refused| matches!(refused.reason, Reason::InvalidToken | Reason::BadCredential));
        if failed {
            let _ = self.buckets.check(end.now, 1, &[self.charge(&record.security)]);
        }
    }

    fn charge(&self, caller: &SecurityContext) -> Charge {
        let (prefix, key) = hash(&self.hasher, &caller.address_key());
        Charge::Keyed { quota: QuotaId(0), key, prefix }
    }
}

impl<B: Buckets> Layer for Shield<B> {
    fn stage(&self) -> Stage {
        Stage::Shield
    }

    fn interest(&self) -> Interest {
        Interest { ends: Exchanges::Refused, ..Interest::HEAD }
    }

    fn on_head(&self, arrival: &Arrival<'_>, record: &mut Record) -> Decision {
        // Who brings no credential can fail no check.
        let has = |name: &HeaderName| arrival.head.header(name.as_str()).is_some();
        if record.index.authorization == Place::Nowhere && !self.api_key.as_ref().is_some_and(has) {
            return Decision::Continue;
        }
        // Nobody failed of late: the usual case.
        if self.buckets.is_idle(arrival.now) {
            return Decision::Continue;
        }
        self.look(arrival, record)
    }

    fn on_end(&self, record: &Record, end: &End) {
        if record.refused.is_some() {
            self.count(record, end);
        }
    }
}
