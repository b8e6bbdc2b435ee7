//! The server in memory: what the client of a handler is told when a call that it made fails.

use std::time::Duration;

use http::{Method, StatusCode};
use sinew_core::resilience::RetryPolicy;
use sinew_driver::{Body, Problem, Request, RestClient, RestClientConfig};

use crate::support::running::{Running, get, seconds, serve};
use crate::support::{Sim, Site};

const UPSTREAM: &str = "192.0.2.1:80";

/// A server whose handlers ask another one and leave its errors to `?`.
fn gateway() -> Running {
    async fn ask(client: RestClient<Sim>, _: Request) -> Result<String, Problem> {
        Ok(client.get("/secret").send().await?.text().await?)
    }
    async fn strict(client: RestClient<Sim>, _: Request) -> Result<StatusCode, Problem> {
        Ok(client.get("/secret").send().await?.error_for_status()?.status())
    }
    async fn forward(client: RestClient<Sim>, request: Request) -> Result<String, Problem> {
        let body = Body::wrap(request.into_body());
        Ok(client.post("/secret").body(body).send().await?.text().await?)
    }
    serve(|builder, sim| {
        let mut config = RestClientConfig::new(format!("http://{UPSTREAM}"));
        config.max_response_size = 16;
        let client = RestClient::builder("")
            .config(config)
            .allow_plaintext()
            .timeout(seconds(5))
            .retry(RetryPolicy { attempts: 1, ..RetryPolicy::default() })
            .build_on(sim)
            .unwrap();
        let [a, b, c] = [0; 3].map(|_| client.clone());
        builder
            .route(Method::GET, "/ask", move |request| ask(a.clone(), request))
            .route(Method::GET, "/strict", move |request| strict(b.clone(), request))
            .route(Method::POST, "/forward", move |request| forward(c.clone(), request))
    })
}

/// Status and reason, and no word of what is behind.
fn told(answer: &str) -> (u16, &str) {
    assert!(answer.contains("content-type: application/problem+json"), "{answer}");
    for secret in ["192.0.2.1", "secret", "upstream:", "refused", "timed out", "detail", "bytes"] {
        assert!(!answer.contains(secret), "{secret:?} in {answer}");
    }
    let status = answer[9..12].parse().unwrap();
    let reason = answer.split("\"reason\":\"").nth(1).unwrap().split('"').next().unwrap();
    (status, reason)
}

#[test]
fn a_call_that_gets_no_connection_is_a_503() {
    for (site, wait) in [(Site::Refusing, 0), (Site::Silent, 2)] {
        let server = gateway();
        server.sim.site(UPSTREAM, site);
        server.client.send(get("/ask"));
        server.sim.advance(seconds(wait));
        assert_eq!(told(&server.client.received()), (503, "upstream_unavailable"));
    }
}

#[test]
fn a_call_that_is_answered_badly_is_a_502() {
    let too_large = "HTTP/1.1 200 OK\r\ncontent-length: 17\r\n\r\n0123456789abcdefg";
    for answer in
        ["HTTP/9.9 what\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\ncut", too_large]
    {
        let server = gateway();
        assert_eq!(server.ask(get("/ask")), "");
        let upstream = server.sim.accepted();
        upstream.send(answer);
        upstream.shut();
        server.sim.run();
        assert_eq!(told(&server.client.received()), (502, "bad_gateway"), "{answer}");
    }
}

#[test]
fn a_call_that_is_not_answered_in_time_is_a_504() {
    let server = gateway();
    assert_eq!(server.ask(get("/ask")), "");
    let _upstream = server.sim.accepted();
    server.sim.advance(seconds(5) + Duration::from_millis(1));
    assert_eq!(told(&server.client.received()), (504, "gateway_timeout"));
}

#[test]
fn the_status_of_another_server_is_not_passed_on() {
    for (theirs, ours) in [
        ("400 No", (502, "bad_gateway")),
        ("404 No", (502, "bad_gateway")),
        ("413 No", (502, "bad_gateway")),
        ("500 No", (502, "bad_gateway")),
        ("429 No", (503, "upstream_unavailable")),
        ("503 No", (503, "upstream_unavailable")),
        ("504 No", (504, "gateway_timeout")),
    ] {
        let server = gateway();
        assert_eq!(server.ask(get("/strict")), "");
        let upstream = server.sim.accepted();
        upstream.send(format!("HTTP/1.1 {theirs}\r\ncontent-length: 0\r\n\r\n"));
        server.sim.run();
        assert_eq!(told(&server.client.received()), ours, "{theirs}");
    }
}

#[test]
fn a_request_body_that_breaks_on_its_way_through_is_still_the_clients() {
    let server = gateway();
    let post = "POST /forward HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    assert_eq!(server.ask(post), "");
    let _upstream = server.sim.accepted();
    // The machine answers what it refuses by itself.
    server.client.send("zz\r\n");
    server.sim.run();
    assert_eq!(told(&server.client.received()), (400, "malformed_request"));
}

#[test]
fn an_error_of_the_application_is_a_500() {
    async fn misconfigured(sim: Sim) -> Result<String, Problem> {
        let client = RestClient::builder("http://192.0.2.1").allow_plaintext().build_on(sim)?;
        Ok(client.get("no slash").send().await?.text().await?)
    }
    let server = serve(|b, sim| b.route(Method::GET, "/", move |_| misconfigured(sim.clone())));
    assert_eq!(told(&server.ask(get("/"))), (500, "internal"));
}
