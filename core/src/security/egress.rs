//! Whom a client may talk to: which places, and who has to be there.

use core::fmt;
use core::net::IpAddr;
use core::str::FromStr;

use super::Network;
use crate::head::is_host;

/// Whom a client may talk to. An empty list is no condition.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EgressPolicy {
    /// Where connections may go. Sockets of this machine are no such places: whoever writes their
    /// path down means them.
    pub destinations: Vec<Destination>,
    /// Who may answer there, beside whom the handshake accepts.
    pub servers: Vec<ServerPattern>,
    /// No older version of TLS. Default 1.2. Says nothing about connections in the clear.
    pub tls: TlsVersion,
}

/// A version of TLS.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum TlsVersion {
    /// <https://www.rfc-editor.org/rfc/rfc5246>
    #[default]
    Tls12,
    /// <https://www.rfc-editor.org/rfc/rfc8446>
    Tls13,
}

/// A host, a family of hosts or a network; with a port, or with any: `billing.test:443`,
/// `*.mesh.test`, `10.0.0.0/8`, `[2001:db8::1]:8443`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Destination {
    host: Host,
    port: Option<u16>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Host {
    /// In lower case.
    Named(Box<str>),
    /// Every name that ends in this; with a dot in front, in lower case.
    Below(Box<str>),
    /// Of addresses alone: what a name resolves to is not looked at.
    Network(Network),
}

/// Who may answer: `spiffe://acme.test/ns/pay`, with `/*` at its end all below it, or a DNS name,
/// `billing.test` or `*.mesh.test`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ServerPattern(Server);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Server {
    Spiffe(Box<str>),
    /// With a slash at its end.
    SpiffeBelow(Box<str>),
    Dns(Box<str>),
    DnsBelow(Box<str>),
}

/// Text that is no [`Destination`] or no [`ServerPattern`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BadPattern;

/// Who answers, as the handshake found.
#[derive(Clone, Copy, Debug)]
pub struct Answerer<'a> {
    /// The version that was agreed on.
    pub tls: TlsVersion,
    /// The SPIFFE ID of the certificate.
    pub spiffe: Option<&'a str>,
    /// Its DNS names.
    pub dns: &'a [&'a str],
}

/// Why a client does not talk to somebody.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum EgressRefusal {
    /// Connections do not go there.
    Destination,
    /// In the clear nobody can tell who answers.
    Unidentified,
    /// The version of TLS is too old.
    TlsVersion,
    /// The certificate is good, and names somebody else.
    Server,
}

impl EgressPolicy {
    /// Whether a connection may go there. An IPv6 address stands without brackets.
    ///
    /// # Errors
    ///
    /// [`EgressRefusal::Destination`]
    pub fn check_destination(&self, host: &str, port: u16) -> Result<(), EgressRefusal> {
        let means = |wanted: &Destination| wanted.means(host, port);
        if self.destinations.is_empty() || self.destinations.iter().any(means) {
            return Ok(());
        }
        Err(EgressRefusal::Destination)
    }

    /// Whether somebody may answer; `None`: the connection is in the clear.
    ///
    /// # Errors
    ///
    /// Every refusal but that of the destination.
    pub fn check_server(&self, answerer: Option<Answerer<'_>>) -> Result<(), EgressRefusal> {
        let Some(answerer) = answerer else {
            let anyone = self.servers.is_empty();
            return if anyone { Ok(()) } else { Err(EgressRefusal::Unidentified) };
        };
        if answerer.tls < self.tls {
            return Err(EgressRefusal::TlsVersion);
        }
        let means = |wanted: &ServerPattern| wanted.is_shown_by(&answerer);
        if self.servers.is_empty() || self.servers.iter().any(means) {
            return Ok(());
        }
        Err(EgressRefusal::Server)
    }
}

impl Destination {
    /// Whether it means this place. An IPv6 address stands without brackets.
    pub fn means(&self, host: &str, port: u16) -> bool {
        let here = match &self.host {
            Host::Named(name) => name.eq_ignore_ascii_case(host),
            Host::Below(suffix) => is_below(suffix, host),
            Host::Network(network) => {
                host.parse().is_ok_and(|address: IpAddr| network.contains(address))
            }
        };
        here && self.port.is_none_or(|wanted| wanted == port)
    }
}

impl ServerPattern {
    /// Whether the one who answers is meant.
    pub fn is_shown_by(&self, answerer: &Answerer<'_>) -> bool {
        self.0.means(answerer)
    }
}

impl Server {
    fn means(&self, answerer: &Answerer<'_>) -> bool {
        let dns = |wanted: &dyn Fn(&str) -> bool| answerer.dns.iter().any(|name| wanted(name));
        match self {
            Self::Spiffe(id) => answerer.spiffe == Some(id),
            Self::SpiffeBelow(prefix) => {
                answerer.spiffe.is_some_and(|id| id.starts_with(&**prefix))
            }
            Self::Dns(wanted) => dns(&|name| wanted.eq_ignore_ascii_case(name)),
            Self::DnsBelow(suffix) => dns(&|name| is_below(suffix, name)),
        }
    }
}

/// Whether something stands in front of the suffix.
fn is_below(suffix: &str, name: &str) -> bool {
    let (name, suffix) = (name.as_bytes(), suffix.as_bytes());
    name.len() > suffix.len() && name[name.len() - suffix.len()..].eq_ignore_ascii_case(suffix)
}

impl FromStr for Destination {
    type Err = BadPattern;

    fn from_str(text: &str) -> Result<Self, BadPattern> {
        if let Ok(network) = text.parse() {
            return Ok(Self { host: Host::Network(network), port: None });
        }
        let (host, port) = match text.rsplit_once(':') {
            // A colon within brackets belongs to the address.
            Some((host, port)) if !port.ends_with(']') => {
                let digits = port.bytes().all(|byte| byte.is_ascii_digit());
                let port = port.parse().ok().filter(|port| digits && *port != 0);
                (host, Some(port.ok_or(BadPattern)?))
            }
            _ => (text, None),
        };
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let host = match bare.unwrap_or(host).parse() {
            Ok(address) => Host::Network(Network::around(address, 128)),
            Err(_) if bare.is_some() => return Err(BadPattern),
            Err(_) => match family(host)? {
                (name, Family::Itself) => Host::Named(name),
                (suffix, Family::Below) => Host::Below(suffix),
            },
        };
        Ok(Self { host, port })
    }
}

impl FromStr for ServerPattern {
    type Err = BadPattern;

    fn from_str(text: &str) -> Result<Self, BadPattern> {
        // https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md#2-spiffe-identity
        if let Some(id) = text.strip_prefix("spiffe://") {
            let (id, below) = id.strip_suffix("/*").map_or((id, false), |id| (id, true));
            let in_id = |byte: u8| byte.is_ascii_graphic() && !b"*?#%".contains(&byte);
            if !id.split('/').all(|part| !part.is_empty() && part.bytes().all(in_id)) {
                return Err(BadPattern);
            }
            return Ok(Self(if below {
                Server::SpiffeBelow(format!("spiffe://{id}/").into())
            } else {
                Server::Spiffe(text.into())
            }));
        }
        Ok(Self(match family(text)? {
            (name, Family::Itself) => Server::Dns(name),
            (suffix, Family::Below) => Server::DnsBelow(suffix),
        }))
    }
}

enum Family {
    Itself,
    Below,
}

/// A DNS name, or the part of it that a family of names ends in.
fn family(text: &str) -> Result<(Box<str>, Family), BadPattern> {
    let (name, family) = match text.strip_prefix("*.") {
        Some(parent) => (parent, Family::Below),
        None => (text, Family::Itself),
    };
    if !is_host(name.as_bytes()) || name.contains(['*', ':', '[']) || name.starts_with('.') {
        return Err(BadPattern);
    }
    let dot = if matches!(family, Family::Below) { "." } else { "" };
    Ok((format!("{dot}{}", name.to_ascii_lowercase()).into(), family))
}

impl EgressRefusal {
    /// One phrase in plain words.
    pub const fn explain(self) -> &'static str {
        match self {
            Self::Destination => "connections do not go there",
            Self::Unidentified => "in the clear nobody can tell who answers",
            Self::TlsVersion => "the server speaks too old a version of TLS",
            Self::Server => "the server is somebody else than those who may answer",
        }
    }
}

impl fmt::Display for EgressRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.explain())
    }
}

impl core::error::Error for EgressRefusal {}

impl fmt::Display for BadPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no host, network, SPIFFE ID or family of them")
    }
}

impl core::error::Error for BadPattern {}
