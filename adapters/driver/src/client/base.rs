//! The base URL: where to connect, whom to name, what to put in front of a path.

use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::sync::Arc;

use http::Method;
use sinew_core::client::dispatcher::Endpoint;
use sinew_core::http1::RequestLine;
use sinew_core::mesh::{Member, Weight, Zone, hash_key};
use sinew_core::origin::{Origin, Scheme};
use sinew_core::security::ServerPattern;

use super::service_endpoint::ServiceEndpoint;
use crate::error::Error;

/// Why an address is none of a socket's.
const LEAVES_SOCKET: &str = "a TCP address for a unix: URL would be spoken to in plaintext: give \
     .tls(…), or say .allow_plaintext() and .allow_plaintext_tokens()";

/// Why endpoints are none.
pub(super) const NO_ENDPOINT: &str = "no endpoint: no call could be made";

/// Where connections go.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Site {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

impl Site {
    /// One of several addresses of a service: `host[:port]`, with `port` where it has none, or
    /// `unix:/path/of/socket`.
    pub(super) fn parse(address: &str, port: u16) -> Result<Self, Error> {
        let refused = || Error::config(format!("{}: no address of an endpoint", shown(address)));
        if let Some(path) = address.strip_prefix("unix:") {
            let site = path.starts_with('/').then(|| Self::Unix(PathBuf::from(path)));
            return site.ok_or_else(refused);
        }
        let named = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
        if !address.chars().all(named) {
            return Err(refused());
        }
        let (host, port) = split_port(address, port).ok_or_else(refused)?;
        Ok(Self::tcp(host, port))
    }

    /// Hosts have no case, and an address of IPv6 is written in one way:
    /// <https://www.rfc-editor.org/rfc/rfc5952#section-4>
    fn tcp(host: &str, port: u16) -> Self {
        let host = match host.parse::<Ipv6Addr>() {
            Ok(address) => address.to_string(),
            Err(_) => host.to_ascii_lowercase(),
        };
        Self::Tcp { host, port }
    }

    /// As it is written: every site in one way, with its port.
    fn address(&self) -> String {
        match self {
            Self::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Self::Tcp { host, port } => format!("{host}:{port}"),
            Self::Unix(path) => format!("unix:{}", path.display()),
        }
    }
}

/// Where connections go, and who has to be there.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Instance {
    pub(super) site: Site,
    pub(super) identity: Option<ServerPattern>,
}

/// One of several instances of a service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Upstream {
    pub(super) instance: Instance,
    /// What was said of it.
    pub(super) told: ServiceEndpoint,
}

impl Upstream {
    /// `port`: that of an address without one.
    pub(super) fn parse(told: ServiceEndpoint, port: u16) -> Result<Self, Error> {
        let site = Site::parse(&told.address, port)?;
        let identity = told.identity.as_deref().map(str::parse).transpose().map_err(|_| {
            Error::config(format!("{}: an identity that is none", shown(&told.address)))
        })?;
        Ok(Self { instance: Instance { site, identity }, told })
    }

    /// As the dispatcher knows it.
    pub(super) fn member(&self, endpoint: Endpoint) -> Member {
        Member {
            weight: Weight::new(self.told.weight),
            zone: zone(&self.told.zone),
            // Not its number, which another client gives to another address, and not as it was told, which
            // another client may be in another way.
            hash: hash_key(self.instance.site.address().as_bytes()),
            ..Member::from(endpoint)
        }
    }
}

/// The number of a zone, in every client the same.
pub(super) const fn zone(name: &str) -> Zone {
    Zone(hash_key(name.as_bytes()) as u32)
}

/// A base URL, taken apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Base {
    pub(super) secure: bool,
    pub(super) site: Site,
    /// The value of `Host`.
    pub(super) authority: Arc<str>,
    /// The host alone, without brackets: whom the server's certificate must name.
    pub(super) server_name: String,
    /// What stands in front of every path, without a slash at its end.
    pub(super) prefix: String,
}

impl Base {
    /// `https://host[:port][/prefix]`, `http://…`, or `unix:/path/of/socket`; a socket is spoken to
    /// in plaintext unless `secure`.
    pub(super) fn parse(url: &str, secure: bool) -> Result<Self, Error> {
        let shown = shown(url);
        if let Some(path) = url.strip_prefix("unix:") {
            if !path.starts_with('/') {
                return Err(Error::config(format!("{shown}: a socket needs an absolute path")));
            }
            return Ok(Self {
                secure,
                site: Site::Unix(PathBuf::from(path)),
                authority: "localhost".into(),
                server_name: "localhost".to_owned(),
                prefix: String::new(),
            });
        }
        // Schemes have no case: https://www.rfc-editor.org/rfc/rfc3986#section-3.1
        let (secure, rest, port) = match url.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest, 443),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest, 80),
            _ => return Err(Error::config(format!("{shown}: not https://, http:// or unix:"))),
        };
        let (authority, prefix) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if prefix.contains(['?', '#']) || authority.contains(['?', '#']) {
            return Err(Error::config(format!("{shown}: a base has no query and no fragment")));
        }
        let (host, port) = split_port(authority, port)
            .ok_or_else(|| Error::config(format!("{shown}: not a host with an optional port")))?;
        if port == 0 {
            return Err(Error::config(format!("{shown}: nobody listens on port 0")));
        }
        if !host.is_ascii() {
            return Err(Error::config(format!("{shown}: a host is written in ASCII, as xn--…")));
        }
        // Every target begins with the prefix: what cannot stand in one is refused now.
        let target = if prefix.is_empty() { "/" } else { prefix };
        let line = RequestLine {
            method: &Method::GET,
            target: target.as_bytes(),
            authority: authority.as_bytes(),
        };
        line.check()
            .map_err(|why| Error::config(format!("{shown}: not a URL")).with_source(why))?;
        Ok(Self {
            secure,
            site: Site::tcp(host, port),
            authority: authority.into(),
            server_name: host.to_owned(),
            prefix: prefix.trim_end_matches('/').to_owned(),
        })
    }

    /// An address of the service.
    pub(super) fn endpoint(&self, address: &str) -> Result<Site, Error> {
        Site::parse(address, self.port())
    }

    /// The port of an address that names none.
    fn port(&self) -> u16 {
        match self.site {
            Site::Tcp { port, .. } => port,
            Site::Unix(_) if self.secure => 443,
            Site::Unix(_) => 80,
        }
    }

    /// Several instances of the service. `in_the_clear`: whether a base that is a socket without TLS may
    /// have some that are none. Any call to it may carry a token, and the network reads along.
    pub(super) fn upstreams<E: Into<ServiceEndpoint>>(
        &self,
        endpoints: impl IntoIterator<Item = E>,
        in_the_clear: bool,
    ) -> Result<Vec<Upstream>, Error> {
        let port = self.port();
        let parsed = endpoints.into_iter().map(|endpoint| Upstream::parse(endpoint.into(), port));
        let upstreams: Vec<_> = parsed.collect::<Result<_, _>>()?;
        if upstreams.is_empty() {
            return Err(Error::config(NO_ENDPOINT));
        }
        let stays = !self.secure && matches!(self.site, Site::Unix(_)) && !in_the_clear;
        let leaves = |one: &Upstream| matches!(one.instance.site, Site::Tcp { .. });
        if stays && upstreams.iter().any(leaves) {
            return Err(Error::config(LEAVES_SOCKET));
        }
        if !self.secure && upstreams.iter().any(|one| one.instance.identity.is_some()) {
            return Err(Error::config("in the clear nobody shows who they are: give an https URL"));
        }
        Ok(upstreams)
    }

    /// The one instance that the URL names.
    pub(super) fn upstream(&self) -> Upstream {
        let instance = Instance { site: self.site.clone(), identity: None };
        Upstream { instance, told: ServiceEndpoint::new(self.site.address()) }
    }

    /// Whom the URL names. A socket of this machine goes by the name that `Host` has.
    pub(super) fn origin(&self) -> Result<Origin, Error> {
        let scheme = if self.secure { Scheme::Https } else { Scheme::Http };
        Origin::new(scheme, &self.authority)
            .map_err(|why| Error::config(why.to_string()).with_source(why))
    }

    /// The target of a request: <https://www.rfc-editor.org/rfc/rfc9112#section-3.2.1>
    pub(super) fn target(&self, path: &str) -> Result<String, Error> {
        if !path.starts_with('/') {
            let shown = shown(path);
            return Err(Error::config(format!("{shown}: a path starts with a slash")));
        }
        let mut target = String::with_capacity(self.prefix.len() + path.len());
        target.push_str(&self.prefix);
        target.push_str(path);
        Ok(target)
    }
}

/// As much of a URL or a path as may be shown: neither user information nor query, which may hold
/// secrets.
pub(super) fn shown(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = match url.find("://") {
        Some(at) => url.split_at(at + 3),
        None => ("", url),
    };
    // With a scheme in front, a slash may be part of a password: whatever stands before the last `@`.
    let authority = match scheme {
        "" => rest.find('/').unwrap_or(rest.len()),
        _ => rest.len(),
    };
    match rest[..authority].rfind('@') {
        Some(at) => format!("{scheme}…{}", &rest[at..]),
        None => url.to_owned(),
    }
}

/// Host without brackets, and port. User information is refused: RFC 9110 4.2.4.
fn split_port(authority: &str, otherwise: u16) -> Option<(&str, u16)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            host.parse::<Ipv6Addr>().ok()?;
            (host, rest)
        }
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    if host.is_empty() || host.contains(['@', ' ']) {
        return None;
    }
    match port.strip_prefix(':') {
        Some(port) => Some((host, port.parse().ok()?)),
        None if port.is_empty() => Some((host, otherwise)),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(url: &str) -> (bool, String, u16, String) {
        let base = Base::parse(url, false).unwrap();
        let Site::Tcp { host, port } = base.site else { panic!("{url} is no TCP address") };
        (base.secure, host, port, base.prefix)
    }

    #[test]
    fn urls_are_taken_apart() {
        assert_eq!(tcp("https://a.test"), (true, "a.test".into(), 443, String::new()));
        assert_eq!(tcp("http://a.test:81/v1/"), (false, "a.test".into(), 81, "/v1".into()));
        assert!(tcp("HTTPS://a.test").0);
        assert_eq!(tcp("HTTP://a.test"), (false, "a.test".into(), 80, String::new()));
        assert_eq!(tcp("http://[::1]:8080"), (false, "::1".into(), 8080, String::new()));
        let unix = Base::parse("unix:/run/a.sock", false).unwrap();
        assert_eq!(unix.site, Site::Unix("/run/a.sock".into()));
    }

    #[test]
    fn what_is_no_base_is_refused() {
        for url in [
            "a.test",
            "ftp://a.test",
            "http://",
            "http://u@a.test",
            "http://a.test:99999",
            "http://a.test:x",
            "http://a.test:0",
            "http://é/",
            "http://[::1",
            "http://[zz]",
            "http://a.test/?q",
            "http://a b/",
            "http://a\r\nb/",
            "http://a.test/a b",
            "unix:relative",
        ] {
            assert!(Base::parse(url, false).is_err(), "{url}");
        }
    }

    #[test]
    fn targets_join_prefix_and_path() {
        let base = Base::parse("http://a.test/v1", false).unwrap();
        assert_eq!(base.target("/x?a=1").unwrap(), "/v1/x?a=1");
        assert!(base.target("x").is_err());
    }
}
