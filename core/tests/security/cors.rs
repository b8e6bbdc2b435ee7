use core::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use proptest::prelude::*;
use sinew_core::head::RequestHead;
use sinew_core::security::{
    Cors, CorsConfig, CorsError, CorsKind, CorsList, CorsReason, CorsVerdict,
};

use super::head;

fn config(origins: &[&str]) -> CorsConfig {
    CorsConfig {
        origins: origins.iter().map(ToString::to_string).collect(),
        methods: vec![Method::PUT],
        headers: vec![HeaderName::from_static("x-custom")],
        ..CorsConfig::default()
    }
}

fn cors(origins: &[&str]) -> Cors {
    Cors::new(config(origins)).unwrap()
}

fn preflight(origin: &str, method: &str, headers: &str) -> RequestHead {
    let fields = [
        ("Origin", origin),
        ("Access-Control-Request-Method", method),
        ("Access-Control-Request-Headers", headers),
    ];
    head("OPTIONS", "/", &fields)
}

fn field(cors: &Cors, verdict: &CorsVerdict, name: &str) -> Option<String> {
    let mut values = cors.fields(verdict).filter(|(known, _)| known == name);
    let value = values.next().map(|(_, value)| value.to_str().unwrap().to_owned());
    assert_eq!(values.next(), None, "{name} stands twice");
    value
}

const ACAO: &str = "access-control-allow-origin";

#[test]
fn a_preflight_is_three_things_together_and_nothing_else() {
    let cors = cors(&["https://a.test"]);
    let origin = ("origin", "https://a.test");
    let method = ("access-control-request-method", "PUT");
    for (verb, fields, kind) in [
        ("OPTIONS", vec![origin, method], CorsKind::Preflight),
        ("OPTIONS", vec![origin], CorsKind::Actual),
        ("OPTIONS", vec![method], CorsKind::NotCors),
        ("PUT", vec![origin, method], CorsKind::Actual),
        ("OPTIONS", vec![], CorsKind::NotCors),
        ("GET", vec![], CorsKind::NotCors),
        ("options", vec![origin, method], CorsKind::Actual),
    ] {
        assert_eq!(cors.check(&head(verb, "/", &fields)).kind(), kind, "{verb} {fields:?}");
    }
}

#[test]
fn a_preflight_says_why() {
    let cors = cors(&["https://a.test"]);
    let reason = |request: &RequestHead| cors.check(request).reason();
    let ok = "https://a.test";
    assert_eq!(reason(&preflight(ok, "PUT", "")), CorsReason::Granted);
    assert_eq!(reason(&preflight(ok, "PUT", " X-Custom ,, ")), CorsReason::Granted);
    assert_eq!(reason(&preflight(ok, "POST", "x-custom")), CorsReason::Granted);
    assert_eq!(reason(&preflight("https://b.test", "PUT", "")), CorsReason::Origin);
    assert_eq!(reason(&preflight(ok, "DELETE", "")), CorsReason::Method);
    assert_eq!(reason(&preflight(ok, "put", "")), CorsReason::Method);
    assert_eq!(reason(&preflight(ok, "", "")), CorsReason::Method);
    assert_eq!(reason(&preflight(ok, "PUT", "x-custom, x-other")), CorsReason::Header);
    assert_eq!(reason(&preflight(ok, "PUT", "x-custom x")), CorsReason::Header);
    let twice = [
        ("origin", ok),
        ("access-control-request-method", "PUT"),
        ("access-control-request-method", "PUT"),
    ];
    assert_eq!(reason(&head("OPTIONS", "/", &twice)), CorsReason::Method);
}

#[test]
fn several_origins_are_none() {
    let cors = cors(&["https://a.test", "https://*.a.test"]);
    for second in ["https://a.test", "https://evil.test"] {
        let verdict =
            cors.check(&head("GET", "/", &[("origin", "https://a.test"), ("Origin", second)]));
        assert_eq!(verdict.reason(), CorsReason::SeveralOrigins);
        assert_eq!(field(&cors, &verdict, ACAO), None);
        assert_eq!(field(&cors, &verdict, "vary").as_deref(), Some("origin"));
    }
    let joined = head("GET", "/", &[("origin", "https://a.test, https://a.test")]);
    assert_eq!(cors.check(&joined).reason(), CorsReason::Origin);
}

#[test]
fn vary_stands_on_every_answer_that_depends_on_the_origin() {
    let vary = |cors: &Cors, request: &RequestHead| field(cors, &cors.check(request), "vary");
    let listed = cors(&["https://a.test"]);
    for origin in [None, Some("https://a.test"), Some("https://b.test"), Some("null")] {
        let fields: Vec<_> = origin.map(|origin| ("origin", origin)).into_iter().collect();
        assert_eq!(vary(&listed, &head("GET", "/", &fields)).as_deref(), Some("origin"));
    }
    let any = cors(&["*"]);
    assert_eq!(vary(&any, &head("GET", "/", &[("origin", "https://a.test")])), None);
    let asked = "origin, access-control-request-method, access-control-request-headers";
    for cors in [&listed, &any] {
        let request = preflight("https://b.test", "PUT", "");
        assert_eq!(vary(cors, &request).as_deref(), Some(asked));
    }
}

#[test]
fn a_star_is_the_same_for_everyone() {
    let cors = cors(&["*"]);
    for fields in [&[][..], &[("origin", "null")], &[("origin", "https://x.test")]] {
        let verdict = cors.check(&head("GET", "/", fields));
        assert_eq!(field(&cors, &verdict, ACAO).as_deref(), Some("*"));
        assert_eq!(cors.fields(&verdict).count(), 1);
    }
}

#[test]
fn every_listed_origin_is_found_whatever_their_order() {
    let origins = ["https://c.test", "http://a.test", "https://a.test", "http://b.test:81"];
    let cors = cors(&origins);
    for origin in origins {
        let verdict = cors.check(&head("GET", "/", &[("origin", origin)]));
        assert_eq!(field(&cors, &verdict, ACAO).as_deref(), Some(origin));
    }
}

#[test]
fn a_pattern_gives_back_the_origin_itself_and_never_null() {
    let cors = cors(&["https://*.example.org"]);
    let allow = |origin: &str| {
        let verdict = cors.check(&head("GET", "/", &[("origin", origin)]));
        field(&cors, &verdict, ACAO)
    };
    assert_eq!(allow("https://a.example.org").as_deref(), Some("https://a.example.org"));
    assert_eq!(allow("null"), None);
    assert_eq!(allow("https://a.b.example.org"), None);
}

#[test]
fn stars_in_lists_grant_all_but_authorization() {
    let mut with_stars = config(&["*"]);
    with_stars.methods = vec![Method::from_bytes(b"*").unwrap()];
    with_stars.headers = vec![HeaderName::from_static("*")];
    let cors = Cors::new(with_stars.clone()).unwrap();
    let reason = |headers| cors.check(&preflight("https://a.test", "PATCH", headers)).reason();
    assert_eq!(reason("x-anything"), CorsReason::Granted);
    assert_eq!(reason("x-anything, Authorization"), CorsReason::Header);
    with_stars.headers.push(HeaderName::from_static("authorization"));
    let cors = Cors::new(with_stars).unwrap();
    let verdict = cors.check(&preflight("https://a.test", "PATCH", "authorization"));
    assert_eq!(verdict.reason(), CorsReason::Granted);
    let allowed = field(&cors, &verdict, "access-control-allow-headers");
    assert_eq!(allowed.as_deref(), Some("*, authorization"));
}

#[test]
fn credentials_and_what_may_be_read_go_where_they_count() {
    let cors = Cors::new(CorsConfig {
        credentials: true,
        expose: vec![HeaderName::from_static("x-total"), HeaderName::from_static("etag")],
        max_age: Some(Duration::from_millis(1_999)),
        ..config(&["https://a.test"])
    })
    .unwrap();
    let actual = cors.check(&head("GET", "/", &[("origin", "https://a.test")]));
    let asked = cors.check(&preflight("https://a.test", "PUT", ""));
    for (name, on_actual, on_preflight) in [
        (ACAO, Some("https://a.test"), Some("https://a.test")),
        ("access-control-allow-credentials", Some("true"), Some("true")),
        ("access-control-expose-headers", Some("x-total, etag"), None),
        ("access-control-allow-methods", None, Some("PUT")),
        ("access-control-allow-headers", None, Some("x-custom")),
        ("access-control-max-age", None, Some("1")),
    ] {
        assert_eq!(field(&cors, &actual, name).as_deref(), on_actual, "{name}");
        assert_eq!(field(&cors, &asked, name).as_deref(), on_preflight, "{name}");
    }
    let denied = cors.check(&head("GET", "/", &[("origin", "https://b.test")]));
    assert_eq!(cors.fields(&denied).count(), 1);
}

#[test]
fn a_private_network_is_opened_only_when_asked_for_and_allowed() {
    let closed = cors(&["https://a.test"]);
    let open =
        Cors::new(CorsConfig { private_network: true, ..config(&["https://a.test"]) }).unwrap();
    let request = |origin, asked: &str| {
        let fields = [
            ("origin", origin),
            ("access-control-request-method", "PUT"),
            ("access-control-request-private-network", asked),
        ];
        head("OPTIONS", "/", &fields)
    };
    let allow = |cors: &Cors, request: &RequestHead| {
        let verdict = cors.check(request);
        (verdict.reason(), field(cors, &verdict, "access-control-allow-private-network"))
    };
    let asked = request("https://a.test", "true");
    assert_eq!(allow(&open, &asked), (CorsReason::Granted, Some("true".to_owned())));
    assert_eq!(allow(&closed, &asked), (CorsReason::PrivateNetwork, None));
    assert_eq!(allow(&open, &request("https://b.test", "true")), (CorsReason::Origin, None));
    assert_eq!(allow(&open, &request("https://a.test", "1")), (CorsReason::Granted, None));
    let vary = field(&open, &open.check(&asked), "vary").unwrap();
    assert!(vary.ends_with(", access-control-request-private-network"), "{vary}");
}

#[test]
fn what_makes_no_sense_is_refused_when_it_is_built() {
    let refused = |config: CorsConfig| Cors::new(config).unwrap_err();
    assert_eq!(refused(CorsConfig::default()), CorsError::NoOrigin);
    assert_eq!(
        refused(config(&["*", "https://a.test"])),
        CorsError::WildcardBesideOthers(CorsList::Origins)
    );
    let error = refused(config(&["https://a.test\r\nx: y"])).to_string();
    assert!(error.contains(r"\r\n") && !error.contains('\n'), "{error}");

    let credentials = CorsConfig { credentials: true, ..config(&["https://a.test"]) };
    let star = HeaderName::from_static("*");
    let star_method = Method::from_bytes(b"*").unwrap();
    for (config, list) in [
        (CorsConfig { origins: vec!["*".into()], ..credentials.clone() }, CorsList::Origins),
        (
            CorsConfig { methods: vec![star_method.clone()], ..credentials.clone() },
            CorsList::Methods,
        ),
        (CorsConfig { headers: vec![star.clone()], ..credentials.clone() }, CorsList::Headers),
        (CorsConfig { expose: vec![star], ..credentials }, CorsList::Expose),
    ] {
        assert_eq!(refused(config), CorsError::WildcardWithCredentials(list));
    }
    let methods = |methods| CorsConfig { methods, ..config(&["https://a.test"]) };
    assert_eq!(
        refused(methods(vec![star_method, Method::PUT])),
        CorsError::WildcardBesideOthers(CorsList::Methods)
    );
    assert_eq!(refused(methods(vec![Method::TRACE])), CorsError::ForbiddenMethod(Method::TRACE));
    let put = Method::from_bytes(b"put").unwrap();
    assert_eq!(refused(methods(vec![put.clone()])), CorsError::MethodCase(put));
    assert!(Cors::new(methods(vec![Method::from_bytes(b"patch").unwrap()])).is_ok());
}

#[test]
fn the_policy_owns_its_fields_and_no_others() {
    let cors = Cors::new(CorsConfig {
        credentials: true,
        private_network: true,
        expose: vec![HeaderName::from_static("etag")],
        max_age: Some(Duration::ZERO),
        ..config(&["https://a.test"])
    })
    .unwrap();
    let fields = [
        ("origin", "https://a.test"),
        ("access-control-request-method", "PUT"),
        ("access-control-request-private-network", "true"),
    ];
    let heads = [head("OPTIONS", "/", &fields), head("GET", "/", &fields[..1])];
    let set = heads.iter().flat_map(|head| cors.fields(&cors.check(head)).collect::<Vec<_>>());
    let mut owned: Vec<_> = set.map(|(name, _)| name).filter(Cors::owns).collect();
    owned.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    owned.dedup();
    assert_eq!(owned.len(), 7);
    // What a handler varies by stays.
    assert!(!Cors::owns(&http::header::VARY));
}

proptest! {
    /// Whatever is sent as an origin, what is granted is on the list, or one label below a suffix.
    #[test]
    fn nothing_else_is_granted(
        origin in "(https?|HTTPS|ws)://([a-c*@:/%]{0,3}[.]){0,3}(test|org|test:80)?(:[0-9]{1,2})?|[ -~]{0,30}",
    ) {
        let exact = ["https://a.test", "http://b.test:81"];
        let cors = cors(&[exact[0], exact[1], "https://*.c.org"]);
        let request = head("GET", "/", &[("origin", &origin)]);
        let verdict = cors.check(&request);
        let sent = origin.trim();
        let below = sent
            .strip_prefix("https://")
            .and_then(|rest| rest.strip_suffix(".c.org"))
            .is_some_and(|label| {
                !label.is_empty() && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
            });
        let expected = exact.contains(&sent) || below;
        prop_assert_eq!(verdict.reason() == CorsReason::Granted, expected);
        let granted = expected.then(|| sent.to_owned());
        prop_assert_eq!(field(&cors, &verdict, ACAO), granted);
    }
}

#[test]
fn a_verdict_outlives_the_head() {
    let cors = cors(&["https://*.a.test"]);
    let verdict = {
        let head = head("GET", "/", &[("origin", "https://x.a.test")]);
        cors.check(&head)
    };
    let value = HeaderValue::from_static("https://x.a.test");
    assert_eq!(cors.fields(&verdict).next().map(|(_, value)| value), Some(value));
}
