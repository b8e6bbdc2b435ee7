//! The client under TLS, in memory: who the server is, who is refused, and what is kept.

use std::time::Duration;

use http::Method;
use sinew_core::error::{Delivery, Phase};
use sinew_driver::{
    ErrorKind, Request, RestClient, RestServer, ServerHandle, ServiceEndpoint, Threads,
};
use sinew_tls::{ClientTls, Reason, ServerTls, Side};

use crate::support::calling::{Calling, failed, millis, once};
use crate::support::certificates::Certificates;
use crate::support::{Sim, Site};

/// A client of `https://name`, and a server that demands a certificate.
fn world(name: &str, server: ServerTls, client: ClientTls) -> (Calling, ServerHandle<Sim>) {
    let sim = Sim::new();
    sim.name(name, &["192.0.2.1"]);
    sim.site("192.0.2.1:443", Site::Served);
    let builder = RestServer::<Sim, Threads>::builder_on(sim.clone()).listen("127.0.0.1:0");
    let builder = builder.tls(server).route(Method::POST, "/", |request: Request| async move {
        let name = request.identity().map(|identity| identity.name().to_owned());
        assert_eq!(name.as_deref(), Some("client.test"));
        request.into_body()
    });
    let server = sim.block_on(builder.max_request_size(u64::MAX).bind()).unwrap();
    let handle = server.handle();
    sim.start(server.serve());
    let builder = RestClient::builder(format!("https://{name}")).tls(client).retry(once());
    let client = builder.build_on(sim.clone()).unwrap();
    (Calling { sim, client }, handle)
}

#[test]
fn both_know_each_other_and_the_connection_is_kept() {
    let certificates = Certificates::new();
    let (world, _) = world("server.test", certificates.server(), certificates.client());
    for size in [1, 300_000, 2] {
        let body: Vec<u8> = (0..=250).cycle().take(size).collect();
        let call = world.client.post("/").body(body.clone());
        let (name, echoed) = world.sim.block_on(async move {
            let response = call.send().await.unwrap();
            let name = response.peer_identity().unwrap().name().to_owned();
            (name, response.bytes().await.unwrap())
        });
        assert_eq!(name, "server.test");
        assert!(echoed == body, "{size} bytes");
        assert_eq!(world.counts(), (1, 1));
    }
    assert_eq!(world.sim.dials().len(), 1);
}

#[test]
fn a_client_without_a_certificate_is_told_so() {
    let certificates = Certificates::new();
    let (world, _) = world("server.test", certificates.server(), certificates.anonymous());
    let error = failed(&world.start(world.client.post("/").body("x")));
    let ErrorKind::Tls(failure) = error.kind() else { panic!("{error:?}") };
    assert_eq!((failure.reason, failure.by), (Reason::NoClientCertificate, Side::Peer));
    assert_eq!((error.phase(), error.delivery()), (Phase::Tls, Delivery::NotSent));
    assert_eq!((world.counts(), world.sim.dials().len()), ((0, 0), 1));
}

#[test]
fn a_server_that_is_not_trusted_hears_nothing() {
    let (mine, theirs) = (Certificates::new(), Certificates::of("another"));
    let (world, _) = world("server.test", theirs.server(), mine.client());
    let error = failed(&world.start(world.client.post("/").body("x")));
    let ErrorKind::Tls(failure) = error.kind() else { panic!("{error:?}") };
    assert_eq!((failure.reason, failure.by), (Reason::UnknownCa, Side::Local));
    assert_eq!((error.delivery(), world.counts()), (Delivery::NotSent, (0, 0)));
}

#[test]
fn a_server_of_another_name_hears_nothing() {
    let certificates = Certificates::new();
    let (world, _) = world("other.test", certificates.server(), certificates.client());
    let error = failed(&world.start(world.client.post("/").body("x")));
    let ErrorKind::Tls(failure) = error.kind() else { panic!("{error:?}") };
    assert_eq!(failure.reason, Reason::NameMismatch);
    assert_eq!((error.delivery(), world.counts()), (Delivery::NotSent, (0, 0)));
}

#[test]
fn a_kept_connection_is_not_for_another_identity() {
    let certificates = Certificates::new();
    let (world, _) = world("server.test", certificates.server(), certificates.client());
    let identity = |name: &str| {
        let endpoint = ServiceEndpoint::new("server.test").identity(name);
        world.client.update_endpoints([endpoint]).unwrap();
    };
    for dials in 1..=2 {
        let response = world.start(world.client.post("/").body("x"));
        world.bytes(response.take().unwrap().unwrap()).unwrap();
        assert_eq!((world.counts(), world.sim.dials().len()), ((1, 1), dials));
        identity("server.test");
    }
    identity("other.test");
    let error = failed(&world.start(world.client.post("/").body("x")));
    assert_eq!((error.delivery(), world.counts()), (Delivery::NotSent, (0, 0)), "{error}");
    assert!(world.sim.dials().len() > 2);
}

#[test]
fn a_server_that_stops_does_not_leave_a_dead_connection_behind() {
    let certificates = Certificates::new();
    let (world, handle) = world("server.test", certificates.server(), certificates.client());
    let response = world.start(world.client.post("/").body("x"));
    world.bytes(response.take().unwrap().unwrap()).unwrap();
    assert_eq!(world.counts(), (1, 1));
    world.sim.start(async move { handle.stop(Duration::from_secs(5)).await });
    world.sim.run();
    let _outcome = world.start(world.client.post("/").body("x"));
    assert_eq!(world.sim.dials().len(), 2, "close_notify was seen before the connection was used");
}

#[test]
fn a_silent_server_does_not_hold_up_a_handshake() {
    let sim = Sim::new();
    let builder = RestClient::builder("https://192.0.2.1").tls(Certificates::new().client());
    let builder = builder.retry(once());
    let client = builder.build_on(sim.clone()).unwrap();
    let world = Calling { sim, client };
    let outcome = world.get();
    let server = world.sim.accepted();
    world.sim.advance(millis(1999));
    assert!(outcome.take().is_none());
    world.sim.advance(millis(1));
    let error = failed(&outcome);
    assert!(error.is_timeout(), "{error:?}");
    assert_eq!((error.phase(), error.delivery()), (Phase::Tls, Delivery::NotSent));
    assert!(server.is_closed());
    assert_eq!(world.counts(), (0, 0));
}

#[test]
fn a_server_that_speaks_plainly_is_told_from_a_broken_one() {
    let sim = Sim::new();
    let builder = RestClient::builder("https://192.0.2.1").tls(Certificates::new().client());
    let builder = builder.retry(once());
    let client = builder.build_on(sim.clone()).unwrap();
    let world = Calling { sim, client };
    let outcome = world.get();
    world.sim.accepted().send("HTTP/1.1 400 Bad Request\r\n\r\n");
    world.sim.run();
    let error = failed(&outcome);
    let ErrorKind::Tls(failure) = error.kind() else { panic!("{error:?}") };
    assert_eq!((failure.reason, error.delivery()), (Reason::NotTls, Delivery::NotSent));
}

#[test]
fn a_unix_socket_under_tls_is_named() {
    let certificates = Certificates::new();
    let sim = Sim::new();
    let builder = RestClient::<Sim>::builder("unix:/run/a.sock").tls(certificates.client());
    let client = builder.server_name("server.test").build_on(sim.clone()).unwrap();
    let world = Calling { sim, client };
    let _outcome = world.get();
    let hello = world.sim.accepted().received_bytes();
    assert_eq!(hello[0], 22, "a handshake record");
    let name = b"server.test";
    assert!(hello.windows(name.len()).any(|window| window == name));
}
