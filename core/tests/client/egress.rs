//! Whom a client may talk to.

use sinew_core::security::{Answerer, BadPattern, EgressPolicy, EgressRefusal, TlsVersion};

fn to(destinations: &[&str]) -> EgressPolicy {
    let destinations = destinations.iter().map(|text| text.parse().unwrap()).collect();
    EgressPolicy { destinations, ..EgressPolicy::default() }
}

fn of(servers: &[&str]) -> EgressPolicy {
    let servers = servers.iter().map(|text| text.parse().unwrap()).collect();
    EgressPolicy { servers, ..EgressPolicy::default() }
}

#[test]
fn only_what_is_listed_may_be_reached() {
    for (pattern, inside, outside) in [
        ("billing.test", &[("billing.test", 1), ("BILLING.test", 2)][..], ("a.billing.test", 1)),
        ("billing.test:443", &[("billing.test", 443)], ("billing.test", 444)),
        ("*.mesh.test", &[("a.mesh.test", 1), ("a.b.Mesh.test", 1)], ("mesh.test", 1)),
        ("*.mesh.test:80", &[("a.mesh.test", 80)], ("xmesh.test", 80)),
        ("10.0.0.0/8", &[("10.1.2.3", 1)], ("11.0.0.0", 1)),
        ("10.0.0.1:80", &[("10.0.0.1", 80)], ("10.0.0.2", 80)),
        ("[2001:db8::1]:80", &[("2001:db8:0::1", 80)], ("2001:db8::2", 80)),
        ("2001:db8::/32", &[("2001:db8::7", 1)], ("ten.test", 1)),
    ] {
        let policy = to(&["other.test", pattern]);
        for (host, port) in inside {
            assert_eq!(policy.check_destination(host, *port), Ok(()), "{pattern} {host}");
        }
        let (host, port) = outside;
        let refused = Err(EgressRefusal::Destination);
        assert_eq!(policy.check_destination(host, port), refused, "{pattern} {host}");
    }
    assert_eq!(EgressPolicy::default().check_destination("anywhere.test", 1), Ok(()));
}

#[test]
fn only_who_is_named_may_answer() {
    let dns = ["a.mesh.test", "billing.test"];
    let cart = Answerer {
        tls: TlsVersion::Tls12,
        spiffe: Some("spiffe://acme.test/ns/shop/cart"),
        dns: &dns,
    };
    for (pattern, means) in [
        ("spiffe://acme.test/ns/shop/cart", true),
        ("spiffe://acme.test/ns/shop/*", true),
        ("spiffe://acme.test/*", true),
        ("spiffe://acme.test/ns/shop/cart/*", false),
        ("spiffe://acme.test/ns/sho/*", false),
        ("spiffe://acme.test/ns/shop", false),
        ("billing.test", true),
        ("*.MESH.test", true),
        ("mesh.test", false),
        ("*.billing.test", false),
    ] {
        let expected = if means { Ok(()) } else { Err(EgressRefusal::Server) };
        assert_eq!(of(&[pattern]).check_server(Some(cart)), expected, "{pattern}");
    }
    let nobody = Answerer { spiffe: None, dns: &[], ..cart };
    assert_eq!(
        of(&["spiffe://acme.test/*"]).check_server(Some(nobody)),
        Err(EgressRefusal::Server)
    );
    assert_eq!(of(&["a.test"]).check_server(None), Err(EgressRefusal::Unidentified));
    assert_eq!(EgressPolicy::default().check_server(None), Ok(()));
    let new = EgressPolicy { tls: TlsVersion::Tls13, ..EgressPolicy::default() };
    assert_eq!(new.check_server(Some(cart)), Err(EgressRefusal::TlsVersion));
    assert_eq!(new.check_server(Some(Answerer { tls: TlsVersion::Tls13, ..cart })), Ok(()));
}

#[test]
fn patterns_that_mean_nothing_are_refused() {
    use sinew_core::security::{Destination, ServerPattern};
    for text in
        ["", "*", "*.", "a.*.test", "*a.test", "a:b", "a:0", "a:+1", "[a]", "u@a", "a/b", ".a"]
    {
        assert_eq!(text.parse::<Destination>(), Err(BadPattern), "{text}");
    }
    for text in
        ["", "*", "a:80", "spiffe://", "spiffe:///a", "spiffe://a/", "spiffe://a/*/b", "a b"]
    {
        assert_eq!(text.parse::<ServerPattern>(), Err(BadPattern), "{text}");
    }
}
