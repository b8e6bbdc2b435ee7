//! How many connections, in all and from one address.

use core::fmt;
use core::net::IpAddr;
use std::collections::BTreeMap;

use crate::limit::Stage;
use crate::security::{BadProxyHeader, IPV6_CLIENT_PREFIX, Network};

/// How many connections a server has, at most.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ConnectionsConfig {
    /// In all. Default 10,000.
    pub total: usize,
    /// From one IPv4 address, or one IPv6 network of 64 bits. Default 1,000.
    pub per_address: usize,
    /// Networks whose addresses may have any number: proxies, which speak for many. Default none.
    pub unlimited: Vec<Network>,
}

impl Default for ConnectionsConfig {
    fn default() -> Self {
        Self { total: 10_000, per_address: 1_000, unlimited: Vec::new() }
    }
}

/// Why a [`ConnectionsConfig`] makes no sense.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum BadConnections {
    /// Nobody could connect.
    Zero,
    /// One address may have more than all together.
    PerAddress,
}

/// Why a connection is dropped before anything is answered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ConnectionRefused {
    /// There are as many as there may be.
    Total,
    /// Its address has as many as it may have.
    Address,
    /// Memory runs short.
    Pressure,
    /// A proxy did not say whom it speaks for, or not as it should.
    ProxyHeader(BadProxyHeader),
    /// A proxy went away, or said too little for too long.
    ProxySilent,
    /// A proxy does not know whom it speaks for.
    UnknownClient,
}

impl ConnectionRefused {
    /// A fixed, lower-case name, fit for logs and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Address => "address",
            Self::Pressure => "pressure",
            Self::ProxyHeader(_) => "proxy_header",
            Self::ProxySilent => "proxy_silent",
            Self::UnknownClient => "unknown_client",
        }
    }
}

/// The place of a connection. Give it back with [`Connections::leave`]: a place that is lost is lost for
/// ever.
#[derive(PartialEq, Eq, Hash, Debug)]
#[must_use]
pub struct ConnectionPlace(Option<Network>);

/// The connections of a server, counted by address. There are never more counts than connections.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Connections {
    config: ConnectionsConfig,
    total: usize,
    by_address: BTreeMap<Network, usize>,
}

impl Connections {
    /// There are none.
    ///
    /// # Errors
    ///
    /// See [`BadConnections`].
    pub fn new(config: ConnectionsConfig) -> Result<Self, BadConnections> {
        if config.total == 0 || config.per_address == 0 {
            return Err(BadConnections::Zero);
        }
        if config.per_address > config.total {
            return Err(BadConnections::PerAddress);
        }
        Ok(Self { config, total: 0, by_address: BTreeMap::new() })
    }

    /// Whether listeners are to be asked for another one, at this stage of the
    /// [ledger](crate::limit::Ledger). If not, who connects waits in the kernel.
    pub fn has_room(&self, stage: Stage) -> bool {
        self.total < self.config.total && stage.accepts()
    }

    /// A connection was accepted, from this address; `None` for one that has no address.
    ///
    /// # Errors
    ///
    /// Drop it, and write it into the log, as
    /// [`observe::Event::ConnectionRefused`](crate::observe::Event::ConnectionRefused).
    pub fn admit(
        &mut self,
        address: Option<IpAddr>,
        stage: Stage,
    ) -> Result<ConnectionPlace, ConnectionRefused> {
        if !stage.accepts() {
            return Err(ConnectionRefused::Pressure);
        }
        if self.total >= self.config.total {
            return Err(ConnectionRefused::Total);
        }
        let network = address.filter(|address| {
            !self.config.unlimited.iter().any(|network| network.contains(*address))
        });
        // All bits of an IPv4 address are within these.
        let network = network.map(|address| Network::around(address, IPV6_CLIENT_PREFIX));
        if let Some(network) = network {
            let count = self.by_address.get(&network).copied().unwrap_or_default();
            if count >= self.config.per_address {
                return Err(ConnectionRefused::Address);
            }
            self.by_address.insert(network, count + 1);
        }
        self.total += 1;
        Ok(ConnectionPlace(network))
    }

    /// A connection is gone.
    #[expect(clippy::needless_pass_by_value, reason = "a place is given back once")]
    pub fn leave(&mut self, place: ConnectionPlace) {
        self.total = self.total.saturating_sub(1);
        let Some(network) = place.0 else { return };
        match self.by_address.get_mut(&network) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                self.by_address.remove(&network);
            }
        }
    }

    /// Connections that are there.
    pub const fn total(&self) -> usize {
        self.total
    }

    /// Addresses that are counted.
    pub fn addresses(&self) -> usize {
        self.by_address.len()
    }
}

impl fmt::Display for BadConnections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Zero => "a server has at least one connection, and an address too",
            Self::PerAddress => "one address has no more connections than there are in all",
        })
    }
}

impl core::error::Error for BadConnections {}
