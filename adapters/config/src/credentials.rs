//! Tokens of several issuers, and keys, behind one seam.

use std::sync::Arc;
use std::time::Duration;

use sinew_auth::{ApiKeys, JwtValidator};
use sinew_core::security::{Credential, Principal, Thumbprint, TokenError, TokenValidator};

/// Whoever knows a credential judges it.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    pub(crate) keys: ApiKeys<Arc<Principal>>,
    pub(crate) issuers: Vec<JwtValidator>,
}

impl TokenValidator for Credentials {
    fn validate(
        &self,
        credential: Credential<'_>,
        peer: Option<&Thumbprint>,
        now: Duration,
    ) -> Result<Arc<Principal>, TokenError> {
        if let Credential::ApiKey(_) = credential {
            return self.keys.validate(credential, peer, now);
        }
        let mut refused = TokenError::Unknown;
        for issuer in &self.issuers {
            match issuer.validate(credential, peer, now) {
                Ok(principal) => return Ok(principal),
                // Not theirs, as far as they can tell; the first reason stays, unless another issuer
                // knows better.
                Err(
                    error @ (TokenError::UnknownKey
                    | TokenError::Algorithm
                    | TokenError::Signature
                    | TokenError::Issuer),
                ) => {
                    if refused == TokenError::Unknown {
                        refused = error;
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Err(refused)
    }
}
