//! What a client decides about its calls, as counters.

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use sinew_core::observe::Event;

/// A client, as its owner calls it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Named {
    client: Arc<str>,
}

/// A call that is over.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Ended {
    client: Arc<str>,
    outcome: &'static str,
    reason: &'static str,
}

/// A retry, made or only noted.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Retried {
    client: Arc<str>,
    mode: &'static str,
}

/// A retry that was not made, or would not have been.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Reasoned {
    client: Arc<str>,
    reason: &'static str,
    mode: &'static str,
}

/// A breaker that changed: that of an endpoint, or of a route.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Changed {
    client: Arc<str>,
    change: &'static str,
    route: &'static str,
}

/// What probes found of an endpoint.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Probed {
    client: Arc<str>,
    found: &'static str,
    mode: &'static str,
}

#[derive(Clone, Default)]
pub(crate) struct Counted {
    calls: Family<Ended, Counter>,
    attempts: Family<Named, Counter>,
    retries: Family<Retried, Counter>,
    refused_retries: Family<Reasoned, Counter>,
    hedges: Family<Named, Counter>,
    held: Family<Named, Counter>,
    breakers: Family<Changed, Counter>,
    limit: Family<Named, Gauge>,
    endpoints: Family<Named, Gauge>,
    ejections: Family<Reasoned, Counter>,
    spared: Family<Reasoned, Counter>,
    probed: Family<Probed, Counter>,
    panics: Family<Named, Gauge>,
    lost: Family<Named, Counter>,
}

impl Counted {
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("sinew_client_calls", "Calls that are over", self.calls.clone());
        registry.register(
            "sinew_client_attempts",
            "Attempts of calls that were sent",
            self.attempts.clone(),
        );
        registry.register(
            "sinew_client_retries",
            "Calls that were made once more, or would have been",
            self.retries.clone(),
        );
        registry.register(
            "sinew_client_refused_retries",
            "Calls that failed and were not made once more, or would not have been",
            self.refused_retries.clone(),
        );
        registry.register(
            "sinew_client_hedges",
            "Calls that were sent a second time, as they took long",
            self.hedges.clone(),
        );
        registry.register(
            "sinew_client_held",
            "Attempts that had to wait, as the service bears no more at once, or would have had to",
            self.held.clone(),
        );
        registry.register(
            "sinew_client_breaker_changes",
            "Changes of the breakers of endpoints and of routes",
            self.breakers.clone(),
        );
        registry.register(
            "sinew_client_concurrency_limit",
            "Attempts that the service bears at once",
            self.limit.clone(),
        );
        registry.register(
            "sinew_client_endpoints",
            "Endpoints of the service",
            self.endpoints.clone(),
        );
        registry.register(
            "sinew_client_ejections",
            "Endpoints that were left alone as they were worse than the others, or would have been",
            self.ejections.clone(),
        );
        registry.register(
            "sinew_client_spared_ejections",
            "Endpoints that were not left alone as too few would have been left",
            self.spared.clone(),
        );
        registry.register(
            "sinew_client_probed",
            "Endpoints that probes found up or down, where that changed",
            self.probed.clone(),
        );
        registry.register(
            "sinew_client_panic",
            "Whether so few endpoints are well that all of them are asked",
            self.panics.clone(),
        );
        registry.register(
            "sinew_client_lost_events",
            "Events of a client that no observer was told",
            self.lost.clone(),
        );
    }
}

/// Counts what one client decides: give its [`observe`](Self::observe) to `ClientBuilder::observe`.
#[derive(Clone)]
pub struct ClientMetrics {
    name: Arc<str>,
    counted: Counted,
}

impl ClientMetrics {
    pub(crate) fn new(name: Arc<str>, counted: Counted) -> Self {
        Self { name, counted }
    }

    /// Counts an event.
    pub fn observe(&self, event: &Event) {
        let client = || Arc::clone(&self.name);
        let named = || Named { client: client() };
        let counted = &self.counted;
        match *event {
            Event::AttemptSent { .. } => {
                counted.attempts.get_or_create(&named()).inc();
            }
            Event::RetryScheduled { mode, .. } => {
                let retried = Retried { client: client(), mode: mode.name() };
                counted.retries.get_or_create(&retried).inc();
            }
            Event::RetryRefused { why, mode, .. } => {
                let (reason, mode) = (why.name(), mode.name());
                let reasoned = Reasoned { client: client(), reason, mode };
                counted.refused_retries.get_or_create(&reasoned).inc();
            }
            Event::Hedged { .. } => {
                counted.hedges.get_or_create(&named()).inc();
            }
            Event::Held { .. } => {
                counted.held.get_or_create(&named()).inc();
            }
            Event::CallEnded { outcome, .. } => {
                let (outcome, reason) = (outcome.name(), outcome.reason());
                let ended = Ended { client: client(), outcome, reason };
                counted.calls.get_or_create(&ended).inc();
            }
            Event::Breaker { change, .. } => {
                let changed = Changed { client: client(), change: change.name(), route: "" };
                counted.breakers.get_or_create(&changed).inc();
            }
            Event::RouteBreaker { route, change } => {
                let changed = Changed { client: client(), change: change.name(), route };
                counted.breakers.get_or_create(&changed).inc();
            }
            Event::ConcurrencyLimit { limit } => {
                counted.limit.get_or_create(&named()).set(i64::from(limit));
            }
            Event::EndpointsUpdated { all, .. } => {
                counted.endpoints.get_or_create(&named()).set(i64::from(all));
            }
            Event::Ejected { why, mode, .. } => {
                let (reason, mode) = (why.name(), mode.name());
                let ejected = Reasoned { client: client(), reason, mode };
                counted.ejections.get_or_create(&ejected).inc();
            }
            Event::EjectionSpared { why, mode, .. } => {
                let (reason, mode) = (why.name(), mode.name());
                let spared = Reasoned { client: client(), reason, mode };
                counted.spared.get_or_create(&spared).inc();
            }
            Event::Probed { up, mode, .. } => {
                let found = if up { "up" } else { "down" };
                let found = Probed { client: client(), found, mode: mode.name() };
                counted.probed.get_or_create(&found).inc();
            }
            Event::Panic { panics, .. } => {
                counted.panics.get_or_create(&named()).set(i64::from(panics));
            }
            Event::Lost(events) => {
                counted.lost.get_or_create(&named()).inc_by(events);
            }
            _ => {}
        }
    }
}

impl fmt::Debug for ClientMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientMetrics").field("name", &self.name).finish_non_exhaustive()
    }
}
