//! What a request presents to prove who sends it.

use core::fmt;

use http::HeaderName;

use super::{BearerError, is_tchar};
use crate::class::Class;
use crate::head::{Fields, Single, is_name};

/// Bytes of a token or an API key, at most.
pub const MAX_CREDENTIAL: usize = 8 * 1024;

/// A token or an API key, as it stands in the head. It claims everything and proves nothing until a
/// [`TokenValidator`](super::TokenValidator) looked at it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Credential<'a> {
    /// `Authorization: Bearer`
    Bearer(Secret<'a>),
    /// The field for API keys.
    ApiKey(Secret<'a>),
}

/// Bytes that are not shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret<'a>(&'a [u8]);

impl<'a> Secret<'a> {
    /// Keeps these bytes from being shown.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The bytes themselves. Compare them in constant time, and write them nowhere.
    pub const fn expose(self) -> &'a [u8] {
        self.0
    }
}

impl fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Why a credential cannot even be read: answer 400.
/// <https://www.rfc-editor.org/rfc/rfc6750#section-3.1>
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum BadCredential {
    /// There are several, of one kind or of both.
    Several,
    /// It breaks its grammar.
    Malformed,
    /// It is longer than [`MAX_CREDENTIAL`].
    TooLong,
}

impl<'a> Credential<'a> {
    /// The credential of a request, if it has one of a known kind. Other schemes of `Authorization`
    /// are no credential here. `api_key` names the field for API keys, if there is one.
    ///
    /// # Errors
    ///
    /// What could be read in two ways is not read at all.
    pub fn find(
        fields: &'a Fields,
        api_key: Option<&'a HeaderName>,
    ) -> Result<Option<Self>, BadCredential> {
        let api_key = api_key.map_or(Single::Absent, |name| fields.single(name.as_str()));
        Self::given(fields.single("authorization"), api_key)
    }

    /// The same, where the fields were looked up already.
    pub(crate) fn given(
        authorization: Single<'a>,
        api_key: Single<'a>,
    ) -> Result<Option<Self>, BadCredential> {
        let bearer = match authorization {
            Single::Absent => None,
            Single::Once(value) => bearer(value)?.map(Credential::Bearer),
            Single::Repeated => return Err(BadCredential::Several),
        };
        let api_key = match api_key {
            Single::Absent => None,
            Single::Once(value) => Some(Credential::ApiKey(key(value)?)),
            Single::Repeated => return Err(BadCredential::Several),
        };
        match (bearer, api_key) {
            // https://www.rfc-editor.org/rfc/rfc6750#section-2
            (Some(_), Some(_)) => Err(BadCredential::Several),
            (one, other) => Ok(one.or(other)),
        }
    }
}

/// `credentials = "Bearer" 1*SP b64token`: <https://www.rfc-editor.org/rfc/rfc6750#section-2.1>
fn bearer(value: &[u8]) -> Result<Option<Secret<'_>>, BadCredential> {
    let Some((scheme, rest)) = value.split_first_chunk::<6>() else { return Ok(None) };
    // Schemes compare case-insensitively: https://www.rfc-editor.org/rfc/rfc9110#section-11.1
    let token = match rest {
        _ if !is_name(scheme, b"bearer") => return Ok(None),
        [b' ', token @ ..] => token,
        [byte, ..] if is_tchar(*byte) => return Ok(None),
        _ => return Err(BadCredential::Malformed),
    };
    let token = &token[token.iter().take_while(|b| **b == b' ').count()..];
    let padding = token.iter().rev().take_while(|b| **b == b'=').count();
    let letters = &token[..token.len() - padding];
    if letters.is_empty() || !TOKEN.has_all_of(letters) {
        return Err(BadCredential::Malformed);
    }
    short(token).map(Some)
}

/// What a `b64token` consists of, the padding apart.
const TOKEN: Class = Class::alphanumeric_and(b"-._~+/");

/// Visible ASCII, so that it is the same however it is compared.
fn key(value: &[u8]) -> Result<Secret<'_>, BadCredential> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_graphic) {
        return Err(BadCredential::Malformed);
    }
    short(value)
}

fn short(secret: &[u8]) -> Result<Secret<'_>, BadCredential> {
    if secret.len() > MAX_CREDENTIAL { Err(BadCredential::TooLong) } else { Ok(Secret(secret)) }
}

impl BadCredential {
    /// What the challenge says.
    pub const fn bearer_error(self) -> BearerError {
        BearerError::InvalidRequest
    }

    /// A fixed, lower-case name, fit for logs and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Several => "several credentials",
            Self::Malformed => "malformed credential",
            Self::TooLong => "credential too long",
        }
    }
}

impl fmt::Display for BadCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl core::error::Error for BadCredential {}
