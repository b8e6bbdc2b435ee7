//! The policies of a server, over sockets: who is refused, why, and how the answer says so.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, StatusCode};
use serde_json::Value;
use sinew_core::limit::Quota;
use sinew_core::observe::Event;
use sinew_core::policy::Stage;
use sinew_core::reason::Reason;
use sinew_core::security::{
    Cors, CorsConfig, Credential, PeerName, Principal, Routes, Rule, Subject, Thumbprint,
    TokenError, TokenValidator, Who,
};
use sinew_core::server::{
    Arrival, Decision, End, Layer, MediaRange, RateLimitConfig, Record, ResponseHead,
};
use sinew_driver::{HandlerTimeout, Notice, Problem, Request, RouteOptions, SecurityPolicy};

use super::each;
use super::raw::{Answer, Raw, raw};
use super::site::{BOTH, Builder, CLIENT, Security, Site, client_of};
use crate::rt;

/// Knows the tokens `ann` and `root`.
struct Tokens;

impl TokenValidator for Tokens {
    fn validate(
        &self,
        credential: Credential<'_>,
        _peer: Option<&Thumbprint>,
        _now: Duration,
    ) -> Result<Arc<Principal>, TokenError> {
        let Credential::Bearer(token) = credential else { return Err(TokenError::Unknown) };
        let (subject, roles): (&str, &[&str]) = match token.expose() {
            b"ann" => ("ann", &[]),
            b"root" => ("root", &["admin"]),
            _ => return Err(TokenError::Expired),
        };
        Ok(Arc::new(Principal {
            subject: Subject::Token { issuer: "us".into(), subject: subject.into() },
            roles: roles.iter().map(|role| (*role).into()).collect(),
            scopes: Box::new([]),
            expires: None,
        }))
    }
}

async fn who(request: Request) -> String {
    let security = request.security();
    let subject = match security.principal.as_ref().map(|known| &known.subject) {
        Some(Subject::Token { subject, .. }) => subject.as_ref(),
        _ => "nobody",
    };
    let peer = security.peer.as_ref().map_or("nobody", PeerName::as_str);
    format!("{subject} {peer} {}", request.id().unwrap())
}

async fn count(request: Request) -> Result<String, Problem> {
    Ok(request.json::<BTreeMap<String, u32>>().await?.len().to_string())
}

/// Callers with a token are known; `/admin` is for the role, `/public` for everyone.
pub(super) fn guarded(builder: Builder) -> Builder {
    let admin = Rule {
        roles: vec!["admin".into()],
        ..Rule::allow(
            "admins",
            Who::Authenticated,
            Routes::Of(vec!["/admin/{*rest}".into(), "/admin".into()]),
        )
    };
    let open = ["/who", "/count", "/slow", "/panic", "/tenants/{tenant}/keys"];
    let users = Rule {
        // Not by certificate, so that the same is refused with TLS and without.
        networks: vec!["127.0.0.0/8".parse().unwrap()],
        ..Rule::allow(
            "users",
            Who::Named(vec![
                sinew_core::security::Identity::Token {
                    issuer: "us".into(),
                    subject: "ann".into(),
                },
                sinew_core::security::Identity::Token {
                    issuer: "us".into(),
                    subject: "root".into(),
                },
            ]),
            Routes::Of(open.map(str::to_owned).to_vec()),
        )
    };
    let policy = SecurityPolicy::from(Tokens).realm("shop").rule(admin).rule(users);
    let cors = CorsConfig {
        origins: vec!["https://app.test".into()],
        methods: vec![Method::PUT],
        headers: vec![HeaderName::from_static("authorization")],
        ..CorsConfig::default()
    };
    let json = RouteOptions::new()
        .content_type(MediaRange::new("application/json").unwrap())
        .require(HeaderName::from_static("x-tenant"))
        .body_limit(16);
    let slow = RouteOptions::new().handler_timeout(HandlerTimeout::After(Duration::from_millis(1)));
    builder
        .security(policy)
        .cors(Cors::new(cors).unwrap())
        .route(Method::GET, "/who", who)
        .route_with(Method::GET, "/public", RouteOptions::new().allow(Who::Anyone), who)
        .route(Method::GET, "/admin", async |_: Request| "admin")
        .route(Method::GET, "/admin/{*rest}", async |_: Request| "admin")
        .route(Method::GET, "/tenants/{tenant}/keys", async |_: Request| "keys")
        .route_with(Method::POST, "/count", json, count)
        .route_with(Method::GET, "/slow", slow, async |_: Request| {
            std::future::pending::<()>().await;
        })
        .route(Method::GET, "/panic", async |_: Request| -> () { panic!("on purpose") })
}

async fn site(security: Security) -> Site {
    Site::run(security, guarded(rt::RestServer::builder()).listen("127.0.0.1:0")).await
}

pub(super) fn ask(socket: &mut Raw, line: &str, fields: &str, body: &str) -> Answer {
    socket.send(format!("{line} HTTP/1.1\r\nhost: a\r\n{fields}\r\n{body}"));
    socket.answer().unwrap()
}

/// An answer and what its document says. Document and head name the request alike.
pub(super) fn problem(answer: &Answer) -> (u16, String) {
    assert_eq!(answer.field("content-type"), Some("application/problem+json"), "{answer:?}");
    let document: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(document["status"], answer.status());
    assert_eq!(document["request_id"].as_str(), answer.field("x-request-id"), "{answer:?}");
    assert_eq!(document["trace_id"].as_str().unwrap().len(), 32);
    (answer.status(), document["reason"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn every_refusal_is_a_problem_with_its_reason() {
    const ANN: &str = "authorization: Bearer ann\r\n";
    const ROOT: &str = "authorization: Bearer root\r\n";
    let json = |length: usize| {
        format!(
            "{ANN}x-tenant: 1\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n"
        )
    };
    let cases: Vec<(&str, String, &str, Reason)> = vec![
        ("GET /who", "authorization: Bearer old\r\n".into(), "", Reason::InvalidToken),
        ("GET /who", "authorization: Bearer \u{1}\r\n".into(), "", Reason::MalformedRequest),
        ("GET /who", format!("{ANN}{ROOT}"), "", Reason::BadCredential),
        ("GET /admin", ANN.into(), "", Reason::Forbidden),
        ("GET /admin/x", ANN.into(), "", Reason::Forbidden),
        ("GET /missing", ANN.into(), "", Reason::NotFound),
        ("PUT /who", ANN.into(), "", Reason::MethodNotAllowed),
        ("GET /who/%2e%2e/admin", ANN.into(), "", Reason::BadPath),
        ("GET /slow", ANN.into(), "", Reason::HandlerTimeout),
        ("GET /panic", ANN.into(), "", Reason::Internal),
        ("POST /count", ANN.into(), "", Reason::MissingField),
        (
            "POST /count",
            format!("{ANN}x-tenant: 1\r\ncontent-length: 2\r\n"),
            "{}",
            Reason::UnsupportedMediaType,
        ),
        ("POST /count", json(7), r#"{"a":-1"#, Reason::InvalidBody),
        ("POST /count", json(2), "{]", Reason::MalformedRequest),
        ("POST /count", json(17), "", Reason::BodyTooLarge),
    ];
    each(async |security| {
        let site = site(security).await;
        for (line, fields, body, reason) in cases.clone() {
            let all = format!("origin: https://app.test\r\n{fields}");
            let answer = raw(&site, move |mut socket| ask(&mut socket, line, &all, body)).await;
            if reason == Reason::MalformedRequest && body.is_empty() {
                // No request was there, so there is nothing to name.
                assert_eq!(answer.status(), 400);
                continue;
            }
            let wanted = (reason.status().as_u16(), reason.name().to_owned());
            assert_eq!(problem(&answer), wanted, "{line} {fields}");
            let origin = answer.field("access-control-allow-origin");
            assert_eq!(origin, Some("https://app.test"), "{line}: a page may read it");
        }
    });
}

#[test]
fn nobody_gets_a_challenge_wherever_they_knock() {
    each(async |security| {
        // With a certificate a caller is somebody, who may nothing of this.
        let status = if security == Security::Plain { 401 } else { 403 };
        let site = site(security).await;
        raw(&site, move |mut socket| {
            for path in ["/who", "/admin", "/admin/a/b", "/slow"] {
                let answer = ask(&mut socket, &format!("GET {path}"), "", "");
                assert_eq!(problem(&answer).0, status, "{path}");
                let challenge = answer.field("www-authenticate");
                let wanted = (status == 401).then_some(r#"Bearer realm="shop""#);
                assert_eq!(challenge, wanted);
            }
            let unknown = ask(&mut socket, "GET /missing", "", "");
            assert_eq!(unknown.status(), if status == 401 { 401 } else { 404 });
        })
        .await;
    });
}

#[test]
fn handlers_know_who_asks_and_under_which_name() {
    each(async |security| {
        let site = site(security).await;
        let peer = if security == Security::Plain { "nobody" } else { CLIENT };
        let client = client_of(&site);
        let call = client.get("/who").bearer("ann").header("x-request-id", "r-1");
        let response = call.send().await.unwrap();
        assert_eq!(response.header("x-request-id").unwrap(), "r-1");
        assert_eq!(response.text().await.unwrap(), format!("ann {peer} r-1"));
        let response = client.get("/public").send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert!(response.text().await.unwrap().starts_with(&format!("nobody {peer} ")));
        let one = client.get("/public").send().await.unwrap();
        let two = client.get("/public").send().await.unwrap();
        assert_ne!(one.header("x-request-id"), two.header("x-request-id"));
    });
}

#[test]
fn preflights_are_answered_before_anyone_is_asked_who_they_are() {
    each(async |security| {
        let site = site(security).await;
        raw(&site, |mut socket| {
            let fields = "origin: https://app.test\r\naccess-control-request-method: PUT\r\n\
                          access-control-request-headers: authorization\r\n";
            let answer = ask(&mut socket, "OPTIONS /who", fields, "");
            assert_eq!(answer.status(), 204);
            assert_eq!(answer.field("access-control-allow-methods"), Some("PUT"));
            assert_eq!(answer.field("access-control-allow-headers"), Some("authorization"));
            let foreign = fields.replace("app", "evil");
            let answer = ask(&mut socket, "OPTIONS /who", &foreign, "");
            assert_eq!(answer.status(), 204);
            assert_eq!(answer.field("access-control-allow-origin"), None);
        })
        .await;
    });
}

#[test]
fn every_refusal_is_told_once() {
    for security in BOTH {
        let told: Arc<Mutex<Vec<(Reason, u64)>>> = Arc::default();
        let answered: Arc<Mutex<Vec<u16>>> = Arc::default();
        let (note, count) = (Arc::clone(&told), Arc::clone(&answered));
        super::run(async move {
            let builder = rt::RestServer::builder().observe(move |_, notice| match notice {
                Notice::Decided(Event::Refused { exchange, refused }) => {
                    note.lock().unwrap().push((refused.reason, *exchange));
                }
                Notice::Decided(Event::Responded { status, .. }) => {
                    count.lock().unwrap().push(status.as_u16());
                }
                _ => {}
            });
            let site = Site::run(security, guarded(builder).listen("127.0.0.1:0")).await;
            raw(&site, |mut socket| {
                let ann = "authorization: Bearer ann\r\n";
                ask(&mut socket, "GET /who", ann, "");
                ask(&mut socket, "GET /who", "authorization: Bearer old\r\n", "");
                ask(&mut socket, "GET /admin", ann, "");
                ask(&mut socket, "POST /count", ann, "");
            })
            .await;
            site.stop().await;
        });
        let told = told.lock().unwrap().clone();
        assert_eq!(
            told,
            [(Reason::InvalidToken, 2), (Reason::Forbidden, 3), (Reason::MissingField, 4)]
        );
        assert_eq!(*answered.lock().unwrap(), [200, 401, 403, 400]);
    }
}

#[test]
fn a_client_that_asks_too_often_is_told_when_to_come_back() {
    each(async |security| {
        let quota = Quota::new(1, Duration::from_secs(3600), 2).unwrap();
        let limits = RateLimitConfig { client: Some(quota), ..RateLimitConfig::default() };
        let cors = CorsConfig { origins: vec!["*".into()], ..CorsConfig::default() };
        let builder = rt::RestServer::builder()
            .rate_limit(limits)
            .cors(Cors::new(cors).unwrap())
            .route(Method::GET, "/who", who);
        let site = Site::run(security, builder.listen("127.0.0.1:0")).await;
        for left in [1, 0] {
            let answer = raw(&site, |mut socket| ask(&mut socket, "GET /who", "", "")).await;
            assert_eq!(answer.status(), 200);
            let told = answer.field("ratelimit").unwrap();
            assert!(told.starts_with(&format!("\"client\";r={left};t=")), "{told}");
        }
        // Another connection of the same client; the name that it gives itself is of no account.
        let fields = "x-client-id: other\r\nx-forwarded-for: 203.0.113.9\r\n";
        let answer = raw(&site, move |mut socket| ask(&mut socket, "GET /who", fields, "")).await;
        assert_eq!(problem(&answer), (429, "rate_limited".to_owned()));
        let seconds: u64 = answer.field("retry-after").unwrap().parse().unwrap();
        assert!((3500..=3600).contains(&seconds), "{seconds}");
        let document: Value = serde_json::from_slice(&answer.body).unwrap();
        assert!(document["retry_after_ms"].as_u64().unwrap() <= seconds * 1000);
        assert_eq!(answer.field("access-control-allow-origin"), Some("*"));
    });
}

#[test]
fn a_route_that_says_who_may_is_for_them_alone() {
    each(async |security| {
        let ann =
            sinew_core::security::Identity::Token { issuer: "us".into(), subject: "ann".into() };
        let hers = RouteOptions::new().allow(Who::Named(vec![ann]));
        let builder = rt::RestServer::builder()
            .security(Tokens)
            .route_with(Method::GET, "/hers", hers, who)
            .route(Method::PUT, "/hers", who)
            .route(Method::GET, "/known", who)
            .fallback(async |_: Request| "fallback");
        let site = Site::run(security, builder.listen("127.0.0.1:0")).await;
        raw(&site, |mut socket| {
            for (line, token, status) in [
                ("GET /hers", "ann", 200),
                ("GET /hers", "root", 403),
                ("PUT /hers", "ann", 403),
                ("GET /known", "root", 200),
                ("GET /elsewhere", "root", 200),
            ] {
                let fields = format!("authorization: Bearer {token}\r\n");
                let answer = ask(&mut socket, line, &fields, "");
                assert_eq!(answer.status(), status, "{line} {token}");
            }
        })
        .await;
    });
}

#[test]
fn a_fallback_is_no_way_around_the_rules() {
    each(async |security| {
        let builder = guarded(rt::RestServer::builder()).fallback(async |_: Request| "fallback");
        let site = Site::run(security, builder.listen("127.0.0.1:0")).await;
        raw(&site, |mut socket| {
            let answer = ask(&mut socket, "GET /x", "authorization: Bearer ann\r\n", "");
            assert_eq!(problem(&answer), (403, "forbidden".to_owned()));
        })
        .await;
    });
}

/// Fails in one of its methods, as the request asks.
struct Broken;

#[derive(Clone)]
struct Fails(HeaderValue);

impl Layer for Broken {
    fn stage(&self) -> Stage {
        Stage::Application
    }

    fn on_head(&self, arrival: &Arrival<'_>, record: &mut Record) -> Decision {
        let how = arrival.head.header("x-fail").unwrap_or_default();
        assert_ne!(how, b"head", "on purpose");
        record.extensions.insert(Fails(HeaderValue::from_bytes(how).unwrap()));
        Decision::Continue
    }

    fn on_response(&self, record: &Record, response: &mut dyn ResponseHead) {
        let how = record.extensions.get().map(|Fails(how)| how.as_bytes());
        assert_ne!(how, Some(&b"response"[..]), "on purpose");
        if how == Some(b"field") {
            response.append(http::header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
    }

    fn on_end(&self, record: &Record, _: &End) {
        let how = record.extensions.get().map(|Fails(how)| how.as_bytes());
        assert_ne!(how, Some(&b"end"[..]), "on purpose");
    }
}

#[test]
fn a_layer_that_fails_ends_in_a_500() {
    for security in BOTH {
        let panics = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&panics);
        super::run(async move {
            let cors = CorsConfig { origins: vec!["*".into()], ..CorsConfig::default() };
            let builder = rt::RestServer::builder()
                .layer(Broken)
                .cors(Cors::new(cors).unwrap())
                .observe(move |_, notice| {
                    counter.fetch_add(usize::from(*notice == Notice::Panicked), Relaxed);
                })
                .route(Method::GET, "/who", who);
            let site = Site::run(security, builder.listen("127.0.0.1:0")).await;
            for (how, status) in [("head", 500), ("response", 500), ("field", 500), ("end", 200)] {
                let fields = format!("origin: https://app.test\r\nx-fail: {how}\r\n");
                let answer =
                    raw(&site, move |mut socket| ask(&mut socket, "GET /who", &fields, "")).await;
                assert_eq!(answer.status(), status, "{how}");
                if status == 200 {
                    continue;
                }
                let document: Value = serde_json::from_slice(&answer.body).unwrap();
                assert_eq!(document["reason"], "internal");
                // Whose fields are wrong has no say in the answer; who panics leaves it to the others.
                if how != "field" {
                    assert_eq!(problem(&answer), (500, "internal".to_owned()), "{how}");
                    assert_eq!(answer.field("access-control-allow-origin"), Some("*"), "{how}");
                }
            }
            site.stop().await;
        });
        assert_eq!(panics.load(Relaxed), 2, "each is told once");
    }
}

#[test]
fn a_probe_is_not_held_to_the_quota_of_its_peer() {
    each(async |security| {
        let quota = Quota::new(1, Duration::from_secs(3600), 1).unwrap();
        let limits = RateLimitConfig { client: Some(quota), ..RateLimitConfig::default() };
        let builder = rt::RestServer::builder()
            .rate_limit(limits)
            .route_with(Method::GET, "/health", RouteOptions::new().cost(0), who)
            .route(Method::GET, "/who", who);
        let site = Site::run(security, builder.listen("127.0.0.1:0")).await;
        raw(&site, |mut socket| {
            let mut statuses = |path: &str, times: usize| -> Vec<u16> {
                (0..times)
                    .map(|_| ask(&mut socket, &format!("GET {path}"), "", "").status())
                    .collect()
            };
            assert_eq!(statuses("/health", 5), [200; 5]);
            assert_eq!(statuses("/who", 2), [200, 429]);
            assert_eq!(statuses("/health", 5), [200; 5]);
        })
        .await;
    });
}

#[test]
fn policies_that_make_no_sense_are_refused() {
    super::run(async {
        let builder = || rt::RestServer::builder().allow_plaintext().listen("127.0.0.1:0");
        let public = RouteOptions::new().allow(Who::Anyone);
        let api_key = HeaderName::from_static("x-api-key");
        let quota = RouteOptions::new().quota(Quota::new(1, Duration::from_secs(1), 1).unwrap());
        let elsewhere = Rule::allow("odd", Who::Anyone, Routes::Of(vec!["/nowhere".into()]));
        for (builder, why) in [
            (builder().route_with(Method::GET, "/", public, who), "give .security"),
            (builder().route_with(Method::GET, "/", quota, who), "give .rate_limit"),
            (
                builder().rate_limit(RateLimitConfig::default()).route_with(
                    Method::GET,
                    "/dear",
                    RouteOptions::new().cost(21),
                    who,
                ),
                "route /dear: a request that costs 21 never gets through",
            ),
            (
                builder()
                    .security(Tokens)
                    .route_any("/", RouteOptions::new().allow(Who::Anyone), who)
                    .route(Method::GET, "/", who),
                "overlap",
            ),
            (builder().security(SecurityPolicy::new().api_key(api_key)), "without a validator"),
            (builder().security(SecurityPolicy::new().realm("a\"b")), "realm"),
            (builder().security(SecurityPolicy::new().rule(elsewhere)), "access rule \"odd\""),
        ] {
            let error = builder.bind().await.err().unwrap().to_string();
            assert!(error.contains(why), "{error}");
        }
    });
}
