//! Tokens, good and bad: each bad one is refused with its reason.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::time::Duration;

use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
};
use serde_json::{Value, json};
use sinew_auth::{Algorithm, BadJwtPolicy, Crypto, JwtPolicy, JwtValidator, JwtVerifier, KeySet};
use sinew_core::security::{
    BadClaimConfig, Binding, Claim, Credential, Secret, Subject, TokenError, TokenValidator,
};

const NOW: Duration = Duration::from_secs(1_800_000_000);
const ISSUER: &str = "https://issuer.test";
const AUDIENCE: &str = "inventory";

fn base64url(bytes: impl AsRef<[u8]>) -> String {
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

/// Signs, and knows its public key as a JWK.
enum Signer {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(Box<RsaKeyPair>, &'static dyn RsaEncoding),
}

impl Signer {
    fn es256() -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        Self::Ecdsa(EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap())
    }

    fn es384() -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P384_SHA384_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        Self::Ecdsa(EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap())
    }

    fn eddsa() -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self::Ed25519(Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap())
    }

    fn rsa(encoding: &'static dyn RsaEncoding) -> Self {
        let pkcs8 = include_bytes!("data/rsa.pk8");
        Self::Rsa(Box::new(RsaKeyPair::from_pkcs8(pkcs8).unwrap()), encoding)
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Ecdsa(key) => key.sign(&random, message).unwrap().as_ref().to_vec(),
            Self::Ed25519(key) => key.sign(message).as_ref().to_vec(),
            Self::Rsa(key, encoding) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(*encoding, &random, message, &mut signature).unwrap();
                signature
            }
        }
    }

    fn jwk(&self, id: &str) -> Value {
        match self {
            Self::Ecdsa(key) => {
                let point = &key.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                let curve = if x.len() == 32 { "P-256" } else { "P-384" };
                json!({"kty": "EC", "crv": curve, "kid": id, "x": base64url(x), "y": base64url(y)})
            }
            Self::Ed25519(key) => {
                let x = base64url(key.public_key());
                json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "x": x})
            }
            Self::Rsa(key, _) => {
                let PublicKeyComponents { n, e } =
                    PublicKeyComponents::<Vec<u8>>::from(key.public());
                json!({"kty": "RSA", "kid": id, "n": base64url(n), "e": base64url(e)})
            }
        }
    }

    fn token(&self, header: &Value, claims: &Value) -> String {
        let message =
            format!("{}.{}", base64url(header.to_string()), base64url(claims.to_string()));
        let signature = base64url(self.sign(message.as_bytes()));
        format!("{message}.{signature}")
    }
}

fn keys(jwks: &[Value]) -> KeySet {
    KeySet::from_json(json!({ "keys": jwks }).to_string().as_bytes()).unwrap()
}

fn crypto() -> Crypto {
    Crypto::built_in().unwrap()
}

fn verifier() -> JwtVerifier {
    JwtVerifier::new(JwtPolicy::new(ISSUER, AUDIENCE), crypto()).unwrap()
}

fn claims() -> Value {
    let now = NOW.as_secs();
    json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "caller", "exp": now + 60, "nbf": now - 60})
}

/// Good claims with one changed; null takes it out.
fn but(name: &str, value: Value) -> Value {
    let mut claims = claims();
    let map = claims.as_object_mut().unwrap();
    match value {
        Value::Null => map.remove(name),
        value => map.insert(name.to_owned(), value),
    };
    claims
}

#[test]
fn every_algorithm_is_checked() {
    let signers = [
        ("ES256", Signer::es256()),
        ("ES384", Signer::es384()),
        ("EdDSA", Signer::eddsa()),
        ("Ed25519", Signer::eddsa()),
        ("RS256", Signer::rsa(&RSA_PKCS1_SHA256)),
        ("PS256", Signer::rsa(&RSA_PSS_SHA256)),
    ];
    for (name, signer) in &signers {
        let keys = keys(&[signer.jwk("k")]);
        let token = signer.token(&json!({"alg": name, "kid": "k"}), &claims());
        let claims = verifier().verify(&token, &keys, NOW, None).unwrap();
        assert_eq!(claims.subject.as_deref(), Some("caller"), "{name}");
        // One bit of the signature, of the claims, of the header.
        for at in [token.len() - 5, token.len() / 3, 3] {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(verifier().verify(&changed, &keys, NOW, None).is_err(), "{name} at {at}");
        }
    }
}

/// <https://www.rfc-editor.org/rfc/rfc7515#appendix-A.3>
#[test]
fn the_published_example_is_good() {
    let key = json!({
        "kty": "EC", "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    });
    let token = "eyJhbGciOiJFUzI1NiJ9\
        .eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ\
        .DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    let verifier = JwtVerifier::new(JwtPolicy::new("joe", "nobody"), crypto()).unwrap();
    // It has no audience, which comes behind signature and issuer.
    let verified = verifier.verify(token, &keys(&[key]), Duration::from_secs(1_300_819_000), None);
    assert_eq!(verified, Err(TokenError::Missing(Claim::Audience)));
}

#[test]
fn what_the_claims_say_is_checked() {
    let signer = Signer::es256();
    let keys = keys(&[signer.jwk("k")]);
    let now = NOW.as_secs();
    let header = json!({"alg": "ES256", "kid": "k"});
    let verdict = |claims: &Value| {
        verifier().verify(&signer.token(&header, claims), &keys, NOW, None).map(|_| ())
    };
    assert_eq!(verdict(&claims()), Ok(()));
    for (name, value, expected) in [
        ("iss", json!("https://other.test"), Err(TokenError::Issuer)),
        ("iss", json!(null), Err(TokenError::Missing(Claim::Issuer))),
        ("iss", json!(7), Err(TokenError::Malformed)),
        ("aud", json!("billing"), Err(TokenError::Audience)),
        ("aud", json!(null), Err(TokenError::Missing(Claim::Audience))),
        ("aud", json!([]), Err(TokenError::Missing(Claim::Audience))),
        ("aud", json!(["billing", AUDIENCE]), Ok(())),
        ("exp", json!(null), Err(TokenError::Missing(Claim::Expires))),
        ("exp", json!(now - 30), Err(TokenError::Expired)),
        ("exp", json!(now - 29), Ok(())),
        ("exp", json!(-1), Err(TokenError::Malformed)),
        ("exp", json!("later"), Err(TokenError::Malformed)),
        ("exp", json!(1e300), Err(TokenError::Malformed)),
        ("exp", json!(1_800_000_000.5), Ok(())),
        ("nbf", json!(now + 30), Ok(())),
        ("nbf", json!(now + 31), Err(TokenError::NotYetValid)),
        ("iat", json!(now + 31), Err(TokenError::NotYetValid)),
        ("nbf", json!(null), Ok(())),
        ("sub", json!(null), Err(TokenError::Missing(Claim::Subject))),
        ("cnf", json!({"jkt": "x"}), Err(TokenError::Binding)),
        ("cnf", json!({}), Err(TokenError::Binding)),
        ("cnf", json!("x"), Err(TokenError::Malformed)),
    ] {
        assert_eq!(verdict(&but(name, value.clone())), expected, "{name}: {value}");
    }
    let scoped = signer.token(&header, &but("scope", json!("read  write")));
    let claims = verifier().verify(&scoped, &keys, NOW, None).unwrap();
    assert_eq!(claims.scopes, ["read", "write"]);
}

#[test]
fn the_key_says_which_algorithm_and_not_the_token() {
    let (ec, ed, rsa) = (Signer::es256(), Signer::eddsa(), Signer::rsa(&RSA_PKCS1_SHA256));
    let mut only_ps256 = rsa.jwk("ps");
    only_ps256["alg"] = json!("PS256");
    let keys = keys(&[ec.jwk("ec"), ed.jwk("ed"), rsa.jwk("rsa"), only_ps256]);
    let verdict = |token: &str| verifier().verify(token, &keys, NOW, None).map(|_| ());

    // No signature at all.
    for name in ["none", "None", "NONE", ""] {
        let unsigned = format!(
            "{}.{}.",
            base64url(json!({"alg": name, "kid": "ec"}).to_string()),
            base64url(claims().to_string())
        );
        assert_eq!(verdict(&unsigned), Err(TokenError::Algorithm), "{name}");
    }
    // The public key as the secret of an HMAC.
    for name in ["HS256", "HS512", "es256", "RS1", "ES512"] {
        let token = rsa.token(&json!({"alg": name, "kid": "rsa"}), &claims());
        assert_eq!(verdict(&token), Err(TokenError::Algorithm), "{name}");
    }
    // An algorithm that exists, and is not the one of the key.
    for (name, id) in [("EdDSA", "ec"), ("ES256", "ed"), ("RS256", "ps"), ("ES384", "ec")] {
        let token = ec.token(&json!({"alg": name, "kid": id}), &claims());
        assert_eq!(verdict(&token), Err(TokenError::Algorithm), "{name} with {id}");
    }
    // The right algorithm, and another key's signature.
    let token = Signer::es256().token(&json!({"alg": "ES256", "kid": "ec"}), &claims());
    assert_eq!(verdict(&token), Err(TokenError::Signature));
    // A key that the token brings itself is not looked at.
    let stranger = Signer::es256();
    let header = json!({"alg": "ES256", "kid": "ec", "jwk": stranger.jwk("ec")});
    assert_eq!(verdict(&stranger.token(&header, &claims())), Err(TokenError::Signature));
    // An id that nobody has, and none although it is not clear which key is meant.
    let token = ec.token(&json!({"alg": "ES256", "kid": "other"}), &claims());
    assert_eq!(verdict(&token), Err(TokenError::UnknownKey));
    let token = rsa.token(&json!({"alg": "PS256"}), &claims());
    assert_eq!(verdict(&token), Err(TokenError::UnknownKey));
    // With one key that fits, the id may be missing.
    assert_eq!(verdict(&ec.token(&json!({"alg": "ES256"}), &claims())), Ok(()));
}

#[test]
fn a_policy_may_take_fewer_algorithms_than_the_keys_allow() {
    let signer = Signer::es256();
    let keys = keys(&[signer.jwk("k")]);
    let mut policy = JwtPolicy::new(ISSUER, AUDIENCE);
    policy.algorithms = vec![Algorithm::EdDsa];
    let verifier = JwtVerifier::new(policy, crypto()).unwrap();
    let token = signer.token(&json!({"alg": "ES256", "kid": "k"}), &claims());
    assert_eq!(verifier.verify(&token, &keys, NOW, None), Err(TokenError::Algorithm));
}

#[test]
fn a_policy_that_takes_nothing_is_refused() {
    let audiences = BadJwtPolicy::Claims(BadClaimConfig::Audiences);
    for (spoil, why) in [
        ((|policy| policy.claims.audiences.clear()) as fn(&mut JwtPolicy), audiences),
        (|policy| policy.claims.audiences.push(String::new()), audiences),
        (|policy| policy.claims.issuer.clear(), BadJwtPolicy::Claims(BadClaimConfig::Issuer)),
        (|policy| policy.algorithms.clear(), BadJwtPolicy::Algorithms),
    ] {
        let mut policy = JwtPolicy::new(ISSUER, AUDIENCE);
        spoil(&mut policy);
        assert_eq!(JwtVerifier::new(policy, crypto()).err(), Some(why));
    }
}

#[test]
fn a_header_that_asks_for_more_is_refused() {
    let signer = Signer::es256();
    let keys = keys(&[signer.jwk("k")]);
    let header = json!({"alg": "ES256", "kid": "k", "crit": ["exp"]});
    let token = signer.token(&header, &claims());
    assert_eq!(verifier().verify(&token, &keys, NOW, None), Err(TokenError::Critical));

    let mut policy = JwtPolicy::new(ISSUER, AUDIENCE);
    policy.token_type = Some("at+jwt".into());
    let strict = JwtVerifier::new(policy, crypto()).unwrap();
    for (header, expected) in [
        (json!({"alg": "ES256", "typ": "at+jwt"}), Ok(())),
        (json!({"alg": "ES256", "typ": "application/AT+JWT"}), Ok(())),
        (json!({"alg": "ES256", "typ": "JWT"}), Err(TokenError::Type)),
        (json!({"alg": "ES256"}), Err(TokenError::Type)),
    ] {
        let token = signer.token(&header, &claims());
        assert_eq!(strict.verify(&token, &keys, NOW, None).map(|_| ()), expected, "{header}");
    }
}

#[test]
fn what_is_no_token_is_malformed() {
    let signer = Signer::es256();
    let keys = keys(&[signer.jwk("k")]);
    let good = signer.token(&json!({"alg": "ES256"}), &claims());
    let twice = {
        let header = base64url(r#"{"alg":"ES256","alg":"ES256"}"#);
        format!("{header}{}", &good[good.find('.').unwrap()..])
    };
    let padded = format!("{good}=");
    let four = format!("{good}.e30");
    let long = format!("{good}{}", "A".repeat(8 * 1024));
    for (bad, expected) in [
        ("", TokenError::Malformed),
        ("a", TokenError::Malformed),
        ("a.b", TokenError::Malformed),
        ("..", TokenError::Malformed),
        ("e30.e30.", TokenError::Malformed),
        (&padded, TokenError::Malformed),
        (&four, TokenError::Malformed),
        (&twice, TokenError::Malformed),
        (&long, TokenError::TooLong),
    ] {
        assert_eq!(verifier().verify(bad, &keys, NOW, None), Err(expected), "{bad:.40}");
    }
    // JSON that is signed and no set of claims.
    let message = format!("{}.{}", base64url(r#"{"alg":"ES256"}"#), base64url("[]"));
    let token = format!("{message}.{}", base64url(signer.sign(message.as_bytes())));
    assert_eq!(verifier().verify(&token, &keys, NOW, None), Err(TokenError::Malformed));
}

/// <https://www.rfc-editor.org/rfc/rfc8705#section-3>
#[test]
fn a_bound_token_is_good_with_its_certificate_only() {
    let signer = Signer::es256();
    let keys = keys(&[signer.jwk("k")]);
    let (mine, other) = (crypto().thumbprint(b"mine"), crypto().thumbprint(b"other"));
    let header = json!({"alg": "ES256"});
    let bound = signer.token(&header, &but("cnf", json!({"x5t#S256": base64url(mine.0)})));
    // Two proofs, of which only one can be checked here.
    let both = json!({"x5t#S256": base64url(mine.0), "jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"});
    let both = signer.token(&header, &but("cnf", both));
    let unbound = signer.token(&header, &claims());
    let mut policy = JwtPolicy::new(ISSUER, AUDIENCE);
    policy.claims.binding = Binding::Required;
    let strict = JwtVerifier::new(policy, crypto()).unwrap();
    for (verifier, token, certificate, expected) in [
        (&verifier(), &bound, Some(&mine), Ok(())),
        (&verifier(), &bound, Some(&other), Err(TokenError::Binding)),
        (&verifier(), &bound, None, Err(TokenError::Binding)),
        (&verifier(), &both, Some(&mine), Err(TokenError::Binding)),
        (&verifier(), &unbound, Some(&other), Ok(())),
        (&strict, &bound, Some(&mine), Ok(())),
        (&strict, &unbound, Some(&mine), Err(TokenError::Binding)),
    ] {
        assert_eq!(verifier.verify(token, &keys, NOW, certificate).map(|_| ()), expected);
    }
}

#[test]
fn a_validator_knows_the_tokens_of_its_keys_and_no_api_keys() {
    let signer = Signer::es256();
    let mut claims = but("scope", json!("read write"));
    claims["roles"] = json!(["admin", 7]);
    let token = signer.token(&json!({"alg": "ES256"}), &claims);
    let validator = JwtValidator::new(verifier(), keys(&[signer.jwk("k")]));
    let bearer = Credential::Bearer(Secret::new(token.as_bytes()));
    let principal = validator.validate(bearer, None, NOW).unwrap();
    let subject = Subject::Token { issuer: ISSUER.into(), subject: "caller".into() };
    assert_eq!(principal.subject, subject);
    assert_eq!(
        (&*principal.roles, &*principal.scopes),
        (&["admin".into()][..], &["read".into(), "write".into()][..])
    );
    assert_eq!(principal.expires, Some(NOW + Duration::from_secs(60)));
    let late = NOW + Duration::from_secs(90);
    assert_eq!(validator.validate(bearer, None, late), Err(TokenError::Expired));
    let key = Credential::ApiKey(Secret::new(token.as_bytes()));
    assert_eq!(validator.validate(key, None, NOW), Err(TokenError::Unknown));
}

#[test]
fn nothing_of_a_token_shows_in_debug_output() {
    let signer = Signer::es256();
    let keys = keys(&[signer.jwk("k")]);
    let token = signer.token(&json!({"alg": "ES256"}), &but("secret", json!("hush")));
    let claims = verifier().verify(&token, &keys, NOW, None).unwrap();
    let shown = format!("{claims:?} {keys:?} {:?}", verifier());
    assert!(!shown.contains("hush") && !shown.contains("caller"), "{shown}");
}
