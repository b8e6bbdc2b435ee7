//! Sets of keys, and how they are kept fresh.

#![expect(clippy::unwrap_used, reason = "outside of `#[test]` too, a test stops where it is wrong")]

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sinew_auth::{
    Algorithm, ApiKeys, BadJwks, BadJwksPolicy, BadKey, Crypto, Fetch, Jwks, JwksPolicy, KeySet,
    Lookup, OpaqueTokens,
};
use sinew_core::Machine;
use sinew_core::security::{
    Credential, KeyDigest, Principal, Secret, Subject, TokenError, TokenValidator,
};
use sinew_core::time::{Instant, Timer};

/// <https://www.rfc-editor.org/rfc/rfc7517#appendix-A.1>
fn ec(id: &str) -> Value {
    json!({
        "kty": "EC", "crv": "P-256", "kid": id,
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
    })
}

fn set(keys: &[Value]) -> Vec<u8> {
    json!({ "keys": keys }).to_string().into_bytes()
}

fn keys(keys: &[Value]) -> KeySet {
    KeySet::from_json(&set(keys)).unwrap()
}

fn at(seconds: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(seconds)
}

#[test]
fn keys_that_cannot_be_used_are_left_out() {
    let mut encrypts = ec("encrypts");
    encrypts["use"] = json!("enc");
    let mut signs = ec("signs");
    signs["key_ops"] = json!(["sign"]);
    let mut short = ec("short");
    short["x"] = json!("AAAA");
    let mut other_curve = ec("other-curve");
    other_curve["crv"] = json!("P-521");
    let mut other_algorithm = ec("other-algorithm");
    other_algorithm["alg"] = json!("ES384");
    let mut padded = ec("padded");
    padded["y"] = json!("4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM=");
    let secret = json!({"kty": "oct", "kid": "secret", "k": "AAAA"});
    let mut good = ec("good");
    good["use"] = json!("sig");
    good["key_ops"] = json!(["verify"]);
    good["alg"] = json!("ES256");
    let all =
        [encrypts, signs, short, other_curve, other_algorithm, padded, secret, good, json!(7)];
    let keys = KeySet::from_json(&set(&all)).unwrap();
    let ids: Vec<_> = keys.keys().iter().map(|key| key.id()).collect();
    assert_eq!(ids, [Some("good")]);
    assert!(keys.keys()[0].allows(Algorithm::Es256) && !keys.keys()[0].allows(Algorithm::Es384));
}

#[test]
fn a_set_that_makes_no_sense_is_refused() {
    let many: Vec<Value> = (0..101).map(|i| ec(&i.to_string())).collect();
    let long = vec![b' '; 256 * 1024 + 1];
    for (json, expected) in [
        (b"".to_vec(), BadJwks::Malformed),
        (b"[]".to_vec(), BadJwks::Malformed),
        (b"{}".to_vec(), BadJwks::Malformed),
        (set(&[]), BadJwks::Empty),
        (set(&[json!({"kty": "oct"})]), BadJwks::Empty),
        (set(&[ec("a"), ec("a")]), BadJwks::Ambiguous),
        (set(&many), BadJwks::TooLarge),
        (long, BadJwks::TooLarge),
    ] {
        assert_eq!(KeySet::from_json(&json), Err(expected));
    }
    assert!(KeySet::from_json(&set(&many[..100])).is_ok());
}

fn find<'a>(jwks: &'a mut Jwks, now: Instant, id: &str) -> Lookup<'a> {
    jwks.find(now, Some(id), Algorithm::Es256)
}

fn fetches(jwks: &mut Jwks, now: Instant) -> bool {
    jwks.poll_event(now).unwrap() == Some(Fetch)
}

#[test]
fn keys_are_fetched_at_once_and_again_before_they_are_old() {
    let mut jwks = Jwks::new(JwksPolicy::default(), at(0)).unwrap();
    assert_eq!(find(&mut jwks, at(0), "a"), Lookup::Pending);
    assert!(fetches(&mut jwks, at(0)));
    assert!(!fetches(&mut jwks, at(1)), "one at a time");
    assert_eq!(jwks.deadline().map(|d| (d.at, d.why)), Some((at(10), Timer::KeyFetch)));
    jwks.handle_keys(at(2), keys(&[ec("a")]));
    assert!(matches!(find(&mut jwks, at(2), "a"), Lookup::Keys(_)));
    assert_eq!(jwks.deadline().map(|d| (d.at, d.why)), Some((at(302), Timer::KeyRefresh)));
    assert!(!fetches(&mut jwks, at(301)));
    assert!(fetches(&mut jwks, at(302)));
    // While it runs, the old ones serve.
    assert!(matches!(find(&mut jwks, at(303), "a"), Lookup::Keys(_)));
}

#[test]
fn a_flood_of_unknown_ids_asks_once_in_thirty_seconds() {
    let mut jwks = Jwks::new(JwksPolicy::default(), at(0)).unwrap();
    assert!(fetches(&mut jwks, at(0)));
    jwks.handle_keys(at(0), keys(&[ec("a")]));
    let mut fetched = 0;
    for step in 0..3000 {
        // Ten a second for five minutes, no id twice.
        let now = Instant::ZERO + Duration::from_millis(100 * step);
        let _ = find(&mut jwks, now, &format!("unknown-{step}"));
        if fetches(&mut jwks, now) {
            fetched += 1;
            jwks.handle_keys(now, keys(&[ec("a")]));
        }
    }
    assert_eq!(fetched, 9, "at 30, 60, ... 270");
}

#[test]
fn a_new_key_is_found_as_soon_as_it_may_be_asked_for() {
    let mut jwks = Jwks::new(JwksPolicy::default(), at(0)).unwrap();
    assert!(fetches(&mut jwks, at(0)));
    jwks.handle_keys(at(0), keys(&[ec("old")]));
    assert_eq!(find(&mut jwks, at(10), "new"), Lookup::Unknown, "too soon after the last fetch");
    assert_eq!(find(&mut jwks, at(30), "new"), Lookup::Pending);
    assert!(fetches(&mut jwks, at(30)));
    assert_eq!(find(&mut jwks, at(31), "new"), Lookup::Pending);
    jwks.handle_keys(at(31), keys(&[ec("new")]));
    assert!(matches!(find(&mut jwks, at(31), "new"), Lookup::Keys(_)));
    assert!(!matches!(find(&mut jwks, at(31), "old"), Lookup::Keys(_)), "rotated out");
}

#[test]
fn an_id_that_a_fresh_set_does_not_have_is_not_asked_for_again() {
    let policy = JwksPolicy { refresh: Duration::from_secs(3000), ..JwksPolicy::default() };
    let mut jwks = Jwks::new(policy, at(0)).unwrap();
    assert!(fetches(&mut jwks, at(0)));
    jwks.handle_keys(at(0), keys(&[ec("a")]));
    assert_eq!(find(&mut jwks, at(30), "b"), Lookup::Pending);
    assert!(fetches(&mut jwks, at(30)));
    jwks.handle_keys(at(30), keys(&[ec("a")]));
    assert_eq!(find(&mut jwks, at(90), "b"), Lookup::Unknown);
    assert_eq!(find(&mut jwks, at(329), "b"), Lookup::Unknown);
    assert_eq!(find(&mut jwks, at(330), "b"), Lookup::Pending, "after five minutes");
    // An id without end is not even remembered.
    assert_eq!(find(&mut jwks, at(330), &"x".repeat(129)), Lookup::Unknown);
}

#[test]
fn a_failed_fetch_says_nothing_about_an_id() {
    let mut jwks = Jwks::new(JwksPolicy::default(), at(0)).unwrap();
    assert!(fetches(&mut jwks, at(0)));
    jwks.handle_keys(at(0), keys(&[ec("a")]));
    assert_eq!(find(&mut jwks, at(30), "b"), Lookup::Pending);
    assert!(fetches(&mut jwks, at(30)));
    jwks.handle_failure(at(31));
    assert_eq!(find(&mut jwks, at(31), "b"), Lookup::Unknown, "not before the interval is over");
    assert_eq!(jwks.deadline().map(|d| d.at), Some(at(60)));
    assert_eq!(find(&mut jwks, at(60), "b"), Lookup::Pending);
}

#[test]
fn only_so_many_ids_are_remembered() {
    let policy = JwksPolicy {
        negative_entries: 2,
        refresh: Duration::from_secs(3000),
        ..JwksPolicy::default()
    };
    let mut jwks = Jwks::new(policy, at(0)).unwrap();
    assert!(fetches(&mut jwks, at(0)));
    jwks.handle_keys(at(0), keys(&[ec("a")]));
    for (i, id) in (1..).zip(["b", "c", "d"]) {
        assert_eq!(find(&mut jwks, at(30 * i), id), Lookup::Pending);
        assert!(fetches(&mut jwks, at(30 * i)));
        jwks.handle_keys(at(30 * i), keys(&[ec("a")]));
    }
    assert_eq!(find(&mut jwks, at(120), "c"), Lookup::Unknown);
    assert_eq!(find(&mut jwks, at(120), "d"), Lookup::Unknown);
    assert_eq!(find(&mut jwks, at(120), "b"), Lookup::Pending, "the oldest was forgotten");
}

#[test]
fn stale_keys_serve_for_a_bounded_time() {
    let mut jwks = Jwks::new(JwksPolicy::default(), at(0)).unwrap();
    assert!(fetches(&mut jwks, at(0)));
    jwks.handle_keys(at(0), keys(&[ec("a")]));
    let mut now = 300;
    while now < 3600 {
        assert!(fetches(&mut jwks, at(now)), "{now}");
        assert!(matches!(find(&mut jwks, at(now), "a"), Lookup::Keys(_)), "{now}");
        jwks.handle_failure(at(now + 1));
        now += 30;
    }
    assert!(fetches(&mut jwks, at(3600)));
    jwks.handle_failure(at(3601));
    assert_eq!(find(&mut jwks, at(3601), "a"), Lookup::Stale);
}

#[test]
fn a_fetch_that_takes_too_long_has_failed() {
    let mut jwks = Jwks::new(JwksPolicy::default(), at(0)).unwrap();
    assert!(fetches(&mut jwks, at(0)));
    jwks.handle_timeout(at(10));
    assert_eq!(find(&mut jwks, at(10), "a"), Lookup::Stale);
    assert_eq!(jwks.deadline().map(|d| d.at), Some(at(30)));
    assert!(fetches(&mut jwks, at(30)));
}

#[test]
fn a_policy_that_makes_no_sense_is_refused() {
    let zero = Duration::ZERO;
    for (policy, why) in [
        (JwksPolicy { refresh: zero, ..JwksPolicy::default() }, BadJwksPolicy::Zero),
        (JwksPolicy { interval: zero, ..JwksPolicy::default() }, BadJwksPolicy::Zero),
        (JwksPolicy { timeout: zero, ..JwksPolicy::default() }, BadJwksPolicy::Zero),
        (JwksPolicy { negative: zero, ..JwksPolicy::default() }, BadJwksPolicy::Zero),
        (
            JwksPolicy { stale: Duration::from_secs(300), ..JwksPolicy::default() },
            BadJwksPolicy::Stale,
        ),
    ] {
        assert_eq!(Jwks::new(policy, at(0)).err(), Some(why), "{policy:?}");
    }
}

#[test]
fn api_keys_are_found_by_their_hashes() {
    let crypto = Crypto::built_in().unwrap();
    let mut keys = ApiKeys::new(crypto);
    let (mine, yours) = ("0123456789abcdef012345", "fedcba9876543210fedcba");
    assert_eq!(keys.insert(mine, "me"), Ok(()));
    assert_eq!(keys.insert(yours, "you"), Ok(()));
    assert_eq!(keys.insert(mine, "again"), Err(BadKey::Duplicate));
    assert_eq!(keys.insert(&mine[1..], "short"), Err(BadKey::TooShort));
    // SHA-256 of "abc": https://www.rfc-editor.org/rfc/rfc6234#section-8.5
    let abc = [
        0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22,
        0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00,
        0x15, 0xad,
    ];
    assert_eq!(keys.insert_hash(abc, "abc"), Ok(()));
    assert_eq!(keys.find(mine), Some(&"me"));
    assert_eq!(keys.find(yours), Some(&"you"));
    assert_eq!(keys.find("abc"), Some(&"abc"));
    assert_eq!(keys.find("abd"), None);
    assert_eq!(keys.find(""), None);
    assert_eq!(format!("{keys:?}"), "ApiKeys(3)");
}

#[test]
fn api_keys_and_opaque_tokens_are_good_until_they_end() {
    let text = "0123456789abcdef012345";
    let subject = Subject::ApiKey { label: "ci".into(), digest: KeyDigest([7; 32]) };
    let end = Duration::from_secs(1000);
    let principal =
        Principal { subject, roles: Box::default(), scopes: Box::default(), expires: Some(end) };
    let mut keys = ApiKeys::new(Crypto::built_in().unwrap());
    keys.insert(text, Arc::new(principal.clone())).unwrap();
    let key = Credential::ApiKey(Secret::new(text.as_bytes()));
    let before = Duration::from_secs(999);
    assert_eq!(keys.validate(key, None, before).as_deref(), Ok(&principal));
    assert_eq!(keys.validate(key, None, end), Err(TokenError::Expired));
    let other = Credential::ApiKey(Secret::new(b"0123456789abcdef012346"));
    assert_eq!(keys.validate(other, None, before), Err(TokenError::Unknown));
    let bearer = Credential::Bearer(Secret::new(text.as_bytes()));
    assert_eq!(keys.validate(bearer, None, before), Err(TokenError::Unknown));

    let tokens = OpaqueTokens(keys);
    assert_eq!(tokens.validate(bearer, None, before).as_deref(), Ok(&principal));
    assert_eq!(tokens.validate(bearer, None, end), Err(TokenError::Expired));
    assert_eq!(tokens.validate(key, None, before), Err(TokenError::Unknown), "a key is no token");
    let stranger = Credential::Bearer(Secret::new(b"0123456789abcdef012346"));
    assert_eq!(tokens.validate(stranger, None, before), Err(TokenError::Unknown));
}
