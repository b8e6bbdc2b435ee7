//! JWTs behind the seam that the core has for tokens.

use core::str;
use core::time::Duration;
use std::sync::Arc;

use sinew_core::security::{Credential, Principal, Thumbprint, TokenError, TokenValidator};

use crate::jwk::KeySet;
use crate::verifier::JwtVerifier;

/// A verifier and the keys of its issuer, as they are now: whoever keeps them fresh makes a new one
/// when they change.
#[derive(Clone, Debug)]
pub struct JwtValidator {
    verifier: JwtVerifier,
    keys: KeySet,
}

impl JwtValidator {
    /// Tokens as the verifier takes them, signed with one of these keys.
    pub fn new(verifier: JwtVerifier, keys: KeySet) -> Self {
        Self { verifier, keys }
    }
}

impl TokenValidator for JwtValidator {
    fn validate(
        &self,
        credential: Credential<'_>,
        peer: Option<&Thumbprint>,
        now: Duration,
    ) -> Result<Arc<Principal>, TokenError> {
        let Credential::Bearer(token) = credential else { return Err(TokenError::Unknown) };
        let token = str::from_utf8(token.expose()).map_err(|_| TokenError::Malformed)?;
        let claims = self.verifier.verify(token, &self.keys, now, peer)?;
        Ok(Arc::new(claims.principal()))
    }
}
