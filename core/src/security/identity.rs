//! Who asks: what a certificate, a token and an address say, once they were verified.

use core::fmt;
use core::net::IpAddr;
use core::time::Duration;
use std::sync::Arc;

use super::Network;

/// The name in a client certificate that the handshake accepted. A certificate without a name
/// identifies nobody.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PeerName {
    /// `spiffe://domain/path`
    Spiffe(Arc<str>),
    /// A DNS name among the alternative names.
    Dns(Arc<str>),
    /// The subject's common name.
    CommonName(Arc<str>),
}

impl PeerName {
    /// The name without its kind.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Spiffe(name) | Self::Dns(name) | Self::CommonName(name) => name,
        }
    }
}

/// Whom a token or an API key stands for, as its [validator](super::TokenValidator) found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Principal {
    /// The name.
    pub subject: Subject,
    /// What they are.
    pub roles: Box<[Box<str>]>,
    /// What this token or key was issued for.
    pub scopes: Box<[Box<str>]>,
    /// When it ends, since 1970-01-01T00:00:00Z.
    pub expires: Option<Duration>,
}

/// The name of a [`Principal`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Subject {
    /// Of a token. Subjects are unique within their issuer only.
    /// <https://www.rfc-editor.org/rfc/rfc7519#section-4.1.2>
    Token {
        /// `iss`; empty for a token without one.
        issuer: Box<str>,
        /// `sub`
        subject: Box<str>,
    },
    /// Of an API key.
    ApiKey {
        /// The label that the operator gave it.
        label: Box<str>,
        /// Its hash.
        digest: KeyDigest,
    },
}

/// The hash of an API key. Not shown: a weak key can be guessed from it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyDigest(pub [u8; 32]);

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyDigest(..)")
    }
}

/// All that is known about who sent a request. Nothing in it is a claim only, and no credential is
/// in it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SecurityContext {
    /// By mutual TLS.
    pub peer: Option<PeerName>,
    /// By a token or an API key.
    pub principal: Option<Arc<Principal>>,
    /// Where the connection comes from; `None` if it has no address.
    pub peer_address: Option<IpAddr>,
    /// Where the request comes from: behind proxies what
    /// [`TrustedProxies::client`](super::TrustedProxies::client) says, else `peer_address`. `None`
    /// if nobody knows.
    pub client_address: Option<IpAddr>,
}

/// Bits of an IPv6 address that tell clients apart: a household or a host has the rest to itself.
pub const IPV6_CLIENT_PREFIX: u8 = 64;

/// Who pays for a request: what quotas are counted by. Two keys of different kinds differ whatever
/// their text, so nobody can pose as an address or as a certificate by way of a token.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ClientKey<'a> {
    /// The name in the client's certificate.
    Peer(&'a PeerName),
    /// The subject of a token.
    Subject {
        /// Of the token.
        issuer: &'a str,
        /// Of the token.
        subject: &'a str,
    },
    /// The hash of an API key.
    ApiKey(&'a KeyDigest),
    /// An IPv4 address, or an IPv6 prefix.
    Network(Network),
    /// A connection without an address.
    Nowhere,
}

impl SecurityContext {
    /// Whether anything but an address says who asks.
    #[inline]
    pub fn is_authenticated(&self) -> bool {
        self.peer.is_some() || self.principal.is_some()
    }

    /// Whether the token or key has this role.
    pub fn has_role(&self, role: &str) -> bool {
        self.principal.as_ref().is_some_and(|known| known.roles.iter().any(|r| **r == *role))
    }

    /// Whether the token or key has this scope. Scopes compare case-sensitively.
    /// <https://www.rfc-editor.org/rfc/rfc6749#section-3.3>
    pub fn has_scope(&self, scope: &str) -> bool {
        self.principal.as_ref().is_some_and(|known| known.scopes.iter().any(|s| **s == *scope))
    }

    /// Whom to count this request against: the strongest that is known. A free field such as
    /// `X-Client-ID` is never looked at.
    pub fn client_key(&self) -> ClientKey<'_> {
        match (&self.peer, self.principal.as_ref().map(|known| &known.subject)) {
            (Some(peer), _) => ClientKey::Peer(peer),
            (None, Some(Subject::Token { issuer, subject })) => {
                ClientKey::Subject { issuer, subject }
            }
            (None, Some(Subject::ApiKey { digest, .. })) => ClientKey::ApiKey(digest),
            (None, None) => self.address_key(),
        }
    }

    /// Whom to count it against before any credential was looked at.
    pub fn address_key(&self) -> ClientKey<'static> {
        // Where a proxy does not say for whom it speaks, it pays itself.
        match self.client_address.or(self.peer_address).map(|address| address.to_canonical()) {
            Some(v4 @ IpAddr::V4(_)) => ClientKey::Network(Network::around(v4, 32)),
            Some(v6 @ IpAddr::V6(_)) => ClientKey::Network(Network::around(v6, IPV6_CLIENT_PREFIX)),
            None => ClientKey::Nowhere,
        }
    }
}
