//! One instance of a service, as a client is told of it.

use std::collections::BTreeMap;

/// One instance of a service. Anything that is a string is an address of which nothing else is known.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct ServiceEndpoint {
    /// `host[:port]`, or `unix:/path/of/socket`.
    pub address: String,
    /// Its share beside the others, of which only the ratio counts; 0 counts as 1. Default 1.
    pub weight: u16,
    /// Where it runs, as [`zone`](super::ClientBuilder::zone) says where the client does. Default: empty,
    /// nobody knows.
    pub zone: String,
    /// Who has to answer there, beside whom the handshake accepts: `spiffe://acme.test/ns/pay`, with `/*`
    /// at its end all below it, or a DNS name, `billing.test` or `*.mesh.test`. Default: anyone.
    pub identity: Option<String>,
    /// Whatever else is known. The client does not look at it; it comes back with
    /// [`endpoints`](super::RestClient::endpoints).
    pub metadata: BTreeMap<String, String>,
}

impl ServiceEndpoint {
    /// One of which nothing else is known.
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            weight: 1,
            zone: String::new(),
            identity: None,
            metadata: BTreeMap::new(),
        }
    }

    /// Its share beside the others.
    #[must_use]
    pub const fn weight(mut self, weight: u16) -> Self {
        self.weight = weight;
        self
    }

    /// Where it runs.
    #[must_use]
    pub fn zone(mut self, zone: impl Into<String>) -> Self {
        self.zone = zone.into();
        self
    }

    /// Who has to answer there.
    #[must_use]
    pub fn identity(mut self, identity: impl Into<String>) -> Self {
        self.identity = Some(identity.into());
        self
    }

    /// Something else that is known.
    #[must_use]
    pub fn metadata(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(name.into(), value.into());
        self
    }
}

impl<A: AsRef<str>> From<A> for ServiceEndpoint {
    fn from(address: A) -> Self {
        Self::new(address.as_ref())
    }
}
