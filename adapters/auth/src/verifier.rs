//! Whether a token is good.

use core::fmt;
use core::time::Duration;

use sinew_core::security::{BadClaimConfig, ClaimConfig, ClaimPolicy, Thumbprint, TokenError};

use crate::algorithm::Algorithm;
use crate::claims::Claims;
use crate::crypto::Crypto;
use crate::jwk::{Find, KeySet, VerifyingKey};
use crate::jws::Unverified;

/// What is asked of a token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JwtPolicy {
    /// What is asked of its claims.
    pub claims: ClaimConfig,
    /// Algorithms that are taken at all, whatever the keys allow. Default: every one.
    pub algorithms: Vec<Algorithm>,
    /// `typ` must be this, case aside, with or without `application/`; `at+jwt` for access tokens.
    /// Default: not checked. <https://www.rfc-editor.org/rfc/rfc9068#section-4>
    pub token_type: Option<String>,
    /// Bytes of a token, at most. Default 8 KiB.
    pub token_bytes: usize,
}

impl JwtPolicy {
    /// Tokens of this issuer, for this audience.
    pub fn new(issuer: impl Into<String>, audience: impl Into<String>) -> Self {
        Self {
            claims: ClaimConfig {
                issuer: issuer.into(),
                audiences: vec![audience.into()],
                ..ClaimConfig::default()
            },
            algorithms: Algorithm::ALL.to_vec(),
            token_type: None,
            token_bytes: 8 * 1024,
        }
    }
}

/// Why a [`JwtPolicy`] is refused: it would take no token.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum BadJwtPolicy {
    /// What it asks of claims makes no sense.
    Claims(BadClaimConfig),
    /// The cryptography knows none of its algorithms.
    Algorithms,
}

impl fmt::Display for BadJwtPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Claims(why) => why.fmt(f),
            Self::Algorithms => f.write_str("tokens need an algorithm that can be checked"),
        }
    }
}

impl core::error::Error for BadJwtPolicy {}

/// Checks tokens of one issuer. Cheap to share; holds no keys, so that they can be exchanged.
#[derive(Clone, Debug)]
pub struct JwtVerifier {
    policy: JwtPolicy,
    claims: ClaimPolicy,
    crypto: Crypto,
}

impl JwtVerifier {
    /// A verifier of this policy.
    ///
    /// # Errors
    ///
    /// See [`BadJwtPolicy`].
    pub fn new(policy: JwtPolicy, crypto: Crypto) -> Result<Self, BadJwtPolicy> {
        let claims = ClaimPolicy::new(policy.claims.clone()).map_err(BadJwtPolicy::Claims)?;
        if !policy.algorithms.iter().any(|algorithm| crypto.knows(*algorithm)) {
            return Err(BadJwtPolicy::Algorithms);
        }
        Ok(Self { policy, claims, crypto })
    }

    /// What is asked of a token.
    pub fn policy(&self) -> &JwtPolicy {
        &self.policy
    }

    /// The id of the key that a token names, if it names one, and the algorithm, before anything is
    /// checked: to see whether the key is at hand.
    ///
    /// # Errors
    ///
    /// When the token would be refused whatever the keys are.
    pub fn key(&self, token: &str) -> Result<(Option<String>, Algorithm), TokenError> {
        let Unverified { header, algorithm, .. } = self.parse(token)?;
        Ok((header.kid, algorithm))
    }

    /// What the token says, if it is good at `now` (since 1970-01-01T00:00:00Z) and belongs to the
    /// bearer of `certificate`, as far as it is bound to one.
    ///
    /// The signature is checked before anything that it covers is believed. A token that says it is of
    /// another issuer is refused before that.
    ///
    /// # Errors
    ///
    /// Why it is not taken.
    pub fn verify(
        &self,
        token: &str,
        keys: &KeySet,
        now: Duration,
        certificate: Option<&Thumbprint>,
    ) -> Result<Claims, TokenError> {
        let token = self.parse(token)?;
        let key = match keys.find(token.header.kid.as_deref(), token.algorithm) {
            Find::Key(key) => key,
            Find::OtherAlgorithm => return Err(TokenError::Algorithm),
            Find::Unknown => return Err(TokenError::UnknownKey),
        };
        self.verify_with(key, &token, now, certificate)
    }

    fn parse<'a>(&self, token: &'a str) -> Result<Unverified<'a>, TokenError> {
        if token.len() > self.policy.token_bytes {
            return Err(TokenError::TooLong);
        }
        let token = Unverified::parse(token)?;
        // First of all: another issuer may take what this one does not.
        if token.claimed_issuer().is_some_and(|issuer| issuer != self.policy.claims.issuer) {
            return Err(TokenError::Issuer);
        }
        if !self.policy.algorithms.contains(&token.algorithm) {
            return Err(TokenError::Algorithm);
        }
        if let Some(wanted) = &self.policy.token_type {
            // https://www.rfc-editor.org/rfc/rfc7515#section-4.1.9
            let bare = |name: &str| {
                let name = name.to_ascii_lowercase();
                name.strip_prefix("application/").map(str::to_owned).unwrap_or(name)
            };
            if token.header.typ.as_deref().map(bare) != Some(bare(wanted)) {
                return Err(TokenError::Type);
            }
        }
        Ok(token)
    }

    fn verify_with(
        &self,
        key: &VerifyingKey,
        token: &Unverified<'_>,
        now: Duration,
        certificate: Option<&Thumbprint>,
    ) -> Result<Claims, TokenError> {
        let Unverified { algorithm, message, payload, signature, .. } = token;
        if !self.crypto.verify(*algorithm, &key.public_key, message, signature) {
            return Err(TokenError::Signature);
        }
        let claims = Claims::from_json(payload)?;
        self.claims.check(&claims.registered()?, certificate, now)?;
        Ok(claims)
    }
}
