//! The policies in front of the handlers: how a server is given them, and how a connection asks them.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, StatusCode};
use sinew_auth::JwtVerifier;
use sinew_core::http1::BodyBytes;
use sinew_core::limit::{Charge, Outcome, Quota, RateLimiter};
use sinew_core::policy::{Mode, Refused, Stage};
use sinew_core::reason::Reason;
use sinew_core::security::{
    Access, Challenge, Cors, Credential, Principal, Routes, Rule, Thumbprint, TokenError,
    TokenValidator, TrustedProxies, Who,
};
use sinew_core::server::{
    self, Authentication, BadRateLimit, BoxLayer, Buckets, Cost, Deadlines, End, Expectation,
    Identify, RateLimit, RateLimitConfig, Record, ResponseHead, Scheme, Shield, Stack, Template,
    Validation,
};
use sinew_core::time::Instant;
use sinew_tls::{PeerIdentity, ServerTls};

use super::background::Background;
use super::jwks::JwksEndpoint;
use super::response::Response;
use super::service::{Notice, RouteOptions};
use crate::error::Error;
use crate::io;
use crate::runtime::Runtime;

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
    validators: Validators,
    api_key: Option<HeaderName>,
    rules: Vec<Rule>,
    mode: Mode,
    explain: Explain,
    background: Background,
    /// The first thing that made no sense.
    refused: Option<Error>,
}

/// Who is told which access rule refused a request, and which of its conditions does not hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Explain {
    /// The observer, by [`Notice::Explained`](crate::Notice).
    #[default]
    Observer,
    /// The caller as well, in the `detail` of the 403: for servers whose callers write their rules.
    Caller,
}

impl Explain {
    /// Only who is known, and may not, learns more: what is wrong with a token is for the log.
    pub(super) fn to_caller(self, refused: &Refused) -> bool {
        self == Self::Caller
            && refused.mode == Mode::Enforce
            && refused.stage == Stage::Authorise
            && refused.reason.status() == StatusCode::FORBIDDEN
    }
}

/// Those who judge credentials, in the order in which they are asked.
#[derive(Default)]
struct Validators(Vec<Box<dyn TokenValidator + Send + Sync>>);

impl SecurityPolicy {
    /// Callers are known by their certificates alone.
    pub fn new() -> Self {
        Self {
            realm: REALM.into(),
            validators: Validators::default(),
            api_key: None,
            rules: Vec::new(),
            mode: Mode::Enforce,
            explain: Explain::default(),
            background: Background::default(),
            refused: None,
        }
    }

    /// Takes tokens, and lets this validator judge them. Of several, each is asked after those before
    /// it said [`TokenError::Unknown`].
    pub fn tokens(mut self, validator: impl TokenValidator + Send + Sync + 'static) -> Self {
        self.validators.0.push(Box::new(validator));
        self
    }

    /// Takes the JWTs of one issuer, and fetches its keys for as long as the server serves.
    ///
    /// ```
    /// use sinew_auth::JwtVerifier;
    /// use sinew_driver::{JwksEndpoint, RestClient, Runtime, SecurityPolicy};
    ///
    /// fn policy<R: Runtime>(verifier: JwtVerifier, issuer: RestClient<R>) -> SecurityPolicy {
    ///     SecurityPolicy::new().jwt(verifier, JwksEndpoint::new(issuer, "/.well-known/jwks.json"))
    /// }
    /// ```
    pub fn jwt<R: Runtime>(mut self, verifier: JwtVerifier, keys: JwksEndpoint<R>) -> Self {
        let (validator, fetcher) = match keys.split(verifier) {
            Ok(both) => both,
            Err(why) => {
                self.refused.get_or_insert_with(|| Error::config(why.to_string()));
                return self;
            }
        };
        self.background.push(Box::new(move |observer| {
            Box::pin(fetcher.run(move |fetched| {
                if let Some(observer) = &observer {
                    observer(None, &Notice::Keys(fetched));
                }
            }))
        }));
        self.tokens(validator)
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

    /// Who is told which rule refused a request. Default: the observer alone.
    pub fn explain(mut self, explain: Explain) -> Self {
        self.explain = explain;
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

impl TokenValidator for Validators {
    fn validate(
        &self,
        credential: Credential<'_>,
        peer: Option<&Thumbprint>,
        now: Duration,
    ) -> Result<Arc<Principal>, TokenError> {
        let verdicts = self.0.iter().map(|validator| validator.validate(credential, peer, now));
        let mut known = verdicts.filter(|verdict| !matches!(verdict, Err(TokenError::Unknown)));
        known.next().unwrap_or(Err(TokenError::Unknown))
    }
}

impl fmt::Debug for Validators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Validators({})", self.0.len())
    }
}

/// What the builder of a server was given.
#[derive(Default)]
pub(super) struct Policies {
    pub(super) proxies: Option<TrustedProxies>,
    pub(super) deadlines: Option<(Mode, Deadlines)>,
    pub(super) cors: Option<(Mode, Cors)>,
    pub(super) security: Option<SecurityPolicy>,
    pub(super) rate_limit: Option<(Mode, RateLimitConfig)>,
    /// What requests to each route cost, and the quota that it brings along.
    pub(super) limits: Vec<(Cost, Option<Quota>)>,
    /// Every route.
    pub(super) routes: Vec<Guard>,
    /// Rules that routes bring along.
    pub(super) rules: Vec<Rule>,
    /// Some route expects something.
    pub(super) expectations: bool,
    pub(super) own: Vec<(Mode, BoxLayer)>,
    pub(super) background: Background,
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
        self.limits.push((of.policy.cost, of.policy.quota));
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

    /// What is to run beside the server.
    pub(super) fn take_background(&mut self) -> Background {
        let mut all = std::mem::take(&mut self.background);
        if let Some(policy) = &mut self.security {
            all.append(std::mem::take(&mut policy.background));
        }
        all
    }

    /// Callers may prove who they are: unless something else was said, they are believed how long they
    /// wait.
    pub(super) fn believe_callers(&mut self) {
        self.deadlines.get_or_insert_with(|| (Mode::Enforce, Deadlines::default()));
    }

    /// Who is told why access was refused.
    pub(super) fn explain(&self) -> Explain {
        self.security.as_ref().map(|policy| policy.explain).unwrap_or_default()
    }

    /// Puts the layers in order. No policy, no layer.
    pub(super) fn build(self, templates: &[Template]) -> Result<Stack, Error> {
        let Self {
            proxies,
            deadlines,
            cors,
            security,
            rate_limit,
            limits,
            routes,
            rules,
            expectations,
            own,
            background: _,
        } = self;
        check_guards(&routes)?;
        let mut layers: Vec<(Mode, BoxLayer)> = Vec::new();
        let mut add = |mode, layer: BoxLayer| layers.push((mode, layer));
        if let Some((mode, cors)) = cors {
            add(mode, Box::new(cors));
        }
        if security.is_none() && !rules.is_empty() {
            return Err(Error::config("a route says who may use it: give .security(…), too"));
        }
        if let Some(policy) = security {
            if let Some(error) = policy.refused {
                return Err(error);
            }
            if !policy.validators.0.is_empty() {
                add(Mode::Enforce, Box::new(policy.shield()?));
            }
            let (authentication, access) = policy.layers(&routes, rules, templates)?;
            add(Mode::Enforce, Box::new(authentication));
            add(access.0, Box::new(access.1));
        }
        match rate_limit {
            Some((mode, config)) => add(mode, Box::new(limit(config, &limits, &routes)?)),
            None if limits.iter().any(|(_, quota)| quota.is_some()) => {
                return Err(Error::config("a route has a quota: give .rate_limit(…), too"));
            }
            None => {}
        }
        if expectations {
            add(Mode::Enforce, Box::new(Validation));
        }
        layers.extend(own);
        if let Some((mode, deadlines)) = deadlines {
            deadlines.config.check().map_err(|error| Error::config(error.to_string()))?;
            layers.push((mode, Box::new(deadlines)));
        }
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

fn limit(
    config: RateLimitConfig,
    limits: &[(Cost, Option<Quota>)],
    routes: &[Guard],
) -> Result<RateLimit<Guarded>, Error> {
    RateLimit::new(config, seed(), limits.iter().copied(), Guarded::new).map_err(|error| {
        let of_route = |wanted| limits.iter().position(|(cost, _)| *cost == wanted);
        let route = match &error {
            BadRateLimit::Cost { cost, .. } => of_route(*cost).and_then(|at| routes.get(at)),
            _ => None,
        };
        Error::config(match route {
            Some(route) => format!("route {}: {error}", route.template),
            None => error.to_string(),
        })
    })
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
        let Self { realm, validators, api_key, mut rules, mode, .. } = self;
        if api_key.is_some() && validators.0.is_empty() {
            return Err(Error::config("an API key without a validator: give .tokens(…), too"));
        }
        let config = |error: &dyn fmt::Display| Error::config(error.to_string());
        let challenge = Challenge::new(&realm).map_err(|error| config(&error))?;
        let mut authentication = Authentication::new(challenge);
        if !validators.0.is_empty() {
            authentication = authentication.validator(validators);
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

    fn is_idle(&self, now: Instant) -> bool {
        self.lock().is_idle(now)
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

    fn any(&self, name: &HeaderName, test: &mut dyn FnMut(&HeaderValue) -> bool) -> bool {
        self.fields.iter().filter(|(known, _)| known == name).any(|(_, value)| test(value))
    }

    fn retain(&mut self, keep: &dyn Fn(&HeaderName) -> bool) {
        self.fields.retain(|(name, _)| keep(name));
    }

    fn append(&mut self, name: HeaderName, value: HeaderValue) {
        self.fields.push((name, value));
    }
}
