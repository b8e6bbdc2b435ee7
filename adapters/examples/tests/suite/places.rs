//! Where a server listens and how a client finds it.

use std::net::ToSocketAddrs;

use http::Method;
use sinew_driver::{Request, StdListener};

use super::site::{BOTH, Security, Site, client_for, client_of, client_to};
use super::{each, run};
use crate::rt;

fn hello() -> super::site::Builder {
    rt::RestServer::builder().route(Method::GET, "/", async |request: Request| {
        request.header_str("host").unwrap_or_default().to_owned()
    })
}

#[test]
fn v6() {
    each(async |security| {
        let site = Site::run(security, hello().listen("[::1]:0")).await;
        let host = client_of(&site).get("/").send().await.unwrap().text().await.unwrap();
        assert_eq!(host, site.address().to_string());
    });
}

#[test]
fn a_name_of_whose_addresses_one_answers() {
    let known: Vec<_> = ("localhost", 0).to_socket_addrs().unwrap().collect();
    for place in ["127.0.0.1:0", "[::1]:0"] {
        // Not every machine has a v6 address for this name.
        if !known.contains(&place.parse().unwrap()) {
            continue;
        }
        each(async |security| {
            let site = Site::run(security, hello().listen(place)).await;
            let url = site.url().replace(&site.address().ip().to_string(), "localhost");
            let url = url.replace("[localhost]", "localhost");
            let client = client_for(security, &url);
            let host = client.get("/").send().await.unwrap().text().await.unwrap();
            assert_eq!(host, format!("localhost:{}", site.address().port()));
        });
    }
}

#[test]
fn several_places_at_once() {
    each(async |security| {
        let site = Site::run(security, hello().listen("127.0.0.1:0").listen("[::1]:0")).await;
        assert_eq!(site.addresses.len(), 2);
        let urls = site.addresses.iter().map(|address| security.url(*address));
        let clients: Vec<_> = urls.map(|url| client_for(security, &url)).collect();
        for client in &clients {
            assert_eq!(client.get("/").send().await.unwrap().status(), 200);
        }
        assert_eq!(site.handle.connections(), 2);
    });
}

#[test]
fn a_listener_that_exists_already() {
    each(async |security| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let site = Site::run(security, hello().listen_on(StdListener::Tcp(listener))).await;
        assert_eq!(site.address(), address);
        assert_eq!(client_of(&site).get("/").send().await.unwrap().status(), 200);
    });
}

#[cfg(unix)]
#[test]
fn a_listener_handed_over_by_descriptor() {
    each(async |security| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let site = Site::run(security, hello().listen_fd(listener.into())).await;
        assert_eq!(client_of(&site).get("/").send().await.unwrap().status(), 200);
    });
}

#[cfg(unix)]
#[test]
fn a_unix_socket() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sinew.sock");
        let place = format!("unix:{}", path.display());
        let site = Site::run(Security::Plain, hello().listen(place.clone())).await;
        assert!(site.addresses.is_empty());
        let client = client_to(&place);
        for _ in 0..2 {
            assert_eq!(client.get("/").send().await.unwrap().status(), 200);
        }
        assert_eq!(site.handle.connections(), 1);
        site.stop().await;
    });
}

#[test]
fn what_makes_no_sense_is_refused() {
    run(async {
        assert!(hello().listen("127.0.0.1:0").bind().await.is_err(), "plaintext unasked");
        assert!(hello().listen("nonsense").allow_plaintext().bind().await.is_err());
        let taken = Site::run(BOTH[0], hello().listen("127.0.0.1:0")).await;
        let again = hello().listen(taken.address().to_string()).allow_plaintext();
        assert!(again.bind().await.is_err());
    });
}
