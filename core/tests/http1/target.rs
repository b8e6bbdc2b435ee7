//! Targets and hosts: <https://www.rfc-editor.org/rfc/rfc9112#section-3.2>

use sinew_core::error::{Kind, Violation};
use sinew_core::head::TargetForm;

use crate::told::{head, refused};

fn asked(method: &str, target: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: b:1\r\n\r\n")
}

#[test]
fn a_target_is_split_once() {
    use TargetForm::{Absolute, Asterisk, Authority, Origin};
    for (method, target, form, path, query, authority) in [
        ("GET", "/", Origin, "/", None, "b:1"),
        ("GET", "/a/b", Origin, "/a/b", None, "b:1"),
        ("GET", "/a?", Origin, "/a", Some(""), "b:1"),
        ("GET", "/?b?c", Origin, "/", Some("b?c"), "b:1"),
        ("GET", "/12345678901234567890?x", Origin, "/12345678901234567890", Some("x"), "b:1"),
        ("GET", "//x/y", Origin, "//x/y", None, "b:1"),
        ("GET", "/a%2Fb?%", Origin, "/a%2Fb", Some("%"), "b:1"),
        ("GET", "http://a", Absolute, "/", None, "a"),
        ("GET", "HTTPS://a.b:80/c/d?e", Absolute, "/c/d", Some("e"), "a.b:80"),
        ("GET", "http://a?q", Absolute, "/", Some("q"), "a"),
        ("GET", "http://[::1]:8/x", Absolute, "/x", None, "[::1]:8"),
        ("OPTIONS", "*", Asterisk, "*", None, "b:1"),
        ("CONNECT", "c:443", Authority, "", None, "c:443"),
        ("CONNECT", "[::1]:443", Authority, "", None, "[::1]:443"),
    ] {
        let head = head(asked(method, target));
        assert_eq!(head.target(), target);
        assert_eq!((head.target_form(), head.path(), head.query()), (form, path, query));
        assert_eq!(head.authority(), Some(authority));
        assert!(!head.as_bytes().is_empty());
    }
}

#[test]
fn targets_that_could_be_read_as_something_else_are_refused() {
    for (method, target) in [
        ("GET", "a"),
        ("GET", "*"),
        ("GET", "?a"),
        ("GET", "ftp://a/"),
        ("GET", "http:/a"),
        ("GET", "http:a/b"),
        ("GET", "http://"),
        ("GET", "http:///b"),
        ("GET", "http://u@a/"),
        ("GET", "http://a,b/"),
        ("GET", "http://a:x/"),
        ("GET", "http://[::1/"),
        ("GET", "xhttp://a/"),
        ("GET", "/%"),
        ("GET", "/%2"),
        ("GET", "/%2x"),
        ("GET", "/%g0"),
        ("GET", "http://a/%2"),
        ("OPTIONS", "**"),
        ("CONNECT", "*"),
        ("CONNECT", "a"),
        ("CONNECT", "a:"),
        ("CONNECT", ":443"),
        ("CONNECT", "a:443/"),
        ("CONNECT", "http://a:443"),
    ] {
        assert_eq!(refused(asked(method, target)), Kind::Peer(Violation::Target), "{target}");
    }
}

#[test]
fn every_byte_has_its_place_in_a_path() {
    for byte in (0x21..=255u8).filter(|byte| *byte != b'%') {
        for at in [0, 5, 20] {
            let mut input = b"GET /".to_vec();
            input.extend_from_slice(&[b'a'; 22]);
            input[5 + at] = byte;
            let target = input[4..].to_vec();
            input.extend_from_slice(b" HTTP/1.1\r\nhost: a\r\n\r\n");
            let sound = byte < 0x7f && !b"#\\\"<>".contains(&byte);
            if sound {
                assert_eq!(head(&input).target().as_bytes(), target);
                let query = (byte == b'?').then(|| "a".repeat(21 - at));
                assert_eq!(head(&input).query(), query.as_deref());
            } else {
                assert_eq!(refused(&input), Kind::Peer(Violation::Target), "{byte:#x} at {at}");
            }
        }
    }
}

#[test]
fn a_host_is_a_name_or_an_address_and_maybe_a_port() {
    let host = |value: &str| format!("GET / HTTP/1.1\r\nHost: {value}\r\n\r\n");
    for sound in [
        "a",
        "a.b-c_d~e",
        "long.name.of.a.host.test",
        "a:",
        "a:0",
        "a:65535",
        "a:00080",
        "1.2.3.4:5",
        "[::1]",
        "[::1]:80",
        "!$&'()*+;=",
    ] {
        assert_eq!(head(host(sound)).authority(), Some(sound));
    }
    for bad in [
        "",
        ":80",
        "a:65536",
        "a:99999999999",
        "a:4294967376",
        "a:8x",
        "a:80:80",
        "a b",
        "a/b",
        "a,b",
        "a@b",
        "a%41",
        "a\u{e9}",
        "12345678/",
        "123456/8901",
        "[::1",
        "[]",
        "[::g]",
        "[1.2.3.4]",
        "[::1]x",
        "::1",
    ] {
        assert_eq!(refused(host(bad)), Kind::Peer(Violation::Host), "{bad}");
    }
}
