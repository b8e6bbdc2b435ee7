//! Whom a request goes to: scheme, host and port.

use core::fmt;
use core::net::Ipv6Addr;

use crate::head::is_host;

/// HTTP in the clear, or over TLS.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Scheme {
    /// `http`
    #[default]
    Http,
    /// `https`
    Https,
}

impl Scheme {
    /// As it stands in URLs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// Where no other port is named.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    /// Schemes compare case-insensitively.
    pub(crate) fn named(name: &[u8]) -> Option<Self> {
        [Self::Http, Self::Https]
            .into_iter()
            .find(|scheme| name.eq_ignore_ascii_case(scheme.name().as_bytes()))
    }
}

/// An origin. Two of them are the same if scheme, host and port are.
/// <https://www.rfc-editor.org/rfc/rfc9110#section-4.3.1>
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Origin {
    scheme: Scheme,
    /// In lower case; an IPv6 address in its shortest form, without brackets.
    host: Box<str>,
    port: u16,
}

/// Text that is no authority: a host, and perhaps a port.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BadAuthority;

impl Origin {
    /// The origin of `host[:port]`. User information is refused:
    /// <https://www.rfc-editor.org/rfc/rfc9110#section-4.2.4>
    ///
    /// # Errors
    ///
    /// It is no authority.
    pub fn new(scheme: Scheme, authority: &str) -> Result<Self, BadAuthority> {
        if !is_host(authority.as_bytes()) {
            return Err(BadAuthority);
        }
        let (host, port) = match authority.rsplit_once(':') {
            // A colon within brackets belongs to the address.
            Some((host, port)) if !port.ends_with(']') => (host, port),
            _ => (authority, ""),
        };
        let port = match port {
            "" => scheme.default_port(),
            digits => digits.parse().map_err(|_| BadAuthority)?,
        };
        let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let host = match address {
            Some(address) => {
                address.parse::<Ipv6Addr>().map_err(|_| BadAuthority)?.to_string().into()
            }
            None => host.to_ascii_lowercase().into(),
        };
        Ok(Self { scheme, host, port })
    }

    /// The scheme.
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host in lower case, an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Host and port as they stand in `Host`: without the port that the scheme implies.
    pub fn authority(&self) -> String {
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        if self.port == self.scheme.default_port() {
            format!("{open}{}{close}", self.host)
        } else {
            format!("{open}{}{close}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.name(), self.authority())
    }
}

impl fmt::Display for BadAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a host with an optional port")
    }
}

impl core::error::Error for BadAuthority {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_origin_is_the_same_however_it_is_written() {
        let origin = |scheme, text| Origin::new(scheme, text).unwrap();
        for (scheme, a, b, shown) in [
            (Scheme::Https, "API.test", "api.test:443", "https://api.test"),
            (Scheme::Http, "api.test:", "api.test:080", "http://api.test"),
            (Scheme::Https, "[::1]:80", "[0:0::0:1]:80", "https://[::1]:80"),
        ] {
            assert_eq!(origin(scheme, a), origin(scheme, b));
            assert_eq!(origin(scheme, a).to_string(), shown);
        }
        let https = origin(Scheme::Https, "a:80");
        assert_ne!(https, origin(Scheme::Http, "a"));
        assert_ne!(https, origin(Scheme::Https, "a"));
        assert_ne!(https, origin(Scheme::Https, "a.:80"));
    }

    #[test]
    fn what_is_no_authority_is_refused() {
        for text in ["", ":80", "a:b", "a:65536", "u@a", "a b", "a/", "a\\b", "[::1", "::1", "a,b"]
        {
            assert_eq!(Origin::new(Scheme::Http, text), Err(BadAuthority), "{text}");
        }
    }
}
