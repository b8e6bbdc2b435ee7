//! What runs beside a server: who fetches the keys of a token issuer, when, and for how long it waits.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use sinew_auth::{BadJwks, Crypto, JwksPolicy, JwtPolicy, JwtVerifier};
use sinew_core::server::drain::Ending;
use sinew_driver::{
    ErrorKind, JwksEndpoint, KeysError, Notice, Request, RestClient, SecurityPolicy,
};

use crate::support::Sim;
use crate::support::running::{Builder, Running, get, seconds, serve};

/// <https://www.rfc-editor.org/rfc/rfc7517#appendix-A.1>
const KEYS: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"1",
"x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}"#;

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn guarded(builder: Builder, sim: &Sim, policy: JwksPolicy) -> Builder {
    let client = RestClient::builder("http://192.0.2.1:80").allow_plaintext();
    let keys = JwksEndpoint::new(client.build_on(sim.clone()).unwrap(), "/keys").policy(policy);
    let verifier = JwtPolicy::new("https://issuer.test", "orders");
    let verifier = JwtVerifier::new(verifier, Crypto::built_in().unwrap()).unwrap();
    builder.security(SecurityPolicy::new().jwt(verifier, keys)).route(
        Method::GET,
        "/",
        async |_: Request| "in",
    )
}

fn running() -> Running {
    let running = serve(|builder, sim| guarded(builder, &sim, JwksPolicy::default()));
    running.sim.run();
    running
}

impl Running {
    fn fetched(&self) -> Vec<Result<usize, KeysError>> {
        let notices = self.notices.lock().unwrap();
        let keys = notices.iter().filter_map(|notice| match notice {
            Notice::Keys(fetched) => Some(fetched.clone()),
            _ => None,
        });
        keys.collect()
    }
}

#[test]
fn keys_are_fetched_at_once_and_when_they_are_old() {
    let running = running();
    let issuer = running.sim.accepted();
    let request = issuer.received();
    assert!(request.starts_with("GET /keys HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("accept: application/jwk-set+json, application/json\r\n"));
    issuer.send(ok(KEYS));
    running.sim.run();
    assert_eq!(running.fetched(), [Ok(1)]);
    running.sim.advance(seconds(299));
    assert!(running.sim.try_accepted().is_none());
    running.sim.advance(seconds(1));
    assert!(running.sim.accepted().received().starts_with("GET /keys "));
}

#[test]
fn an_issuer_that_is_silent_is_asked_again_and_not_too_often() {
    let running = running();
    let asked = || running.sim.dials().iter().map(|(at, _)| at.as_secs()).collect::<Vec<_>>();
    running.sim.advance(seconds(9));
    assert_eq!((running.fetched(), asked()), (vec![], vec![0]));
    running.sim.advance(seconds(1));
    assert_eq!(running.fetched(), [Err(KeysError::Call(ErrorKind::Deadline))]);
    running.sim.advance(seconds(90));
    assert_eq!(asked(), [0, 30, 60, 90]);
    // A trickle does not hold it up either.
    running.sim.advance(seconds(20));
    let issuer = std::iter::from_fn(|| running.sim.try_accepted()).last().unwrap();
    issuer.send("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n");
    for _ in 0..9 {
        issuer.send(" ");
        running.sim.advance(seconds(1));
    }
    assert_eq!(running.fetched().len(), 4);
    running.sim.advance(seconds(1));
    assert_eq!(running.fetched().len(), 5);
    assert!(issuer.is_ended(), "the call was given up");
}

#[test]
fn what_is_no_set_of_keys_is_told_and_not_read_to_its_end() {
    let large = "HTTP/1.1 200 OK\r\ncontent-length: 262145\r\n\r\n".to_owned();
    for (answer, why) in [
        (large, KeysError::Call(ErrorKind::TooLarge(256 * 1024))),
        (ok("{}"), KeysError::Unusable(BadJwks::Malformed)),
        (
            "HTTP/1.1 302 Found\r\nlocation: http://evil.test/\r\ncontent-length: 0\r\n\r\n".into(),
            KeysError::Call(ErrorKind::Status(http::StatusCode::FOUND)),
        ),
    ] {
        let running = running();
        running.sim.accepted().send(answer);
        running.sim.run();
        assert_eq!(running.fetched(), [Err(why)]);
        assert_eq!(running.sim.dials().len(), 1, "nothing is followed");
    }
}

#[test]
fn without_keys_tokens_are_refused_and_asked_to_come_back() {
    let running = running();
    // {"alg":"ES256","kid":"1"}, {}, and no signature.
    let token = "eyJhbGciOiJFUzI1NiIsImtpZCI6IjEifQ.e30.AAAA";
    let request = format!("GET / HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n");
    let answer = running.ask(&request);
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("\r\nretry-after: 1\r\n"), "{answer}");
    running.sim.accepted().send(ok(KEYS));
    running.sim.run();
    assert!(running.ask(&request).starts_with("HTTP/1.1 401 "));
}

#[test]
fn nobody_fetches_for_a_server_that_is_gone() {
    let running = running();
    let issuer = running.sim.accepted();
    running.stop(seconds(1));
    running.sim.advance(seconds(1));
    assert!(running.served.take().is_some());
    assert!(issuer.is_ended());
    running.sim.advance(seconds(1000));
    assert_eq!(running.sim.dials().len(), 1);
}

#[test]
fn keys_are_fetched_while_the_server_drains() {
    let running = serve(|builder, sim| {
        let slow = sim.clone();
        let slow = move |_: Request| crate::support::running::sleep(slow.clone(), seconds(20));
        let public = sinew_driver::RouteOptions::new().allow(sinew_core::security::Who::Anyone);
        guarded(builder, &sim, JwksPolicy::default()).route_with(Method::GET, "/slow", public, slow)
    });
    running.ask(get("/slow"));
    let report = running.stop(seconds(60));
    running.sim.advance(seconds(10));
    assert_eq!(running.fetched(), [Err(KeysError::Call(ErrorKind::Deadline))]);
    running.sim.advance(seconds(50));
    assert_eq!(report.take().unwrap().count(Ending::Finished), 1);
}

#[test]
fn what_runs_in_the_background_ends_with_the_server() {
    let held = Arc::new(());
    let (one, two) = (Arc::clone(&held), Arc::clone(&held));
    let running = serve(|builder, sim| {
        builder
            .route(Method::GET, "/", async |_: Request| "here")
            .background(async move {
                crate::support::running::sleep(sim, seconds(5)).await;
                assert_eq!(Arc::strong_count(&one), 0, "on purpose");
            })
            .background(async move {
                pending::<()>().await;
                drop(two);
            })
    });
    running.sim.advance(seconds(4));
    assert_eq!((Arc::strong_count(&held), running.noticed(&Notice::Panicked)), (3, false));
    running.sim.advance(seconds(1));
    assert_eq!((Arc::strong_count(&held), running.noticed(&Notice::Panicked)), (2, true));
    assert!(running.ask(get("/")).ends_with("here"), "the server goes on");
    running.stop(Duration::ZERO);
    assert_eq!(Arc::strong_count(&held), 1);
}

#[test]
fn keys_that_are_never_good_are_refused() {
    let sim = Sim::new();
    let policy = JwksPolicy { stale: seconds(300), ..JwksPolicy::default() };
    let error = sim.block_on(guarded(sim.server(), &sim, policy).bind()).err().unwrap();
    assert!(error.to_string().contains("stale"), "{error}");
}
