//! What a file says is what the server does.

#![expect(clippy::unwrap_used, reason = "outside of `#[test]` too, a test stops where it is wrong")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Method;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    PKCS_ED25519, SigningKey,
};
use sinew_config::Config;
use sinew_core::content_coding::{Compression, Decompression};
use sinew_core::observe::Event;
use sinew_core::policy::{self, Stage};
use sinew_core::security::{PeerName, Subject};
use sinew_core::server::DrainConfig;
use sinew_driver::ServerBuilder;
use sinew_tls::{ClientTls, Options, ServerTls};
use sinew_tokio::{Notice, Request, RestClient, RestServer, RouteOptions, Threads, TokioRuntime};

type Builder = ServerBuilder<TokioRuntime, Threads>;

/// The name of whoever asks.
async fn who(request: Request) -> String {
    let security = request.security();
    match (&security.peer, security.principal.as_ref().map(|known| &known.subject)) {
        (Some(PeerName::Dns(name)), _) => format!("dns {name}"),
        (_, Some(Subject::Token { issuer, subject })) => format!("token {issuer} {subject}"),
        (_, Some(Subject::ApiKey { label, .. })) => format!("key {label}"),
        _ => "nobody".to_owned(),
    }
}

fn program() -> Builder {
    RestServer::builder().route(Method::GET, "/who", who).route(Method::POST, "/who", who).route(
        Method::GET,
        "/public",
        who,
    )
}

/// A running server of this file and program; its URL with `scheme`.
async fn serve(scheme: &str, base: &Path, text: &str, program: Builder) -> String {
    let text = format!("server.listen = [\"127.0.0.1:0\"]\n{text}");
    let config = Config::parse("s.toml", base, text).unwrap();
    let server = config.apply(program).unwrap().bind().await.unwrap();
    let address = server.local_addrs()[0];
    tokio::spawn(server.serve());
    format!("{scheme}://{address}")
}

fn plain(url: &str) -> RestClient {
    RestClient::builder(url).allow_plaintext().allow_plaintext_tokens().build().unwrap()
}

/// Status and text of the answer to a GET with this field.
async fn get(client: &RestClient, path: &str, field: (&str, &str)) -> (u16, String) {
    let call = client.get(path).header(field.0, field.1).no_retry();
    let answer = call.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

fn base64url(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().chain([&0, &0]).take(3).fold(0_u32, |n, b| n << 8 | u32::from(*b));
        let letter = |at: u32| char::from(LETTERS[(bits >> at & 63) as usize]);
        text.extend([18, 12, 6, 0].map(letter).into_iter().take(three.len() + 1));
    }
    text
}

/// A certificate authority, in PEM and to sign with.
fn authority() -> (String, Issuer<'static, KeyPair>) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    (pem, Issuer::new(params, key))
}

/// A certificate and its key, in PEM.
fn leaf(
    issuer: &Issuer<'_, KeyPair>,
    name: &str,
    usage: ExtendedKeyUsagePurpose,
) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.extended_key_usages.push(usage);
    (params.signed_by(&key, issuer).unwrap().pem(), key.serialize_pem())
}

/// The key set of an issuer with one key, and a token that it signed.
fn token(issuer: &str, audience: &str) -> (String, String) {
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let x = base64url(key.public_key_raw());
    let set = format!(
        "{{\"keys\":[{{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"1\",\"x\":\"{x}\"}}]}}"
    );
    let head = base64url(b"{\"alg\":\"EdDSA\",\"kid\":\"1\"}");
    let claims = base64url(
        format!(
            "{{\"iss\":\"{issuer}\",\"aud\":\"{audience}\",\"sub\":\"ann\",\"exp\":9999999999}}"
        )
        .as_bytes(),
    );
    let message = format!("{head}.{claims}");
    let signature = base64url(&key.sign(message.as_bytes()).unwrap());
    (set, format!("{message}.{signature}"))
}

#[tokio::test]
async fn credentials_rules_and_routes() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, token_of_ours) = token("https://ours.test", "orders");
    let (theirs, token_of_theirs) = token("https://theirs.test", "orders");
    let (_, stranger) = token("https://ours.test", "orders");
    fs::write(folder.path().join("ours.json"), ours).unwrap();
    fs::write(folder.path().join("theirs.json"), theirs).unwrap();
    fs::write(folder.path().join("b.key"), "the-key-of-b-in-a-file-1\r\n").unwrap();
    fs::write(folder.path().join("old.key"), "the-key-of-old-in-a-file").unwrap();
    let text = "
server.plaintext = true
[authentication]
realm = \"shop\"
api_key_field = \"x-key\"
[[authentication.api_key]]
label = \"a\"
sha256 = \"DIGEST\"
[[authentication.api_key]]
label = \"b\"
key_file = \"b.key\"
roles = [\"writer\"]
expires = 2999-12-31T23:59:59+01:00
[[authentication.api_key]]
label = \"old\"
key_file = \"old.key\"
expires = 2001-09-09T01:46:40Z
[[authentication.jwt]]
issuer = \"https://ours.test\"
audiences = [\"orders\"]
jwks_file = \"ours.json\"
[[authentication.jwt]]
issuer = \"https://theirs.test\"
audiences = [\"orders\", \"more\"]
jwks_file = \"theirs.json\"
[[access.rule]]
name = \"public\"
who = \"anyone\"
routes = [\"/public\"]
[[access.rule]]
name = \"known\"
routes = [\"/who\"]
methods = [\"GET\"]
[[access.rule]]
name = \"writers\"
roles = [\"writer\"]
[[access.rule]]
name = \"not ours\"
effect = \"deny\"
identities = [{ token = { issuer = \"https://ours.test\", subject = \"bob\" } }, { api_key = \"c\" }]
[[route]]
template = \"/who\"
method = \"POST\"
content_types = [\"text/*\"]
max_request_size = 4
";
    let crypto = sinew_auth::Crypto::built_in().unwrap();
    let digest = crypto.sha256(b"the-key-of-a-by-its-hash");
    let digest = digest.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02X}");
        text
    });
    let text = text.replace("DIGEST", &digest);
    let url = serve("http", folder.path(), &text, program()).await;
    let client = plain(&url);
    let bearer = |token: &str| format!("Bearer {token}");
    for (path, field, status, said) in [
        ("/public", ("x-nothing", ""), 200, "nobody"),
        ("/who", ("x-nothing", ""), 401, ""),
        ("/who", ("x-key", "the-key-of-a-by-its-hash"), 200, "key a"),
        ("/who", ("x-key", "the-key-of-b-in-a-file-1"), 200, "key b"),
        ("/who", ("x-key", "the-key-of-c-that-is-none"), 401, ""),
        ("/who", ("x-key", "the-key-of-old-in-a-file"), 401, ""),
        ("/who", ("authorization", &bearer(&token_of_ours)), 200, "token https://ours.test ann"),
        (
            "/who",
            ("authorization", &bearer(&token_of_theirs)),
            200,
            "token https://theirs.test ann",
        ),
        ("/who", ("authorization", &bearer(&stranger)), 401, ""),
    ] {
        let (found, text) = get(&client, path, field).await;
        assert_eq!(found, status, "{path} {field:?}");
        assert!(text.contains(said), "{path} {field:?} {text}");
    }
    let post = async |key: &str, kind: &str, body: &'static str| {
        let call = client.post("/who").header("x-key", key).header("content-type", kind);
        call.body(body).send().await.unwrap().status().as_u16()
    };
    assert_eq!(post("the-key-of-a-by-its-hash", "text/plain", "a").await, 403);
    assert_eq!(post("the-key-of-b-in-a-file-1", "text/plain", "a").await, 200);
    assert_eq!(post("the-key-of-b-in-a-file-1", "image/png", "a").await, 415);
    assert_eq!(post("the-key-of-b-in-a-file-1", "text/plain", "abcde").await, 413);
    let refused = client.get("/who").send().await.unwrap();
    assert_eq!(refused.header("www-authenticate").unwrap(), "Bearer realm=\"shop\"");
}

#[tokio::test]
async fn a_policy_in_shadow_is_told_and_not_obeyed() {
    let text = |mode: &str| {
        format!(
            "server.plaintext = true\n[rate_limit]\nmode = \"{mode}\"\n\
             client = {{ count = 1, period = \"1h\", burst = 1 }}\n\
             [access]\nmode = \"{mode}\"\n[[access.rule]]\nname = \"a\"\nroutes = [\"/public\"]\n\
             who = \"anyone\"\n[cors]\nmode = \"{mode}\"\norigins = [\"https://a.test\"]\n"
        )
    };
    for (mode, statuses, refusals, cors) in [
        ("enforce", [200, 429, 401], 2, true),
        ("shadow", [200, 200, 200], 3, false),
        ("off", [200, 200, 200], 0, false),
    ] {
        let told = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&told);
        let program = program().observe(move |_, notice| {
            if let Notice::Decided(Event::Refused { refused, .. }) = notice {
                sink.lock().unwrap().push(refused.mode);
            }
        });
        let client = plain(&serve("http", Path::new(""), &text(mode), program).await);
        for (path, status) in ["/public", "/public", "/who"].into_iter().zip(statuses) {
            let answer = client.get(path).header("origin", "https://a.test").send().await.unwrap();
            assert_eq!(answer.status(), status, "{mode} {path}");
            assert_eq!(answer.header("access-control-allow-origin").is_some(), cors, "{mode}");
            let _ = answer.text().await.unwrap();
        }
        let told = told.lock().unwrap().clone();
        assert_eq!(told.len(), refusals, "{mode} {told:?}");
        let shadow = policy::Mode::Shadow;
        assert!(told.iter().all(|told| (*told == shadow) == (mode == "shadow")), "{told:?}");
    }
}

#[tokio::test]
async fn credentials_and_what_routes_expect_may_be_tried_in_shadow() {
    let text = |mode: &str| {
        format!(
            "server.plaintext = true\n[authentication]\nmode = \"{mode}\"\nshield = \"{mode}\"\n\
             api_key_field = \"x-key\"\n[[authentication.api_key]]\nlabel = \"a\"\n\
             sha256 = \"{}\"\n[[access.rule]]\nname = \"all\"\nwho = \"anyone\"\n\
             [validation]\nmode = \"{mode}\"\n[[route]]\ntemplate = \"/public\"\n\
             required_fields = [\"x-tenant\"]\n",
            "0".repeat(64)
        )
    };
    let stages = [Stage::Authenticate; 50].into_iter().chain([Stage::Shield]);
    let enforced: Vec<Stage> = stages.chain([Stage::Validate]).collect();
    // Past the shield, the credential is looked at as well.
    let mut shadowed = enforced.clone();
    shadowed.insert(51, Stage::Authenticate);
    for (mode, statuses, stages) in [
        ("enforce", [401, 429, 400], enforced),
        ("shadow", [200, 200, 200], shadowed),
        ("off", [200, 200, 200], Vec::new()),
    ] {
        let told = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&told);
        let program = program().observe(move |_, notice| {
            if let Notice::Decided(Event::Refused { refused, .. }) = notice {
                sink.lock().unwrap().push(refused.stage);
            }
        });
        let client = plain(&serve("http", Path::new(""), &text(mode), program).await);
        let guess = ("x-key", "a-guess-that-is-long-enough");
        for _ in 0..50 {
            assert_eq!(get(&client, "/who", guess).await.0, statuses[0], "{mode}");
        }
        assert_eq!(get(&client, "/who", guess).await.0, statuses[1], "{mode}");
        assert_eq!(get(&client, "/public", ("x-nothing", "")).await.0, statuses[2], "{mode}");
        assert_eq!(*told.lock().unwrap(), stages, "{mode}");
    }
}

#[tokio::test]
async fn codings_are_on_where_the_file_says_so() {
    let long = async |_: Request| "a".repeat(2000);
    let program = || {
        let options = RouteOptions::new();
        RestServer::builder()
            .route(Method::GET, "/long", long)
            .route(Method::GET, "/secret", long)
            .route_with(Method::POST, "/body", options, async |request: Request| {
                request.text().await
            })
    };
    let text = "
server.plaintext = true
[decompression]
[compression]
min_size = 100
[[route]]
template = \"/secret\"
compress = false
";
    let coding = async |client: &RestClient, path: &str| {
        let answer = client.get(path).header("accept-encoding", "gzip").send().await.unwrap();
        answer.header("content-encoding")
    };
    let unknown = async |client: &RestClient| {
        let call = client.post("/body").header("content-encoding", "br").body("a");
        call.send().await.unwrap().status().as_u16()
    };
    let client = plain(&serve("http", Path::new(""), text, program()).await);
    assert_eq!(coding(&client, "/long").await.unwrap(), "gzip");
    assert_eq!(coding(&client, "/secret").await, None);
    assert_eq!(unknown(&client).await, 415);
    // The file has the last word.
    let text = "server.plaintext = true\n[decompression]\nenabled = false\n[compression]\nenabled = false\n";
    let on = program().decompress(Decompression::default()).compress(Compression::default());
    let client = plain(&serve("http", Path::new(""), text, on).await);
    assert_eq!(coding(&client, "/long").await, None);
    assert_eq!(unknown(&client).await, 200);
    // A route that is to unpack, or to compress, does, whatever the server does.
    let text = "
server.plaintext = true
[[route]]
template = \"/long\"
compress = true
[[route]]
template = \"/body\"
decompress = true
";
    let client = plain(&serve("http", Path::new(""), text, program()).await);
    assert_eq!(coding(&client, "/long").await.unwrap(), "gzip");
    assert_eq!(coding(&client, "/secret").await, None);
    assert_eq!(unknown(&client).await, 415);
}

#[tokio::test]
async fn keys_of_issuers_are_fetched_from_their_urls() {
    let folder = tempfile::tempdir().unwrap();
    let (ca, issuer) = authority();
    let (certificate, key) = leaf(&issuer, "127.0.0.1", ExtendedKeyUsagePurpose::ServerAuth);
    fs::write(folder.path().join("ca.pem"), &ca).unwrap();
    let tls = ServerTls::builder().certificate_pem(&certificate, &key).unwrap().build().unwrap();
    let mut tokens = Vec::new();
    let mut text = String::from("server.plaintext = true\n");
    let mut login = RestServer::builder().listen("127.0.0.1:0").tls(tls);
    for name in ["one", "two"] {
        let (set, token) = token(&format!("https://{name}.test"), "orders");
        tokens.push(token);
        let path = format!("/{name}/keys");
        login = login.route(Method::GET, &path, move |_: Request| {
            let set = set.clone();
            async move { set }
        });
    }
    let login = login.bind().await.unwrap();
    let address = login.local_addrs()[0];
    tokio::spawn(login.serve());
    for name in ["one", "two"] {
        let _ = write!(
            text,
            "[[authentication.jwt]]\nissuer = \"https://{name}.test\"\naudiences = [\"orders\"]\n\
             jwks_url = \"https://{address}/{name}/keys\"\njwks_ca = [\"ca.pem\"]\n"
        );
    }
    let fetched = Arc::new(tokio::sync::Semaphore::new(0));
    let told = Arc::clone(&fetched);
    let program = program().observe(move |_, notice| {
        if let Notice::Keys(keys) = notice {
            assert_eq!(*keys, Ok(1));
            told.add_permits(1);
        }
    });
    let client = plain(&serve("http", folder.path(), &text, program).await);
    let _ = fetched.acquire_many(2).await.unwrap();
    for (name, token) in ["one", "two"].into_iter().zip(&tokens) {
        let bearer = format!("Bearer {token}");
        let (status, said) = get(&client, "/who", ("authorization", &bearer)).await;
        assert_eq!((status, &*said), (200, &*format!("token https://{name}.test ann")));
    }
    let (_, stranger) = token("https://three.test", "orders");
    let bearer = format!("Bearer {stranger}");
    assert_eq!(get(&client, "/who", ("authorization", &bearer)).await.0, 401);
}

#[tokio::test]
async fn classes_have_quotas_of_their_own() {
    let text = "
server.plaintext = true
[proxies]
networks = [\"127.0.0.0/8\"]
field = \"x-forwarded-for\"
[rate_limit]
client = \"none\"
fields = \"legacy\"
[[rate_limit.class]]
name = \"strangers\"
who = \"anyone\"
quota = { count = 7, period = \"1h\", burst = 1 }
";
    let client = plain(&serve("http", Path::new(""), text, program()).await);
    let ask = async |address: &str| {
        let call = client.get("/public").header("x-forwarded-for", address);
        let answer = call.send().await.unwrap();
        assert_eq!(answer.header("x-ratelimit-limit").unwrap(), "7");
        answer.status().as_u16()
    };
    assert_eq!(ask("192.0.2.1").await, 200);
    assert_eq!(ask("192.0.2.1").await, 429);
    assert_eq!(ask("192.0.2.2").await, 200);
}

#[tokio::test]
async fn mutual_tls_by_paths() {
    let folder = tempfile::tempdir().unwrap();
    let (ca, issuer) = authority();
    let (server, server_key) = leaf(&issuer, "127.0.0.1", ExtendedKeyUsagePurpose::ServerAuth);
    let (shop, shop_key) = leaf(&issuer, "shop.test", ExtendedKeyUsagePurpose::ClientAuth);
    for (name, text) in [("ca.pem", &ca), ("s.pem", &server), ("s.key", &server_key)] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let text = "
[tls]
certificate = \"s.pem\"
key = \"s.key\"
client_ca = [\"ca.pem\"]
client_auth = \"optional\"
[access]
[[access.rule]]
name = \"shop\"
identities = [{ dns = \"shop.test\" }]
";
    // The program would have gone without.
    let url = serve("https", folder.path(), text, program().allow_plaintext()).await;
    // More than a connection takes on a machine that has other things to do.
    let patience = Duration::from_secs(20);
    let patient = Options { handshake_timeout: patience, ..Options::CLIENT };
    let tls = || ClientTls::builder().options(patient).ca_pem(&ca).unwrap();
    let with = |tls| RestClient::builder(&*url).tls(tls).connect_timeout(patience).build().unwrap();
    let known = with(tls().identity_pem(&shop, &shop_key).unwrap().build().unwrap());
    let stranger = with(tls().build().unwrap());
    let nothing = ("x-nothing", "");
    assert_eq!(get(&known, "/who", nothing).await, (200, "dns shop.test".to_owned()));
    assert_eq!(get(&stranger, "/who", nothing).await.0, 401);

    let mismatch = text.replace("s.key", "other.key");
    fs::write(folder.path().join("other.key"), &shop_key).unwrap();
    let config = Config::parse("s.toml", folder.path(), mismatch).unwrap();
    let problems = config.apply(program()).unwrap_err();
    assert_eq!(
        problems.to_string(),
        "s.toml:4:1: tls.key: the private key does not match the certificate"
    );
    let unused = text.replace("optional", "off");
    let problems = Config::parse("s.toml", folder.path(), unused).unwrap();
    let problems = problems.apply(program()).unwrap_err().to_string();
    assert!(problems.starts_with("s.toml:6:1: tls.client_auth: "), "{problems}");
}

#[test]
fn the_file_has_the_last_word_about_what_it_names() {
    let program = program()
        .max_connections(5)
        .max_request_size(6)
        .handler_timeout(None)
        .route_with(Method::PUT, "/who", RouteOptions::new().body_limit(1).cost(2), who);
    let text = "
limits.max_request_size = 7
timers.idle_timeout = \"3s\"
[[route]]
template = \"/who\"
cost = 4
[[route]]
template = \"/who\"
method = \"PUT\"
handler_timeout = \"none\"
";
    let config = Config::parse("s.toml", "", text).unwrap();
    let mut builder = config.apply(program).unwrap();
    let settings = builder.config_mut().clone();
    assert_eq!((settings.max_connections, settings.max_request_size), (5, 7));
    assert_eq!((settings.handler_timeout, settings.idle_timeout), (None, Duration::from_secs(3)));
    let put = builder.routes_mut().find(|(method, ..)| *method == Some(&Method::PUT)).unwrap();
    assert_eq!((put.2.body_limit, put.2.policy.cost.0), (Some(1), 4));
    assert_eq!(put.2.handler_timeout, sinew_driver::HandlerTimeout::Never);
    let costs: Vec<u32> = builder.routes_mut().map(|(_, _, of)| of.policy.cost.0).collect();
    assert_eq!(costs, [4, 4, 1, 4]);
    let in_force = config.in_force(&settings);
    for line in ["max_connections = 5", "max_request_size = 7", "handler_timeout = \"none\""] {
        assert!(in_force.contains(line), "{in_force}");
    }
}

#[test]
fn a_server_leaves_as_its_profile_says_but_for_what_is_said_beside_it() {
    let text = "
[drain]
profile = \"kubernetes\"
deadline = \"28s\"
[limits]
max_connections_per_address = 9
[proxy_protocol]
networks = [\"192.0.2.0/24\"]
";
    let config = Config::parse("s.toml", "", text).unwrap();
    let mut builder = config.apply(program()).unwrap();
    let settings = builder.config_mut().clone();
    let wanted = DrainConfig { deadline: Duration::from_secs(28), ..DrainConfig::kubernetes() };
    assert_eq!((settings.drain, settings.max_connections_per_address), (wanted, 9));
    let proxies = settings.proxy_protocol.as_ref().unwrap();
    assert!(proxies.is_expected([192, 0, 2, 7].into()));
    assert!(!proxies.is_expected([192, 0, 3, 7].into()));
    let in_force = config.in_force(&settings);
    for line in ["propagation = \"5s\"", "deadline = \"28s\"", "max_connections_per_address = 9"] {
        assert!(in_force.contains(line), "{in_force}");
    }
}
