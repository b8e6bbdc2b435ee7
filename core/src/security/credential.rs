//! What a request presents to prove who sends it.

use core::fmt;

use http::HeaderName;

use super::BearerError;
use crate::head::Fields;

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
        let bearer = match single(fields, "authorization")? {
            Some(value) => bearer(value)?.map(Credential::Bearer),
            None => None,
        };
        let api_key = match api_key.map(|name| single(fields, name.as_str())) {
            Some(found) => found?.map(key).transpose()?.map(Credential::ApiKey),
            None => None,
        };
        match (bearer, api_key) {
            // https://www.rfc-editor.org/rfc/rfc6750#section-2
            (Some(_), Some(_)) => Err(BadCredential::Several),
            (one, other) => Ok(one.or(other)),
        }
    }
}

fn single<'a>(fields: &'a Fields, name: &'a str) -> Result<Option<&'a [u8]>, BadCredential> {
    let mut lines = fields.get_all(name);
    match (lines.next(), lines.next()) {
        (first, None) => Ok(first),
        (_, Some(_)) => Err(BadCredential::Several),
    }
}

/// `credentials = "Bearer" 1*SP b64token`: <https://www.rfc-editor.org/rfc/rfc6750#section-2.1>
fn bearer(value: &[u8]) -> Result<Option<Secret<'_>>, BadCredential> {
    let in_scheme = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    let end = value.iter().position(|b| !in_scheme(b)).unwrap_or(value.len());
    let (scheme, rest) = value.split_at(end);
    // Schemes compare case-insensitively: https://www.rfc-editor.org/rfc/rfc9110#section-11.1
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Ok(None);
    }
    let spaces = rest.iter().take_while(|b| **b == b' ').count();
    let token = &rest[spaces..];
    let padding = token.iter().rev().take_while(|b| **b == b'=').count();
    let letters = &token[..token.len() - padding];
    let in_token =
        |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'+' | b'/');
    if spaces == 0 || letters.is_empty() || !letters.iter().all(in_token) {
        return Err(BadCredential::Malformed);
    }
    short(token).map(Some)
}

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
