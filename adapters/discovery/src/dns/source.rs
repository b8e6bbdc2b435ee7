//! Instances, as the DNS lists them.

use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future as _, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use sinew_core::jitter::Jitter;
use sinew_core::time::Instant;
use sinew_driver::{Datagrams, ServiceEndpoint};

use super::answer::{LookupError, Trouble};
use super::config::ResolverConfig;
use super::message::{Kind, Service};
use super::name::{BadName, Name};
use super::resolver::{Families, Resolver, shorter};
use crate::source::{Source, SourceError};

/// Hosts of one priority of a service that are looked up, at most; further ones are left out.
pub const MAX_TARGETS: usize = 256;

/// Instances of a list, at most, as [`EndpointSetConfig`](sinew_core::mesh::EndpointSetConfig) takes them by
/// default; further ones are left out.
pub const MAX_INSTANCES: usize = 4_096;

/// Where the system says which name servers to ask.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// When the DNS is asked again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct DnsTimes {
    /// No sooner than this, whatever the records say, and so long after a failure. Default 5 s; at least
    /// 1 ms.
    pub least: Duration,
    /// No later than this. Default 5 min.
    pub most: Duration,
}

impl Default for DnsTimes {
    fn default() -> Self {
        Self { least: Duration::from_secs(5), most: Duration::from_secs(300) }
    }
}

impl DnsTimes {
    fn least(self) -> Duration {
        self.least.max(Duration::from_millis(1))
    }

    /// How long a list is taken for true.
    fn of(self, ttl: Option<Duration>) -> Duration {
        let least = self.least();
        ttl.unwrap_or_default().clamp(least, self.most.max(least))
    }
}

/// The addresses of a host, or the hosts of a service, asked for again when the time of their records is
/// over, up to a tenth earlier where [`DnsTimes`] allow it.
///
/// It asks name servers and nobody else: no `/etc/hosts`, no multicast. Which ones is read from
/// `/etc/resolv.conf`, each time, unless they are [given](Self::servers).
#[derive(Debug)]
pub struct DnsSource<R> {
    resolver: Resolver<R>,
    runtime: R,
    what: What,
    settings: Settings,
    families: Families,
    times: DnsTimes,
    jitter: Jitter,
    due: Option<Instant>,
}

#[derive(Debug)]
enum What {
    /// A host, and the port of all its addresses.
    Host(String, u16),
    /// A service, as in `_https._tcp.billing.mesh.test`.
    Service(String),
}

#[derive(Debug)]
enum Settings {
    File(PathBuf),
    Given,
}

/// Hosts, or a name without any.
type Listed = (BTreeMap<SocketAddr, ServiceEndpoint>, Option<Duration>);

impl<R: Datagrams> DnsSource<R> {
    /// The addresses of a host (A and AAAA), with this port.
    ///
    /// # Errors
    ///
    /// `host` is no name, or the operating system has no random numbers.
    pub fn addresses(runtime: R, host: &str, port: u16) -> io::Result<Self> {
        Self::new(runtime, host, What::Host(host.to_owned(), port))
    }

    /// The hosts that offer a service (SRV), as in `_https._tcp.billing.mesh.test`: of those that have
    /// addresses the ones with the lowest priority, with port and weight. All addresses of a host have
    /// its weight.
    ///
    /// # Errors
    ///
    /// `service` is no name, or the operating system has no random numbers.
    pub fn services(runtime: R, service: &str) -> io::Result<Self> {
        Self::new(runtime, service, What::Service(service.to_owned()))
    }

    fn new(runtime: R, name: &str, what: What) -> io::Result<Self> {
        name.parse::<Name>().map_err(|why: BadName| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("{name}: {why}"))
        })?;
        let mut resolver = Resolver::new(runtime.clone(), ResolverConfig::default())?;
        Ok(Self {
            jitter: Jitter::new(resolver.draw()),
            resolver,
            runtime,
            what,
            settings: Settings::File(RESOLV_CONF.into()),
            families: Families::default(),
            times: DnsTimes::default(),
            due: None,
        })
    }

    /// Which servers are asked, whatever `/etc/resolv.conf` says.
    #[must_use]
    pub fn servers(mut self, config: ResolverConfig) -> Self {
        self.resolver.set_config(config);
        self.settings = Settings::Given;
        self
    }

    /// Another file in place of `/etc/resolv.conf`.
    #[must_use]
    pub fn resolv_conf(mut self, path: impl Into<PathBuf>) -> Self {
        self.settings = Settings::File(path.into());
        self
    }

    /// Which addresses are asked for. Default: both.
    #[must_use]
    pub fn families(mut self, families: Families) -> Self {
        self.families = families;
        self
    }

    /// When it is asked again.
    #[must_use]
    pub fn times(mut self, times: DnsTimes) -> Self {
        self.times = times;
        self
    }

    async fn wait(&self) {
        if let Some(due) = self.due {
            let mut alarm = self.runtime.sleep_until(due);
            poll_fn(|cx| Pin::new(&mut alarm).poll(cx)).await;
        }
    }

    async fn list(&mut self) -> Result<Listed, SourceError> {
        if let Settings::File(path) = &self.settings {
            let config = ResolverConfig::read(path)
                .map_err(|why| SourceError::new(path.display().to_string()).with_source(why))?;
            self.resolver.set_config(config);
        }
        let (name, what) = match &self.what {
            What::Host(host, port) => (host.clone(), Some(*port)),
            What::Service(service) => (service.clone(), None),
        };
        let failed = |why| SourceError::new(format!("DNS, {name}")).with_source(why);
        let candidates = self.resolver.config().candidates(&name);
        let candidates =
            candidates.map_err(|why| SourceError::new(name.clone()).with_source(why))?;
        // A name that exists and has nothing is remembered, but another one may have something.
        // https://man7.org/linux/man-pages/man5/resolv.conf.5.html
        let (mut nothing, mut missing, mut unanswered) = (None, None, None);
        for candidate in candidates {
            let listed = match what {
                Some(port) => self.hosts(candidate, port).await,
                None => self.offered(candidate).await,
            };
            match listed {
                Ok(listed) if listed.0.is_empty() => nothing = Some(listed),
                Ok(listed) => return Ok(listed),
                Err(why @ LookupError::NoSuchName(_)) => missing = Some(why),
                // One domain may be broken (SERVFAIL). Of silence there would be as much for each.
                Err(why @ LookupError::NoAnswer { trouble: Trouble::Code(_), .. }) => {
                    unanswered = unanswered.or(Some(why));
                }
                Err(why) => return Err(failed(why)),
            }
        }
        match (unanswered, nothing, missing) {
            // Whether there is nothing is not known.
            (Some(why), ..) | (None, None, Some(why)) => Err(failed(why)),
            (None, listed, _) => Ok(listed.unwrap_or_default()),
        }
    }

    async fn hosts(&mut self, host: Name, port: u16) -> Result<Listed, LookupError> {
        let found = self.resolver.addresses(host, self.families).await?;
        let mut instances = BTreeMap::new();
        for address in found.addresses {
            let address = SocketAddr::new(address, port);
            add(&mut instances, address, ServiceEndpoint::new(address.to_string()));
        }
        Ok((instances, found.ttl))
    }

    async fn offered(&mut self, service: Name) -> Result<Listed, LookupError> {
        let answer = self.resolver.lookup(service, Kind::Srv).await?;
        let mut ttl = answer.ttl;
        let mut priorities: BTreeMap<u16, Vec<Service>> = BTreeMap::new();
        // "." stands for: decidedly not offered. https://www.rfc-editor.org/rfc/rfc2782
        let offers = answer.services.into_iter().filter(|service| !service.target.is_root());
        for service in offers {
            priorities.entry(service.priority).or_default().push(service);
        }
        for mut services in priorities.into_values() {
            services.truncate(MAX_TARGETS);
            let targets: BTreeSet<_> =
                services.iter().map(|service| service.target.clone()).collect();
            let found = self.resolver.targets(targets, self.families).await?;
            let mut instances = BTreeMap::new();
            for service in services {
                let Some(host) = found.get(&service.target) else { continue };
                ttl = shorter(ttl, host.ttl);
                for address in &host.addresses {
                    let address = SocketAddr::new(*address, service.port);
                    let mut instance = ServiceEndpoint::new(address.to_string());
                    instance.weight = service.weight;
                    instance.metadata.insert("host".to_owned(), service.target.to_string());
                    add(&mut instances, address, instance);
                }
            }
            if !instances.is_empty() {
                return Ok((instances, ttl));
            }
        }
        Ok((BTreeMap::new(), ttl))
    }
}

/// Up to [`MAX_INSTANCES`], those with the lowest addresses: the same ones in whatever order they come.
fn add(
    instances: &mut BTreeMap<SocketAddr, ServiceEndpoint>,
    address: SocketAddr,
    instance: ServiceEndpoint,
) {
    instances.insert(address, instance);
    if instances.len() > MAX_INSTANCES {
        instances.pop_last();
    }
}

impl<R: Datagrams> Source for DnsSource<R> {
    async fn next(&mut self) -> Result<Vec<ServiceEndpoint>, SourceError> {
        self.wait().await;
        let listed = self.list().await;
        let ttl = listed.as_ref().ok().and_then(|(_, ttl)| *ttl);
        let time = self.times.of(ttl);
        // Those that started together do not ask together.
        let time =
            self.jitter.between(time.saturating_sub(time / 10), time).max(self.times.least());
        self.due = Some(self.runtime.now() + time);
        listed.map(|(instances, _)| instances.into_values().collect())
    }
}
