//! Kubernetes, as a scripted API server plays them.

#![expect(clippy::unwrap_used, reason = "outside of `#[test]` too, a test stops where it is wrong")]

mod support;

use std::time::Duration;

use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use sinew_discovery::kubernetes::{EndpointSliceQuery, EndpointSliceSource, ServiceAccount};
use sinew_smol::{Body, Response, SmolRuntime};
use sinew_tls::ServerTls;
use smol::channel::{Sender, unbounded};
use support::script::{Asked, Script, followed, next};

fn source(script: &Script) -> EndpointSliceSource<SmolRuntime> {
    let mut query = EndpointSliceQuery::new("shop", "web");
    query.least = Duration::from_millis(1);
    query.port = Some("http".to_owned());
    EndpointSliceSource::new(SmolRuntime, script.client(), query)
}

fn slice(name: &str, version: &str, endpoints: &[Value]) -> Value {
    json!({
        "metadata": {"name": name, "resourceVersion": version},
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [
            {"name": "metrics", "port": 9090, "protocol": "TCP"},
            {"name": "http", "port": 8080, "protocol": "TCP"}
        ]
    })
}

fn endpoint(address: &str, conditions: &Value) -> Value {
    json!({"addresses": [address], "conditions": conditions, "zone": "b", "nodeName": "n1"})
}

fn ready(address: &str) -> Value {
    endpoint(address, &json!({"ready": true, "serving": true, "terminating": false}))
}

fn list(asked: Asked, version: &str, next: &str, slices: &[Value]) {
    let metadata = json!({"resourceVersion": version, "continue": next});
    asked.json(
        &json!({"kind": "EndpointSliceList", "metadata": metadata, "items": slices}).to_string(),
    );
}

/// A watch that is open.
struct Watch(Sender<Result<Bytes, std::io::Error>>);

impl Watch {
    fn open(asked: Asked) -> Self {
        let (send, lines) = unbounded();
        asked.answer(Response::ok(Body::stream(lines)));
        Self(send)
    }

    fn event(&self, kind: &str, object: &Value) {
        let line = format!("{}\n", json!({"type": kind, "object": object}));
        // In two pieces: a stream has no lines.
        let (head, tail) = line.split_at(line.len() / 2);
        for piece in [head, tail] {
            let _ = self.0.try_send(Ok(Bytes::from(piece.to_owned())));
        }
    }
}

#[test]
fn slices_are_listed_and_watched() {
    smol::block_on(async {
        let script = Script::start().await;
        followed(source(&script), async |told| {
            let asked = script.next().await;
            assert_eq!(asked.path(), "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices");
            assert_eq!(asked.query("labelSelector"), Some("kubernetes.io%2Fservice-name%3Dweb"));
            assert_eq!((asked.query("watch"), asked.query("continue")), (None, None));
            list(asked, "10", "more", &[slice("web-1", "8", &[ready("10.0.0.1")])]);
            let asked = script.next().await;
            assert_eq!(asked.query("continue"), Some("more"));
            list(asked, "10", "", &[slice("web-2", "9", &[ready("10.0.0.2"), ready("10.0.0.1")])]);
            // Several slices are one list, and one that is in two of them is one endpoint.
            assert_eq!(next(&told).await, "2 endpoints +10.0.0.1:8080 +10.0.0.2:8080");

            let asked = script.next().await;
            assert_eq!(
                (asked.query("watch"), asked.query("resourceVersion")),
                (Some("1"), Some("10"))
            );
            assert_eq!(asked.query("allowWatchBookmarks"), Some("true"));
            assert_eq!(asked.query("timeoutSeconds"), Some("300"));
            let watch = Watch::open(asked);
            watch.event("ADDED", &slice("web-3", "11", &[ready("10.0.0.3")]));
            assert_eq!(next(&told).await, "3 endpoints +10.0.0.3:8080");
            watch.event("MODIFIED", &slice("web-3", "12", &[ready("10.0.0.4")]));
            assert_eq!(next(&told).await, "3 endpoints +10.0.0.4:8080 -10.0.0.3:8080");
            watch.event("DELETED", &slice("web-3", "13", &[]));
            assert_eq!(next(&told).await, "2 endpoints -10.0.0.4:8080");
            watch.event("BOOKMARK", &json!({"metadata": {"resourceVersion": "40"}}));
            drop(watch);
            // The next watch begins where the last one ended.
            assert_eq!(script.next().await.query("resourceVersion"), Some("40"));
        })
        .await;
    });
}

#[test]
fn a_version_that_is_gone_is_listed_anew() {
    smol::block_on(async {
        let script = Script::start().await;
        followed(source(&script), async |told| {
            list(script.next().await, "10", "", &[slice("web-1", "8", &[ready("10.0.0.1")])]);
            next(&told).await;
            // As a status,
            script.next().await.status(410);
            let asked = script.next().await;
            assert_eq!((asked.query("watch"), asked.query("resourceVersion")), (None, None));
            list(asked, "90", "", &[slice("web-2", "88", &[ready("10.0.0.2")])]);
            assert_eq!(next(&told).await, "1 endpoints +10.0.0.2:8080 -10.0.0.1:8080");
            // and as an event.
            let asked = script.next().await;
            assert_eq!(asked.query("resourceVersion"), Some("90"));
            let watch = Watch::open(asked);
            watch.event("ERROR", &json!({"kind": "Status", "code": 410, "reason": "Expired"}));
            let asked = script.next().await;
            assert_eq!(asked.query("watch"), None);
            list(asked, "99", "", &[slice("web-1", "98", &[ready("10.0.0.1")])]);
            assert_eq!(next(&told).await, "1 endpoints +10.0.0.1:8080 -10.0.0.2:8080");
        })
        .await;
    });
}

#[test]
fn a_watch_that_breaks_goes_on_and_one_that_is_refused_begins_with_a_list() {
    smol::block_on(async {
        let script = Script::start().await;
        followed(source(&script), async |told| {
            list(script.next().await, "10", "", &[slice("web-1", "8", &[ready("10.0.0.1")])]);
            next(&told).await;
            let watch = Watch::open(script.next().await);
            watch.event("ADDED", &slice("web-2", "11", &[ready("10.0.0.2")]));
            assert_eq!(next(&told).await, "2 endpoints +10.0.0.2:8080");
            let _ = watch.0.try_send(Err(std::io::ErrorKind::ConnectionReset.into()));
            let asked = script.next().await;
            assert_eq!(asked.query("resourceVersion"), Some("11"));
            asked.status(403);
            let failed = next(&told).await;
            assert!(failed.starts_with("Kubernetes, service shop/web: no watch"), "{failed}");
            assert!(failed.contains("is kept"), "{failed}");
            let asked = script.next().await;
            assert_eq!((asked.query("watch"), asked.query("resourceVersion")), (None, None));
            list(asked, "12", "", &[slice("web-1", "8", &[ready("10.0.0.1")])]);
            assert_eq!(next(&told).await, "1 endpoints -10.0.0.2:8080");
            // Nothing changes, and it is back all the same.
            assert!(next(&told).await.starts_with("the source is back"));
            let watch = Watch::open(script.next().await);
            watch.event("SURPRISE", &json!({}));
            let failed = next(&told).await;
            assert!(failed.contains("no sense: unknown variant `SURPRISE`"), "{failed}");
            assert_eq!(script.next().await.query("watch"), None, "what was missed is not known");
        })
        .await;
    });
}

#[test]
fn a_server_that_has_no_time_for_a_watch_is_asked_for_it_again() {
    smol::block_on(async {
        let script = Script::start().await;
        followed(source(&script), async |told| {
            list(script.next().await, "10", "", &[slice("web-1", "8", &[ready("10.0.0.1")])]);
            next(&told).await;
            for status in [429, 500] {
                script.next().await.status(status);
                let failed = next(&told).await;
                assert!(failed.contains("no watch") && failed.contains("is kept"), "{failed}");
                let asked = script.next().await;
                let seen = (asked.query("watch"), asked.query("resourceVersion"));
                assert_eq!(seen, (Some("1"), Some("10")), "no list, which is more work");
                let watch = Watch::open(asked);
                assert!(next(&told).await.starts_with("the source is back"), "while all is quiet");
                drop(watch);
            }
            // Where no watch works, a list may.
            script.next().await.status(503);
            assert!(next(&told).await.contains("no watch"));
            script.next().await.status(503);
            let asked = script.next().await;
            assert_eq!(asked.query("watch"), None);
            list(asked, "20", "", &[slice("web-1", "8", &[ready("10.0.0.1")])]);
            assert!(next(&told).await.starts_with("the source is back"));
            // One that says so in the watch may have left out what happened before.
            let watch = Watch::open(script.next().await);
            watch.event("ERROR", &json!({"code": 500, "message": "etcd is away"}));
            let failed = next(&told).await;
            assert!(failed.contains("500: etcd is away"), "{failed}");
            assert_eq!(script.next().await.query("watch"), None);
        })
        .await;
    });
}

#[test]
fn a_list_whose_next_page_is_gone_is_begun_again_once() {
    smol::block_on(async {
        let script = Script::start().await;
        followed(source(&script), async |told| {
            let first = slice("web-1", "8", &[ready("10.0.0.1")]);
            let asked = script.next().await;
            assert_eq!((asked.query("limit"), asked.query("continue")), (Some("100"), None));
            list(asked, "10", "more", &[first]);
            let asked = script.next().await;
            assert_eq!(
                (asked.query("limit"), asked.query("continue")),
                (Some("100"), Some("more"))
            );
            asked.status(410);
            let asked = script.next().await;
            assert_eq!(asked.query("continue"), None);
            assert!(told.is_empty(), "that is no failure");
            // What stood on the pages before is not in the new list unless it says so.
            list(asked, "20", "rest", &[slice("web-2", "18", &[ready("10.0.0.2")])]);
            script.next().await.status(410);
            let failed = next(&told).await;
            assert!(failed.contains("no answer") && failed.contains("410"), "{failed}");
            list(script.next().await, "30", "", &[slice("web-2", "18", &[ready("10.0.0.2")])]);
            assert_eq!(next(&told).await, "1 endpoints +10.0.0.2:8080");
        })
        .await;
    });
}

#[test]
fn the_port_is_that_of_the_name_in_each_slice() {
    smol::block_on(async {
        let script = Script::start().await;
        followed(source(&script), async |told| {
            let mut other = slice("web-2", "8", &[ready("10.0.0.2")]);
            other["ports"] = json!([{"name": "http", "port": 80}, {"name": "http", "port": 81}]);
            // Of another protocol, without a number, without a port of this name, without any.
            let mut udp = slice("web-3", "8", &[ready("10.0.0.3")]);
            udp["ports"] = json!([{"name": "http", "port": 8080, "protocol": "UDP"}]);
            let mut any = slice("web-4", "8", &[ready("10.0.0.4")]);
            any["ports"] = json!([{"name": "http", "port": null}]);
            let mut unnamed = slice("web-5", "8", &[ready("10.0.0.5")]);
            unnamed["ports"] = json!([{"name": "", "port": 8080}]);
            let mut none = slice("web-6", "8", &[ready("10.0.0.6")]);
            none["ports"] = json!(null);
            let all = [slice("web-1", "8", &[ready("10.0.0.1")]), other, udp, any, unnamed, none];
            list(script.next().await, "10", "", &all);
            assert_eq!(next(&told).await, "2 endpoints +10.0.0.1:8080 +10.0.0.2:80");
        })
        .await;
    });
}

#[test]
fn a_pod_of_two_families_is_one_endpoint() {
    smol::block_on(async {
        let script = Script::start().await;
        followed(source(&script), async |told| {
            let mut six = slice("web-6", "8", &[ready("fd00::1")]);
            six["addressType"] = json!("IPv6");
            let four = slice("web-4", "9", &[ready("10.0.0.1")]);
            list(script.next().await, "10", "", &[six, four]);
            assert_eq!(next(&told).await, "1 endpoints +10.0.0.1:8080");
            let watch = Watch::open(script.next().await);
            watch.event("DELETED", &slice("web-4", "11", &[]));
            assert_eq!(next(&told).await, "1 endpoints +[fd00::1]:8080 -10.0.0.1:8080");
        })
        .await;
    });
}

#[test]
fn conditions_say_who_is_called() {
    let leaving = json!({"ready": false, "serving": true, "terminating": true});
    let cases = [
        // Not said is ready.
        (vec![endpoint("10.0.0.1", &json!({}))], "1 endpoints +10.0.0.1:8080"),
        (
            vec![
                ready("10.0.0.1"),
                endpoint("10.0.0.2", &leaving),
                endpoint("10.0.0.3", &json!({"ready": false})),
            ],
            "1 endpoints +10.0.0.1:8080",
        ),
        // Where none is ready, those that serve on.
        (
            vec![
                endpoint("10.0.0.2", &leaving),
                endpoint("10.0.0.3", &json!({"ready": false, "serving": true})),
            ],
            "1 endpoints +10.0.0.2:8080",
        ),
    ];
    for (endpoints, told) in cases {
        smol::block_on(async {
            let script = Script::start().await;
            followed(source(&script), async |news| {
                list(script.next().await, "10", "", &[slice("web-1", "8", &endpoints)]);
                assert_eq!(next(&news).await, told);
            })
            .await;
        });
    }
}

#[test]
fn a_pod_finds_its_account() {
    let folder = tempfile::tempdir().unwrap();
    let account = ServiceAccount::at(folder.path(), "https://10.0.0.1:443");
    let why = account.namespace().unwrap_err().to_string();
    assert!(why.contains("namespace"), "{why}");
    std::fs::write(folder.path().join("namespace"), "shop\n").unwrap();
    assert_eq!(account.namespace().unwrap(), "shop");
    assert!(account.client(SmolRuntime).is_err(), "without authorities nobody is trusted");
}

#[test]
fn a_pod_shows_its_token_to_the_server_that_its_authorities_vouch_for() {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let names = vec!["kubernetes.default.svc".to_owned()];
    let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap().pem();
    let tls = ServerTls::builder().certificate_pem(leaf, key.serialize_pem()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.crt"), authority).unwrap();
    std::fs::write(folder.path().join("token"), "s3cr3t\n").unwrap();
    smol::block_on(async {
        let script = Script::start_over(Some(tls.build().unwrap())).await;
        let account = ServiceAccount::at(folder.path(), &script.url);
        let client = account.client(SmolRuntime).unwrap();
        let query = EndpointSliceQuery::new("shop", "web");
        followed(EndpointSliceSource::new(SmolRuntime, client, query), async |told| {
            let asked = script.next().await;
            assert_eq!(asked.fields["authorization"], "Bearer s3cr3t");
            list(asked, "10", "", &[slice("web-1", "8", &[ready("10.0.0.1")])]);
            // A handshake that took too long on a machine that has other things to do was told before.
            let news = loop {
                let news = next(&told).await;
                if news.contains("endpoints") {
                    break news;
                }
            };
            // Without the name of a port, the first one of TCP.
            assert_eq!(news, "1 endpoints +10.0.0.1:9090");
        })
        .await;
    });
}
