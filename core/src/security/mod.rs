//! Who may do what: policies and values without IO, immutable, each usable alone.
//!
//! Everything here fails closed: what is missing, malformed, doubled or unknown grants nothing. No
//! secret shows in `Debug`, `Display` or an error.

mod access;
mod challenge;
mod cors;
mod credential;
mod egress;
mod expiry;
mod forwarded;
mod identity;
mod network;
mod proxy_protocol;
mod refused;
mod rule;
mod token;

pub use access::{Access, AccessError, AccessReason, AccessVerdict, Explanation, Refusal, RuleId};
pub use challenge::{BadRealm, BearerError, Challenge};
pub use cors::{
    BadOrigin, Cors, CorsConfig, CorsError, CorsKind, CorsList, CorsReason, CorsVerdict,
};
pub use credential::{BadCredential, Credential, MAX_CREDENTIAL, Secret};
pub use egress::{
    Answerer, BadPattern, Destination, EgressPolicy, EgressRefusal, ServerPattern, TlsVersion,
};
pub use expiry::Expiry;
pub use forwarded::{Forwarded, ForwardedField, TrustedProxies};
pub use identity::{
    ClientKey, IPV6_CLIENT_PREFIX, KeyDigest, PeerName, Principal, SecurityContext, Subject,
};
pub use network::{BadNetwork, Network};
pub use proxy_protocol::{BadProxyHeader, ProxyHeader, ProxyProtocol};
pub use refused::{RefusedConfig, RefusedTokens};
pub use rule::{BadRule, Condition, Effect, Identity, Routes, Rule, Who};
pub use token::{
    BadClaimConfig, Binding, Claim, ClaimConfig, ClaimPolicy, Claims, CredentialVerdict,
    Thumbprint, TokenError, TokenValidator,
};

/// What a token consists of: <https://www.rfc-editor.org/rfc/rfc9110#section-5.6.2>
const fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}
