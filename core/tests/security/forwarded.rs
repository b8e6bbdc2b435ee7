use core::net::IpAddr;

use proptest::prelude::*;
use sinew_core::origin::Scheme;
use sinew_core::security::{Forwarded, ForwardedField, TrustedProxies};

use super::head;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn client(field: ForwardedField, peer: &str, lines: &[(&str, &str)]) -> Option<IpAddr> {
    let networks = ["10.0.0.0/8", "2001:db8:aa::/48"].map(|text| text.parse().unwrap());
    TrustedProxies::new(networks, field).client(ip(peer), head("GET", "/", lines).fields())
}

fn x_forwarded_for(peer: &str, lines: &[&str]) -> Option<IpAddr> {
    let lines: Vec<_> = lines.iter().map(|line| ("X-Forwarded-For", *line)).collect();
    client(ForwardedField::XForwardedFor, peer, &lines)
}

fn forwarded(peer: &str, lines: &[&str]) -> Option<IpAddr> {
    let lines: Vec<_> = lines.iter().map(|line| ("Forwarded", *line)).collect();
    client(ForwardedField::Forwarded, peer, &lines)
}

#[test]
fn a_stranger_is_not_believed() {
    assert_eq!(x_forwarded_for("192.0.2.1", &["10.0.0.9"]), Some(ip("192.0.2.1")));
    assert_eq!(forwarded("192.0.2.1", &["for=10.0.0.9"]), Some(ip("192.0.2.1")));
    assert_eq!(x_forwarded_for("::ffff:192.0.2.1", &["1.1.1.1"]), Some(ip("192.0.2.1")));
}

#[test]
fn the_list_is_read_from_the_right() {
    for (lines, expected) in [
        (&["192.0.2.1"][..], Some("192.0.2.1")),
        (&["6.6.6.6, 192.0.2.1"], Some("192.0.2.1")),
        (&["6.6.6.6, 192.0.2.1, 10.1.1.1"], Some("192.0.2.1")),
        (&["6.6.6.6", "192.0.2.1", "10.1.1.1, 10.2.2.2"], Some("192.0.2.1")),
        (&["garbage, 192.0.2.1"], Some("192.0.2.1")),
        (&["10.3.3.3, 10.1.1.1"], Some("10.3.3.3")),
        (&["10.3.3.3, 192.0.2.1, 10.1.1.1"], Some("192.0.2.1")),
        (&["192.0.2.1:4711, ,"], Some("192.0.2.1")),
        (&["[2001:db8::1]:80"], Some("2001:db8::1")),
        (&["[2001:db8::1]"], Some("2001:db8::1")),
        (&["2001:db8::1, 2001:db8:aa::7"], Some("2001:db8::1")),
        (&["::ffff:192.0.2.1"], Some("192.0.2.1")),
        (&["192.0.2.1, unknown"], None),
        (&["192.0.2.1, unknown, 10.1.1.1"], None),
        (&["192.0.2.1, 192.0.2.2.3"], None),
        (&[""], None),
        (&[], None),
    ] {
        assert_eq!(x_forwarded_for("10.0.0.1", lines), expected.map(ip), "{lines:?}");
    }
}

fn all(field: ForwardedField, peer: &str, name: &str, line: &str) -> Option<Forwarded> {
    let networks = ["10.0.0.0/8".parse().unwrap()];
    let proxies = TrustedProxies::new(networks, field);
    proxies.forwarded(Some(ip(peer)), head("GET", "/", &[(name, line)]).fields())
}

#[test]
fn what_the_client_asked_for_is_what_the_outermost_proxy_says() {
    let told = |client: Option<&str>, proto, host: Option<&str>| {
        Some(Forwarded { client: client.map(ip), proto, host: host.map(Box::from) })
    };
    let https = Some(Scheme::Https);
    for (line, expected) in [
        (
            "for=192.0.2.1;proto=https;host=a.test, for=10.1.1.1;proto=http;host=inner",
            told(Some("192.0.2.1"), https, Some("a.test")),
        ),
        ("for=6.6.6.6;proto=http, for=192.0.2.1;proto=HTTPS", told(Some("192.0.2.1"), https, None)),
        (r#"for=192.0.2.1;host="a.test:8443""#, told(Some("192.0.2.1"), None, Some("a.test:8443"))),
        ("for=_hidden;proto=https", told(None, https, None)),
        ("for=192.0.2.1;proto=gopher;host=\"a b\"", told(Some("192.0.2.1"), None, None)),
        ("for=192.0.2.1;proto=https;proto=http", told(None, None, None)),
    ] {
        assert_eq!(
            all(ForwardedField::Forwarded, "10.0.0.1", "forwarded", line),
            expected,
            "{line}"
        );
    }
    let line = "for=192.0.2.1;proto=https";
    assert_eq!(all(ForwardedField::Forwarded, "192.0.2.9", "forwarded", line), None, "a stranger");
    let one = all(ForwardedField::XForwardedFor, "10.0.0.1", "x-forwarded-for", "192.0.2.1");
    assert_eq!(one, told(Some("192.0.2.1"), None, None));
    let one = all(ForwardedField::XForwardedFor, "10.0.0.1", "x-forwarded-proto", "https");
    assert_eq!(one, told(None, None, None));
}

#[test]
fn the_standard_field_is_read_strictly() {
    for (lines, expected) in [
        (&["for=192.0.2.1"][..], Some("192.0.2.1")),
        (&["For=\"192.0.2.1:80\";proto=https;by=10.0.0.1"], Some("192.0.2.1")),
        (&["by=10.0.0.1 ; for=192.0.2.1"], Some("192.0.2.1")),
        (&["for=6.6.6.6, for=192.0.2.1, for=10.1.1.1"], Some("192.0.2.1")),
        (&["for=\"[2001:db8::1]:4711\""], Some("2001:db8::1")),
        (&["for=unknown, for=192.0.2.1"], Some("192.0.2.1")),
        (&["host=\"a, b\";for=192.0.2.1"], Some("192.0.2.1")),
        (&["for=192.0.2.1, for=_hidden"], None),
        (&["for=192.0.2.1, by=10.0.0.1"], None),
        (&["for=192.0.2.1;for=192.0.2.2"], None),
        (&["for=192.0.2.1;"], None),
        (&["for"], None),
        (&["for=192.0.2.1 for=192.0.2.2"], None),
        (&["=192.0.2.1"], None),
    ] {
        assert_eq!(forwarded("10.0.0.1", lines), expected.map(ip), "{lines:?}");
    }
}

/// The client cannot hide what a proxy appends by opening a quote or by other garbage.
#[test]
fn an_open_quote_hides_nothing() {
    for forged in
        ["for=1.1.1.1, for=\"", "for=1.1.1.1;by=\"a\\", "for=1.1.1.1, \"", "for=\"1.1.1.1"]
    {
        for appended in ["for=192.0.2.1", "for=\"[2001:db8::1]:80\"", "for=\"192.0.2.1\";by=\"x\""]
        {
            let one_line = forwarded("10.0.0.1", &[&format!("{forged}, {appended}")]);
            assert_eq!(one_line, None, "{forged}, {appended}");
            let own_line = forwarded("10.0.0.1", &[forged, appended]);
            assert!(own_line == Some(ip("192.0.2.1")) || own_line == Some(ip("2001:db8::1")));
        }
    }
}

#[test]
fn only_the_field_that_the_proxies_write_is_read() {
    let lines = [("forwarded", "for=1.1.1.1"), ("x-forwarded-for", "192.0.2.1")];
    let read = |field| client(field, "10.0.0.1", &lines);
    assert_eq!(read(ForwardedField::Forwarded), Some(ip("1.1.1.1")));
    assert_eq!(read(ForwardedField::XForwardedFor), Some(ip("192.0.2.1")));
}

proptest! {
    /// Whatever a client sends, what our proxy appends decides, or nobody knows.
    #[test]
    fn a_client_chooses_no_address(forged in "[ -~]{0,40}", standard: bool) {
        let found = if standard {
            forwarded("10.0.0.1", &[&format!("{forged}, for=192.0.2.1")])
        } else {
            x_forwarded_for("10.0.0.1", &[&format!("{forged}, 192.0.2.1")])
        };
        prop_assert!(found.is_none() || found == Some(ip("192.0.2.1")), "{:?}", found);
        prop_assert!(standard || found.is_some());
    }
}
