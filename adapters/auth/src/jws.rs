//! A signed token, taken apart: <https://www.rfc-editor.org/rfc/rfc7515#section-7.1>

use serde::Deserialize;

use crate::algorithm::Algorithm;
use crate::base64url;
use sinew_core::security::TokenError;

/// A token whose signature was not looked at yet.
pub(crate) struct Unverified<'a> {
    pub(crate) header: Header,
    pub(crate) algorithm: Algorithm,
    /// What was signed: header and payload as they stood in the token.
    pub(crate) message: &'a [u8],
    pub(crate) payload: Vec<u8>,
    pub(crate) signature: Vec<u8>,
}

/// What is read of the payload before the signature was looked at.
#[derive(Deserialize)]
struct Claimed {
    iss: Option<String>,
}

/// What is read of the header. `jwk`, `jku`, `x5c` and their like are not: a token does not bring the
/// key that it is checked with.
#[derive(Deserialize)]
pub(crate) struct Header {
    alg: String,
    pub(crate) kid: Option<String>,
    pub(crate) typ: Option<String>,
    crit: Option<serde_json::Value>,
}

impl<'a> Unverified<'a> {
    pub(crate) fn parse(token: &'a str) -> Result<Self, TokenError> {
        let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(TokenError::Malformed)?;
        let decode = |part: &str| base64url::decode(part.as_bytes()).ok_or(TokenError::Malformed);
        let header: Header =
            serde_json::from_slice(&decode(header)?).map_err(|_| TokenError::Malformed)?;
        // https://www.rfc-editor.org/rfc/rfc7515#section-4.1.11
        if header.crit.is_some() {
            return Err(TokenError::Critical);
        }
        let algorithm = Algorithm::from_name(&header.alg).ok_or(TokenError::Algorithm)?;
        Ok(Self {
            header,
            algorithm,
            message: message.as_bytes(),
            payload: decode(payload)?,
            signature: decode(signature)?,
        })
    }

    /// Whom the token says it is of, if it says so. Not to be believed: it tells whose keys to look
    /// for.
    pub(crate) fn claimed_issuer(&self) -> Option<String> {
        serde_json::from_slice(&self.payload).ok().and_then(|Claimed { iss }| iss)
    }
}
