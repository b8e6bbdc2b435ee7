//! Why a token is not taken.

use core::fmt;

/// Why a token is not taken. It names no part of the token.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// Longer than the policy allows.
    TooLong,
    /// Not three parts of base64url with JSON in the first two, or a claim of the wrong type.
    Malformed,
    /// `typ` is not the one asked for.
    Type,
    /// `crit` names extensions; none is known here.
    Critical,
    /// `alg` is `none`, symmetric, unknown, or not one that the key is for.
    Algorithm,
    /// No key has this `kid`, or there is no `kid` and more than one key would do.
    UnknownKey,
    /// The keys are older than they may be used, or were never fetched.
    NoKeys,
    /// The signature does not fit.
    Signature,
    /// `iss` is missing or not the issuer asked for.
    Issuer,
    /// `aud` is missing or names none of the audiences asked for.
    Audience,
    /// `exp` is missing.
    NoExpiry,
    /// `exp` has passed.
    Expired,
    /// `nbf` or `iat` has not come yet.
    NotYetValid,
    /// Bound to another certificate, or to one while none was shown; or not bound although it
    /// must be.
    Binding,
}

impl Refusal {
    /// One phrase in plain words.
    pub const fn explain(self) -> &'static str {
        match self {
            Self::TooLong => "the token is too long",
            Self::Malformed => "the token is malformed",
            Self::Type => "the token is of another type",
            Self::Critical => "the token asks for an extension",
            Self::Algorithm => "the algorithm does not belong to the key",
            Self::UnknownKey => "the key is not known",
            Self::NoKeys => "no keys of the issuer are at hand",
            Self::Signature => "the signature does not fit",
            Self::Issuer => "the issuer is another one",
            Self::Audience => "the token is meant for somebody else",
            Self::NoExpiry => "the token never expires",
            Self::Expired => "the token has expired",
            Self::NotYetValid => "the token is not valid yet",
            Self::Binding => "the token belongs to another certificate",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.explain())
    }
}

impl core::error::Error for Refusal {}
