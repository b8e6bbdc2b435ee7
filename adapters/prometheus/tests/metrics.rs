//! Every request and every refusal is counted once, with labels that clients cannot multiply.

#![expect(clippy::unwrap_used, reason = "outside of `#[test]` too, a test stops where it is wrong")]

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use sinew_core::http1::{Server, ServerConfig, ServerEvent};
use sinew_core::policy::Mode;
use sinew_core::security::{Access, Routes, Rule, Who};
use sinew_core::server::{
    Arrival, BoxLayer, Decision, End, Layer as _, Peer, RoutePolicy, RouterBuilder, Stack, Template,
};
use sinew_core::time::Instant;
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

fn pass(stack: &Stack, method: &str, route: Option<usize>, took: Duration) -> Decision {
    let mut server = Server::new(Arc::new(ServerConfig::default()), Instant::ZERO);
    let text = format!("{method} /closed/7 HTTP/1.1\r\nhost: a\r\n\r\n");
    server.inbox().extend_from_slice(text.as_bytes());
    let Ok(Some(ServerEvent::Request { head, .. })) = server.poll_event(Instant::ZERO) else {
        panic!("no request")
    };
    let (decision, record) = stack.on_head(&Arrival {
        now: Instant::ZERO,
        unix: Duration::ZERO,
        number: 1,
        head: &head,
        has_body: false,
        route,
        fallback: false,
        policy: &RoutePolicy::default(),
        peer: &Peer::default(),
    });
    let status = match decision {
        Decision::Refuse(reason) => reason.status(),
        _ => StatusCode::OK,
    };
    stack.on_end(&record, &End { now: Instant::ZERO + took, status: Some(status) });
    decision
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
    let value = |line: &str| {
        let found = text.lines().find_map(|known| known.strip_prefix(line)?.strip_prefix(' '));
        found.unwrap_or_else(|| panic!("no {line} in\n{text}")).to_owned()
    };
    let took = |part: &str, method: &str, route: &str, status: u16| {
        format!(
            "http_server_request_duration_seconds_{part}{{http_request_method=\"{method}\",\
             http_route=\"{route}\",http_response_status_code=\"{status}\"}}"
        )
    };
    assert_eq!(value(&took("count", "GET", "/open", 200)), "2");
    assert_eq!(value(&took("sum", "GET", "/open", 200)), "0.73");
    assert_eq!(value(&took("count", "GET", "/closed/{id}", 401)), "1");
    assert_eq!(value(&took("count", "GET", "", 401)), "1");
    assert_eq!(value(&took("count", "_OTHER", "/closed/{id}", 401)), "3");
    let refused = "stage=\"authorise\",reason=\"unauthenticated\",mode=\"enforce\"";
    assert_eq!(value(&format!("sinew_server_refusals_total{{{refused}}}")), "5");
    assert_eq!(value("http_server_active_requests"), "0");
}

#[test]
fn a_request_is_active_until_its_end() {
    let metrics = Metrics::new();
    let stack = stack(&metrics);

    let _ = pass(&stack, "GET", Some(0), Duration::ZERO);
    assert!(metrics.encode().contains("http_server_active_requests 0\n"));
    assert!(metrics.encode().contains("# UNIT http_server_request_duration_seconds seconds\n"));
}
