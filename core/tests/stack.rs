//! The stack of a server: order, verdicts, answers, events.

#![expect(clippy::unwrap_used, reason = "outside of `#[test]` too, a test stops where it is wrong")]
#![expect(clippy::disallowed_types, reason = "a limiter is guarded as a driver would guard it")]

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
    Arrival, Authentication, BadRateLimit, BoxLayer, Buckets, ClientClass, Cost, Deadlines,
    Decision, End, Expectation, Identify, Layer, Lessor, LimitFields, MediaRange, OutOfOrder, Peer,
    RateLimit, RateLimitConfig, Record, ResponseHead, RoutePolicy, SharedLimit, Shield, Stack,
    Validation,
};
use sinew_core::time::Instant;
use sinew_core::{Machine, Wire};

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
    fn pass(&self, stack: &Stack) -> (Decision, Record) {
        let arrival = Arrival {
            now: Instant::from_nanos(5),
            unix: Duration::from_secs(1_700_000_000),
            number: NUMBER,
            head: &self.head,
            has_body: self.has_body,
            route: self.route,
            fallback: self.fallback,
            policy: &self.policy,
            peer: &self.peer,
        };
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

/// An answer that has a place for lines.
#[derive(Default)]
struct Answer {
    fields: Vec<(HeaderName, HeaderValue)>,
    lines: Lines,
}

impl ResponseHead for Answer {
    fn status(&self) -> StatusCode {
        StatusCode::OK
    }

    fn contains(&self, name: &HeaderName) -> bool {
        self.any(name, &mut |_| true)
    }

    fn any(&self, name: &HeaderName, test: &mut dyn FnMut(&HeaderValue) -> bool) -> bool {
        self.fields.iter().any(|(known, value)| known == name && test(value))
    }

    fn retain(&mut self, keep: &dyn Fn(&HeaderName) -> bool) {
        self.fields.retain(|(name, _)| keep(name));
    }

    fn append(&mut self, name: HeaderName, value: HeaderValue) {
        self.fields.push((name, value));
    }

    fn lines(&mut self) -> Option<&mut Lines> {
        Some(&mut self.lines)
    }
}

/// What a client reads of an answer with these fields.
fn received(Answer { fields, lines }: &Answer) -> Vec<(String, Vec<u8>)> {
    let now = Instant::ZERO;
    let mut server = Server::new(Arc::new(ServerConfig::default()), now);
    server.inbox().extend_from_slice(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    server.poll_event(now).unwrap();
    let fields = fields.iter().map(|(name, value)| (name, value));
    let body = Bytes::from_static(b"a");
    server.send_whole(now, (StatusCode::OK, lines), fields, body).unwrap();
    let mut client = Client::new(Arc::new(ClientConfig::default()));
    let line = RequestLine { method: &Method::GET, target: b"/", authority: b"a" };
    client.send_request(now, line, NO_FIELDS, BodySize::Empty).unwrap();
    client.inbox().extend_from_slice(server.outbox().chunk());
    match client.poll_event(now) {
        Ok(Some(ClientEvent::Response { head, .. })) => {
            let own = |name: &str| name == "content-length";
            let fields = head.fields().iter().filter(|(name, _)| !own(name));
            fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
        }
        other => panic!("{other:?}"),
    }
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
fn lines_say_what_fields_would_and_a_client_reads_them() {
    let origins = vec!["https://app.test".into(), "https://*.pages.test".into()];
    let open = CorsConfig {
        origins,
        credentials: true,
        private_network: true,
        expose: vec![HeaderName::from_static("x-total")],
        ..CorsConfig::default()
    };
    let preflight = "origin: https://a.pages.test\r\naccess-control-request-method: GET\r\n\
                     access-control-request-private-network: true\r\n";
    let draft = [
        ("ratelimit-policy", "\"a b!#~\";q=4000000000;w=60"),
        ("ratelimit", "\"a b!#~\";r=3999999999;t=1"),
    ];
    let legacy = [
        ("x-ratelimit-limit", "4000000000"),
        ("x-ratelimit-remaining", "3999999999"),
        ("x-ratelimit-reset", "1"),
    ];
    let shapes = [
        (LimitFields::Draft, &draft[..]),
        (LimitFields::Legacy, &legacy),
        (LimitFields::None, &[]),
    ];
    for (fields, wanted) in shapes {
        let share = |limiter| Single(Mutex::new(limiter));
        let class = ClientClass {
            name: "a b!#~".into(),
            who: Who::Authenticated,
            roles: Vec::new(),
            quota: Some(quota(4_000_000_000, 4_000_000_000)),
        };
        let client = Some(quota(7, 7));
        let config =
            RateLimitConfig { fields, client, classes: vec![class], ..RateLimitConfig::default() };
        // Two of a kind say it once.
        let layers: [BoxLayer; 6] = [
            Box::new(Identify::default()),
            Box::new(Identify::default()),
            Box::new(Cors::new(open.clone()).unwrap()),
            Box::new(Cors::new(open.clone()).unwrap()),
            Box::new(authentication()),
            Box::new(RateLimit::new(config, [1; 16], [], share).unwrap()),
        ];
        let stack = Stack::new(layers.map(|layer| (Mode::Enforce, layer))).unwrap();
        for given in [
            "",
            "x-request-id: 7b1f9f0e-5f8a.=@\r\n",
            "origin: https://app.test\r\n",
            "origin: https://a.pages.test\r\nauthorization: Bearer good\r\n",
            "origin: https://evil.test\r\n",
            preflight,
        ] {
            let method = if given == preflight { "OPTIONS" } else { "GET" };
            let (_, record) = asked(method, given).pass(&stack);
            let mut answer = Answer::default();
            answer.append(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
            stack.on_response(&record, &mut answer);
            assert!(!answer.lines.is_empty());
            let mut read = received(&answer);

            let plain = http::Response::builder().header(CONTENT_TYPE, "text/plain");
            let mut plain = plain.body(()).unwrap();
            stack.on_response(&record, &mut plain);
            let fields = plain.headers().iter();
            let fields = fields.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
            let mut fields: Vec<_> = fields.collect();
            for list in [&mut read, &mut fields] {
                list.sort();
            }
            assert_eq!(read, fields, "{given}");
            let all = |name: &str| {
                let named = read.iter().filter(|(known, _)| known == name);
                named.map(|(_, value)| str::from_utf8(value).unwrap()).collect::<Vec<_>>()
            };
            assert_eq!(all("x-request-id").len(), 1, "{read:?}");
            assert!(all("access-control-allow-origin").len() <= 1, "{read:?}");
            if given.contains("authorization") {
                let told = |(name, value): &(&str, &str)| all(name) == [*value];
                assert!(wanted.iter().all(told), "{read:?}");
            }
        }
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

/// A limiter as a server shares it.
#[derive(Debug)]
struct Single(Mutex<RateLimiter>);

impl Buckets for Single {
    fn check(&self, now: Instant, cost: u32, charges: &[Charge]) -> Outcome {
        self.0.lock().unwrap().check(now, cost, charges)
    }

    fn peek(&self, now: Instant, cost: u32, charges: &[Charge]) -> Outcome {
        self.0.lock().unwrap().peek(now, cost, charges)
    }

    fn is_idle(&self, now: Instant) -> bool {
        self.0.lock().unwrap().is_idle(now)
    }
}

fn limited(
    config: RateLimitConfig,
    routes: &[(u32, Option<Quota>)],
) -> Result<Stack, BadRateLimit> {
    let share = |limiter| Single(Mutex::new(limiter));
    let routes = routes.iter().map(|(cost, quota)| (Cost(*cost), *quota));
    let limit = RateLimit::new(config, [1; 16], routes, share)?;
    let layers: [BoxLayer; 3] =
        [Box::new(Identify::default()), Box::new(authentication()), Box::new(limit)];
    Ok(Stack::new(layers.map(|layer| (Mode::Enforce, layer))).unwrap())
}

fn quota(count: u32, burst: u32) -> Quota {
    Quota::new(count, Duration::from_secs(60), burst).unwrap()
}

#[test]
fn clients_are_held_to_quotas_and_told() {
    let config = RateLimitConfig { client: Some(quota(60, 2)), ..RateLimitConfig::default() };
    for (fields, wanted) in [
        (
            LimitFields::Draft,
            [
                ("ratelimit-policy", Some("\"client\";q=60;w=60")),
                ("ratelimit", Some("\"client\";r=0;t=2")),
                ("x-ratelimit-limit", None),
            ],
        ),
        (
            LimitFields::Legacy,
            [
                ("x-ratelimit-limit", Some("60")),
                ("x-ratelimit-remaining", Some("0")),
                ("x-ratelimit-reset", Some("2")),
            ],
        ),
        (LimitFields::None, [("ratelimit", None), ("x-ratelimit-limit", None), ("x", None)]),
    ] {
        let stack = limited(RateLimitConfig { fields, ..config.clone() }, &[]).unwrap();
        let one = asked("GET", "");
        assert_eq!(one.pass(&stack).0, Decision::Continue);
        assert_eq!(one.pass(&stack).0, Decision::Continue);
        let (decision, record) = one.pass(&stack);
        assert_eq!(decision, Decision::Refuse(Reason::RateLimited));
        assert_eq!(record.retry_after, Some(Duration::from_secs(1)));
        let answer = answered(&stack, &record, StatusCode::TOO_MANY_REQUESTS);
        for (name, value) in wanted {
            assert_eq!(field(&answer, name), value, "{fields:?} {name}");
        }
        // A token makes another client of the same address, an invented name does not.
        assert_eq!(
            asked("GET", "authorization: Bearer good\r\n").pass(&stack).0,
            Decision::Continue
        );
        let poser = asked("GET", "x-client-id: other\r\nx-forwarded-for: 1.2.3.4\r\n");
        assert_eq!(poser.pass(&stack).0, Decision::Refuse(Reason::RateLimited));
    }
}

#[test]
fn classes_routes_and_costs_have_their_own() {
    let class = |name: &str, who, quota| ClientClass {
        name: name.to_owned(),
        who,
        roles: Vec::new(),
        quota,
    };
    let classes = vec![class("known", Who::Authenticated, None)];
    let config = RateLimitConfig {
        client: Some(quota(60, 4)),
        classes,
        global: Some(quota(60, 8)),
        ..RateLimitConfig::default()
    };
    let stack = limited(config.clone(), &[(1, Some(quota(60, 1)))]).unwrap();
    let mut costly = asked("GET", "");
    costly.policy.cost = Cost(3);
    assert_eq!(costly.pass(&stack).1.quota.unwrap().remaining, 1);
    assert_eq!(costly.pass(&stack).0, Decision::Refuse(Reason::RateLimited));
    // Who is known pays for all only, and for the route.
    let mut known = asked("GET", "authorization: Bearer good\r\n");
    assert_eq!(known.pass(&stack).1.quota.unwrap().quota, QuotaId(0));
    known.policy.quota = Some(quota(60, 1));
    assert_eq!(known.pass(&stack).0, Decision::Continue);
    assert_eq!(known.pass(&stack).0, Decision::Refuse(Reason::RateLimited));
    let mut invented = asked("BREW", "authorization: Bearer good\r\n");
    invented.policy.quota = known.policy.quota;
    assert_eq!(invented.pass(&stack).0, Decision::Refuse(Reason::RateLimited));
    known.route = Some(1);
    assert_eq!(known.pass(&stack).0, Decision::Continue, "another route");
    known.policy.quota = None;
    assert_eq!(known.pass(&stack).0, Decision::Continue);
    assert_eq!(known.pass(&stack).0, Decision::Continue);
    assert_eq!(known.pass(&stack).0, Decision::Refuse(Reason::RateLimited), "8 for all");

    // Nobody looks at a line again: what would end one, or a string in it, is refused here.
    for name in ["", "a\"b", "client", "a\\b", "a\rb", "a\nb", "a\tb", "a\x7fb", "gr\u{fc}n"] {
        let classes = vec![class(name, Who::Anyone, Some(quota(1, 1)))];
        let error = limited(RateLimitConfig { classes, ..config.clone() }, &[]).err();
        assert_eq!(error, Some(BadRateLimit::Name { class: 0, name: name.to_owned() }));
    }
    for (cost, own, name, burst) in
        [(9, None, "global", 8), (5, None, "client", 4), (2, Some(quota(60, 1)), "route", 1)]
    {
        let error = limited(config.clone(), &[(1, None), (cost, own)]).err();
        let (cost, quota) = (Cost(cost), name.to_owned());
        assert_eq!(
            error,
            Some(BadRateLimit::Cost { route: 1, cost, quota, burst }),
            "never let through"
        );
    }
    let classes =
        vec![class("a\"", Who::Anyone, None), class("client", Who::Anyone, Some(quota(1, 1)))];
    let all = RateLimitConfig { classes, bytes: 1, ..config };
    let problems = all.problems([(Cost(9), None)]);
    assert_eq!(problems.len(), 4, "each mistake is told: {problems:?}");
    let nothing = RateLimitConfig { client: None, global: None, classes: Vec::new(), ..config };
    assert_eq!(limited(nothing, &[]).err(), Some(BadRateLimit::Limiter(BadLimiter::NoQuota)));
}

/// Says the same to everyone, and notes whom it was asked about.
struct Says(LeaseVerdict, Arc<Mutex<Vec<(u32, KeyHash)>>>);

impl Lessor for Says {
    fn check(&self, _: Instant, cost: u32, key: KeyHash, _: KeyGroup) -> LeaseVerdict {
        self.1.lock().unwrap().push((cost, key));
        self.0
    }
}

#[test]
fn a_shared_quota_refuses_what_is_spent_and_what_nobody_can_count() {
    let wait = Some(Duration::from_secs(3));
    let refused = |reason| LeaseVerdict::Refused { reason, retry_after: wait };
    let (limited, unavailable) = (Reason::RateLimited, Reason::Unavailable);
    for (verdict, reason) in [
        (LeaseVerdict::Allowed(Basis::Lease), None),
        (LeaseVerdict::Allowed(Basis::Uncounted), None),
        (refused(Shortage::Spent), Some(limited)),
        (refused(Shortage::Unanswered), Some(limited)),
        (refused(Shortage::Local), Some(limited)),
        (refused(Shortage::NoStore), Some(unavailable)),
        (refused(Shortage::NoRoom), Some(unavailable)),
    ] {
        let asked_about = Arc::default();
        let stack = |secret| {
            let limit = SharedLimit::new(Says(verdict, Arc::clone(&asked_about)), [secret; 16]);
            let layers: [BoxLayer; 2] = [Box::new(Identify::default()), Box::new(limit)];
            Stack::new(layers.map(|layer| (Mode::Enforce, layer))).unwrap()
        };
        let mut request = asked("GET", "");
        request.policy.cost = Cost(2);
        let (decision, record) = request.pass(&stack(1));
        assert_eq!(decision, reason.map_or(Decision::Continue, Decision::Refuse));
        assert_eq!(record.retry_after, reason.and(wait));
        assert!(events(&record, 7).contains(&Event::Lease { exchange: 7, verdict }));
        // Replicas know a client by the same name, if they have the same secret.
        let _ = (request.pass(&stack(1)), request.pass(&stack(2)));
        request.policy.cost = Cost(0);
        assert_eq!(request.pass(&stack(1)).0, Decision::Continue, "nothing is taken");
        let seen = asked_about.lock().unwrap();
        assert!(seen.iter().all(|(cost, _)| *cost == 2) && seen.len() == 3, "{seen:?}");
        assert!(seen[0] == seen[1] && seen[0] != seen[2], "{seen:?}");
    }
}

#[test]
fn too_many_bad_tokens_are_not_even_looked_at() {
    let share = |limiter| Single(Mutex::new(limiter));
    let shield = Shield::new(quota(60, 2), 64 << 10, [1; 16], share).unwrap();
    let layers: [BoxLayer; 3] =
        [Box::new(Identify::default()), Box::new(shield), Box::new(authentication())];
    let stack = Stack::new(layers.map(|layer| (Mode::Enforce, layer))).unwrap();
    let attempt = |token: &str, address: &str| {
        let mut request = asked("GET", &format!("authorization: Bearer {token}\r\n"));
        request.peer.address = Some(address.parse().unwrap());
        let (decision, record) = request.pass(&stack);
        stack.on_end(&record, &End::new(Instant::from_nanos(5), None));
        (decision, record.credential)
    };
    let bad = Decision::Refuse(Reason::InvalidToken);
    for _ in 0..5 {
        assert_eq!(attempt("good", "192.0.2.7").0, Decision::Continue, "good ones cost nothing");
    }
    assert_eq!(attempt("a", "192.0.2.7").0, bad);
    assert_eq!(attempt("b", "192.0.2.7").0, bad);
    assert_eq!(attempt("c", "192.0.2.7"), (Decision::Refuse(Reason::RateLimited), None));
    assert_eq!(attempt("c", "192.0.2.8").0, bad, "another address");
    // A household has one prefix.
    assert_eq!(attempt("a", "2001:db8::1").0, bad);
    assert_eq!(attempt("a", "2001:db8::2").0, bad);
    assert_eq!(attempt("a", "2001:db8::3").0, Decision::Refuse(Reason::RateLimited));
    let mut plain = asked("GET", "");
    plain.peer.address = Some("192.0.2.7".parse().unwrap());
    assert_eq!(plain.pass(&stack).0, Decision::Continue, "who brings no token fails no check");
}

/// Refuses whoever says so, and counts ends.
#[derive(Debug)]
struct Own;

#[derive(Clone, Debug, PartialEq)]
struct Note(&'static str);

impl Layer for Own {
    fn stage(&self) -> Stage {
        Stage::Application
    }

    fn on_head(&self, arrival: &Arrival<'_>, record: &mut Record) -> Decision {
        record.extensions.insert(Note("seen"));
        match arrival.head.header("x-full") {
            Some(_) => {
                record.retry_after = Some(Duration::from_secs(2));
                Decision::Refuse(Reason::Unavailable)
            }
            None => Decision::Continue,
        }
    }

    fn on_response(&self, record: &Record, response: &mut dyn ResponseHead) {
        assert_eq!(record.extensions.get(), Some(&Note("seen")));
        response.append(HeaderName::from_static("x-own"), "1".parse().unwrap());
    }

    fn on_end(&self, record: &Record, end: &End) {
        assert_eq!((record.context.priority, end.status), (Priority::High, Some(StatusCode::OK)));
    }
}

#[test]
fn an_application_adds_layers_of_its_own() {
    let layers: [(Mode, BoxLayer); 1] = [(Mode::Enforce, Box::new(Own))];
    let stack = Stack::new(layers).unwrap();
    let mut request = asked("GET", "x-full: yes\r\n");
    request.policy.priority = Priority::High;
    let (decision, record) = request.pass(&stack);
    assert_eq!(decision, Decision::Refuse(Reason::Unavailable));
    assert_eq!(record.refused, Some(enforced(Stage::Application, Reason::Unavailable)));
    assert_eq!(record.retry_after, Some(Duration::from_secs(2)));
    assert_eq!(field(&answered(&stack, &record, StatusCode::OK), "x-own"), Some("1"));
    stack.on_end(&record, &End::new(Instant::ZERO, Some(StatusCode::OK)));
}

/// Counts the requests that it was asked about and has not been told the end of.
struct Gauge(Arc<AtomicI64>);

impl Layer for Gauge {
    fn stage(&self) -> Stage {
        Stage::Application
    }

    fn on_head(&self, _: &Arrival<'_>, _: &mut Record) -> Decision {
        self.0.fetch_add(1, Ordering::Relaxed);
        Decision::Continue
    }

    fn on_end(&self, _: &Record, _: &End) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[test]
fn the_end_is_told_to_those_who_were_asked() {
    let count = Arc::new(AtomicI64::new(0));
    for (fields, asked_for) in [("", 1), ("x-full: yes\r\n", 0)] {
        let gauge = Box::new(Gauge(Arc::clone(&count)));
        let layers: [(Mode, BoxLayer); 2] =
            [(Mode::Enforce, Box::new(Own)), (Mode::Enforce, gauge)];
        let stack = Stack::new(layers).unwrap();
        let mut request = asked("GET", fields);
        request.policy.priority = Priority::High;
        let (_, record) = request.pass(&stack);
        assert_eq!(count.load(Ordering::Relaxed), asked_for);
        stack.on_end(&record, &End::new(Instant::ZERO, Some(StatusCode::OK)));
        assert_eq!(count.load(Ordering::Relaxed), 0);
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
