//! From routes and configuration to a bound server.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use sinew_core::policy;
use sinew_core::security::{Cors, TrustedProxies};
use sinew_core::server::{Layer, RateLimitConfig, RoutePolicy, RouterBuilder};
use sinew_tls::ServerTls;

use super::config::RestServerConfig;
use super::control::Control;
use super::listen::Place;
use super::mode::{Handler, Mode};
use super::policies::{Numbers, Policies, SecurityPolicy};
use super::rest_server::{Port, RestServer};
use super::service::{Notice, Observer, Route, RouteOptions, Service};
use crate::error::Error;
use crate::io::Peer;
use crate::runtime::{Runtime, StdListener};

/// Collects what a server is made of. What makes no sense is refused by [`bind`](Self::bind).
#[must_use = "a builder does nothing until it is bound"]
pub struct ServerBuilder<R, M: Mode> {
    runtime: R,
    config: RestServerConfig,
    places: Vec<Place>,
    routes: RouterBuilder<Route<M>>,
    fallback: Option<M::Handler>,
    observer: Option<Observer>,
    policies: Policies,
    /// The first thing that made no sense.
    refused: Option<Error>,
}

impl<R: Runtime, M: Mode> ServerBuilder<R, M> {
    pub(super) fn new(runtime: R) -> Self {
        Self {
            runtime,
            config: RestServerConfig::default(),
            places: Vec::new(),
            routes: RouterBuilder::new(),
            fallback: None,
            observer: None,
            policies: Policies::default(),
            refused: None,
        }
    }

    /// Replaces the whole configuration; call it first.
    pub fn config(mut self, config: RestServerConfig) -> Self {
        self.config = config;
        self
    }

    /// Listens on `host:port` (`0.0.0.0:8080`, `[::1]:0`) or on `unix:/path`. May be called again
    /// for further places. A host name must have one address.
    pub fn listen(mut self, place: impl Into<String>) -> Self {
        self.places.push(Place::Named(place.into()));
        self
    }

    /// Listens on a socket that exists already.
    pub fn listen_on(mut self, listener: StdListener) -> Self {
        self.places.push(Place::Given(listener));
        self
    }

    /// Listens on a socket that whoever started this process handed over, TCP or Unix.
    #[cfg(unix)]
    pub fn listen_fd(mut self, fd: std::os::fd::OwnedFd) -> Self {
        match super::listen::from_fd(fd) {
            Ok(listener) => self.places.push(Place::Given(listener)),
            Err(error) => self.refuse(error),
        }
        self
    }

    /// TLS for every TCP listener. Unix sockets go without: the file's permissions guard them.
    pub fn tls(mut self, tls: ServerTls) -> Self {
        self.config.mtls_config = Some(tls);
        self
    }

    /// Allows TCP listeners without TLS.
    pub fn allow_plaintext(mut self) -> Self {
        self.config.allow_plaintext = true;
        self
    }

    /// Limits request bodies, in bytes.
    pub fn max_request_size(mut self, bytes: u64) -> Self {
        self.config.max_request_size = bytes;
        self
    }

    /// Limits the connections at a time.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.config.max_connections = connections;
        self
    }

    /// Limits the time of every handler, up to the head of its answer. `None`: no limit.
    pub fn handler_timeout(mut self, limit: Option<Duration>) -> Self {
        self.config.handler_timeout = limit;
        self
    }

    /// Adds a handler, an `async fn(Request) -> impl IntoResponse`. A handler for GET answers HEAD
    /// too. In the template, `{name}` is a whole segment and `{*name}` all that is left at the end.
    pub fn route(self, method: Method, template: &str, handler: impl Handler<M>) -> Self {
        self.route_with(method, template, RouteOptions::new(), handler)
    }

    /// Adds a handler with limits of its own.
    pub fn route_with(
        mut self,
        method: Method,
        template: &str,
        options: RouteOptions,
        handler: impl Handler<M>,
    ) -> Self {
        self.policies.of_route(Some(&method), template, &options);
        let route = Route { handler: handler.into_handler(), options };
        if let Err(error) = self.routes.route(method, template, route) {
            self.refuse(Error::config(error.to_string()));
        }
        self
    }

    /// Adds a handler for every method that has none of its own there.
    pub fn route_any(
        mut self,
        template: &str,
        options: RouteOptions,
        handler: impl Handler<M>,
    ) -> Self {
        self.policies.of_route(None, template, &options);
        let route = Route { handler: handler.into_handler(), options };
        if let Err(error) = self.routes.any(template, route) {
            self.refuse(Error::config(error.to_string()));
        }
        self
    }

    /// Answers what no route matches; without it that is 404.
    pub fn fallback(mut self, handler: impl Handler<M>) -> Self {
        self.fallback = Some(handler.into_handler());
        self
    }

    /// Says who callers are and what they may: by certificate, by token, by rules.
    pub fn security(mut self, policy: impl Into<SecurityPolicy>) -> Self {
        self.policies.security = Some(policy.into());
        self
    }

    /// Lets pages of other origins read answers.
    pub fn cors(mut self, cors: Cors) -> Self {
        self.policies.cors = Some(cors);
        self
    }

    /// Holds clients to quotas; the default is 100 requests a minute, 20 at once.
    pub fn rate_limit(mut self, limits: RateLimitConfig) -> Self {
        self.policies.rate_limit = Some(limits);
        self
    }

    /// Names the proxies in front of the server: of these alone, who they say a request is from is
    /// believed.
    pub fn trusted_proxies(mut self, proxies: TrustedProxies) -> Self {
        self.policies.proxies = Some(proxies);
        self
    }

    /// Adds a layer of the application; it stands behind those of the server in its stage.
    pub fn layer(self, layer: impl Layer + Send + Sync + 'static) -> Self {
        self.layer_in(policy::Mode::Enforce, layer)
    }

    /// The same, obeyed or only tried.
    pub fn layer_in(
        mut self,
        mode: policy::Mode,
        layer: impl Layer + Send + Sync + 'static,
    ) -> Self {
        self.policies.own.push((mode, Box::new(layer)));
        self
    }

    /// Runs this beside the connections, in the task that [serves](RestServer::serve): from the start
    /// of it until the last connection has ended, when it is dropped. It must not block.
    pub fn background(mut self, task: impl Future<Output = ()> + Send + 'static) -> Self {
        self.policies.background.push(Box::new(|_| Box::pin(task)));
        self
    }

    /// Is told what connections decide, and whose they are. It runs on their tasks, so it must be
    /// quick.
    pub fn observe(
        mut self,
        observer: impl Fn(Option<&Peer>, &Notice) + Send + Sync + 'static,
    ) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Binds all listeners. Connections are accepted by the kernel from here on, and by the server
    /// once it [serves](RestServer::serve).
    ///
    /// # Errors
    ///
    /// What makes no sense in routes or configuration, and what the sockets say.
    pub async fn bind(self) -> Result<RestServer<R, M>, Error> {
        let Self { runtime, config, mut places, routes, fallback, observer, mut policies, refused } =
            self;
        if let Some(error) = refused {
            return Err(error);
        }
        config.check().map_err(Error::config)?;
        let router = routes.build();
        let (background, explain) = (policies.take_background(), policies.explain());
        let stack = policies.build(router.templates())?;
        if places.is_empty() {
            let host = &config.host;
            let bare_v6 = host.contains(':') && !host.starts_with('[');
            let host = if bare_v6 { format!("[{host}]") } else { host.clone() };
            places.push(Place::Named(format!("{host}:{}", config.port)));
        }
        let tls = config.mtls_config.clone();
        match (&tls, config.allow_plaintext) {
            (Some(_), true) => {
                return Err(Error::config("both TLS and plaintext are asked for: choose one"));
            }
            (None, false) if places.iter().any(Place::is_network) => {
                return Err(Error::config(
                    "no TLS configured: give .tls(…), or say .allow_plaintext()",
                ));
            }
            _ => {}
        }
        let mut ports = Vec::new();
        let mut addresses = Vec::new();
        for place in places {
            let tls = tls.clone().filter(|_| place.is_network());
            let bound = place.bind(&runtime).await?;
            addresses.extend(bound.address);
            let listener = runtime.listen(bound.listener).map_err(|error| {
                Error::new(
                    crate::error::ErrorKind::Io(error.kind()),
                    sinew_core::error::Phase::Idle,
                    sinew_core::error::Delivery::NotSent,
                )
                .with_source(error)
            })?;
            ports.push(Port { listener, tls, _file: bound.file });
        }
        let machine = Arc::new(config.machine(runtime.epoch(), observer.is_some()));
        let background = background.start(observer.as_ref());
        let service = Service {
            router,
            fallback,
            machine,
            observer,
            stack: Arc::new(stack),
            explain,
            elsewhere: RoutePolicy::default(),
            numbers: Numbers::default(),
            tls,
        };
        Ok(RestServer {
            runtime,
            ports,
            addresses,
            service: Arc::new(service),
            control: Arc::new(Control::new(config.max_connections)),
            background,
        })
    }

    fn refuse(&mut self, error: Error) {
        self.refused.get_or_insert(error);
    }
}

impl<R, M: Mode> fmt::Debug for ServerBuilder<R, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBuilder")
            .field("config", &self.config)
            .field("places", &self.places)
            .field("refused", &self.refused)
            .finish_non_exhaustive()
    }
}
