//! What a server does, as metrics: a layer of the stack that counts into a registry of
//! [`prometheus_client`].
//!
//! | metric | labels |
//! |---|---|
//! | `http_server_request_duration_seconds` | `http_request_method`, `http_route`, `http_response_status_code` |
//! | `http_server_active_requests` | |
//! | `sinew_server_refusals_total` | `stage`, `reason`, `mode` |
//!
//! The names are those of the
//! [semantic conventions](https://opentelemetry.io/docs/specs/semconv/http/http-metrics/). No label
//! grows with what clients send: a route is the template that it was added as, or empty; methods that
//! nobody has heard of are `_OTHER`.
//!
//! ```
//! use sinew_prometheus::Metrics;
//!
//! let metrics = Metrics::new();
//! let layer = metrics.layer();             // for `ServerBuilder::layer`
//! let answer = metrics.answer(None);       // for the handler of `Admin::metrics`
//! assert_eq!(answer.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
//! ```

mod format;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use http::header::{CONTENT_TYPE, VARY};
use http::{HeaderValue, Method, Response, StatusCode};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use sinew_core::policy::{Mode, Stage};
use sinew_core::server::{Arrival, Decision, End, Layer, Record, Template};

pub use format::Format;

/// Seconds, as the semantic conventions advise.
const BUCKETS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// The metrics of one or more servers; clones count into the same ones.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    counted: Counted,
}

#[derive(Clone)]
struct Counted {
    durations: Family<Answered, Histogram, fn() -> Histogram>,
    active: Gauge,
    refusals: Family<Refusal, Counter>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
#[expect(clippy::struct_field_names, reason = "they are the names of labels")]
struct Answered {
    http_request_method: &'static str,
    http_route: Arc<str>,
    http_response_status_code: u16,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Refusal {
    stage: &'static str,
    reason: &'static str,
    mode: &'static str,
}

impl Metrics {
    /// Metrics in a registry of their own.
    pub fn new() -> Self {
        Self::in_registry(Registry::default())
    }

    /// Metrics beside others that are registered already.
    pub fn in_registry(mut registry: Registry) -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(BUCKETS);
        let counted = Counted {
            durations: Family::new_with_constructor(histogram),
            active: Gauge::default(),
            refusals: Family::default(),
        };
        registry.register_with_unit(
            "http_server_request_duration",
            "From the head of a request to the end of its answer",
            Unit::Seconds,
            counted.durations.clone(),
        );
        registry.register(
            "http_server_active_requests",
            "Requests that are being answered",
            counted.active.clone(),
        );
        registry.register(
            "sinew_server_refusals",
            "Requests that a layer of the stack refused, or would have",
            counted.refusals.clone(),
        );
        Self { registry: Arc::new(Mutex::new(registry)), counted }
    }

    /// The layer that counts. Each server takes one of its own.
    pub fn layer(&self) -> MetricsLayer {
        MetricsLayer {
            counted: self.counted.clone(),
            routes: Box::new([]),
            elsewhere: Arc::from(""),
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

/// Counts what passes; see [`Metrics::layer`].
pub struct MetricsLayer {
    counted: Counted,
    /// The templates of the server, by their places.
    routes: Box<[Arc<str>]>,
    elsewhere: Arc<str>,
}

impl Layer for MetricsLayer {
    fn stage(&self) -> Stage {
        // The first one sees every request, whoever refuses it.
        Stage::Identify
    }

    fn prepare(&mut self, templates: &[Template]) {
        self.routes = templates.iter().map(|template| Arc::from(template.as_str())).collect();
    }

    fn on_head(&self, _: &Arrival<'_>, _: &mut Record) -> Decision {
        self.counted.active.inc();
        Decision::Continue
    }

    fn on_end(&self, record: &Record, end: &End) {
        self.counted.active.dec();
        for refused in record.refusals() {
            let labels = Refusal {
                stage: refused.stage.name(),
                reason: refused.reason.name(),
                mode: match refused.mode {
                    Mode::Enforce => "enforce",
                    Mode::Shadow => "shadow",
                    Mode::Off => "off",
                },
            };
            self.counted.refusals.get_or_create(&labels).inc();
        }
        // Without an answer there is no status to tell; 499 is what others write down.
        let status = end.status.map_or(499, |status: StatusCode| status.as_u16());
        let route = record.route.and_then(|route| self.routes.get(route));
        let labels = Answered {
            http_request_method: known(&record.method),
            http_route: Arc::clone(route.unwrap_or(&self.elsewhere)),
            http_response_status_code: status,
        };
        let took = end.now.saturating_since(record.arrived).as_secs_f64();
        self.counted.durations.get_or_create(&labels).observe(took);
    }
}

impl fmt::Debug for MetricsLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsLayer").field("routes", &self.routes).finish_non_exhaustive()
    }
}

/// A method as a label. <https://opentelemetry.io/docs/specs/semconv/http/http-metrics/>
fn known(method: &Method) -> &'static str {
    const KNOWN: [(&Method, &str); 9] = [
        (&Method::GET, "GET"),
        (&Method::HEAD, "HEAD"),
        (&Method::POST, "POST"),
        (&Method::PUT, "PUT"),
        (&Method::DELETE, "DELETE"),
        (&Method::CONNECT, "CONNECT"),
        (&Method::OPTIONS, "OPTIONS"),
        (&Method::TRACE, "TRACE"),
        (&Method::PATCH, "PATCH"),
    ];
    KNOWN.iter().find(|(known, _)| *known == method).map_or("_OTHER", |(_, name)| name)
}
