//! The machine on a runtime.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::{Future as _, poll_fn};
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use sinew_core::Machine as _;
use sinew_core::time::Instant;
use sinew_driver::Datagrams;

use super::answer::{Answer, LookupError};
use super::config::ResolverConfig;
use super::exchange::Exchange;
use super::lookup::{Lookup, LookupEvent};
use super::message::Kind;
use super::name::Name;
use super::together::together;

/// Which addresses are asked for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Families {
    /// IPv4 and IPv6. Both must be answered: half a list is none.
    #[default]
    Both,
    /// IPv4 alone.
    V4,
    /// IPv6 alone.
    V6,
}

impl Families {
    const fn kinds(self) -> &'static [Kind] {
        match self {
            Self::Both => &[Kind::A, Kind::Aaaa],
            Self::V4 => &[Kind::A],
            Self::V6 => &[Kind::Aaaa],
        }
    }
}

/// Where a host is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Addresses {
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// How long they may be taken for true. `None`: there are none.
    pub ttl: Option<Duration>,
}

impl Addresses {
    fn add(&mut self, answer: Answer) {
        self.addresses.extend(answer.addresses);
        self.ttl = shorter(self.ttl, answer.ttl);
    }
}

/// Asks name servers, on some runtime. Keeps no answers.
pub struct Resolver<R> {
    runtime: R,
    config: ResolverConfig,
    seeds: ChaCha20Rng,
}

impl<R: Datagrams> Resolver<R> {
    /// Asks the servers of `config`.
    ///
    /// # Errors
    ///
    /// The operating system has no random numbers.
    pub fn new(runtime: R, config: ResolverConfig) -> io::Result<Self> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|why| io::Error::other(why.to_string()))?;
        Ok(Self { runtime, config, seeds: ChaCha20Rng::from_seed(seed) })
    }

    /// Other servers from now on.
    pub fn set_config(&mut self, config: ResolverConfig) {
        self.config = config;
    }

    /// Whom it asks.
    pub const fn config(&self) -> &ResolverConfig {
        &self.config
    }

    /// What there is of this kind under exactly this name.
    pub async fn lookup(&mut self, name: Name, kind: Kind) -> Result<Answer, LookupError> {
        let seed = self.seed();
        ask(&self.runtime, &self.config, name, kind, seed).await
    }

    /// The addresses under exactly this name.
    pub async fn addresses(
        &mut self,
        name: Name,
        families: Families,
    ) -> Result<Addresses, LookupError> {
        let mut found = Addresses::default();
        for (_, answer) in self.ask_all([name].into(), families).await? {
            found.add(answer?);
        }
        Ok(found)
    }

    /// The addresses of several hosts, by host. Where one cannot be asked for, there are none of any: half a
    /// list is no list.
    pub(super) async fn targets(
        &mut self,
        hosts: BTreeSet<Name>,
        families: Families,
    ) -> Result<BTreeMap<Name, Addresses>, LookupError> {
        let mut found: BTreeMap<Name, Addresses> = BTreeMap::new();
        for (host, answer) in self.ask_all(hosts, families).await? {
            if let Ok(answer) = answer {
                found.entry(host).or_default().add(answer);
            }
        }
        Ok(found)
    }

    /// What comes of all questions; of one there may be [no such name](LookupError::NoSuchName). Any other
    /// error ends the rest.
    async fn ask_all(
        &mut self,
        hosts: BTreeSet<Name>,
        families: Families,
    ) -> Result<Vec<(Name, Result<Answer, LookupError>)>, LookupError> {
        let mut asked = Vec::new();
        for host in hosts {
            let kinds = families.kinds().iter();
            asked.extend(kinds.map(|kind| (host.clone(), *kind, self.seed())));
        }
        let (runtime, config) = (&self.runtime, &self.config);
        let asked = asked.into_iter().map(|(host, kind, seed)| async move {
            match ask(runtime, config, host.clone(), kind, seed).await {
                Err(why) if !matches!(why, LookupError::NoSuchName(_)) => Err(why),
                answer => Ok((host, answer)),
            }
        });
        together(asked.collect()).await
    }

    /// Any number.
    pub(super) fn draw(&mut self) -> u64 {
        self.seeds.next_u64()
    }

    fn seed(&mut self) -> [u8; 32] {
        let mut seed = [0; 32];
        self.seeds.fill_bytes(&mut seed);
        seed
    }
}

/// The shorter of two times, where there are two.
pub(super) fn shorter(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    one.into_iter().chain(other).min()
}

async fn ask<R: Datagrams>(
    runtime: &R,
    config: &ResolverConfig,
    name: Name,
    kind: Kind,
    seed: [u8; 32],
) -> Result<Answer, LookupError> {
    let mut lookup = Lookup::new(config, name, kind, seed, runtime.now());
    let mut exchange = None;
    loop {
        match lookup.poll_event(runtime.now())? {
            Some(LookupEvent::Answer(answer)) => return Ok(answer),
            Some(LookupEvent::Ask(next)) => exchange = Some(Exchange::open(runtime, next)),
            None => {}
        }
        let at = lookup.deadline().map_or(Instant::MAX, |deadline| deadline.at);
        let mut alarm = runtime.sleep_until(at);
        poll_fn(|cx| {
            if let Some(exchange) = &mut exchange
                && exchange.poll(cx, &mut lookup, || runtime.now()).is_ready()
            {
                return Poll::Ready(());
            }
            Pin::new(&mut alarm).poll(cx)
        })
        .await;
        lookup.handle_timeout(runtime.now());
    }
}

impl<R> fmt::Debug for Resolver<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The seeds are nobody's business.
        f.debug_struct("Resolver").field("config", &self.config).finish_non_exhaustive()
    }
}
