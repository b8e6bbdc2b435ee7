//! The server in memory: how long its callers wait, and work that comes too late.

use http::Method;
use sinew_core::policy::{Mode, Refused, Stage};
use sinew_core::reason::Reason;
use sinew_core::resilience::DeadlineConfig;
use sinew_core::server::Deadlines;
use sinew_driver::{Notice, Request, Runtime as _};

use crate::support::Sim;
use crate::support::calling::millis;
use crate::support::running::{Running, serve};

/// Answers how long its caller still waits.
fn server(mode: Mode, networks: &[&str]) -> Running {
    fn left(sim: &Sim, request: &Request) -> String {
        let deadline = request.context().deadline;
        let left = deadline.map(|by| by.saturating_since(sim.now()).as_millis());
        left.map_or_else(|| "for ever".to_owned(), |millis| format!("{millis} ms"))
    }
    let networks = networks.iter().map(|text| text.parse().unwrap()).collect();
    serve(|builder, sim| {
        builder.deadlines_in(mode, Deadlines { networks, ..Deadlines::default() }).route(
            Method::GET,
            "/left",
            move |request: Request| std::future::ready(left(&sim, &request)),
        )
    })
}

fn ask(fields: &str) -> String {
    format!("GET /left HTTP/1.1\r\nhost: x\r\n{fields}\r\n")
}

const EVERYONE: &[&str] = &["0.0.0.0/0"];

#[test]
fn a_handler_learns_how_long_a_trusted_caller_waits() {
    let server = server(Mode::Enforce, EVERYONE);
    for (fields, left) in [
        ("", "for ever"),
        ("sinew-timeout-ms: 300\r\n", "300 ms"),
        ("grpc-timeout: 70m\r\n", "70 ms"),
        ("x-envoy-expected-rq-timeout-ms: 3600000\r\n", "300000 ms"),
    ] {
        let answer = server.ask(ask(fields));
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(left), "{answer}");
    }
    // The time runs from when the head was complete, not from when its handler looks.
    server.client.send("GET /left HTTP/1.1\r\nhost: x\r\n");
    server.sim.advance(millis(200));
    let answer = server.ask("sinew-timeout-ms: 300\r\n\r\n");
    assert!(answer.ends_with("300 ms"), "{answer}");
}

#[test]
fn what_comes_too_late_is_refused_before_the_handler_and_counted() {
    let server = server(Mode::Enforce, EVERYONE);
    let answer = server.ask(ask("sinew-timeout-ms: 0\r\n"));
    assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
    assert!(answer.contains("\"reason\":\"expired\""), "{answer}");
    let refused = Refused { stage: Stage::Deadline, reason: Reason::Expired, mode: Mode::Enforce };
    let event = sinew_core::observe::Event::Refused { exchange: 1, refused };
    assert!(server.noticed(&Notice::Decided(event)));
    let answer = server.ask(ask("grpc-timeout: soon\r\n"));
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

#[test]
fn strangers_and_servers_that_do_not_ask_ignore_it() {
    for server in [
        server(Mode::Enforce, &["198.51.100.0/24"]),
        server(Mode::Enforce, &[]),
        server(Mode::Off, EVERYONE),
    ] {
        for fields in
            ["sinew-timeout-ms: 0\r\n", "sinew-timeout-ms: 300\r\n", "grpc-timeout: x\r\n"]
        {
            let answer = server.ask(ask(fields));
            assert!(answer.ends_with("for ever"), "{answer}");
        }
    }
}

#[test]
fn a_margin_that_eats_all_is_refused() {
    let sim = Sim::new();
    let config = DeadlineConfig { margin: millis(300_000), ..DeadlineConfig::default() };
    let deadlines = Deadlines { config, ..Deadlines::default() };
    let builder = sim.server::<sinew_driver::Threads>().deadlines(deadlines);
    let error = sim.block_on(builder.bind()).unwrap_err();
    assert!(error.to_string().contains("margin"), "{error}");
}
