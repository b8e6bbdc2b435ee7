//! Web origins as browsers serialise them: <https://www.rfc-editor.org/rfc/rfc6454#section-6.2>

use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr};

/// Why a configured origin is refused: it could never be what a browser sends, or it would stand
/// for more than anyone can mean.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum BadOrigin {
    /// `null` is what every sandboxed page sends: it names nobody.
    Null,
    /// No `scheme://` in lower case in front.
    Scheme,
    /// The host is empty, has capitals or bytes that no host has, or an address in a form that
    /// browsers do not write. Names beyond ASCII stand as `xn--`.
    Host,
    /// The port is no number from 1 to 65535 without leading zeros.
    Port,
    /// Browsers leave the default port of a scheme out.
    DefaultPort,
    /// Something stands behind the host and port, if only a slash.
    Trailing,
    /// A `*` that is not the whole first label, or with fewer than two labels behind it
    /// (`localhost` apart).
    Wildcard,
}

impl BadOrigin {
    /// One phrase in plain words.
    pub const fn explain(self) -> &'static str {
        match self {
            Self::Null => "null is what every sandboxed page sends, it names nobody",
            Self::Scheme => "an origin starts with a scheme in lower case and ://",
            Self::Host => "the host is not as browsers write it: lower case, ASCII, no user",
            Self::Port => "the port is not a number from 1 to 65535",
            Self::DefaultPort => "browsers leave out the default port of a scheme",
            Self::Trailing => "an origin ends with its host or port, without a slash",
            Self::Wildcard => "a * stands for the whole first of at least three labels",
        }
    }
}

impl fmt::Display for BadOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.explain())
    }
}

impl core::error::Error for BadOrigin {}

/// `https://*.example.org`: every origin with exactly one label in the place of the `*`, as in
/// certificates. <https://www.rfc-editor.org/rfc/rfc9525#section-6.3>
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct OriginPattern {
    /// `https://`
    scheme: Box<[u8]>,
    /// `.example.org`, with the port if there is one
    rest: Box<[u8]>,
}

/// An origin of a configuration.
pub(super) enum Configured<'a> {
    Exact(&'a str),
    Pattern(OriginPattern),
}

impl OriginPattern {
    /// Whether an `Origin` is one of those meant.
    pub(super) fn matches(&self, origin: &[u8]) -> bool {
        // The label is checked byte by byte, so nothing but a label can stand in for the `*`: no
        // dot, no port, no user.
        origin
            .strip_prefix(&*self.scheme)
            .and_then(|rest| rest.strip_suffix(&*self.rest))
            .is_some_and(is_label)
    }
}

/// Reads an origin of a configuration, strictly: it is compared octet for octet later on.
pub(super) fn parse(text: &str) -> Result<Configured<'_>, BadOrigin> {
    if text == "null" {
        return Err(BadOrigin::Null);
    }
    let (scheme, authority) = text.split_once("://").ok_or(BadOrigin::Scheme)?;
    // https://www.rfc-editor.org/rfc/rfc3986#section-3.1
    let in_scheme =
        |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.');
    if !scheme.starts_with(|c: char| c.is_ascii_lowercase()) || !scheme.bytes().all(in_scheme) {
        return Err(BadOrigin::Scheme);
    }
    if authority.contains(['/', '?', '#']) {
        return Err(BadOrigin::Trailing);
    }
    let (host, port) = match authority.rsplit_once(':') {
        // A colon within brackets belongs to the address.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    if let Some(port) = port {
        check_port(scheme, port)?;
    }
    let Some(suffix) = host.strip_prefix('*') else {
        return if host.contains('*') {
            Err(BadOrigin::Wildcard)
        } else if is_host(host) {
            Ok(Configured::Exact(text))
        } else {
            Err(BadOrigin::Host)
        };
    };
    let parent = suffix.strip_prefix('.').ok_or(BadOrigin::Wildcard)?;
    if parent.contains('*') || !(parent.contains('.') || parent == "localhost") {
        return Err(BadOrigin::Wildcard);
    }
    // Below an address there are no names.
    if !is_host(parent) || parent.parse::<Ipv4Addr>().is_ok() {
        return Err(BadOrigin::Host);
    }
    let (scheme, rest) = text.as_bytes().split_at(scheme.len() + 3);
    Ok(Configured::Pattern(OriginPattern { scheme: scheme.into(), rest: rest[1..].into() }))
}

fn check_port(scheme: &str, port: &str) -> Result<(), BadOrigin> {
    let number: u16 = port.parse().map_err(|_| BadOrigin::Port)?;
    if number == 0 || number.to_string() != port {
        return Err(BadOrigin::Port);
    }
    // https://url.spec.whatwg.org/#special-scheme
    let default = match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        "ftp" => Some(21),
        _ => None,
    };
    if default == Some(number) { Err(BadOrigin::DefaultPort) } else { Ok(()) }
}

/// A host as browsers serialise it: <https://url.spec.whatwg.org/#host-serializing>
fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse().is_ok_and(|parsed| address == serialise(parsed));
    }
    let ends_in_number = host
        .rsplit('.')
        .next()
        .is_some_and(|last| !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()));
    if ends_in_number {
        // https://url.spec.whatwg.org/#ends-in-a-number-checker
        return host.parse::<Ipv4Addr>().is_ok();
    }
    host.split('.').all(|label| is_label(label.as_bytes()))
}

/// <https://url.spec.whatwg.org/#concept-ipv6-serializer>: no dotted quad at the end.
fn serialise(address: Ipv6Addr) -> String {
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] => format!("::ffff:{high:x}:{low:x}"),
        _ => address.to_string(),
    }
}

fn is_label(label: &[u8]) -> bool {
    let in_label =
        |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
    !label.is_empty() && label.iter().all(in_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_browsers_send_is_taken() {
        for text in [
            "http://a",
            "https://app.example.org",
            "http://127.0.0.1:9991",
            "http://[::1]:8080",
            "http://[::ffff:102:304]",
            "https://xn--bcher-kva.example",
            "https://a_b.example",
            "http://localhost:443",
            "https://localhost:80",
            "chrome-extension://abcdef",
        ] {
            assert!(matches!(parse(text), Ok(Configured::Exact(exact)) if exact == text), "{text}");
        }
    }

    #[test]
    fn what_browsers_never_send_is_refused() {
        for (text, why) in [
            ("null", BadOrigin::Null),
            ("", BadOrigin::Scheme),
            ("*", BadOrigin::Scheme),
            ("app.test", BadOrigin::Scheme),
            ("HTTPS://app.test", BadOrigin::Scheme),
            ("://app.test", BadOrigin::Scheme),
            ("1a://app.test", BadOrigin::Scheme),
            ("https://app.test/", BadOrigin::Trailing),
            ("https://app.test/path", BadOrigin::Trailing),
            ("https://app.test?q", BadOrigin::Trailing),
            ("https://App.test", BadOrigin::Host),
            ("https://", BadOrigin::Host),
            ("https://:8080", BadOrigin::Host),
            ("https://a..b", BadOrigin::Host),
            ("https://a.b.", BadOrigin::Host),
            ("https://user@app.test", BadOrigin::Host),
            ("https://b\u{fc}cher.example", BadOrigin::Host),
            ("https://app.test\r\nX: y", BadOrigin::Port),
            ("https://app.test\r\n", BadOrigin::Host),
            ("https://app test", BadOrigin::Host),
            ("https://1.2.3", BadOrigin::Host),
            ("https://01.2.3.4", BadOrigin::Host),
            ("https://[::0001]", BadOrigin::Host),
            ("https://[::FFFF]", BadOrigin::Host),
            ("https://[::ffff:1.2.3.4]", BadOrigin::Host),
            ("https://[::1", BadOrigin::Host),
            ("https://app.test:", BadOrigin::Port),
            ("https://app.test:0", BadOrigin::Port),
            ("https://app.test:080", BadOrigin::Port),
            ("https://app.test:+8080", BadOrigin::Port),
            ("https://app.test:65536", BadOrigin::Port),
            ("https://app.test:443", BadOrigin::DefaultPort),
            ("http://app.test:80", BadOrigin::DefaultPort),
            ("https://*", BadOrigin::Wildcard),
            ("https://*.org", BadOrigin::Wildcard),
            ("https://*example.org", BadOrigin::Wildcard),
            ("https://a.*.example.org", BadOrigin::Wildcard),
            ("https://*.*.example.org", BadOrigin::Wildcard),
            ("https://*.0.0.1", BadOrigin::Host),
            ("https://*.127.0.0.1", BadOrigin::Host),
            ("https://*.example..org", BadOrigin::Host),
        ] {
            assert_eq!(parse(text).err(), Some(why), "{text:?}");
        }
    }

    #[test]
    fn a_pattern_stands_for_one_label() {
        let matches = |pattern: &str, origin: &str| match parse(pattern) {
            Ok(Configured::Pattern(pattern)) => pattern.matches(origin.as_bytes()),
            _ => panic!("{pattern} is no pattern"),
        };
        let pattern = "https://*.example.org";
        for origin in ["https://a.example.org", "https://a-b_1.example.org"] {
            assert!(matches(pattern, origin), "{origin}");
        }
        for origin in [
            "null",
            "",
            "https://example.org",
            "https://.example.org",
            "https://a.b.example.org",
            "https://aexample.org",
            "https://a.example.org.evil.test",
            "https://a.example.org:8443",
            "http://a.example.org",
            "https://A.example.org",
            "https://evil.test/.example.org",
            "https://evil.test:1.example.org",
            "https://u@a.example.org",
            "https://evil%2eexample.org",
            "https://*.example.org",
            "https://a.example.org ",
            "https://.example.orghttps://a.example.org",
        ] {
            assert!(!matches(pattern, origin), "{origin}");
        }
        assert!(matches("http://*.localhost:3000", "http://app.localhost:3000"));
        assert!(!matches("http://*.localhost:3000", "http://app.localhost"));
    }
}
