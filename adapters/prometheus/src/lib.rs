//! What a server and its clients do, as metrics: a layer of the stack that counts into a registry of
//! [`prometheus_client`], and counters of what becomes of connections and of calls.
//!
//! | metric | labels | counts |
//! |---|---|---|
//! | `http_server_request_duration_seconds` | of a request | each request, once: from its head to the end of its answer |
//! | `http_server_request_body_size_bytes` | of a request | the same, by what came of the body |
//! | `http_server_response_body_size_bytes` | of a request | the same, by what went out |
//! | `http_server_active_requests` | `http_request_method`, `url_scheme` | requests that are being answered |
//! | `sinew_server_decisions_total` | `policy`, `verdict` | each verdict of a policy |
//! | `sinew_server_lease_asks_total` | `outcome` | each ask to the store of a quota that replicas share |
//! | `sinew_server_admissions_total` | `priority`, `outcome` | each request that was taken up or turned away where their number is limited |
//! | `sinew_server_admission_wait_seconds` | `priority` | the same that were taken up, by how long they waited |
//! | `sinew_server_concurrency_limit` | | requests that are served at once, since that changed |
//! | `sinew_server_memory_stages_total` | `stage` | each change of what is done about memory |
//! | `sinew_server_reclaimed_connections_total` | | connections that were cut, as memory ran short and their clients took nothing |
//! | `sinew_server_refusals_total` | `stage`, `reason`, `mode` | each refusal by a layer, enforced or only noted |
//! | `sinew_server_problems_total` | `reason` | each answer that says why it is an error, whoever wrote it |
//! | `sinew_server_connection_failures_total` | `reason`, `phase` | each connection that failed |
//! | `sinew_server_reloads_total` | `outcome` | each change of what the server goes by, in force or refused |
//! | `sinew_server_certificate_not_after_seconds` | | the last moment of its certificates, since 1970 |
//! | `sinew_server_certificate_expiries_total` | `left` | each time that it was told how long they are good |
//! | `sinew_server_lost_audit_records_total` | | audit records that did not fit |
//! | `sinew_server_lost_events_total` | | events that no observer was told |
//! | `sinew_client_calls_total` | `client`, `outcome`, `reason` | each call, once: when the last of its answer was read, or when it failed |
//! | `sinew_client_attempts_total` | `client` | each attempt that was sent |
//! | `sinew_client_retries_total` | `client`, `mode` | each attempt that was put off to be made once more, or only noted |
//! | `sinew_client_refused_retries_total` | `client`, `reason`, `mode` | each failed call that was not made once more, or would not have been |
//! | `sinew_client_hedges_total` | `client` | each call that was sent a second time, as it took long |
//! | `sinew_client_held_total` | `client` | each attempt that had to wait, as the service bears no more at once |
//! | `sinew_client_breaker_changes_total` | `client`, `change`, `route` | each change of the breaker of a route, or, where that is empty, of an endpoint |
//! | `sinew_client_concurrency_limit` | `client` | attempts that the service bears at once, since that changed |
//! | `sinew_client_lost_events_total` | `client` | events that no observer was told |
//!
//! The labels of a request are `http_request_method`, `url_scheme`, `http_route`,
//! `http_response_status_code` (empty: there was no answer) and `error_type` (of a status from 500 on:
//! its reason, or the status itself; `unanswered`; else empty). Names, units and the buckets of
//! durations are those of the
//! [semantic conventions](https://opentelemetry.io/docs/specs/semconv/http/http-metrics/). Sizes are
//! those of the content as it was transferred, without chunk framing.
//!
//! # What is a request
//!
//! Whatever has a head that could be read. What fails before that is no request: a connection that
//! was answered with 400, 408, 414, 417, 431, 501 or 505 in the phase `request head` is counted among the
//! connections alone. Where a connection fails in the middle of a request, a body that is too large
//! say, the request is counted with the status that the connection wrote, and the connection as well.
//! So the answers of a server are its requests with a status, and its failures in the phase
//! `request head` with a reason that has one.
//!
//! # Bounded series
//!
//! No label grows with what clients send: a route is the template that it was added as, or empty;
//! methods that nobody has heard of are `_OTHER`; reasons, verdicts, stages and phases are enums. There
//! are at most 10 methods × 2 schemes × (routes + 1) × statuses that handlers give.
//!
//! ```
//! use sinew_prometheus::Metrics;
//!
//! let metrics = Metrics::new();
//! let layer = metrics.layer();             // for `ServerBuilder::layer`
//! let answer = metrics.answer(None);       // for the handler of `Admin::metrics`
//! assert_eq!(answer.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
//! // for `ServerBuilder::observe`: what is no request
//! let orders = metrics.client("orders");
//! let count = move |event: &sinew_core::observe::Event| metrics.observe(event);
//! // for `ClientBuilder::observe`
//! let count = move |event: &sinew_core::observe::Event| orders.observe(event);
//! ```

mod client;
mod format;
mod labels;
mod layer;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use http::header::{CONTENT_TYPE, VARY};
use http::{HeaderValue, Response};
use prometheus_client::encoding::{EncodeMetric, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use sinew_core::observe::Event;

pub use self::client::ClientMetrics;
pub use self::layer::MetricsLayer;

use self::labels::{
    Active, Admission, Answered, Asked, Class, Decided, Failure, Left, Pressure, Problem, Refusal,
    Reloaded,
};

pub use format::Format;

/// Seconds, as the semantic conventions advise.
const DURATIONS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// Seconds, about the target, the interval and the patience of an admission.
const WAITS: [f64; 8] = [0.0, 0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 1.0];

/// Bytes, from nothing to 16 MiB.
const SIZES: [f64; 10] = [
    0.0,
    256.0,
    1024.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
];

/// The metrics of servers and clients; clones count into the same ones.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    counted: Counted,
}

/// A gauge that is not there before it is known, which zero stands for: it would be an alarm.
#[derive(Clone, Debug, Default)]
struct Later(Gauge);

impl EncodeMetric for Later {
    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        if self.is_empty() { Ok(()) } else { self.0.encode(encoder) }
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }

    fn is_empty(&self) -> bool {
        self.0.get() == 0
    }
}

type Histograms = Family<Answered, Histogram, fn() -> Histogram>;

#[derive(Clone)]
struct Counted {
    durations: Histograms,
    request_bodies: Histograms,
    response_bodies: Histograms,
    active: Family<Active, Gauge>,
    decisions: Family<Decided, Counter>,
    lease_asks: Family<Asked, Counter>,
    admissions: Family<Admission, Counter>,
    waits: Family<Class, Histogram, fn() -> Histogram>,
    concurrency: Later,
    pressure: Family<Pressure, Counter>,
    reclaimed: Counter,
    refusals: Family<Refusal, Counter>,
    problems: Family<Problem, Counter>,
    failures: Family<Failure, Counter>,
    reloads: Family<Reloaded, Counter>,
    not_after: Later,
    expiries: Family<Left, Counter>,
    lost_records: Counter,
    lost: Counter,
    client: client::Counted,
}

impl Metrics {
    /// Metrics in a registry of their own.
    pub fn new() -> Self {
        Self::in_registry(Registry::default())
    }

    /// Metrics beside others that are registered already.
    pub fn in_registry(mut registry: Registry) -> Self {
        let durations: fn() -> Histogram = || Histogram::new(DURATIONS);
        let sizes: fn() -> Histogram = || Histogram::new(SIZES);
        let waits: fn() -> Histogram = || Histogram::new(WAITS);
        let counted = Counted {
            durations: Family::new_with_constructor(durations),
            request_bodies: Family::new_with_constructor(sizes),
            response_bodies: Family::new_with_constructor(sizes),
            active: Family::default(),
            decisions: Family::default(),
            lease_asks: Family::default(),
            admissions: Family::default(),
            waits: Family::new_with_constructor(waits),
            concurrency: Later::default(),
            pressure: Family::default(),
            reclaimed: Counter::default(),
            refusals: Family::default(),
            problems: Family::default(),
            failures: Family::default(),
            reloads: Family::default(),
            not_after: Later::default(),
            expiries: Family::default(),
            lost_records: Counter::default(),
            lost: Counter::default(),
            client: client::Counted::default(),
        };
        registry.register_with_unit(
            "http_server_request_duration",
            "From the head of a request to the end of its answer",
            Unit::Seconds,
            counted.durations.clone(),
        );
        registry.register_with_unit(
            "http_server_request_body_size",
            "Content of requests, as it was transferred",
            Unit::Bytes,
            counted.request_bodies.clone(),
        );
        registry.register_with_unit(
            "http_server_response_body_size",
            "Content of answers, as it was transferred",
            Unit::Bytes,
            counted.response_bodies.clone(),
        );
        registry.register(
            "http_server_active_requests",
            "Requests that are being answered",
            counted.active.clone(),
        );
        registry.register(
            "sinew_server_decisions",
            "Verdicts of the policies",
            counted.decisions.clone(),
        );
        registry.register(
            "sinew_server_lease_asks",
            "Asks to the store of a quota that replicas share",
            counted.lease_asks.clone(),
        );
        registry.register(
            "sinew_server_admissions",
            "Requests that were taken up or turned away where their number is limited",
            counted.admissions.clone(),
        );
        registry.register_with_unit(
            "sinew_server_admission_wait",
            "How long requests waited that were taken up",
            Unit::Seconds,
            counted.waits.clone(),
        );
        registry.register(
            "sinew_server_concurrency_limit",
            "Requests that are served at once, since that changed",
            counted.concurrency.clone(),
        );
        registry.register(
            "sinew_server_memory_stages",
            "Changes of what is done about memory",
            counted.pressure.clone(),
        );
        registry.register(
            "sinew_server_reclaimed_connections",
            "Connections that were cut, as memory ran short and their clients took nothing",
            counted.reclaimed.clone(),
        );
        registry.register(
            "sinew_server_refusals",
            "Requests that a layer of the stack refused, or would have",
            counted.refusals.clone(),
        );
        registry.register(
            "sinew_server_problems",
            "Answers that say why they are errors",
            counted.problems.clone(),
        );
        registry.register(
            "sinew_server_connection_failures",
            "Connections that failed",
            counted.failures.clone(),
        );
        registry.register(
            "sinew_server_reloads",
            "Changes of what the server goes by",
            counted.reloads.clone(),
        );
        registry.register_with_unit(
            "sinew_server_certificate_not_after",
            "The last moment of the certificates, since 1970",
            Unit::Seconds,
            counted.not_after.clone(),
        );
        registry.register(
            "sinew_server_certificate_expiries",
            "Times that it was told how long the certificates are good",
            counted.expiries.clone(),
        );
        registry.register(
            "sinew_server_lost_audit_records",
            "Audit records that did not fit",
            counted.lost_records.clone(),
        );
        registry.register(
            "sinew_server_lost_events",
            "Events that no observer was told",
            counted.lost.clone(),
        );
        counted.client.register(&mut registry);
        Self { registry: Arc::new(Mutex::new(registry)), counted }
    }

    /// The layer that counts requests and verdicts. Each server takes one of its own.
    pub fn layer(&self) -> MetricsLayer {
        MetricsLayer::new(self.counted.clone())
    }

    /// Counts what a client decides about its calls. The name becomes a label: choose a fixed one.
    pub fn client(&self, name: impl Into<Arc<str>>) -> ClientMetrics {
        ClientMetrics::new(name.into(), self.counted.client.clone())
    }

    /// Counts what becomes of connections, of asks for leases, at admission, and of memory: for the
    /// observer of a server, of every event. What the layer counts is left to it.
    pub fn observe(&self, event: &Event) {
        match event {
            Event::Failed(error) => {
                self.counted.failures.get_or_create(&Failure::of(error)).inc();
            }
            Event::Asked(outcome) => {
                self.counted.lease_asks.get_or_create(&Asked::from(*outcome)).inc();
            }
            Event::Admitted { priority, waited, .. } => {
                self.counted.admissions.get_or_create(&Admission::of(*priority, None)).inc();
                let waits = self.counted.waits.get_or_create(&Class::from(*priority));
                waits.observe(waited.as_secs_f64());
            }
            Event::Shed { priority, why, .. } => {
                self.counted.admissions.get_or_create(&Admission::of(*priority, Some(*why))).inc();
            }
            Event::ConcurrencyLimit { limit } => {
                self.counted.concurrency.0.set((*limit).into());
            }
            Event::Pressure(stage) => {
                self.counted.pressure.get_or_create(&Pressure::from(*stage)).inc();
            }
            Event::Reclaimed { .. } => {
                self.counted.reclaimed.inc();
            }
            Event::Reload(outcome) => {
                self.counted.reloads.get_or_create(&Reloaded::from(*outcome)).inc();
            }
            Event::CertificateExpiry { not_after, expiry } => {
                let last = i64::try_from(not_after.as_secs()).unwrap_or(i64::MAX);
                self.counted.not_after.0.set(last);
                self.counted.expiries.get_or_create(&Left::from(*expiry)).inc();
            }
            Event::AuditLost(records) => {
                self.counted.lost_records.inc_by(*records);
            }
            Event::Lost(events) => {
                self.counted.lost.inc_by(*events);
            }
            _ => {}
        }
    }

    /// The answer to whoever asks for metrics, in the [`Format`] that suits the `Accept` of the
    /// request.
    pub fn answer(&self, accept: Option<&[u8]>) -> Response<String> {
        let format = Format::accepted(accept);
        let mut answer = Response::new(self.encode_as(format));
        let fields = answer.headers_mut();
        fields.insert(CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
        fields.insert(VARY, HeaderValue::from_static("accept"));
        answer
    }

    /// Everything in the registry, in this format.
    pub fn encode_as(&self, format: Format) -> String {
        match format {
            Format::OpenMetrics => self.encode(),
            Format::Text => format::to_text(&self.encode()),
        }
    }

    /// Everything in the registry, as [`Format::OpenMetrics`].
    pub fn encode(&self) -> String {
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = text::encode(&mut text, &registry);
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}
