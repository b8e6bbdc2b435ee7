//! Endpoints, as the core keeps them.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::Ipv6Addr;

use sinew_core::mesh::{Endpoint, Member, Weight, Zone};
use sinew_driver::ServiceEndpoint;

/// As the core knows it: by numbers that stand for address and zone, the same in every list.
pub(crate) fn member_of(endpoint: ServiceEndpoint) -> Member<ServiceEndpoint> {
    let number = number_of(&endpoint.address);
    Member {
        endpoint: Endpoint(number),
        weight: Weight::new(endpoint.weight),
        zone: Zone(number_of(&endpoint.zone) as u32),
        hash: number,
        metadata: endpoint,
    }
}

/// Host and port as one address; an IPv6 address gets its brackets. `None`: no client could use it, and one
/// such instance must not cost it all others.
pub(crate) fn address_of(host: &str, port: u16) -> Option<String> {
    let named = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    match host.parse::<Ipv6Addr>() {
        _ if port == 0 => None,
        Ok(_) => Some(format!("[{host}]:{port}")),
        Err(_) if !host.is_empty() && host.chars().all(named) => Some(format!("{host}:{port}")),
        Err(_) => None,
    }
}

fn number_of(name: &str) -> u64 {
    // Without a key, so the same in every list. Not `mesh::hash_key`: with two names of one number, which
    // anybody finds for that, an instance would make a list that names an endpoint twice, and is refused.
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}
