//! One slice, as it is written.
//! <https://kubernetes.io/docs/reference/kubernetes-api/service-resources/endpoint-slice-v1/>

use std::collections::BTreeMap;

use serde::Deserialize;
use sinew_driver::ServiceEndpoint;

use crate::member::address_of;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct List {
    pub(super) metadata: ListMeta,
    pub(super) items: Option<Vec<Slice>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListMeta {
    pub(super) resource_version: String,
    #[serde(default)]
    pub(super) r#continue: String,
}

/// One line of a watch.
/// <https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes>
#[derive(Deserialize)]
#[serde(tag = "type", content = "object", rename_all = "UPPERCASE")]
pub(super) enum Event {
    Added(Slice),
    Modified(Slice),
    Deleted(Versioned),
    Bookmark(Versioned),
    Error(Status),
}

/// What a bookmark, or a slice that is no more, is at.
#[derive(Deserialize)]
pub(super) struct Versioned {
    pub(super) metadata: Meta,
}

/// The object of an error.
#[derive(Deserialize)]
pub(super) struct Status {
    #[serde(default)]
    pub(super) code: u16,
    #[serde(default)]
    pub(super) message: String,
}

#[derive(Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct Meta {
    /// Bookmarks have none.
    #[serde(default)]
    pub(super) name: String,
    pub(super) resource_version: String,
}

#[derive(Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct Slice {
    pub(super) metadata: Meta,
    #[serde(default)]
    address_type: AddressType,
    endpoints: Option<Vec<Endpoint>>,
    ports: Option<Vec<Port>>,
}

/// What all addresses of a slice are.
#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
enum AddressType {
    IPv4,
    IPv6,
    /// Names (`FQDN`).
    #[default]
    #[serde(other)]
    Other,
}

#[derive(Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
struct Endpoint {
    addresses: Vec<String>,
    #[serde(default)]
    conditions: Conditions,
    zone: Option<String>,
    node_name: Option<String>,
    target_ref: Option<Target>,
}

#[derive(Deserialize, Debug, Default)]
struct Conditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

#[derive(Deserialize, Debug)]
struct Target {
    name: Option<String>,
}

#[derive(Deserialize, Debug)]
struct Port {
    name: Option<String>,
    #[serde(rename = "port")]
    number: Option<u16>,
    protocol: Option<String>,
}

/// Whether an endpoint is to be called.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Fitness {
    /// Neither ready nor serving.
    Unfit,
    /// It serves on while it terminates.
    Leaving,
    /// It takes new work.
    Ready,
}

impl Conditions {
    fn fitness(&self) -> Fitness {
        // What is not said of readiness is yes, and of serving the same as of readiness.
        let ready = self.ready.unwrap_or(true);
        let terminating = self.terminating.unwrap_or(false);
        match self.serving.unwrap_or(ready) {
            _ if ready => Fitness::Ready,
            true if terminating => Fitness::Leaving,
            _ => Fitness::Unfit,
        }
    }
}

impl Slice {
    /// The port of TCP with this name; the first one, if no name is asked for.
    fn port(&self, name: Option<&str>) -> Option<u16> {
        let mut ports = self.ports.iter().flatten().filter(|port| {
            let named = name.is_none_or(|name| port.name.as_deref().unwrap_or_default() == name);
            named && port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP")
        });
        ports.next()?.number
    }
}

/// The instances of all slices of one address type, the first one that has any: a pod of two families is in
/// slices of both, and would count twice.
/// <https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/#address-types>
pub(super) fn merged(slices: &BTreeMap<String, Slice>, port: Option<&str>) -> Vec<ServiceEndpoint> {
    let types = [AddressType::IPv4, AddressType::IPv6, AddressType::Other];
    let of =
        |kind| merged_of(slices.values().filter(move |slice| slice.address_type == kind), port);
    types.into_iter().map(of).find(|instances| !instances.is_empty()).unwrap_or_default()
}

/// The instances of these slices together: those that are ready; where none is, those that serve on while
/// they terminate.
fn merged_of<'a>(
    slices: impl Iterator<Item = &'a Slice>,
    port: Option<&str>,
) -> Vec<ServiceEndpoint> {
    let mut all: BTreeMap<String, (Fitness, ServiceEndpoint)> = BTreeMap::new();
    for slice in slices {
        let Some(port) = slice.port(port) else { continue };
        for endpoint in slice.endpoints.iter().flatten() {
            // All addresses of an endpoint are the same one, so the first is enough.
            let Some(host) = endpoint.addresses.first() else { continue };
            let Some(address) = address_of(host, port) else { continue };
            let fitness = endpoint.conditions.fitness();
            let mut instance = ServiceEndpoint::new(address);
            instance.zone = endpoint.zone.clone().unwrap_or_default();
            let pod = endpoint.target_ref.as_ref().and_then(|target| target.name.clone());
            let told = [("pod", pod), ("node", endpoint.node_name.clone())];
            let told = told.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
            instance.metadata.extend(told);
            // One that moves between slices is in both for a while.
            let known = all.entry(instance.address.clone());
            let known = known.or_insert_with(|| (fitness, instance.clone()));
            if fitness > known.0 {
                *known = (fitness, instance);
            }
        }
    }
    let best = all.values().map(|(fitness, _)| *fitness).max();
    let taken = best.filter(|best| *best != Fitness::Unfit);
    let instances = all.into_values().filter(|(fitness, _)| Some(*fitness) == taken);
    instances.map(|(_, instance)| instance).collect()
}
