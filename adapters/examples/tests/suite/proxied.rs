//! Connections that a proxy passes on, in front of TLS, and how many an address may have.

use std::io::{self, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use http::Method;
use sinew_core::security::{ForwardedField, Network, ProxyProtocol, TrustedProxies};
use sinew_driver::{Peer, Request};

use super::each;
use super::raw::blocking;
use super::site::{Site, client_for, client_of};
use crate::rt;

/// `PROXY` over TCP, from 203.0.113.9:4660.
const HEADER: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xcb\x00\x71\x09\x7f\x00\x00\x01\x12\x34\x00\x50";

/// A proxy on this machine: all that comes goes there, behind a header.
fn proxy(to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming() {
            let client = client.unwrap();
            let mut server = TcpStream::connect(to).unwrap();
            server.write_all(HEADER).unwrap();
            relay(client.try_clone().unwrap(), server.try_clone().unwrap());
            relay(server, client);
        }
    });
    address
}

fn relay(mut from: TcpStream, mut to: TcpStream) {
    thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
}

async fn whoami(request: Request) -> String {
    match request.peer() {
        Peer::Tcp(address) => address.to_string(),
        Peer::Unix => "unix".to_owned(),
    }
}

#[test]
fn the_peer_is_whom_the_proxy_names() {
    each(async |security| {
        let here: Vec<Network> = vec!["127.0.0.1".parse().unwrap()];
        let builder = rt::RestServer::builder()
            .listen("127.0.0.1:0")
            .proxy_protocol(ProxyProtocol::new(here, ProxyProtocol::LIMIT))
            .route(Method::GET, "/", whoami);
        let site = Site::run(security, builder).await;
        let through = client_for(security, &security.url(proxy(site.address())));
        for _ in 0..2 {
            let response = through.get("/").send().await.unwrap();
            assert_eq!(response.text().await.unwrap(), "203.0.113.9:4660");
        }
        // Who is expected to send a header has to.
        assert!(client_of(&site).get("/").send().await.is_err());
    });
}

#[test]
fn from_everyone_else_a_header_is_garbage() {
    each(async |security| {
        let builder =
            rt::RestServer::builder().listen("127.0.0.1:0").route(Method::GET, "/", whoami);
        let site = Site::run(security, builder).await;
        let through = client_for(security, &security.url(proxy(site.address())));
        let answer = through.get("/").send().await;
        assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status() == 400));
    });
}

/// Read from the right: what stands left of the first address that is no proxy was made up by anyone.
#[test]
fn the_client_is_whom_the_proxies_say_it_is() {
    async fn client(request: Request) -> String {
        let record = request.record().unwrap();
        let said = record.forwarded.as_deref();
        let host = said.and_then(|said| said.host.as_deref()).unwrap_or("none");
        let client = record.security.client_address;
        client.map_or_else(|| "unknown".to_owned(), |client| format!("{client} {host}"))
    }
    each(async |security| {
        let networks = |text: &str| -> Vec<Network> { vec![text.parse().unwrap()] };
        let ours = [networks("127.0.0.1"), networks("10.0.0.0/8")].concat();
        for (trusted, field, line, expected) in [
            (
                &ours,
                ForwardedField::Forwarded,
                "for=198.51.100.1;host=evil.test, for=192.0.2.7;host=shop.test, for=10.0.0.3",
                "192.0.2.7 shop.test",
            ),
            (&ours, ForwardedField::Forwarded, "for=192.0.2.7, for=unknown", "unknown"),
            (
                &ours,
                ForwardedField::XForwardedFor,
                "198.51.100.1, 192.0.2.7, 10.0.0.3",
                "192.0.2.7 none",
            ),
            (&networks("10.0.0.0/8"), ForwardedField::XForwardedFor, "192.0.2.7", "127.0.0.1 none"),
        ] {
            let builder = rt::RestServer::builder()
                .listen("127.0.0.1:0")
                .trusted_proxies(TrustedProxies::new(trusted.clone(), field))
                .route(Method::GET, "/", client);
            let site = Site::run(security, builder).await;
            let name = match field {
                ForwardedField::Forwarded => "forwarded",
                ForwardedField::XForwardedFor => "x-forwarded-for",
            };
            let answer = client_of(&site).get("/").header(name, line).send().await.unwrap();
            assert_eq!(answer.text().await.unwrap(), expected, "{line}");
        }
    });
}

#[test]
fn an_address_has_its_share_of_the_connections() {
    each(async |security| {
        let mut builder =
            rt::RestServer::builder().listen("127.0.0.1:0").route(Method::GET, "/", whoami);
        builder.config_mut().max_connections_per_address = 1;
        let site = Site::run(security, builder).await;
        let client = client_of(&site);
        assert!(client.get("/").send().await.is_ok());
        let address = site.address();
        let dropped = blocking(move || {
            let mut second = TcpStream::connect(address).unwrap();
            // Closed, or reset: nothing is said.
            io::copy(&mut second, &mut io::sink()).unwrap_or_default()
        });
        assert_eq!(dropped.await, 0);
        assert!(client.get("/").send().await.is_ok(), "the first one is kept");
        assert_eq!(site.handle.connections(), 1);
    });
}
