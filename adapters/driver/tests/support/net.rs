//! Names and addresses in memory, for the side that connects.

use std::collections::{BTreeMap, VecDeque};
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{Client, START, Sim, SimIo, World, duplex, pipe};

/// What is found at an address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Site {
    /// A server whose words the test says. So is every address of which nothing else is said.
    Scripted,
    /// The server under test.
    Served,
    /// Nobody.
    Refusing,
    /// A host that does not answer.
    Silent,
}

#[derive(Default)]
pub(super) struct Net {
    sites: BTreeMap<String, Site>,
    /// `None`: a resolver that does not answer.
    names: BTreeMap<String, Option<Vec<SocketAddr>>>,
    accepted: VecDeque<Client>,
    dials: Vec<(u64, String)>,
}

pub(super) async fn connect(world: Arc<World>, address: String) -> io::Result<SimIo> {
    let now = world.now().as_nanos();
    let site = {
        let mut state = world.lock();
        let site = state.net.sites.get(&address).copied().unwrap_or(Site::Scripted);
        state.net.dials.push((now, address));
        site
    };
    match site {
        Site::Scripted => {
            let (end, io) = pipe::pair();
            world.lock().net.accepted.push_back(end);
            Ok(io)
        }
        Site::Served => {
            let (ours, theirs) = duplex::pair();
            world.offer(SimIo::Duplex(theirs));
            Ok(SimIo::Duplex(ours))
        }
        Site::Refusing => Err(io::ErrorKind::ConnectionRefused.into()),
        Site::Silent => pending().await,
    }
}

pub(super) async fn resolve(
    world: Arc<World>,
    host: String,
    port: u16,
) -> io::Result<Vec<SocketAddr>> {
    let found = world.lock().net.names.get(&host).cloned();
    match found {
        Some(Some(addresses)) => Ok(addresses
            .into_iter()
            .map(|mut address| {
                address.set_port(port);
                address
            })
            .collect()),
        Some(None) => pending().await,
        None => Err(io::ErrorKind::NotFound.into()),
    }
}

impl Sim {
    pub(crate) fn site(&self, address: &str, site: Site) {
        self.0.lock().net.sites.insert(address.to_owned(), site);
    }

    /// What a name resolves to; ports are those asked for.
    pub(crate) fn name(&self, host: &str, addresses: &[&str]) {
        let parse = |ip: &&str| SocketAddr::new(ip.parse().unwrap(), 0);
        let addresses = addresses.iter().map(parse).collect();
        self.0.lock().net.names.insert(host.to_owned(), Some(addresses));
    }

    /// A name whose resolver does not answer.
    pub(crate) fn unresolved_name(&self, host: &str) {
        self.0.lock().net.names.insert(host.to_owned(), None);
    }

    /// The test's end of the next connection that was made to a scripted address.
    pub(crate) fn accepted(&self) -> Client {
        self.try_accepted().expect("nobody connected")
    }

    pub(crate) fn try_accepted(&self) -> Option<Client> {
        self.0.lock().net.accepted.pop_front()
    }

    /// Which addresses were tried, and how long after the start.
    pub(crate) fn dials(&self) -> Vec<(Duration, String)> {
        let dials = self.0.lock().net.dials.clone();
        dials.into_iter().map(|(at, to)| (Duration::from_nanos(at - START), to)).collect()
    }
}
