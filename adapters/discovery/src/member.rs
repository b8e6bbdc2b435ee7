//! Endpoints, as the core keeps them.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

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
