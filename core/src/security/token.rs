//! Tokens without cryptography: the seam to whoever verifies them, and the claims in them.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use http::StatusCode;

use super::{BadCredential, BearerError, Credential, Principal};

/// Who verifies credentials: signatures, hashes and key sets live behind this seam.
///
/// It neither waits nor asks anyone; what it has to fetch it fetches aside, and until then it says
/// [`TokenError::Unavailable`] or [`TokenError::UnknownKey`].
pub trait TokenValidator {
    /// Whom a credential stands for. `peer` is the thumbprint of the client's certificate, if it
    /// showed one; `now` the time since 1970-01-01T00:00:00Z.
    ///
    /// # Errors
    ///
    /// Whatever is not known to be good is refused.
    fn validate(
        &self,
        credential: Credential<'_>,
        peer: Option<&Thumbprint>,
        now: Duration,
    ) -> Result<Arc<Principal>, TokenError>;
}

/// The SHA-256 of a certificate in DER: `x5t#S256`.
/// <https://www.rfc-editor.org/rfc/rfc8705#section-3.1>
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Thumbprint(pub [u8; 32]);

/// Why a credential was refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum TokenError {
    /// It is not what it should be, or has a claim of the wrong type.
    Malformed,
    /// It is longer than the policy allows.
    TooLong,
    /// It is a token of another type.
    Type,
    /// It asks for an extension that nobody knows here.
    Critical,
    /// Nobody knows this token or key.
    Unknown,
    /// Signed by an algorithm that is not one of the key, or by none.
    Algorithm,
    /// Signed by a key that nobody knows yet, or it does not say by which.
    UnknownKey,
    /// The signature is wrong.
    Signature,
    /// A claim that the policy needs is not there.
    Missing(Claim),
    /// Issued by someone else.
    Issuer,
    /// Meant for someone else.
    Audience,
    /// It has ended.
    Expired,
    /// It has not begun, or was issued in the future.
    NotYetValid,
    /// It was issued too long ago.
    TooOld,
    /// It is bound to another certificate than the client's, or should be bound and is not.
    Binding,
    /// The validator cannot tell now: 503, and it is worth coming back.
    Unavailable,
}

/// What became of the credential of a request.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CredentialVerdict {
    /// The request has none.
    Absent,
    /// It is good.
    Good,
    /// It cannot be read.
    Unreadable(BadCredential),
    /// It was refused.
    Refused(TokenError),
}

/// A claim that a policy can need.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Claim {
    /// `iss`
    Issuer,
    /// `aud`
    Audience,
    /// `exp`
    Expires,
    /// `iat`
    IssuedAt,
    /// `sub`
    Subject,
}

impl TokenError {
    /// The status of the answer.
    pub const fn status(self) -> StatusCode {
        match self.bearer_error() {
            Some(error) => error.status(),
            None => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// What the challenge says; `None` where it is not the token's fault.
    pub const fn bearer_error(self) -> Option<BearerError> {
        match self {
            Self::Unavailable => None,
            _ => Some(BearerError::InvalidToken),
        }
    }

    /// A fixed, lower-case name, fit for logs and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed token",
            Self::TooLong => "token too long",
            Self::Type => "wrong type of token",
            Self::Critical => "unknown extension",
            Self::Unknown => "unknown token",
            Self::Algorithm => "wrong algorithm",
            Self::UnknownKey => "unknown key",
            Self::Signature => "wrong signature",
            Self::Missing(Claim::Issuer) => "no issuer",
            Self::Missing(Claim::Audience) => "no audience",
            Self::Missing(Claim::Expires) => "no end",
            Self::Missing(Claim::IssuedAt) => "no time of issue",
            Self::Missing(Claim::Subject) => "no subject",
            Self::Issuer => "wrong issuer",
            Self::Audience => "wrong audience",
            Self::Expired => "expired",
            Self::NotYetValid => "not yet valid",
            Self::TooOld => "too old",
            Self::Binding => "wrong certificate",
            Self::Unavailable => "validator unavailable",
        }
    }

    /// Whether the same bytes will be refused again, whoever sends them and whenever, as long as
    /// keys and policy stay.
    pub const fn is_final(self) -> bool {
        match self {
            Self::Malformed
            | Self::TooLong
            | Self::Type
            | Self::Critical
            | Self::Unknown
            | Self::Algorithm
            | Self::Signature
            | Self::Missing(_)
            | Self::Issuer
            | Self::Audience
            | Self::Expired
            | Self::TooOld => true,
            Self::UnknownKey | Self::NotYetValid | Self::Binding | Self::Unavailable => false,
        }
    }
}

/// What a verified token says. Times are since 1970-01-01T00:00:00Z; round them so that a token
/// never lives longer. <https://www.rfc-editor.org/rfc/rfc7519#section-4.1>
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Claims<'a> {
    /// `iss`
    pub issuer: Option<&'a str>,
    /// `sub`
    pub subject: Option<&'a str>,
    /// `aud`; a single one is a list of one.
    pub audiences: &'a [String],
    /// `exp`
    pub expires: Option<Duration>,
    /// `nbf`
    pub not_before: Option<Duration>,
    /// `iat`
    pub issued_at: Option<Duration>,
    /// `cnf` with `x5t#S256`: <https://www.rfc-editor.org/rfc/rfc8705#section-3.1>
    pub certificate: Option<Thumbprint>,
}

/// What a [`ClaimPolicy`] is built from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClaimConfig {
    /// Who issues the tokens, compared octet for octet. One policy has one issuer, as a key belongs
    /// to one: else any of them could sign in the name of another.
    pub issuer: String,
    /// By which names we are meant, compared octet for octet; at least one.
    pub audiences: Vec<String>,
    /// By how much clocks may differ. Default 30 s, at most 5 min.
    pub leeway: Duration,
    /// How long ago a token may have been issued. Default unsaid: `exp` alone counts.
    pub max_age: Option<Duration>,
    /// Whether tokens have to be bound to certificates.
    pub binding: Binding,
}

/// Whether a token has to be bound to the certificate of the client.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Binding {
    /// A token that is bound is good with its certificate only; others are good for anyone.
    #[default]
    IfBound,
    /// A token that is not bound is refused.
    Required,
}

impl Default for ClaimConfig {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            audiences: Vec::new(),
            leeway: Duration::from_secs(30),
            max_age: None,
            binding: Binding::default(),
        }
    }
}

/// Which claims make a token good.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClaimPolicy(ClaimConfig);

/// Why a [`ClaimConfig`] is refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum BadClaimConfig {
    /// The issuer has no name.
    Issuer,
    /// Nobody is meant, or somebody without a name.
    Audiences,
    /// More than [`ClaimPolicy::MAX_LEEWAY`].
    Leeway,
    /// No token is that young.
    MaxAge,
}

impl ClaimPolicy {
    /// Clocks that differ by more are wrong.
    pub const MAX_LEEWAY: Duration = Duration::from_secs(300);

    /// Checks the configuration.
    pub fn new(config: ClaimConfig) -> Result<Self, BadClaimConfig> {
        if config.issuer.is_empty() {
            return Err(BadClaimConfig::Issuer);
        }
        if config.audiences.is_empty() || config.audiences.iter().any(String::is_empty) {
            return Err(BadClaimConfig::Audiences);
        }
        if config.leeway > Self::MAX_LEEWAY {
            return Err(BadClaimConfig::Leeway);
        }
        if config.max_age == Some(Duration::ZERO) {
            return Err(BadClaimConfig::MaxAge);
        }
        Ok(Self(config))
    }

    /// Whether these claims are good now, from a client with this certificate. What is missing is
    /// wrong. The order is fixed, so that the same token gets the same answer.
    ///
    /// # Errors
    ///
    /// The first reason.
    pub fn check(
        &self,
        claims: &Claims<'_>,
        peer: Option<&Thumbprint>,
        now: Duration,
    ) -> Result<(), TokenError> {
        let config = &self.0;
        let issuer = claims.issuer.ok_or(TokenError::Missing(Claim::Issuer))?;
        if *config.issuer != *issuer {
            return Err(TokenError::Issuer);
        }
        if claims.audiences.is_empty() {
            return Err(TokenError::Missing(Claim::Audience));
        }
        // https://www.rfc-editor.org/rfc/rfc7519#section-4.1.3
        if !claims.audiences.iter().any(|name| config.audiences.contains(name)) {
            return Err(TokenError::Audience);
        }
        let expires = claims.expires.ok_or(TokenError::Missing(Claim::Expires))?;
        // https://www.rfc-editor.org/rfc/rfc7519#section-4.1.4: over at that very moment.
        if now >= expires.saturating_add(config.leeway) {
            return Err(TokenError::Expired);
        }
        let soonest = now.saturating_add(config.leeway);
        // https://www.rfc-editor.org/rfc/rfc7519#section-4.1.5
        if claims.not_before.is_some_and(|begin| begin > soonest)
            || claims.issued_at.is_some_and(|issued| issued > soonest)
        {
            return Err(TokenError::NotYetValid);
        }
        if let Some(max_age) = config.max_age {
            let issued = claims.issued_at.ok_or(TokenError::Missing(Claim::IssuedAt))?;
            if now >= issued.saturating_add(max_age).saturating_add(config.leeway) {
                return Err(TokenError::TooOld);
            }
        }
        if claims.subject.is_none_or(str::is_empty) {
            return Err(TokenError::Missing(Claim::Subject));
        }
        // https://www.rfc-editor.org/rfc/rfc8705#section-3
        match (&claims.certificate, peer, config.binding) {
            (Some(bound), Some(peer), _) if bound == peer => Ok(()),
            (None, _, Binding::IfBound) => Ok(()),
            (Some(_), _, _) | (None, _, Binding::Required) => Err(TokenError::Binding),
        }
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl core::error::Error for TokenError {}

impl BadClaimConfig {
    /// One phrase in plain words.
    pub const fn explain(self) -> &'static str {
        match self {
            Self::Issuer => "tokens need an issuer",
            Self::Audiences => "tokens need an audience, and each needs a name",
            Self::Leeway => "a leeway of more than 5 minutes is no leeway",
            Self::MaxAge => "no token is younger than the maximum age of zero",
        }
    }
}

impl fmt::Display for BadClaimConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.explain())
    }
}

impl core::error::Error for BadClaimConfig {}
