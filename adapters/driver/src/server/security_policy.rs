//! Who may use a server: what its builder is given, and the layers that become of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, StatusCode};
use sinew_auth::JwtVerifier;
use sinew_core::limit::Quota;
use sinew_core::policy::{Mode, Refused, Stage};
use sinew_core::security::{
    Access, Challenge, Credential, Principal, Routes, Rule, Thumbprint, TokenError, TokenValidator,
    Who,
};
use sinew_core::server::{Authentication, BoxLayer, Shield, Template};

use super::background::Background;
use super::buckets::Guarded;
use super::jwks::JwksEndpoint;
use super::kept::Kept;
use super::policies::Guard;
use crate::error::Error;
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
    modes: Modes,
    explain: Explain,
    background: Background,
    /// The first thing that made no sense.
    refused: Option<Error>,
}

/// Which of its layers are obeyed.
#[derive(Clone, Copy, Debug, Default)]
struct Modes {
    shield: Mode,
    authentication: Mode,
    access: Mode,
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
            modes: Modes::default(),
            explain: Explain::default(),
            background: Background::default(),
            refused: None,
        }
    }

    /// Takes tokens, and lets this validator judge them. Of several, each is asked after those before
    /// it said [`TokenError::Unknown`] or [`TokenError::Issuer`].
    pub fn tokens(mut self, validator: impl TokenValidator + Send + Sync + 'static) -> Self {
        self.validators.0.push(Box::new(validator));
        self
    }

    /// Takes the JWTs of one issuer, and fetches its keys for as long as the server serves. May be
    /// called for several issuers: each judges the tokens that say they are of it.
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
        let first = fetcher.first();
        self.background.wait_for(Box::new(move || {
            let failed = |error| Error::config(format!("the keys of an issuer: {error}"));
            first().map(|fetched| fetched.map_err(failed))
        }));
        self.background.push(Box::new(move |observer| {
            Box::pin(fetcher.run(move |notice| {
                if let Some(observer) = &observer {
                    observer(None, notice);
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
        self.modes.access = mode;
        self
    }

    /// Whether a refused credential ends the request, or is only told: in [`Mode::Shadow`] whoever
    /// brings one is nobody, and goes on to the access rules as such. In [`Mode::Off`] tokens and API
    /// keys are not looked at; callers are known by their certificates alone.
    pub fn authentication_mode(mut self, mode: Mode) -> Self {
        self.modes.authentication = mode;
        self
    }

    /// Whether addresses that failed too often of late are turned away before their credentials are
    /// looked at: 50 a minute each.
    pub fn shield_mode(mut self, mode: Mode) -> Self {
        self.modes.shield = mode;
        self
    }

    /// What is to run beside the server: those who fetch keys.
    pub(super) fn take_background(&mut self) -> Background {
        std::mem::take(&mut self.background)
    }

    /// Its own rules.
    pub(super) fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Who is told why access was refused.
    pub(super) fn explains_to(&self) -> Explain {
        self.explain
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
        let mut refused = TokenError::Unknown;
        for validator in &self.0 {
            match validator.validate(credential, peer, now) {
                Err(TokenError::Unknown) => {}
                // It may be that of the next one.
                Err(TokenError::Issuer) => refused = TokenError::Issuer,
                verdict => return verdict,
            }
        }
        Err(refused)
    }
}

impl fmt::Debug for Validators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Validators({})", self.0.len())
    }
}

impl SecurityPolicy {
    /// <https://www.rfc-editor.org/rfc/rfc6749#section-10.10>: against guessing, and against floods.
    fn shield(&self, kept: &mut Kept) -> Result<Shield<Guarded>, Error> {
        let failures = Quota::new(FAILURES, Duration::from_secs(60), FAILURES);
        let failures = failures.map_err(|error| config(&error))?;
        let known = &mut kept.shield;
        let share = |fresh| known.get_or_insert_with(|| Guarded::new(fresh)).clone();
        let shield = Shield::new(failures, SHIELD_BYTES, kept.seed, share);
        Ok(shield.map_err(|error| config(&error))?.api_key(self.api_key.clone()))
    }

    /// The layers, in order. `of_routes`: the rules that routes bring along.
    pub(super) fn layers(
        self,
        routes: &[Guard],
        of_routes: Vec<Rule>,
        templates: &[Template],
        kept: &mut Kept,
    ) -> Result<Vec<(Mode, BoxLayer)>, Error> {
        if let Some(error) = self.refused {
            return Err(error);
        }
        let shield = if self.validators.0.is_empty() { None } else { Some(self.shield(kept)?) };
        let Self { realm, validators, api_key, mut rules, modes, .. } = self;
        if api_key.is_some() && validators.0.is_empty() {
            return Err(Error::config("an API key without a validator: give .tokens(…), too"));
        }
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
        let mut layers: Vec<(Mode, BoxLayer)> = Vec::new();
        if let Some(shield) = shield {
            layers.push((modes.shield, Box::new(shield)));
        }
        layers.push((modes.authentication, Box::new(authentication)));
        layers.push((modes.access, Box::new(access)));
        Ok(layers)
    }
}

fn config(error: &dyn fmt::Display) -> Error {
    Error::config(error.to_string())
}
