use std::error::Error;
use std::time::Duration;

use http::{Method, StatusCode};
use sinew_core::error::Delivery;
use sinew_core::policy::Mode;
use sinew_core::resilience::{BudgetConfig, BudgetReason, NoRetry, RetryPolicy};
use sinew_tower::{Expired, Failed, RetryLayer, Tried};
use tower_layer::Layer as _;

use super::script::{Answer, Broken, Hand, Script, Step, finish, pieces, poll, request, start};

fn of_broken(error: &(dyn Error + 'static)) -> Delivery {
    match error.downcast_ref::<Broken>() {
        Some(Broken(true)) => Delivery::NotSent,
        _ => Delivery::MaybeProcessed,
    }
}

/// One call through a layer with this policy and budget.
fn call(
    policy: RetryPolicy,
    budget: BudgetConfig,
    steps: impl IntoIterator<Item = Step>,
    method: Method,
) -> (Answer, Script) {
    let (hand, script) = (Hand::default(), Script::new(steps));
    let layer = RetryLayer::new(hand.clone(), policy, budget).unwrap().deliveries(of_broken);
    let mut service = layer.layer(script.clone());
    let call = start(&mut service, request(method, "body"));
    (finish(&hand, call), script)
}

fn simple(steps: impl IntoIterator<Item = Step>, method: Method) -> (Answer, Script) {
    call(RetryPolicy::default(), BudgetConfig::default(), steps, method)
}

fn tried(answer: &Answer) -> Tried {
    match answer {
        Ok(response) => *response.extensions().get().unwrap(),
        Err(error) => error.downcast_ref::<Failed>().unwrap().tried,
    }
}

const UNAVAILABLE: Step = Step::Answer(StatusCode::SERVICE_UNAVAILABLE, &[]);
const REFUSED: Step = Step::Answer(StatusCode::SERVICE_UNAVAILABLE, &[("retry-after", "0")]);

#[test]
fn what_goes_well_is_done_once() {
    for status in [StatusCode::OK, StatusCode::NOT_FOUND] {
        let (answer, script) = simple([Step::Answer(status, &[])], Method::GET);
        assert_eq!(tried(&answer), Tried { attempts: 1, no_retry: None });
        assert_eq!(answer.unwrap().status(), status);
        assert_eq!(script.attempts(), 1);
    }
}

#[test]
fn what_was_not_processed_is_sent_again_whatever_the_method() {
    for step in [
        REFUSED,
        Step::Unsent,
        Step::Early(StatusCode::TOO_MANY_REQUESTS),
        Step::Answer(StatusCode::TOO_EARLY, &[]),
    ] {
        let (answer, script) = simple([step], Method::POST);
        assert_eq!(tried(&answer), Tried { attempts: 2, no_retry: None });
        assert_eq!(answer.unwrap().status(), StatusCode::OK);
        assert_eq!(script.state().seen.last().unwrap().2, "body");
    }
}

#[test]
fn what_may_have_been_processed_is_sent_again_where_that_does_no_harm() {
    let steps = || [UNAVAILABLE, Step::Lost, Step::Answer(StatusCode::BAD_GATEWAY, &[])];
    for (step, again) in steps().into_iter().zip(steps()) {
        let (answer, script) = simple([step], Method::PUT);
        assert_eq!((answer.is_ok(), script.attempts()), (true, 2));
        let (answer, script) = simple([again], Method::POST);
        assert_eq!(tried(&answer).no_retry.unwrap().name(), "not_repeatable".to_owned());
        assert_eq!(script.attempts(), 1);
    }
}

#[test]
fn an_idempotency_key_makes_any_method_repeatable() {
    let (hand, script) = (Hand::default(), Script::new([Step::Lost]));
    let layer = RetryLayer::new(hand.clone(), RetryPolicy::default(), BudgetConfig::default());
    let mut service = layer.unwrap().layer(script.clone());
    let mut keyed = request(Method::POST, "body");
    keyed.headers_mut().insert("idempotency-key", "\"7\"".parse().unwrap());
    let call = start(&mut service, keyed);
    assert!(finish(&hand, call).is_ok());
    let seen = &script.state().seen;
    assert_eq!(seen.len(), 2);
    assert!(
        seen.iter().all(|(_, fields, body)| fields["idempotency-key"] == "\"7\"" && body == "body")
    );
}

#[test]
fn there_is_an_end_to_attempts() {
    let (answer, script) = simple([UNAVAILABLE, UNAVAILABLE, UNAVAILABLE], Method::GET);
    assert_eq!(tried(&answer), Tried { attempts: 3, no_retry: Some(NoRetry::Attempts) });
    assert_eq!(answer.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(script.attempts(), 3);
    let (answer, _) = simple([Step::Lost, Step::Lost, Step::Lost], Method::GET);
    let error = answer.unwrap_err();
    let failed = error.downcast_ref::<Failed>().unwrap();
    assert_eq!(failed.to_string(), "failed in 3 attempts (attempts)");
    assert!(failed.error().is::<Broken>());
}

#[test]
fn retry_after_is_waited_for_and_not_beyond_the_time_of_the_call() {
    let hand = Hand::default();
    let script = Script::new([
        Step::Answer(StatusCode::SERVICE_UNAVAILABLE, &[("retry-after", "3")]),
        // Two seconds after that.
        Step::Answer(
            StatusCode::SERVICE_UNAVAILABLE,
            &[("retry-after", "Fri, 27 Nov 2026 00:00:05 GMT")],
        ),
    ]);
    let layer = RetryLayer::new(hand.clone(), RetryPolicy::default(), BudgetConfig::default());
    let layer = layer.unwrap();
    let mut call = start(&mut layer.layer(script.clone()), request(Method::GET, ""));
    for (seconds, attempts) in [(0, 1), (2, 1), (1, 2), (1, 2), (1, 3)] {
        hand.turn(Duration::from_secs(seconds));
        let done = poll(&mut call);
        assert_eq!(script.attempts(), attempts);
        assert_eq!(done.is_some(), attempts == 3);
    }

    let far = Step::Answer(StatusCode::SERVICE_UNAVAILABLE, &[("retry-after", "31")]);
    let (answer, _) = simple([far], Method::GET);
    assert_eq!(tried(&answer).no_retry, Some(NoRetry::RetryAfterBeyondDeadline));
}

#[test]
fn the_budget_ends_retries_before_they_multiply() {
    let (hand, script) = (Hand::default(), Script::default());
    script.state().steps.extend((0..1_000).map(|_| UNAVAILABLE));
    let layer = RetryLayer::new(hand.clone(), RetryPolicy::default(), BudgetConfig::default());
    let mut service = layer.unwrap().layer(script.clone());
    let mut last = None;
    for _ in 0..100 {
        let call = start(&mut service, request(Method::GET, ""));
        last = Some(tried(&finish(&hand, call)));
    }
    // Ten tokens, and a failure takes one: there are retries while more than five are left.
    assert_eq!(script.attempts(), 100 + 3);
    let why = NoRetry::Budget(BudgetReason::Throttle);
    assert_eq!(last, Some(Tried { attempts: 1, no_retry: Some(why) }));
}

#[test]
fn in_shadow_a_policy_retries_nothing_and_a_budget_forbids_nothing() {
    for mode in [Mode::Shadow, Mode::Off] {
        let policy = RetryPolicy { mode, ..RetryPolicy::default() };
        let (answer, script) = call(policy, BudgetConfig::default(), [UNAVAILABLE], Method::GET);
        assert_eq!(tried(&answer), Tried { attempts: 1, no_retry: Some(NoRetry::Off) });
        assert_eq!(script.attempts(), 1);
    }
    let tight = BudgetConfig { mode: Mode::Shadow, tokens: 2, ..BudgetConfig::default() };
    let (answer, _) = call(RetryPolicy::default(), tight, [UNAVAILABLE, UNAVAILABLE], Method::GET);
    assert_eq!(tried(&answer), Tried { attempts: 3, no_retry: None });
}

#[test]
fn the_time_of_a_call_is_for_all_its_attempts() {
    let (hand, script) = (Hand::default(), Script::new([UNAVAILABLE, Step::Hangs]));
    let layer = RetryLayer::new(hand.clone(), RetryPolicy::default(), BudgetConfig::default());
    let layer = layer.unwrap().timeout(Duration::from_secs(2));
    let call = start(&mut layer.layer(script.clone()), request(Method::GET, ""));
    let error = finish(&hand, call).unwrap_err();
    let failed = error.downcast_ref::<Failed>().unwrap();
    assert!(failed.error().is::<Expired>());
    assert_eq!(failed.tried, Tried { attempts: 2, no_retry: Some(NoRetry::Deadline) });
    assert_eq!(script.state().active, 0);
}

#[test]
fn a_call_that_is_dropped_is_over() {
    let (hand, script) = (Hand::default(), Script::new([Step::Hangs, UNAVAILABLE]));
    let layer = RetryLayer::new(hand.clone(), RetryPolicy::default(), BudgetConfig::default());
    let mut service = layer.unwrap().layer(script.clone());
    let mut hanging = start(&mut service, request(Method::GET, ""));
    assert!(poll(&mut hanging).is_none());
    assert_eq!(script.state().active, 1);
    drop(hanging);
    assert_eq!(script.state().active, 0);
    // It waits for its next attempt, and holds nothing of the client.
    let mut waiting = start(&mut service, request(Method::GET, ""));
    assert!(poll(&mut waiting).is_none());
    assert_eq!((script.attempts(), script.state().active), (2, 0));
    drop(waiting);
    hand.turn(Duration::from_secs(60));
    assert_eq!(script.attempts(), 2);
}

#[test]
fn a_body_that_is_too_large_to_keep_is_sent_once() {
    for (kept, attempts) in [(8, 2), (7, 1)] {
        let (hand, script) = (Hand::default(), Script::new([REFUSED]));
        let layer = RetryLayer::new(hand.clone(), RetryPolicy::default(), BudgetConfig::default());
        let layer = layer.unwrap().kept_bytes(kept);
        let (parts, ()) = http::Request::put("http://a.test/").body(()).unwrap().into_parts();
        let body = pieces(["two ", "more"]);
        let call = start(&mut layer.layer(script.clone()), http::Request::from_parts(parts, body));
        let answer = finish(&hand, call);
        let seen = &script.state().seen;
        assert_eq!(seen.len(), attempts);
        assert!(seen.iter().all(|(_, _, body)| body == "two more"));
        if attempts == 1 {
            assert_eq!(tried(&answer).no_retry, Some(NoRetry::BodySpent));
        }
    }
}
