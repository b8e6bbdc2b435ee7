//! Every error is counted once, whoever writes the answer, and all are written alike.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Method;
use sinew_core::content_coding::Decompression;
use sinew_core::limit::Quota;
use sinew_core::observe::Event;
use sinew_core::policy::Stage;
use sinew_core::reason::Reason;
use sinew_core::security::Who;
use sinew_core::server::RateLimitConfig;
use sinew_driver::{Notice, Request, RouteOptions};
use sinew_prometheus::Metrics;

use super::each;
use super::policies::{ask, guarded, problem};
use super::raw::raw;
use super::site::{Security, Site};
use crate::rt;

const ANN: &str = "authorization: Bearer ann\r\n";
const OLD: &str = "authorization: Bearer old\r\n";

/// What is asked, and why it is refused. The last two end their connection.
const ASKED: [(&str, &str, Reason); 8] = [
    ("GET /who", OLD, Reason::InvalidToken),
    ("GET /admin", ANN, Reason::Forbidden),
    ("GET /few", "", Reason::RateLimited),
    ("POST /large", "content-encoding: br\r\ncontent-length: 1\r\n", Reason::UnsupportedMediaType),
    ("GET /missing", ANN, Reason::NotFound),
    ("GET /slow", ANN, Reason::HandlerTimeout),
    ("POST /large", "content-length: 5\r\n", Reason::BodyTooLarge),
    ("GET /panic", ANN, Reason::Internal),
];

type Refusals = Arc<Mutex<Vec<(Stage, Reason)>>>;

async fn site(security: Security, metrics: &Metrics, refused: &Refusals) -> Site {
    let hour = Duration::from_secs(3600);
    let few = RouteOptions::new().allow(Who::Anyone).quota(Quota::new(1, hour, 1).unwrap());
    let large = RouteOptions::new().allow(Who::Anyone).body_limit(4);
    let (connections, told) = (metrics.clone(), Arc::clone(refused));
    let builder = guarded(rt::RestServer::builder())
        .decompress(Decompression::default())
        .rate_limit(RateLimitConfig { client: None, ..RateLimitConfig::default() })
        .layer(metrics.layer())
        .observe(move |_, notice| {
            if let Notice::Decided(event) = notice {
                connections.observe(event);
                if let Event::Refused { refused, .. } = event {
                    told.lock().unwrap().push((refused.stage, refused.reason));
                }
            }
        })
        .route_with(Method::GET, "/few", few, async |_: Request| "few")
        .route_with(Method::POST, "/large", large, async |_: Request| "large");
    Site::run(security, builder.listen("127.0.0.1:0")).await
}

/// The sum of all series of a metric with this label.
fn sum(text: &str, metric: &str, label: &str) -> u64 {
    let series = text.lines().filter(|line| line.starts_with(metric) && line.contains(label));
    series.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
}

#[test]
fn every_error_is_counted_once() {
    each(async |security| {
        let metrics = Metrics::new();
        let refused = Refusals::default();
        let site = site(security, &metrics, &refused).await;
        raw(&site, |mut socket| assert_eq!(ask(&mut socket, "GET /few", "", "").status(), 200))
            .await;
        for (line, fields, reason) in ASKED {
            let answer = raw(&site, move |mut socket| ask(&mut socket, line, fields, "")).await;
            // With its status, its reason, and the ids of the request.
            let wanted = (reason.status().as_u16(), reason.name().to_owned());
            assert_eq!(problem(&answer), wanted, "{line}");
        }
        // No request, and no id; the connection failed.
        let head = format!("x-long: {}\r\n", "x".repeat(20_000));
        let answer = raw(&site, move |mut socket| ask(&mut socket, "GET /who", &head, "")).await;
        assert_eq!(answer.status(), 431);
        assert_eq!(answer.field("content-type"), Some("application/problem+json"));
        site.stop().await;

        let text = metrics.encode();
        let requests = "http_server_request_duration_seconds_count{";
        assert_eq!(sum(&text, requests, ""), 1 + ASKED.len() as u64, "{text}");
        for (line, _, reason) in ASKED {
            let status = format!("http_response_status_code=\"{}\"", reason.status().as_u16());
            let label = format!("reason=\"{}\"", reason.name());
            assert_eq!(sum(&text, requests, &status), 1, "{line}: {text}");
            assert_eq!(sum(&text, "sinew_server_problems_total{", &label), 1, "{line}: {text}");
        }
        assert_eq!(sum(&text, "sinew_server_refusals_total{", ""), 4, "{text}");
        // As many as the observer was told.
        let stages = [Stage::Authenticate, Stage::Authorise, Stage::Limit, Stage::Validate];
        let wanted: Vec<_> = stages.into_iter().zip(ASKED.map(|(_, _, reason)| reason)).collect();
        assert_eq!(*refused.lock().unwrap(), wanted);
        let failures = |label| sum(&text, "sinew_server_connection_failures_total{", label);
        assert_eq!(failures("reason=\"head_too_large\",phase=\"request head\""), 1, "{text}");
        assert_eq!(failures("phase=\"request head\""), 1, "{text}");
        assert_eq!(sum(&text, "http_server_active_requests{", ""), 0, "{text}");
        let scheme = if security == Security::Plain { "http" } else { "https" };
        let label = format!("url_scheme=\"{scheme}\"");
        assert_eq!(sum(&text, requests, &label), 1 + ASKED.len() as u64, "{text}");
    });
}
