//! Where an answer sends a call next.

use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, EXPECT, PROXY_AUTHORIZATION};
use http::{HeaderName, Method, StatusCode};
use sinew_core::client::redirect::{
    Content, Credentials, Hop, MAX_LOCATION, Reach, RedirectPolicy, RedirectRefusal,
    RedirectVerdict, Redirects,
};
use sinew_core::origin::{Origin, Scheme};
use sinew_core::resilience::Replay;

fn call(max: u32, reach: Reach, method: Method, url: &str) -> Redirects {
    let (scheme, rest) = url.split_once("://").unwrap();
    let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
    let (authority, target) = rest.split_at(rest.find('/').unwrap());
    let origin = Origin::new(scheme, authority).unwrap();
    Redirects::new(RedirectPolicy { max, reach }, method, origin, target.to_owned())
}

fn anywhere(method: Method, url: &str) -> Redirects {
    call(10, Reach::Anywhere, method, url)
}

fn judge(redirects: &mut Redirects, status: u16, location: &str) -> Result<Hop, RedirectRefusal> {
    let status = StatusCode::from_u16(status).unwrap();
    match redirects.judge(status, [location.as_bytes()], Replay::Possible) {
        RedirectVerdict::Follow(hop) => Ok(hop),
        RedirectVerdict::Refuse(why) => Err(why),
        RedirectVerdict::Answer => panic!("{status} is an answer"),
    }
}

fn url(hop: &Hop) -> String {
    format!("{}{}", hop.origin, hop.target)
}

/// Where a reference leads, from there.
fn resolved(base: &str, reference: &str) -> Option<String> {
    let hop = judge(&mut anywhere(Method::GET, base), 302, reference);
    hop.map(|hop| url(&hop)).ok()
}

#[test]
fn references_are_resolved_as_the_rfc_says() {
    // https://www.rfc-editor.org/rfc/rfc3986#section-5.4
    for (reference, expected) in [
        ("g", "/b/c/g"),
        ("./g", "/b/c/g"),
        ("g/", "/b/c/g/"),
        ("/g", "/g"),
        ("?y", "/b/c/d;p?y"),
        ("g?y", "/b/c/g?y"),
        ("g#s", "/b/c/g"),
        ("g?y#s", "/b/c/g?y"),
        (";x", "/b/c/;x"),
        ("g;x?y#s", "/b/c/g;x?y"),
        (".", "/b/c/"),
        ("./", "/b/c/"),
        ("..", "/b/"),
        ("../", "/b/"),
        ("../g", "/b/g"),
        ("../..", "/"),
        ("../../g", "/g"),
        ("../../../g", "/g"),
        ("/./g", "/g"),
        ("/../g", "/g"),
        ("g.", "/b/c/g."),
        ("..g", "/b/c/..g"),
        ("./../g", "/b/g"),
        ("./g/.", "/b/c/g/"),
        ("g/../h", "/b/c/h"),
        ("g?y/../x", "/b/c/g?y/../x"),
    ] {
        let expected = format!("http://a{expected}");
        assert_eq!(resolved("http://a/b/c/d;p?q", reference), Some(expected), "{reference}");
    }
    for (reference, expected) in [
        ("//g", "http://g/"),
        ("//g:80/x", "http://g/x"),
        ("HTTPS://G:8443?x#s", "https://g:8443/?x"),
        ("http://[::1]:81/a/../b", "http://[::1]:81/b"),
    ] {
        assert_eq!(resolved("http://a/b", reference).as_deref(), Some(expected), "{reference}");
    }
}

#[test]
fn what_is_no_place_for_a_request_is_refused() {
    for reference in [
        "ftp://a/",
        "javascript:alert(1)",
        "http:g",
        "https:/g",
        "http://",
        "http:///g",
        "http://u:p@b/",
        "//u@b/",
        "http://b:x/",
        "http://b:99999/",
        "//b\\c/",
        "/a b",
        "/a\\b",
        "/a\"b",
        "/ä",
        "/a\tb",
    ] {
        assert_eq!(resolved("http://a/b", reference), None, "{reference}");
    }
    let long = format!("/{}", "x".repeat(MAX_LOCATION));
    assert_eq!(resolved("http://a/b", &long), None);
    let mut twice = anywhere(Method::GET, "http://a/b");
    let verdict = twice.judge(StatusCode::FOUND, [&b"/x"[..], b"/y"], Replay::Possible);
    assert_eq!(verdict, RedirectVerdict::Refuse(RedirectRefusal::Location));
}

#[test]
fn only_redirects_that_say_where_to_are_redirects() {
    for status in [200, 201, 204, 300, 304, 305, 306, 400, 401, 503] {
        let mut call = anywhere(Method::GET, "http://a/b");
        let status = StatusCode::from_u16(status).unwrap();
        let verdict = call.judge(status, [&b"/c"[..]], Replay::Possible);
        assert_eq!(verdict, RedirectVerdict::Answer, "{status}");
    }
    let mut nowhere = anywhere(Method::GET, "http://a/b");
    let none: [&[u8]; 0] = [];
    let verdict = nowhere.judge(StatusCode::FOUND, none, Replay::Possible);
    assert_eq!(verdict, RedirectVerdict::Answer);
    let mut tunnel = anywhere(Method::CONNECT, "http://a/b");
    let verdict = tunnel.judge(StatusCode::FOUND, [&b"/c"[..]], Replay::Possible);
    assert_eq!(verdict, RedirectVerdict::Answer);
}

#[test]
fn the_method_and_the_body_go_along_or_not() {
    use Content::{Drop, Keep};
    let cases = [
        (301, Method::POST, Method::GET, Drop),
        (302, Method::POST, Method::GET, Drop),
        (303, Method::POST, Method::GET, Drop),
        (307, Method::POST, Method::POST, Keep),
        (308, Method::POST, Method::POST, Keep),
        (301, Method::PUT, Method::PUT, Keep),
        (302, Method::DELETE, Method::DELETE, Keep),
        (303, Method::PUT, Method::GET, Drop),
        (303, Method::HEAD, Method::HEAD, Drop),
        (301, Method::HEAD, Method::HEAD, Keep),
        (308, Method::GET, Method::GET, Keep),
    ];
    for (status, method, then, content) in cases {
        let hop = judge(&mut anywhere(method.clone(), "http://a/b"), status, "/c").unwrap();
        assert_eq!((hop.method, hop.content), (then, content), "{status} {method}");
        let mut gone = anywhere(method.clone(), "http://a/b");
        let status = StatusCode::from_u16(status).unwrap();
        let verdict = gone.judge(status, [&b"/c"[..]], Replay::Impossible);
        let refused = RedirectVerdict::Refuse(RedirectRefusal::Body);
        assert_eq!(verdict == refused, content == Keep, "{status} {method}: {verdict:?}");
    }
    // What was dropped does not come back.
    let mut call = anywhere(Method::POST, "http://a/b");
    judge(&mut call, 303, "/c").unwrap();
    let hop = judge(&mut call, 307, "/d").unwrap();
    assert_eq!((hop.method, hop.content), (Method::GET, Drop));
}

#[test]
fn credentials_do_not_leave_their_origin_and_do_not_come_back() {
    let mut call = anywhere(Method::GET, "https://a/b");
    let mut kept = |location: &str| judge(&mut call, 302, location).unwrap().credentials;
    assert_eq!(kept("/c"), Credentials::Keep);
    assert_eq!(kept("https://A:443/d"), Credentials::Keep);
    assert_eq!(kept("https://a:444/e"), Credentials::Drop);
    assert_eq!(kept("https://a/f"), Credentials::Drop);

    for (name, sensitive, is_credential) in [
        (AUTHORIZATION, false, true),
        (COOKIE, false, true),
        (PROXY_AUTHORIZATION, false, true),
        (HeaderName::from_static("x-api-key"), true, true),
        (HeaderName::from_static("x-api-key"), false, false),
        (CONTENT_TYPE, false, false),
    ] {
        assert!(Credentials::Keep.keeps(&name, sensitive));
        assert_eq!(Credentials::Drop.keeps(&name, sensitive), !is_credential, "{name}");
    }
    for (name, of_content) in [(CONTENT_TYPE, true), (EXPECT, true), (AUTHORIZATION, false)] {
        assert!(Content::Keep.keeps(&name));
        assert_eq!(Content::Drop.keeps(&name), !of_content, "{name}");
    }
}

#[test]
fn no_further_than_the_policy_says() {
    let refused = |base: &str, reach, location: &str| {
        judge(&mut call(10, reach, Method::GET, base), 302, location).err()
    };
    for reach in [Reach::SameOrigin, Reach::Anywhere] {
        let downgrade = Some(RedirectRefusal::Downgrade);
        assert_eq!(refused("https://a/b", reach, "http://a/b"), downgrade);
        assert_eq!(refused("https://a/b", reach, "http://c/b"), downgrade);
        assert_eq!(refused("https://a/b", reach, "/c"), None);
    }
    let elsewhere = Some(RedirectRefusal::Elsewhere);
    for location in ["http://c/b", "http://a:81/b", "https://a/b"] {
        assert_eq!(refused("http://a/b", Reach::SameOrigin, location), elsewhere);
        assert_eq!(refused("http://a/b", Reach::Anywhere, location), None);
    }
}

#[test]
fn circles_and_endless_chains_end() {
    let mut circle = anywhere(Method::GET, "http://a/1");
    judge(&mut circle, 302, "/2").unwrap();
    judge(&mut circle, 302, "//b/1").unwrap();
    assert_eq!(judge(&mut circle, 302, "http://a/1#x"), Err(RedirectRefusal::Loop));
    // Another method is another request.
    let mut form = anywhere(Method::POST, "http://a/1");
    assert_eq!(judge(&mut form, 303, "/1").unwrap().method, Method::GET);
    assert_eq!(judge(&mut form, 303, "/1"), Err(RedirectRefusal::Loop));

    for max in [0, 1, 10] {
        let mut endless = call(max, Reach::SameOrigin, Method::GET, "http://a/0");
        let followed = (1..).take_while(|n| {
            judge(&mut endless, 307, &format!("/{n}")) != Err(RedirectRefusal::TooMany)
        });
        assert_eq!(followed.count(), max as usize);
    }
}
