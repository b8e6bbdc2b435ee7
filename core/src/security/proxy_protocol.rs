//! Whose connection a proxy passes on, by what it says in front of everything else: version 2 of the PROXY
//! protocol. <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::{Buf, BytesMut};

use super::Network;

/// Section 2.2: no request of HTTP starts with it.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The signature, version and command, family, and the length of the rest.
const FIXED: usize = 16;

/// The proxies that start each connection with a header, and how long that may be.
///
/// Who is expected to send one has to, and from everyone else it is garbage: a header that may be there
/// or not could be sent by anyone (section 2). It stands in front of all that is said, TLS included.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProxyProtocol {
    networks: Box<[Network]>,
    limit: usize,
}

/// What a header says.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ProxyHeader {
    /// The proxy speaks for itself, such as to see whether the server is well: its own address counts.
    Local,
    /// It speaks for a client.
    Proxied {
        /// The client.
        source: SocketAddr,
        /// What the client connected to.
        destination: SocketAddr,
    },
    /// It speaks for a client whose address is no IP address, or that it does not say: nobody knows.
    Unknown,
}

/// Why a connection is dropped without an answer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum BadProxyHeader {
    /// It does not start with one.
    Signature,
    /// It is of another version.
    Version,
    /// It is neither `LOCAL` nor `PROXY`.
    Command,
    /// The addresses are of a kind that does not exist, or that no connection has.
    Family,
    /// It is too short for its addresses.
    Truncated,
    /// It is longer than it may be.
    TooLong,
}

impl ProxyProtocol {
    /// Bytes of a header with everything behind its addresses, at most, unless set otherwise.
    pub const LIMIT: usize = 2_048;

    /// `networks`: where the proxies are, and nobody else. `limit`: bytes of a header, at most;
    /// [`LIMIT`](Self::LIMIT) is enough for certificates' names, and less than 232 is not for addresses.
    pub fn new(networks: impl Into<Box<[Network]>>, limit: usize) -> Self {
        Self { networks: networks.into(), limit }
    }

    /// Whether a connection from there starts with a header.
    pub fn is_expected(&self, peer: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(peer))
    }

    /// Takes the header off the front of what was read. `None`: it is not complete; nothing was taken.
    ///
    /// What stands behind the addresses (TLVs: names, checksums, padding) is skipped unread.
    ///
    /// # Errors
    ///
    /// At the first byte that is wrong, however the input was cut; the same again when asked again.
    pub fn decode(&self, inbox: &mut BytesMut) -> Result<Option<ProxyHeader>, BadProxyHeader> {
        let signature = inbox.len().min(SIGNATURE.len());
        if !SIGNATURE.starts_with(&inbox[..signature]) {
            return Err(BadProxyHeader::Signature);
        }
        let local = match inbox.get(12) {
            None => return Ok(None),
            Some(byte) if byte >> 4 != 2 => return Err(BadProxyHeader::Version),
            Some(byte) => match byte & 15 {
                0 => true,
                1 => false,
                _ => return Err(BadProxyHeader::Command),
            },
        };
        let Some(family) = inbox.get(13).copied() else { return Ok(None) };
        let addresses = match family {
            // Section 2.2: the block is discarded, including the family.
            _ if local => 0,
            UNSPECIFIED => 0,
            TCP4 => 12,
            TCP6 => 36,
            UNIX => 216,
            // Datagrams, too: there are none in a connection.
            _ => return Err(BadProxyHeader::Family),
        };
        let Some([high, low]) = inbox.get(14..FIXED) else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if length < addresses {
            return Err(BadProxyHeader::Truncated);
        }
        if FIXED + length > self.limit {
            return Err(BadProxyHeader::TooLong);
        }
        let Some(block) = inbox.get(FIXED..FIXED + length) else { return Ok(None) };
        let header = match family {
            _ if local => ProxyHeader::Local,
            TCP4 => v4(block).unwrap_or(ProxyHeader::Unknown),
            TCP6 => v6(block).unwrap_or(ProxyHeader::Unknown),
            _ => ProxyHeader::Unknown,
        };
        inbox.advance(FIXED + length);
        Ok(Some(header))
    }
}

const UNSPECIFIED: u8 = 0x00;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
const UNIX: u8 = 0x31;

/// Both addresses, then both ports.
fn v4(block: &[u8]) -> Option<ProxyHeader> {
    let (source, rest) = block.split_first_chunk::<4>()?;
    let (destination, ports) = rest.split_first_chunk::<4>()?;
    proxied(Ipv4Addr::from(*source), Ipv4Addr::from(*destination), ports)
}

fn v6(block: &[u8]) -> Option<ProxyHeader> {
    let (source, rest) = block.split_first_chunk::<16>()?;
    let (destination, ports) = rest.split_first_chunk::<16>()?;
    proxied(Ipv6Addr::from(*source), Ipv6Addr::from(*destination), ports)
}

fn proxied(
    source: impl Into<IpAddr>,
    destination: impl Into<IpAddr>,
    ports: &[u8],
) -> Option<ProxyHeader> {
    let (from, rest) = ports.split_first_chunk::<2>()?;
    let (to, _) = rest.split_first_chunk::<2>()?;
    let address =
        |ip: IpAddr, port: &[u8; 2]| SocketAddr::new(ip.to_canonical(), u16::from_be_bytes(*port));
    let source = address(source.into(), from);
    Some(ProxyHeader::Proxied { source, destination: address(destination.into(), to) })
}

impl BadProxyHeader {
    /// A fixed, lower-case name, fit for logs and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Signature => "signature",
            Self::Version => "version",
            Self::Command => "command",
            Self::Family => "family",
            Self::Truncated => "truncated",
            Self::TooLong => "too_long",
        }
    }
}

impl fmt::Display for BadProxyHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Signature => "the connection does not start with a PROXY header of version 2",
            Self::Version => "the PROXY header is of another version",
            Self::Command => "the PROXY header is neither LOCAL nor PROXY",
            Self::Family => {
                "the addresses of the PROXY header are of no kind that a connection has"
            }
            Self::Truncated => "the PROXY header is too short for its addresses",
            Self::TooLong => "the PROXY header is too long",
        })
    }
}

impl core::error::Error for BadProxyHeader {}
