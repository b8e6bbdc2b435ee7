//! Networks in CIDR notation: <https://www.rfc-editor.org/rfc/rfc4632>

use core::fmt;
use core::net::IpAddr;
use core::str::FromStr;

/// A range of addresses that share a prefix, such as `10.0.0.0/8`.
///
/// IPv4 addresses that come mapped into IPv6 (`::ffff:10.1.2.3`) are the IPv4 addresses they are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    /// Without the bits behind the prefix.
    first: IpAddr,
    prefix: u8,
}

/// Why text is no [`Network`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum BadNetwork {
    /// In front of the slash stands no address.
    Address,
    /// Behind the slash stands no length that fits the address.
    Prefix,
    /// The address has bits behind the prefix: which of the two is meant?
    HostBits,
}

impl Network {
    /// The network of `prefix` bits that an address lies in. A longer prefix than the address has
    /// bits is that address alone.
    pub fn around(address: IpAddr, prefix: u8) -> Self {
        let address = address.to_canonical();
        let prefix = prefix.min(bits(address));
        Self { first: masked(address, prefix), prefix }
    }

    /// Its first address.
    pub const fn address(&self) -> IpAddr {
        self.first
    }

    /// Whether an address lies in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.first.is_ipv4() == address.is_ipv4() && masked(address, self.prefix) == self.first
    }
}

const fn bits(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    let prefix = u32::from(prefix);
    match address {
        // A shift by all bits is none.
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

impl FromStr for Network {
    type Err = BadNetwork;

    /// Reads `10.0.0.0/8`, or an address for itself alone.
    fn from_str(text: &str) -> Result<Self, BadNetwork> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| BadNetwork::Address)?;
        // `::ffff:10.0.0.0/104` would be read as IPv6 by some and as IPv4 by others.
        if address.to_canonical() != address {
            return Err(BadNetwork::Address);
        }
        let prefix = match prefix {
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits
                .parse()
                .ok()
                .filter(|prefix| *prefix <= bits(address))
                .ok_or(BadNetwork::Prefix)?,
            Some(_) => return Err(BadNetwork::Prefix),
            None => bits(address),
        };
        let network = Self::around(address, prefix);
        if network.first == address { Ok(network) } else { Err(BadNetwork::HostBits) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl BadNetwork {
    /// One phrase in plain words.
    pub const fn explain(self) -> &'static str {
        match self {
            Self::Address => "a network starts with an IPv4 or IPv6 address",
            Self::Prefix => "behind the slash of a network stands the length of its prefix",
            Self::HostBits => "the address has bits behind the prefix of the network",
        }
    }
}

impl fmt::Display for BadNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.explain())
    }
}

impl core::error::Error for BadNetwork {}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_lies_in_its_networks_only() {
        for (text, inside, outside) in [
            ("10.0.0.0/8", "10.255.1.2", "11.0.0.0"),
            ("10.0.0.0/8", "::ffff:10.1.2.3", "::10.1.2.3"),
            ("192.0.2.128/25", "192.0.2.128", "192.0.2.127"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("0.0.0.0/0", "8.8.8.8", "::1"),
            ("::/0", "2001:db8::", "0.0.0.0"),
            ("2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::1"),
            ("::1", "::1", "::2"),
        ] {
            assert!(network(text).contains(ip(inside)), "{inside} in {text}");
            assert!(!network(text).contains(ip(outside)), "{outside} in {text}");
        }
    }

    #[test]
    fn what_could_mean_two_things_is_refused() {
        for (text, why) in [
            ("", BadNetwork::Address),
            ("10.0.0/8", BadNetwork::Address),
            ("010.0.0.0/8", BadNetwork::Address),
            ("::ffff:10.0.0.0/104", BadNetwork::Address),
            ("10.0.0.0/", BadNetwork::Prefix),
            ("10.0.0.0/33", BadNetwork::Prefix),
            ("10.0.0.0/+8", BadNetwork::Prefix),
            ("10.0.0.0/8/8", BadNetwork::Prefix),
            ("10.0.0.1/8", BadNetwork::HostBits),
            ("2001:db8::1/64", BadNetwork::HostBits),
        ] {
            assert_eq!(text.parse::<Network>(), Err(why), "{text}");
        }
        assert_eq!(network("2001:db8::/32").to_string(), "2001:db8::/32");
        assert_eq!(Network::around(ip("::ffff:192.0.2.9"), 24), network("192.0.2.0/24"));
    }
}
