//! Who may do what, over sockets: each verdict names its rule, and no spelling of a path gets past
//! one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderName, Method};
use serde_json::Value;
use sinew_core::security::{
    Credential, Identity, KeyDigest, Principal, Routes, Rule, Subject, Thumbprint, TokenError,
    TokenValidator, Who,
};
use sinew_driver::{Explain, Notice, Request, RouteOptions, SecurityPolicy};

use super::each;
use super::raw::{Answer, Raw, raw};
use super::site::{BOTH, Builder, Security, Site};
use crate::rt;

/// Knows callers by name: what a token or key says is a subject, its roles and its scopes.
struct Known;

impl TokenValidator for Known {
    fn validate(
        &self,
        credential: Credential<'_>,
        _: Option<&Thumbprint>,
        _: Duration,
    ) -> Result<Arc<Principal>, TokenError> {
        let token = |subject: &str| Subject::Token { issuer: "us".into(), subject: subject.into() };
        let (subject, roles, scopes): (_, &[&str], &[&str]) = match credential {
            Credential::Bearer(token_of) => match token_of.expose() {
                b"ann" => (token("ann"), &[], &["orders:read"]),
                b"bob" => (token("bob"), &["writer"], &[]),
                b"eve" => (token("eve"), &["writer"], &["orders:read"]),
                b"root" => (token("root"), &["admin"], &[]),
                _ => return Err(TokenError::Unknown),
            },
            Credential::ApiKey(key) if key.expose() == b"robot" => {
                let digest = KeyDigest([7; 32]);
                (Subject::ApiKey { label: "robot".into(), digest }, &[], &[])
            }
            Credential::ApiKey(_) => return Err(TokenError::Unknown),
        };
        let boxed = |list: &[&str]| list.iter().map(|text| Box::from(*text)).collect();
        let (roles, scopes) = (boxed(roles), boxed(scopes));
        Ok(Arc::new(Principal { subject, roles, scopes, expires: None }))
    }
}

fn of(routes: &[&str]) -> Routes {
    Routes::Of(routes.iter().map(ToString::to_string).collect())
}

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

fn policy() -> SecurityPolicy {
    let eve = Identity::Token { issuer: "us".into(), subject: "eve".into() };
    let shop = Identity::SpiffeBelow("spiffe://acme.test/ns/shop".into());
    SecurityPolicy::from(Known)
        .api_key(HeaderName::from_static("x-api-key"))
        .rule(Rule::allow("public", Who::Anyone, of(&["/public"])))
        .rule(Rule {
            scopes: strings(&["orders:read"]),
            methods: vec![Method::GET],
            ..Rule::allow("read", Who::Authenticated, of(&["/orders/*"]))
        })
        .rule(Rule {
            roles: strings(&["writer"]),
            ..Rule::allow("write", Who::Authenticated, of(&["/orders/*"]))
        })
        .rule(Rule::allow("shop", Who::Named(vec![shop]), of(&["/stock"])))
        .rule(Rule {
            networks: vec!["192.0.2.0/24".parse().unwrap()],
            ..Rule::allow("scrapers", Who::Anyone, of(&["/metrics"]))
        })
        .rule(Rule::allow(
            "robots",
            Who::Named(vec![Identity::ApiKey("robot".into())]),
            of(&["/jobs/{id}"]),
        ))
        .rule(Rule {
            roles: strings(&["admin"]),
            ..Rule::allow("admins", Who::Authenticated, Routes::Every)
        })
        .rule(Rule::deny("no eve", Who::Named(vec![eve]), Routes::Except(strings(&["/public"]))))
}

const ROUTES: [&str; 7] =
    ["/public", "/orders", "/orders/{id}", "/stock", "/metrics", "/jobs/{id}", "/forgotten"];

/// Handlers answer with the rule that let the request in.
fn builder(
    explain: Explain,
    notices: &Arc<Mutex<Vec<String>>>,
    entered: &Arc<AtomicUsize>,
) -> Builder {
    let note = Arc::clone(notices);
    let mut builder =
        rt::RestServer::builder().security(policy().explain(explain)).observe(move |_, notice| {
            if let Notice::Explained { why, .. } = notice {
                note.lock().unwrap().push(why.clone());
            }
        });
    for route in ROUTES {
        for method in [Method::GET, Method::PUT] {
            let entered = Arc::clone(entered);
            builder = builder.route(method, route, move |request: Request| {
                entered
                    .fetch_add(usize::from(request.route() != Some("/public")), Ordering::SeqCst);
                async move { request.explanation().unwrap_or_default() }
            });
        }
    }
    builder.listen("127.0.0.1:0")
}

fn ask(socket: &mut Raw, line: &str, fields: &str) -> Answer {
    socket.send(format!("{line} HTTP/1.1\r\nhost: a\r\n{fields}\r\n"));
    socket.answer().unwrap()
}

/// What each caller may do, and by which rule. Where it is not said, the route is as the one above.
const MATRIX: &[(&str, &str, u16, &str)] = &[
    ("nobody", "GET /public", 200, r#"allowed by rule "public""#),
    (
        "nobody",
        "GET /orders/1",
        401,
        r#"no rule allows it; nearest is "read", but for the identity"#,
    ),
    (
        "nobody",
        "PUT /orders/1",
        401,
        r#"no rule allows it; nearest is "write", but for the identity"#,
    ),
    ("nobody", "GET /stock", 401, r#"no rule allows it; nearest is "shop", but for the identity"#),
    (
        "nobody",
        "GET /metrics",
        401,
        r#"no rule allows it; nearest is "scrapers", but for the network"#,
    ),
    (
        "nobody",
        "GET /forgotten",
        401,
        r#"no rule allows it; nearest is "admins", but for the identity"#,
    ),
    (
        "nobody",
        "GET /missing",
        401,
        r#"no rule allows it; nearest is "admins", but for the identity"#,
    ),
    (
        "nobody",
        "DELETE /orders",
        401,
        r#"no rule allows it; nearest is "admins", but for the identity"#,
    ),
    ("ann", "GET /public", 200, r#"allowed by rule "public""#),
    ("ann", "GET /orders", 200, r#"allowed by rule "read""#),
    ("ann", "GET /orders/1", 200, r#"allowed by rule "read""#),
    ("ann", "PUT /orders/1", 403, r#"no rule allows it; nearest is "write", but for the role"#),
    ("ann", "GET /stock", 403, r#"no rule allows it; nearest is "admins", but for the role"#),
    (
        "ann",
        "GET /metrics",
        403,
        r#"no rule allows it; nearest is "scrapers", but for the network"#,
    ),
    ("ann", "GET /jobs/1", 403, r#"no rule allows it; nearest is "admins", but for the role"#),
    ("ann", "GET /forgotten", 403, r#"no rule allows it; nearest is "admins", but for the role"#),
    ("ann", "GET /missing", 404, ""),
    ("ann", "DELETE /orders", 405, ""),
    ("bob", "GET /orders/1", 200, r#"allowed by rule "write""#),
    ("bob", "PUT /orders/1", 200, r#"allowed by rule "write""#),
    ("bob", "GET /forgotten", 403, r#"no rule allows it; nearest is "admins", but for the role"#),
    ("eve", "GET /public", 200, r#"allowed by rule "public""#),
    ("eve", "GET /orders/1", 403, r#"denied by rule "no eve""#),
    ("eve", "PUT /orders/1", 403, r#"denied by rule "no eve""#),
    ("eve", "GET /missing", 403, r#"denied by rule "no eve""#),
    ("robot", "GET /jobs/1", 200, r#"allowed by rule "robots""#),
    ("robot", "GET /orders/1", 403, r#"no rule allows it; nearest is "read", but for the scope"#),
    ("root", "GET /forgotten", 200, r#"allowed by rule "admins""#),
    ("root", "PUT /orders/1", 200, r#"allowed by rule "admins""#),
    ("root", "GET /missing", 404, ""),
    ("cart", "GET /stock", 200, r#"allowed by rule "shop""#),
    ("cart", "GET /orders/1", 403, r#"no rule allows it; nearest is "read", but for the scope"#),
    ("cart", "GET /jobs/1", 403, r#"no rule allows it; nearest is "admins", but for the role"#),
    ("cart", "GET /missing", 404, ""),
    ("cart with ann", "GET /orders/1", 200, r#"allowed by rule "read""#),
    ("cart with ann", "GET /stock", 200, r#"allowed by rule "shop""#),
    ("cart with eve", "GET /stock", 403, r#"denied by rule "no eve""#),
];

fn credential(caller: &str) -> String {
    match caller.trim_start_matches("cart with ") {
        "nobody" | "cart" => String::new(),
        "robot" => "x-api-key: robot\r\n".to_owned(),
        name => format!("authorization: Bearer {name}\r\n"),
    }
}

#[test]
fn each_caller_gets_what_a_rule_allows_and_nothing_else() {
    for explain in [Explain::Observer, Explain::Caller] {
        each(async |security| {
            let (notices, entered) = Default::default();
            let site = Site::run(security, builder(explain, &notices, &entered)).await;
            let log = Arc::clone(&notices);
            raw(&site, move |mut socket| {
                let mutual = security == Security::Mutual;
                for &(caller, line, status, why) in
                    MATRIX.iter().filter(|row| row.0.starts_with("cart") == mutual)
                {
                    let what = format!("{caller}: {line}");
                    let answer = ask(&mut socket, line, &credential(caller));
                    assert_eq!(answer.status(), status, "{what}: {answer:?}");
                    let told = std::mem::take(&mut *log.lock().unwrap());
                    if status == 200 {
                        assert_eq!(answer.body, why.as_bytes(), "{what}");
                    }
                    // What the router refused no rule had a hand in.
                    let refused = matches!(status, 401 | 403);
                    let wanted = if refused { vec![why.to_owned()] } else { vec![] };
                    assert_eq!(told, wanted, "{what}");
                    if refused {
                        let document: Value = serde_json::from_slice(&answer.body).unwrap();
                        let to_caller = status == 403 && explain == Explain::Caller;
                        let wanted = to_caller.then_some(why);
                        assert_eq!(document["detail"].as_str(), wanted, "{what}");
                        let names = ["rule", "read", "write", "admins", "eve"];
                        let text = String::from_utf8(answer.body).unwrap();
                        let leaks = names.iter().any(|name| text.contains(name));
                        assert_eq!(leaks, to_caller, "{what}: {text}");
                    }
                }
            })
            .await;
        });
    }
}

/// Ways to write a path that some hop, somewhere, reads as `/orders/1` or as `/forgotten`.
const SPELLINGS: &[&str] = &[
    "//forgotten",
    "///forgotten",
    "/forgotten/",
    "/forgotten//",
    "/./forgotten",
    "/forgotten/.",
    "/public/../forgotten",
    "/public/./../forgotten",
    "/public//../forgotten",
    "/public/..%2fforgotten",
    "/public/%2e%2e/forgotten",
    "/public/.%2e/forgotten",
    "/public/%2E./forgotten",
    "/public/%252e%252e/forgotten",
    "/public%2f..%2fforgotten",
    "/public%2F%2E%2E%2Fforgotten",
    "/public%5c..%5cforgotten",
    "/public\\..\\forgotten",
    "/public;/../forgotten",
    "/public/..;/forgotten",
    "/public/;/../forgotten",
    "/public;x=/forgotten",
    "/%2e/forgotten",
    "/%2fforgotten",
    "/%66orgotten",
    "/%46orgotten",
    "/forgotten;x=1",
    "/forgotten;",
    "/forgotten%3bx",
    "/forgotten%00",
    "/forgotten%20",
    "/forgotten%09",
    "/forgotten%0a",
    "/forgotten%2f",
    "/forgotten%2e",
    "/forgotten.",
    "/forgotten%c0%ae",
    "/public/%c0%ae%c0%ae/forgotten",
    "/public/%u002e%u002e/forgotten",
    "/FORGOTTEN",
    "/Forgotten",
    "/public/../orders/1",
    "/public%2f..%2forders%2f1",
    "/orders%2f1",
    "/orders/%2e%2e/forgotten",
    "/orders/..%2fforgotten",
    "/orders/1/../../forgotten",
    "/jobs/..%2f..%2fforgotten",
    "http://a/forgotten",
    "http://a//forgotten",
    "http://a/public/../forgotten",
    "http://forgotten/",
    "/public?/../forgotten",
    "/public/?/../forgotten",
    "*",
    "forgotten",
    "?/forgotten",
];

#[test]
fn no_spelling_of_a_path_gets_past_a_rule() {
    each(async |security| {
        let (notices, entered) = Default::default();
        let site = Site::run(security, builder(Explain::Observer, &notices, &entered)).await;
        for caller in ["nobody", "robot"] {
            for path in SPELLINGS {
                let request = format!("GET {path}");
                let answer =
                    raw(&site, move |mut socket| ask(&mut socket, &request, &credential(caller)))
                        .await;
                // The query is none of the path, and that is public.
                let public = path.starts_with("/public?");
                assert_eq!(answer.status() == 200, public, "{caller}: {path}: {answer:?}");
                let known = [200, 400, 401, 403, 404];
                assert!(known.contains(&answer.status()), "{caller}: {path}: {answer:?}");
            }
        }
        assert_eq!(entered.load(Ordering::SeqCst), 0, "a handler was reached");
        // An encoded letter is that letter, for rules and routes alike.
        raw(&site, |mut socket| {
            for path in ["/%66orgotten", "/forgotten"] {
                let root = "authorization: Bearer root\r\n";
                let answer = ask(&mut socket, &format!("GET {path}"), root);
                assert_eq!(answer.body, br#"allowed by rule "admins""#, "{path}");
            }
        })
        .await;
    });
}

#[test]
fn the_rule_of_a_route_is_named_after_it() {
    for security in BOTH {
        super::run(async {
            let handler = async |request: Request| request.explanation().unwrap_or_default();
            let open = RouteOptions::new().allow(Who::Anyone);
            let builder = rt::RestServer::builder()
                .security(SecurityPolicy::from(Known))
                .route_with(Method::GET, "/open", open, handler)
                .route(Method::GET, "/closed", handler);
            let site = Site::run(security, builder.listen("127.0.0.1:0")).await;
            raw(&site, |mut socket| {
                let open = ask(&mut socket, "GET /open", "");
                assert_eq!(open.body, br#"allowed by rule "route GET /open""#);
                let closed = ask(&mut socket, "GET /closed", &credential("ann"));
                assert_eq!(closed.body, br#"allowed by rule "authenticated""#);
            })
            .await;
        });
    }
}
