//! The addresses that endpoints stand for.

use std::collections::BTreeMap;

use sinew_core::client::dispatcher::Endpoint;
use sinew_core::mesh::Member;

use crate::client::base::{Instance, Site, Upstream};
use crate::client::service_endpoint::ServiceEndpoint;

/// Addresses that are remembered although they are not listed any more, so that one that comes back has
/// the number that it had.
const REMEMBERED: usize = 1_024;

/// The addresses that endpoints stand for. One keeps its number while it is listed, and for as long
/// afterwards as it is remembered; no number is ever used for another.
#[derive(Default)]
pub(super) struct Sites {
    numbers: BTreeMap<Site, Known>,
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
        self.listed.clear();
        let mut members = Vec::with_capacity(upstreams.len());
        for upstream in upstreams {
            let next = &mut self.next;
            let known = self.numbers.entry(upstream.instance.site.clone()).or_insert_with(|| {
                *next += 1;
                Known { number: *next - 1, version: 0 }
            });
            if std::mem::replace(&mut known.version, self.version) == self.version {
                continue;
            }
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
            gone.map(|(site, known)| (known.version, known.number, site.clone())).collect();
        gone.sort_unstable_by_key(|(version, number, _)| (*version, *number));
        for (_, _, site) in gone.into_iter().take(excess) {
            self.numbers.remove(&site);
        }
    }

    /// The endpoint that stands for this address, or once did.
    pub(super) fn find(&self, site: &Site) -> Option<Endpoint> {
        self.numbers.get(site).map(|known| Endpoint(known.number))
    }

    pub(super) fn instance(&self, endpoint: Endpoint) -> Option<&Instance> {
        self.listed.get(&endpoint.0).map(|upstream| &upstream.instance)
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
