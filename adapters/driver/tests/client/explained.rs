//! What a call says of itself, in virtual time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use sinew_core::client::dispatcher::{Cause, Ended, Outcome as Ends, Refusal};
use sinew_core::client::redirect::{Reach, RedirectPolicy};
use sinew_core::observe::Event;
use sinew_core::resilience::{Forced, NoRetry, RetryDelay, RetryPolicy};
use sinew_driver::{ErrorKind, RestClient};

use crate::support::Sim;
use crate::support::calling::{Calling, OK, calling, failed, millis};

const BUSY: &str = "HTTP/1.1 503 No\r\nretry-after: 2\r\ncontent-length: 4\r\n\r\nbusy";

fn retrying() -> Calling {
    calling(|builder| builder.retry(RetryPolicy::default()))
}

#[test]
fn an_answer_says_what_it_took() {
    let world = retrying();
    let outcome = world.start(world.client.get("/").explain());
    let server = world.sim.accepted();
    world.sim.advance(millis(5));
    server.send(BUSY);
    world.sim.run();
    world.sim.advance(Duration::from_secs(2));
    let response = world.answer(&server, &outcome, OK);
    let explained = response.explanation().expect("it was to be explained");
    assert_eq!(
        explained.to_string(),
        "attempt 1: 192.0.2.1:80, on a new connection after 0.0ns; 503 after 5.0ms, refused\n\
         attempt 2, 2.0s later as Retry-After asks: 192.0.2.1:80, on a kept connection; 200 after 0.0ns\n"
    );
    let attempts = &explained.history().unwrap().attempts;
    let cause = Cause::Retry { after: Duration::from_secs(2), delay: RetryDelay::RetryAfter };
    assert_eq!(attempts.iter().map(|one| one.cause).collect::<Vec<_>>(), [Cause::First, cause]);
    assert_eq!(explained.requests().len(), 1);
}

#[test]
fn nothing_is_kept_of_a_call_that_is_not_to_be_explained() {
    let world = retrying();
    let (server, response) = world.first(OK);
    assert!(response.explanation().is_none());
    world.bytes(response).unwrap();
    // Nor while another one is.
    let explained = world.start(world.client.get("/").explain());
    assert!(!server.received().is_empty());
    let other = world.get();
    let second = world.sim.accepted();
    let response = world.answer(&second, &other, OK);
    assert!(response.explanation().is_none());
    server.send(OK);
    world.sim.run();
    let response = explained.take().unwrap().unwrap();
    let explained = response.explanation().unwrap();
    assert_eq!(explained.history().unwrap().attempts.len(), 1, "{explained}");
}

#[test]
fn an_error_says_what_each_attempt_failed_with() {
    let world = retrying();
    let outcome = world.start(world.client.post("/").explain());
    world.sim.accepted().reset();
    world.sim.run();
    let error = failed(&outcome);
    let explained = error.explanation().expect("it was to be explained");
    let history = explained.history().unwrap();
    assert_eq!(history.no_retry, Some(NoRetry::NotRepeatable));
    assert!(matches!(history.attempts[0].ended, Some(Ended::Failed(_))), "{explained}");
    let [(1, own)] = explained.requests()[0].errors() else { panic!("{explained}") };
    assert_eq!((own.kind(), own.delivery()), (error.kind(), error.delivery()));
    let text = explained.to_string();
    assert!(text.contains("no further attempt: not_repeatable\nattempt 1 failed: "), "{text}");
}

#[test]
fn a_refusal_says_who_refused() {
    let world = retrying();
    world.client.force_endpoint("192.0.2.1:80", Some(Forced::Open)).unwrap();
    let error = failed(&world.start(world.client.get("/").explain()));
    assert!(matches!(error.kind(), ErrorKind::Refused(Refusal::Breaker { .. })));
    let history = error.explanation().unwrap().history().unwrap();
    assert!(history.attempts.is_empty());
    assert!(matches!(history.outcome, Some(Ends::Refused(Refusal::Breaker { .. }))));
}

#[test]
fn a_deadline_says_where_the_time_went() {
    let world = retrying();
    let outcome = world.start(world.client.get("/").timeout(millis(300)).explain());
    world.sim.accepted();
    world.sim.advance(millis(300));
    let error = failed(&outcome);
    let explained = error.explanation().unwrap().to_string();
    assert_eq!(
        explained.lines().collect::<Vec<_>>(),
        [
            "attempt 1: 192.0.2.1:80, on a new connection after 0.0ns; cut by the deadline after 300.0ms",
            "deadline exceeded in the response head",
            "attempt 1 failed: deadline exceeded in the response head",
        ]
    );
}

#[test]
fn a_call_that_the_client_stops_is_given_up() {
    let world = retrying();
    let sent = world.start(world.client.get("/").explain());
    world.sim.accepted();
    let client = world.client.clone();
    world.sim.start(async move { client.close(Duration::ZERO).await });
    world.sim.run();
    let error = failed(&sent);
    assert_eq!(*error.kind(), ErrorKind::Stopped);
    assert_eq!(
        error.explanation().unwrap().to_string(),
        "attempt 1: 192.0.2.1:80, on a new connection after 0.0ns; given up\n"
    );
}

/// The errors of attempts have no source; that of the call is the one to ask.
#[test]
fn as_many_errors_as_attempts_are_told() {
    let retry = RetryPolicy { attempts: 3, ..RetryPolicy::default() };
    let world = calling(|builder| builder.retry(retry));
    let outcome = world.start(world.client.get("/").explain());
    for _ in 0..3 {
        world.sim.accepted().reset();
        world.sim.advance(Duration::from_secs(2));
    }
    let error = failed(&outcome);
    let errors = error.explanation().unwrap().requests()[0].errors();
    assert_eq!(errors.iter().map(|(attempt, _)| *attempt).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(errors.iter().all(|(_, error)| std::error::Error::source(error).is_none()));
}

#[test]
fn a_call_that_is_sent_elsewhere_has_two_requests() {
    let redirects = RedirectPolicy { reach: Reach::Anywhere, ..RedirectPolicy::default() };
    let world = calling(|client| client.redirects(redirects));
    let outcome = world.start(world.client.get("/").explain());
    let server = world.sim.accepted();
    server.send("HTTP/1.1 302 Moved\r\nlocation: http://192.0.2.9/\r\ncontent-length: 0\r\n\r\n");
    world.sim.run();
    let second = world.sim.accepted();
    let response = world.answer(&second, &outcome, OK);
    let explained = response.explanation().unwrap();
    let addresses = explained
        .requests()
        .iter()
        .map(|request| request.address(request.history.attempts[0].endpoint).unwrap().to_owned());
    assert_eq!(addresses.collect::<Vec<_>>(), ["192.0.2.1:80", "192.0.2.9:80"]);
}

/// What is decided is kept while a call is on its way that is to be explained, and not while its answer is read.
#[test]
fn once_it_is_answered_nobody_looks_any_more() {
    let world = retrying();
    let looked_at = |world: &Calling| {
        let explained = world.client.explain_calls();
        explained.iter().map(|call| call.pick.is_some()).collect::<Vec<_>>()
    };
    let outcome = world.start(world.client.get("/").explain());
    let server = world.sim.accepted();
    assert_eq!(looked_at(&world), [true]);
    let response = world.answer(&server, &outcome, "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n");
    let other = world.get();
    world.sim.accepted();
    assert_eq!(looked_at(&world), [true, false]);
    drop((response, other));
}

/// Whoever observes all calls is told the same as ever.
#[test]
fn an_observer_hears_of_explained_calls_too() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&told);
    let world = calling(|builder| builder.observe(move |event| sink.lock().unwrap().push(*event)));
    let mut heard = Vec::new();
    for explains in [false, true] {
        let call = world.client.get("/");
        let outcome = world.start(if explains { call.explain() } else { call });
        let server = world.sim.accepted();
        let response = world.answer(&server, &outcome, OK);
        drop(response);
        server.shut();
        world.sim.run();
        let kinds = std::mem::take(&mut *told.lock().unwrap());
        let calls = kinds.iter().filter(|event| event.token().is_some());
        heard.push(calls.map(std::mem::discriminant::<Event>).collect::<Vec<_>>());
    }
    assert_eq!(heard[0], heard[1]);
    assert_eq!(heard[0].len(), 4);
}

/// What cannot be sent is refused before anything could be explained.
#[test]
fn what_is_never_begun_is_not_explained() {
    let sim = Sim::new();
    let client = RestClient::builder("http://192.0.2.1").allow_plaintext();
    let client = client.build_on(sim.clone()).unwrap();
    let refused = sim.block_on(client.get("no slash").explain().send());
    assert!(refused.unwrap_err().explanation().is_none());
}
