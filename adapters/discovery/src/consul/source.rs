//! Instances, as Consul lists them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use sinew_driver::{ClientResponse, RestClient, Runtime, ServiceEndpoint};

use crate::member::address_of;
use crate::pause::Pause;
use crate::segment::segment;
use crate::source::{Source, SourceError};

/// How long an agent may hold a question, at most.
/// <https://developer.hashicorp.com/consul/api-docs/features/blocking>
const MAX_WAIT: Duration = Duration::from_secs(600);

/// What the answer may take on top of what was asked for.
const SLACK: Duration = Duration::from_secs(10);

/// What is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConsulQuery {
    /// The name of the service.
    pub service: String,
    /// The datacenter. Default: that of the agent.
    pub datacenter: Option<String>,
    /// Instances with this tag alone. Default: all.
    pub tag: Option<String>,
    /// How long the agent may hold a question while nothing changes. Default 1 min; 1 s to 10 min.
    pub wait: Duration,
    /// Answers of servers that are no further behind than this are taken, and the leader is asked where they
    /// are. Default: the leader is asked always.
    pub stale: Option<Duration>,
    /// Between two answers, at least, however fast the list changes. Default 500 ms.
    pub least: Duration,
}

impl ConsulQuery {
    /// The defaults, for this service.
    pub fn new(service: impl Into<String>) -> Self {
        Self {
            service: service.into(),
            datacenter: None,
            tag: None,
            wait: Duration::from_secs(60),
            stale: None,
            least: Duration::from_millis(500),
        }
    }
}

/// The instances of a service whose checks pass, by blocking queries to an agent.
///
/// Address, port and passing weight are those of the service, with the address of its node where it has
/// none; the zone is that of its locality. An instance without a port, or with an address that could not be
/// called, is left out. Tokens are the client's: `x-consul-token` by
/// [`default_header`](sinew_driver::ClientBuilder::default_header), or a bearer.
#[derive(Debug)]
pub struct ConsulSource<R: Runtime> {
    client: RestClient<R>,
    query: ConsulQuery,
    /// What the last list was, in the agent's count; 0: ask for the list as it is.
    index: u64,
    pause: Pause<R>,
}

/// <https://developer.hashicorp.com/consul/api-docs/health#list-service-instances-for-service>
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    node: Node,
    service: Service,
    #[serde(default)]
    checks: Vec<Check>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    #[serde(default)]
    node: String,
    #[serde(default)]
    address: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Service {
    #[serde(rename = "ID", default)]
    id: String,
    #[serde(default)]
    address: String,
    port: i64,
    #[serde(default)]
    meta: Option<BTreeMap<String, String>>,
    #[serde(default)]
    weights: Option<Weights>,
    #[serde(default)]
    locality: Option<Locality>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Weights {
    passing: u16,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Locality {
    #[serde(default)]
    zone: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Check {
    status: String,
}

impl<R: Runtime> ConsulSource<R> {
    /// `client` is one of an agent, as `http://127.0.0.1:8500`.
    pub fn new(runtime: R, client: RestClient<R>, query: ConsulQuery) -> Self {
        let pause = Pause::new(runtime, query.least);
        Self { client, query, index: 0, pause }
    }

    fn failed(&self, what: &str) -> SourceError {
        SourceError::new(format!("Consul, service {}: {what}", self.query.service))
    }

    /// `stale`: any server may answer, and not the leader alone.
    async fn get(&self, stale: bool) -> Result<ClientResponse, SourceError> {
        let wait = self.query.wait.clamp(Duration::from_secs(1), MAX_WAIT);
        let mut pairs = vec![("passing", "true".to_owned())];
        pairs.extend(self.query.datacenter.clone().map(|name| ("dc", name)));
        pairs.extend(self.query.tag.clone().map(|tag| ("tag", tag)));
        if stale {
            pairs.push(("stale", String::new()));
        }
        if self.index > 0 {
            pairs.push(("index", self.index.to_string()));
            pairs.push(("wait", format!("{}ms", wait.as_millis())));
        }
        let path = format!("/v1/health/service/{}", segment(&self.query.service));
        // The agent spreads the ends of questions over a sixteenth of their time.
        let call = self.client.get(&path).query(&pairs).timeout(wait + wait / 16 + SLACK);
        let answer = call.no_retry().hedge(false).send().await;
        let answer = answer.and_then(ClientResponse::error_for_status);
        answer.map_err(|why| self.failed("no answer").with_source(why))
    }

    async fn ask(&mut self) -> Result<Vec<ServiceEndpoint>, SourceError> {
        let answer = match self.query.stale {
            None => self.get(false).await?,
            Some(most) => match self.get(true).await? {
                behind if is_behind(&behind, most) => self.get(false).await?,
                fresh => fresh,
            },
        };
        let index = number(&answer, "x-consul-index");
        let entries: Vec<Entry> =
            answer.json().await.map_err(|why| self.failed("no list").with_source(why))?;
        let index = index.ok_or_else(|| self.failed("an answer without an index"))?;
        self.index = next_index(self.index, index);
        let passing = |entry: &Entry| entry.checks.iter().all(|check| check.status == "passing");
        let instances = entries.into_iter().filter(passing).filter_map(Entry::into_instance);
        // One address may be registered under several ids.
        let once: BTreeMap<_, _> =
            instances.map(|instance| (instance.address.clone(), instance)).collect();
        Ok(once.into_values().collect())
    }
}

/// Which index to wait for.
/// <https://developer.hashicorp.com/consul/api-docs/features/blocking#implementation-details>
const fn next_index(before: u64, index: u64) -> u64 {
    match index {
        // Not above 0 would not wait at all.
        0 => 1,
        // The state was restored from before: the list is asked for as it is.
        index if index < before => 0,
        index => index,
    }
}

/// Whether the server that answered does not know what it should by now.
/// <https://developer.hashicorp.com/consul/api-docs/features/consistency>
fn is_behind(answer: &ClientResponse, most: Duration) -> bool {
    let age = number(answer, "x-consul-lastcontact").map(Duration::from_millis);
    let leaderless = answer.header("x-consul-knownleader").is_some_and(|known| known == "false");
    leaderless || age.is_some_and(|age| age > most)
}

fn number(answer: &ClientResponse, field: &str) -> Option<u64> {
    answer.header(field)?.to_str().ok()?.trim().parse().ok()
}

impl Entry {
    /// `None`: it has no address that could be called, or no port.
    fn into_instance(self) -> Option<ServiceEndpoint> {
        let Self { node, service, .. } = self;
        let host = if service.address.is_empty() { &node.address } else { &service.address };
        let port = u16::try_from(service.port).ok()?;
        let mut instance = ServiceEndpoint::new(address_of(host, port)?);
        instance.weight = service.weights.map_or(1, |weights| weights.passing);
        instance.zone = service.locality.map(|locality| locality.zone).unwrap_or_default();
        instance.metadata = service.meta.unwrap_or_default();
        instance.metadata.insert("id".to_owned(), service.id);
        instance.metadata.insert("node".to_owned(), node.node);
        Some(instance)
    }
}

impl<R: Runtime> Source for ConsulSource<R> {
    async fn next(&mut self) -> Result<Vec<ServiceEndpoint>, SourceError> {
        self.pause.wait().await;
        let listed = self.ask().await;
        if listed.is_err() {
            // What was waited for may be gone.
            self.index = 0;
        }
        self.pause.after(listed.is_ok());
        listed
    }
}
