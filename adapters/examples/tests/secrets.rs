//! Secrets are planted wherever one can be, and looked for in everything that is shown: debug output,
//! errors, events, answers.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::fmt::{Debug, Display};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderName, Method};
use sinew_auth::{ApiKeys, Crypto, JwtPolicy, JwtVerifier};
use sinew_core::limit::KeyHasher;
use sinew_core::security::{
    Challenge, Credential, KeyDigest, Principal, Routes, Rule, Secret, SecurityContext, Subject,
    Thumbprint, TokenError, TokenValidator, Who,
};
use sinew_core::server::{Authentication, BoxLayer, MediaRange, RateLimitConfig, Stack};
use sinew_driver::{
    Audit, BoxError, Explain, JwksEndpoint, Notice, Problem, Proxy, Request, Response,
    RouteOptions, SecurityPolicy, Token, Tokens,
};
use sinew_examples::certs::{Authority, Identity};
use sinew_prometheus::Metrics;
use sinew_redis::RedisConfig;
use sinew_tls::{ClientTls, ServerTls};
use sinew_tokio::{RestClient, RestServer};

/// In every secret, and in nothing else.
const MARK: &str = "hush";

/// A token that is good.
const TOKEN: &str = "good-hush-token-of-ann";

/// A key that is good.
const KEY: &str = "hush-0123456789abcdef-key";

/// Everything that was shown so far, checked as it comes.
fn hides(what: &str, shown: &str) {
    let bare: String = shown.split_whitespace().collect();
    let bytes: Vec<String> = MARK.bytes().map(|byte| byte.to_string()).collect();
    let hex: Vec<String> = MARK.bytes().map(|byte| format!("{byte:02x}")).collect();
    for secret in [MARK, &MARK.to_uppercase(), &bytes.join(","), &hex.concat()] {
        assert!(!bare.contains(secret), "{what} shows a secret: {shown}");
    }
}

fn hidden(what: &str, value: &(impl Debug + ?Sized)) {
    hides(what, &format!("{value:?}"));
    hides(what, &format!("{value:#?}"));
}

fn error(what: &str, error: &(impl Debug + Display)) {
    hidden(what, error);
    hides(what, &error.to_string());
}

/// Knows one token and one key.
struct Known(ApiKeys<Arc<Principal>>);

impl TokenValidator for Known {
    fn validate(
        &self,
        credential: Credential<'_>,
        peer: Option<&Thumbprint>,
        now: Duration,
    ) -> Result<Arc<Principal>, TokenError> {
        hidden("a credential", &credential);
        match credential {
            Credential::Bearer(token) if token.expose() == TOKEN.as_bytes() => Ok(principal()),
            Credential::Bearer(_) => Err(TokenError::Signature),
            Credential::ApiKey(_) => self.0.validate(credential, peer, now),
        }
    }
}

fn principal() -> Arc<Principal> {
    let mut digest = [7; 32];
    digest[..4].copy_from_slice(MARK.as_bytes());
    let subject = Subject::ApiKey { label: "robot".into(), digest: KeyDigest(digest) };
    Arc::new(Principal { subject, roles: [].into(), scopes: [].into(), expires: None })
}

fn known() -> Known {
    let mut keys = ApiKeys::new(Crypto::built_in().unwrap());
    keys.insert(KEY, principal()).unwrap();
    Known(keys)
}

#[test]
fn values_hide_the_secrets_in_them() {
    let known = known();
    hidden("a secret", &Secret::new(MARK.as_bytes()));
    hidden("API keys", &known.0);
    hidden("a principal", &*principal());
    let context = SecurityContext { principal: Some(principal()), ..SecurityContext::default() };
    hidden("a security context", &context);
    hidden("a client's key", &context.client_key());
    let hasher = KeyHasher::new(*b"hushhushhushhush");
    hidden("a hasher", &hasher);
    hidden("a group of keys", &hasher.group("all"));
    let mut short = ApiKeys::new(Crypto::built_in().unwrap());
    error("a short key", &short.insert(MARK, ()).unwrap_err());
    let authentication = Authentication::new(Challenge::new("api").unwrap()).validator(known);
    hidden("authentication", &authentication);
    let layer: BoxLayer = Box::new(authentication);
    hidden("a stack", &Stack::new([(sinew_core::policy::Mode::Enforce, layer)]).unwrap());
}

/// A key is nothing but random bytes: what is looked for is a piece of it.
fn hides_key(what: &str, value: &impl Debug, identity: &Identity) {
    let body: String = identity.key.lines().filter(|line| !line.starts_with("---")).collect();
    let bytes = {
        use sinew_tls::rustls::pki_types::PrivateKeyDer;
        use sinew_tls::rustls::pki_types::pem::PemObject as _;
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
        key.secret_der().iter().map(u8::to_string).collect::<Vec<_>>()
    };
    // The secret number of a P-256 key in PKCS #8 begins at the 36th byte.
    let number = bytes[40..60].join(",");
    for shown in [format!("{value:?}"), format!("{value:#?}")] {
        let bare: String = shown.split_whitespace().collect();
        assert!(!bare.contains(&number) && !bare.contains(&body[60..80]), "{what}: {shown}");
    }
}

#[test]
fn tls_hides_private_keys() {
    let authority = Authority::mint("an authority").unwrap();
    let server = authority.server(&["localhost"]).unwrap();
    let client = authority.client("spiffe://acme.test/cart").unwrap();
    hides_key("a minted identity", &server, &server);
    let builder = ServerTls::builder().certificate_pem(&server.chain, &server.key).unwrap();
    let builder = builder.client_ca_pem(authority.pem()).unwrap();
    hides_key("a builder of a server", &builder, &server);
    hides_key("a server", &builder.build().unwrap(), &server);
    let builder = ClientTls::builder().ca_pem(authority.pem()).unwrap();
    let builder = builder.identity_pem(&client.chain, &client.key).unwrap();
    hides_key("a builder of a client", &builder, &client);
    let tls = builder.build().unwrap();
    hides_key("a client", &tls, &client);
    let rest = RestClient::builder("https://localhost").tls(tls);
    hides_key("a builder of a client", &rest, &client);
    // A certificate in the place of the key, and the other way round.
    let swapped = ServerTls::builder().certificate_pem(&server.key, &server.chain);
    hides_key("an error", &swapped.err().unwrap(), &server);
    let broken = server.key.replacen('\n', "\nhush", 1);
    if let Err(why) = ServerTls::builder().certificate_pem(&server.chain, broken) {
        error("a broken key", &why);
    }
}

#[test]
fn clients_hide_what_they_send() {
    let builder = RestClient::builder("http://127.0.0.1:1")
        .allow_plaintext()
        .allow_plaintext_tokens()
        .default_header("authorization", format!("Bearer {TOKEN}"))
        .default_header("x-api-key", KEY);
    hidden("a builder", &builder);
    let client = builder.build().unwrap();
    hidden("a client", &client);
    let call = client
        .post("/orders?hush=hush")
        .bearer(TOKEN)
        .header("x-api-key", KEY)
        .header("cookie", "session=hush")
        .query(&[("token", TOKEN)])
        .body("hush");
    hidden("a call", &call);
    hidden("an endpoint", &JwksEndpoint::new(client.clone(), "/keys?hush"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    error("a call that fails", &runtime.block_on(call.send()).unwrap_err());
    for call in [
        client.get("/").bearer("hush\r\n"),
        client.get("/").header("x-api-key", "hush\r\n"),
        client.get("/").header("hush hush", "hush"),
        client.get("orders?token=hush"),
        client.get("/\u{1}?hush"),
        client.get("/?hush\r\n"),
    ] {
        hidden("a call that cannot be made", &call);
        error("why it cannot", &runtime.block_on(call.send()).unwrap_err());
    }
    for url in ["https://ann:hush@service.test", "https://service.test/?token=hush", "ftp://hush@a"]
    {
        error("a URL", &RestClient::builder(url).build().unwrap_err());
    }
    let config = RestClient::builder("http://127.0.0.1:1").default_header("x-api-key", "hush\n");
    error("a configuration", &config.allow_plaintext().build().unwrap_err());
}

#[test]
fn what_others_are_shown_is_hidden() {
    let proxy = Proxy::new("http://127.0.0.1:1").unwrap();
    let proxy = proxy.authorization("Basic hush").unwrap();
    hidden("a proxy", &proxy);
    error("a proxy's URL", &Proxy::new("http://ann:hush@127.0.0.1:1/path").unwrap_err());
    error("a proxy's credentials", &proxy.clone().authorization("hush\n").unwrap_err());
    let token = Token::bearer(TOKEN).unwrap();
    hidden("a token", &token);
    error("no token", &Token::bearer("hush hush").unwrap_err());
    let tokens = Tokens::fixed(token);
    hidden("tokens", &tokens);
    let builder = RestClient::builder("http://127.0.0.1:1").allow_plaintext();
    let builder = builder.allow_plaintext_tokens().proxy(proxy).tokens(tokens);
    hidden("a builder", &builder);
    hidden("a client", &builder.build().unwrap());
    hidden("a store", &RedisConfig::from_url("redis://ann:hush@127.0.0.1/1").unwrap());
    for url in ["redis://ann:hush@", "http://ann:hush@a", "redis://hush@a", "redis://a:hush@a/hush"]
    {
        error("a store's URL", &RedisConfig::from_url(url).unwrap_err());
    }
}

#[test]
fn configurations_hide_what_they_hold() {
    let issuer = RestClient::builder("http://127.0.0.1:1").allow_plaintext().build().unwrap();
    let policy = JwtPolicy::new("https://issuer.test", "orders");
    let verifier = JwtVerifier::new(policy, Crypto::built_in().unwrap()).unwrap();
    hidden("a verifier", &verifier);
    let policy = SecurityPolicy::from(known())
        .jwt(verifier.clone(), JwksEndpoint::new(issuer, "/keys"))
        .rule(Rule::allow("all", Who::Authenticated, Routes::Every));
    hidden("a policy", &policy);
    let builder = RestServer::builder().security(policy).allow_plaintext().listen("127.0.0.1:0");
    hidden("a builder", &builder);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    hidden("a server", &runtime.block_on(builder.bind()).unwrap());
    let token = format!("{MARK}.{MARK}.{MARK}");
    error("a token", &verifier.key(&token).unwrap_err());
}

type Shown = Arc<Mutex<Vec<(&'static str, String)>>>;

fn show(shown: &Shown, what: &'static str, value: &dyn Debug) {
    shown.lock().unwrap().push((what, format!("{value:?} {value:#?}")));
}

/// An audit log, as it is written.
struct Log(Shown);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        self.0.lock().unwrap().push(("an audit record", text));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A server that is told secrets in all places, and refuses at every stage.
fn server(
    shown: &Shown,
    metrics: &Metrics,
) -> Result<sinew_driver::ServerBuilder<sinew_tokio::TokioRuntime, sinew_driver::Threads>, BoxError>
{
    let admins = Rule {
        roles: vec!["admin".into()],
        ..Rule::allow("admins", Who::Authenticated, Routes::Of(vec!["/admin".into()]))
    };
    let policy = SecurityPolicy::from(known())
        .api_key(HeaderName::from_static("x-api-key"))
        .explain(Explain::Caller)
        .rule(admins)
        .rule(Rule::allow("all", Who::Authenticated, Routes::Except(vec!["/admin".into()])));
    let (seen, told) = (Arc::clone(shown), Arc::clone(shown));
    let counted = metrics.clone();
    let json =
        RouteOptions::new().content_type(MediaRange::new("application/json")?).body_limit(64);
    Ok(RestServer::builder()
        .allow_plaintext()
        .security(policy)
        .rate_limit(RateLimitConfig::default())
        .audit(Audit::to(Log(Arc::clone(shown))))
        .layer(metrics.layer())
        .observe(move |peer, notice| {
            if let Notice::Decided(event) = notice {
                counted.observe(event);
            }
            show(&told, "a notice", &(peer, notice));
        })
        .route(Method::GET, "/orders/{id}", move |request: Request| {
            show(&seen, "a request", &request);
            show(&seen, "a record", request.record().unwrap());
            show(&seen, "a context", &(request.security(), request.context()));
            show(&seen, "an explanation", &request.explanation());
            let answer = Response::ok("fine").header("set-cookie", "session=hush");
            show(&seen, "an answer", &answer);
            async move { answer }
        })
        .route(Method::GET, "/admin", async |_: Request| "admin")
        .route(Method::GET, "/fails", async |_: Request| -> Result<(), Problem> {
            Err(std::io::Error::other("the password hush was refused"))?
        })
        .route(Method::GET, "/panics", async |_: Request| -> () { panic!("with hush") })
        .route(Method::GET, "/number/{n}", async |request: Request| {
            let number: u32 = request.path()?;
            Ok::<_, Problem>(number.to_string())
        })
        .route_with(Method::POST, "/orders", json, async |request: Request| {
            let list: Vec<u32> = request.json().await?;
            Ok::<_, Problem>(list.len().to_string())
        })
        .listen("127.0.0.1:0"))
}

#[test]
fn servers_hide_what_they_are_sent() {
    let shown: Shown = Arc::default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let metrics = Metrics::new();
        let bound = server(&shown, &metrics).unwrap().bind().await.unwrap();
        let (address, handle) = (bound.local_addrs()[0], bound.handle());
        hidden("a bound server", &bound);
        let reloader = bound.reloader();
        hidden("a reloader", &reloader);
        let served = tokio::spawn(bound.serve());
        let client = RestClient::builder(format!("http://{address}")).allow_plaintext();
        let client = client.allow_plaintext_tokens().build().unwrap();
        let forged = format!("{MARK}.{MARK}.{MARK}");
        let get = |path: &str| client.get(path).header("cookie", "session=hush");
        let post = |body: &str| {
            client
                .post("/orders")
                .bearer(TOKEN)
                .header("content-type", "application/json")
                .body(body.to_owned())
        };
        for (call, status) in [
            (get("/orders/7?token=hush").bearer(TOKEN), 200),
            (get("/orders/7?token=hush").header("x-api-key", KEY), 200),
            (get("/orders/7").bearer(&forged), 401),
            (get("/orders/7").header("x-api-key", "hush-nobody-knows-this-one"), 401),
            (get("/orders/7").header("authorization", "Bearer hush hush"), 400),
            (get("/orders/7").bearer(TOKEN).header("x-api-key", KEY), 400),
            (get("/orders/7").header("authorization", "Basic aHVzaDpodXNo"), 401),
            (get("/admin").bearer(TOKEN), 403),
            (get("/missing?hush").bearer(TOKEN), 404),
            (get("/orders/%2e%2e/hush").bearer(TOKEN), 400),
            (get("/fails").bearer(TOKEN), 500),
            (get("/panics").bearer(TOKEN), 500),
            (get("/number/hush").bearer(TOKEN), 400),
            // A 422 says to its caller which value does not fit: this one may be shown.
            (post("[1, \"one\"]"), 422),
            (post("[hush"), 400),
            (post(&"hush".repeat(17)), 413),
            (post("hush").header("content-type", "hush/hush"), 415),
        ] {
            let what = format!("{call:?} {status}");
            let response = call.send().await.unwrap();
            assert_eq!(response.status(), status, "{what}");
            hidden("an answer, to its client", &response);
            let text = response.text().await.unwrap();
            shown.lock().unwrap().push(("a document", text));
        }
        // A key that is too short, where the next configuration would have one.
        let short = || {
            let mut keys = ApiKeys::new(Crypto::built_in().unwrap());
            keys.insert(MARK, ())?;
            server(&shown, &metrics)
        };
        error("a reload", &reloader.reload(short).await.unwrap_err());
        handle.stop(Duration::from_secs(20)).await;
        served.await.unwrap();
        shown.lock().unwrap().push(("metrics", metrics.encode()));
    });
    let shown = shown.lock().unwrap();
    for wanted in [
        "a notice",
        "a request",
        "a record",
        "a document",
        "an answer",
        "an audit record",
        "metrics",
    ] {
        assert!(shown.iter().any(|(what, _)| *what == wanted), "{wanted} was not shown");
    }
    for (what, text) in &*shown {
        hides(what, text);
    }
}

#[test]
fn what_shows_is_found() {
    let found = |shown: &str| std::panic::catch_unwind(|| hides("it", shown)).is_err();
    for shown in ["a hush b", "HUSH", &format!("{:#?}", MARK.as_bytes()), "x68757368"] {
        assert!(found(shown), "{shown}");
    }
    assert!(!found("nothing"));
}
