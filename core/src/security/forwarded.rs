//! Whose request a proxy passes on, by what proxies that we know say of themselves alone.

use core::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::Network;
use crate::head::Fields;

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
        // From the right, the first that is not ours: from the left, the last one. If all are ours,
        // it is the leftmost.
        let mut client: Option<Option<IpAddr>> = None;
        let mut entry = |address: Option<IpAddr>| match address {
            Some(ours) if self.is_ours(ours) => {
                client.get_or_insert(address);
            }
            _ => client = Some(address),
        };
        match self.field {
            ForwardedField::XForwardedFor => {
                for line in fields.get_all("x-forwarded-for") {
                    let entries = line.split(|b| *b == b',').map(<[u8]>::trim_ascii);
                    entries.filter(|text| !text.is_empty()).for_each(|text| entry(node(text)));
                }
            }
            ForwardedField::Forwarded => {
                fields.get_all("forwarded").for_each(|line| elements(line, &mut entry));
            }
        }
        client?
    }

    fn is_ours(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(address))
    }
}

/// The `for` of every element of a `Forwarded` line. What cannot be read makes an unknown of all
/// that follows on the line, so that an open quote cannot hide what a proxy appended.
/// <https://www.rfc-editor.org/rfc/rfc7239#section-4>
fn elements(line: &[u8], entry: &mut impl FnMut(Option<IpAddr>)) {
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
            Some((address, behind)) => {
                entry(address);
                rest = behind;
            }
            None => return entry(None),
        }
    }
}

/// One element and what stands behind it; `None` where it breaks the grammar.
fn element(text: &[u8]) -> Option<(Option<IpAddr>, &[u8])> {
    let mut rest = text;
    let mut address = None;
    let mut named = false;
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
        if name.eq_ignore_ascii_case(b"for") {
            // Each parameter stands once.
            if core::mem::replace(&mut named, true) {
                return None;
            }
            address = node(value);
        }
        rest = behind.trim_ascii_start();
        match rest {
            [] | [b',', ..] => return Some((address, rest)),
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
