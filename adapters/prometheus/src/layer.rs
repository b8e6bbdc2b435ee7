//! The layer that counts.

use std::fmt;
use std::sync::Arc;

use sinew_core::observe::Event;
use sinew_core::policy::Stage;
use sinew_core::server::{Arrival, Decision, End, Exchanges, Interest, Layer, Record, Template};

use crate::Counted;
use crate::labels::{Active, Answered, Decided, Problem, Refusal};

/// Counts what passes; see [`Metrics::layer`](crate::Metrics::layer).
pub struct MetricsLayer {
    counted: Counted,
    /// The templates of the server, by their places.
    routes: Box<[Arc<str>]>,
    elsewhere: Arc<str>,
}

impl MetricsLayer {
    pub(crate) fn new(counted: Counted) -> Self {
        Self { counted, routes: Box::new([]), elsewhere: Arc::from("") }
    }

    fn route(&self, record: &Record) -> Arc<str> {
        let route = record.route.and_then(|route| self.routes.get(route));
        Arc::clone(route.unwrap_or(&self.elsewhere))
    }
}

impl Layer for MetricsLayer {
    fn stage(&self) -> Stage {
        // The first one sees every request, whoever refuses it.
        Stage::Identify
    }

    fn interest(&self) -> Interest {
        Interest { ends: Exchanges::Every, ..Interest::HEAD }
    }

    fn prepare(&mut self, templates: &[Template]) {
        self.routes = templates.iter().map(|template| Arc::from(template.as_str())).collect();
    }

    fn on_head(&self, _: &Arrival<'_>, record: &mut Record) -> Decision {
        self.counted.active.get_or_create(&Active::of(record)).inc();
        Decision::Continue
    }

    fn on_end(&self, record: &Record, end: &End) {
        let counted = &self.counted;
        counted.active.get_or_create(&Active::of(record)).dec();
        // The events that the observer was told, one for one.
        record.each_event(0, |event| {
            if let Event::Refused { refused, .. } = event {
                counted.refusals.get_or_create(&Refusal::from(refused)).inc();
            } else if let Some(verdict) = event.verdict() {
                counted.decisions.get_or_create(&Decided::from(verdict)).inc();
            }
        });
        if let Some(reason) = end.reason {
            counted.problems.get_or_create(&Problem::from(reason)).inc();
        }
        let labels = Answered::new(record, self.route(record), end);
        let took = end.now.saturating_since(record.arrived).as_secs_f64();
        counted.durations.get_or_create(&labels).observe(took);
        counted.request_bodies.get_or_create(&labels).observe(bytes(end.request_body));
        counted.response_bodies.get_or_create(&labels).observe(bytes(end.response_body));
    }
}

#[expect(clippy::cast_precision_loss, reason = "sizes are exact up to 8 PiB")]
fn bytes(count: u64) -> f64 {
    count as f64
}

impl fmt::Debug for MetricsLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsLayer").field("routes", &self.routes).finish_non_exhaustive()
    }
}
