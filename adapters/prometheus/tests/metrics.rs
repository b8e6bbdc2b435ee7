//! Every request and every refusal is counted once, with labels that clients cannot multiply.

#![expect(clippy::unwrap_used, reason = "outside of `#[test]` too, a test stops where it is wrong")]

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use sinew_core::client::dispatcher::{Endpoint, ExchangeId, Outcome, Refusal};
use sinew_core::error::{Delivery, Error, Kind, Limit, Phase};
use sinew_core::head::RequestHead;
use sinew_core::http1::{Server, ServerConfig, ServerEvent};
use sinew_core::mesh::Outlier;
use sinew_core::observe::Event;
use sinew_core::policy::Mode;
use sinew_core::reason::Reason;
use sinew_core::resilience::{Change, NoRetry, OpenReason, RetryDelay};
use sinew_core::security::{Access, Expiry, Routes, Rule, Who};
use sinew_core::server::{
    Arrival, BoxLayer, Decision, End, Layer as _, Peer, Record, ReloadOutcome, RoutePolicy,
    RouterBuilder, Scheme, Stack, Template,
};
use sinew_core::time::{Instant, Timer};
use sinew_core::{Machine, Wire};
use sinew_prometheus::Metrics;

/// Everyone may GET `/open`, and nobody anything else.
fn stack(metrics: &Metrics) -> Stack {
    let mut router = RouterBuilder::new();
    router.route(Method::GET, "/open", ()).unwrap();
    router.route(Method::GET, "/closed/{id}", ()).unwrap();
    let router = router.build();
    let rule = Rule::allow("open", Who::Anyone, Routes::Of(vec!["/open".into()]));
    let templates = router.templates().iter().map(Template::as_str);
    let access = Access::new(vec![rule], templates).unwrap();
    let mut layer = metrics.layer();
    layer.prepare(router.templates());
    let layers: [BoxLayer; 2] = [Box::new(layer), Box::new(access)];
    Stack::new(layers.map(|layer| (Mode::Enforce, layer))).unwrap()
}

fn head(method: &str) -> RequestHead {
    let mut server = Server::new(Arc::new(ServerConfig::default()), Instant::ZERO);
    let text = format!("{method} /closed/7 HTTP/1.1\r\nhost: a\r\n\r\n");
    server.inbox().extend_from_slice(text.as_bytes());
    match server.poll_event(Instant::ZERO) {
        Ok(Some(ServerEvent::Request { head, .. })) => head,
        other => panic!("no request: {other:?}"),
    }
}

fn arrival<'a>(
    head: &'a RequestHead,
    route: Option<usize>,
    policy: &'a RoutePolicy,
) -> Arrival<'a> {
    static PEER: Peer = Peer { address: None, name: None, thumbprint: None, scheme: Scheme::Http };
    Arrival {
        now: Instant::ZERO,
        unix: Duration::ZERO,
        number: 1,
        head,
        has_body: false,
        route,
        fallback: false,
        policy,
        peer: &PEER,
    }
}

fn asked(stack: &Stack, head: &RequestHead) -> Record {
    let policy = RoutePolicy::default();
    let arrival = arrival(head, Some(0), &policy);
    let mut record = Record::new(&arrival);
    let _ = stack.on_head(&arrival, &mut record);
    record
}

fn pass(stack: &Stack, method: &str, route: Option<usize>, took: Duration) -> Decision {
    let head = head(method);
    let policy = RoutePolicy::default();
    let arrival = arrival(&head, route, &policy);
    let mut record = Record::new(&arrival);
    let decision = stack.on_head(&arrival, &mut record);
    let status = match decision {
        Decision::Refuse(reason) => reason.status(),
        _ => StatusCode::OK,
    };
    let reason = match decision {
        Decision::Refuse(reason) => Some(reason),
        _ => None,
    };
    let end = End {
        reason,
        request_body: 300,
        response_body: 5000,
        ..End::new(Instant::ZERO + took, Some(status))
    };
    stack.on_end(&record, &end);
    decision
}

/// The value of a series, by its whole name.
fn value(text: &str, series: &str) -> String {
    let found = text.lines().find_map(|known| known.strip_prefix(series)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no {series} in\n{text}")).to_owned()
}

fn answered(metric: &str, method: &str, route: &str, status: u16, error: &str) -> String {
    format!(
        "http_server_{metric}{{http_request_method=\"{method}\",url_scheme=\"http\",\
         http_route=\"{route}\",http_response_status_code=\"{status}\",error_type=\"{error}\"}}"
    )
}

#[test]
fn what_passes_is_counted_once() {
    let metrics = Metrics::new();
    let stack = stack(&metrics);
    assert_eq!(pass(&stack, "GET", Some(0), Duration::from_millis(30)), Decision::Continue);
    assert_eq!(pass(&stack, "GET", Some(0), Duration::from_millis(700)), Decision::Continue);
    let _ = pass(&stack, "GET", Some(1), Duration::ZERO);
    let _ = pass(&stack, "GET", None, Duration::ZERO);
    for method in ["BREW", "X-1", "X-2"] {
        let _ = pass(&stack, method, Some(1), Duration::ZERO);
    }
    let text = metrics.encode();
    let count = |method: &str, route: &str, status: u16| {
        value(&text, &answered("request_duration_seconds_count", method, route, status, ""))
    };
    assert_eq!(count("GET", "/open", 200), "2");
    assert_eq!(count("GET", "/closed/{id}", 401), "1");
    assert_eq!(count("GET", "", 401), "1");
    assert_eq!(count("_OTHER", "/closed/{id}", 401), "3");
    for (part, sum) in [
        ("request_duration_seconds_sum", "0.73"),
        ("request_body_size_bytes_sum", "600.0"),
        ("response_body_size_bytes_sum", "10000.0"),
    ] {
        assert_eq!(value(&text, &answered(part, "GET", "/open", 200, "")), sum);
    }
    let refused = "stage=\"authorise\",reason=\"unauthenticated\",mode=\"enforce\"";
    assert_eq!(value(&text, &format!("sinew_server_refusals_total{{{refused}}}")), "5");
    assert_eq!(value(&text, "sinew_server_problems_total{reason=\"unauthenticated\"}"), "5");
    let decided = "sinew_server_decisions_total{policy=\"access\",verdict=";
    assert_eq!(value(&text, &format!("{decided}\"allowed\"}}")), "2");
    assert_eq!(value(&text, &format!("{decided}\"no_rule\"}}")), "5");
    let active = "http_server_active_requests{http_request_method=\"_OTHER\",url_scheme=\"http\"}";
    assert_eq!(value(&text, active), "0");
}

/// Whatever clients send, there are no more series than methods, routes and statuses.
#[test]
fn clients_cannot_multiply_series() {
    let metrics = Metrics::new();
    let stack = stack(&metrics);
    let series = |metrics: &Metrics| metrics.encode().lines().count();
    for method in ["GET", "HEAD", "PUT", "X"] {
        let _ = pass(&stack, method, Some(1), Duration::ZERO);
    }
    let before = series(&metrics);
    for n in 0..1000 {
        let _ = pass(&stack, &format!("X-{n}"), Some(1), Duration::ZERO);
        let _ = pass(&stack, "get", Some(1), Duration::ZERO);
    }
    assert_eq!(series(&metrics), before);
}

#[test]
fn errors_of_the_server_have_a_type() {
    let metrics = Metrics::new();
    let stack = stack(&metrics);
    let head = head("GET");
    for (status, reason, error) in [
        (Some(503), Some(Reason::HandlerTimeout), "handler_timeout"),
        (Some(500), None, "500"),
        (Some(404), Some(Reason::NotFound), ""),
        (None, None, "unanswered"),
    ] {
        let record = asked(&stack, &head);
        let status = status.map(|status| StatusCode::from_u16(status).unwrap());
        stack.on_end(&record, &End { reason, ..End::new(Instant::ZERO, status) });
        let code = status.map_or(String::new(), |status| status.as_u16().to_string());
        let labels = format!(
            "http_route=\"/open\",http_response_status_code=\"{code}\",error_type=\"{error}\""
        );
        assert!(metrics.encode().contains(&labels), "{labels}");
    }
}

#[test]
fn connections_that_fail_are_counted_apart() {
    let metrics = Metrics::new();
    let fail = |kind, phase| {
        metrics.observe(&Event::Failed(Error { kind, phase, delivery: Delivery::Refused }));
    };
    fail(Kind::Limit(Limit::HeadBytes), Phase::RequestHead);
    fail(Kind::Truncated, Phase::RequestBody);
    fail(Kind::Timeout(Timer::WriteStall), Phase::ResponseBody);
    metrics.observe(&Event::Lost(3));
    metrics.observe(&Event::RequestStarted { exchange: 1 });
    let text = metrics.encode();
    for (reason, phase) in [
        ("head_too_large", "request head"),
        ("truncated", "request body"),
        ("write stall", "response body"),
    ] {
        let labels = format!("{{reason=\"{reason}\",phase=\"{phase}\"}}");
        assert_eq!(value(&text, &format!("sinew_server_connection_failures_total{labels}")), "1");
    }
    assert_eq!(value(&text, "sinew_server_lost_events_total"), "3");
}

#[test]
fn what_a_server_goes_by_is_counted() {
    let metrics = Metrics::new();
    let text = metrics.encode();
    assert!(!text.contains("sinew_server_certificate_not_after_seconds"), "{text}");
    assert!(!text.contains("sinew_server_concurrency_limit"), "{text}");
    let not_after = Duration::from_secs(1_800_000_000);
    for event in [
        Event::Reload(ReloadOutcome::InForce { epoch: 2 }),
        Event::Reload(ReloadOutcome::Refused),
        Event::Reload(ReloadOutcome::Refused),
        Event::CertificateExpiry { not_after, expiry: Expiry::Far },
        Event::CertificateExpiry { not_after, expiry: Expiry::Month },
        Event::AuditLost(7),
        Event::Reclaimed { bytes: 70_000 },
    ] {
        metrics.observe(&event);
    }
    let text = metrics.encode();
    for (series, count) in [
        (r#"sinew_server_reloads_total{outcome="in_force"}"#, "1"),
        (r#"sinew_server_reloads_total{outcome="refused"}"#, "2"),
        ("sinew_server_certificate_not_after_seconds", "1800000000"),
        (r#"sinew_server_certificate_expiries_total{left="month"}"#, "1"),
        ("sinew_server_lost_audit_records_total", "7"),
        ("sinew_server_reclaimed_connections_total", "1"),
    ] {
        assert_eq!(value(&text, series), count, "{series}");
    }
}

#[test]
fn a_request_is_active_until_its_end() {
    let metrics = Metrics::new();
    let stack = stack(&metrics);
    let active = "http_server_active_requests{http_request_method=\"GET\",url_scheme=\"http\"}";
    let record = asked(&stack, &head("GET"));
    assert_eq!(value(&metrics.encode(), active), "1");
    stack.on_end(&record, &End::new(Instant::ZERO, None));
    assert_eq!(value(&metrics.encode(), active), "0");
    assert!(metrics.encode().contains("# UNIT http_server_request_duration_seconds seconds\n"));
}

#[test]
fn what_a_client_decides_is_counted_under_its_name() {
    let metrics = Metrics::new();
    let (orders, stock) = (metrics.client("orders"), metrics.client("stock"));
    let (token, attempt, exchange, endpoint) = (1, 1, ExchangeId::NONE, Endpoint(0));
    let why = Outlier::SuccessRate;
    let breaker = Refusal::Breaker { why: OpenReason::Probing, until: None };
    for event in [
        Event::AttemptSent { token, attempt, exchange, endpoint, first_use: true },
        Event::RetryScheduled {
            token,
            attempts: 1,
            after: Duration::ZERO,
            delay: RetryDelay::Backoff,
            mode: Mode::Shadow,
        },
        Event::AttemptSent { token, attempt: 2, exchange, endpoint, first_use: false },
        Event::RetryRefused { token, why: NoRetry::Attempts, mode: Mode::Enforce },
        Event::Breaker { endpoint, change: Change::HalfOpened },
        Event::RouteBreaker { route: "GET /orders/{id}", change: Change::Closed },
        Event::CallEnded { token, outcome: Outcome::Done, attempts: 2 },
        Event::CallEnded { token, outcome: Outcome::Refused(breaker), attempts: 0 },
        Event::ConcurrencyLimit { limit: 7 },
        Event::EndpointsUpdated { added: 4, removed: 1, changed: 0, all: 9 },
        Event::Ejected { endpoint, why, until: Instant::MAX, mode: Mode::Enforce },
        Event::EjectionSpared { endpoint, why, mode: Mode::Enforce },
        Event::Probed { endpoint, up: false, mode: Mode::Shadow },
        Event::Panic { panics: true, well: 1, all: 9 },
        Event::Lost(3),
    ] {
        orders.observe(&event);
    }
    stock.observe(&Event::Hedged { token, after: Duration::ZERO });
    let text = metrics.encode();
    for (series, count) in [
        (r#"sinew_client_attempts_total{client="orders"}"#, "2"),
        (r#"sinew_client_retries_total{client="orders",mode="shadow"}"#, "1"),
        (
            r#"sinew_client_refused_retries_total{client="orders",reason="attempts",mode="enforce"}"#,
            "1",
        ),
        (
            r#"sinew_client_breaker_changes_total{client="orders",change="half_opened",route=""}"#,
            "1",
        ),
        (
            r#"sinew_client_breaker_changes_total{client="orders",change="closed",route="GET /orders/{id}"}"#,
            "1",
        ),
        (r#"sinew_client_calls_total{client="orders",outcome="done",reason=""}"#, "1"),
        (
            r#"sinew_client_calls_total{client="orders",outcome="refused",reason="breaker_probing"}"#,
            "1",
        ),
        (r#"sinew_client_concurrency_limit{client="orders"}"#, "7"),
        (r#"sinew_client_endpoints{client="orders"}"#, "9"),
        (
            r#"sinew_client_ejections_total{client="orders",reason="success_rate",mode="enforce"}"#,
            "1",
        ),
        (
            r#"sinew_client_spared_ejections_total{client="orders",reason="success_rate",mode="enforce"}"#,
            "1",
        ),
        (r#"sinew_client_probed_total{client="orders",found="down",mode="shadow"}"#, "1"),
        (r#"sinew_client_panic{client="orders"}"#, "1"),
        (r#"sinew_client_lost_events_total{client="orders"}"#, "3"),
        (r#"sinew_client_hedges_total{client="stock"}"#, "1"),
    ] {
        assert_eq!(value(&text, series), count, "{series}");
    }
}
