//! The server in memory: connections that a proxy passes on, and how many there may be.

use std::time::Duration;

use http::Method;
use sinew_core::observe::Event;
use sinew_core::security::{BadProxyHeader, Network, ProxyProtocol};
use sinew_core::server::ConnectionRefused;
use sinew_core::server::drain::{Ending, Phase};
use sinew_driver::{Notice, Peer, Request};

use crate::support::running::{Builder, Running, get, seconds, serve};

/// Where every client of the simulation is.
const HERE: &str = "192.0.2.0/24";

fn whoami(builder: Builder) -> Builder {
    builder.route(Method::GET, "/", async |request: Request| match request.peer() {
        Peer::Tcp(address) => address.to_string(),
        Peer::Unix => "unix".to_owned(),
    })
}

fn behind(networks: &str, change: impl FnOnce(&mut sinew_driver::RestServerConfig)) -> Running {
    let networks: Vec<Network> = vec![networks.parse().unwrap()];
    serve(|mut builder, _| {
        change(builder.config_mut());
        whoami(builder).proxy_protocol(ProxyProtocol::new(networks, ProxyProtocol::LIMIT))
    })
}

/// A header of version 2: `PROXY` over TCP from this address, or `LOCAL`.
fn header(source: Option<[u8; 4]>) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    match source {
        None => bytes.extend([0x20, 0, 0, 0]),
        Some(source) => {
            bytes.extend([0x21, 0x11, 0, 12]);
            bytes.extend(source);
            bytes.extend([198, 51, 100, 1, 0x12, 0x34, 0, 80]);
        }
    }
    bytes
}

fn refused(server: &Running, why: ConnectionRefused) -> bool {
    server.noticed(&Notice::Decided(Event::ConnectionRefused(why)))
}

#[test]
fn the_peer_is_whom_the_proxy_names_however_the_header_is_cut() {
    for cut in [1, 7, 1_000] {
        let server = behind(HERE, |_| {});
        server.client.cut(cut);
        let mut bytes = header(Some([203, 0, 113, 7]));
        bytes.extend(get("/").as_bytes());
        let answer = server.ask(bytes);
        assert!(answer.ends_with("203.0.113.7:4660"), "{cut}: {answer}");
        assert!(server.ask(get("/")).ends_with("203.0.113.7:4660"), "it holds for all requests");
    }
}

#[test]
fn a_proxy_speaks_for_itself() {
    let server = behind(HERE, |_| {});
    let mut bytes = header(None);
    bytes.extend(get("/").as_bytes());
    assert!(server.ask(bytes).ends_with("192.0.2.1:4711"));
}

#[test]
fn from_everyone_else_a_header_is_garbage() {
    let server = behind("198.51.100.0/24", |_| {});
    assert!(server.ask(get("/")).ends_with("192.0.2.1:4711"));
    let answer = server.ask(header(Some([203, 0, 113, 7])));
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[test]
fn who_says_nothing_or_nonsense_is_dropped_without_an_answer() {
    let server = behind(HERE, |_| {});
    assert_eq!(server.ask(get("/")), "");
    assert!(server.client.is_closed());
    assert!(refused(&server, ConnectionRefused::ProxyHeader(BadProxyHeader::Signature)));

    let unknown = server.sim.connect();
    unknown.send(b"\r\n\r\n\0\r\nQUIT\n\x21\x00\x00\x00");
    server.sim.run();
    assert!(unknown.is_closed() && refused(&server, ConnectionRefused::UnknownClient));

    for ends in [true, false] {
        let server = behind(HERE, |_| {});
        server.client.send(&header(None)[..15]);
        server.sim.advance(Duration::from_millis(9_999));
        assert!(!server.client.is_closed());
        if ends {
            server.client.shut();
        }
        server.sim.advance(Duration::from_millis(1));
        assert!(server.client.is_closed() && refused(&server, ConnectionRefused::ProxySilent));
        assert_eq!((server.client.received().as_str(), server.handle.connections()), ("", 0));
    }
}

#[test]
fn a_server_that_leaves_waits_for_no_header() {
    let server = behind(HERE, |_| {});
    let handle = server.handle.clone();
    let report = server.sim.start(async move { handle.drain().await });
    server.sim.advance(seconds(3));
    let report = report.take().unwrap();
    assert_eq!((report.count(Ending::Idle), report.totals.total()), (1, 1));
    assert_eq!(server.handle.phase(), Phase::Over);
}

#[test]
fn an_address_has_its_share_of_the_connections() {
    let server = serve(|mut builder, _| {
        builder.config_mut().max_connections_per_address = 2;
        whoami(builder)
    });
    let (second, third) = (server.sim.connect(), server.sim.connect());
    assert!(third.is_closed() && !second.is_closed());
    assert!(refused(&server, ConnectionRefused::Address));
    second.shut();
    server.sim.run();
    let fourth = server.sim.connect();
    fourth.send(get("/"));
    server.sim.run();
    assert!(fourth.received().ends_with("192.0.2.1:4711"));

    let server = serve(|mut builder, _| {
        builder.config_mut().max_connections_per_address = 2;
        builder.config_mut().unlimited_networks = vec![HERE.parse().unwrap()];
        whoami(builder)
    });
    let more: Vec<_> = (0..5).map(|_| server.sim.connect()).collect();
    assert!(more.iter().all(|client| !client.is_closed()));
}

#[test]
fn behind_a_proxy_clients_are_counted_and_the_proxy_is_not() {
    let server = behind(HERE, |config| config.max_connections_per_address = 2);
    let visit = |source: [u8; 4]| {
        let client = server.sim.connect();
        client.send(header(Some(source)));
        server.sim.run();
        client
    };
    let clients: Vec<_> = (0..6).map(|n| visit([203, 0, 113, n / 2])).collect();
    assert!(clients.iter().all(|client| !client.is_closed()));
    assert!(visit([203, 0, 113, 1]).is_closed());
    assert!(!visit([203, 0, 113, 9]).is_closed());
}

#[test]
fn who_waits_for_room_gets_it_when_a_client_has_its_share() {
    let server = serve(|mut builder, _| {
        builder.config_mut().max_connections_per_address = 1;
        let networks = vec![HERE.parse().unwrap()];
        whoami(builder)
            .max_connections(3)
            .proxy_protocol(ProxyProtocol::new(networks, ProxyProtocol::LIMIT))
    });
    let (first, second) = (server.sim.connect(), server.sim.connect());
    first.send(header(Some([203, 0, 113, 1])));
    server.sim.run();
    let waiting = server.sim.connect();
    waiting.send([header(Some([203, 0, 113, 2])), get("/").into()].concat());
    server.sim.run();
    assert_eq!(waiting.received(), "");
    second.send(header(Some([203, 0, 113, 1])));
    server.sim.run();
    assert!(second.is_closed() && refused(&server, ConnectionRefused::Address));
    assert!(waiting.received().ends_with("203.0.113.2:4660"));
}
