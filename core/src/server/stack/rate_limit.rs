//! How much each client may ask for.

use core::fmt;
use core::time::Duration;
use std::io::Write as _;

use http::{HeaderName, HeaderValue};

use super::{Arrival, Decision, End, Layer, Record, ResponseHead};
use crate::limit::{
    BadLimiter, Charge, KeyHash, KeyHasher, Outcome, Quota, QuotaId, RateLimiter,
    RateLimiterConfig, Verdict,
};
use crate::policy::Stage;
use crate::reason::Reason;
use crate::security::{ClientKey, Network, SecurityContext, Who};
use crate::time::Instant;

/// Bytes of the name of a class, at most.
const NAME: usize = 64;

const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const X_RATELIMIT_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const X_RATELIMIT_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const X_RATELIMIT_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// What a [`RateLimit`] is built from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RateLimitConfig {
    /// For each client. Default 100 a minute, 20 at once.
    pub client: Option<Quota>,
    /// For clients of a kind; the first that means the caller counts, instead of `client`.
    pub classes: Vec<ClientClass>,
    /// For all clients together. Default none.
    pub global: Option<Quota>,
    /// What answers say about it.
    pub fields: LimitFields,
    /// Bytes for all buckets. Default 8 MiB.
    pub bytes: usize,
}

/// A kind of clients.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientClass {
    /// Its name, in fields and labels: up to 64 bytes of visible ASCII without quotes and
    /// backslashes.
    pub name: String,
    /// Who belongs to it.
    pub who: Who,
    /// At least one of these roles; empty asks for none.
    pub roles: Vec<String>,
    /// For each of them; `None`: as much as they like.
    pub quota: Option<Quota>,
}

/// The fields in which answers say how much is left.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum LimitFields {
    /// `RateLimit` and `RateLimit-Policy`, as in draft 10:
    /// <https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-ratelimit-headers-10>
    #[default]
    Draft,
    /// `X-RateLimit-Limit`, `-Remaining` and `-Reset`, in seconds.
    Legacy,
    /// None. A refusal has its `Retry-After` all the same.
    None,
}

impl Default for RateLimitConfig {
    fn default() -> Self {
        Self {
            client: Quota::new(100, Duration::from_secs(60), 20).ok(),
            classes: Vec::new(),
            global: None,
            fields: LimitFields::default(),
            bytes: RateLimiterConfig::default().bytes,
        }
    }
}

/// Why a [`RateLimitConfig`] is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum BadRateLimit {
    /// The buckets make no sense.
    Limiter(BadLimiter),
    /// A class has a name that cannot stand in a field, or the same as another one.
    Name(String),
}

/// Who keeps the buckets, for all connections: a [`RateLimiter`] and what guards it.
pub trait Buckets {
    /// See [`RateLimiter::check`].
    fn check(&self, now: Instant, cost: u32, charges: &[Charge]) -> Outcome;

    /// See [`RateLimiter::peek`].
    fn peek(&self, now: Instant, cost: u32, charges: &[Charge]) -> Outcome;
}

/// Holds clients to their quotas: by certificate, else by token, else by API key, else by address.
#[derive(Debug)]
pub struct RateLimit<B> {
    buckets: B,
    policy: Policy,
}

#[derive(Debug)]
struct Policy {
    hasher: KeyHasher,
    fields: LimitFields,
    /// By [`QuotaId`].
    quotas: Vec<Named>,
    client: Option<QuotaId>,
    classes: Vec<(Who, Vec<String>, Option<QuotaId>)>,
    global: Option<QuotaId>,
    /// The first of those that routes bring along.
    routes: usize,
}

#[derive(Debug)]
struct Named {
    name: String,
    quota: Quota,
    /// `RateLimit-Policy`, or `X-RateLimit-Limit`.
    line: Option<HeaderValue>,
}

impl Named {
    fn new(name: String, quota: Quota, fields: LimitFields) -> Self {
        let (count, window) = (quota.count(), quota.period().as_secs().max(1));
        let line = match fields {
            LimitFields::Draft => {
                HeaderValue::try_from(format!("\"{name}\";q={count};w={window}")).ok()
            }
            LimitFields::Legacy => Some(HeaderValue::from(count)),
            LimitFields::None => None,
        };
        Self { name, quota, line }
    }
}

impl<B: Buckets> RateLimit<B> {
    /// `seed` is a secret. `routes`: the quotas that some [`RoutePolicy`](super::RoutePolicy) has.
    /// `share` makes the limiter one for all connections.
    ///
    /// # Errors
    ///
    /// See [`BadRateLimit`].
    pub fn new(
        config: RateLimitConfig,
        seed: [u8; 16],
        routes: impl IntoIterator<Item = Quota>,
        share: impl FnOnce(RateLimiter) -> B,
    ) -> Result<Self, BadRateLimit> {
        let RateLimitConfig { client, classes, global, fields, bytes } = config;
        let mut quotas: Vec<(String, Quota)> = Vec::new();
        let mut keyed = Vec::new();
        let mut add = |name: &str, quota: Option<Quota>, is_keyed: bool| {
            quota.map(|quota| {
                quotas.push((name.to_owned(), quota));
                keyed.push((quota, is_keyed));
                QuotaId(quotas.len() - 1)
            })
        };
        let global = add("global", global, false);
        let client = add("client", client, true);
        let mut means = Vec::new();
        for class in classes {
            let fits = |b: u8| (b == b' ' || b.is_ascii_graphic()) && b != b'"' && b != b'\\';
            if !(1..=NAME).contains(&class.name.len()) || !class.name.bytes().all(fits) {
                return Err(BadRateLimit::Name(class.name));
            }
            means.push((class.who, class.roles, add(&class.name, class.quota, true)));
        }
        let first_of_routes = keyed.len();
        for quota in routes {
            if !quotas[first_of_routes..].iter().any(|(_, known)| *known == quota) {
                quotas.push(("route".to_owned(), quota));
                keyed.push((quota, true));
            }
        }
        for (i, (name, _)) in quotas[..first_of_routes].iter().enumerate() {
            if quotas[..i].iter().any(|(other, _)| other == name) {
                return Err(BadRateLimit::Name(name.clone()));
            }
        }
        let limiter =
            RateLimiter::new(&RateLimiterConfig { bytes }, keyed).map_err(BadRateLimit::Limiter)?;
        let hasher = KeyHasher::new(seed);
        let named = |(name, quota)| Named::new(name, quota, fields);
        let quotas = quotas.into_iter().map(named).collect();
        let routes = first_of_routes;
        let policy = Policy { hasher, fields, quotas, client, classes: means, global, routes };
        Ok(Self { buckets: share(limiter), policy })
    }
}

impl Policy {
    /// The quota of a caller.
    fn quota_of(&self, caller: &SecurityContext) -> Option<QuotaId> {
        let class = self.classes.iter().find(|(who, roles, _)| {
            let role = roles.is_empty() || roles.iter().any(|role| caller.has_role(role));
            who.means(caller) && role
        });
        class.map_or(self.client, |(_, _, quota)| *quota)
    }

    /// What a request is held to.
    fn charges(&self, arrival: &Arrival<'_>, caller: &SecurityContext) -> [Option<Charge>; 3] {
        let key = caller.client_key();
        let prefix = |quota| prefix_hash(&self.hasher, quota, &key);
        let client = self.quota_of(caller).map(|quota| {
            let hash = self.hasher.hash((quota.0, &key));
            Charge::Keyed { quota, key: hash, prefix: prefix(quota) }
        });
        let route = arrival.policy.quota.and_then(|wanted| {
            let of_routes = self.quotas.iter().enumerate().skip(self.routes);
            let (at, _) = of_routes.into_iter().find(|(_, named)| named.quota == wanted)?;
            let quota = QuotaId(at);
            // Not by method: whoever asks could invent as many as they like.
            let hash = self.hasher.hash((quota.0, arrival.route, &key));
            Some(Charge::Keyed { quota, key: hash, prefix: prefix(quota) })
        });
        [self.global.map(Charge::Shared), client, route]
    }

    /// <https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-ratelimit-headers-10>
    fn write(&self, outcome: &Outcome, response: &mut dyn ResponseHead) {
        let Some(Named { name, line, .. }) = self.quotas.get(outcome.quota.0) else { return };
        let (left, reset) = (outcome.remaining, seconds(outcome.reset));
        let mut put = |name: HeaderName, value: Option<HeaderValue>| {
            if let Some(value) = value {
                response.append(name, value);
            }
        };
        match self.fields {
            LimitFields::Draft => {
                // A string would be moved once more on its way into a value.
                let mut text = [0; NAME + 64];
                let mut rest = &mut text[..];
                let left = match write!(rest, "\"{name}\";r={left};t={reset}") {
                    Ok(()) => rest.len(),
                    Err(_) => return,
                };
                put(RATELIMIT_POLICY, line.clone());
                put(RATELIMIT, HeaderValue::from_bytes(&text[..text.len() - left]).ok());
            }
            LimitFields::Legacy => {
                put(X_RATELIMIT_LIMIT, line.clone());
                put(X_RATELIMIT_REMAINING, Some(HeaderValue::from(left)));
                put(X_RATELIMIT_RESET, Some(HeaderValue::from(reset)));
            }
            LimitFields::None => {}
        }
    }
}

/// Rounded up: a client that comes back then is not too early.
fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// Whom a client shares a bucket with while there is no room for another: the neighbours in its
/// network, those whom the same issuer vouches for, or else all of its kind.
fn prefix_hash(hasher: &KeyHasher, quota: QuotaId, key: &ClientKey<'_>) -> KeyHash {
    match key {
        ClientKey::Network(network) => {
            let bits = if network.address().is_ipv4() { 24 } else { 48 };
            hasher.hash((quota.0, Network::around(network.address(), bits)))
        }
        ClientKey::Subject { issuer, .. } => hasher.hash((quota.0, 1, issuer)),
        ClientKey::Peer(_) => hasher.hash((quota.0, 2)),
        ClientKey::ApiKey(_) => hasher.hash((quota.0, 3)),
        ClientKey::Nowhere => hasher.hash((quota.0, 4)),
    }
}

impl<B: Buckets> Layer for RateLimit<B> {
    fn stage(&self) -> Stage {
        Stage::Limit
    }

    fn on_head(&self, arrival: &Arrival<'_>, record: &mut Record) -> Decision {
        let charges = self.policy.charges(arrival, &record.security);
        let mut all = [Charge::Shared(QuotaId(usize::MAX)); 3];
        let mut count = 0;
        for charge in charges.into_iter().flatten() {
            if let Some(slot) = all.get_mut(count) {
                *slot = charge;
                count += 1;
            }
        }
        if count == 0 {
            return Decision::Continue;
        }
        let outcome = self.buckets.check(arrival.now, arrival.policy.cost.0, &all[..count]);
        record.quota = Some(outcome);
        match outcome.verdict {
            Verdict::Allowed => Decision::Continue,
            Verdict::Limited { retry_after } => {
                record.retry_after = retry_after;
                Decision::Refuse(Reason::RateLimited)
            }
        }
    }

    fn on_response(&self, record: &Record, response: &mut dyn ResponseHead) {
        if let Some(outcome) = &record.quota {
            self.policy.write(outcome, response);
        }
    }
}

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

    fn charge(&self, caller: &SecurityContext) -> Charge {
        let (key, quota) = (caller.address_key(), QuotaId(0));
        Charge::Keyed {
            quota,
            key: self.hasher.hash(key),
            prefix: prefix_hash(&self.hasher, quota, &key),
        }
    }
}

impl<B: Buckets> Layer for Shield<B> {
    fn stage(&self) -> Stage {
        Stage::Shield
    }

    fn on_head(&self, arrival: &Arrival<'_>, record: &mut Record) -> Decision {
        // Who brings no credential can fail no check.
        let has = |name: &str| arrival.head.header(name).is_some();
        if !has("authorization") && !self.api_key.as_ref().is_some_and(|name| has(name.as_str())) {
            return Decision::Continue;
        }
        let charge = self.charge(&record.security);
        match self.buckets.peek(arrival.now, 1, &[charge]).verdict {
            Verdict::Allowed => Decision::Continue,
            Verdict::Limited { retry_after } => {
                record.retry_after = retry_after;
                Decision::Refuse(Reason::RateLimited)
            }
        }
    }

    fn on_end(&self, record: &Record, end: &End) {
        let failed = record.refused.is_some_and(|refused| {
            matches!(refused.reason, Reason::InvalidToken | Reason::BadCredential)
        });
        if failed {
            let _ = self.buckets.check(end.now, 1, &[self.charge(&record.security)]);
        }
    }
}

impl fmt::Display for BadRateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limiter(why) => why.fmt(f),
            Self::Name(name) => write!(f, "{name:?} names no class of clients, or two"),
        }
    }
}

impl core::error::Error for BadRateLimit {}
