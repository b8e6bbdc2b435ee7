//! The addresses that endpoints stand for.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use sinew_core::client::dispatcher::Endpoint;
use sinew_core::mesh::Member;

use crate::client::base::{Instance, Site, Upstream};
use crate::client::service_endpoint::ServiceEndpoint;

/// Instances that are remembered although they are not listed any more, so that one that comes back has
/// the number that it had.
const REMEMBERED: usize = 1_024;

/// The addresses that endpoints stand for, each with who has to be there: with somebody else, it is another
/// endpoint, which has none of the connections that were opened before. One keeps its number while it is
/// listed, and for as long afterwards as it is remembered; no number is ever used for another.
#[derive(Default)]
pub(super) struct Sites {
    numbers: BTreeMap<Instance, Known>,
    /// Those that are listed, by address.
    places: BTreeMap<Site, u64>,
    listed: BTreeMap<u64, Upstream>,
    next: u64,
    version: u64,
}

struct Known {
    number: u64,
    /// The change that listed it last.
    version: u64,
}

impl Sites {
    /// The endpoints from now on, and the number of this change. Of an address that is there twice the
    /// first counts.
    pub(super) fn replace(&mut self, upstreams: Vec<Upstream>) -> (u64, Vec<Member>) {
        self.version += 1;
        self.places.clear();
        self.listed.clear();
        let mut members = Vec::with_capacity(upstreams.len());
        for upstream in upstreams {
            let Entry::Vacant(place) = self.places.entry(upstream.instance.site.clone()) else {
                continue;
            };
            let next = &mut self.next;
            let known = self.numbers.entry(upstream.instance.clone()).or_insert_with(|| {
                *next += 1;
                Known { number: *next - 1, version: 0 }
            });
            known.version = self.version;
            place.insert(known.number);
            members.push(upstream.member(Endpoint(known.number)));
            self.listed.insert(known.number, upstream);
        }
        self.forget();
        (self.version, members)
    }

    /// Forgets those that were listed longest ago.
    fn forget(&mut self) {
        let excess = self.numbers.len().saturating_sub(self.listed.len() + REMEMBERED);
        if excess == 0 {
            return;
        }
        let gone = self.numbers.iter().filter(|(_, known)| known.version < self.version);
        let mut gone: Vec<_> =
            gone.map(|(instance, known)| (known.version, known.number, instance.clone())).collect();
        gone.sort_unstable_by_key(|(version, number, _)| (*version, *number));
        for (_, _, instance) in gone.into_iter().take(excess) {
            self.numbers.remove(&instance);
        }
    }

    /// The endpoint that is listed for this address.
    pub(super) fn find(&self, site: &Site) -> Option<Endpoint> {
        self.places.get(site).copied().map(Endpoint)
    }

    pub(super) fn instance(&self, endpoint: Endpoint) -> Option<&Instance> {
        self.listed.get(&endpoint.0).map(|upstream| &upstream.instance)
    }

    /// As it was said where it is.
    pub(super) fn address(&self, endpoint: Endpoint) -> Option<String> {
        self.listed.get(&endpoint.0).map(|upstream| upstream.told.address.clone())
    }

    /// Those that are listed, by number.
    pub(super) fn listed(&self) -> Vec<(Endpoint, ServiceEndpoint)> {
        let listed = self.listed.iter();
        listed.map(|(number, upstream)| (Endpoint(*number), upstream.told.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sites(addresses: impl IntoIterator<Item = u32>) -> Vec<Upstream> {
        let upstream = |number: u32| {
            let told = ServiceEndpoint::new(format!("10.0.0.1:{number}"));
            Upstream::parse(told, 80).unwrap()
        };
        addresses.into_iter().map(upstream).collect()
    }

    fn told(sites: &mut Sites, endpoints: &[(&str, Option<&str>)]) -> Vec<(u64, u64)> {
        let upstream = |(address, identity): &(&str, Option<&str>)| {
            let told = ServiceEndpoint::new(*address);
            let told = identity.iter().fold(told, |told, identity| told.identity(*identity));
            Upstream::parse(told, 443).unwrap()
        };
        let (_, members) = sites.replace(endpoints.iter().map(upstream).collect());
        members.into_iter().map(|member| (member.endpoint.0, member.hash)).collect()
    }

    fn numbers(sites: &mut Sites, addresses: impl IntoIterator<Item = u32>) -> Vec<u64> {
        let (_, members) = sites.replace(self::sites(addresses));
        members.into_iter().map(|member| member.endpoint.0).collect()
    }

    #[test]
    fn an_address_keeps_its_number() {
        let mut known = Sites::default();
        assert_eq!(numbers(&mut known, [1, 2, 1, 3]), [0, 1, 2]);
        assert_eq!(numbers(&mut known, [3]), [2]);
        assert_eq!(known.instance(Endpoint(0)), None);
        assert_eq!(numbers(&mut known, [4, 1]), [3, 0]);
    }

    /// A connection was admitted for whom it led to: none is kept for somebody else.
    #[test]
    fn another_identity_is_another_endpoint() {
        let (pay, bill) = (Some("spiffe://acme.test/pay"), Some("spiffe://acme.test/bill"));
        let mut known = Sites::default();
        let site = Site::parse("a.test", 443).unwrap();
        let place = told(&mut known, &[("a.test", pay)])[0].1;
        for (identity, number) in [(pay, 0), (bill, 1), (None, 2), (pay, 0)] {
            // Keys stay where they are.
            assert_eq!(told(&mut known, &[("a.test", identity)]), [(number, place)]);
            assert_eq!(known.find(&site), Some(Endpoint(number)));
            assert_eq!(known.listed.len(), 1);
        }
        // One address is one endpoint at a time.
        assert_eq!(told(&mut known, &[("a.test", bill), ("a.test", pay)]), [(1, place)]);
        assert_eq!(known.find(&site), Some(Endpoint(1)));
        told(&mut known, &[("b.test", None)]);
        assert_eq!(known.find(&site), None, "not listed");
    }

    #[test]
    fn however_an_address_is_written_it_is_one() {
        let mut known = Sites::default();
        for same in
            [["10.0.0.1", "10.0.0.1:443"], ["A.test", "a.test:443"], ["[::1]", "[0:0::1]:443"]]
        {
            let places = same.map(|address| told(&mut known, &[(address, None)]));
            assert_eq!(places[0], places[1], "{same:?}");
        }
    }

    #[test]
    fn what_is_gone_is_not_remembered_for_ever() {
        let mut known = Sites::default();
        for at in 0..3_000 {
            assert_eq!(numbers(&mut known, [at]), [u64::from(at)]);
            assert!(known.numbers.len() <= REMEMBERED + 1);
        }
        assert_eq!(numbers(&mut known, [0, 2_999]), [3_000, 2_999]);
    }
}
