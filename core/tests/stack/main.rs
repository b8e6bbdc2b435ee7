//! The stack of a server: order, verdicts, answers, events.

#![expect(clippy::unwrap_used, reason = "outside of `#[test]` too, a test stops where it is wrong")]
#![expect(clippy::disallowed_types, reason = "a limiter is guarded as a driver would guard it")]

mod answers;
mod layers;
mod limits;
mod spare;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use sinew_core::head::{Lines, RequestHead};
use sinew_core::http1::{
    BodySize, Client, ClientConfig, ClientEvent, NO_FIELDS, RequestLine, Server, ServerConfig,
    ServerEvent,
};
use sinew_core::limit::{
    BadLimiter, Basis, Charge, KeyGroup, KeyHash, LeaseVerdict, Outcome, Quota, QuotaId,
    RateLimiter, Shortage,
};
use sinew_core::observe::Event;
use sinew_core::policy::{Mode, Priority, Refused, Stage};
use sinew_core::reason::Reason;
use sinew_core::security::{
    Access, Challenge, Cors, CorsConfig, CorsKind, CorsReason, Credential, CredentialVerdict,
    ForwardedField, Network, PeerName, Principal, Routes, Rule, Subject, Thumbprint, TokenError,
    TokenValidator, TrustedProxies, Who,
};
use sinew_core::server::{
    Arrival, Authentication, BadRateLimit, BoxLayer, Buckets, Classes, ClientClass, Cost,
    Deadlines, Decision, End, Exchanges, Expectation, Identify, Interest, Layer, Lessor,
    LimitFields, MediaRange, OutOfOrder, Peer, RateLimit, RateLimitConfig, Record, ResponseHead,
    RoutePolicy, SharedLimit, Shield, Stack, Validation,
};
use sinew_core::time::Instant;
use sinew_core::{Machine, Wire};

use limits::{Single, quota};

const NUMBER: u128 = 0x0123_4567_89ab_cdef_0011_2233_4455_6677;

fn head(text: &str) -> RequestHead {
    let mut server = Server::new(Arc::new(ServerConfig::default()), Instant::ZERO);
    server.inbox().extend_from_slice(text.as_bytes());
    match server.poll_event(Instant::ZERO) {
        Ok(Some(ServerEvent::Request { head, .. })) => head,
        other => panic!("{text:?}: {other:?}"),
    }
}

/// A request, in the words of its head.
struct Asked {
    head: RequestHead,
    route: Option<usize>,
    policy: RoutePolicy,
    peer: Peer,
    has_body: bool,
    fallback: bool,
}

fn asked(method: &str, fields: &str) -> Asked {
    let head = head(&format!("{method} /orders HTTP/1.1\r\nhost: api.test\r\n{fields}\r\n"));
    let address = Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)));
    let peer = Peer { address, ..Peer::default() };
    Asked {
        head,
        route: Some(0),
        policy: RoutePolicy::default(),
        peer,
        has_body: false,
        fallback: false,
    }
}

impl Asked {
    fn arrival(&self) -> Arrival<'_> {
        Arrival {
            now: Instant::from_nanos(5),
            unix: Duration::from_secs(1_700_000_000),
            number: NUMBER,
            head: &self.head,
            has_body: self.has_body,
            route: self.route,
            fallback: self.fallback,
            policy: &self.policy,
            peer: &self.peer,
        }
    }

    fn pass(&self, stack: &Stack) -> (Decision, Record) {
        let arrival = self.arrival();
        let mut record = Record::new(&arrival);
        (stack.on_head(&arrival, &mut record), record)
    }
}

/// What an answer with this status looks like behind the stack.
fn answered(stack: &Stack, record: &Record, status: StatusCode) -> http::Response<()> {
    let mut response = http::Response::builder().status(status).body(()).unwrap();
    stack.on_response(record, &mut response);
    response
}

fn field<'r>(response: &'r http::Response<()>, name: &str) -> Option<&'r str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

/// Knows the token `good`, whose certificate, if any, must be all ones.
#[derive(Debug)]
struct Tokens;

impl TokenValidator for Tokens {
    fn validate(
        &self,
        credential: Credential<'_>,
        peer: Option<&Thumbprint>,
        _now: Duration,
    ) -> Result<Arc<Principal>, TokenError> {
        if peer.is_some_and(|peer| *peer != Thumbprint([1; 32])) {
            return Err(TokenError::Binding);
        }
        match credential {
            Credential::Bearer(token) if token.expose() == b"good" => Ok(Arc::new(Principal {
                subject: Subject::Token { issuer: "us".into(), subject: "ann".into() },
                roles: Box::new([]),
                scopes: Box::new(["read".into()]),
                expires: None,
            })),
            Credential::Bearer(token) if token.expose() == b"down" => Err(TokenError::Unavailable),
            _ => Err(TokenError::Expired),
        }
    }
}

fn authentication() -> Authentication {
    Authentication::new(Challenge::new("test").unwrap()).validator(Tokens)
}

fn access() -> Access {
    let read = Rule {
        scopes: vec!["read".into()],
        methods: vec![Method::GET],
        ..Rule::allow("read", Who::Authenticated, Routes::Every)
    };
    let write = Rule {
        scopes: vec!["write".into()],
        methods: vec![Method::PUT],
        ..Rule::allow("write", Who::Authenticated, Routes::Every)
    };
    Access::new(vec![read, write], ["/orders"]).unwrap()
}

fn cors() -> Cors {
    let origins = vec!["https://app.test".into()];
    Cors::new(CorsConfig { origins, methods: vec![Method::PUT], ..CorsConfig::default() }).unwrap()
}

/// Identify, CORS, authentication, access, validation.
fn whole() -> Stack {
    let layers: [BoxLayer; 5] = [
        Box::new(Identify::default()),
        Box::new(cors()),
        Box::new(authentication()),
        Box::new(access()),
        Box::new(Validation),
    ];
    Stack::new(layers.map(|layer| (Mode::Enforce, layer))).unwrap()
}

fn events(record: &Record, exchange: u64) -> Vec<Event> {
    let mut events = Vec::new();
    record.each_event(exchange, |event| events.push(event));
    events
}

fn enforced(stage: Stage, reason: Reason) -> Refused {
    Refused { stage, reason, mode: Mode::Enforce }
}

#[test]
fn a_stack_out_of_order_is_refused() {
    let build = |layers: Vec<BoxLayer>| {
        Stack::new(layers.into_iter().map(|layer| (Mode::Enforce, layer))).map(|_| ())
    };
    let wrong = build(vec![Box::new(access()), Box::new(authentication())]).unwrap_err();
    assert_eq!(wrong, OutOfOrder { front: Stage::Authorise, behind: Stage::Authenticate });
    assert_eq!(
        wrong.to_string(),
        r#"a layer of the stage "authenticate" stands behind one of the stage "authorise""#
    );
    // Two of one stage are fine.
    build(vec![Box::new(cors()), Box::new(cors()), Box::new(access())]).unwrap();
}

#[test]
fn every_refusal_names_its_stage_and_reason_and_challenges() {
    let bearer = r#"Bearer realm="test""#;
    let with = |error: &str| format!(r#"{bearer}, error="{error}""#);
    for (method, fields, stage, reason, challenge) in [
        ("GET", "", Stage::Authorise, Reason::Unauthenticated, Some(bearer.to_owned())),
        (
            "GET",
            "authorization: Bearer old\r\n",
            Stage::Authenticate,
            Reason::InvalidToken,
            Some(with("invalid_token")),
        ),
        (
            "GET",
            "authorization: Bearer good\r\nauthorization: Bearer good\r\n",
            Stage::Authenticate,
            Reason::BadCredential,
            Some(with("invalid_request")),
        ),
        (
            "PUT",
            "authorization: Bearer good\r\n",
            Stage::Authorise,
            Reason::InsufficientScope,
            Some(with("insufficient_scope")),
        ),
        ("DELETE", "authorization: Bearer good\r\n", Stage::Authorise, Reason::Forbidden, None),
        ("GET", "authorization: Bearer down\r\n", Stage::Authenticate, Reason::Unavailable, None),
    ] {
        let stack = whole();
        let (decision, record) = asked(method, fields).pass(&stack);
        assert_eq!(decision, Decision::Refuse(reason), "{method} {fields}");
        assert_eq!(record.refused, Some(enforced(stage, reason)));
        let answer = answered(&stack, &record, reason.status());
        assert_eq!(field(&answer, "www-authenticate").map(str::to_owned), challenge);
        assert!(field(&answer, "x-request-id").is_some());
        assert_eq!(field(&answer, "vary"), Some("origin"), "a refusal is marked for caches, too");
    }
}

#[test]
fn a_verdict_can_be_explained() {
    let stack = whole();
    for (method, fields, why) in [
        ("GET", "", r#"no rule allows it; nearest is "read", but for the identity"#),
        ("GET", "authorization: Bearer good\r\n", r#"allowed by rule "read""#),
        (
            "PUT",
            "authorization: Bearer good\r\n",
            r#"no rule allows it; nearest is "write", but for the scope"#,
        ),
        ("GET", "authorization: Bearer old\r\n", "expired"),
        ("GET", "authorization: Bearer down\r\n", "validator unavailable"),
        ("GET", "authorization: Bearer a, b\r\n", "malformed credential"),
    ] {
        let (_, record) = asked(method, fields).pass(&stack);
        assert_eq!(stack.explain(&record).as_deref(), Some(why), "{method} {fields}");
        let later = (why == "validator unavailable").then_some(Duration::from_secs(1));
        assert_eq!(record.retry_after, later, "{method} {fields}");
    }
    let mut unwanted = asked("GET", "authorization: Bearer good\r\n");
    unwanted.policy.expectation.fields = [HeaderName::from_static("x-wanted")].into();
    let (_, record) = unwanted.pass(&stack);
    assert_eq!(record.refused, Some(enforced(Stage::Validate, Reason::MissingField)));
    assert_eq!(stack.explain(&record), None, "the reason says it all");
}

#[test]
fn who_may_goes_on_with_all_that_is_known() {
    let (decision, record) = asked("GET", "authorization: Bearer good\r\n").pass(&whole());
    assert_eq!(decision, Decision::Continue);
    assert!(record.security.has_scope("read"));
    assert_eq!(record.security.client_address, Some("192.0.2.7".parse().unwrap()));
    assert_eq!((record.refused, record.arrived), (None, Instant::from_nanos(5)));
    let events = events(&record, 3);
    assert_eq!(
        events[..2],
        [
            Event::Cors { exchange: 3, kind: CorsKind::NotCors, reason: CorsReason::NoOrigin },
            Event::Credential { exchange: 3, verdict: CredentialVerdict::Good },
        ]
    );
    assert!(matches!(events[2..], [Event::Access { exchange: 3, .. }]));
}

#[test]
fn a_refusal_is_the_last_event() {
    let (_, record) = asked("GET", "").pass(&whole());
    let refused = enforced(Stage::Authorise, Reason::Unauthenticated);
    assert_eq!(events(&record, 1).last(), Some(&Event::Refused { exchange: 1, refused }));
}

#[test]
fn preflights_need_no_credentials_and_stop_there() {
    let fields = "origin: https://app.test\r\naccess-control-request-method: PUT\r\n";
    let stack = whole();
    let (decision, record) = asked("OPTIONS", fields).pass(&stack);
    assert_eq!(decision, Decision::Answer(StatusCode::NO_CONTENT));
    assert_eq!((record.access, record.credential), (None, None));
    let answer = answered(&stack, &record, StatusCode::NO_CONTENT);
    assert_eq!(field(&answer, "access-control-allow-origin"), Some("https://app.test"));
    assert_eq!(field(&answer, "access-control-allow-methods"), Some("PUT"));
}

#[test]
fn the_policy_alone_writes_cors_fields() {
    let stack = whole();
    let fields = "origin: https://evil.test\r\nauthorization: Bearer good\r\n";
    let (_, record) = asked("GET", fields).pass(&stack);
    let mut answer = http::Response::new(());
    answer.headers_mut().insert("access-control-allow-origin", "*".parse().unwrap());
    stack.on_response(&record, &mut answer);
    assert_eq!(field(&answer, "access-control-allow-origin"), None);
    assert_eq!(field(&answer, "vary"), Some("origin"));
}

#[test]
fn what_is_no_route_is_hidden_from_strangers() {
    let mut nowhere = asked("GET", "");
    nowhere.route = None;
    let (decision, _) = nowhere.pass(&whole());
    assert_eq!(decision, Decision::Refuse(Reason::Unauthenticated));
    let mut known = asked("DELETE", "authorization: Bearer good\r\n");
    known.route = None;
    // The router says 404, or 405.
    assert_eq!(known.pass(&whole()).0, Decision::Continue);
    // A handler for what has no route is one that no rule allows.
    known.fallback = true;
    assert_eq!(known.pass(&whole()).0, Decision::Refuse(Reason::Forbidden));
}

#[test]
fn certificates_authenticate_and_tokens_are_bound_to_them() {
    let peer = Peer {
        address: None,
        name: Some(PeerName::Spiffe("spiffe://acme.test/cart".into())),
        thumbprint: Some(Thumbprint([2; 32])),
        ..Peer::default()
    };
    let mut cart = asked("GET", "");
    cart.peer = peer.clone();
    let anyone = Rule::allow("all", Who::Authenticated, Routes::Every);
    let layers: [BoxLayer; 3] = [
        Box::new(Identify::default()),
        Box::new(authentication()),
        Box::new(Access::new(vec![anyone], ["/orders"]).unwrap()),
    ];
    let stack = Stack::new(layers.map(|layer| (Mode::Enforce, layer))).unwrap();
    let (decision, record) = cart.pass(&stack);
    assert_eq!((decision, record.security.peer), (Decision::Continue, peer.name.clone()));

    let mut stolen = asked("GET", "authorization: Bearer good\r\n");
    stolen.peer = peer;
    let (decision, record) = stolen.pass(&stack);
    assert_eq!(decision, Decision::Refuse(Reason::InvalidToken));
    assert_eq!(record.credential, Some(CredentialVerdict::Refused(TokenError::Binding)));
    assert_eq!(record.security.principal, None);
}

#[test]
fn a_shadow_says_what_it_would_have_done() {
    let layers: [(Mode, BoxLayer); 2] =
        [(Mode::Enforce, Box::new(authentication())), (Mode::Shadow, Box::new(access()))];
    let stack = Stack::new(layers).unwrap();
    let (decision, record) = asked("GET", "").pass(&stack);
    assert_eq!(decision, Decision::Continue);
    let reason = Reason::Unauthenticated;
    assert_eq!(
        record.refused,
        Some(Refused { stage: Stage::Authorise, reason, mode: Mode::Shadow })
    );
    let answer = answered(&stack, &record, StatusCode::OK);
    assert_eq!(field(&answer, "www-authenticate"), None, "nobody was refused");

    // What it would have said does not show on a refusal by others, or on any answer.
    let share = |limiter| Single(Mutex::new(limiter));
    let config = RateLimitConfig { client: Some(quota(1, 1)), ..RateLimitConfig::default() };
    let limit = RateLimit::new(config, [1; 16], [], share).unwrap();
    let layers: [(Mode, BoxLayer); 3] = [
        (Mode::Shadow, Box::new(cors())),
        (Mode::Shadow, Box::new(limit)),
        (Mode::Enforce, Box::new(Validation)),
    ];
    let stack = Stack::new(layers).unwrap();
    let mut request = asked("GET", "");
    request.policy.expectation.fields = [HeaderName::from_static("x-wanted")].into();
    for _ in 0..2 {
        let (decision, record) = request.pass(&stack);
        assert_eq!(decision, Decision::Refuse(Reason::MissingField));
        assert_eq!(record.retry_after, None);
        let mut answer = http::Response::new(());
        answer.headers_mut().insert("access-control-allow-origin", "*".parse().unwrap());
        stack.on_response(&record, &mut answer);
        assert_eq!(answer.headers().len(), 1, "{answer:?}");
    }

    // Several of them: each is told.
    let layers: [(Mode, BoxLayer); 3] = [
        (Mode::Enforce, Box::new(authentication())),
        (Mode::Shadow, Box::new(access())),
        (Mode::Shadow, Box::new(Validation)),
    ];
    let mut request = asked("PUT", "authorization: Bearer good\r\n");
    request.policy.expectation.fields = [HeaderName::from_static("x-wanted")].into();
    let (decision, record) = request.pass(&Stack::new(layers).unwrap());
    assert_eq!(decision, Decision::Continue);
    let told: Vec<Refused> = events(&record, 1)
        .into_iter()
        .filter_map(|event| match event {
            Event::Refused { refused, .. } => Some(refused),
            _ => None,
        })
        .collect();
    let shadow = |stage, reason| Refused { stage, reason, mode: Mode::Shadow };
    assert_eq!(
        told,
        [
            shadow(Stage::Authorise, Reason::InsufficientScope),
            shadow(Stage::Validate, Reason::MissingField),
        ]
    );
    assert_eq!(record.refusals().collect::<Vec<_>>(), told);

    let off: [(Mode, BoxLayer); 1] = [(Mode::Off, Box::new(access()))];
    assert!(Stack::new(off).unwrap().is_empty());
}

#[test]
fn a_request_keeps_a_sound_name_and_gets_one_otherwise() {
    let layers: [(Mode, BoxLayer); 1] = [(Mode::Enforce, Box::new(Identify::default()))];
    let stack = Stack::new(layers).unwrap();
    let id = |fields: &str| {
        let (_, record) = asked("GET", fields).pass(&stack);
        let answer = answered(&stack, &record, StatusCode::OK);
        let told = field(&answer, "x-request-id").unwrap().to_owned();
        assert_eq!(record.ids().request.unwrap().as_str(), told);
        told
    };
    assert_eq!(id("x-request-id: abc-1\r\n"), "abc-1");
    let minted = "0123456789abcdef0011223344556677";
    assert_eq!(id(""), minted);
    assert_eq!(id("x-request-id: a b\r\n"), minted);

    let (_, record) = asked("GET", "").pass(&stack);
    let trace = record.context.trace.unwrap();
    assert_eq!(trace.span_id().get(), 0x0011_2233_4455_6677);
    let parent = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";
    let (_, record) = asked("GET", parent).pass(&stack);
    let trace = record.context.trace.unwrap();
    assert_eq!(trace.trace_id().get(), 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
    assert_eq!(trace.span_id().get(), 0x0011_2233_4455_6677, "a span of its own");
}

#[test]
fn only_proxies_of_ours_are_believed() {
    let ours = Network::around("192.0.2.0".parse().unwrap(), 24);
    let proxies = TrustedProxies::new([ours], ForwardedField::XForwardedFor);
    let layers: [(Mode, BoxLayer); 1] =
        [(Mode::Enforce, Box::new(Identify { proxies: Some(proxies) }))];
    let stack = Stack::new(layers).unwrap();
    let mut request = asked("GET", "x-forwarded-for: 203.0.113.9\r\n");
    let (_, record) = request.pass(&stack);
    assert_eq!(record.security.client_address, Some("203.0.113.9".parse().unwrap()));
    // What comes over a Unix socket is a proxy of ours: the file lets nobody else in.
    request.peer.address = None;
    let (_, record) = request.pass(&stack);
    assert_eq!(record.security.client_address, Some("203.0.113.9".parse().unwrap()));
    request.peer.address = Some("198.51.100.1".parse().unwrap());
    let (_, record) = request.pass(&stack);
    assert_eq!(record.security.client_address, Some("198.51.100.1".parse().unwrap()));
}

#[test]
fn routes_say_what_they_take() {
    let layers: [(Mode, BoxLayer); 1] = [(Mode::Enforce, Box::new(Validation))];
    let stack = Stack::new(layers).unwrap();
    let expectation = Expectation {
        content_types: [MediaRange::new("application/json"), MediaRange::new("Text/*")]
            .map(Result::unwrap)
            .into(),
        fields: [HeaderName::from_static("idempotency-key")].into(),
    };
    let verdict = |fields: &str, has_body: bool| {
        let mut request = asked("POST", fields);
        request.has_body = has_body;
        request.policy.expectation = expectation.clone();
        let (decision, record) = request.pass(&stack);
        let answer = answered(&stack, &record, StatusCode::UNSUPPORTED_MEDIA_TYPE);
        (decision, field(&answer, "accept").map(str::to_owned))
    };
    let key = "idempotency-key: 1\r\n";
    let fine = (Decision::Continue, None);
    assert_eq!(verdict("", true), (Decision::Refuse(Reason::MissingField), None));
    assert_eq!(verdict(key, false), fine, "without a body there is no type");
    for good in ["application/json", "APPLICATION/JSON;charset=utf-8", "text/plain"] {
        assert_eq!(verdict(&format!("{key}content-type: {good}\r\n"), true), fine, "{good}");
    }
    let refused = Decision::Refuse(Reason::UnsupportedMediaType);
    let accept = Some("application/json, text/*".to_owned());
    for bad in [
        "",
        "content-type: application/jsonp\r\n",
        "content-type: text/\r\n",
        "content-type: application/json\r\ncontent-type: application/json\r\n",
    ] {
        assert_eq!(verdict(&format!("{key}{bad}"), true), (refused, accept.clone()), "{bad}");
    }
    for bad in ["json", "*/*", "a/b/c", "a/ b", "/x", "text/"] {
        MediaRange::new(bad).unwrap_err();
    }
}

#[test]
fn secrets_do_not_show() {
    let (_, record) = asked("GET", "authorization: Bearer good\r\n").pass(&whole());
    let shown = format!("{record:?} {:?} {:?}", whole(), authentication());
    assert!(!shown.contains("good"), "{shown}");
}

#[test]
fn callers_that_are_known_say_how_long_they_wait() {
    let deadlines = Deadlines {
        networks: Box::new(["198.51.100.0/24".parse().unwrap()]),
        ..Deadlines::default()
    };
    let layers: [BoxLayer; 2] = [Box::new(Identify::default()), Box::new(deadlines)];
    let stack = Stack::new(layers.map(|layer| (Mode::Enforce, layer))).unwrap();
    let cart = Some(PeerName::Spiffe("spiffe://acme.test/cart".into()));
    let certified = Peer { name: cart, ..Peer::default() };
    let address = Some(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7)));
    let near = Peer { address, ..Peer::default() };
    let arrived = Instant::from_nanos(5);
    let until = |millis| (Decision::Continue, Some(arrived + Duration::from_millis(millis)));
    let refused = |reason| (Decision::Refuse(reason), None);
    for (fields, known) in [
        ("", (Decision::Continue, None)),
        ("sinew-timeout-ms: 300\r\n", until(300)),
        ("Grpc-Timeout: 2S\r\n", until(2_000)),
        ("x-envoy-expected-rq-timeout-ms: 40\r\nsinew-timeout-ms: 50\r\n", until(40)),
        ("sinew-timeout-ms: 9999999999\r\n", until(300_000)),
        ("sinew-timeout-ms: 0\r\n", refused(Reason::Expired)),
        ("sinew-timeout-ms: soon\r\n", refused(Reason::MalformedRequest)),
        ("grpc-timeout: 1S\r\ngrpc-timeout: 1S\r\n", refused(Reason::MalformedRequest)),
    ] {
        let pass = |peer: Option<&Peer>| {
            let mut asked = asked("GET", fields);
            asked.peer = peer.cloned().unwrap_or(asked.peer);
            let (decision, record) = asked.pass(&stack);
            if let Decision::Refuse(reason) = decision {
                let refused = enforced(Stage::Deadline, reason);
                assert_eq!(record.refused, Some(refused), "{fields}");
                assert_eq!(
                    events(&record, 1).last(),
                    Some(&Event::Refused { exchange: 1, refused })
                );
                assert!(stack.explain(&record).is_some(), "{fields}");
            }
            (decision, record.context.deadline)
        };
        assert_eq!(pass(Some(&certified)), known, "{fields}");
        assert_eq!(pass(Some(&near)), known, "{fields}");
        assert_eq!(pass(None), (Decision::Continue, None), "a stranger says {fields}");
    }
}
