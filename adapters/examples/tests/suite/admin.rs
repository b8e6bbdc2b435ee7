//! What operators ask: on a listener of its own, or behind the policies of the server.

use std::future::ready;
use std::net::{Ipv4Addr, SocketAddr};

use futures_util::future::join;
use http::Method;
use sinew_core::security::{Identity, PeerName, Routes, Rule, Who};
use sinew_driver::{Admin, Request, SecurityPolicy};
use sinew_prometheus::Metrics;
use tokio::sync::Notify;

use super::raw::{Answer, Raw, blocking};
use super::site::{
    Builder, CLIENT, Security, Site, client_for, client_of, client_to, ended, pki, server_tls,
};
use super::{each, run};
use crate::rt;

fn admin() -> Admin<rt::Mode> {
    let metrics = Metrics::new();
    let accept = |request: &Request| request.header("accept").map(<[u8]>::to_vec);
    Admin::new().metrics(move |request: Request| ready(metrics.answer(accept(&request).as_deref())))
}

fn builder() -> Builder {
    rt::RestServer::builder()
        .listen("127.0.0.1:0")
        .route(Method::GET, "/", async |_: Request| "hello")
        .admin(admin().listen("127.0.0.1:0"))
}

async fn ask(address: SocketAddr, security: Security, request: &'static str) -> Answer {
    blocking(move || {
        let mut socket = Raw::connect(address, security);
        socket.send(format!("{request}\r\nhost: a\r\nconnection: close\r\n\r\n"));
        socket.answer().unwrap()
    })
    .await
}

#[test]
fn operators_have_a_listener_of_their_own() {
    each(async |security| {
        let site = Site::run(security, builder()).await;
        assert_eq!(client_of(&site).get("/metrics").send().await.unwrap().status(), 404);
        // Those who reach the loopback have access to more than metrics.
        let operators = site.operators[0];
        let asked = async |request| ask(operators, Security::Plain, request).await;
        let answer = asked("GET /metrics HTTP/1.1").await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.field("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        assert_eq!(answer.field("vary"), Some("accept"));
        let text = String::from_utf8(answer.body).unwrap();
        assert!(text.contains("# TYPE sinew_server_lost_events_total counter\n"), "{text}");

        let open = asked("GET /metrics HTTP/1.1\r\naccept: application/openmetrics-text").await;
        let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        assert_eq!(open.field("content-type"), Some(content_type));
        assert!(open.body.ends_with(b"# EOF\n"));

        for (request, status, allow) in [
            ("POST /metrics HTTP/1.1", 405, Some("GET, HEAD, OPTIONS")),
            ("OPTIONS /metrics HTTP/1.1", 204, Some("GET, HEAD, OPTIONS")),
            ("GET / HTTP/1.1", 404, None),
        ] {
            let answer = asked(request).await;
            assert_eq!((answer.status(), answer.field("allow")), (status, allow), "{request}");
        }
        let url = Security::Plain.url(operators);
        let head = client_to(&url).request(Method::HEAD, "/metrics").send().await.unwrap();
        assert_eq!(
            head.header("content-type").unwrap(),
            "text/plain; version=0.0.4; charset=utf-8"
        );
        assert_eq!(
            head.header("content-length").unwrap().to_str().unwrap(),
            text.len().to_string()
        );
        assert_eq!(head.text().await.unwrap(), "");
    });
}

#[test]
fn a_server_without_free_connections_still_tells_its_metrics() {
    each(async |security| {
        let site = Site::run(security, builder().max_connections(1)).await;
        let client = client_of(&site);
        assert_eq!(client.get("/").send().await.unwrap().text().await.unwrap(), "hello");
        assert_eq!(site.handle.connections(), 1);
        let url = Security::Plain.url(site.operators[0]);
        assert_eq!(client_to(&url).get("/metrics").send().await.unwrap().status(), 200);
        assert_eq!(site.handle.connections(), 1, "those of operators are not counted");
        drop(client);
    });
}

#[test]
fn operators_may_ask_until_the_last_exchange_is_over() {
    run(async {
        let entered = std::sync::Arc::new(Notify::new());
        let go = std::sync::Arc::new(Notify::new());
        let (inside, released) = (entered.clone(), go.clone());
        let builder = builder().route(Method::GET, "/gate", move |_: Request| {
            let (inside, released) = (inside.clone(), released.clone());
            async move {
                inside.notify_one();
                released.notified().await;
                "through"
            }
        });
        let site = Site::run(Security::Plain, builder).await;
        let (client, operator) =
            (client_of(&site), client_to(&Security::Plain.url(site.operators[0])));
        let stop = async {
            entered.notified().await;
            let meanwhile = async {
                site.handle.stopping().await;
                assert_eq!(operator.get("/metrics").send().await.unwrap().status(), 200);
                go.notify_one();
            };
            join(site.handle.drain(), meanwhile).await.0
        };
        let (answer, report) = join(client.get("/gate").send(), stop).await;
        assert_eq!(answer.unwrap().text().await.unwrap(), "through");
        assert_eq!(ended(&report), (0, 1, 0));
        while client_to(&Security::Plain.url(site.operators[0]))
            .get("/metrics")
            .send()
            .await
            .is_ok()
        {
            super::pause().await;
        }
    });
}

#[test]
fn what_is_public_stands_behind_the_policies() {
    each(async |security| {
        let operator = Who::Named(vec![Identity::Peer(PeerName::Spiffe(CLIENT.into()))]);
        let rules = SecurityPolicy::new().rule(Rule::allow(
            "operators",
            operator,
            Routes::Of(vec!["/metrics".into()]),
        ));
        let builder = builder()
            .amend_admin(|admin| admin.listen_only(Vec::<String>::new()).public())
            .security(rules);
        let site = Site::run(security, builder).await;
        assert_eq!(site.operators, []);
        let wanted = match security {
            Security::Plain => 401,
            Security::Mutual => 200,
        };
        assert_eq!(client_of(&site).get("/metrics").send().await.unwrap().status(), wanted);
    });
}

#[test]
fn what_other_machines_reach_goes_over_tls() {
    run(async {
        let everywhere = || builder().amend_admin(|admin| admin.listen_only(["0.0.0.0:0"]));
        let site = Site::run(Security::Mutual, everywhere()).await;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, site.operators[0].port()));
        let client = client_for(Security::Mutual, &Security::Mutual.url(address));
        assert_eq!(client.get("/metrics").send().await.unwrap().status(), 200);
        let plain = client_to(&Security::Plain.url(address)).get("/metrics").send().await;
        assert!(plain.is_err_and(|error| error.fault() != sinew_core::error::Fault::Local));

        let site = Site::run(Security::Plain, everywhere()).await;
        let url =
            Security::Plain.url(SocketAddr::from((Ipv4Addr::LOCALHOST, site.operators[0].port())));
        assert_eq!(client_to(&url).get("/metrics").send().await.unwrap().status(), 200);
    });
}

#[cfg(unix)]
#[test]
fn operators_may_ask_over_a_unix_socket() {
    use std::io::{Read, Write};

    run(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin");
        let place = format!("unix:{}", path.display());
        let builder = builder().amend_admin(|admin| admin.listen_only([place]));
        let site = Site::run(Security::Mutual, builder).await;
        assert_eq!(site.operators, []);
        let answer = blocking(move || {
            let mut socket = std::os::unix::net::UnixStream::connect(path).unwrap();
            socket.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
            let mut answer = String::new();
            socket.read_to_string(&mut answer).unwrap();
            answer
        })
        .await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    });
}

#[test]
fn an_admin_surface_that_makes_no_sense_is_refused() {
    run(async {
        let tls = || server_tls(&pki().server);
        let refused = async |builder: Builder| builder.bind().await.err().unwrap().to_string();
        let both = builder().tls(tls()).amend_admin(Admin::public);
        assert!(refused(both).await.contains("choose one"));
        let none = builder().tls(tls()).amend_admin(|admin| admin.max_connections(0));
        assert!(refused(none).await.contains("no connections"));
        let twice = builder().tls(tls()).admin(admin().metrics(async |_: Request| ""));
        assert!(refused(twice).await.contains("/metrics is there twice"));
        let folder = tempfile::tempdir().unwrap();
        let exposed = builder()
            .listen_only([format!("unix:{}", folder.path().join("s").display())])
            .amend_admin(|admin| admin.listen_only(["0.0.0.0:0"]));
        assert!(refused(exposed).await.contains("no TLS for it"));
    });
}
