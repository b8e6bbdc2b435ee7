use core::net::IpAddr;
use std::collections::BTreeSet;
use std::sync::Arc;

use sinew_core::security::{
    ClientKey, ForwardedField, KeyDigest, PeerName, Principal, SecurityContext, Subject,
    TrustedProxies,
};

use super::head;

fn principal(subject: Subject) -> Arc<Principal> {
    let roles = Box::from([Box::from("admin")]);
    let scopes = Box::from([Box::from("orders:read")]);
    Arc::new(Principal { subject, roles, scopes, expires: None })
}

fn token(issuer: &str, subject: &str) -> Arc<Principal> {
    principal(Subject::Token { issuer: issuer.into(), subject: subject.into() })
}

fn from(address: &str) -> SecurityContext {
    let address: Option<IpAddr> = Some(address.parse().unwrap());
    SecurityContext { peer_address: address, client_address: address, ..Default::default() }
}

#[test]
fn the_strongest_identity_pays() {
    let address = from("192.0.2.1");
    let peer = PeerName::Spiffe("spiffe://a/b".into());
    let key = Subject::ApiKey { label: "ci".into(), digest: KeyDigest([7; 32]) };
    let with_token = SecurityContext { principal: Some(token("iss", "alice")), ..address.clone() };
    let with_key = SecurityContext { principal: Some(principal(key)), ..address.clone() };
    let with_all = SecurityContext { peer: Some(peer.clone()), ..with_token.clone() };
    assert_eq!(with_all.client_key(), ClientKey::Peer(&peer));
    assert_eq!(with_token.client_key(), ClientKey::Subject { issuer: "iss", subject: "alice" });
    assert_eq!(with_key.client_key(), ClientKey::ApiKey(&KeyDigest([7; 32])));
    assert_eq!(address.client_key(), ClientKey::Network("192.0.2.1".parse().unwrap()));
    assert_eq!(with_all.address_key(), address.client_key());
    assert_eq!(SecurityContext::default().client_key(), ClientKey::Nowhere);
}

#[test]
fn an_address_is_counted_by_what_one_client_has() {
    assert_eq!(
        from("2001:db8:1:2:3:4:5:6").client_key(),
        ClientKey::Network("2001:db8:1:2::/64".parse().unwrap())
    );
    assert_eq!(from("::ffff:192.0.2.1").client_key(), from("192.0.2.1").client_key());
    // Behind a proxy that does not say for whom it speaks, the proxy pays.
    let behind = SecurityContext { client_address: None, ..from("10.0.0.1") };
    assert_eq!(behind.client_key(), ClientKey::Network("10.0.0.1".parse().unwrap()));
}

#[test]
fn equal_text_of_different_kinds_makes_different_clients() {
    let text = "192.0.2.1";
    let address = from(text);
    let peers = [
        PeerName::Spiffe(text.into()),
        PeerName::Dns(text.into()),
        PeerName::CommonName(text.into()),
    ];
    let peers = peers.map(|peer| SecurityContext { peer: Some(peer), ..address.clone() });
    let tokens = ["", "a", "b"]
        .map(|issuer| SecurityContext { principal: Some(token(issuer, text)), ..address.clone() });
    let all: Vec<_> = peers.iter().chain(&tokens).chain([&address]).collect();
    let keys: BTreeSet<_> = all.iter().map(|context| context.client_key()).collect();
    assert_eq!(keys.len(), all.len());
}

#[test]
fn an_address_is_no_identity() {
    assert!(!from("192.0.2.1").is_authenticated());
    assert!(!from("192.0.2.1").has_role("admin") && !from("192.0.2.1").has_scope("orders:read"));
    let alice = SecurityContext { principal: Some(token("", "alice")), ..Default::default() };
    assert!(alice.is_authenticated() && alice.has_role("admin") && alice.has_scope("orders:read"));
    assert!(!alice.has_role("Admin") && !alice.has_scope("orders"));
    let peer = PeerName::Dns("a.test".into());
    assert!(SecurityContext { peer: Some(peer), ..Default::default() }.is_authenticated());
}

/// A field that anyone can write makes no client of its own, so a new value each time gains nothing.
#[test]
fn free_fields_name_nobody() {
    let proxies = TrustedProxies::new([], ForwardedField::XForwardedFor);
    let address: IpAddr = "192.0.2.1".parse().unwrap();
    for fields in [
        [("x-client-id", "a"), ("x-forwarded-for", "198.51.100.1")],
        [("x-client-id", "b"), ("x-forwarded-for", "198.51.100.2")],
    ] {
        let client_address = proxies.client(address, head("GET", "/", &fields).fields());
        let context =
            SecurityContext { peer_address: Some(address), client_address, ..Default::default() };
        assert_eq!(context, from("192.0.2.1"));
    }
}

#[test]
fn the_hash_of_a_key_is_not_shown() {
    let key = Subject::ApiKey { label: "ci".into(), digest: KeyDigest([0xa5; 32]) };
    let context = SecurityContext { principal: Some(principal(key)), ..Default::default() };
    let shown = format!("{context:?} {:?}", context.client_key());
    assert!(shown.contains("ci") && !shown.contains("165") && !shown.contains("a5"), "{shown}");
}
