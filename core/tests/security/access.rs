use std::sync::Arc;

use http::{Method, StatusCode};
use proptest::prelude::*;
use sinew_core::security::{
    Access, AccessReason, AccessVerdict, BadRule, Condition, Effect, Identity, Network, PeerName,
    Principal, Refusal, Routes, Rule, SecurityContext, Subject, Who,
};
use sinew_core::server::{Found, Router, RouterBuilder};

const TEMPLATES: [&str; 7] = [
    "/public",
    "/orders",
    "/orders/{id}",
    "/admin",
    "/admin/users/{id}",
    "/metrics",
    "/ordersheet",
];

fn router() -> Router<()> {
    let mut builder = RouterBuilder::new();
    for template in TEMPLATES {
        builder.route(Method::GET, template, ()).unwrap();
    }
    builder.route(Method::POST, "/orders", ()).unwrap();
    builder.build()
}

fn of(routes: &[&str]) -> Routes {
    Routes::Of(routes.iter().map(ToString::to_string).collect())
}

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

fn networks(list: &[&str]) -> Vec<Network> {
    list.iter().map(|text| text.parse().unwrap()).collect()
}

fn rules() -> Vec<Rule> {
    let below = Identity::SpiffeBelow("spiffe://acme.org/ns/shop".into());
    let intern = Identity::Token { issuer: "idp".into(), subject: "intern".into() };
    vec![
        Rule::allow("public", Who::Anyone, of(&["/public"])),
        Rule::allow("shop", Who::Named(vec![below]), of(&["/orders/*"])),
        Rule {
            scopes: strings(&["orders:read", "orders:list"]),
            methods: vec![Method::GET],
            ..Rule::allow("read orders", Who::Authenticated, of(&["/orders/*"]))
        },
        Rule {
            roles: strings(&["root", "admin"]),
            ..Rule::allow("admins", Who::Authenticated, Routes::Every)
        },
        Rule {
            networks: networks(&["10.0.0.0/8", "fd00::/8"]),
            ..Rule::allow(
                "scrapers",
                Who::Named(vec![Identity::ApiKey("prometheus".into())]),
                of(&["/metrics"]),
            )
        },
        // Stands last, and wins all the same.
        Rule::deny("no interns", Who::Named(vec![intern]), of(&["/admin/*"])),
        Rule {
            networks: networks(&["198.51.100.0/24"]),
            ..Rule::deny("known bad", Who::Anyone, of(&["/public", "/metrics"]))
        },
    ]
}

fn access() -> Access {
    Access::new(rules(), TEMPLATES).unwrap()
}

fn at(address: &str) -> SecurityContext {
    let address = Some(address.parse().unwrap());
    SecurityContext { peer_address: address, client_address: address, ..Default::default() }
}

fn with(subject: Subject, roles: &[&str], scopes: &[&str]) -> SecurityContext {
    let boxed = |list: &[&str]| list.iter().map(|text| Box::from(*text)).collect();
    let (roles, scopes) = (boxed(roles), boxed(scopes));
    let principal = Principal { subject, roles, scopes, expires: None };
    SecurityContext { principal: Some(Arc::new(principal)), ..at("192.0.2.1") }
}

fn token(subject: &str, roles: &[&str], scopes: &[&str]) -> SecurityContext {
    with(Subject::Token { issuer: "idp".into(), subject: subject.into() }, roles, scopes)
}

fn peer(id: &str) -> SecurityContext {
    SecurityContext { peer: Some(PeerName::Spiffe(id.into())), ..at("192.0.2.1") }
}

fn scraper(address: &str) -> SecurityContext {
    let digest = sinew_core::security::KeyDigest([1; 32]);
    let context = with(Subject::ApiKey { label: "prometheus".into(), digest }, &[], &[]);
    SecurityContext { principal: context.principal, ..at(address) }
}

/// What a server makes of a request: its status (200 where the handler runs), and the words behind
/// it.
fn serve(context: &SecurityContext, method: &Method, path: &str) -> (u16, String) {
    let router = router();
    let access = access();
    let Ok(found) = router.find(method, path) else {
        return (400, "bad path".to_owned());
    };
    let route = match found {
        Found::Route { template, .. } => Some(template),
        Found::WrongMethod(_) | Found::Options(_) | Found::Missing => None,
    };
    let verdict = access.check(context, route, method);
    let status = match verdict {
        AccessVerdict::Refused { refusal, .. } => refusal.status(),
        AccessVerdict::Allowed(_) => None,
    };
    let allowed = matches!(verdict, AccessVerdict::Allowed(_));
    let status = status.unwrap_or_else(|| match found {
        Found::Route { .. } => {
            // Whoever is not allowed has a status.
            assert!(allowed);
            StatusCode::OK
        }
        Found::WrongMethod(_) => StatusCode::METHOD_NOT_ALLOWED,
        Found::Options(_) => StatusCode::NO_CONTENT,
        Found::Missing => StatusCode::NOT_FOUND,
    });
    (status.as_u16(), access.explain(verdict).to_string())
}

#[test]
fn identity_by_route() {
    let rows = [
        ("nobody", at("192.0.2.1")),
        ("shop", peer("spiffe://acme.org/ns/shop/web")),
        ("other shop", peer("spiffe://acme.org/ns/shopping/web")),
        ("reader", token("alice", &[], &["orders:list", "orders:read"])),
        ("half a reader", token("bob", &[], &["orders:read"])),
        ("admin", token("carol", &["admin"], &[])),
        ("intern", token("intern", &["admin"], &[])),
        ("scraper", scraper("10.1.2.3")),
        ("scraper outside", scraper("192.0.2.1")),
        ("bad network", at("198.51.100.7")),
        ("admin, bad network", {
            let admin = token("carol", &["admin"], &[]);
            SecurityContext { client_address: at("198.51.100.7").client_address, ..admin }
        }),
    ];
    let columns = [
        (Method::GET, "/public"),
        (Method::GET, "/orders/7"),
        (Method::HEAD, "/orders/7"),
        (Method::POST, "/orders"),
        (Method::GET, "/admin"),
        (Method::GET, "/metrics"),
        (Method::DELETE, "/public"),
        (Method::GET, "/nowhere"),
        (Method::GET, "/ordersheet"),
    ];
    let expected = [
        [200, 401, 401, 401, 401, 401, 401, 401, 401],
        [200, 200, 200, 200, 403, 403, 405, 404, 403],
        [200, 403, 403, 403, 403, 403, 405, 404, 403],
        [200, 200, 200, 403, 403, 403, 405, 404, 403],
        [200, 403, 403, 403, 403, 403, 405, 404, 403],
        [200, 200, 200, 200, 200, 200, 405, 404, 200],
        [200, 200, 200, 200, 403, 200, 405, 404, 200],
        [200, 403, 403, 403, 403, 200, 405, 404, 403],
        [200, 403, 403, 403, 403, 403, 405, 404, 403],
        [401, 401, 401, 401, 401, 401, 401, 401, 401],
        [403, 200, 200, 200, 200, 403, 405, 404, 200],
    ];
    for ((who, context), row) in rows.iter().zip(expected) {
        for ((method, path), status) in columns.iter().zip(row) {
            let (got, why) = serve(context, method, path);
            assert_eq!(got, status, "{who}: {method} {path}: {why}");
        }
    }
}

#[test]
fn every_answer_names_its_rule() {
    let reader = token("bob", &[], &["orders:read"]);
    for (context, path, why) in [
        (at("192.0.2.1"), "/public", "allowed by rule \"public\""),
        (at("198.51.100.7"), "/public", "denied by rule \"known bad\""),
        (token("intern", &["admin"], &[]), "/admin/users/1", "denied by rule \"no interns\""),
        (token("carol", &["admin"], &[]), "/nowhere", "allowed by rule \"admins\""),
        (reader, "/orders", "no rule allows it; nearest is \"read orders\", but for the scope"),
        (
            scraper("192.0.2.1"),
            "/metrics",
            "no rule allows it; nearest is \"scrapers\", but for the network",
        ),
        (
            at("192.0.2.1"),
            "/admin",
            "no rule allows it; nearest is \"admins\", but for the identity",
        ),
    ] {
        assert_eq!(serve(&context, &Method::GET, path).1, why);
    }
    let only = Access::new(vec![rules().remove(0)], TEMPLATES).unwrap();
    let verdict = only.check(&token("carol", &["admin"], &[]), Some(3), &Method::GET);
    let reason = AccessReason::NoRule;
    assert_eq!(verdict, AccessVerdict::Refused { refusal: Refusal::Forbidden, reason });
    assert_eq!(only.explain(verdict).to_string(), "no rule is about this route");
}

#[test]
fn the_order_of_the_rules_opens_nothing() {
    let contexts =
        [at("192.0.2.1"), token("intern", &["admin"], &["orders:read"]), at("198.51.100.7")];
    let decide = |access: &Access| -> Vec<bool> {
        let one = |context, route| access.check(context, route, &Method::GET);
        let routes = (0..TEMPLATES.len()).map(Some).chain([None]);
        let all = routes.flat_map(|route| contexts.iter().map(move |context| (context, route)));
        all.map(|(context, route)| matches!(one(context, route), AccessVerdict::Allowed(_)))
            .collect()
    };
    let forward = decide(&access());
    let mut reversed = rules();
    reversed.reverse();
    assert_eq!(decide(&Access::new(reversed, TEMPLATES).unwrap()), forward);
}

#[test]
fn without_rules_nothing_is_allowed() {
    let access = Access::new(vec![], TEMPLATES).unwrap();
    for (context, refusal) in [
        (at("192.0.2.1"), Refusal::Unauthenticated),
        (token("carol", &["admin"], &[]), Refusal::Forbidden),
    ] {
        for route in (0..TEMPLATES.len()).map(Some) {
            let reason = AccessReason::NoRule;
            let verdict = access.check(&context, route, &Method::GET);
            assert_eq!(verdict, AccessVerdict::Refused { refusal, reason });
        }
        // An index that the router never gives.
        assert!(!matches!(
            access.check(&context, Some(99), &Method::GET),
            AccessVerdict::Allowed(_)
        ));
    }
}

#[test]
fn an_unknown_address_helps_nobody() {
    let unknown = |context: SecurityContext| SecurityContext { client_address: None, ..context };
    let mut scrapers = rules();
    scrapers.retain(|rule| rule.name == "scrapers");
    let scrapers = Access::new(scrapers, TEMPLATES).unwrap();
    for (context, may) in [(scraper("10.1.2.3"), true), (unknown(scraper("10.1.2.3")), false)] {
        let verdict = scrapers.check(&context, Some(5), &Method::GET);
        assert_eq!(matches!(verdict, AccessVerdict::Allowed(_)), may);
    }
    let (status, why) = serve(&unknown(at("10.1.2.3")), &Method::GET, "/public");
    assert_eq!((status, &*why), (401, "denied by rule \"known bad\""));
    let (status, _) = serve(&scraper("::ffff:10.1.2.3"), &Method::GET, "/metrics");
    assert_eq!(status, 200);
}

#[test]
fn head_is_denied_where_get_is() {
    let rules = vec![
        Rule::allow("all", Who::Anyone, Routes::Every),
        Rule { methods: vec![Method::GET], ..Rule::deny("no get", Who::Anyone, of(&["/admin"])) },
    ];
    let access = Access::new(rules, TEMPLATES).unwrap();
    let refused = |method| {
        !matches!(access.check(&at("192.0.2.1"), Some(3), method), AccessVerdict::Allowed(_))
    };
    assert!(refused(&Method::GET) && refused(&Method::HEAD) && !refused(&Method::POST));
}

#[test]
fn what_is_denied_everywhere_is_denied_where_nothing_is() {
    let rule = Rule::deny("closed", Who::Anyone, Routes::Every);
    let access = Access::new(vec![rule], TEMPLATES).unwrap();
    let context = token("carol", &["admin"], &[]);
    for route in [Some(0), None] {
        let verdict = access.check(&context, route, &Method::GET);
        assert!(matches!(
            verdict,
            AccessVerdict::Refused { refusal: Refusal::Forbidden, reason: AccessReason::Denied(_) }
        ));
    }
}

#[test]
fn names_of_one_kind_do_not_pass_for_another() {
    let named = |name| vec![Rule::allow("x", Who::Named(vec![name]), of(&["/admin"]))];
    let spiffe = "spiffe://acme.org/x";
    let key = |label: &str| {
        let digest = sinew_core::security::KeyDigest([1; 32]);
        with(Subject::ApiKey { label: label.into(), digest }, &[], &[])
    };
    let dns = |name: &str| SecurityContext { peer: Some(PeerName::Dns(name.into())), ..at("::1") };
    let of_token = |issuer: &str, subject: &str| {
        with(Subject::Token { issuer: issuer.into(), subject: subject.into() }, &[], &[])
    };
    let alice = Identity::Token { issuer: "idp".into(), subject: "alice".into() };
    for (name, holders, others) in [
        (
            Identity::Peer(PeerName::Spiffe(spiffe.into())),
            vec![peer(spiffe)],
            vec![dns(spiffe), of_token("", spiffe), key(spiffe), peer("spiffe://acme.org/x/y")],
        ),
        (
            Identity::SpiffeBelow(spiffe.into()),
            vec![peer("spiffe://acme.org/x/y"), peer("spiffe://acme.org/x/y/z")],
            vec![peer(spiffe), peer("spiffe://acme.org/xy"), dns("spiffe://acme.org/x/y")],
        ),
        (
            alice,
            vec![of_token("idp", "alice")],
            vec![of_token("other", "alice"), of_token("idp", "Alice"), key("alice"), dns("alice")],
        ),
        (Identity::ApiKey("ci".into()), vec![key("ci")], vec![of_token("", "ci"), dns("ci")]),
    ] {
        let access = Access::new(named(name.clone()), TEMPLATES).unwrap();
        let may = |context| {
            matches!(access.check(context, Some(3), &Method::GET), AccessVerdict::Allowed(_))
        };
        assert!(holders.iter().all(may), "{name:?}");
        assert!(!others.iter().any(may), "{name:?}");
    }
}

#[test]
fn rules_that_make_no_sense_are_refused() {
    let refused = |rule: Rule| Access::new(vec![rule], TEMPLATES).unwrap_err().why;
    let rule = || Rule::allow("x", Who::Authenticated, Routes::Every);
    let named = |name| Rule { who: Who::Named(vec![name]), ..rule() };
    assert_eq!(refused(Rule { name: String::new(), ..rule() }), BadRule::Name);
    assert_eq!(refused(Rule { who: Who::Named(vec![]), ..rule() }), BadRule::Nobody);
    for name in [
        Identity::Peer(PeerName::Spiffe("acme.org/x".into())),
        Identity::Peer(PeerName::Dns("".into())),
        Identity::SpiffeBelow("spiffe://acme.org/".into()),
        Identity::SpiffeBelow("spiffe://".into()),
        Identity::SpiffeBelow(String::new()),
        Identity::Token { issuer: "idp".into(), subject: String::new() },
        Identity::ApiKey(String::new()),
    ] {
        assert_eq!(refused(named(name.clone())), BadRule::Identity, "{name:?}");
    }
    let anyone = Rule { who: Who::Anyone, ..rule() };
    for rule in [
        Rule { roles: strings(&["admin"]), ..anyone.clone() },
        Rule { scopes: strings(&["read"]), ..anyone },
    ] {
        assert_eq!(refused(rule), BadRule::AnyoneWithGrants);
    }
    assert_eq!(refused(Rule { roles: strings(&[""]), ..rule() }), BadRule::Role);
    for scope in ["", "a b", "a\"", "a\\b", "\u{e4}"] {
        assert_eq!(refused(Rule { scopes: strings(&[scope]), ..rule() }), BadRule::Scope);
    }
    assert_eq!(refused(Rule { routes: of(&[]), ..rule() }), BadRule::NoRoute);
    for route in ["/order", "/orders/*/x", "/orders/7", "orders/*", "/admin/users/{id}/*x", "*"] {
        let why = BadRule::UnknownRoute(route.into());
        assert_eq!(refused(Rule { routes: of(&["/admin", route]), ..rule() }), why);
    }
    let twice = Access::new(vec![rule(), rule()], TEMPLATES).unwrap_err();
    assert_eq!(twice.to_string(), "access rule \"x\": it has no name of its own");
    assert_eq!(Rule::deny("x", Who::Anyone, Routes::Every).effect, Effect::Deny);
}

#[test]
fn a_refusal_says_how_close_it_was() {
    let rules = vec![
        Rule {
            methods: vec![Method::PUT],
            ..Rule::allow("far", Who::Authenticated, Routes::Every)
        },
        Rule { scopes: strings(&["b"]), ..Rule::allow("near", Who::Authenticated, Routes::Every) },
        Rule {
            scopes: strings(&["c"]),
            ..Rule::allow("as near", Who::Authenticated, Routes::Every)
        },
        Rule { roles: strings(&["a"]), ..Rule::allow("less", Who::Authenticated, Routes::Every) },
    ];
    let access = Access::new(rules, TEMPLATES).unwrap();
    let verdict = access.check(&token("alice", &[], &[]), Some(0), &Method::GET);
    let AccessVerdict::Refused { reason: AccessReason::NotAllowed(id, condition), .. } = verdict
    else {
        panic!("{verdict:?}");
    };
    assert_eq!((&*access.rule(id).unwrap().name, condition), ("near", Condition::Scope));
}

/// However a path is spelt, the protected handlers stay out of reach, and what a normal spelling
/// reaches is decided as the normal spelling is.
#[test]
fn no_spelling_of_a_path_reaches_a_protected_route() {
    let outsider = token("alice", &[], &[]);
    for path in [
        "//admin",
        "/admin/",
        "/./admin",
        "/public/../admin",
        "/public/..;/admin",
        "/public/%2e%2e/admin",
        "/public%2f..%2fadmin",
        "/%2e/admin",
        "/admin;a=b",
        "/admin%3Ba=b",
        "/admin%00",
        "/admin%00.txt",
        "/admin%20",
        "/admin%0a",
        "/admin%2F",
        "/admin%2fusers%2f7",
        "/orders%2F..%2Fadmin",
        "\\admin",
        "/public\\..\\admin",
        "/public%5c..%5cadmin",
        "/ADMIN",
        "/%61dmin",
        "/%61%64%6d%69%6e",
        "/%2561dmin",
        "/admin%c0%af",
        "/admin%ff",
        "/admin?x",
        "/admin#x",
        "admin",
        "",
    ] {
        for (context, statuses) in
            [(&at("192.0.2.1"), [400, 401, 401, 401]), (&outsider, [400, 403, 404, 405])]
        {
            for method in [Method::GET, Method::HEAD, Method::POST] {
                let (status, why) = serve(context, &method, path);
                assert!(statuses.contains(&status), "{method} {path:?}: {status} {why}");
            }
        }
    }
    // The same handler by another spelling, by the same rule.
    let carol = token("carol", &["admin"], &[]);
    for path in ["/admin", "/%61dmin", "/%61%64%6d%69%6e"] {
        assert_eq!(serve(&carol, &Method::GET, path), (200, "allowed by rule \"admins\"".into()));
    }
}

proptest! {
    /// Whatever is put together from the pieces that such tricks are made of: who may only see what
    /// is public, sees that and nothing else.
    #[test]
    fn tricks_put_together_reach_nothing(
        pieces in proptest::collection::vec(proptest::sample::select(vec![
            "/", "//", "/.", "/..", "/%2e", "%2e", "%2F", "%2f", ";", "%3b", "%00", "\\", "%5c", "?", "#",
            "public", "admin", "/admin", "/public", "/users/7", "orders", "%61dmin", "%70ublic", "%25", " ",
        ]), 1..8),
    ) {
        let path = pieces.concat();
        let (status, why) = serve(&at("192.0.2.1"), &Method::GET, &path);
        if status == 200 {
            prop_assert_eq!(why, "allowed by rule \"public\"");
            prop_assert!(path.ends_with("ublic"), "{}", path);
        } else {
            prop_assert!(matches!(status, 204 | 400 | 401), "{}: {} {}", path, status, why);
        }
    }
}
