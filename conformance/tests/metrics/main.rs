//! Random mixes of requests over sockets: what sinew-prometheus counted is what the observer was
//! told, and what clients were answered. Nothing is counted twice, and nothing is left out.

#![cfg(feature = "sockets")]
#![expect(clippy::unwrap_used, reason = "outside of `#[test]` too, a test stops where it is wrong")]

mod server;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use http::StatusCode;
use proptest::prelude::*;
use sinew_conformance::network::adapter::{Adapter, Work, both};
use sinew_conformance::network::certificate::Secrets;
use sinew_conformance::network::conversation::{Patience, Transport};
use sinew_conformance::network::line::Heard;
use sinew_conformance::reader::{self, Message};
use sinew_core::error::Phase;
use sinew_core::http1;
use sinew_core::observe::Event;
use sinew_core::policy::Mode;
use sinew_core::problem::Document;
use sinew_core::reason::Reason;
use sinew_driver::server::Conn;
use sinew_driver::{Notice, RestServer, Runtime, Spawn, Threads};
use sinew_prometheus::Metrics;
use sinew_tls::{ServerTls, Tls};
use tokio::sync::oneshot;

/// What may be asked, and whether the connection ends with it.
const ASKED: [(&str, bool); 29] = [
    ("GET /open HTTP/1.1\r\nhost: a\r\n\r\n", false),
    ("HEAD /open HTTP/1.1\r\nhost: a\r\n\r\n", false),
    ("GET /stream HTTP/1.1\r\nhost: a\r\n\r\n", false),
    ("GET /me HTTP/1.1\r\nhost: a\r\nauthorization: Bearer ann\r\n\r\n", false),
    ("GET /me HTTP/1.1\r\nhost: a\r\n\r\n", false),
    ("GET /me HTTP/1.1\r\nhost: a\r\nauthorization: Bearer bob\r\n\r\n", false),
    ("GET /me HTTP/1.1\r\nhost: a\r\nauthorization: Bearer down\r\n\r\n", false),
    ("GET /admin HTTP/1.1\r\nhost: a\r\nauthorization: Bearer ann\r\n\r\n", false),
    ("GET /nowhere HTTP/1.1\r\nhost: a\r\nauthorization: Bearer ann\r\n\r\n", false),
    ("PUT /me HTTP/1.1\r\nhost: a\r\nauthorization: Bearer ann\r\n\r\n", false),
    ("BREW /me HTTP/1.1\r\nhost: a\r\nauthorization: Bearer ann\r\n\r\n", false),
    ("GET /a/../me HTTP/1.1\r\nhost: a\r\nauthorization: Bearer ann\r\n\r\n", false),
    (
        "OPTIONS /open HTTP/1.1\r\nhost: a\r\norigin: https://a.test\r\naccess-control-request-method: PUT\r\n\r\n",
        false,
    ),
    ("GET /open HTTP/1.1\r\nhost: a\r\norigin: https://b.test\r\n\r\n", false),
    ("GET /few HTTP/1.1\r\nhost: a\r\n\r\n", false),
    ("GET /conflict HTTP/1.1\r\nhost: a\r\n\r\n", false),
    ("POST /body HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc", false),
    (
        "POST /body HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        false,
    ),
    ("POST /body HTTP/1.1\r\nhost: a\r\ncontent-length: 20\r\n\r\n", true),
    ("POST /body HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n20\r\n", true),
    ("POST /body HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\na", true),
    ("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n", true),
    ("GET /panic HTTP/1.1\r\nhost: a\r\n\r\n", true),
    ("GET /open HTTP/1.1\r\nhost: a\r\nx-panic: 1\r\n\r\n", true),
    ("GET /open HTTP/1.1\r\n\r\n", true),
    ("GET /open HTTP/3.0\r\nhost: a\r\n\r\n", true),
    ("POST /body HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n", true),
    ("GET /open HTTP/1.1\r\nhost: a\r\nexpect: magic\r\n\r\n", true),
    ("GET /open HTTP/1.1\r\nhost", true),
];

/// What a client does on one connection.
#[derive(Clone, Debug)]
struct Script {
    /// Places in [`ASKED`].
    requests: Vec<usize>,
    /// Whether it waits for the answers.
    listens: bool,
}

impl Script {
    fn any() -> impl Strategy<Value = Self> {
        let requests = prop::collection::vec(0..ASKED.len(), 1..8);
        (requests, prop::bool::weighted(0.85)).prop_map(|(mut requests, listens)| {
            if let Some(end) = requests.iter().position(|at| ASKED[*at].1) {
                requests.truncate(end + 1);
            }
            Self { requests, listens }
        })
    }

    fn methods(&self) -> Vec<String> {
        let method = |at: &usize| ASKED[*at].0.split(' ').next().unwrap().to_owned();
        self.requests.iter().map(method).collect()
    }

    /// Sends everything at once, and reads up to the end.
    fn play(&self, address: SocketAddr, transport: &Transport) -> Vec<Message> {
        let patience = Patience { answer: Duration::from_secs(20), ..Patience::default() };
        let mut line = transport.connect(address, patience).unwrap();
        let bytes: String = self.requests.iter().map(|at| ASKED[*at].0).collect();
        line.say(bytes.as_bytes(), patience.answer);
        if !self.listens {
            return Vec::new();
        }
        line.shut();
        let mut heard = Vec::new();
        loop {
            match line.hear(&mut heard, patience.answer) {
                Heard::Bytes(_) => {}
                Heard::End | Heard::Broken(_) => break,
                Heard::Nothing => panic!("neither answered nor closed: {self:?}"),
            }
        }
        reader::responses(&heard, &self.methods(), false).unwrap()
    }
}

/// A server of its own, and what it was asked.
struct Mix<'a> {
    scripts: &'a [Script],
    transport: Transport,
    tls: Option<ServerTls>,
    metrics: &'a Metrics,
    told: Arc<Mutex<Vec<Event>>>,
}

impl Work for Mix<'_> {
    type Outcome = Vec<Message>;

    async fn on<R>(self, runtime: R) -> Self::Outcome
    where
        R: Runtime
            + Spawn<Conn<http1::Server, R, Threads>>
            + Spawn<Conn<Tls<http1::Server>, R, Threads>>,
    {
        let (metrics, told) = (self.metrics.clone(), Arc::clone(&self.told));
        let builder = server::routes(RestServer::<R>::builder_on(runtime))
            .layer(self.metrics.layer())
            .observe(move |_, notice| {
                if let Notice::Decided(event) = notice {
                    metrics.observe(event);
                    told.lock().unwrap_or_else(PoisonError::into_inner).push(*event);
                }
            })
            .listen("127.0.0.1:0");
        let builder = match self.tls {
            Some(tls) => builder.tls(tls),
            None => builder.allow_plaintext(),
        };
        let server = builder.bind().await.unwrap();
        let (address, handle) = (server.local_addrs()[0], server.handle());
        let (tell, answered) = oneshot::channel();
        let (scripts, transport) = (self.scripts.to_vec(), self.transport);
        thread::spawn(move || {
            let answers = scripts.iter().flat_map(|script| script.play(address, &transport));
            let _ = tell.send(answers.collect());
        });
        let answered = async {
            let answered = answered.await.unwrap();
            // Every connection is over then.
            handle.stop(Duration::from_secs(20)).await;
            answered
        };
        both(server.serve(), answered).await.1
    }
}

type Counts = BTreeMap<String, u64>;

fn counts(keys: impl IntoIterator<Item = String>) -> Counts {
    let mut counts = Counts::new();
    for key in keys {
        *counts.entry(key).or_default() += 1;
    }
    counts
}

/// The sum of a metric, by some of its labels.
fn by(text: &str, metric: &str, labels: &[&str]) -> Counts {
    let mut counts = Counts::new();
    for line in text.lines() {
        let Some(rest) = line.strip_prefix(metric).and_then(|rest| rest.strip_prefix('{')) else {
            continue;
        };
        let (set, value) = rest.rsplit_once("} ").unwrap();
        let found: BTreeMap<&str, &str> = set
            .split("\",")
            .map(|label| label.split_once("=\"").unwrap())
            .map(|(name, value)| (name, value.trim_end_matches('"')))
            .collect();
        let key: Vec<&str> = labels.iter().map(|label| found[label]).collect();
        // Counts, and sums of whole bytes.
        let value: u64 = value.trim_end_matches(".0").parse().unwrap();
        if value > 0 {
            *counts.entry(key.join(" ")).or_default() += value;
        }
    }
    counts
}

/// A failure that was answered in front of any request.
fn before_a_request(event: &Event) -> Option<(Reason, StatusCode)> {
    match event {
        Event::Failed(error) if matches!(error.phase, Phase::Idle | Phase::RequestHead) => {
            Some((Reason::of(error), error.status()?))
        }
        _ => None,
    }
}

fn add(counts: &mut Counts, more: &Counts) {
    for (key, value) in more {
        *counts.entry(key.clone()).or_default() += value;
    }
}

fn agrees(adapter: Adapter, secure: bool, scripts: &[Script]) -> Result<(), TestCaseError> {
    let secrets = Secrets::generate().unwrap();
    let metrics = Metrics::new();
    let told = Arc::default();
    let answers = adapter
        .run(Mix {
            scripts,
            transport: if secure { secrets.transport.clone() } else { Transport::Plain },
            tls: secure.then(|| secrets.server.clone()),
            metrics: &metrics,
            told: Arc::clone(&told),
        })
        .unwrap();
    let told = told.lock().unwrap().clone();
    let text = metrics.encode();
    let duration = "http_server_request_duration_seconds_count";

    // What the observer was told, one for one.
    let started = told.iter().filter(|event| matches!(event, Event::RequestStarted { .. })).count();
    let requests = by(&text, duration, &[]);
    prop_assert_eq!(requests.values().sum::<u64>(), started as u64);
    let decided = told.iter().filter_map(Event::verdict);
    prop_assert_eq!(
        by(&text, "sinew_server_decisions_total", &["policy", "verdict"]),
        counts(decided.map(|named| format!("{} {}", named.policy, named.verdict)))
    );
    let refused = told.iter().filter_map(|event| match event {
        Event::Refused { refused, .. } => Some(format!(
            "{} {} {}",
            refused.stage.name(),
            refused.reason.name(),
            if refused.mode == Mode::Enforce { "enforce" } else { "shadow" }
        )),
        _ => None,
    });
    prop_assert_eq!(
        by(&text, "sinew_server_refusals_total", &["stage", "reason", "mode"]),
        counts(refused)
    );
    let failed = told.iter().filter_map(|event| match event {
        Event::Failed(error) => Some(error.phase.name().to_owned()),
        _ => None,
    });
    prop_assert_eq!(
        by(&text, "sinew_server_connection_failures_total", &["phase"]),
        counts(failed)
    );
    // Every answer belongs to a request, or to a connection that failed in front of one.
    let responded = counts(told.iter().filter_map(|event| match event {
        Event::Responded { status, .. } => Some(status.as_str().to_owned()),
        _ => None,
    }));
    let mut statuses = by(&text, duration, &["http_response_status_code"]);
    statuses.remove("");
    let early: Vec<_> = told.iter().filter_map(before_a_request).collect();
    add(&mut statuses, &counts(early.iter().map(|(_, status)| status.as_str().to_owned())));
    prop_assert_eq!(&statuses, &responded);
    prop_assert_eq!(by(&text, "http_server_active_requests", &[]), Counts::new());
    prop_assert!(text.contains("sinew_server_lost_events_total 0\n"));

    // What clients were answered, where all of them listened.
    if scripts.iter().all(|script| script.listens) {
        let finals = || answers.iter().filter(|answer| !answer.is_interim());
        prop_assert_eq!(counts(finals().map(|answer| answer.status().to_string())), responded);
        let document = |answer: &Message| -> Option<serde_json::Value> {
            let problem = answer.field("content-type")? == "application/problem+json";
            problem.then(|| serde_json::from_slice(&answer.body).ok())?
        };
        let reasons = finals().filter_map(document).filter_map(|document| {
            assert!(document["status"].is_u64(), "{document}");
            Some(document["reason"].as_str()?.to_owned())
        });
        let mut problems = by(&text, "sinew_server_problems_total", &["reason"]);
        add(&mut problems, &counts(early.iter().map(|(reason, _)| reason.name().to_owned())));
        prop_assert_eq!(problems, counts(reasons));
        let sent = by(&text, "http_server_response_body_size_bytes_sum", &[]);
        let heard: usize = finals().map(|answer| answer.body.len()).sum();
        let early: usize =
            early.iter().map(|(reason, _)| Document::from(*reason).to_json().len()).sum();
        prop_assert_eq!(sent.values().sum::<u64>(), (heard - early) as u64);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 100, failure_persistence: None, ..ProptestConfig::default()
    })]

    /// Counters, events and answers agree.
    #[test]
    fn nothing_is_counted_twice_or_left_out(
        adapter in prop::sample::select(vec![Adapter::Tokio, Adapter::Smol, Adapter::AsyncStd]),
        secure: bool,
        scripts in prop::collection::vec(Script::any(), 1..12),
    ) {
        agrees(adapter, secure, &scripts)?;
    }
}
