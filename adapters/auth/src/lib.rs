//! Who a caller is, by token: JWT with keys that rotate, API keys, and tokens bound to certificates.
//!
//! Everything that needs a hash or a signature is here, so that `sinew-core` needs neither. Time is
//! an argument: nothing reads a clock, so an expired token is expired in a replay, too.
//!
//! - [`JwtVerifier`] says whether a token is good, and if not,
//!   [why](sinew_core::security::TokenError).
//! - [`Jwks`] is a machine that keeps the keys of an issuer fresh; its owner does the fetching.
//! - [`JwtValidator`] is a verifier with its keys, behind the seam that the core has for it.
//! - [`ApiKeys`] finds who a key belongs to, knowing only hashes of keys; so does [`OpaqueTokens`] for
//!   tokens that say nothing by themselves.
//! - [`AuditChain`] chains the lines of an audit file, and [`verify_chain`] finds what was done to it.
//!
//! The algorithm is bound to the key, never taken from the token: a token can only say which of the
//! algorithms that its key allows it used. `none` and symmetric algorithms do not exist here.

mod algorithm;
mod api_key;
mod audit_chain;
mod base64url;
mod claims;
mod crypto;
mod der;
mod jwk;
mod jwks;
mod jws;
mod opaque;
mod validator;
mod verifier;

pub use algorithm::Algorithm;
pub use api_key::{ApiKeys, BadKey};
pub use audit_chain::{
    AuditChain, BadAuditLine, BadChainHead, ChainBreak, ChainHead, ChainVerdict, MAX_LINE,
    verify_chain,
};
pub use claims::{Claims, Numeric};
pub use crypto::{Crypto, NoCrypto};
pub use jwk::{BadJwks, KeySet, MAX_JWKS, VerifyingKey};
pub use jwks::{BadJwksPolicy, Fetch, Jwks, JwksPolicy, Lookup};
pub use opaque::OpaqueTokens;
pub use validator::JwtValidator;
pub use verifier::{BadJwtPolicy, JwtPolicy, JwtVerifier};
