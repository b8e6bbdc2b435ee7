//! Bearer tokens that say nothing by themselves.

use core::str;
use core::time::Duration;
use std::sync::Arc;

use sinew_core::security::{Credential, Principal, Thumbprint, TokenError, TokenValidator};

use crate::api_key::ApiKeys;

/// Bearer tokens that are nothing but long random strings, found as [API keys](ApiKeys) are: by their
/// hashes, so that the time it takes tells nothing about a token.
///
/// Beside JWTs it stands in front: a token that it does not know is left to the next validator.
#[derive(Clone, Debug)]
pub struct OpaqueTokens(pub ApiKeys<Arc<Principal>>);

impl TokenValidator for OpaqueTokens {
    fn validate(
        &self,
        credential: Credential<'_>,
        _: Option<&Thumbprint>,
        now: Duration,
    ) -> Result<Arc<Principal>, TokenError> {
        match credential {
            Credential::Bearer(token) => owner(&self.0, token.expose(), now),
            Credential::ApiKey(_) => Err(TokenError::Unknown),
        }
    }
}

impl TokenValidator for ApiKeys<Arc<Principal>> {
    fn validate(
        &self,
        credential: Credential<'_>,
        _: Option<&Thumbprint>,
        now: Duration,
    ) -> Result<Arc<Principal>, TokenError> {
        match credential {
            Credential::ApiKey(key) => owner(self, key.expose(), now),
            Credential::Bearer(_) => Err(TokenError::Unknown),
        }
    }
}

fn owner(
    keys: &ApiKeys<Arc<Principal>>,
    key: &[u8],
    now: Duration,
) -> Result<Arc<Principal>, TokenError> {
    let key = str::from_utf8(key).map_err(|_| TokenError::Malformed)?;
    let owner = keys.find(key).ok_or(TokenError::Unknown)?;
    match owner.expires {
        Some(end) if now >= end => Err(TokenError::Expired),
        _ => Ok(Arc::clone(owner)),
    }
}
