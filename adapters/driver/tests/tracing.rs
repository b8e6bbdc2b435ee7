//! Spans and events of server and client, as a subscriber sees them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail loudly")]

mod support;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard};

use http::{HeaderName, Method};
use sinew_core::policy::Mode;
use sinew_core::server::Identify;
use sinew_driver::{HandlerTimeout, Problem, Request, RestClient, RouteOptions};
use support::running::{Running, get, seconds, serve, sleep};
use support::{Sim, Site};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

type Fields = BTreeMap<String, String>;

/// A span as it was when it ended, with what happened in it.
#[derive(Clone, Default, Debug)]
struct Seen {
    name: &'static str,
    fields: Fields,
    events: Vec<Fields>,
    parent: Option<&'static str>,
    references: usize,
    closed: bool,
}

#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    spans: Vec<Seen>,
    entered: Vec<usize>,
}

impl Recorder {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Every span that is over, and that nothing is left open.
    fn spans(&self) -> Vec<Seen> {
        let state = self.lock();
        assert!(state.entered.is_empty() && state.spans.iter().all(|span| span.closed));
        state.spans.clone()
    }
}

struct Reader<'a>(&'a mut Fields);

impl Visit for Reader<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }
}

fn place(id: &Id) -> usize {
    usize::try_from(id.into_u64()).unwrap() - 1
}

impl Subscriber for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("sinew::") || metadata.target() == "test"
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut state = self.lock();
        let parent = state.entered.last().map(|&at| state.spans[at].name);
        let mut seen =
            Seen { name: span.metadata().name(), parent, references: 1, ..Seen::default() };
        span.record(&mut Reader(&mut seen.fields));
        state.spans.push(seen);
        Id::from_u64(state.spans.len() as u64)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        values.record(&mut Reader(&mut self.lock().spans[place(span)].fields));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::new();
        event.record(&mut Reader(&mut fields));
        let mut state = self.lock();
        let at = *state.entered.last().expect("an event outside of every span");
        state.spans[at].events.push(fields);
    }

    fn enter(&self, span: &Id) {
        self.lock().entered.push(place(span));
    }

    fn exit(&self, span: &Id) {
        assert_eq!(self.lock().entered.pop(), Some(place(span)));
    }

    fn clone_span(&self, span: &Id) -> Id {
        self.lock().spans[place(span)].references += 1;
        span.clone()
    }

    fn try_close(&self, span: Id) -> bool {
        let mut state = self.lock();
        let seen = &mut state.spans[place(&span)];
        seen.references -= 1;
        seen.closed = seen.references == 0;
        seen.closed
    }
}

/// What is told while this is done.
fn recorded(act: impl FnOnce()) -> Vec<Seen> {
    let recorder = Recorder::default();
    tracing::subscriber::with_default(recorder.clone(), act);
    recorder.spans()
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

fn traced(method: &str, path: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\ntraceparent: 00-{TRACE}-b7ad6b7169203331-01\r\n\
         tracestate: a=1\r\nx-request-id: mine\r\n\r\n"
    )
}

/// Routes that end in every way, behind a policy.
fn site() -> Running {
    async fn panics(_: Request) -> &'static str {
        panic!("on purpose")
    }
    serve(|builder, sim| {
        let strict = RouteOptions::new().require(HeaderName::from_static("x-tenant"));
        let hasty = RouteOptions::new().handler_timeout(HandlerTimeout::After(seconds(1)));
        builder
            .layer_in(Mode::Enforce, Identify::default())
            .route(Method::GET, "/items/{id}", async |_| {
                tracing::info!(target: "test", "inside");
                "item"
            })
            .route_with(Method::GET, "/strict", strict, async |_| "strict")
            .route_with(Method::GET, "/slow", hasty, move |_| sleep(sim.clone(), seconds(5)))
            .route(Method::GET, "/panic", panics)
    })
}

fn field<'a>(span: &'a Seen, name: &str) -> &'a str {
    span.fields.get(name).map_or("", String::as_str)
}

#[test]
fn a_request_has_a_span_with_standard_names() {
    let spans = recorded(|| {
        let server = site();
        assert!(server.ask(traced("GET", "/items/7?token=secret")).ends_with("item"));
    });
    let [span] = &spans[..] else { panic!("{spans:?}") };
    for (name, value) in [
        ("otel.kind", "server"),
        ("otel.name", "GET /items/{id}"),
        ("http.request.method", "GET"),
        ("http.route", "/items/{id}"),
        ("http.response.status_code", "200"),
        ("url.scheme", "http"),
        ("network.protocol.version", "1.1"),
        ("trace_id", TRACE),
        ("request_id", "mine"),
        ("error.type", ""),
    ] {
        assert_eq!(field(span, name), value, "{name}");
    }
    let own = field(span, "span_id");
    assert!(own.len() == 16 && own != "b7ad6b7169203331", "{own}");
    assert!(!field(span, "network.peer.address").is_empty());
    assert_eq!(span.events.len(), 1, "what the handler says is in it");
    assert!(!format!("{spans:?}").contains("secret"));
    assert!(!format!("{spans:?}").contains("items/7"));
}

#[test]
fn every_end_of_a_request_is_told() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let spans = recorded(|| {
        let server = site();
        server.ask(traced("GET", "/strict"));
        server.ask(traced("BREW", "/nowhere/secret"));
        server.ask(traced("GET", "/panic"));
        let client = server.sim.connect();
        client.send(traced("GET", "/slow"));
        server.sim.advance(seconds(1));
        let client = server.sim.connect();
        client.send(traced("GET", "/slow"));
        server.sim.run();
        client.reset();
        server.sim.run();
    });
    std::panic::set_hook(hook);
    let ends: Vec<_> = spans
        .iter()
        .map(|span| {
            let fields = ["otel.name", "http.response.status_code", "error.type"];
            (fields.map(|name| field(span, name)), span.events.len())
        })
        .collect();
    let wanted = [
        (["GET /strict", "400", ""], 1),
        (["_OTHER", "404", ""], 0),
        (["GET /panic", "500", "internal"], 1),
        (["GET /slow", "503", "handler_timeout"], 0),
        (["GET /slow", "", "no_answer"], 0),
    ];
    assert_eq!(ends, wanted);
    let refused = &spans[0].events[0];
    let told = ["message", "stage", "reason", "enforced"].map(|name| refused[name].as_str());
    assert_eq!(told, ["refused", "validate", "missing_field", "true"]);
    assert!(!format!("{spans:?}").contains("secret"));
}

#[test]
fn calls_have_spans_below_the_request_that_makes_them() {
    async fn relay(client: RestClient<Sim>, request: Request) -> Result<String, Problem> {
        let call = client.get("/secret?token=secret").context(&request.context());
        Ok(call.send().await?.text().await?)
    }
    let mut head = String::new();
    let spans = recorded(|| {
        let server = serve(|builder, sim| {
            let client = RestClient::builder("http://192.0.2.1:80").allow_plaintext();
            let client = client.build_on(sim).unwrap();
            builder.layer_in(Mode::Enforce, Identify::default()).route(
                Method::GET,
                "/",
                move |request| relay(client.clone(), request),
            )
        });
        server.ask(traced("GET", "/"));
        let upstream = server.sim.accepted();
        head = upstream.received();
        upstream.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        server.sim.run();
        assert!(server.client.received().ends_with("ok"));
    });
    let [request, call, attempt] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!((request.name, call.name, call.parent), ("request", "call", Some("request")));
    assert_eq!((attempt.name, attempt.parent), ("attempt", Some("call")));
    for (name, value) in [
        ("otel.kind", "client"),
        ("otel.name", "GET"),
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("server.address", "192.0.2.1:80"),
        ("trace_id", TRACE),
        ("error.type", ""),
    ] {
        assert_eq!(field(call, name), value, "{name}");
    }
    let own = field(attempt, "span_id");
    assert_ne!(field(call, "span_id"), field(request, "span_id"));
    assert_ne!(own, field(call, "span_id"));
    assert!(head.contains(&format!("traceparent: 00-{TRACE}-{own}-01\r\n")), "{head}");
    assert!(head.contains("tracestate: a=1\r\n") && head.contains("x-request-id: mine\r\n"));
    assert!(!format!("{spans:?}").contains("secret"));
}

#[test]
fn a_call_that_fails_says_how_in_a_fixed_word() {
    let spans = recorded(|| {
        let sim = Sim::new();
        sim.site("192.0.2.1:80", Site::Refusing);
        let client = RestClient::builder("http://192.0.2.1:80").allow_plaintext();
        let client = client.build_on(sim.clone()).unwrap();
        assert!(sim.block_on(client.get("/").no_retry().send()).is_err());
    });
    let [call] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!(field(call, "error.type"), "connect");
    // It is the first of a trace of its own.
    assert_eq!((field(call, "trace_id").len(), call.parent), (32, None));
}

#[test]
fn each_attempt_of_a_call_has_a_span() {
    let mut parents = Vec::new();
    let spans = recorded(|| {
        let sim = Sim::new();
        let client = RestClient::builder("http://192.0.2.1:80").allow_plaintext();
        let client = client.build_on(sim.clone()).unwrap();
        let answer = sim.start(client.get("/").send());
        sim.run();
        let server = sim.accepted();
        let refused = "HTTP/1.1 503 No\r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n";
        for answer in [refused, "HTTP/1.1 204 No Content\r\n\r\n"] {
            let head = server.received();
            let parent = head.lines().find_map(|line| line.strip_prefix("traceparent: "));
            parents.push(parent.unwrap().to_owned());
            server.send(answer);
            sim.advance(seconds(1));
        }
        assert_eq!(answer.take().unwrap().unwrap().status(), 204);
    });
    let [call, first, second] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!((call.name, field(call, "http.response.status_code")), ("call", "204"));
    for ((attempt, parent), [status, resent]) in
        [first, second].into_iter().zip(&parents).zip([["503", ""], ["204", "1"]])
    {
        assert_eq!((attempt.name, attempt.parent), ("attempt", Some("call")));
        let fields = ["http.response.status_code", "http.request.resend_count"];
        assert_eq!(fields.map(|name| field(attempt, name)), [status, resent]);
        assert!(parent.contains(field(attempt, "span_id")), "{parent}");
    }
}

#[test]
fn a_server_without_policies_has_spans_too() {
    let spans = recorded(|| {
        let server = serve(|builder, _| builder.fallback(async |_| "anything"));
        assert!(server.ask(get("/secret")).ends_with("anything"));
    });
    let [span] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!((field(span, "otel.name"), field(span, "http.route")), ("GET", ""));
    assert_eq!(field(span, "http.response.status_code"), "200");
    assert!(!format!("{spans:?}").contains("secret"));
}

/// Secrets in all places of requests, calls and their answers.
#[test]
fn no_secret_gets_into_a_span() {
    async fn relay(client: RestClient<Sim>, request: Request) -> Result<String, Problem> {
        let call = client.post("/hush?token=hush").bearer("hush").header("cookie", "id=hush");
        let answer = call.body("hush").context(&request.context()).send().await?;
        Err(std::io::Error::other(answer.text().await?))?
    }
    async fn panics(_: Request) -> &'static str {
        panic!("with hush")
    }
    let spans = recorded(|| {
        let server = serve(|builder, sim| {
            let client = RestClient::builder("http://192.0.2.1:80").allow_plaintext();
            let client = client.allow_plaintext_tokens().default_header("x-api-key", "hush");
            let client = client.build_on(sim).unwrap();
            builder
                .layer_in(Mode::Enforce, Identify::default())
                .route(Method::GET, "/relay/{id}", move |request| relay(client.clone(), request))
                .route(Method::GET, "/panic/{id}", panics)
        });
        let hush = |start: &str| {
            format!(
                "{start} HTTP/1.1\r\nhost: hush.test\r\nauthorization: Bearer hush\r\n\
                 cookie: id=hush\r\nx-api-key: hush\r\nx-request-id: not hush\r\n\
                 user-agent: hush\r\n\r\n"
            )
        };
        server.ask(hush("GET /relay/hush?token=hush"));
        let upstream = server.sim.accepted();
        assert!(upstream.received().contains("Bearer hush"));
        upstream.send("HTTP/1.1 500 Hush\r\nset-cookie: hush\r\ncontent-length: 4\r\n\r\nhush");
        server.sim.run();
        assert!(server.client.received().starts_with("HTTP/1.1 500"));
        assert!(server.ask(hush("HUSH /nowhere/hush")).starts_with("HTTP/1.1 404"));
        assert!(server.ask(hush("GET /panic/hush")).starts_with("HTTP/1.1 500"));
    });
    assert!(spans.len() >= 5, "{spans:?}");
    assert!(!format!("{spans:?}").to_lowercase().contains("hush"), "{spans:?}");
}
