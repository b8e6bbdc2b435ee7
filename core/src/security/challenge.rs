//! `WWW-Authenticate` for bearer tokens: <https://www.rfc-editor.org/rfc/rfc6750#section-3>

use core::fmt;

use http::{HeaderValue, StatusCode};

/// The error codes of RFC 6750.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum BearerError {
    /// The credential cannot be read.
    InvalidRequest,
    /// It is expired, revoked, forged or not for us.
    InvalidToken,
    /// It is good, and not good enough.
    InsufficientScope,
}

impl BearerError {
    /// The status that goes with it.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::InvalidRequest => StatusCode::BAD_REQUEST,
            Self::InvalidToken => StatusCode::UNAUTHORIZED,
            Self::InsufficientScope => StatusCode::FORBIDDEN,
        }
    }
}

/// The values of `WWW-Authenticate`, written once. They say no more than the code of the error: why
/// a token was refused is for the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Challenge {
    plain: HeaderValue,
    invalid_request: HeaderValue,
    invalid_token: HeaderValue,
    insufficient_scope: HeaderValue,
}

/// A realm that is empty, or has something else than visible ASCII and blanks in it, or a quote or
/// a backslash.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BadRealm;

impl Challenge {
    /// `realm`: what the credentials are for, as people know it.
    pub fn new(realm: &str) -> Result<Self, BadRealm> {
        let fits = |b: u8| (b == b' ' || b.is_ascii_graphic()) && b != b'"' && b != b'\\';
        if realm.is_empty() || !realm.bytes().all(fits) {
            return Err(BadRealm);
        }
        let value = |error: &str| {
            HeaderValue::try_from(format!("Bearer realm=\"{realm}\"{error}")).map_err(|_| BadRealm)
        };
        Ok(Self {
            plain: value("")?,
            invalid_request: value(", error=\"invalid_request\"")?,
            invalid_token: value(", error=\"invalid_token\"")?,
            insufficient_scope: value(", error=\"insufficient_scope\"")?,
        })
    }

    /// The value for this error; `None` where nothing was presented.
    pub const fn value(&self, error: Option<BearerError>) -> &HeaderValue {
        match error {
            // https://www.rfc-editor.org/rfc/rfc6750#section-3.1: then no error code.
            None => &self.plain,
            Some(BearerError::InvalidRequest) => &self.invalid_request,
            Some(BearerError::InvalidToken) => &self.invalid_token,
            Some(BearerError::InsufficientScope) => &self.insufficient_scope,
        }
    }
}

impl fmt::Display for BadRealm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a realm is visible ASCII and blanks, without quotes and backslashes")
    }
}

impl core::error::Error for BadRealm {}
