//! One instance of a service, as a source lists it.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde::Deserialize;
use sinew_core::mesh::{Endpoint, Member, Weight, Zone};

/// One instance of a service.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Instance {
    /// `host[:port]`, or `unix:/path/of/socket`.
    pub address: String,
    /// Its share beside the others; only the ratio counts. Default 1.
    #[serde(default = "one")]
    pub weight: u16,
    /// Where it runs.
    #[serde(default)]
    pub zone: String,
    /// Whatever else is known of it.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
}

const fn one() -> u16 {
    1
}

impl Instance {
    /// An instance of which nothing but the address is known.
    pub fn new(address: impl Into<String>) -> Self {
        Self { address: address.into(), weight: 1, zone: String::new(), metadata: BTreeMap::new() }
    }

    /// As the core knows it: by numbers that stand for address and zone, the same in every list.
    pub(crate) fn into_member(self) -> Member<Self> {
        Member {
            endpoint: Endpoint(number_of(&self.address)),
            weight: Weight::new(self.weight),
            zone: Zone(number_of(&self.zone) as u32),
            hash: number_of(&self.address),
            metadata: self,
        }
    }
}

/// Host and port as one address; an IPv6 address gets its brackets.
pub(crate) fn address_of(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn number_of(name: &str) -> u64 {
    // Without a key: the same in every process, and nobody gains by two names with one number, which
    // is refused as a list that names an endpoint twice.
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}
