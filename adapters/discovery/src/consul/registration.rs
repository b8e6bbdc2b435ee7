//! One instance, as its agent is told of it.

use std::collections::BTreeMap;
use std::future::{Future as _, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use serde::Serialize;
use sinew_driver::{ClientResponse, Error, RestClient, Runtime, ServerHandle};

use crate::segment::segment;

/// What agents of several ages say of a check that they do not know.
const FORGOTTEN: [&str; 2] = ["Unknown check", "does not have associated TTL"];

/// What happened to a registration.
#[derive(Debug)]
#[non_exhaustive]
pub enum Registered {
    /// The agent knows of the instance, from now on or again.
    Yes,
    /// The agent cannot be told. It is tried again, every third of the TTL.
    Failed(Error),
    /// The agent has forgotten the instance, as asked.
    Gone,
    /// It cannot be told to forget it; it does so by itself when nothing is heard any more.
    Left(Error),
}

/// An instance with a check that its own heartbeat keeps alive.
///
/// Tokens are the client's: `x-consul-token` by
/// [`default_header`](sinew_driver::ClientBuilder::default_header), or a bearer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConsulRegistration {
    /// Of this instance alone, at its agent.
    pub id: String,
    /// The name of the service.
    pub service: String,
    /// Where it is reached, without port. Default: where the agent is.
    pub address: Option<String>,
    /// Its port.
    pub port: u16,
    /// Its tags. Default: none.
    pub tags: Vec<String>,
    /// Whatever else is to be known of it. Default: nothing.
    pub metadata: BTreeMap<String, String>,
    /// Its share beside the others. Default 1.
    pub weight: u16,
    /// Nothing is heard of it for this long: it is not healthy. It is heard every third of it. Default
    /// 15 s; at least 1 s.
    pub ttl: Duration,
    /// Not healthy for this long: it is forgotten. Default 1 min, which is the least that Consul takes.
    pub forget: Duration,
}

/// <https://developer.hashicorp.com/consul/api-docs/agent/service#register-service>
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Service<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<&'a str>,
    port: u16,
    tags: &'a [String],
    meta: &'a BTreeMap<String, String>,
    weights: Weights,
    check: Check,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Weights {
    passing: u16,
    warning: u16,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Check {
    #[serde(rename = "CheckID")]
    id: String,
    name: &'static str,
    #[serde(rename = "TTL")]
    ttl: String,
    status: &'static str,
    deregister_critical_service_after: String,
}

impl ConsulRegistration {
    /// The defaults, for this instance.
    pub fn new(id: impl Into<String>, service: impl Into<String>, port: u16) -> Self {
        Self {
            id: id.into(),
            service: service.into(),
            address: None,
            port,
            tags: Vec::new(),
            metadata: BTreeMap::new(),
            weight: 1,
            ttl: Duration::from_secs(15),
            forget: Duration::from_secs(60),
        }
    }

    /// Registers the instance, keeps it alive, and takes it back when the server is told to leave, before
    /// anything else: while it still serves, in [`Phase::LameDuck`](sinew_core::server::drain::Phase). Give
    /// that phase the time that callers need to hear of it. Ready when the instance is taken back, or cannot
    /// be. A server that leaves already is registered for no longer than it takes to take it back.
    ///
    /// `client` is one of the agent of this host, as `http://127.0.0.1:8500`. Dropped before, it leaves the
    /// instance to its TTL. A drain that is [taken back](ServerHandle::undrain) leaves it out.
    pub async fn run<R: Runtime>(
        &self,
        runtime: &R,
        client: &RestClient<R>,
        server: &ServerHandle<R>,
        mut report: impl FnMut(Registered),
    ) {
        let mut leaving = pin!(server.leaving());
        let mut known = false;
        loop {
            // To its end: an agent must not hear of the instance once it was told to forget it.
            known = self.beat(client, known, &mut report).await;
            let mut alarm = runtime.sleep_until(runtime.now() + self.ttl() / 3);
            let left = poll_fn(|cx| match leaving.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(true),
                Poll::Pending => Pin::new(&mut alarm).poll(cx).map(|()| false),
            });
            if left.await {
                break;
            }
        }
        let path = format!("/v1/agent/service/deregister/{}", segment(&self.id));
        let told = self.put(client.put(&path)).await;
        report(match told.and_then(ClientResponse::error_for_status) {
            Ok(_) => Registered::Gone,
            Err(why) => Registered::Left(why),
        });
    }

    /// Says that the instance is alive, and that there is one where the agent does not know. Whether it
    /// knows, as far as is known.
    async fn beat<R: Runtime>(
        &self,
        client: &RestClient<R>,
        known: bool,
        report: &mut impl FnMut(Registered),
    ) -> bool {
        if known {
            match self.pass(client).await {
                Ok(true) => return true,
                Ok(false) => {}
                // To register again would be no better, and all would do so at once where there is no leader.
                Err(why) => {
                    report(Registered::Failed(why));
                    return true;
                }
            }
        }
        // Without `replace-existing-checks`: the check of its maintenance would be gone as well.
        let path = "/v1/agent/service/register";
        let told = self.put(client.put(path).json(&self.body())).await;
        let told = told.and_then(ClientResponse::error_for_status);
        let known = told.is_ok();
        report(told.map_or_else(Registered::Failed, |_| Registered::Yes));
        known
    }

    /// Says that the instance is alive. `false`: the agent has forgotten the check, as one does that has
    /// started anew.
    async fn pass<R: Runtime>(&self, client: &RestClient<R>) -> Result<bool, Error> {
        let path = format!("/v1/agent/check/pass/{}", segment(&self.check_id()));
        let mut answer = self.put(client.put(&path)).await?;
        let forgotten = match answer.status().as_u16() {
            404 => true,
            // Before it was 404. The text is short enough to come in one piece.
            500 => answer.chunk().await?.is_some_and(|said| {
                let said = String::from_utf8_lossy(&said);
                FORGOTTEN.iter().any(|text| said.contains(text))
            }),
            _ => false,
        };
        if forgotten {
            return Ok(false);
        }
        answer.error_for_status().map(|_| true)
    }

    async fn put<R: Runtime>(&self, call: sinew_driver::Call<R>) -> Result<ClientResponse, Error> {
        call.timeout(self.ttl() / 3).send().await
    }

    fn ttl(&self) -> Duration {
        self.ttl.max(Duration::from_secs(1))
    }

    fn check_id(&self) -> String {
        format!("service:{}", self.id)
    }

    fn body(&self) -> Service<'_> {
        Service {
            id: &self.id,
            name: &self.service,
            address: self.address.as_deref(),
            port: self.port,
            tags: &self.tags,
            meta: &self.metadata,
            weights: Weights { passing: self.weight, warning: self.weight },
            check: Check {
                id: self.check_id(),
                name: "heartbeat",
                ttl: format!("{}ms", self.ttl().as_millis()),
                // It is registered because it serves.
                status: "passing",
                deregister_critical_service_after: format!("{}ms", self.forget.as_millis()),
            },
        }
    }
}
