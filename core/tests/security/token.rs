use core::time::Duration;
use std::sync::Arc;

use http::{HeaderName, StatusCode};
use proptest::prelude::*;
use sinew_core::head::RequestHead;
use sinew_core::security::{
    BadClaimConfig, BadCredential, BadRealm, BearerError, Binding, Challenge, Claim, ClaimConfig,
    ClaimPolicy, Claims, Credential, MAX_CREDENTIAL, Principal, RefusedConfig, RefusedTokens,
    Secret, SecurityContext, Subject, Thumbprint, TokenError, TokenValidator,
};
use sinew_core::time::Instant;

use super::head;

static API_KEY: HeaderName = HeaderName::from_static("x-api-key");

type Found = Result<Option<&'static str>, BadCredential>;

/// The kind and text of the credential.
fn find(fields: &[(&str, &str)]) -> Result<Option<(char, String)>, BadCredential> {
    let head = head("GET", "/", fields);
    let found = Credential::find(head.fields(), Some(&API_KEY))?;
    let text = |secret: Secret<'_>| String::from_utf8(secret.expose().to_vec()).unwrap();
    Ok(found.map(|credential| match credential {
        Credential::Bearer(secret) => ('b', text(secret)),
        Credential::ApiKey(secret) => ('k', text(secret)),
    }))
}

#[test]
fn a_bearer_token_is_exactly_the_grammar() {
    let bad: Found = Err(BadCredential::Malformed);
    for (value, expected) in [
        ("Bearer abc", Ok(Some("abc"))),
        ("bEARER abc", Ok(Some("abc"))),
        ("Bearer    abc", Ok(Some("abc"))),
        ("Bearer aZ09-._~+/==", Ok(Some("aZ09-._~+/=="))),
        ("Basic YTpi", Ok(None)),
        ("Bearerabc", Ok(None)),
        ("Bearer-x abc", Ok(None)),
        ("abc", Ok(None)),
        ("", Ok(None)),
        ("Bearer", bad),
        ("Bearer\tabc", bad),
        ("Bearer \tabc", bad),
        ("Bearer a b", bad),
        ("Bearer a,b", bad),
        ("Bearer abc, Bearer def", bad),
        ("Bearer,abc", bad),
        ("Bearer/abc", bad),
        ("Bearer =", bad),
        ("Bearer a=b", bad),
        ("Bearer \"abc\"", bad),
        ("Bearer a%62", bad),
        ("Bearer a\u{e4}", bad),
    ] {
        let found = find(&[("Authorization", value)]);
        let expected = expected.map(|text| text.map(|text| ('b', text.to_owned())));
        assert_eq!(found, expected, "{value:?}");
    }
}

#[test]
fn two_credentials_are_none() {
    let bearer = ("authorization", "Bearer abc");
    let key = ("x-api-key", "k-1");
    assert_eq!(find(&[]), Ok(None));
    assert_eq!(find(&[key]), Ok(Some(('k', "k-1".to_owned()))));
    assert_eq!(find(&[key, ("authorization", "Basic YTpi")]), Ok(Some(('k', "k-1".to_owned()))));
    for fields in [
        &[bearer, key][..],
        &[bearer, bearer],
        &[key, key],
        &[bearer, ("authorization", "Basic YTpi")],
        &[("authorization", "Basic YTpi"), bearer],
    ] {
        assert_eq!(find(fields), Err(BadCredential::Several), "{fields:?}");
    }
    let request = head("GET", "/", &[key]);
    assert_eq!(Credential::find(request.fields(), None), Ok(None));
}

#[test]
fn keys_and_lengths_have_limits() {
    for value in ["", "a b", "\u{e4}"] {
        assert_eq!(find(&[("x-api-key", value)]), Err(BadCredential::Malformed), "{value:?}");
    }
    let longest = "a".repeat(MAX_CREDENTIAL);
    for (name, prefix) in [("x-api-key", ""), ("authorization", "Bearer ")] {
        let value = |text: &str| format!("{prefix}{text}");
        assert!(find(&[(name, &value(&longest))]).is_ok_and(|found| found.is_some()));
        let longer = value(&format!("{longest}a"));
        assert_eq!(find(&[(name, &longer)]), Err(BadCredential::TooLong));
    }
}

const NOW: Duration = Duration::from_secs(1_000_000);

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn config() -> ClaimConfig {
    ClaimConfig {
        issuer: "https://idp.test".into(),
        audiences: vec!["orders".into()],
        ..ClaimConfig::default()
    }
}

/// A list of audiences that lives as long as the tests.
fn list(names: &[&str]) -> &'static [String] {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().leak()
}

fn claims() -> Claims<'static> {
    Claims {
        issuer: Some("https://idp.test"),
        subject: Some("alice"),
        audiences: list(&["mail", "orders"]),
        expires: Some(NOW + secs(60)),
        not_before: Some(NOW),
        issued_at: Some(NOW),
        certificate: None,
    }
}

#[test]
fn good_claims_pass_and_what_is_missing_is_wrong() {
    let policy = ClaimPolicy::new(config()).unwrap();
    let check = |claims: &Claims<'_>| policy.check(claims, None, NOW);
    assert_eq!(check(&claims()), Ok(()));
    let least = Claims { not_before: None, issued_at: None, ..claims() };
    assert_eq!(check(&least), Ok(()));
    for (broken, why) in [
        (Claims { issuer: None, ..claims() }, TokenError::Missing(Claim::Issuer)),
        (Claims { issuer: Some(""), ..claims() }, TokenError::Issuer),
        (Claims { issuer: Some("https://idp.test/"), ..claims() }, TokenError::Issuer),
        (Claims { issuer: Some("HTTPS://idp.test"), ..claims() }, TokenError::Issuer),
        (Claims { subject: None, ..claims() }, TokenError::Missing(Claim::Subject)),
        (Claims { subject: Some(""), ..claims() }, TokenError::Missing(Claim::Subject)),
        (Claims { audiences: &[], ..claims() }, TokenError::Missing(Claim::Audience)),
        (Claims { audiences: list(&["mail"]), ..claims() }, TokenError::Audience),
        (Claims { audiences: list(&["orders2"]), ..claims() }, TokenError::Audience),
        (Claims { expires: None, ..claims() }, TokenError::Missing(Claim::Expires)),
    ] {
        assert_eq!(check(&broken), Err(why), "{broken:?}");
    }
    // The first of several reasons, always the same one.
    let worst = Claims { expires: None, audiences: &[], ..claims() };
    assert_eq!(check(&worst), Err(TokenError::Missing(Claim::Audience)));
    assert_eq!(check(&Claims::default()), Err(TokenError::Missing(Claim::Issuer)));
}

#[test]
fn time_counts_to_the_nanosecond_and_leeway_goes_both_ways() {
    const NANO: Duration = Duration::from_nanos(1);
    for leeway in [secs(30), Duration::ZERO] {
        let policy = ClaimPolicy::new(ClaimConfig { leeway, ..config() }).unwrap();
        let at = |now| policy.check(&claims(), None, now);
        let (begin, end) = (NOW.saturating_sub(leeway), NOW + secs(60) + leeway);
        assert_eq!(at(begin.saturating_sub(NANO)), Err(TokenError::NotYetValid));
        assert_eq!(at(begin), Ok(()));
        assert_eq!(at(end.saturating_sub(NANO)), Ok(()));
        assert_eq!(at(end), Err(TokenError::Expired));
    }
    let policy = ClaimPolicy::new(config()).unwrap();
    let future = Claims { not_before: None, issued_at: Some(NOW + secs(31)), ..claims() };
    assert_eq!(policy.check(&future, None, NOW), Err(TokenError::NotYetValid));
    // The far end of time does not wrap around.
    let forever = Claims { expires: Some(Duration::MAX), ..claims() };
    assert_eq!(policy.check(&forever, None, NOW), Ok(()));
    let never = Claims { not_before: Some(Duration::MAX), ..forever };
    assert_eq!(policy.check(&never, None, NOW), Err(TokenError::NotYetValid));
}

#[test]
fn an_age_needs_a_time_of_issue() {
    let config = ClaimConfig { max_age: Some(secs(10)), ..config() };
    let policy = ClaimPolicy::new(config).unwrap();
    assert_eq!(policy.check(&claims(), None, NOW + secs(39)), Ok(()));
    assert_eq!(policy.check(&claims(), None, NOW + secs(40)), Err(TokenError::TooOld));
    let undated = Claims { issued_at: None, ..claims() };
    assert_eq!(policy.check(&undated, None, NOW), Err(TokenError::Missing(Claim::IssuedAt)));
}

#[test]
fn a_bound_token_is_good_with_its_certificate_only() {
    let (own, other) = (Thumbprint([1; 32]), Thumbprint([2; 32]));
    let free = claims();
    let bound = Claims { certificate: Some(own), ..claims() };
    let no = Err(TokenError::Binding);
    for (binding, token, peer, expected) in [
        (Binding::IfBound, &free, None, Ok(())),
        (Binding::IfBound, &free, Some(&own), Ok(())),
        (Binding::IfBound, &bound, Some(&own), Ok(())),
        (Binding::IfBound, &bound, Some(&other), no),
        (Binding::IfBound, &bound, None, no),
        (Binding::Required, &bound, Some(&own), Ok(())),
        (Binding::Required, &bound, Some(&other), no),
        (Binding::Required, &bound, None, no),
        (Binding::Required, &free, Some(&own), no),
        (Binding::Required, &free, None, no),
    ] {
        let policy = ClaimPolicy::new(ClaimConfig { binding, ..config() }).unwrap();
        assert_eq!(policy.check(token, peer, NOW), expected, "{binding:?} {token:?} {peer:?}");
    }
}

#[test]
fn a_policy_that_makes_no_sense_is_refused() {
    let empty = || vec![String::new()];
    for (config, why) in [
        (ClaimConfig::default(), BadClaimConfig::Issuer),
        (ClaimConfig { audiences: vec![], ..config() }, BadClaimConfig::Audiences),
        (ClaimConfig { audiences: empty(), ..config() }, BadClaimConfig::Audiences),
        (ClaimConfig { leeway: secs(301), ..config() }, BadClaimConfig::Leeway),
        (ClaimConfig { max_age: Some(Duration::ZERO), ..config() }, BadClaimConfig::MaxAge),
    ] {
        assert_eq!(ClaimPolicy::new(config).unwrap_err(), why);
    }
    assert!(ClaimPolicy::new(ClaimConfig { leeway: secs(300), ..config() }).is_ok());
}

const FINAL: [TokenError; 12] = [
    TokenError::Malformed,
    TokenError::TooLong,
    TokenError::Type,
    TokenError::Critical,
    TokenError::Unknown,
    TokenError::Algorithm,
    TokenError::Signature,
    TokenError::Missing(Claim::Expires),
    TokenError::Issuer,
    TokenError::Audience,
    TokenError::Expired,
    TokenError::TooOld,
];
const PASSING: [TokenError; 4] =
    [TokenError::UnknownKey, TokenError::NotYetValid, TokenError::Binding, TokenError::Unavailable];

#[test]
fn a_refusal_has_a_status_and_never_passes() {
    for error in FINAL.into_iter().chain(PASSING) {
        let expected = match error {
            TokenError::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, None),
            _ => (StatusCode::UNAUTHORIZED, Some(BearerError::InvalidToken)),
        };
        assert_eq!((error.status(), error.bearer_error()), expected, "{error}");
    }
}

fn digest(n: u64) -> [u8; 32] {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&n.to_be_bytes());
    digest
}

#[test]
fn only_what_stays_refused_is_remembered() {
    let now = Instant::ZERO;
    let mut refused = RefusedTokens::new(RefusedConfig::default());
    for (n, error) in (0..).zip(FINAL.into_iter().chain(PASSING)) {
        refused.insert(now, digest(n), error);
        assert_eq!(refused.get(now, &digest(n)), FINAL.contains(&error).then_some(error));
    }
    assert_eq!(refused.len(), FINAL.len());
    refused.clear();
    assert!(refused.is_empty() && refused.get(now, &digest(0)).is_none());
}

#[test]
fn the_memory_of_refusals_is_bounded_in_number_and_time() {
    let mut refused = RefusedTokens::new(RefusedConfig { capacity: 100, keep: secs(60) });
    // The same one again takes no second place.
    for n in core::iter::repeat_n(0, 50).chain(1..10_000) {
        refused.insert(Instant::from_nanos(n), digest(n), TokenError::Signature);
        assert!(refused.len() <= 100);
    }
    let now = Instant::from_nanos(10_000);
    assert_eq!(refused.get(now, &digest(9_900)), Some(TokenError::Signature));
    assert_eq!(refused.get(now, &digest(9_899)), None);
    let end = Instant::from_nanos(9_999) + secs(60);
    let before = Instant::from_nanos(end.as_nanos() - 1);
    assert_eq!(refused.get(before, &digest(9_999)), Some(TokenError::Signature));
    assert_eq!(refused.len(), 1);
    assert_eq!(refused.get(end, &digest(9_999)), None);
    let mut nothing = RefusedTokens::new(RefusedConfig { capacity: 0, keep: secs(60) });
    nothing.insert(now, digest(1), TokenError::Signature);
    assert!(nothing.is_empty());
}

#[test]
fn a_challenge_says_the_code_and_no_more() {
    let challenge = Challenge::new("orders, live").unwrap();
    for (error, value) in [
        (None, "Bearer realm=\"orders, live\""),
        (
            Some(BearerError::InvalidRequest),
            "Bearer realm=\"orders, live\", error=\"invalid_request\"",
        ),
        (Some(BearerError::InvalidToken), "Bearer realm=\"orders, live\", error=\"invalid_token\""),
        (
            Some(BearerError::InsufficientScope),
            "Bearer realm=\"orders, live\", error=\"insufficient_scope\"",
        ),
    ] {
        assert_eq!(challenge.value(error), value);
    }
    for realm in ["", "a\"b", "a\\b", "a\r\nb", "\u{e4}"] {
        assert_eq!(Challenge::new(realm), Err(BadRealm), "{realm:?}");
    }
    assert_eq!(BadCredential::Malformed.bearer_error().status(), StatusCode::BAD_REQUEST);
    assert_eq!(BearerError::InsufficientScope.status(), StatusCode::FORBIDDEN);
}

/// Knows one opaque token.
struct OneToken;

impl TokenValidator for OneToken {
    fn validate(
        &self,
        credential: Credential<'_>,
        _: Option<&Thumbprint>,
        _: Duration,
    ) -> Result<Arc<Principal>, TokenError> {
        match credential {
            Credential::Bearer(secret) if secret.expose() == b"hunter2" => {
                let subject = Subject::Token { issuer: "".into(), subject: "alice".into() };
                let (roles, scopes) = (Box::default(), Box::default());
                Ok(Arc::new(Principal { subject, roles, scopes, expires: None }))
            }
            Credential::Bearer(_) | Credential::ApiKey(_) => Err(TokenError::Unknown),
        }
    }
}

/// Everything that a log or an error could be made of.
#[test]
fn no_secret_is_shown() {
    let shown = |request: &RequestHead| {
        let found = Credential::find(request.fields(), Some(&API_KEY));
        let verdict = found.map(|found| found.map(|found| OneToken.validate(found, None, NOW)));
        let principal = verdict.clone().ok().flatten().and_then(Result::ok);
        let context = SecurityContext { principal, ..SecurityContext::default() };
        let errors = match &verdict {
            Err(error) => format!("{error} {error:?}"),
            Ok(Some(Err(error))) => format!("{error} {error:?}"),
            Ok(_) => String::new(),
        };
        format!("{request:?} {found:?} {verdict:?} {context:?} {:?} {errors}", context.client_key())
    };
    for (name, value) in [
        ("authorization", "Bearer hunter2"),
        ("authorization", "Bearer hunter2-forged"),
        ("authorization", "Bearer hunter2 x"),
        ("authorization", "Basic hunter2"),
        ("x-api-key", "hunter2"),
        ("x-api-key", "hunter2 x"),
    ] {
        let text = shown(&head("GET", "/a?token=hunter2", &[(name, value)]));
        assert!(text.len() > 100 && !text.contains("hunter2"), "{text}");
    }
}

proptest! {
    /// Whatever follows `Bearer`: the token comes out octet for octet, or not at all.
    #[test]
    fn nothing_is_read_into_a_token(value in "[Bb]earer[ \t]{0,2}[ -~]{0,20}") {
        let sent = value.trim_end();
        let token = sent[6..].trim_start_matches(' ');
        let letters = token.trim_end_matches('=');
        let grammar = sent[6..].starts_with(' ')
            && !letters.is_empty()
            && letters.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b));
        match find(&[("authorization", &value)]) {
            Ok(Some((kind, found))) => {
                prop_assert!(grammar, "{:?}", value);
                prop_assert_eq!((kind, &*found), ('b', token));
            }
            Ok(None) | Err(_) => prop_assert!(!grammar, "{:?}", value),
        }
    }
}
