//! Which name servers are asked, and how patiently.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use super::name::Name;

/// Name servers that are asked, at most; further ones of a file are left out, as everywhere.
pub const MAX_SERVERS: usize = 3;

/// Domains to search, at most; further ones of a file are left out.
pub const MAX_SEARCH: usize = 16;

/// Bytes of a `resolv.conf`, at most.
pub const MAX_RESOLV_CONF: u64 = 64 * 1024;

const PORT: u16 = 53;

/// Which name servers are asked, and how patiently.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResolverConfig {
    /// In the order in which they are asked. Default: port 53 of this host.
    pub servers: Vec<SocketAddr>,
    /// Domains in which names are looked for that have fewer dots than [`ndots`](Self::ndots), and those
    /// that are not found. Default: none.
    pub search: Vec<Name>,
    /// Names with so many dots are looked for as they are, before any domain. Default 1.
    pub ndots: u8,
    /// How long one server has for its answer. Default 5 s; at least 1 ms.
    pub timeout: Duration,
    /// How often all servers are asked before it is given up. Default 2; at least 1.
    pub attempts: u8,
    /// How long a name takes in all, at most. Default 30 s; at least 1 ms.
    pub total: Duration,
}

impl Default for ResolverConfig {
    fn default() -> Self {
        Self {
            servers: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, PORT))],
            search: Vec::new(),
            ndots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
            total: Duration::from_secs(30),
        }
    }
}

/// Why a `resolv.conf` is not taken.
#[derive(Debug)]
#[non_exhaustive]
pub enum BadResolvConf {
    /// It cannot be read.
    Unreadable(io::Error),
    /// It has more than 64 KiB.
    TooLarge,
    /// This line makes no sense; lines count from 1.
    Line {
        /// Which one.
        number: usize,
        /// What should stand there.
        expected: &'static str,
    },
}

impl ResolverConfig {
    /// Reads a file of this format, such as `/etc/resolv.conf`.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, BadResolvConf> {
        let mut text = String::new();
        let file = File::open(path).map_err(BadResolvConf::Unreadable)?;
        file.take(MAX_RESOLV_CONF + 1)
            .read_to_string(&mut text)
            .map_err(BadResolvConf::Unreadable)?;
        if text.len() as u64 > MAX_RESOLV_CONF {
            return Err(BadResolvConf::TooLarge);
        }
        Self::parse(&text)
    }

    /// What a `resolv.conf` says: `nameserver`, `search`, `domain`, and of `options` `ndots`, `timeout`
    /// and `attempts`, within the bounds of resolv.conf(5). Other keywords and options are skipped,
    /// and so are name servers on an interface (`fe80::1%eth0`) where there are others.
    pub fn parse(text: &str) -> Result<Self, BadResolvConf> {
        let mut config = Self { servers: Vec::new(), ..Self::default() };
        let mut scoped = None;
        for (number, line) in (1..).zip(text.lines()) {
            let taken = config.take_line(line);
            let taken = taken.map_err(|expected| BadResolvConf::Line { number, expected });
            if is_scoped(line) {
                scoped = scoped.or_else(|| taken.err());
            } else {
                taken?;
            }
        }
        if let Some(why) = scoped.filter(|_| config.servers.is_empty()) {
            return Err(why);
        }
        if config.servers.is_empty() {
            config.servers = Self::default().servers;
        }
        Ok(config)
    }

    fn take_line(&mut self, line: &str) -> Result<(), &'static str> {
        if line.starts_with(['#', ';']) {
            return Ok(());
        }
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("nameserver") => {
                let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                let address =
                    address.ok_or("nameserver and an address, without interface or port")?;
                if self.servers.len() < MAX_SERVERS {
                    self.servers.push((address, PORT).into());
                }
            }
            // The last one of both counts.
            Some("search" | "domain") => {
                let names = words.filter(|word| *word != ".").take(MAX_SEARCH).map(str::parse);
                self.search = names.collect::<Result<_, _>>().map_err(|_| "domains to search")?;
            }
            Some("options") => words.try_for_each(|option| self.take_option(option))?,
            _ => {}
        }
        Ok(())
    }

    fn take_option(&mut self, option: &str) -> Result<(), &'static str> {
        let Some((name, value)) = option.split_once(':') else { return Ok(()) };
        let number = value.parse::<u32>().map_err(|_| "a number after the : of an option");
        match name {
            "ndots" => self.ndots = number?.min(15) as u8,
            "timeout" => self.timeout = Duration::from_secs(number?.clamp(1, 30).into()),
            "attempts" => self.attempts = number?.clamp(1, 5) as u8,
            _ => {}
        }
        Ok(())
    }

    /// The names that `name` may stand for, in the order in which they are asked for. With a dot at its end
    /// it stands for itself.
    pub fn candidates(&self, name: &str) -> Result<Vec<Name>, super::BadName> {
        let itself: Name = name.parse()?;
        if name.ends_with('.') {
            return Ok(vec![itself]);
        }
        // What gets too long with a domain is in none.
        let mut names: Vec<_> =
            self.search.iter().filter_map(|domain| itself.below(domain).ok()).collect();
        let first = if itself.dots() >= self.ndots.into() { 0 } else { names.len() };
        names.insert(first, itself);
        Ok(names)
    }
}

/// A name server behind one interface: `nameserver fe80::1%eth0`.
fn is_scoped(line: &str) -> bool {
    let mut words = line.split_ascii_whitespace();
    let server = words.next().filter(|word| *word == "nameserver").and_then(|_| words.next());
    let address = server.and_then(|server| server.split_once('%'));
    address.is_some_and(|(address, _)| address.parse::<Ipv6Addr>().is_ok())
}

impl fmt::Display for BadResolvConf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(why) => write!(f, "cannot be read: {why}"),
            Self::TooLarge => f.write_str("above 64 KiB"),
            Self::Line { number, expected } => write!(f, "line {number}: expected {expected}"),
        }
    }
}

impl std::error::Error for BadResolvConf {}
