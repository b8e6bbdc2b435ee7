//! What comes of a question.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::lookup::MAX_ALIASES;
use super::message::{Data, Service};
use super::name::Name;

/// What there is under a name. Nothing, where the name exists and has no such records.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Answer {
    /// Addresses, in the order of the server.
    pub addresses: Vec<IpAddr>,
    /// Hosts that offer a service, in the order of the server.
    pub services: Vec<Service>,
    /// How long it may be taken for true: the shortest time of all records that led to it. `None`: there
    /// were no records.
    pub ttl: Option<Duration>,
}

/// Why there is no answer.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum LookupError {
    /// There is no such name, nor anything below it (NXDOMAIN). The name may be one that an alias led to.
    NoSuchName(Name),
    /// No server gave an answer. The trouble is that of the one that said most.
    NoAnswer {
        /// What was asked for.
        name: Name,
        /// Whose trouble it is.
        server: SocketAddr,
        /// What it is.
        trouble: Trouble,
    },
    /// More aliases than anybody needs, or a circle of them; the last one.
    Aliases(Name),
    /// There is nobody to ask.
    NoServers,
}

/// What went wrong with a server.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Trouble {
    /// It did not answer in time.
    Silent,
    /// It cannot be reached, or hung up.
    Unreachable,
    /// It does not know and asks nobody.
    NoRecursion,
    /// Its answer makes no sense.
    Malformed,
    /// It says that it failed (SERVFAIL), that it refuses (REFUSED), or another code of RFC 1035, section
    /// 4.1.1.
    Code(u8),
}

impl Answer {
    pub(super) fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.services.is_empty()
    }

    pub(super) fn add(&mut self, data: &Data) {
        match data {
            Data::Address(address) => self.addresses.push(*address),
            Data::Service(service) => self.services.push(service.clone()),
            Data::Alias(_) => {}
        }
    }
}

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchName(name) => write!(f, "there is no name {name} (NXDOMAIN)"),
            Self::NoAnswer { name, server, trouble } => {
                write!(f, "no answer about {name}: name server {server} {trouble}")
            }
            Self::Aliases(name) => {
                write!(f, "more than {MAX_ALIASES} aliases in a row, the last to {name}")
            }
            Self::NoServers => f.write_str("no name server is configured"),
        }
    }
}

impl std::error::Error for LookupError {}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent => f.write_str("does not answer"),
            Self::Unreachable => f.write_str("cannot be reached"),
            Self::NoRecursion => f.write_str("does not know and asks nobody"),
            Self::Malformed => f.write_str("answers what makes no sense"),
            Self::Code(2) => f.write_str("failed (SERVFAIL)"),
            Self::Code(5) => f.write_str("refuses (REFUSED)"),
            Self::Code(code) => write!(f, "answers with code {code}"),
        }
    }
}
