//! Records of what matters to security.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use sinew_core::error::{self, Error, Violation};
use sinew_core::limit::{QuotaId, Verdict};
use sinew_core::machine::CloseReason;
use sinew_core::observe::audit::{Kind, MAX_DETAILS, MAX_TEXT, Queue, Record, Severity, Value};
use sinew_core::observe::{Event, RequestId};
use sinew_core::policy::{Mode, Refused, Stage};
use sinew_core::problem::Ids;
use sinew_core::reason::Reason;
use sinew_core::security::{
    CredentialVerdict, KeyDigest, PeerName, Principal, Secret, SecurityContext, Subject, TokenError,
};

const NO_IDS: &Ids = &Ids { request: None, trace: None };

fn record<'a>(details: &'a [(&'static str, Value<'a>)]) -> Record<'a> {
    let unix = Duration::from_millis(1_795_754_195_123);
    Record { kind: Kind::AccessDenied, unix, ids: NO_IDS, who: None, details }
}

fn principal(subject: Subject) -> Arc<Principal> {
    let none = || Vec::<Box<str>>::new().into_boxed_slice();
    Arc::new(Principal { subject, roles: none(), scopes: none(), expires: None })
}

#[test]
fn a_record_says_who_and_what() {
    let who = SecurityContext {
        peer: Some(PeerName::Spiffe("spiffe://mesh/orders".into())),
        principal: Some(principal(Subject::Token {
            issuer: "https://a".into(),
            subject: "ann\"\n".into(),
        })),
        peer_address: Some("10.0.0.1".parse().unwrap()),
        client_address: Some("192.0.2.1".parse().unwrap()),
    };
    let ids = Ids { request: Some(RequestId::mint(7)), trace: std::num::NonZeroU128::new(0xabc) };
    let details = [("route", Value::Text("/orders/{id}")), ("reason", Reason::Forbidden.into())];
    let record = Record { ids: &ids, who: Some(&who), ..record(&details) };
    assert_eq!(
        record.to_json(1),
        concat!(
            r#"{"seq":1,"time":"2026-11-27T04:36:35.123Z","kind":"access_denied","#,
            r#""severity":"warning","request_id":"00000000000000000000000000000007","#,
            r#""trace_id":"00000000000000000000000000000abc","peer_spiffe":"spiffe://mesh/orders","#,
            r#""issuer":"https://a","subject":"ann\"\u000a","client":"192.0.2.1","peer":"10.0.0.1","#,
            r#""details":{"route":"/orders/{id}","reason":"forbidden"}}"#
        )
    );
}

#[test]
fn a_record_is_bounded() {
    let long = "ä".repeat(MAX_TEXT);
    let details = vec![("text", Value::Text(&long)); MAX_DETAILS + 2];
    let line = record(&details).to_json(1);
    assert!(line.len() < 20 + MAX_DETAILS * (MAX_TEXT + 16) + 200, "{}", line.len());
    assert!(line.ends_with(r#"ä…"},"cut":2}"#), "{line}");
    assert!(!record(&details[..MAX_DETAILS]).to_json(1).contains("cut"));
}

#[test]
fn the_ten_kinds_have_names_and_severities() {
    let names: BTreeSet<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
    assert_eq!(names.len(), 10);
    assert!(Kind::AuthSuccess.severity() < Kind::AuthFailure.severity());
    assert_eq!(Kind::SuspiciousActivity.severity(), Severity::Critical);
    let credential = |verdict| Kind::of(&Event::Credential { exchange: 1, verdict });
    assert_eq!(credential(CredentialVerdict::Good), Some(Kind::AuthSuccess));
    assert_eq!(credential(CredentialVerdict::Absent), None);
    let refused = CredentialVerdict::Refused(TokenError::Expired);
    assert_eq!(credential(refused), Some(Kind::AuthFailure));
    let verdict = Verdict::Allowed;
    assert_eq!(Kind::of(&Event::Quota { exchange: 1, quota: QuotaId(0), verdict }), None);
    assert_eq!(Kind::of(&Event::Closed(CloseReason::Done)), None);
}

#[test]
fn what_does_not_fit_is_counted_in_its_place() {
    let size = record(&[]).to_json(1).len();
    let mut queue = Queue::new(2 * size);
    for _ in 0..5 {
        queue.push(&record(&[]));
    }
    assert_eq!((queue.bytes(), queue.sequence(), queue.lost()), (2 * size, 5, 3));
    assert!(queue.pop().unwrap().starts_with(r#"{"seq":1,"#));
    // One would fit, but not with the line that says what is missing before it.
    queue.push(&record(&[]));
    assert_eq!(queue.lost(), 4);
    assert!(queue.pop().unwrap().starts_with(r#"{"seq":2,"#));
    queue.push(&record(&[]));
    let gap = r#"{"seq":6,"time":"2026-11-27T04:36:35.123Z","kind":"lost","first":3,"last":6}"#;
    assert_eq!(queue.pop().unwrap(), gap);
    assert!(queue.pop().unwrap().starts_with(r#"{"seq":7,"#));
    assert_eq!((queue.pop(), queue.bytes()), (None, 0));
    // Once all is written, what was lost last is told, too.
    let mut queue = Queue::new(0);
    queue.push(&record(&[]));
    assert!(queue.pop().unwrap().ends_with(r#""kind":"lost","first":1,"last":1}"#));
    assert_eq!(queue.pop(), None);
}

/// Nobody writes: requests go on, memory stays, and nothing is forgotten without being counted.
#[test]
fn a_blocked_writer_costs_a_fixed_number_of_bytes() {
    let mut queue = Queue::new(Queue::CAP);
    for _ in 0..100_000 {
        queue.push(&record(&[("route", Value::Text("/orders/{id}"))]));
        assert!(queue.bytes() <= Queue::CAP);
    }
    let written = std::iter::from_fn(|| queue.pop()).filter(|line| !line.contains("lost")).count();
    assert_eq!(written as u64 + queue.lost(), 100_000);
    assert!(written > 4_000, "{written}");
}

proptest! {
    /// No secret gets into a record, whatever it is.
    #[test]
    fn secrets_stay_out(secret in "[A-Za-z0-9+/=_-]{12,60}") {
        let details = [("credential", Value::from(Secret::new(secret.as_bytes())))];
        let mut digest = [0; 32];
        digest[..12].copy_from_slice(&secret.as_bytes()[..12]);
        let subject = Subject::ApiKey { label: "batch".into(), digest: KeyDigest(digest) };
        let who = SecurityContext { principal: Some(principal(subject)), ..SecurityContext::default() };
        let record = Record { who: Some(&who), ..record(&details) };
        let shown = format!("{} {record:?}", record.to_json(1));
        prop_assert!(!shown.contains(&secret), "{shown}");
        prop_assert!(shown.contains(r#""api_key":"batch","#), "{shown}");
    }

    /// Lines come in order, and with what was lost they are all there are.
    #[test]
    fn every_number_is_told_once(script in prop::collection::vec(any::<bool>(), 0..200), room in 0..6_usize) {
        let mut queue = Queue::new(room * record(&[]).to_json(1).len());
        let mut next = 1;
        let mut told = |line: &str| {
            let number = |name: &str| -> Option<u64> {
                let (_, rest) = line.split_once(&format!("\"{name}\":"))?;
                rest.split([',', '}']).next()?.parse().ok()
            };
            assert_eq!(number("first").or_else(|| number("seq")), Some(next), "{line}");
            next = number("seq").unwrap() + 1;
        };
        for push in script {
            if push {
                queue.push(&record(&[]));
            } else if let Some(line) = queue.pop() {
                told(&line);
            }
        }
        while let Some(line) = queue.pop() {
            told(&line);
        }
        prop_assert_eq!(next, queue.sequence() + 1);
    }
}

#[test]
fn what_no_honest_client_does_is_suspicious() {
    let failed = |violation| {
        Event::Failed(Error {
            kind: error::Kind::Peer(violation),
            phase: error::Phase::RequestHead,
            delivery: error::Delivery::NotSent,
        })
    };
    for violation in [Violation::LengthAndCoding, Violation::ContentLength, Violation::LineEnd] {
        assert_eq!(Kind::of(&failed(violation)), Some(Kind::SuspiciousActivity));
    }
    assert_eq!(Kind::of(&failed(Violation::VersionUnsupported)), None);
    let refused = |stage| Event::Refused {
        exchange: 1,
        refused: Refused { stage, reason: Reason::RateLimited, mode: Mode::Enforce },
    };
    assert_eq!(Kind::of(&refused(Stage::Shield)), Some(Kind::SuspiciousActivity));
    assert_eq!(Kind::of(&refused(Stage::Limit)), None, "the verdict says so already");
}
