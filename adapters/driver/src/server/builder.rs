//! From routes and configuration to a bound server.

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use sinew_core::content_coding::{Compression, Decompression};
use sinew_core::limit::{AdmissionConfig, LedgerConfig};
use sinew_core::policy;
use sinew_core::security::{Cors, ProxyProtocol, TrustedProxies};
use sinew_core::server::{
    Classes, Deadlines, Layer, RateLimitConfig, Router, RouterBuilder, SharedLimit,
};
use sinew_tls::ServerTls;

use super::admin::Admin;
use super::audit::Audit;
use super::config::RestServerConfig;
use super::current::Current;
use super::handover::Handover;
use super::health::HealthChecks;
use super::listen::Place;
use super::mode::{Handler, Mode};
use super::policies::Policies;
use super::prepare::Prepared;
use super::rest_server::{Port, RestServer};
use super::security_policy::SecurityPolicy;
use super::service::{Notice, Observer, Route, RouteOptions};
use super::shared_quota::{LeaseStore, SharedQuota};
use crate::coding;
use crate::error::Error;
use crate::io::Peer;
use crate::runtime::{Runtime, StdListener};

/// Collects what a server is made of. What makes no sense is refused by [`bind`](Self::bind).
#[must_use = "a builder does nothing until it is bound"]
pub struct ServerBuilder<R, M: Mode> {
    pub(super) runtime: R,
    pub(super) config: RestServerConfig,
    pub(super) places: Vec<Place>,
    pub(super) routes: Vec<Added<M>>,
    pub(super) admin: Option<Admin<M>>,
    pub(super) fallback: Option<M::Handler>,
    pub(super) observer: Option<Observer>,
    pub(super) audit: Option<Audit>,
    pub(super) policies: Policies,
    pub(super) overload: Option<AdmissionConfig>,
    pub(super) health: Option<HealthChecks>,
    /// Where listeners go from process to process.
    pub(super) handover: Option<PathBuf>,
    /// The first thing that made no sense.
    pub(super) refused: Option<Error>,
}

/// A route as it was added.
pub(super) struct Added<M: Mode> {
    /// `None`: every method that has no route of its own.
    pub(super) method: Option<Method>,
    pub(super) template: String,
    pub(super) route: Route<M>,
}

impl<R: Runtime, M: Mode> ServerBuilder<R, M> {
    pub(super) fn new(runtime: R) -> Self {
        Self {
            runtime,
            config: RestServerConfig::default(),
            places: Vec::new(),
            routes: Vec::new(),
            admin: None,
            fallback: None,
            observer: None,
            audit: None,
            policies: Policies::default(),
            overload: None,
            health: None,
            handover: None,
            refused: None,
        }
    }

    /// Replaces the whole configuration; call it first.
    pub fn config(mut self, config: RestServerConfig) -> Self {
        self.config = config;
        self
    }

    /// What the server will run on.
    pub fn runtime(&self) -> &R {
        &self.runtime
    }

    /// The configuration as it is so far.
    pub fn config_mut(&mut self) -> &mut RestServerConfig {
        &mut self.config
    }

    /// Listens on `host:port` (`0.0.0.0:8080`, `[::1]:0`) or on `unix:/path`. May be called again
    /// for further places. A host name must have one address. Without any place, it is `0.0.0.0:8080`:
    /// every interface.
    pub fn listen(mut self, place: impl Into<String>) -> Self {
        self.places.push(Place::Named(place.into()));
        self
    }

    /// Listens on these places instead of those that were asked for before.
    pub fn listen_only<P: Into<String>>(mut self, places: impl IntoIterator<Item = P>) -> Self {
        self.places = places.into_iter().map(|place| Place::Named(place.into())).collect();
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

    /// Takes the listeners over from the process that offers them at this path, if there is one, and
    /// offers them there itself while it serves. Places go by the words that they were asked for with,
    /// those of the [admin surface](Self::admin) too; sockets that were given stay.
    ///
    /// The process before [leaves](super::ServerHandle::drain) once this one [serves](RestServer::serve), without
    /// time for propagation: both accept on the same sockets meanwhile, so that no connection is refused.
    /// One that does not come to serve within a minute changes nothing.
    ///
    /// Who may connect to the path gets the listeners: its folder is to be of the service alone.
    #[cfg(unix)]
    pub fn handover(mut self, path: impl Into<PathBuf>) -> Self {
        self.handover = Some(path.into());
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

    /// Unpacks request bodies that have a content coding: `gzip` and `deflate`.
    pub fn decompress(mut self, policy: Decompression) -> Self {
        self.config.decompression = Some(policy);
        self
    }

    /// Compresses answers for clients that take them so. Mind
    /// [what it gives away](sinew_core::content_coding).
    pub fn compress(mut self, policy: Compression) -> Self {
        self.config.compression = Some(policy);
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
        self,
        method: Method,
        template: &str,
        options: RouteOptions,
        handler: impl Handler<M>,
    ) -> Self {
        self.add(Some(method), template, options, handler.into_handler())
    }

    /// Adds a handler for every method that has none of its own there.
    pub fn route_any(
        self,
        template: &str,
        options: RouteOptions,
        handler: impl Handler<M>,
    ) -> Self {
        self.add(None, template, options, handler.into_handler())
    }

    pub(super) fn add(
        mut self,
        method: Option<Method>,
        template: &str,
        options: RouteOptions,
        handler: M::Handler,
    ) -> Self {
        self.check_codings(&options);
        let route = Route { handler, options };
        self.routes.push(Added { method, template: template.to_owned(), route });
        self
    }

    /// The routes added so far, by method and template, with their options; the method is `None`
    /// where a route is for every method. Those of the [admin surface](Self::admin) are among them
    /// where it is [public](Admin::public).
    pub fn routes_mut(
        &mut self,
    ) -> impl Iterator<Item = (Option<&Method>, &str, &mut RouteOptions)> {
        let admin = self.admin.as_mut().filter(|admin| admin.is_public);
        let public = admin.map(|admin| &mut admin.routes);
        self.routes
            .iter_mut()
            .chain(public.into_iter().flatten())
            .map(|added| (added.method.as_ref(), added.template.as_str(), &mut added.route.options))
    }

    /// What operators ask, apart from what clients do.
    pub fn admin(mut self, admin: Admin<M>) -> Self {
        self.admin = Some(admin);
        self
    }

    /// Changes the [admin surface](Self::admin), if there is one.
    pub fn amend_admin(mut self, change: impl FnOnce(Admin<M>) -> Admin<M>) -> Self {
        self.admin = self.admin.map(change);
        self
    }

    /// Whether there is an [admin surface](Self::admin).
    pub fn has_admin(&self) -> bool {
        self.admin.is_some()
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

    /// Changes what was said with [`security`](Self::security); where nothing was, a policy that
    /// knows callers by their certificates alone.
    pub fn amend_security(mut self, change: impl FnOnce(SecurityPolicy) -> SecurityPolicy) -> Self {
        self.policies.security = Some(change(self.policies.security.unwrap_or_default()));
        self
    }

    /// Lets pages of other origins read answers.
    pub fn cors(self, cors: Cors) -> Self {
        self.cors_in(policy::Mode::Enforce, cors)
    }

    /// The same, obeyed or only tried.
    pub fn cors_in(mut self, mode: policy::Mode, cors: Cors) -> Self {
        self.policies.cors = Some((mode, cors));
        self
    }

    /// Holds clients to quotas; the default is 100 requests a minute, 20 at once.
    pub fn rate_limit(self, limits: RateLimitConfig) -> Self {
        self.rate_limit_in(policy::Mode::Enforce, limits)
    }

    /// The same, obeyed or only tried, those of routes included.
    pub fn rate_limit_in(mut self, mode: policy::Mode, limits: RateLimitConfig) -> Self {
        self.policies.rate_limit = Some((mode, limits));
        self
    }

    /// The quotas of clients so far.
    pub fn rate_limits(&self) -> Option<&RateLimitConfig> {
        self.policies.rate_limit.as_ref().map(|(_, limits)| limits)
    }

    /// Holds clients to a quota that replicas share, beside their [quotas here](Self::rate_limit).
    pub fn shared_quota<S: LeaseStore>(self, quota: SharedQuota<S>) -> Self {
        self.shared_quota_in(policy::Mode::Enforce, quota)
    }

    /// The same, obeyed or only tried.
    pub fn shared_quota_in<S: LeaseStore>(
        mut self,
        mode: policy::Mode,
        shared: SharedQuota<S>,
    ) -> Self {
        let (quota, secret) = (shared.quota(), shared.secret());
        match shared.split(self.runtime.clone()) {
            Ok((desk, carrier)) => {
                let layer = Box::new(SharedLimit::new(desk, secret));
                self.policies.shared_quota = Some((mode, layer, quota));
                self.policies.carrier = Some(Box::new(move |observer| {
                    Box::pin(carrier.run(move |event| {
                        if let Some(observer) = &observer {
                            observer(None, &Notice::Decided(event));
                        }
                    }))
                }));
            }
            Err(why) => self.refuse(Error::config(why.to_string())),
        }
        self
    }

    /// Serves so many requests at once as turns out to be right, and lets others wait for a while, those
    /// that matter least the shortest. What cannot be served in time is answered with 503 and
    /// `retry-after` before any of it is done, so that clients may try elsewhere.
    ///
    /// A request has its place from the start of its handler to the head of its answer. How much it
    /// matters is said by [`classes`](Self::classes); without them, by its
    /// [route](RouteOptions::priority), or by a trusted peer. `concurrency.mode` says whether this is
    /// obeyed, only tried, or off: in shadow, every request that would have waited is told to the
    /// observer as one that is shed, and goes on.
    pub fn overload(mut self, config: AdmissionConfig) -> Self {
        self.overload = Some(config).filter(|config| config.concurrency.mode.asks());
        self
    }

    /// Says how many bytes all connections, queues and limiters hold together at most, and what is done
    /// before that: connections are idle for a shorter time, none is accepted, requests are turned away,
    /// those that matter least first. Each change is told to the observer.
    ///
    /// Counted are bytes that were read and not parsed, that are to be written, requests that wait, and
    /// the buckets of the limiter; not what handlers hold, TLS sessions have in hand, and upgraded
    /// connections carry. An answer that is not there in one piece goes on when there is room; one that
    /// is, and does not fit, is dropped for 503. At most one piece of each answer in pieces, and one read
    /// of each connection, is held beyond.
    pub fn memory(mut self, config: LedgerConfig) -> Self {
        self.config.memory = config;
        self
    }

    /// Answers probes: `/livez`, `/readyz`, `/startupz` and `/health`. A route of such a path is not asked.
    pub fn health(mut self, checks: HealthChecks) -> Self {
        self.health = Some(checks);
        self
    }

    /// Says how much the requests of callers matter, here and in the calls that handlers make, and whose
    /// word about that is taken.
    pub fn classes(mut self, classes: Classes) -> Self {
        self.policies.classes = Some(classes);
        self
    }

    /// Whether what routes want to be sent, [types](RouteOptions::content_type) and
    /// [fields](RouteOptions::require), is asked for, or only looked at: in shadow what does not fit is
    /// told to the observer, and goes on.
    pub fn validation_mode(mut self, mode: policy::Mode) -> Self {
        self.policies.validation = mode;
        self
    }

    /// Names the proxies in front of the server: of these alone, who they say a request is from is
    /// believed.
    pub fn trusted_proxies(mut self, proxies: TrustedProxies) -> Self {
        self.policies.proxies = Some(proxies);
        self
    }

    /// Names the proxies whose connections start with a PROXY header of version 2, in front of TLS: whom
    /// it names is the peer, for limits, rules and logs. One that names nobody is dropped, and from
    /// everyone else such a header is garbage.
    pub fn proxy_protocol(mut self, proxies: ProxyProtocol) -> Self {
        self.config.proxy_protocol = Some(proxies);
        self
    }

    /// Says whose requests may say how long they matter, and how long that is at most. Without it
    /// those of clients with a certificate may, up to 5 minutes.
    ///
    /// Such a request names the time in `sinew-timeout-ms`, `grpc-timeout` or
    /// `x-envoy-expected-rq-timeout-ms`; [`Request::context`](crate::Request::context) passes on what
    /// is left of it. One that comes too late is refused, with 504, before anything is done for it.
    pub fn deadlines(self, deadlines: Deadlines) -> Self {
        self.deadlines_in(policy::Mode::Enforce, deadlines)
    }

    /// The same, obeyed, only tried, or off.
    pub fn deadlines_in(mut self, mode: policy::Mode, deadlines: Deadlines) -> Self {
        self.policies.deadlines = Some((mode, deadlines));
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

    /// Writes down what matters to security.
    pub fn audit(mut self, audit: Audit) -> Self {
        self.audit = Some(audit);
        self
    }

    /// Is told what connections decide, and whose they are. It runs on their tasks, so it must be
    /// quick; that the audit log cannot be written to is told on the thread that writes it.
    pub fn observe(
        mut self,
        observer: impl Fn(Option<&Peer>, &Notice) + Send + Sync + 'static,
    ) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Whether [`bind`](Self::bind) would find sense in it: all of it but the sockets. Nothing is opened, the
    /// audit log neither.
    ///
    /// # Errors
    ///
    /// What makes no sense in routes or configuration.
    pub fn check(mut self) -> Result<(), Error> {
        self.audit = None;
        self.prepare(None).map(drop)
    }

    /// Binds all listeners, or `0.0.0.0:8080` where none was [asked for](Self::listen). Connections are
    /// accepted by the kernel from here on, and by the server once it [serves](RestServer::serve).
    ///
    /// # Errors
    ///
    /// What makes no sense in routes or configuration, and what the sockets say.
    pub async fn bind(self) -> Result<RestServer<R, M>, Error> {
        let prepared = self.prepare(None)?;
        let Prepared { runtime, config, places, admin, background, fixed, service, .. } = prepared;
        let (control, handover) = (prepared.control, prepared.handover);
        let mut handover = handover.map(|path| Handover::begin(&path)).transpose()?;
        let (mut ports, mut addresses) = (Vec::new(), Vec::new());
        for place in places {
            let is_secure = service.tls.is_some() && place.is_network();
            let bound = place.bind(&runtime, handover.as_mut()).await?;
            addresses.extend(bound.address);
            ports.push(Port::new(&runtime, bound, is_secure)?);
        }
        let observer = service.observer.clone();
        let admin = match admin {
            Some(admin) => {
                let (handover, probes) = (handover.as_mut(), service.probes.clone());
                Some(admin.bind(&runtime, &config, observer.clone(), probes, handover).await?)
            }
            None => None,
        };
        let background = background.start(observer.as_ref());
        Ok(RestServer {
            runtime,
            ports,
            addresses,
            current: Arc::new(Current::new(service)),
            control,
            fixed: Some(fixed),
            admin: admin.map(Box::new),
            handover,
            background,
        })
    }

    fn check_codings(&mut self, options: &RouteOptions) {
        let (decompression, compression) =
            (options.decompression.over(None), options.compression.over(None));
        if let Some((setting, why)) = coding::check(decompression, compression) {
            self.refuse(Error::config(format!("{setting} {why}")));
        }
    }

    pub(super) fn refuse(&mut self, error: Error) {
        self.refused.get_or_insert(error);
    }
}

impl<M: Mode> Added<M> {
    pub(super) fn new(
        method: Option<Method>,
        template: &str,
        options: RouteOptions,
        handler: impl Handler<M>,
    ) -> Self {
        let route = Route { handler: handler.into_handler(), options };
        Self { method, template: template.to_owned(), route }
    }
}

/// The router of these routes.
pub(super) fn router<M: Mode>(routes: Vec<Added<M>>) -> Result<Router<Route<M>>, Error> {
    let mut router = RouterBuilder::new();
    for Added { method, template, route } in routes {
        match method {
            Some(method) => router.route(method, &template, route),
            None => router.any(&template, route),
        }
        .map_err(|error| Error::config(error.to_string()))?;
    }
    Ok(router.build())
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
