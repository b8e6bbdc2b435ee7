//! The policies in front of the handlers: how a server is given them, and how a connection asks them.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, StatusCode};
use sinew_core::http1::BodyBytes;
use sinew_core::limit::{Charge, Outcome, Quota, RateLimiter};
use sinew_core::policy::Mode;
use sinew_core::reason::Reason;
use sinew_core::security::{
    Access, Challenge, Cors, Routes, Rule, TokenValidator, TrustedProxies, Who,
};
use sinew_core::server::{
    self, Authentication, BoxLayer, Buckets, End, Expectation, Identify, RateLimit,
    RateLimitConfig, Record, ResponseHead, Scheme, Shield, Stack, Template, Validation,
};
use sinew_core::time::Instant;
use sinew_tls::{PeerIdentity, ServerTls};

use super::response::Response;
use super::service::RouteOptions;
use crate::error::Error;
use crate::io;

/// The realm of challenges where no other is given.
const REALM: &str = "api";

/// Refused credentials that an address has in a minute.
const FAILURES: u32 = 50;

/// Memory for counting them.
const SHIELD_BYTES: usize = 1 << 20;

/// Who may use a server: by which credentials callers are known, and which rules they meet.
///
/// Without a rule of its own everyone who proved who they are may use every route but those whose
/// path has a route that [says who may](crate::RouteOptions::allow). The first rule takes that away:
/// what no rule, of the policy or of a route, allows is refused then.
///
/// ```
/// use sinew_core::security::{Routes, Rule, Who};
/// use sinew_driver::SecurityPolicy;
///
/// // mTLS alone says who calls; one route is for everyone.
/// let policy = SecurityPolicy::new()
///     .rule(Rule::allow("services", Who::Authenticated, Routes::Every))
///     .rule(Rule::allow("public", Who::Anyone, Routes::Of(vec!["/health".into()])));
/// ```
#[derive(Debug)]
#[must_use]
pub struct SecurityPolicy {
    realm: String,
    validator: Option<BoxValidator>,
    api_key: Option<HeaderName>,
    rules: Vec<Rule>,
    mode: Mode,
}

/// A validator behind a pointer.
struct BoxValidator(Box<dyn TokenValidator + Send + Sync>);

impl SecurityPolicy {
    /// Callers are known by their certificates alone.
    pub fn new() -> Self {
        Self {
            realm: REALM.into(),
            validator: None,
            api_key: None,
            rules: Vec::new(),
            mode: Mode::Enforce,
        }
    }

    /// Takes tokens, and lets this validator judge them.
    pub fn tokens(mut self, validator: impl TokenValidator + Send + Sync + 'static) -> Self {
        self.validator = Some(BoxValidator(Box::new(validator)));
        self
    }

    /// Takes API keys in the field of this name; the validator judges them.
    pub fn api_key(mut self, field: HeaderName) -> Self {
        self.api_key = Some(field);
        self
    }

    /// Adds an access rule.
    pub fn rule(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }

    /// What credentials are for, as people know it: the realm of challenges. Default `api`.
    pub fn realm(mut self, realm: impl Into<String>) -> Self {
        self.realm = realm.into();
        self
    }

    /// Whether the access rules are obeyed, or only tried: in [`Mode::Shadow`] what they refuse is
    /// told to the observer, and goes on.
    pub fn access_mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }
}

impl Default for SecurityPolicy {
    fn default() -> Self {
        Self::new()
    }
}

impl<V: TokenValidator + Send + Sync + 'static> From<V> for SecurityPolicy {
    fn from(validator: V) -> Self {
        Self::new().tokens(validator)
    }
}

impl TokenValidator for BoxValidator {
    fn validate(
        &self,
        credential: sinew_core::security::Credential<'_>,
        peer: Option<&sinew_core::security::Thumbprint>,
        now: Duration,
    ) -> Result<Arc<sinew_core::security::Principal>, sinew_core::security::TokenError> {
        self.0.validate(credential, peer, now)
    }
}

impl fmt::Debug for BoxValidator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenValidator(..)")
    }
}

/// What the builder of a server was given.
#[derive(Default)]
pub(super) struct Policies {
    pub(super) proxies: Option<TrustedProxies>,
    pub(super) cors: Option<Cors>,
    pub(super) security: Option<SecurityPolicy>,
    pub(super) rate_limit: Option<RateLimitConfig>,
    /// Quotas that routes bring along.
    pub(super) quotas: Vec<Quota>,
    /// Every route.
    pub(super) routes: Vec<Guard>,
    /// Rules that routes bring along.
    pub(super) rules: Vec<Rule>,
    /// Some route expects something.
    pub(super) expectations: bool,
    pub(super) own: Vec<(Mode, BoxLayer)>,
}

/// A route, and whether it says who may use it.
#[derive(Debug)]
pub(super) struct Guard {
    method: Option<Method>,
    template: String,
    guarded: bool,
}

/// A rule of a route must not open another one: that for GET means HEAD as well, and that for every
/// method means every one.
fn check_guards(routes: &[Guard]) -> Result<(), Error> {
    for Guard { method, template, guarded } in routes {
        let beside = |wider: fn(&Guard) -> bool| {
            routes.iter().any(|other| other.template == *template && wider(other))
        };
        let clash = match method {
            None => *guarded && beside(|other| other.method.is_some()),
            Some(method) if *method == Method::HEAD => {
                *guarded && beside(|other| other.guarded && other.method == Some(Method::GET))
            }
            Some(_) => false,
        };
        if clash {
            return Err(Error::config(format!(
                "routes of {template} say who may use them, and overlap: give .security(…) rules"
            )));
        }
    }
    Ok(())
}

impl Policies {
    /// Notes what a route says of itself.
    pub(super) fn of_route(&mut self, method: Option<&Method>, template: &str, of: &RouteOptions) {
        self.expectations |= of.policy.expectation != Expectation::default();
        self.quotas.extend(of.policy.quota);
        let guarded = of.who.is_some();
        self.routes.push(Guard { method: method.cloned(), template: template.to_owned(), guarded });
        if let Some(who) = &of.who {
            let name = method.map_or("any", Method::as_str);
            let routes = Routes::Of(vec![template.to_owned()]);
            let mut rule = Rule::allow(&format!("route {name} {template}"), who.clone(), routes);
            rule.methods.extend(method.cloned());
            self.rules.push(rule);
        }
    }

    /// Puts the layers in order. No policy, no layer.
    pub(super) fn build(self, templates: &[Template]) -> Result<Stack, Error> {
        let Self { proxies, cors, security, rate_limit, quotas, routes, rules, expectations, own } =
            self;
        check_guards(&routes)?;
        let mut layers: Vec<(Mode, BoxLayer)> = Vec::new();
        let mut add = |mode, layer: BoxLayer| layers.push((mode, layer));
        if let Some(cors) = cors {
            add(Mode::Enforce, Box::new(cors));
        }
        if security.is_none() && !rules.is_empty() {
            return Err(Error::config("a route says who may use it: give .security(…), too"));
        }
        if let Some(policy) = security {
            if policy.validator.is_some() {
                add(Mode::Enforce, Box::new(policy.shield()?));
            }
            let (authentication, access) = policy.layers(&routes, rules, templates)?;
            add(Mode::Enforce, Box::new(authentication));
            add(access.0, Box::new(access.1));
        }
        if !quotas.is_empty() && rate_limit.is_none() {
            return Err(Error::config("a route has a quota: give .rate_limit(…), too"));
        }
        if let Some(limits) = rate_limit {
            let limit = RateLimit::new(limits, seed(), quotas, Guarded::new);
            add(Mode::Enforce, Box::new(limit.map_err(|error| Error::config(error.to_string()))?));
        }
        if expectations {
            add(Mode::Enforce, Box::new(Validation));
        }
        layers.extend(own);
        for (_, layer) in &mut layers {
            layer.prepare(templates);
        }
        // Stable: those of one stage stay in the order in which they were given.
        layers.sort_by_key(|(_, layer)| layer.stage());
        if proxies.is_some() || !layers.is_empty() {
            layers.insert(0, (Mode::Enforce, Box::new(Identify { proxies })));
        }
        Stack::new(layers).map_err(|error| Error::config(error.to_string()))
    }
}

impl SecurityPolicy {
    /// <https://www.rfc-editor.org/rfc/rfc6749#section-10.10>: against guessing, and against floods.
    fn shield(&self) -> Result<Shield<Guarded>, Error> {
        let failures = Quota::new(FAILURES, Duration::from_secs(60), FAILURES);
        let config = |error: &dyn fmt::Display| Error::config(error.to_string());
        let failures = failures.map_err(|error| config(&error))?;
        let shield = Shield::new(failures, SHIELD_BYTES, seed(), Guarded::new);
        Ok(shield.map_err(|error| config(&error))?.api_key(self.api_key.clone()))
    }

    fn layers(
        self,
        routes: &[Guard],
        of_routes: Vec<Rule>,
        templates: &[Template],
    ) -> Result<(Authentication, (Mode, Access)), Error> {
        let Self { realm, validator, api_key, mut rules, mode } = self;
        if api_key.is_some() && validator.is_none() {
            return Err(Error::config("an API key without a validator: give .tokens(…), too"));
        }
        let config = |error: &dyn fmt::Display| Error::config(error.to_string());
        let challenge = Challenge::new(&realm).map_err(|error| config(&error))?;
        let mut authentication = Authentication::new(challenge);
        if let Some(validator) = validator {
            authentication = authentication.validator(validator);
        }
        if let Some(field) = api_key {
            authentication = authentication.api_key(field);
        }
        if rules.is_empty() {
            let guarded = routes.iter().filter(|route| route.guarded);
            let guarded = guarded.map(|route| route.template.clone()).collect();
            rules.push(Rule::allow("authenticated", Who::Authenticated, Routes::Except(guarded)));
        }
        rules.extend(of_routes);
        let access = Access::new(rules, templates.iter().map(Template::as_str))
            .map_err(|error| config(&error))?;
        Ok((authentication, (mode, access)))
    }
}

/// The limiter of all connections. It is held for the time of one check, and nothing waits in it.
#[derive(Debug)]
struct Guarded(Mutex<RateLimiter>);

impl Guarded {
    fn new(limiter: RateLimiter) -> Self {
        Self(Mutex::new(limiter))
    }

    fn lock(&self) -> MutexGuard<'_, RateLimiter> {
        // Nothing panics under this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Buckets for Guarded {
    fn check(&self, now: Instant, cost: u32, charges: &[Charge]) -> Outcome {
        self.lock().check(now, cost, charges)
    }

    fn peek(&self, now: Instant, cost: u32, charges: &[Charge]) -> Outcome {
        self.lock().peek(now, cost, charges)
    }
}

/// A secret of this process.
fn seed() -> [u8; 16] {
    Numbers::default().draw().to_be_bytes()
}

/// Numbers for request and span ids: no two the same, and not to be guessed from one another.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    drawn: AtomicU64,
    keys: (RandomState, RandomState),
}

impl Numbers {
    pub(super) fn draw(&self) -> u128 {
        let n = self.drawn.fetch_add(1, Ordering::Relaxed);
        let (high, low) = (self.keys.0.hash_one(n), self.keys.1.hash_one(n));
        u128::from(high) << 64 | u128::from(low)
    }
}

/// The other end, as policies see it.
pub(super) fn peer(
    peer: &io::Peer,
    identity: Option<&PeerIdentity>,
    tls: Option<&ServerTls>,
    scheme: Scheme,
) -> server::Peer {
    server::Peer {
        address: match peer {
            io::Peer::Tcp(address) => Some(IpAddr::to_canonical(&address.ip())),
            io::Peer::Unix => None,
        },
        name: identity.and_then(PeerIdentity::peer_name),
        thumbprint: identity
            .zip(tls)
            .and_then(|(identity, tls)| tls.thumbprint(identity.certificate())),
        scheme,
    }
}

/// A request on its way through the policies. However it ends, also because its task was dropped
/// or because the connection leaves HTTP, the layers are told.
#[derive(Debug)]
pub(super) struct Passage {
    pub(super) record: Arc<Record>,
    stack: Arc<Stack>,
    /// The machine knows what belongs on its own answers.
    pub(super) described: bool,
    /// The layers have no say in the answer any more.
    pub(super) plain: bool,
    /// What was answered.
    pub(super) status: Option<StatusCode>,
    /// Why, where the answer says so.
    pub(super) reason: Option<Reason>,
    /// How much of the bodies passed.
    pub(super) bodies: BodyBytes,
    /// When something last happened.
    pub(super) seen: Instant,
}

impl Passage {
    pub(super) fn new(record: Record, stack: Arc<Stack>) -> Self {
        let seen = record.arrived;
        Self {
            record: Arc::new(record),
            stack,
            described: false,
            plain: false,
            status: None,
            reason: None,
            bodies: BodyBytes::default(),
            seen,
        }
    }

    pub(super) fn answered(&mut self, now: Instant, status: StatusCode, reason: Option<Reason>) {
        (self.seen, self.status, self.reason) = (now, Some(status), reason);
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        let BodyBytes { received, sent } = self.bodies;
        let Self { seen, status, reason, .. } = *self;
        let end = End { now: seen, status, reason, request_body: received, response_body: sent };
        self.stack.on_end(&self.record, &end);
    }
}

impl ResponseHead for Response {
    fn status(&self) -> StatusCode {
        self.status
    }

    fn contains(&self, name: &HeaderName) -> bool {
        self.fields.iter().any(|(known, _)| known == name)
    }

    fn remove(&mut self, name: &HeaderName) {
        self.fields.retain(|(known, _)| known != name);
    }

    fn append(&mut self, name: HeaderName, value: HeaderValue) {
        self.fields.push((name, value));
    }
}
