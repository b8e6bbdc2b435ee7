//! What a server goes by is replaced: what is kept, what is refused, what is waited for.

use std::future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use http::Method;
use sinew_auth::{Crypto, JwtPolicy, JwtVerifier};
use sinew_core::limit::{AdmissionConfig, ConcurrencyConfig, Quota};
use sinew_core::observe::Event;
use sinew_core::security::Expiry;
use sinew_core::server::drain::Phase;
use sinew_core::server::{RateLimitConfig, ReloadOutcome};
use sinew_driver::{
    Audit, BoxError, Error, JwksEndpoint, Notice, Reloader, Request, RestClient, RestServer,
    Runtime as _, SecurityPolicy, ServerBuilder, ServerHandle, Threads,
};
use sinew_tls::ServerTls;

use crate::support::running::get;
use crate::support::{Client, Outcome, Sim};

type Builder = ServerBuilder<Sim, Threads>;

struct Running {
    sim: Sim,
    client: Client,
    handle: ServerHandle<Sim>,
    reloader: Reloader<Sim, Threads>,
    notices: Arc<Mutex<Vec<Notice>>>,
}

fn start(build: impl FnOnce(Builder) -> Builder) -> Running {
    let sim = Sim::new();
    let notices = Arc::default();
    let server = sim.block_on(hear(build(program(&sim)), &notices).bind()).unwrap();
    let (handle, reloader) = (server.handle(), server.reloader());
    let _served = sim.start(server.serve());
    let client = sim.connect();
    Running { sim, client, handle, reloader, notices }
}

fn program(sim: &Sim) -> Builder {
    sim.server().route(Method::GET, "/", async |_: Request| "in")
}

fn hear(builder: Builder, notices: &Arc<Mutex<Vec<Notice>>>) -> Builder {
    let notices = Arc::clone(notices);
    builder.observe(move |_, notice| notices.lock().unwrap().push(notice.clone()))
}

impl Running {
    fn ask(&self) -> String {
        self.client.send(get("/"));
        self.sim.run();
        self.client.received()
    }

    fn reload(&self, build: impl FnOnce(Builder) -> Builder) -> Outcome<Result<u64, Error>> {
        let outcome = self.begin_reload(build);
        self.sim.run();
        outcome
    }

    /// It happens behind what is to happen already.
    fn begin_reload(&self, build: impl FnOnce(Builder) -> Builder) -> Outcome<Result<u64, Error>> {
        let (reloader, next) =
            (self.reloader.clone(), hear(build(program(&self.sim)), &self.notices));
        self.sim.start(async move { reloader.reload(|| Ok::<_, BoxError>(next)).await })
    }

    fn refused(&self, build: impl FnOnce(Builder) -> Builder) -> String {
        let error = self.reload(build).take().unwrap().unwrap_err().to_string();
        let notices = self.notices.lock().unwrap();
        assert!(notices.contains(&Notice::ReloadRefused { why: error.clone() }));
        assert!(notices.contains(&Notice::Decided(Event::Reload(ReloadOutcome::Refused))));
        error
    }
}

fn quotas(burst: u32) -> RateLimitConfig {
    let client = Quota::new(1, Duration::from_secs(60), burst).ok();
    RateLimitConfig { client, ..RateLimitConfig::default() }
}

#[test]
fn what_clients_have_used_up_is_kept() {
    let running = start(|builder| builder.rate_limit(quotas(2)));
    assert!(running.ask().starts_with("HTTP/1.1 200"));
    assert_eq!(running.reload(|builder| builder.rate_limit(quotas(2))).take().unwrap().unwrap(), 2);
    assert!(running.ask().starts_with("HTTP/1.1 200"));
    assert!(running.ask().starts_with("HTTP/1.1 429"), "two in all");
    // Other quotas are other buckets.
    assert_eq!(running.reload(|builder| builder.rate_limit(quotas(1))).take().unwrap().unwrap(), 3);
    assert!(running.ask().starts_with("HTTP/1.1 200"));
    assert!(running.ask().starts_with("HTTP/1.1 429"));
}

#[test]
fn what_needs_another_process_is_refused() {
    let running = start(|builder| builder);
    for (why, error) in [
        ("where it listens", running.refused(|builder| builder.listen("127.0.0.1:9"))),
        ("how many connections", running.refused(|builder| builder.max_connections(7))),
        ("where the audit log is", running.refused(|builder| builder.audit(Audit::file("a")))),
        ("/{", running.refused(|builder| builder.route(Method::GET, "/{", async |_: Request| "a"))),
    ] {
        assert!(error.contains(why), "{error}");
    }
    assert!(running.ask().starts_with("HTTP/1.1 200"));
}

/// One request is served at a time, and others wait for 10 s at most.
fn narrow(builder: Builder, retry_after: u64) -> Builder {
    let seconds = Duration::from_secs;
    builder
        .overload(AdmissionConfig {
            concurrency: ConcurrencyConfig { initial: 1, max: 1, ..ConcurrencyConfig::default() },
            target: seconds(10),
            interval: seconds(10),
            patience: seconds(10),
            retry_after: seconds(retry_after),
            ..AdmissionConfig::default()
        })
        .route(Method::GET, "/stuck", async |_: Request| future::pending::<&str>().await)
}

/// A request is served, and another one waits; the client of that one.
fn one_waits(running: &Running, waiting: &Client) {
    running.client.send(get("/stuck"));
    running.sim.run();
    waiting.send(get("/stuck"));
    running.sim.run();
    running.sim.advance(Duration::from_secs(9));
    assert_eq!(waiting.received(), "");
}

#[test]
fn who_waits_is_looked_after_when_a_reload_failed() {
    let running = start(|builder| narrow(builder, 1));
    let waiting = running.sim.connect();
    let reload = running.reload(|builder| guarded(&running.sim, narrow(builder, 1)));
    running.sim.accepted().send("HTTP/1.1 500 Sorry\r\ncontent-length: 0\r\n\r\n");
    running.sim.run();
    assert!(reload.take().unwrap().is_err());
    one_waits(&running, &waiting);
    running.sim.advance(Duration::from_secs(1));
    assert!(waiting.received().starts_with("HTTP/1.1 503"));
}

#[test]
fn who_waits_is_looked_after_when_its_gate_was_replaced() {
    let running = start(|builder| narrow(builder, 1));
    let waiting = running.sim.connect();
    one_waits(&running, &waiting);
    assert_eq!(running.reload(|builder| narrow(builder, 2)).take().unwrap().unwrap(), 2);
    running.sim.advance(Duration::from_secs(1));
    let refused = waiting.received();
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("retry-after: 1"), "{refused}");
}

#[test]
fn who_waits_is_looked_after_when_its_gate_was_replaced_before_the_server_saw_it() {
    let running = start(|builder| builder);
    let waiting = running.sim.connect();
    // In this order, and the server's own task behind all of them.
    let first = running.begin_reload(|builder| narrow(builder, 1));
    running.client.send(get("/stuck"));
    waiting.send(get("/stuck"));
    let second = running.begin_reload(|builder| narrow(builder, 2));
    running.sim.run();
    assert_eq!((first.take().unwrap().unwrap(), second.take().unwrap().unwrap()), (2, 3));
    running.sim.advance(Duration::from_secs(9));
    assert_eq!(waiting.received(), "");
    running.sim.advance(Duration::from_secs(1));
    let refused = waiting.received();
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("retry-after: 1"), "{refused}");
}

#[test]
fn of_two_reloads_at_once_the_second_begins_when_the_first_is_done() {
    let running = start(|builder| builder);
    let first = running.reload(|builder| guarded(&running.sim, builder));
    let issuer = running.sim.accepted();
    // Who loses interest is not waited for.
    let none = || Ok::<_, BoxError>(program(&running.sim));
    assert!(running.reloader.reload(none).now_or_never().is_none());
    let second = running.reload(|builder| builder);
    assert!(first.take().is_none() && second.take().is_none());
    let length = KEYS.len();
    issuer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{KEYS}"));
    running.sim.run();
    assert_eq!(first.take().unwrap().unwrap(), 2);
    assert_eq!(second.take().unwrap().unwrap(), 3);
    assert!(running.ask().starts_with("HTTP/1.1 200"), "what came last is in force");
}

#[test]
fn who_observes_from_now_on_hears_how_the_server_leaves() {
    let running = start(|builder| builder);
    let later: Arc<Mutex<Vec<Notice>>> = Arc::default();
    let (reloader, next) = (running.reloader.clone(), hear(program(&running.sim), &later));
    let reload =
        running.sim.start(async move { reloader.reload(|| Ok::<_, BoxError>(next)).await });
    running.sim.run();
    assert_eq!(reload.take().unwrap().unwrap(), 2);
    running.handle.advance(Phase::Notify);
    running.sim.run();
    let told = |notices: &Mutex<Vec<Notice>>| {
        notices.lock().unwrap().contains(&Notice::Decided(Event::Drain(Phase::Notify)))
    };
    assert!(told(&later) && !told(&running.notices));
}

/// <https://www.rfc-editor.org/rfc/rfc7517#appendix-A.1>
const KEYS: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"1",
"x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}"#;

fn guarded(sim: &Sim, builder: Builder) -> Builder {
    let client = RestClient::builder("http://192.0.2.1:80").allow_plaintext();
    let keys = JwksEndpoint::new(client.build_on(sim.clone()).unwrap(), "/keys");
    let verifier = JwtPolicy::new("https://issuer.test", "orders");
    let verifier = JwtVerifier::new(verifier, Crypto::built_in().unwrap()).unwrap();
    builder.security(SecurityPolicy::new().jwt(verifier, keys))
}

#[test]
fn keys_are_there_before_anything_is_replaced() {
    let running = start(|builder| builder);
    let reload = running.reload(|builder| guarded(&running.sim, builder));
    let issuer = running.sim.accepted();
    assert!(running.ask().starts_with("HTTP/1.1 200"), "the old is in force until then");
    issuer.send("HTTP/1.1 500 Sorry\r\ncontent-length: 0\r\n\r\n");
    running.sim.run();
    let error = reload.take().unwrap().unwrap_err().to_string();
    assert!(error.contains("the keys of an issuer"), "{error}");
    assert!(running.ask().starts_with("HTTP/1.1 200"));
    let reload = running.reload(|builder| guarded(&running.sim, builder));
    let length = KEYS.len();
    let issuer = std::iter::from_fn(|| running.sim.try_accepted()).last().unwrap_or(issuer);
    issuer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{KEYS}"));
    running.sim.run();
    assert_eq!(reload.take().unwrap().unwrap(), 2);
    assert!(running.ask().starts_with("HTTP/1.1 401"));
    // Whoever fetched them goes on to do so, in the task that serves.
    running.sim.advance(Duration::from_secs(301));
    assert!(running.sim.try_accepted().is_some());
}

fn tls(days: u64, sim: &Sim) -> ServerTls {
    let mut params = rcgen::CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
    let end = sim.epoch().unix(sim.now()) + Duration::from_secs(days * 86_400);
    params.not_after = rcgen::date_time_ymd(1970, 1, 1) + end;
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let builder = ServerTls::builder().certificate_pem(certificate.pem(), key.serialize_pem());
    builder.unwrap().build().unwrap()
}

#[test]
fn it_is_told_that_certificates_run_out() {
    let sim = Sim::new();
    let notices: Arc<Mutex<Vec<Notice>>> = Arc::default();
    let build = |days| {
        let builder = RestServer::<Sim, Threads>::builder_on(sim.clone()).listen("127.0.0.1:0");
        hear(builder.tls(tls(days, &sim)), &notices)
    };
    let server = sim.block_on(build(40).bind()).unwrap();
    let reloader = server.reloader();
    let _served = sim.start(server.serve());
    sim.run();
    let told = || -> Vec<Expiry> {
        let told = notices.lock().unwrap();
        let told = told.iter().filter_map(|notice| match notice {
            Notice::Decided(Event::CertificateExpiry { expiry, .. }) => Some(*expiry),
            _ => None,
        });
        told.collect()
    };
    let day = Duration::from_secs(86_400);
    assert_eq!(told(), [Expiry::Far]);
    sim.advance(9 * day);
    assert_eq!(told(), [Expiry::Far]);
    sim.advance(day);
    assert_eq!(told(), [Expiry::Far, Expiry::Month]);
    sim.advance(23 * day);
    assert_eq!(told(), [Expiry::Far, Expiry::Month, Expiry::Week]);
    // The next one is far away, and the old one is not of interest any more.
    let next = build(400);
    let reload = sim.start(async move { reloader.reload(|| Ok::<_, BoxError>(next)).await });
    sim.run();
    assert_eq!(reload.take().unwrap().unwrap(), 2);
    sim.advance(8 * day);
    assert_eq!(told(), [Expiry::Far, Expiry::Month, Expiry::Week, Expiry::Far]);
    sim.advance(400 * day);
    assert_eq!(told().last(), Some(&Expiry::Over));
}
