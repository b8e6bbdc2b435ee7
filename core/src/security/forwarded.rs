//! Whose request a proxy passes on, by what proxies that we know say of themselves alone.

use core::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::Network;
use crate::head::Fields;
use crate::origin::{Origin, Scheme};

/// The proxies in front of a server, and the one field in which they say whom they speak for.
///
/// Anyone can send these fields. Each proxy adds the address that it sees at the right end, so what
/// stands right of the first address that is no proxy of ours was written by ours, and nothing else
/// is believed. Only one of the two fields is read: a proxy that writes one passes the other on as
/// it came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrustedProxies {
    networks: Box<[Network]>,
    field: ForwardedField,
}

/// What the outermost proxy of ours says of a request: the one that saw its client.
///
/// `proto` and `host` are parameters of [`ForwardedField::Forwarded`] alone. `X-Forwarded-Proto` and
/// `X-Forwarded-Host` are not read: they are no lists, so a proxy that does not write them passes on what
/// anyone sent, and nobody can tell.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Forwarded {
    /// Whom it is from; `None` where nobody knows.
    pub client: Option<IpAddr>,
    /// What the client spoke to the proxy.
    pub proto: Option<Scheme>,
    /// The `Host` that the client asked for, with or without port.
    pub host: Option<Box<str>>,
}

/// The same, as it stands in the field.
#[derive(Clone, Copy, Default)]
struct Said<'a> {
    client: Option<IpAddr>,
    proto: Option<&'a [u8]>,
    host: Option<&'a [u8]>,
}

/// The field that the proxies write.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ForwardedField {
    /// <https://www.rfc-editor.org/rfc/rfc7239>
    Forwarded,
    /// `X-Forwarded-For`: addresses, the first client leftmost.
    XForwardedFor,
}

impl TrustedProxies {
    /// `networks`: where the proxies are, and nobody else.
    pub fn new(networks: impl Into<Box<[Network]>>, field: ForwardedField) -> Self {
        Self { networks: networks.into(), field }
    }

    /// Where the proxies are.
    pub fn networks(&self) -> &[Network] {
        &self.networks
    }

    /// The address of the client: `peer` itself where it is no proxy of ours. `None` where a proxy
    /// of ours says nothing, or something else than an address in that place (`unknown`, a
    /// pseudonym), or the list cannot be read: then nobody knows.
    pub fn client(&self, peer: IpAddr, fields: &Fields) -> Option<IpAddr> {
        let peer = peer.to_canonical();
        if self.is_ours(peer) { self.behind(fields) } else { Some(peer) }
    }

    /// The address of the client behind a proxy of ours that has no address itself: one that comes
    /// over a Unix socket, which lets in whom its file's permissions let in.
    pub fn behind(&self, fields: &Fields) -> Option<IpAddr> {
        self.said(fields)?.client
    }

    /// All that proxies of ours say. `peer`: who connected, as for [`client`](Self::client), or `None` as
    /// for [`behind`](Self::behind). `None` where that is no proxy of ours.
    pub fn forwarded(&self, peer: Option<IpAddr>, fields: &Fields) -> Option<Forwarded> {
        if peer.is_some_and(|peer| !self.is_ours(peer.to_canonical())) {
            return None;
        }
        let Said { client, proto, host } = self.said(fields).unwrap_or_default();
        let host = host.and_then(|host| core::str::from_utf8(host).ok());
        let host = host.filter(|host| Origin::new(Scheme::Http, host).is_ok()).map(Box::from);
        Some(Forwarded { client, proto: proto.and_then(Scheme::named), host })
    }

    fn said<'a>(&self, fields: &'a Fields) -> Option<Said<'a>> {
        // From the right, the first that is not ours: from the left, the last one. If all are ours,
        // it is the leftmost.
        let mut outermost: Option<Said<'a>> = None;
        let mut entry = |said: Said<'a>| match said.client {
            Some(ours) if self.is_ours(ours) => {
                outermost.get_or_insert(said);
            }
            _ => outermost = Some(said),
        };
        match self.field {
            ForwardedField::XForwardedFor => {
                for line in fields.get_all("x-forwarded-for") {
                    let entries = line.split(|b| *b == b',').map(<[u8]>::trim_ascii);
                    let entries = entries.filter(|text| !text.is_empty());
                    entries.for_each(|text| entry(Said { client: node(text), ..Said::default() }));
                }
            }
            ForwardedField::Forwarded => {
                fields.get_all("forwarded").for_each(|line| elements(line, &mut entry));
            }
        }
        outermost
    }

    fn is_ours(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(address))
    }
}

/// What every element of a `Forwarded` line says. What cannot be read makes an unknown of all
/// that follows on the line, so that an open quote cannot hide what a proxy appended.
/// <https://www.rfc-editor.org/rfc/rfc7239#section-4>
fn elements<'a>(line: &'a [u8], entry: &mut impl FnMut(Said<'a>)) {
    let mut rest = line;
    loop {
        rest = rest.trim_ascii_start();
        if let [b',', behind @ ..] = rest {
            rest = behind;
            continue;
        }
        if rest.is_empty() {
            return;
        }
        match element(rest) {
            Some((said, behind)) => {
                entry(said);
                rest = behind;
            }
            None => return entry(Said::default()),
        }
    }
}

/// One element and what stands behind it; `None` where it breaks the grammar.
fn element(text: &[u8]) -> Option<(Said<'_>, &[u8])> {
    let mut rest = text;
    let mut said = Said::default();
    let mut named = None;
    loop {
        let equals = rest.iter().position(|b| *b == b'=')?;
        let (name, value) = (&rest[..equals], &rest[equals + 1..]);
        let (value, behind) = match value.strip_prefix(b"\"") {
            // A backslash has no business in an address, and in other parameters neither.
            Some(quoted) => {
                let end = quoted.iter().position(|b| matches!(b, b'"' | b'\\'))?;
                quoted[end..].strip_prefix(b"\"").map(|behind| (&quoted[..end], behind))?
            }
            None => {
                let end = value.iter().position(|b| !is_plain(*b)).unwrap_or(value.len());
                value.split_at(end)
            }
        };
        if name.is_empty() || !name.iter().all(u8::is_ascii_alphanumeric) {
            return None;
        }
        let place =
            [(&b"for"[..], &mut named), (b"proto", &mut said.proto), (b"host", &mut said.host)]
                .into_iter()
                .find_map(|(known, place)| name.eq_ignore_ascii_case(known).then_some(place));
        // Each parameter stands once.
        if place.is_some_and(|place| place.replace(value).is_some()) {
            return None;
        }
        rest = behind.trim_ascii_start();
        match rest {
            [] | [b',', ..] => {
                said.client = named.and_then(node);
                return Some((said, rest));
            }
            [b';', behind @ ..] => rest = behind.trim_ascii_start(),
            _ => return None,
        }
    }
}

/// What may stand in a value without quotes: the token, and the colon that many forget to quote.
const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b':' | b'[' | b']')
}

/// An address, with or without port; `None` for anything else.
/// <https://www.rfc-editor.org/rfc/rfc7239#section-6>
fn node(text: &[u8]) -> Option<IpAddr> {
    let text = core::str::from_utf8(text).ok()?;
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok();
    let address = text
        .parse::<IpAddr>()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()))
        .or_else(|| bracketed().map(IpAddr::V6))?;
    Some(address.to_canonical())
}
