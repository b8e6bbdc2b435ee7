//! What operators ask, on listeners of their own.

use std::fmt;
use std::sync::Arc;

use http::Method;
use sinew_core::server::{ConnectionsConfig, RoutePolicy};

use super::background::Tasks;
use super::builder::{Added, router};
use super::config::RestServerConfig;
use super::control::Control;
use super::current::Current;
use super::handover::Handover;
use super::health::Probes;
use super::kept::Kept;
use super::listen::{Place, names};
use super::mode::{Handler, Mode};
use super::policies::Policies;
use super::rest_server::{Port, RestServer};
use super::security_policy::Explain;
use super::service::{Observer, RouteOptions, Service};
use crate::error::Error;
use crate::runtime::Runtime;

/// The admin surface of a server: metrics, and what else operators ask.
///
/// It has listeners of its own, [`127.0.0.1:9090`](Self::PLACE) where no other is given, and
/// connections of its own, so that a server whose clients took all of theirs still says so. No policy
/// stands in front of it: who reaches the listener may ask. A listener that other machines reach goes
/// over the TLS of the server, with its client certificates, if the server has any. The observer of the
/// server is told of it, too.
///
/// ```
/// # use sinew_driver::{Admin, Request, Runtime, ServerBuilder, Threads};
/// # fn build<R: Runtime>(builder: ServerBuilder<R, Threads>) -> ServerBuilder<R, Threads> {
/// let admin = Admin::new().listen("unix:/run/orders/admin").metrics(async |_: Request| "up 1\n");
/// builder.admin(admin)
/// # }
/// ```
#[must_use = "it does nothing until a server is given it"]
pub struct Admin<M: Mode> {
    places: Vec<Place>,
    pub(super) routes: Vec<Added<M>>,
    pub(super) is_public: bool,
    max_connections: usize,
}

impl<M: Mode> Admin<M> {
    /// Where it listens if nothing else is said.
    pub const PLACE: &str = "127.0.0.1:9090";

    /// Connections at a time if nothing else is said.
    pub const MAX_CONNECTIONS: usize = 64;

    /// Nothing to ask yet.
    pub fn new() -> Self {
        Self {
            places: Vec::new(),
            routes: Vec::new(),
            is_public: false,
            max_connections: Self::MAX_CONNECTIONS,
        }
    }

    /// Listens on `host:port` or on `unix:/path`; may be called again for further places.
    pub fn listen(mut self, place: impl Into<String>) -> Self {
        self.places.push(Place::Named(place.into()));
        self
    }

    /// Listens on these places instead of those that were asked for before.
    pub fn listen_only<P: Into<String>>(mut self, places: impl IntoIterator<Item = P>) -> Self {
        self.places = places.into_iter().map(|place| Place::Named(place.into())).collect();
        self
    }

    /// Answers on the listeners of the server instead, behind its policies: access rules see its
    /// templates like any other.
    pub fn public(mut self) -> Self {
        self.is_public = true;
        self
    }

    /// Limits the connections at a time. Default 64.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections;
        self
    }

    /// Answers `GET /metrics`, and HEAD.
    pub fn metrics(self, handler: impl Handler<M>) -> Self {
        self.route(Method::GET, "/metrics", handler)
    }

    /// Adds a handler, as [`ServerBuilder::route`](super::ServerBuilder::route) does.
    pub fn route(mut self, method: Method, template: &str, handler: impl Handler<M>) -> Self {
        self.routes.push(Added::new(Some(method), template, RouteOptions::new(), handler));
        self
    }

    /// Its routes, for the server's own router.
    pub(super) fn into_public(self) -> Result<Vec<Added<M>>, Error> {
        if self.places.is_empty() {
            Ok(self.routes)
        } else {
            Err(Error::config("the admin surface is public and has listeners: choose one"))
        }
    }

    /// What it goes by from now on; its listeners stay.
    pub(super) fn renewed<R: Runtime>(
        self,
        runtime: &R,
        config: &RestServerConfig,
        observer: Option<Observer>,
        probes: Option<Arc<Probes>>,
    ) -> Result<Service<M>, Error> {
        service(self.routes, runtime, config, observer, probes)
    }

    /// Where it listens, and how many connections it has.
    pub(super) fn fixed(&self) -> (Vec<String>, usize) {
        (names(&self.places), self.max_connections)
    }

    /// Binds its listeners. The limits and timers of its connections are those of the server.
    pub(super) async fn bind<R: Runtime>(
        self,
        runtime: &R,
        config: &RestServerConfig,
        observer: Option<Observer>,
        probes: Option<Arc<Probes>>,
        mut handover: Option<&mut Handover>,
    ) -> Result<RestServer<R, M>, Error> {
        let Self { mut places, routes, max_connections, .. } = self;
        if max_connections == 0 {
            return Err(Error::config("the admin surface has no connections: leave it out"));
        }
        let service = service(routes, runtime, config, observer, probes)?;
        if places.is_empty() {
            places.push(Place::Named(Self::PLACE.into()));
        }
        let (mut ports, mut addresses) = (Vec::new(), Vec::new());
        for place in places {
            let bound = place.bind(runtime, handover.as_deref_mut()).await?;
            let exposed = bound.address.is_some_and(|address| !address.ip().is_loopback());
            let tls = config.mtls_config.clone().filter(|_| exposed);
            if exposed && tls.is_none() && !config.allow_plaintext {
                return Err(Error::config(
                    "other machines reach the admin surface, and there is no TLS for it",
                ));
            }
            addresses.extend(bound.address);
            ports.push(Port::new(runtime, bound, tls.is_some())?);
        }
        // Operators are few, and one of them may have them all.
        let caps = ConnectionsConfig {
            total: max_connections,
            per_address: max_connections,
            ..ConnectionsConfig::default()
        };
        let control = Control::of(runtime.clone(), config, caps, None)?;
        Ok(RestServer {
            runtime: runtime.clone(),
            ports,
            addresses,
            current: Arc::new(Current::new(service)),
            fixed: None,
            control: Arc::new(control),
            admin: None,
            handover: None,
            background: Tasks::default(),
        })
    }
}

/// What the admin surface goes by.
fn service<R: Runtime, M: Mode>(
    routes: Vec<Added<M>>,
    runtime: &R,
    config: &RestServerConfig,
    observer: Option<Observer>,
    probes: Option<Arc<Probes>>,
) -> Result<Service<M>, Error> {
    let router = router(routes)?;
    let mut kept = Kept::new();
    let stack = Policies::default().build(router.templates(), &mut kept)?;
    Ok(Service {
        epoch: 1,
        router,
        fallback: None,
        machine: Arc::new(config.machine(runtime.epoch(), observer.is_some())),
        observer,
        stack: Arc::new(stack),
        gate: None,
        probes,
        is_admin: true,
        elsewhere: RoutePolicy::default(),
        tls: config.mtls_config.clone(),
        audit: None,
        kept,
        explain: Explain::default(),
        compression: None,
        decompression: None,
        proxy_protocol: None,
    })
}

impl<M: Mode> Default for Admin<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M: Mode> fmt::Debug for Admin<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let templates: Vec<&str> = self.routes.iter().map(|added| &*added.template).collect();
        f.debug_struct("Admin")
            .field("places", &self.places)
            .field("routes", &templates)
            .field("is_public", &self.is_public)
            .field("max_connections", &self.max_connections)
            .finish()
    }
}
