//! The client in memory: what it puts around a call, and makes of an answer.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use sinew_core::client::dispatcher::Refusal;
use sinew_core::client::redirect::{Reach, RedirectPolicy, RedirectRefusal};
use sinew_core::content_coding::Decompression;
use sinew_core::error::{Delivery, Fault, Phase};
use sinew_core::resilience::{DeadlineConfig, RetryPolicy, TimeoutField};
use sinew_core::security::{EgressPolicy, EgressRefusal};
use sinew_driver::client::{ClientResponse, CloseReport};
use sinew_driver::{Body, BoxError, Error, ErrorKind, RestClient, Runtime as _, Token, Tokens};

use crate::support::calling::{Calling, OK, calling, calling_at, failed, millis};
use crate::support::{Client, Sim};

fn line<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

// Deadlines.

#[test]
fn every_attempt_tells_what_is_left_of_the_call() {
    let world = calling(|client| client.timeout(millis(300)).retry(RetryPolicy::default()));
    let outcome = world.start(world.client.get("/"));
    let server = world.sim.accepted();
    assert_eq!(line(&server.received(), "sinew-timeout-ms"), Some("300"));
    world.sim.advance(millis(100));
    server.send("HTTP/1.1 503 Service Unavailable\r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n");
    world.sim.advance(millis(50));
    let head = server.received();
    let left: u64 = line(&head, "sinew-timeout-ms").unwrap().parse().unwrap();
    assert!((150..=200).contains(&left), "{left} ms are left: {head}");
    assert_eq!(head.matches("sinew-timeout-ms").count(), 1);
    server.send(OK);
    world.sim.run();
    assert_eq!(outcome.take().unwrap().unwrap().status(), 200);
}

#[test]
fn who_tells_the_next_hop_and_how_is_configured() {
    let told = |config: DeadlineConfig, field: Option<(&'static str, &'static str)>| {
        let world = calling(|client| client.timeout(millis(300)).deadlines(config));
        let mut call = world.client.get("/");
        if let Some((name, value)) = field {
            call = call.header(name, value);
        }
        world.start(call);
        world.sim.accepted().received()
    };
    let default = DeadlineConfig::default();
    let silent = told(DeadlineConfig { emit: None, ..default }, None);
    assert!(!silent.contains("timeout"), "{silent}");
    let grpc = told(DeadlineConfig { emit: Some(TimeoutField::Grpc), ..default }, None);
    assert_eq!(line(&grpc, "grpc-timeout"), Some("300m"));
    let margin = told(DeadlineConfig { margin: millis(20), ..default }, None);
    assert_eq!(line(&margin, "sinew-timeout-ms"), Some("280"));
    let own = told(default, Some(("sinew-timeout-ms", "7")));
    assert_eq!(line(&own, "sinew-timeout-ms"), Some("7"), "a field that is given stands");
    assert_eq!(own.matches("sinew-timeout-ms").count(), 1);
}

#[test]
fn what_has_no_time_left_is_not_sent() {
    let margin = DeadlineConfig { margin: millis(50), ..DeadlineConfig::default() };
    let world = calling(|client| client.deadlines(margin));
    let outcome = world.start(world.client.get("/").timeout(millis(40)));
    world.sim.advance(millis(40));
    let error = failed(&outcome);
    assert!(error.is_timeout() && error.delivery() == Delivery::NotSent, "{error:?}");
    assert!(world.sim.try_accepted().is_none_or(|server| server.received().is_empty()));
}

// Tokens.

/// A source that counts, answers when the test says so, and whose tokens live for 10 min.
#[derive(Clone)]
struct Source {
    asked: Arc<AtomicUsize>,
    sim: Sim,
    takes: Duration,
    fails: bool,
}

impl Source {
    fn tokens(&self) -> Tokens {
        let source = self.clone();
        Tokens::refreshed(move || {
            let source = source.clone();
            async move {
                let number = source.asked.fetch_add(1, Ordering::Relaxed) + 1;
                source.sim.sleep_until(source.sim.now() + source.takes).await;
                if source.fails {
                    return Err(BoxError::from("the issuer is away"));
                }
                Ok(Token::bearer(&format!("t{number}"))?.expires_in(Duration::from_secs(600)))
            }
        })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

/// A client with tokens of a source that takes so long.
fn with_tokens(takes: Duration, fails: bool) -> (Calling, Source) {
    let sim = Sim::new();
    let source = Source { asked: Arc::default(), sim: sim.clone(), takes, fails };
    let client = RestClient::builder("http://192.0.2.1:80")
        .allow_plaintext()
        .allow_plaintext_tokens()
        .idle_timeout(Duration::from_secs(10_000))
        .tokens(source.tokens());
    let client = client.build_on(sim.clone()).unwrap();
    (Calling { sim, client }, source)
}

fn token(head: &str) -> Option<&str> {
    line(head, "authorization")
}

#[test]
fn calls_wait_for_the_first_token_and_share_it() {
    let (world, source) = with_tokens(millis(20), false);
    let calls = [world.get(), world.get()];
    assert!(world.sim.try_accepted().is_none(), "nothing is sent without it");
    world.sim.advance(millis(20));
    for _ in &calls {
        assert_eq!(token(&world.sim.accepted().received()), Some("Bearer t1"));
    }
    assert_eq!(source.asked(), 1);
    // One that brings its own is not kept waiting.
    let (world, source) = with_tokens(millis(20), false);
    world.start(world.client.get("/").bearer("own"));
    assert_eq!(token(&world.sim.accepted().received()), Some("Bearer own"));
    assert_eq!(source.asked(), 0);
}

#[test]
fn a_token_is_fetched_ahead_and_the_old_one_used_meanwhile() {
    let (world, source) = with_tokens(millis(20), false);
    let outcome = world.get();
    world.sim.advance(millis(20));
    let server = world.sim.accepted();
    world.answer(&server, &outcome, OK);
    world.sim.advance(Duration::from_secs(560));
    let outcome = world.get();
    let server = world.sim.try_accepted().unwrap_or(server);
    assert_eq!(token(&server.received()), Some("Bearer t1"), "it is still good");
    server.send(OK);
    world.sim.advance(millis(20));
    assert!(outcome.take().unwrap().is_ok() && source.asked() == 2);
    world.get();
    assert_eq!(token(&server.received()), Some("Bearer t2"));
}

#[test]
fn without_a_token_nothing_is_sent_and_the_source_is_not_hammered() {
    let (world, source) = with_tokens(millis(20), true);
    let outcome = world.get();
    world.sim.advance(millis(20));
    let error = failed(&outcome);
    assert_eq!(error.kind(), &ErrorKind::Token);
    assert_eq!((error.phase(), error.delivery()), (Phase::Token, Delivery::NotSent));
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("away"));
    for _ in 0..5 {
        assert_eq!(failed(&world.get()).kind(), &ErrorKind::Token);
    }
    assert!(source.asked() == 1 && world.sim.try_accepted().is_none());
    world.sim.advance(Duration::from_secs(1));
    world.get();
    assert_eq!(source.asked(), 2);
    // A source that does not answer keeps a call waiting for its time, and no longer.
    let (world, _) = with_tokens(Duration::from_secs(3_600), false);
    let outcome = world.start(world.client.get("/").timeout(millis(100)));
    world.sim.advance(millis(100));
    let error = failed(&outcome);
    assert!(error.is_timeout() && error.phase() == Phase::Token, "{error:?}");
}

const REFUSED: &str = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n";

#[test]
fn a_token_that_is_refused_is_fetched_anew_once() {
    let (world, source) = with_tokens(millis(0), false);
    let outcome = world.get();
    world.sim.advance(millis(1));
    let server = world.sim.accepted();
    world.answer(&server, &outcome, OK);
    world.sim.advance(Duration::from_secs(60));

    let outcome = world.start(world.client.post("/").body("again"));
    assert!(server.received().contains("Bearer t1"));
    server.send(REFUSED);
    world.sim.advance(millis(1));
    let again = server.received();
    assert!(again.contains("Bearer t2") && again.ends_with("again"), "{again}");
    // What is refused, too, is the answer.
    server.send(REFUSED);
    world.sim.advance(millis(1));
    assert_eq!(outcome.take().unwrap().unwrap().status(), 401);
    assert_eq!((server.received(), source.asked()), (String::new(), 2));

    // A body that is gone cannot be sent again; the next call has a new token all the same.
    world.sim.advance(Duration::from_secs(60));
    let body = Body::stream(futures_util::stream::iter([Ok::<_, Error>("once".into())]));
    let outcome = world.start(world.client.post("/").no_retry().body(body));
    server.send(REFUSED);
    world.sim.advance(millis(1));
    assert_eq!(outcome.take().unwrap().unwrap().status(), 401);
    assert_eq!(source.asked(), 2);
    server.received();
    world.get();
    world.sim.advance(millis(1));
    assert!(server.received().contains("Bearer t3"));
}

#[test]
fn tokens_stay_with_tls_and_with_their_origin() {
    let build = |url: &str, tokens: Option<Tokens>| {
        let builder = RestClient::<Sim>::builder(url).allow_plaintext();
        let builder = match tokens {
            Some(tokens) => builder.tokens(tokens),
            None => builder,
        };
        builder.build_on(Sim::new())
    };
    let fixed = || Tokens::fixed(Token::bearer("s3cr3t").unwrap());
    let refused = build("http://a.test", Some(fixed())).unwrap_err();
    assert!(refused.to_string().contains("TLS"), "{refused}");
    assert!(build("unix:/run/a.sock", Some(fixed())).is_ok(), "nobody reads along");

    let sim = Sim::new();
    let client = RestClient::builder("http://192.0.2.1:80").allow_plaintext();
    let client = client.build_on(sim.clone()).unwrap();
    for call in [
        client.get("/").bearer("s3cr3t"),
        client.get("/").header("Authorization", "Basic czNjcjN0"),
    ] {
        let error = sim.block_on(call.send()).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Config(_)), "{error:?}");
        assert_eq!(error.delivery(), Delivery::NotSent);
    }
    assert!(sim.dials().is_empty(), "nobody was asked");

    let origin = |authority: &str| {
        sinew_core::origin::Origin::new(sinew_core::origin::Scheme::Http, authority).unwrap()
    };
    let build = |only: &str| {
        let builder = RestClient::<Sim>::builder("http://a.test:80").allow_plaintext();
        builder.allow_plaintext_tokens().tokens(fixed().only_for(origin(only))).build_on(Sim::new())
    };
    assert!(build("A.test").is_ok());
    let refused = build("b.test").unwrap_err().to_string();
    assert!(refused.contains("http://b.test") && !refused.contains("s3cr3t"), "{refused}");
    assert!(!format!("{:?}", build("a.test").unwrap()).contains("s3cr3t"));
    assert!(Token::bearer("a\r\nb").is_err() && Token::bearer("").is_err());
}

#[test]
fn what_is_for_a_socket_does_not_leave_it_in_plaintext() {
    let tcp = ["192.0.2.1:80"];
    let unix = |plaintext: bool, tokens_in_it: bool, has_tokens: bool| {
        let mut builder = RestClient::<Sim>::builder("unix:/run/a.sock");
        if plaintext {
            builder = builder.allow_plaintext();
        }
        if tokens_in_it {
            builder = builder.allow_plaintext_tokens();
        }
        if has_tokens {
            builder = builder.tokens(Tokens::fixed(Token::bearer("s3cr3t").unwrap()));
        }
        builder
    };
    // Where the client has no tokens, a call may bring its own.
    for has_tokens in [false, true] {
        for (plaintext, tokens_in_it) in
            [(false, false), (true, false), (false, true), (true, true)]
        {
            let allowed = plaintext && tokens_in_it;
            let builder = || unix(plaintext, tokens_in_it, has_tokens);
            let case = format!("{plaintext} {tokens_in_it} {has_tokens}");
            let built = builder().endpoints(tcp).build_on(Sim::new());
            let built = built.map(drop).map_err(|refused| refused.to_string());
            let client = builder().build_on(Sim::new()).unwrap();
            client.update_endpoints(["unix:/run/b.sock"]).unwrap();
            let updated = client.update_endpoints(["unix:/run/c.sock", tcp[0]]);
            for outcome in [built, updated.map_err(|refused| refused.to_string())] {
                assert_eq!(outcome.is_ok(), allowed, "{case}");
                let says = |why: String| why.contains(".allow_plaintext_tokens()");
                assert!(outcome.err().is_none_or(says), "{case}");
            }
        }
    }
}

// Redirects.

fn redirecting(reach: Reach) -> Calling {
    calling(|client| client.redirects(RedirectPolicy { reach, ..RedirectPolicy::default() }))
}

fn moved(status: u16, to: &str) -> String {
    format!("HTTP/1.1 {status} Moved\r\nlocation: {to}\r\ncontent-length: 4\r\n\r\nbody")
}

#[test]
fn redirects_are_answers_unless_they_are_followed() {
    let world = calling(|client| client);
    let (_server, answer) = world.first(&moved(302, "/b"));
    assert_eq!(answer.status(), 302);

    let world = redirecting(Reach::SameOrigin);
    let call = world.client.post("/a").header("cookie", "c=1").bearer("mine").json(&[1]);
    let outcome = world.start(call);
    let server = world.sim.accepted();
    assert!(server.received().ends_with("[1]"));
    server.send(moved(307, "b?c#d"));
    world.sim.run();
    let second = server.received();
    assert!(second.starts_with("POST /b?c HTTP/1.1\r\n") && second.ends_with("[1]"), "{second}");
    assert!(second.contains("cookie") && second.contains("Bearer mine"), "the same origin");
    server.send(moved(303, "/c"));
    world.sim.run();
    let third = server.received();
    assert!(third.starts_with("GET /c HTTP/1.1\r\n") && third.ends_with("\r\n\r\n"), "{third}");
    assert!(!third.contains("content-type") && third.contains("Bearer mine"), "{third}");
    server.send(OK);
    world.sim.run();
    assert_eq!(outcome.take().unwrap().unwrap().status(), 200);
    assert_eq!(world.counts(), (1, 1), "one connection carried all of it");
}

#[test]
fn credentials_stay_behind_when_a_call_is_sent_elsewhere() {
    let world = redirecting(Reach::Anywhere);
    let call = world.client.get("/a").header("cookie", "c=1").bearer("mine").header("x-own", "1");
    let outcome = world.start(call);
    let server = world.sim.accepted();
    server.send(moved(302, "http://192.0.2.2:8080/b"));
    world.sim.run();
    assert_eq!(world.sim.dials().last().unwrap().1, "192.0.2.2:8080");
    let elsewhere = world.sim.accepted();
    let head = elsewhere.received();
    assert_eq!(line(&head, "host"), Some("192.0.2.2:8080"));
    assert!(head.contains("x-own: 1"), "{head}");
    assert!(!head.contains("cookie") && !head.contains("authorization"), "{head}");
    // Nor do they come back.
    server.received();
    elsewhere.send(moved(302, "http://192.0.2.1/c"));
    world.sim.run();
    let server = world.sim.try_accepted().unwrap_or(server);
    let head = server.received();
    assert!(head.starts_with("GET /c") && !head.contains("mine"), "{head}");
    server.send(OK);
    world.sim.run();
    assert_eq!(outcome.take().unwrap().unwrap().status(), 200);
}

#[test]
fn who_closes_a_client_waits_for_calls_that_were_sent_elsewhere_too() {
    let world = redirecting(Reach::Anywhere);
    let outcome = world.get();
    let server = world.sim.accepted();
    server.send(moved(302, "http://192.0.2.2/"));
    world.sim.run();
    let elsewhere = world.sim.accepted();
    let late = world.get();
    let client = world.client.clone();
    let closed = world.sim.start(async move { client.close(millis(5000)).await });
    world.sim.run();
    assert!(closed.take().is_none(), "two are on their way, one of them elsewhere");
    // What is sent on from now on goes nowhere, be it known or not.
    server.send(moved(302, "http://192.0.2.3/"));
    world.sim.run();
    assert_eq!(failed(&late).kind(), &ErrorKind::Refused(Refusal::Draining));
    assert!(closed.take().is_none());
    elsewhere.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no");
    world.sim.advance(millis(5000));
    assert_eq!(closed.take(), Some(CloseReport { stopped: 0, unread: 1 }));
    elsewhere.send("k");
    world.sim.run();
    let response = outcome.take().unwrap().unwrap();
    assert_eq!(world.bytes(response).unwrap(), b"ok");
}

#[test]
fn a_redirect_that_must_not_be_followed_says_why() {
    let refused = |world: &Calling, to: &str| {
        let outcome = world.get();
        world.sim.accepted().send(moved(302, to));
        world.sim.run();
        let error = failed(&outcome);
        assert_eq!((error.delivery(), error.fault()), (Delivery::Processed, Fault::Peer));
        error.kind().clone()
    };
    let world = redirecting(Reach::SameOrigin);
    let elsewhere = refused(&world, "http://192.0.2.2/");
    assert_eq!(elsewhere, ErrorKind::Redirect(RedirectRefusal::Elsewhere));
    let world = redirecting(Reach::SameOrigin);
    let circle = refused(&world, "/");
    assert_eq!(circle, ErrorKind::Redirect(RedirectRefusal::Loop));
    let world = redirecting(Reach::Anywhere);
    let nowhere = refused(&world, "ftp://192.0.2.2/");
    assert_eq!(nowhere, ErrorKind::Redirect(RedirectRefusal::Location));

    // A body that is gone stays where it was.
    let world = redirecting(Reach::SameOrigin);
    let body = Body::stream(futures_util::stream::iter([Ok::<_, Error>("once".into())]));
    let outcome = world.start(world.client.post("/").body(body));
    world.sim.accepted().send(moved(307, "/b"));
    world.sim.run();
    assert_eq!(failed(&outcome).kind(), &ErrorKind::Redirect(RedirectRefusal::Body));
}

// Decompression.

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn packed(server: &Client, coding: &str, body: &[u8]) {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-encoding: {coding}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    server.send(head);
    server.send(body);
}

/// The answer to a GET, packed like this.
fn unpacking(coding: &str, body: &[u8]) -> (Calling, Result<ClientResponse, Error>) {
    let world = calling(|client| client.decompress(Decompression::default()));
    let outcome = world.get();
    let server = world.sim.accepted();
    assert_eq!(line(&server.received(), "accept-encoding"), Some("gzip, deflate"));
    packed(&server, coding, body);
    world.sim.run();
    (world, outcome.take().unwrap())
}

#[test]
fn packed_answers_are_asked_for_and_unpacked() {
    let text = "packed ".repeat(1_000);
    let (world, answer) = unpacking("gzip", &gzip(text.as_bytes()));
    let answer = answer.unwrap();
    assert_eq!(answer.header("content-encoding"), None, "it no longer holds");
    assert!(!answer.headers().contains_key("content-length"));
    assert_eq!(world.bytes(answer).unwrap(), text.as_bytes());
    // Piece by piece, too.
    let (world, answer) = unpacking("x-gzip", &gzip(text.as_bytes()));
    let mut answer = answer.unwrap();
    let pieces = world.sim.block_on(async move {
        let mut pieces = Vec::new();
        while let Some(piece) = answer.chunk().await.unwrap() {
            pieces.extend_from_slice(&piece);
        }
        pieces
    });
    assert_eq!(pieces, text.as_bytes());
    let (world, answer) = unpacking("identity", b"as it is");
    assert_eq!(world.bytes(answer.unwrap()).unwrap(), b"as it is");
}

#[test]
fn bombs_and_codings_that_nobody_asked_for_are_errors() {
    let bomb = gzip(&vec![0; 4 << 20]);
    let (world, answer) = unpacking("gzip", &bomb);
    let error = world.bytes(answer.unwrap()).unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::Inflated(100));
    assert_eq!((error.phase(), error.fault()), (Phase::ResponseBody, Fault::Peer));
    let (world, answer) = unpacking("gzip", b"no gzip at all");
    assert_eq!(world.bytes(answer.unwrap()).unwrap_err().kind(), &ErrorKind::Coding);
    for coding in ["br", "gzip, gzip"] {
        let (_, answer) = unpacking(coding, &gzip(b"x"));
        assert_eq!(answer.unwrap_err().kind(), &ErrorKind::Coding, "{coding}");
    }
    // What is collected is held to its limit, unpacked.
    let text: Vec<u8> = (0..400_000_u32).flat_map(u32::to_le_bytes).collect();
    let world = calling_at("http://192.0.2.1:80", |client| {
        let mut config = sinew_driver::RestClientConfig::new("http://192.0.2.1:80");
        config.max_response_size = 1_000_000;
        client.config(config).allow_plaintext().decompress(Decompression::default())
    });
    let outcome = world.get();
    let server = world.sim.accepted();
    packed(&server, "gzip", &gzip(&text));
    world.sim.run();
    let answer = outcome.take().unwrap().unwrap();
    assert_eq!(world.bytes(answer).unwrap_err().kind(), &ErrorKind::TooLarge(1_000_000));
}

#[test]
fn what_is_not_asked_for_is_not_unpacked() {
    let world = calling(|client| client);
    let outcome = world.get();
    let server = world.sim.accepted();
    assert!(!server.received().contains("accept-encoding"));
    packed(&server, "gzip", &gzip(b"x"));
    world.sim.run();
    let answer = outcome.take().unwrap().unwrap();
    assert_eq!(answer.header("content-encoding").unwrap(), "gzip");
    assert_eq!(world.bytes(answer).unwrap(), gzip(b"x"));

    // Nor where the call says itself what it takes, or wants a part.
    for (name, value) in [("accept-encoding", "br"), ("range", "bytes=0-1")] {
        let world = calling(|client| client.decompress(Decompression::default()));
        let outcome = world.start(world.client.get("/").header(name, value));
        let server = world.sim.accepted();
        assert!(!server.received().contains("gzip"));
        packed(&server, "br", b"\x0b\x00\x80x\x03");
        world.sim.run();
        let answer = outcome.take().unwrap().unwrap();
        assert_eq!(answer.header("content-encoding").unwrap(), "br");
    }
    // A HEAD has a coding and no body.
    let world = calling(|client| client.decompress(Decompression::default()));
    let outcome = world.start(world.client.head("/"));
    let server = world.sim.accepted();
    server.send("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 20\r\n\r\n");
    world.sim.run();
    let answer = outcome.take().unwrap().unwrap();
    assert_eq!(answer.header("content-length").unwrap(), "20");
    assert_eq!(world.bytes(answer).unwrap(), b"");
}

// Whom a client may talk to.

fn only(destination: &str) -> EgressPolicy {
    let destinations = vec![destination.parse().unwrap()];
    EgressPolicy { destinations, ..EgressPolicy::default() }
}

#[test]
fn nobody_is_dialled_who_may_not_be() {
    let world = calling(|client| client.security(only("192.0.2.9")));
    let error = failed(&world.get());
    assert_eq!(error.kind(), &ErrorKind::Forbidden(EgressRefusal::Destination));
    assert_eq!((error.delivery(), error.fault()), (Delivery::NotSent, Fault::Local));
    assert!(world.sim.dials().is_empty());
    // Nor by way of a redirect, or of another endpoint.
    let world = calling(|client| {
        let anywhere = RedirectPolicy { reach: Reach::Anywhere, ..RedirectPolicy::default() };
        client.security(only("192.0.2.1:80")).redirects(anywhere)
    });
    let outcome = world.get();
    world.sim.accepted().send(moved(302, "http://169.254.169.254/latest"));
    world.sim.run();
    let error = failed(&outcome);
    assert_eq!(error.kind(), &ErrorKind::Forbidden(EgressRefusal::Destination));
    assert_eq!(world.sim.dials().len(), 1);
    world.client.update_endpoints(["192.0.2.7:80"]).unwrap();
    let error = failed(&world.get());
    assert_eq!(error.kind(), &ErrorKind::Forbidden(EgressRefusal::Destination));
}

#[test]
fn in_the_clear_nobody_is_who_they_should_be() {
    let servers = vec!["spiffe://acme.test/*".parse().unwrap()];
    let policy = EgressPolicy { servers, ..EgressPolicy::default() };
    let world = calling(|client| client.security(policy));
    let error = failed(&world.get());
    assert_eq!(error.kind(), &ErrorKind::Forbidden(EgressRefusal::Unidentified));
    assert_eq!(error.delivery(), Delivery::NotSent);
}

// Progress.

#[test]
fn what_is_sent_and_what_comes_is_told_as_it_goes() {
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    let tell = || {
        let told = Arc::clone(&told);
        move |progress: sinew_driver::Progress| {
            told.lock().unwrap().push((progress.bytes, progress.total));
        }
    };
    let world = calling(|client| client.retry(RetryPolicy::default()));
    let body = Body::from(vec![b'x'; 100_000]).with_progress(tell());
    let outcome = world.start(world.client.put("/").body(body));
    let server = world.sim.accepted();
    let request = server.received();
    assert_eq!(line(&request, "content-length"), Some("100000"));
    let whole = [(65_536, Some(100_000)), (100_000, Some(100_000))];
    assert_eq!(*told.lock().unwrap(), whole);
    // It is sent again, and told again.
    server.send("HTTP/1.1 503 Service Unavailable\r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n");
    world.sim.advance(millis(250));
    assert_eq!(line(&server.received(), "content-length"), Some("100000"));
    assert_eq!(*told.lock().unwrap(), [whole, whole].concat());
    server.send("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nabc");
    world.sim.run();
    let answer = outcome.take().unwrap().unwrap();
    told.lock().unwrap().clear();
    let body = answer.into_body().with_progress(tell());
    let all = world.sim.start(body.collect(10));
    world.sim.run();
    assert_eq!(*told.lock().unwrap(), [(3, Some(6))]);
    server.send("def");
    world.sim.run();
    assert_eq!(*told.lock().unwrap(), [(3, Some(6)), (6, Some(6))]);
    assert_eq!(all.take().unwrap().unwrap(), "abcdef");
}
