//! Whether a token is good.

use core::time::Duration;

use crate::algorithm::Algorithm;
use crate::claims::Claims;
use crate::crypto::{Crypto, Thumbprint};
use crate::jwk::{Find, KeySet, VerifyingKey};
use crate::jws::Unverified;
use crate::refusal::Refusal;

/// What is asked of a token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JwtPolicy {
    /// `iss` must be this.
    pub issuer: String,
    /// `aud` must name one of these.
    pub audiences: Vec<String>,
    /// Algorithms that are taken at all, whatever the keys allow. Default: every one.
    pub algorithms: Vec<Algorithm>,
    /// `typ` must be this, case aside, with or without `application/`; `at+jwt` for access tokens.
    /// Default: not checked. <https://www.rfc-editor.org/rfc/rfc9068#section-4>
    pub token_type: Option<String>,
    /// How far the clocks of issuer and recipient may differ. Default 30 s.
    pub leeway: Duration,
    /// Bytes of a token, at most. Default 8 KiB.
    pub token_bytes: usize,
    /// Whether a token must be bound to the certificate of its bearer. One that is, is always
    /// checked. Default: no.
    pub bound: bool,
}

impl JwtPolicy {
    /// Tokens of this issuer, for this audience.
    pub fn new(issuer: impl Into<String>, audience: impl Into<String>) -> Self {
        Self {
            issuer: issuer.into(),
            audiences: vec![audience.into()],
            algorithms: Algorithm::ALL.to_vec(),
            token_type: None,
            leeway: Duration::from_secs(30),
            token_bytes: 8 * 1024,
            bound: false,
        }
    }
}

/// Checks tokens of one issuer. Cheap to share; holds no keys, so that they can be exchanged.
#[derive(Clone, Debug)]
pub struct JwtVerifier {
    policy: JwtPolicy,
    crypto: Crypto,
}

impl JwtVerifier {
    /// A verifier of this policy. `None` when the policy takes nothing: no audience, an empty
    /// issuer, or only algorithms that the cryptography does not know.
    pub fn new(policy: JwtPolicy, crypto: Crypto) -> Option<Self> {
        let usable = policy.algorithms.iter().any(|algorithm| crypto.knows(*algorithm));
        let named = !policy.issuer.is_empty()
            && !policy.audiences.is_empty()
            && policy.audiences.iter().all(|audience| !audience.is_empty());
        (usable && named).then_some(Self { policy, crypto })
    }

    /// What is asked of a token.
    pub fn policy(&self) -> &JwtPolicy {
        &self.policy
    }

    /// The id of the key that a token names, before anything is checked: to see whether the key is
    /// at hand.
    ///
    /// # Errors
    ///
    /// When the token would be refused whatever the keys are.
    pub fn key_id(&self, token: &str) -> Result<Option<String>, Refusal> {
        Ok(self.parse(token)?.header.kid)
    }

    /// What the token says, if it is good at `now` (since 1970-01-01T00:00:00Z) and belongs to the
    /// bearer of `certificate`, as far as it is bound to one.
    ///
    /// The signature is checked before anything that it covers is believed.
    ///
    /// # Errors
    ///
    /// Why it is not taken.
    pub fn verify(
        &self,
        token: &str,
        keys: &KeySet,
        now: Duration,
        certificate: Option<Thumbprint>,
    ) -> Result<Claims, Refusal> {
        let token = self.parse(token)?;
        let key = match keys.find(token.header.kid.as_deref(), token.algorithm) {
            Find::Key(key) => key,
            Find::OtherAlgorithm => return Err(Refusal::Algorithm),
            Find::Unknown => return Err(Refusal::UnknownKey),
        };
        self.verify_with(key, &token, now, certificate)
    }

    fn parse<'a>(&self, token: &'a str) -> Result<Unverified<'a>, Refusal> {
        if token.len() > self.policy.token_bytes {
            return Err(Refusal::TooLong);
        }
        let token = Unverified::parse(token)?;
        if !self.policy.algorithms.contains(&token.algorithm) {
            return Err(Refusal::Algorithm);
        }
        if let Some(wanted) = &self.policy.token_type {
            // https://www.rfc-editor.org/rfc/rfc7515#section-4.1.9
            let bare = |name: &str| {
                let name = name.to_ascii_lowercase();
                name.strip_prefix("application/").map(str::to_owned).unwrap_or(name)
            };
            if token.header.typ.as_deref().map(bare) != Some(bare(wanted)) {
                return Err(Refusal::Type);
            }
        }
        Ok(token)
    }

    fn verify_with(
        &self,
        key: &VerifyingKey,
        token: &Unverified<'_>,
        now: Duration,
        certificate: Option<Thumbprint>,
    ) -> Result<Claims, Refusal> {
        let Unverified { algorithm, message, payload, signature, .. } = token;
        if !self.crypto.verify(*algorithm, &key.public_key, message, signature) {
            return Err(Refusal::Signature);
        }
        let claims = Claims::from_json(payload)?;
        if claims.issuer.as_ref() != Some(&self.policy.issuer) {
            return Err(Refusal::Issuer);
        }
        if !claims.audiences.iter().any(|audience| self.policy.audiences.contains(audience)) {
            return Err(Refusal::Audience);
        }
        self.check_times(&claims, now)?;
        match (claims.bound_to()?, certificate) {
            (Some(wanted), Some(shown)) if wanted == shown => {}
            (None, _) if !self.policy.bound => {}
            _ => return Err(Refusal::Binding),
        }
        Ok(claims)
    }

    /// <https://www.rfc-editor.org/rfc/rfc7519#section-4.1.4> to 4.1.6
    fn check_times(&self, claims: &Claims, now: Duration) -> Result<(), Refusal> {
        let leeway = self.policy.leeway;
        let expires = claims.expires.ok_or(Refusal::NoExpiry)?;
        if now >= expires.since_1970().saturating_add(leeway) {
            return Err(Refusal::Expired);
        }
        let latest = now.saturating_add(leeway);
        let starts = [claims.not_before, claims.issued_at];
        if starts.iter().flatten().any(|start| start.since_1970() > latest) {
            return Err(Refusal::NotYetValid);
        }
        Ok(())
    }
}
