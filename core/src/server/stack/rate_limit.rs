//! How much each client may ask for.

use core::fmt;
use core::hash::{Hash, Hasher};
use core::net::IpAddr;
use core::time::Duration;

use super::{
    Arrival, Cost, Decision, Exchanges, Interest, Layer, Record, ResponseHead, write_lines,
};
use crate::decimal::Backwards;
use crate::head::Lines;
use crate::limit::{
    BadLimiter, Charge, KeyGroup, KeyHash, KeyHasher, Outcome, Quota, QuotaId, RateLimiter,
    RateLimiterConfig, Verdict,
};
use crate::policy::Stage;
use crate::reason::Reason;
use crate::security::{ClientKey, SecurityContext, Who};
use crate::time::{Instant, whole_seconds};

/// Bytes of the name of a class, at most.
const NAME: usize = 64;

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
    /// A class has a name that cannot stand in a field, or the same as another quota.
    Name {
        /// Its place among the classes.
        class: usize,
        /// The name.
        name: String,
    },
    /// A request to some route costs more than this quota ever holds: it would never get through.
    Cost {
        /// The place of the route among those that were given.
        route: usize,
        /// What the request takes.
        cost: Cost,
        /// The name of the quota: `global`, `client`, `route`, or that of a class.
        quota: String,
        /// What it holds.
        burst: u32,
    },
}

impl RateLimitConfig {
    /// Says what makes no sense, all of it; [`RateLimit::new`] refuses it. `routes`: what each
    /// [`RoutePolicy`](super::RoutePolicy) says of costs and quotas.
    pub fn problems(
        &self,
        routes: impl IntoIterator<Item = (Cost, Option<Quota>)>,
    ) -> Vec<BadRateLimit> {
        let mut problems = Vec::new();
        let own = [("global", self.global), ("client", self.client)];
        let mut quotas: Vec<(&str, Quota)> =
            own.into_iter().filter_map(|(name, quota)| Some((name, quota?))).collect();
        let fits = |b: u8| (b == b' ' || b.is_ascii_graphic()) && b != b'"' && b != b'\\';
        for (class, ClientClass { name, quota, .. }) in self.classes.iter().enumerate() {
            let known = quota.is_some() && quotas.iter().any(|(other, _)| other == name);
            if known || !(1..=NAME).contains(&name.len()) || !name.bytes().all(fits) {
                problems.push(BadRateLimit::Name { class, name: name.clone() });
            }
            quotas.extend(quota.map(|quota| (name.as_str(), quota)));
        }
        let mut of_routes: Vec<Quota> = Vec::new();
        for (route, (cost, own)) in routes.into_iter().enumerate() {
            let own = own.map(|quota| ("route", quota));
            let mut met = quotas.iter().copied().chain(own);
            if let Some((name, quota)) = met.find(|(_, quota)| quota.burst() < cost.0) {
                let (quota, burst) = (name.to_owned(), quota.burst());
                problems.push(BadRateLimit::Cost { route, cost, quota, burst });
            }
            of_routes.extend(own.map(|(_, quota)| quota));
        }
        of_routes.sort_unstable();
        of_routes.dedup();
        let keyed = quotas.iter().map(|(name, quota)| (*quota, *name != "global"));
        let keyed = keyed.chain(of_routes.into_iter().map(|quota| (quota, true)));
        let limiter = RateLimiterConfig { bytes: self.bytes }.check(keyed);
        problems.extend(limiter.err().map(BadRateLimit::Limiter));
        problems
    }
}

/// Who keeps the buckets, for all connections: a [`RateLimiter`] and what guards it.
pub trait Buckets {
    /// See [`RateLimiter::check`].
    fn check(&self, now: Instant, cost: u32, charges: &[Charge]) -> Outcome;

    /// See [`RateLimiter::peek`].
    fn peek(&self, now: Instant, cost: u32, charges: &[Charge]) -> Outcome;

    /// See [`RateLimiter::is_idle`].
    fn is_idle(&self, now: Instant) -> bool;
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
    /// What answers say, by [`QuotaId`].
    named: Vec<Option<Named>>,
    client: Option<QuotaId>,
    classes: Vec<(Who, Vec<String>, Option<QuotaId>)>,
    global: Option<QuotaId>,
    /// Those that routes bring along, in order.
    routes: Vec<(Quota, QuotaId)>,
}

/// What answers say of a quota: the same each time, but for two numbers.
#[derive(Debug)]
struct Named {
    /// Up to what is left.
    before: Box<[u8]>,
    fields: LimitFields,
}

impl Named {
    fn new(name: &str, quota: &Quota, fields: LimitFields) -> Option<Self> {
        let (count, window) = (quota.count(), quota.period().as_secs().max(1));
        let before = match fields {
            // https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-ratelimit-headers-10
            LimitFields::Draft => {
                let policy = format!("ratelimit-policy: \"{name}\";q={count};w={window}\r\n");
                format!("{policy}ratelimit: \"{name}\";r=")
            }
            LimitFields::Legacy => {
                let limit = format!("x-ratelimit-limit: {count}\r\n");
                format!("{limit}x-ratelimit-remaining: ")
            }
            LimitFields::None => return None,
        };
        Some(Self { before: before.into_bytes().into(), fields })
    }

    fn write(&self, outcome: &Outcome, lines: &mut Lines) {
        let mut numbers = Backwards::<64>::new();
        numbers.number(whole_seconds(outcome.reset));
        match self.fields {
            LimitFields::Draft => numbers.put(b";t="),
            LimitFields::Legacy => numbers.put(b"\r\nx-ratelimit-reset: "),
            LimitFields::None => {}
        }
        numbers.number(outcome.remaining.into());
        lines.put(&self.before, numbers.as_bytes());
    }
}

impl<B: Buckets> RateLimit<B> {
    /// `seed` is a secret. `routes`: what each [`RoutePolicy`](super::RoutePolicy) says of costs and
    /// quotas. `share` makes the limiter one for all connections.
    ///
    /// # Errors
    ///
    /// See [`BadRateLimit`].
    pub fn new(
        config: RateLimitConfig,
        seed: [u8; 16],
        routes: impl IntoIterator<Item = (Cost, Option<Quota>)>,
        share: impl FnOnce(RateLimiter) -> B,
    ) -> Result<Self, BadRateLimit> {
        let costs: Vec<(Cost, Option<Quota>)> = routes.into_iter().collect();
        if let Some(bad) = config.problems(costs.iter().copied()).into_iter().next() {
            return Err(bad);
        }
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
            means.push((class.who, class.roles, add(&class.name, class.quota, true)));
        }
        let mut by_route: Vec<(Quota, QuotaId)> = Vec::new();
        for quota in costs.into_iter().filter_map(|(_, own)| own) {
            if let Err(at) = by_route.binary_search_by_key(&quota, |(known, _)| *known) {
                by_route.insert(at, (quota, QuotaId(quotas.len())));
                quotas.push(("route".to_owned(), quota));
                keyed.push((quota, true));
            }
        }
        let limiter =
            RateLimiter::new(&RateLimiterConfig { bytes }, keyed).map_err(BadRateLimit::Limiter)?;
        let hasher = KeyHasher::new(seed);
        let named = quotas.iter().map(|(name, quota)| Named::new(name, quota, fields)).collect();
        let (classes, routes) = (means, by_route);
        let policy = Policy { hasher, named, client, classes, global, routes };
        Ok(Self { buckets: share(limiter), policy })
    }
}

impl Policy {
    /// The quota of a caller.
    #[inline]
    fn quota_of(&self, caller: &SecurityContext) -> Option<QuotaId> {
        if self.classes.is_empty() { self.client } else { self.quota_of_class(caller) }
    }

    #[inline(never)]
    fn quota_of_class(&self, caller: &SecurityContext) -> Option<QuotaId> {
        let class = self.classes.iter().find(|(who, roles, _)| {
            let role = roles.is_empty() || roles.iter().any(|role| caller.has_role(role));
            who.means(caller) && role
        });
        class.map_or(self.client, |(_, _, quota)| *quota)
    }

    /// The quota of a route for each client, and the place of the route.
    #[inline(never)]
    fn of_route(&self, arrival: &Arrival<'_>, wanted: &Quota) -> Option<(QuotaId, u64)> {
        let at = self.routes.binary_search_by(|(quota, _)| quota.cmp(wanted)).ok()?;
        let (_, quota) = self.routes.get(at)?;
        // Not by method: whoever asks could invent as many as they like. 0 is no route.
        Some((*quota, arrival.route.map_or(0, |route| route as u64 + 1)))
    }

    /// What a request is held to, in this room.
    #[inline]
    fn charges<'a>(
        &self,
        arrival: &Arrival<'_>,
        caller: &SecurityContext,
        room: &'a mut [Charge; 3],
    ) -> &'a [Charge] {
        let mut count = 0;
        let mut add = |charge| {
            room[count] = charge;
            count += 1;
        };
        if let Some(global) = self.global {
            add(Charge::Shared(global));
        }
        let wanted = arrival.policy.quota.as_ref();
        let route = wanted.and_then(|wanted| self.of_route(arrival, wanted));
        let client = self.quota_of(caller);
        if client.is_some() || route.is_some() {
            let (prefix, key) = hash(&self.hasher, &caller.client_key());
            if let Some(quota) = client {
                add(Charge::Keyed { quota, key, prefix });
            }
            if let Some((quota, at)) = route {
                add(Charge::Keyed { quota, key: key.at(at), prefix: prefix.at(at) });
            }
        }
        &room[..count]
    }
}

/// Whom a client shares a bucket with while there is no room for another, and the client itself: the
/// neighbours in its network, those whom the same issuer vouches for, or else all of its kind.
pub(super) fn hash(hasher: &KeyHasher, key: &ClientKey<'_>) -> (KeyGroup, KeyHash) {
    /// On top of the first word, which has room for it.
    const KIND: u32 = 56;
    match key {
        ClientKey::Network(network) => match network.address() {
            IpAddr::V4(v4) => {
                let bits = v4.to_bits();
                hasher.hash_within(u64::from(bits >> 8), bits as u8)
            }
            IpAddr::V6(v6) => {
                let bits = v6.to_bits();
                hasher.hash_within(1 << KIND | (bits >> 80) as u64, bits)
            }
        },
        ClientKey::Subject { issuer, subject } => {
            hasher.hash_within((2u64 << KIND, Whole(issuer)), Whole(subject))
        }
        ClientKey::Peer(name) => hasher.hash_within(3u64 << KIND, name),
        ClientKey::ApiKey(digest) => hasher.hash_within(4u64 << KIND, digest),
        ClientKey::Nowhere => hasher.hash_within(5u64 << KIND, ()),
    }
}

/// A text that a [`KeyHasher`] tells from all others by itself: `str` adds what others need for that.
struct Whole<'a>(&'a str);

impl Hash for Whole<'_> {
    #[expect(clippy::inline_always, reason = "a call takes as long as the rounds of a short text")]
    #[inline(always)]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.0.as_bytes());
    }
}

impl<B: Buckets> Layer for RateLimit<B> {
    fn stage(&self) -> Stage {
        Stage::Limit
    }

    fn interest(&self) -> Interest {
        Interest { answers: Exchanges::Every, ..Interest::HEAD }
    }

    fn on_head(&self, arrival: &Arrival<'_>, record: &mut Record) -> Decision {
        let mut room = [Charge::Shared(QuotaId(usize::MAX)); 3];
        let charges = self.policy.charges(arrival, &record.security, &mut room);
        if charges.is_empty() {
            return Decision::Continue;
        }
        let outcome = self.buckets.check(arrival.now, arrival.policy.cost.0, charges);
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
        if let Some(outcome) = &record.quota
            && let Some(Some(named)) = self.policy.named.get(outcome.quota.0)
        {
            write_lines(response, |lines| named.write(outcome, lines));
        }
    }
}

impl fmt::Display for BadRateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limiter(why) => why.fmt(f),
            Self::Name { name, .. } => write!(f, "{name:?} names no class of clients, or two"),
            Self::Cost { cost: Cost(cost), quota, burst, .. } => write!(
                f,
                "a request that costs {cost} never gets through: the quota {quota:?} holds {burst}"
            ),
        }
    }
}

impl core::error::Error for BadRateLimit {}
