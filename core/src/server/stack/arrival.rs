//! A request as it arrives.

use core::net::IpAddr;
use core::time::Duration;

use super::Expectation;
use crate::head::RequestHead;
use crate::limit::Quota;
use crate::origin::Scheme;
use crate::policy::Priority;
use crate::security::{Network, PeerName, Thumbprint};
use crate::time::Instant;

/// A request whose head is here.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// The time.
    pub now: Instant,
    /// The same, since 1970-01-01T00:00:00Z.
    pub unix: Duration,
    /// A number that no other request gets, drawn evenly: request and span ids are made of it.
    pub number: u128,
    /// Method, target, fields.
    pub head: &'a RequestHead,
    /// Whether a body follows.
    pub has_body: bool,
    /// The index of the template that the router found; `None` where it found none for this path
    /// and method.
    pub route: Option<usize>,
    /// Whether a handler takes it all the same, where no route does.
    pub fallback: bool,
    /// What that route has to itself.
    pub policy: &'a RoutePolicy,
    /// Where it comes from.
    pub peer: &'a Peer,
}

/// The other end of a connection, by address and certificate, and how it is reached.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Peer {
    /// `None` over a Unix socket.
    pub address: Option<IpAddr>,
    /// The name in the certificate that the handshake accepted.
    pub name: Option<PeerName>,
    /// The same certificate's thumbprint.
    pub thumbprint: Option<Thumbprint>,
    /// What it speaks.
    pub scheme: Scheme,
}

impl Peer {
    /// Whether it is known who it is, so that what it says of its requests counts: the handshake
    /// accepted its certificate, or it comes from one of these networks.
    pub(super) fn is_trusted(&self, networks: &[Network]) -> bool {
        let comes_from = |address| networks.iter().any(|network| network.contains(address));
        self.name.is_some() || self.address.is_some_and(comes_from)
    }
}

/// What a route does differently.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RoutePolicy {
    /// What it wants to be sent.
    pub expectation: Expectation,
    /// How much its requests matter.
    pub priority: Priority,
    /// What one request takes of a quota. Default 1.
    pub cost: Cost,
    /// What each client has of the route's template, beside its other quotas.
    pub quota: Option<Quota>,
}

/// What a request takes of a quota, in tokens.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Cost(pub u32);

impl Default for Cost {
    fn default() -> Self {
        Self(1)
    }
}
