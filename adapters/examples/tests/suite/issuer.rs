//! An issuer of tokens: its keys, on a server of their own, and what it signs.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{Method, StatusCode};
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use serde_json::{Value, json};
use sinew_auth::{Crypto, JwtPolicy, JwtVerifier};
use sinew_driver::{JwksEndpoint, Request, Response};

use super::clock::Shifted;
use super::site::{PATIENCE, Security, Site, client_tls};
use crate::rt;

pub(crate) const ISSUER: &str = "https://issuer.test";
pub(crate) const AUDIENCE: &str = "orders";

/// The server of the keys, and the clock by which they are fetched.
pub(crate) struct Issuer {
    site: Site,
    pub(crate) published: Arc<Mutex<(StatusCode, String)>>,
    fetches: Arc<AtomicUsize>,
    pub(crate) clock: Shifted,
}

impl Issuer {
    /// Publishes these keys.
    pub(crate) async fn start(security: Security, keys: &[Value]) -> Self {
        let published = Arc::new(Mutex::new((StatusCode::OK, set(keys))));
        let fetches = Arc::new(AtomicUsize::new(0));
        let (answer, counted) = (Arc::clone(&published), Arc::clone(&fetches));
        let builder = rt::RestServer::builder().route(Method::GET, "/keys", move |_: Request| {
            counted.fetch_add(1, Ordering::SeqCst);
            let (status, keys) = answer.lock().unwrap().clone();
            async move {
                let json = Response::new(status).header("content-type", "application/json");
                json.body(keys)
            }
        });
        let site = Site::run(security, builder.listen("127.0.0.1:0")).await;
        Self { site, published, fetches, clock: Shifted::default() }
    }

    pub(crate) fn publish(&self, keys: &[Value]) {
        *self.published.lock().unwrap() = (StatusCode::OK, set(keys));
    }

    /// How often the keys were asked for.
    pub(crate) fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }

    /// Its keys, as a server fetches them.
    pub(crate) fn endpoint(&self) -> JwksEndpoint<Shifted> {
        let client = sinew_driver::RestClient::builder(self.site.url()).connect_timeout(PATIENCE);
        let client = match self.site.security {
            Security::Plain => client.allow_plaintext(),
            Security::Mutual => client.tls(client_tls()),
        };
        JwksEndpoint::new(client.build_on(self.clock.clone()).unwrap(), "/keys")
    }
}

/// Takes the tokens of the issuer.
pub(crate) fn verifier() -> JwtVerifier {
    let policy = JwtPolicy::new(ISSUER, AUDIENCE);
    JwtVerifier::new(policy, Crypto::built_in().unwrap()).unwrap()
}

fn set(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

/// A key of the issuer, or of somebody else.
pub(crate) struct Key {
    pub(crate) id: String,
    pair: EcdsaKeyPair,
}

impl Key {
    pub(crate) fn new(id: &str) -> Self {
        let (algorithm, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
        Self { id: id.to_owned(), pair }
    }

    pub(crate) fn jwk(&self) -> Value {
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(32);
        let (x, y) = (base64url(x), base64url(y));
        json!({"kty": "EC", "crv": "P-256", "kid": self.id, "alg": "ES256", "x": x, "y": y})
    }

    /// A token of this key.
    pub(crate) fn token(&self, claims: &Value) -> String {
        self.token_with(&json!({"alg": "ES256", "kid": self.id}), claims)
    }

    pub(crate) fn token_with(&self, header: &Value, claims: &Value) -> String {
        signed(header, claims, |message| {
            self.pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
        })
    }
}

/// An RSA key, for those who confuse it with a secret.
pub(crate) struct Rsa(RsaKeyPair);

impl Rsa {
    pub(crate) fn new() -> Self {
        let pkcs8 = include_bytes!("../../../auth/tests/data/rsa.pk8");
        Self(RsaKeyPair::from_pkcs8(pkcs8).unwrap())
    }

    pub(crate) fn jwk(&self) -> Value {
        let PublicKeyComponents { n, e } = PublicKeyComponents::<Vec<u8>>::from(self.0.public());
        json!({"kty": "RSA", "kid": "rsa", "alg": "RS256", "n": base64url(n), "e": base64url(e)})
    }

    pub(crate) fn public_key(&self) -> &[u8] {
        self.0.public().as_ref()
    }

    pub(crate) fn token(&self, claims: &Value) -> String {
        signed(&json!({"alg": "RS256", "kid": "rsa"}), claims, |message| {
            let mut signature = vec![0; self.0.public().modulus_len()];
            let random = SystemRandom::new();
            self.0.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).unwrap();
            signature
        })
    }
}

/// A token, signed by whatever means.
pub(crate) fn signed(
    header: &Value,
    claims: &Value,
    sign: impl FnOnce(&[u8]) -> Vec<u8>,
) -> String {
    let message = format!("{}.{}", base64url(header.to_string()), base64url(claims.to_string()));
    let signature = base64url(sign(message.as_bytes()));
    format!("{message}.{signature}")
}

/// Claims that are good for an hour, with one changed; null takes it out.
pub(crate) fn claims(name: &str, value: Value) -> Value {
    let now = now();
    let mut claims = json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "exp": now + 3600, "nbf": now - 60,
    });
    if value.is_null() {
        claims.as_object_mut().unwrap().remove(name);
    } else {
        claims[name] = value;
    }
    claims
}

pub(crate) fn good() -> Value {
    claims("sub", json!("ann"))
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

pub(crate) fn base64url(bytes: impl AsRef<[u8]>) -> String {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for group in bytes.as_ref().chunks(3) {
        let bits = group.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - group.len()));
        for i in 0..=group.len() {
            text.push(char::from(alphabet[(bits >> (18 - 6 * i) & 63) as usize]));
        }
    }
    text
}
