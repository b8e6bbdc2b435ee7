//! Consul, as a scripted server plays it.

#![expect(clippy::unwrap_used, reason = "outside of `#[test]` too, a test stops where it is wrong")]

mod support;

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use sinew_discovery::consul::{ConsulQuery, ConsulRegistration, ConsulSource, Registered};
use sinew_smol::{Response, RestServer, SmolRuntime};
use support::script::{Asked, Script, followed, in_time, next};

fn source(script: &Script, change: impl FnOnce(&mut ConsulQuery)) -> ConsulSource<SmolRuntime> {
    let mut query = ConsulQuery::new("web/1");
    query.least = Duration::from_millis(1);
    change(&mut query);
    ConsulSource::new(SmolRuntime, script.client(), query)
}

fn entry(id: &str, address: &str, port: u16) -> Value {
    json!({
        "Node": {"Node": "n1", "Address": "10.9.9.9", "Datacenter": "dc1"},
        "Service": {
            "ID": id, "Service": "web", "Address": address, "Port": port, "Tags": [], "Meta": {"v": "2"},
            "Weights": {"Passing": 7, "Warning": 1}
        },
        "Checks": [{"CheckID": "serfHealth", "Status": "passing"}]
    })
}

fn list(asked: Asked, index: &str, entries: &[Value]) {
    let body = serde_json::to_string(entries).unwrap();
    asked.answer(Response::ok(body).header("x-consul-index", index));
}

fn failed(why: &'static str) -> Response {
    Response::new(StatusCode::INTERNAL_SERVER_ERROR).body(why)
}

#[test]
fn a_service_is_followed_by_blocking_queries() {
    smol::block_on(async {
        let script = Script::start().await;
        followed(source(&script, |query| query.tag = Some("blue".to_owned())), async |told| {
            let asked = script.next().await;
            assert_eq!(asked.path(), "/v1/health/service/web%2F1");
            assert_eq!(asked.query("passing"), Some("true"));
            assert_eq!((asked.query("tag"), asked.query("stale")), (Some("blue"), None));
            assert_eq!((asked.query("index"), asked.query("wait")), (None, None));
            let ill = json!({
                "Node": {"Address": "10.0.0.3"}, "Service": {"ID": "c", "Port": 80},
                "Checks": [{"Status": "critical"}]
            });
            // One without an address of its own has that of its node.
            let mut large = entry("large", "10.0.0.4", 80);
            large["Service"]["Port"] = json!(65_536);
            // Nobody could call these, and all others can be called.
            let unusable = [entry("no port", "10.0.0.4", 0), entry("no name", "a b", 80), large];
            let usable = [entry("a", "", 80), entry("b", "fd00::2", 81), ill];
            list(asked, "7", &[&unusable[..], &usable[..]].concat());
            assert_eq!(next(&told).await, "2 endpoints +10.9.9.9:80 +[fd00::2]:81");
            let asked = script.next().await;
            assert_eq!((asked.query("index"), asked.query("wait")), (Some("7"), Some("60000ms")));
            list(asked, "9", &[entry("b", "fd00::2", 81)]);
            assert_eq!(next(&told).await, "1 endpoints -10.9.9.9:80");
            assert_eq!(script.next().await.query("index"), Some("9"));
        })
        .await;
    });
}

#[test]
fn an_index_that_goes_back_begins_anew_and_zero_is_one() {
    smol::block_on(async {
        let script = Script::start().await;
        followed(source(&script, |_| {}), async |told| {
            list(script.next().await, "20", &[entry("a", "10.0.0.1", 80)]);
            next(&told).await;
            let asked = script.next().await;
            assert_eq!(asked.query("index"), Some("20"));
            list(asked, "3", &[entry("a", "10.0.0.1", 80)]);
            let asked = script.next().await;
            assert_eq!(asked.query("index"), None, "what is there now, without waiting");
            list(asked, "0", &[entry("a", "10.0.0.1", 80)]);
            assert_eq!(script.next().await.query("index"), Some("1"));
        })
        .await;
    });
}

#[test]
fn a_failure_is_told_and_the_list_is_kept() {
    smol::block_on(async {
        let script = Script::start().await;
        followed(source(&script, |_| {}), async |told| {
            list(script.next().await, "20", &[entry("a", "10.0.0.1", 80)]);
            next(&told).await;
            script.next().await.status(500);
            let failed = next(&told).await;
            assert!(failed.starts_with("Consul, service web/1: no answer"), "{failed}");
            assert!(failed.contains("is kept"), "{failed}");
            let asked = script.next().await;
            assert_eq!(asked.query("index"), None, "what was waited for may be gone");
            asked.answer(Response::ok("[").header("x-consul-index", "21"));
            // Without an index nobody could wait for the next one.
            script.next().await.json("[]");
            list(script.next().await, "21", &[entry("a", "10.0.0.1", 80)]);
            assert!(next(&told).await.starts_with("the source is back"));
        })
        .await;
    });
}

#[test]
fn an_agent_that_has_no_time_is_asked_again_for_the_list_as_it_is() {
    smol::block_on(async {
        let script = Script::start().await;
        followed(source(&script, |_| {}), async |told| {
            for (at, status) in (0..).zip([429, 503]) {
                list(script.next().await, "20", &[entry("a", "10.0.0.1", 80)]);
                let back = next(&told).await;
                assert!(back.contains("10.0.0.1") || at > 0 && back.contains("is back"), "{back}");
                // Once: how often is a matter of its own pace.
                script.next().await.status(status);
                let failed = next(&told).await;
                assert!(failed.contains(&status.to_string()), "{failed}");
                assert!(failed.contains("is kept"), "{failed}");
            }
            assert_eq!(script.next().await.query("index"), None);
        })
        .await;
    });
}

#[test]
fn a_server_without_a_leader_says_nothing_that_counts() {
    smol::block_on(async {
        let script = Script::start().await;
        let fresh = |query: &mut ConsulQuery| query.stale = Some(Duration::from_secs(5));
        followed(source(&script, fresh), async |told| {
            let body = serde_json::to_string(&[entry("old", "10.0.0.9", 80)]).unwrap();
            let lost = Response::ok(body).header("x-consul-index", "7");
            script.next().await.answer(lost.header("x-consul-knownleader", "false"));
            let asked = script.next().await;
            assert_eq!(asked.query("stale"), None);
            asked.answer(failed("No cluster leader"));
            assert!(next(&told).await.contains("there is no list yet"));
        })
        .await;
    });
}

#[test]
fn an_answer_that_is_too_old_is_asked_of_the_leader() {
    smol::block_on(async {
        let script = Script::start().await;
        let fresh = |query: &mut ConsulQuery| query.stale = Some(Duration::from_secs(5));
        followed(source(&script, fresh), async |told| {
            let asked = script.next().await;
            assert_eq!(asked.query("stale"), Some(""));
            let body = serde_json::to_string(&[entry("old", "10.0.0.9", 80)]).unwrap();
            let old = Response::ok(body).header("x-consul-index", "7");
            asked.answer(old.header("x-consul-lastcontact", "5001"));
            let asked = script.next().await;
            assert_eq!(asked.query("stale"), None, "the leader");
            list(asked, "8", &[entry("a", "10.0.0.1", 80)]);
            assert_eq!(next(&told).await, "1 endpoints +10.0.0.1:80");
            assert_eq!(script.next().await.query("stale"), Some(""));
        })
        .await;
    });
}

#[test]
fn an_instance_is_registered_kept_alive_and_taken_back_before_its_server_leaves() {
    smol::block_on(async {
        let agent = Script::start().await;
        let mut builder = RestServer::builder().allow_plaintext().listen("127.0.0.1:0");
        let drain = &mut builder.config_mut().drain;
        (drain.propagation, drain.deadline) =
            (Duration::from_secs(3_600), Duration::from_secs(7_200));
        let server = builder.bind().await.unwrap();
        let handle = server.handle();
        let serving = smol::spawn(async move { server.serve().await });
        let registration = ConsulRegistration {
            // A third of it is the time for an answer, which a busy machine must have.
            ttl: Duration::from_secs(9),
            ..ConsulRegistration::new("web-1", "web", 8080)
        };
        let (tell, told) = smol::channel::unbounded();
        let client = agent.client();
        let watched = handle.clone();
        let running = smol::spawn(async move {
            let report = |what| {
                let _ = tell.try_send(what);
            };
            registration.run(&SmolRuntime, &client, &watched, report).await;
        });
        let asked = agent.next().await;
        assert_eq!((&asked.method, &*asked.target), (&Method::PUT, "/v1/agent/service/register"));
        let body: Value = serde_json::from_str(&asked.body).unwrap();
        assert_eq!(
            (&body["ID"], &body["Name"], &body["Port"]),
            (&json!("web-1"), &json!("web"), &json!(8080))
        );
        assert_eq!(body["Check"]["TTL"], "9000ms");
        assert_eq!(body["Check"]["Status"], "passing");
        assert_eq!(body["Check"]["DeregisterCriticalServiceAfter"], "60000ms");
        asked.status(200);
        assert!(matches!(in_time(told.recv()).await.unwrap(), Registered::Yes));
        let asked = agent.next().await;
        assert_eq!(asked.path(), "/v1/agent/check/pass/service%3Aweb-1");
        // An agent without a leader knows of it still: what it says of its maintenance stays.
        asked.answer(failed("No cluster leader"));
        assert!(matches!(in_time(told.recv()).await.unwrap(), Registered::Failed(_)));
        // One that has started anew knows of nothing, and says so in one of these ways.
        for forgotten in [
            Response::new(StatusCode::NOT_FOUND),
            failed("Unknown check \"service:web-1\""),
            failed("CheckID \"service:web-1\" does not have associated TTL"),
        ] {
            let asked = agent.next().await;
            assert_eq!(asked.path(), "/v1/agent/check/pass/service%3Aweb-1");
            asked.answer(forgotten);
            let asked = agent.next().await;
            assert_eq!(asked.target, "/v1/agent/service/register");
            asked.status(200);
            assert!(matches!(in_time(told.recv()).await.unwrap(), Registered::Yes));
        }
        let leaving = smol::spawn({
            let handle = handle.clone();
            async move { handle.drain().await }
        });
        // A heartbeat may have been on its way.
        let asked = loop {
            let asked = agent.next().await;
            if !asked.path().starts_with("/v1/agent/check/pass/") {
                break asked;
            }
            asked.status(200);
        };
        assert_eq!(asked.path(), "/v1/agent/service/deregister/web-1");
        assert_eq!(handle.phase(), sinew_core::server::drain::Phase::LameDuck, "it still serves");
        asked.status(200);
        assert!(matches!(in_time(told.recv()).await.unwrap(), Registered::Gone));
        in_time(running).await;
        handle.advance(sinew_core::server::drain::Phase::Force);
        in_time(leaving).await;
        in_time(serving).await;
    });
}
