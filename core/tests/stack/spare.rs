//! Records whose memory is used again.

use std::sync::Weak;

use sinew_core::limit::Verdict;
use sinew_core::observe::{RequestId, TraceContext};
use sinew_core::server::SpareRecord;

use super::*;

/// A record in which nothing is left out, and what lives as long as its contents.
fn full(asked: &Asked) -> (Arc<Record>, [Weak<Principal>; 2]) {
    let origins = vec!["https://a.test".into()];
    let cors = Cors::new(CorsConfig { origins, ..CorsConfig::default() }).unwrap();
    let everyone = Rule::allow("all", Who::Anyone, Routes::Every);
    let stack = Stack::new([
        (Mode::Enforce, Box::new(Identify::default()) as BoxLayer),
        (Mode::Enforce, Box::new(cors)),
        (Mode::Enforce, Box::new(Authentication::new(challenge()).validator(Tokens))),
        (Mode::Enforce, Box::new(Access::new(vec![everyone], ["/orders"]).unwrap())),
    ]);
    let (_, mut record) = asked.pass(&stack.unwrap());
    let known = record.security.principal.clone().unwrap();
    let left = Arc::new(Principal::clone(&known));
    let alive = [Arc::downgrade(&known), Arc::downgrade(&left)];
    record.extensions.insert(left);
    record.security.peer = Some(PeerName::Dns("peer.test".into()));
    record.context.request_id = Some(RequestId::mint(1));
    record.context.deadline = Some(Instant::from_nanos(9));
    record.context.priority = Priority::Bulk;
    record.retry_after = Some(Duration::from_secs(1));
    let (quota, reset) = (QuotaId(1), Duration::ZERO);
    record.quota = Some(Outcome { verdict: Verdict::Allowed, quota, remaining: 7, reset });
    for reason in [Reason::RateLimited, Reason::Internal] {
        record.refuse(Refused { stage: Stage::Limit, reason, mode: Mode::Shadow });
    }
    (Arc::new(record), alive)
}

fn challenge() -> Challenge {
    Challenge::new("api").unwrap()
}

#[test]
fn a_spare_record_holds_nothing_and_begins_as_a_new_one() {
    let first = asked("POST", "authorization: Bearer good\r\norigin: https://a.test\r\n");
    let (mut record, alive) = full(&first);
    let place = Arc::as_ptr(&record);
    let spare = SpareRecord::of(&mut record).unwrap();
    assert!(alive.iter().all(|contents| contents.upgrade().is_none()), "dropped with the exchange");
    drop(record);
    let mut second = asked("GET", "x-request-id: a\r\n");
    second.route = None;
    let begun = spare.begin(&second.arrival());
    assert_eq!(Arc::as_ptr(&begun), place);
    assert_eq!(format!("{begun:?}"), format!("{:?}", Record::new(&second.arrival())));
}

#[test]
fn a_record_that_somebody_has_is_not_spare() {
    let request = asked("GET", "authorization: Bearer good\r\n");
    let (mut record, alive) = full(&request);
    let kept = Arc::clone(&record);
    let before = format!("{kept:?}");
    assert!(SpareRecord::of(&mut record).is_none());
    assert_eq!(format!("{kept:?}"), before);
    drop(kept);
    // Had by somebody once more, it is left to them.
    let spare = SpareRecord::of(&mut record).unwrap();
    let begun = spare.begin(&request.arrival());
    assert!(!Arc::ptr_eq(&begun, &record));
    assert!(record.context.trace.as_ref().map(TraceContext::trace_id).is_none());
    assert!(alive.iter().all(|contents| contents.upgrade().is_none()));
}
