//! Attacks with tokens, over sockets: each refused, and for its reason. The keys come from a server
//! of their own, fetched by our client.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use sinew_auth::{ApiKeys, BadJwks, Crypto, JwtPolicy, JwtVerifier, OpaqueTokens};
use sinew_core::observe::Event;
use sinew_core::reason::Reason;
use sinew_core::security::{Claim, CredentialVerdict, Principal, Subject, Thumbprint, TokenError};
use sinew_driver::{ErrorKind, KeysError, Notice, Request, SecurityPolicy};
use sinew_prometheus::Metrics;
use sinew_tls::rustls::pki_types::CertificateDer;
use sinew_tls::rustls::pki_types::pem::PemObject as _;
use sinew_tls::{ClientAuth, ClientTls, Options, ServerTls};

use super::issuer::{AUDIENCE, Issuer, Key, Rsa, base64url, claims, good, now, signed, verifier};
use super::site::{Builder, PATIENCE, Security, Site, client_of, client_with, pki};
use super::{each, pause};
use crate::rt;

/// A server that takes the tokens of an issuer.
struct Protected {
    site: Site,
    notices: Arc<Mutex<Vec<Notice>>>,
    metrics: Metrics,
}

impl Protected {
    fn builder(issuer: &Issuer) -> (Builder, Arc<Mutex<Vec<Notice>>>, Metrics) {
        let notices: Arc<Mutex<Vec<Notice>>> = Arc::default();
        let (note, metrics) = (Arc::clone(&notices), Metrics::new());
        let builder = rt::RestServer::builder()
            .security(SecurityPolicy::new().jwt(verifier(), issuer.endpoint()))
            .layer(metrics.layer())
            .route(Method::GET, "/who", async |request: Request| {
                match request.security().principal.as_ref().map(|known| &known.subject) {
                    Some(Subject::Token { subject, .. }) => subject.to_string(),
                    _ => "nobody".to_owned(),
                }
            })
            .observe(move |_, notice| note.lock().unwrap().push(notice.clone()))
            .listen("127.0.0.1:0");
        (builder, notices, metrics)
    }

    async fn start(security: Security, issuer: &Issuer) -> Self {
        let (builder, notices, metrics) = Self::builder(issuer);
        let site = Site::run(security, builder).await;
        Self { site, notices, metrics }
    }

    /// A client may come without a certificate.
    async fn with_optional_certificates(issuer: &Issuer) -> Self {
        let (builder, notices, metrics) = Self::builder(issuer);
        let server = &pki().server;
        let tls = ServerTls::builder().certificate_pem(&server.chain, &server.key).unwrap();
        let tls = tls.client_ca_pem(pki().authority.pem()).unwrap();
        let tls = tls.client_auth(ClientAuth::Optional).build().unwrap();
        let site = Site::bound(Security::Mutual, builder.tls(tls)).await;
        Self { site, notices, metrics }
    }

    /// What came of all fetches so far, once there were this many.
    async fn fetched(&self, count: usize) -> Vec<Result<usize, KeysError>> {
        loop {
            let notices = self.notices.lock().unwrap().clone();
            let fetched: Vec<_> = notices
                .into_iter()
                .filter_map(|notice| match notice {
                    Notice::Keys(fetched) => Some(fetched),
                    _ => None,
                })
                .collect();
            if fetched.len() >= count {
                return fetched;
            }
            pause().await;
        }
    }

    async fn ask(&self, token: &str) -> Verdict {
        self.ask_as(&client_of(&self.site), token).await
    }

    /// Asks with a token, and sees what becomes of it: in the answer, and in the log.
    async fn ask_as(&self, client: &rt::RestClient, token: &str) -> Verdict {
        self.notices.lock().unwrap().retain(|notice| matches!(notice, Notice::Keys(_)));
        let response = client.get("/who").bearer(token).send().await.unwrap();
        let status = response.status();
        let field = |name: &str| {
            let value = response.header(name)?;
            Some(value.to_str().unwrap().to_owned())
        };
        let (challenge, retry_after) = (field("www-authenticate"), field("retry-after"));
        let text = response.text().await.unwrap();
        let (mut error, mut explained) = (None, None);
        for notice in &*self.notices.lock().unwrap() {
            match notice {
                Notice::Decided(Event::Credential {
                    verdict: CredentialVerdict::Refused(why),
                    ..
                }) => error = Some(*why),
                Notice::Explained { why, .. } => explained = Some(why.clone()),
                _ => {}
            }
        }
        Verdict { status, challenge, retry_after, text, error, explained }
    }
}

#[derive(Debug)]
struct Verdict {
    status: StatusCode,
    challenge: Option<String>,
    retry_after: Option<String>,
    text: String,
    /// As the event says.
    error: Option<TokenError>,
    explained: Option<String>,
}

impl Verdict {
    /// Refused for this reason, of which the caller learns nothing but that the token is not good.
    fn is_refused(&self, wanted: TokenError, what: &str) {
        assert_eq!(self.error, Some(wanted), "{what}: {self:?}");
        assert_eq!(self.explained.as_deref(), Some(wanted.name()), "{what}");
        let document: Value = serde_json::from_str(&self.text).unwrap();
        let reason = document["reason"].as_str();
        if wanted == TokenError::Unavailable {
            assert_eq!(self.status, StatusCode::SERVICE_UNAVAILABLE, "{what}");
            assert_eq!(reason, Some("unavailable"), "{what}");
            assert_eq!((self.challenge.as_deref(), self.retry_after.as_deref()), (None, Some("1")));
        } else {
            assert_eq!(self.status, StatusCode::UNAUTHORIZED, "{what}");
            assert_eq!(reason, Some("invalid_token"), "{what}");
            let challenge = r#"Bearer realm="api", error="invalid_token""#;
            assert_eq!(self.challenge.as_deref(), Some(challenge), "{what}");
        }
        for internal in [wanted.name(), "detail", "kid", "issuer.test"] {
            assert!(!self.text.contains(internal), "{what}: {}", self.text);
        }
    }

    fn is_good(&self, what: &str) {
        assert_eq!((self.status, self.text.as_str()), (StatusCode::OK, "ann"), "{what}: {self:?}");
        assert_eq!((self.error, self.explained.as_deref()), (None, None));
    }
}

fn thumbprint(chain: &str) -> Thumbprint {
    let certificate = CertificateDer::from_pem_slice(chain.as_bytes()).unwrap();
    Crypto::built_in().unwrap().thumbprint(&certificate)
}

fn bound_to(chain: &str) -> Value {
    claims("cnf", json!({"x5t#S256": base64url(thumbprint(chain).0)}))
}

fn hmac(secret: &[u8], message: &[u8]) -> Vec<u8> {
    ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret), message)
        .as_ref()
        .to_vec()
}

/// Where the attacks are told to those who run servers.
const DOCS: &str = include_str!("../../../../docs/tokens.md");

#[test]
fn every_attack_with_a_token_is_refused_for_its_reason() {
    each(async |security| {
        let (key, rsa, stranger) = (Key::new("2027"), Rsa::new(), Key::new("2027"));
        let issuer = Issuer::start(security, &[key.jwk(), rsa.jwk()]).await;
        let server = Protected::start(security, &issuer).await;
        assert_eq!(server.fetched(1).await, [Ok(2)]);
        server.ask(&key.token(&good())).await.is_good("ES256");
        server.ask(&rsa.token(&good())).await.is_good("RS256");

        let other = pki().authority.client("spiffe://acme.test/ns/shop/sa/thief").unwrap();
        let changed = {
            let (mine, yours) = (key.token(&good()), key.token(&claims("sub", json!("root"))));
            let signature = &mine[mine.rfind('.').unwrap()..];
            format!("{}{signature}", &yours[..yours.rfind('.').unwrap()])
        };
        let named = |alg: &str, kid: &str| json!({"alg": alg, "kid": kid});
        let secret = |message: &[u8]| hmac(rsa.public_key(), message);
        let but = |name, value| key.token(&claims(name, value));
        let brought = json!({"alg": "ES256", "kid": "2027", "jwk": stranger.jwk()});
        let elsewhere = json!({"alg": "ES256", "kid": "2027", "jku": "https://evil.test/keys"});
        let critical = json!({"alg": "ES256", "kid": "2027", "crit": ["b64"]});
        let attacks = [
            (
                "`alg` none",
                signed(&named("none", "2027"), &good(), |_| vec![]),
                TokenError::Algorithm,
            ),
            (
                "`alg` nOnE",
                signed(&named("nOnE", "2027"), &good(), |_| vec![]),
                TokenError::Algorithm,
            ),
            (
                "an RS256 key as the secret of HS256",
                signed(&named("HS256", "rsa"), &good(), secret),
                TokenError::Algorithm,
            ),
            (
                "an ES256 signature, said to be RS256",
                key.token_with(&named("RS256", "2027"), &good()),
                TokenError::Algorithm,
            ),
            (
                "an ES256 signature under the `kid` of an RSA key",
                key.token_with(&named("ES256", "rsa"), &good()),
                TokenError::Algorithm,
            ),
            ("changed claims", changed, TokenError::Signature),
            (
                "a stranger's key under a known `kid`",
                stranger.token(&good()),
                TokenError::Signature,
            ),
            (
                "a key that came along in `jwk`",
                stranger.token_with(&brought, &good()),
                TokenError::Signature,
            ),
            (
                "a key from elsewhere, by `jku`",
                stranger.token_with(&elsewhere, &good()),
                TokenError::Signature,
            ),
            ("an extension in `crit`", key.token_with(&critical, &good()), TokenError::Critical),
            ("an unknown `kid`", Key::new("other").token(&good()), TokenError::UnknownKey),
            ("wrong `aud`", but("aud", json!("billing")), TokenError::Audience),
            ("no `aud`", but("aud", json!(null)), TokenError::Missing(Claim::Audience)),
            ("wrong `iss`", but("iss", json!("https://evil.test")), TokenError::Issuer),
            (
                "`iss` with a slash more",
                but("iss", json!("https://issuer.test/")),
                TokenError::Issuer,
            ),
            ("expired", but("exp", json!(now() - 3600)), TokenError::Expired),
            ("without `exp`", but("exp", json!(null)), TokenError::Missing(Claim::Expires)),
            ("not yet valid", but("nbf", json!(now() + 3600)), TokenError::NotYetValid),
            ("issued in the future", but("iat", json!(now() + 3600)), TokenError::NotYetValid),
            ("without `sub`", but("sub", json!(null)), TokenError::Missing(Claim::Subject)),
            (
                "bound to another certificate",
                key.token(&bound_to(&other.chain)),
                TokenError::Binding,
            ),
            ("bound by other means", but("cnf", json!({"jkt": "NzbLsXh8"})), TokenError::Binding),
            ("no token at all", "opaque".to_owned(), TokenError::Malformed),
        ];
        let count = attacks.len();
        for (what, token, wanted) in attacks {
            server.ask(&token).await.is_refused(wanted, what);
            let line = format!("\n| {what} | {} |\n", wanted.name());
            assert!(DOCS.contains(&line), "the docs lack {line}");
        }
        assert_eq!(issuer.fetches(), 1, "no attack reached the issuer");
        let refused = format!(
            "sinew_server_refusals_total{{stage=\"authenticate\",reason=\"{}\",mode=\"enforce\"}} {count}",
            Reason::InvalidToken.name()
        );
        // The last exchange is counted when it has ended, which its client may see first.
        while !server.metrics.encode().contains(&refused) {
            pause().await;
        }
    });
}

/// <https://www.rfc-editor.org/rfc/rfc8705#section-3>
#[test]
fn a_bound_token_is_of_no_use_to_others() {
    super::run(async {
        let key = Key::new("2027");
        let issuer = Issuer::start(Security::Mutual, &[key.jwk()]).await;
        let server = Protected::with_optional_certificates(&issuer).await;
        server.fetched(1).await;
        let thief = pki().authority.client("spiffe://acme.test/ns/shop/sa/thief").unwrap();
        let patient = Options { handshake_timeout: PATIENCE, ..Options::CLIENT };
        let tls = || ClientTls::builder().ca_pem(pki().authority.pem()).unwrap().options(patient);
        let with = |identity: &sinew_examples::certs::Identity| {
            tls().identity_pem(&identity.chain, &identity.key).unwrap().build().unwrap()
        };
        let url = server.site.url();
        let owner = client_with(&url, with(&pki().client));
        let other = client_with(&url, with(&thief));
        let nobody = client_with(&url, tls().build().unwrap());
        let token = key.token(&bound_to(&pki().client.chain));
        server.ask_as(&owner, &token).await.is_good("its owner");
        let refused = server.ask_as(&other, &token).await;
        refused.is_refused(TokenError::Binding, "another certificate");
        let refused = server.ask_as(&nobody, &token).await;
        refused.is_refused(TokenError::Binding, "no certificate");
        // What is not bound is good for whoever has it.
        server.ask_as(&nobody, &key.token(&good())).await.is_good("not bound");
    });
}

#[test]
fn a_flood_of_unknown_keys_costs_one_fetch_in_half_a_minute() {
    each(async |security| {
        let key = Key::new("2027");
        let issuer = Issuer::start(security, &[key.jwk()]).await;
        let server = Protected::start(security, &issuer).await;
        server.fetched(1).await;
        let mut ids = 0..;
        let mut flood = async |count: usize| {
            for id in ids.by_ref().take(count) {
                let token = Key::new(&format!("k{id}")).token(&good());
                server.ask(&token).await.is_refused(TokenError::UnknownKey, "flood");
            }
        };
        flood(10).await;
        assert_eq!(issuer.fetches(), 1, "the set is fresh");
        for fetches in 2..4 {
            issuer.clock.advance(Duration::from_secs(30));
            let token = Key::new(&format!("first of {fetches}")).token(&good());
            let first = server.ask(&token).await;
            first.is_refused(TokenError::Unavailable, "a fetch may bring it");
            server.fetched(fetches).await;
            flood(8).await;
            issuer.clock.advance(Duration::from_secs(29));
            flood(8).await;
            assert_eq!(issuer.fetches(), fetches);
        }
        server.ask(&key.token(&good())).await.is_good("who is known is not disturbed");
    });
}

#[test]
fn a_rotated_key_is_taken_and_the_old_one_is_not() {
    each(async |security| {
        let (old, new) = (Key::new("2026"), Key::new("2027"));
        let issuer = Issuer::start(security, &[old.jwk()]).await;
        let server = Protected::start(security, &issuer).await;
        server.fetched(1).await;
        issuer.publish(&[new.jwk()]);
        issuer.clock.advance(Duration::from_secs(30));
        server.ask(&old.token(&good())).await.is_good("as long as nobody knows better");
        let first = server.ask(&new.token(&good())).await;
        first.is_refused(TokenError::Unavailable, "its key is fetched");
        assert_eq!(server.fetched(2).await, [Ok(1), Ok(1)]);
        server.ask(&new.token(&good())).await.is_good("the new key");
        let after = server.ask(&old.token(&good())).await;
        after.is_refused(TokenError::UnknownKey, "the old key");
    });
}

#[test]
fn keys_serve_while_the_issuer_is_away_and_not_for_ever() {
    each(async |security| {
        let key = Key::new("2027");
        let issuer = Issuer::start(security, &[key.jwk()]).await;
        let server = Protected::start(security, &issuer).await;
        server.fetched(1).await;
        let down = StatusCode::INTERNAL_SERVER_ERROR;
        let failures = [
            ((down, String::new()), KeysError::Call(ErrorKind::Status(down))),
            ((StatusCode::OK, "<html>".into()), KeysError::Unusable(BadJwks::Malformed)),
            ((StatusCode::OK, r#"{"keys":[]}"#.into()), KeysError::Unusable(BadJwks::Empty)),
            (
                (StatusCode::OK, " ".repeat(256 * 1024 + 1)),
                KeysError::Call(ErrorKind::TooLarge(256 * 1024)),
            ),
        ];
        let mut wait = Duration::from_secs(300);
        for (i, (published, why)) in failures.into_iter().enumerate() {
            *issuer.published.lock().unwrap() = published;
            issuer.clock.advance(wait);
            assert_eq!(server.fetched(i + 2).await.last(), Some(&Err(why)));
            server.ask(&key.token(&good())).await.is_good("the old keys serve");
            wait = Duration::from_secs(30);
        }
        issuer.clock.advance(Duration::from_secs(3600));
        server.fetched(6).await;
        let stale = server.ask(&key.token(&good())).await;
        stale.is_refused(TokenError::Unavailable, "nobody knows whether they are good");
        issuer.publish(&[key.jwk()]);
        issuer.clock.advance(Duration::from_secs(30));
        assert_eq!(server.fetched(7).await.last(), Some(&Ok(1)));
        server.ask(&key.token(&good())).await.is_good("back again");
    });
}

#[test]
fn a_flood_of_bad_tokens_is_turned_away_and_counted() {
    each(async |security| {
        let key = Key::new("2027");
        let issuer = Issuer::start(security, &[key.jwk()]).await;
        let server = Protected::start(security, &issuer).await;
        server.fetched(1).await;
        let (forged, good) = (Key::new("2027").token(&good()), key.token(&good()));
        for _ in 0..50 {
            server.ask(&forged).await.is_refused(TokenError::Signature, "forged");
        }
        for token in [&forged, &good] {
            let late = server.ask(token).await;
            assert_eq!((late.status, late.error), (StatusCode::TOO_MANY_REQUESTS, None));
            assert!(late.retry_after.is_some(), "{late:?}");
        }
        let counted = |stage, reason: Reason, count| {
            let line = format!(
                "sinew_server_refusals_total{{stage=\"{stage}\",reason=\"{}\",mode=\"enforce\"}} {count}\n",
                reason.name()
            );
            server.metrics.encode().contains(&line)
        };
        while !counted("shield", Reason::RateLimited, 2) {
            pause().await;
        }
        assert!(counted("authenticate", Reason::InvalidToken, 50));
    });
}

#[test]
fn validators_are_asked_in_turn() {
    super::run(async {
        let key = Key::new("2027");
        let issuer = Issuer::start(Security::Plain, &[key.jwk()]).await;
        let mut keys = ApiKeys::new(Crypto::built_in().unwrap());
        let opaque = "opaque-0123456789abcdef";
        let subject = Subject::Token { issuer: "us".into(), subject: "ann".into() };
        let (roles, scopes) = (Box::default(), Box::default());
        keys.insert(opaque, Arc::new(Principal { subject, roles, scopes, expires: None })).unwrap();
        let policy = SecurityPolicy::from(OpaqueTokens(keys)).jwt(verifier(), issuer.endpoint());
        let notices: Arc<Mutex<Vec<Notice>>> = Arc::default();
        let note = Arc::clone(&notices);
        let builder = rt::RestServer::builder()
            .security(policy)
            .route(Method::GET, "/who", async |_: Request| "ann")
            .observe(move |_, notice| note.lock().unwrap().push(notice.clone()));
        let site = Site::run(Security::Plain, builder.listen("127.0.0.1:0")).await;
        let server = Protected { site, notices, metrics: Metrics::new() };
        server.fetched(1).await;
        server.ask(opaque).await.is_good("an opaque token");
        server.ask(&key.token(&good())).await.is_good("a JWT");
        let neither = server.ask("opaque-0123456789abcdee").await;
        neither.is_refused(TokenError::Malformed, "neither");
    });
}

/// Each token goes to the issuer that it names, and is held to its keys alone, whoever is first.
#[test]
fn several_issuers_share_a_server() {
    const OTHER: &str = "https://other.test";
    each(async |security| {
        // Both name their key alike.
        let (ours, theirs) = (Key::new("1"), Key::new("1"));
        let issuer = Issuer::start(security, &[ours.jwk()]).await;
        let other = Issuer::start(security, &[theirs.jwk()]).await;
        let (builder, notices, metrics) = Protected::builder(&issuer);
        let of_other = JwtPolicy::new(OTHER, AUDIENCE);
        let of_other = JwtVerifier::new(of_other, Crypto::built_in().unwrap()).unwrap();
        let builder = builder.amend_security(|policy| policy.jwt(of_other, other.endpoint()));
        let site = Site::run(security, builder).await;
        let protected = Protected { site, notices, metrics };
        assert_eq!(protected.fetched(2).await, [Ok(1), Ok(1)]);
        let as_other = claims("iss", json!(OTHER));
        for token in [ours.token(&good()), theirs.token(&as_other)] {
            let verdict = protected.ask(&token).await;
            assert_eq!((verdict.status, &*verdict.text), (StatusCode::OK, "ann"));
        }
        for (token, why) in [
            (ours.token(&as_other), TokenError::Signature),
            (theirs.token(&good()), TokenError::Signature),
            (ours.token(&claims("iss", json!("https://third.test"))), TokenError::Issuer),
            (Key::new("2").token(&as_other), TokenError::UnknownKey),
        ] {
            assert_eq!(protected.ask(&token).await.error, Some(why), "{why:?}");
        }
        // An unknown key is asked for where the token says that it is from.
        assert_eq!(issuer.fetches(), 1);
    });
}
