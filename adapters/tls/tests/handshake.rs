//! Who is let in, who is refused, and what both sides are told about it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use common::certs::{CLIENT_ID, JUNE, LAST_JUNE, Mesh, NEXT_JUNE, self_signed};
use common::{Authority, Pair, Toy, ToyEvent};
use rcgen::ExtendedKeyUsagePurpose;
use sinew_core::Machine as _;
use sinew_core::error::{Delivery, Fault};
use sinew_core::machine::CloseReason;
use sinew_core::observe::Event;
use sinew_core::time::Instant;
use sinew_tls::{
    ClientAuth, ClientTls, ClientTlsBuilder, Error, NameKind, Reason, ServerTls, ServerTlsBuilder,
    Side, Tls, Version,
};

type TlsPair = Pair<Tls<Toy>, Tls<Toy>>;

const NAME: &str = "billing.acme.org";

fn pair_to(name: &str, client: &ClientTls, server: &ServerTls) -> TlsPair {
    Pair::new(
        client.connect(name, Toy::default(), Instant::ZERO).unwrap(),
        server.accept(Toy::default(), Instant::ZERO).unwrap(),
    )
}

fn pair(client: ClientTlsBuilder, server: ServerTlsBuilder) -> TlsPair {
    pair_to(NAME, &client.build().unwrap(), &server.build().unwrap())
}

/// Sends a word each way and says whether both arrived.
fn talk(pair: &mut TlsPair) -> bool {
    pair.client.wire.inner_mut().send(&b"ping"[..]);
    pair.server.wire.inner_mut().send(&b"pong"[..]);
    pair.nudge();
    pair.settle();
    pair.server.events == [ToyEvent::Data(b"ping"[..].into())]
        && pair.client.events == [ToyEvent::Data(b"pong"[..].into())]
}

#[track_caller]
fn failure(error: Option<&Error>) -> (Reason, Side) {
    match error {
        Some(Error::Tls(failure)) => (failure.reason, failure.by),
        other => panic!("{other:?}"),
    }
}

/// Runs a handshake that the server refuses, with a request right behind it.
#[track_caller]
fn refused_by_server(mut pair: TlsPair, server: Reason, client: Reason) {
    pair.client.wire.inner_mut().send(&b"ping"[..]);
    pair.settle();
    assert_eq!(failure(pair.server.error.as_ref()), (server, Side::Local));
    assert_eq!(failure(pair.client.error.as_ref()), (client, Side::Peer));
    let error = pair.client.error.as_ref().unwrap();
    assert_eq!(error.delivery(), Delivery::NotSent);
    assert_eq!(error.fault(), Fault::Local);
    assert_eq!(pair.client.closed, Some(CloseReason::Failed));
    assert_eq!(pair.server.closed, Some(CloseReason::Failed), "the client's end ends the wait");
    assert!(pair.server.half_closed, "the alert was given time");
    assert!(pair.server.events.is_empty(), "nothing of a refused client comes through");
}

/// Runs a handshake that the client refuses.
#[track_caller]
fn refused_by_client(mut pair: TlsPair, client: Reason, server: Reason) {
    pair.client.wire.inner_mut().send(&b"ping"[..]);
    pair.settle();
    assert_eq!(failure(pair.client.error.as_ref()), (client, Side::Local));
    assert_eq!(failure(pair.server.error.as_ref()), (server, Side::Peer));
    assert_eq!(pair.client.error.as_ref().unwrap().delivery(), Delivery::NotSent);
    assert_eq!(pair.client.closed, Some(CloseReason::Failed));
    assert_eq!(pair.server.closed, Some(CloseReason::Failed));
    assert!(pair.server.events.is_empty());
}

#[test]
fn mutual_tls_names_the_client() {
    let mesh = Mesh::new();
    let mut pair = pair(mesh.mtls_client(), mesh.mtls_server());
    assert!(pair.server.wire.is_handshaking());
    assert!(talk(&mut pair));
    let server = &pair.server.wire;
    let client_id = server.peer_identity().unwrap();
    assert_eq!((client_id.name(), client_id.name_kind()), (CLIENT_ID, NameKind::Spiffe));
    assert_eq!(client_id.spiffe_id(), Some(CLIENT_ID));
    assert_eq!(client_id.dns_names().collect::<Vec<_>>(), ["cart.acme.org"]);
    assert!(client_id.subject().contains("CN=cart"));
    assert!(!client_id.certificate().is_empty());
    assert_eq!(server.protocol_version(), Some(Version::Tls13));
    assert_eq!(server.alpn(), Some(&b"http/1.1"[..]));
    assert!(!server.is_handshaking() && server.is_server());
    let server_id = pair.client.wire.peer_identity().unwrap();
    assert_eq!((server_id.name(), server_id.name_kind()), (NAME, NameKind::Dns));
    assert_eq!(
        pair.server.wire.poll_observed(),
        Some(Event::TlsEstablished { peer_authenticated: true })
    );
    assert_eq!(pair.server.wire.poll_observed(), None);
}

#[test]
fn an_anonymous_client_is_nobody() {
    let mesh = Mesh::new();
    let mut plain = pair(mesh.client(), mesh.server());
    assert!(talk(&mut plain));
    assert!(plain.server.wire.peer_identity().is_none());
    assert_eq!(
        plain.server.wire.poll_observed(),
        Some(Event::TlsEstablished { peer_authenticated: false })
    );
    let optional = || mesh.mtls_server().client_auth(ClientAuth::Optional);
    let mut anonymous = pair(mesh.client(), optional());
    assert!(talk(&mut anonymous));
    assert!(anonymous.server.wire.peer_identity().is_none());
    let mut known = pair(mesh.mtls_client(), optional());
    assert!(talk(&mut known));
    assert_eq!(known.server.wire.peer_identity().unwrap().name(), CLIENT_ID);
}

#[test]
fn addresses_are_names_too() {
    let mesh = Mesh::new();
    let (client, server) = (mesh.client().build().unwrap(), mesh.server().build().unwrap());
    for address in ["127.0.0.1", "::1", "[::1]"] {
        assert!(talk(&mut pair_to(address, &client, &server)), "{address}");
    }
}

#[test]
fn no_client_certificate() {
    let mesh = Mesh::new();
    let pair = pair(mesh.client(), mesh.mtls_server());
    refused_by_server(pair, Reason::NoClientCertificate, Reason::NoClientCertificate);
}

#[test]
fn a_client_that_vouches_for_itself() {
    let mesh = Mesh::new();
    // In time, and with the right name: the signature alone is nobody's.
    let stranger = self_signed(&[CLIENT_ID]);
    let client = mesh.client().identity_pem(&stranger.chain, &stranger.key).unwrap();
    let pair = pair(client, mesh.mtls_server());
    refused_by_server(pair, Reason::UnknownCa, Reason::UnknownCa);
}

#[test]
fn a_client_with_an_rsa_key() {
    let mesh = Mesh::new();
    let rsa = include_bytes!("../../auth/tests/data/rsa.pk8");
    let client = mesh.ca.client_with(rsa, &[CLIENT_ID]);
    let client = mesh.client().identity_pem(&client.chain, &client.key).unwrap();
    let mut pair = pair(client, mesh.mtls_server());
    assert!(talk(&mut pair));
    let identity = pair.server.wire.peer_identity().unwrap();
    assert_eq!(identity.name(), CLIENT_ID);
}

#[test]
fn a_client_of_another_authority() {
    let mesh = Mesh::new();
    let stranger = Authority::new("Other CA").leaf(7, "cart", &[CLIENT_ID]);
    let client = mesh.client().identity_pem(&stranger.chain, &stranger.key).unwrap();
    refused_by_server(pair(client, mesh.mtls_server()), Reason::UnknownCa, Reason::UnknownCa);
}

#[test]
fn an_expired_client() {
    let mesh = Mesh::new();
    let late = common::Clock::at(NEXT_JUNE);
    let server = mesh.mtls_server().clock(late);
    refused_by_server(pair(mesh.mtls_client(), server), Reason::Expired, Reason::Expired);
}

#[test]
fn a_certificate_for_another_use() {
    let mesh = Mesh::new();
    let odd = mesh.ca.leaf_for(9, "cart", &[CLIENT_ID], &[ExtendedKeyUsagePurpose::ServerAuth]);
    let client = mesh.client().identity_pem(&odd.chain, &odd.key).unwrap();
    refused_by_server(pair(client, mesh.mtls_server()), Reason::WrongUse, Reason::WrongUse);
}

#[test]
fn an_untrusted_server() {
    let mesh = Mesh::new();
    let other = Authority::new("Other CA");
    let client = ClientTls::builder().ca_pem(&other.pem).unwrap().clock(mesh.clock.clone());
    refused_by_client(pair(client, mesh.server()), Reason::UnknownCa, Reason::UnknownCa);
}

#[test]
fn a_server_of_another_name() {
    let mesh = Mesh::new();
    let (client, server) = (mesh.client().build().unwrap(), mesh.server().build().unwrap());
    let pair = pair_to("audit.acme.org", &client, &server);
    refused_by_client(pair, Reason::NameMismatch, Reason::BadCertificate);
}

#[test]
fn a_server_before_and_after_its_time() {
    let mesh = Mesh::new();
    mesh.clock.set(NEXT_JUNE);
    refused_by_client(pair(mesh.client(), mesh.server()), Reason::Expired, Reason::Expired);
    mesh.clock.set(LAST_JUNE);
    refused_by_client(pair(mesh.client(), mesh.server()), Reason::NotYetValid, Reason::Expired);
    mesh.clock.set(JUNE);
    assert!(talk(&mut pair(mesh.client(), mesh.server())));
}

#[test]
fn protocols_must_meet() {
    let mesh = Mesh::new();
    let pair_up = |alpn: &'static str| pair(mesh.client().alpn([alpn]), mesh.server());
    refused_by_server_early(pair_up("h2"), Reason::AlpnMismatch, Reason::AlpnMismatch);
    let client = mesh.client().alpn(["h2", "http/1.1"]);
    let mut both = pair(client, mesh.server());
    assert!(talk(&mut both));
    assert_eq!(both.client.wire.alpn(), Some(&b"http/1.1"[..]));
    let mut old = pair(mesh.client().alpn(["http/1.0"]), mesh.server());
    assert!(talk(&mut old));
    let mut none = pair(mesh.client().alpn([""; 0]), mesh.server());
    assert!(talk(&mut none));
    assert_eq!(none.server.wire.alpn(), None);
}

#[track_caller]
fn refused_by_server_early(mut pair: TlsPair, server: Reason, client: Reason) {
    pair.settle();
    assert_eq!(failure(pair.server.error.as_ref()), (server, Side::Local));
    assert_eq!(failure(pair.client.error.as_ref()), (client, Side::Peer));
    assert_eq!(pair.server.closed, Some(CloseReason::Failed));
}

#[test]
fn revoked_stale_and_unlisted() {
    let mesh = Mesh::new();
    let with = |crl: &str| mesh.mtls_server().crls_pem(crl).unwrap();
    let good = mesh.ca.crl(12, &[99]);
    assert!(talk(&mut pair(mesh.mtls_client(), with(&good))));
    let revoked = mesh.ca.crl(12, &[mesh.client.serial]);
    refused_by_server(pair(mesh.mtls_client(), with(&revoked)), Reason::Revoked, Reason::Revoked);
    // Past its next update, and the list of another authority: refused, not waved through.
    let stale = mesh.ca.crl(3, &[99]);
    let foreign = Authority::new("Other CA").crl(12, &[]);
    for crl in [stale, foreign] {
        let mut pair = pair(mesh.mtls_client(), with(&crl));
        pair.settle();
        assert_eq!(failure(pair.server.error.as_ref()), (Reason::RevocationUnknown, Side::Local));
        assert_eq!(pair.server.error.as_ref().unwrap().fault(), Fault::Local);
        assert!(matches!(failure(pair.client.error.as_ref()), (_, Side::Peer)));
        assert_eq!(pair.client.error.as_ref().unwrap().delivery(), Delivery::NotSent);
    }
    // The same on the client's side.
    let client = mesh.client().crls_pem(mesh.ca.crl(12, &[mesh.server.serial])).unwrap();
    refused_by_client(pair(client, mesh.server()), Reason::Revoked, Reason::Revoked);
}

/// A reload asks that of everybody who is connected.
#[test]
fn who_was_let_in_is_accepted_by_another_configuration_as_a_handshake_would() {
    let mesh = Mesh::new();
    let mut known = pair(mesh.mtls_client(), mesh.mtls_server());
    assert!(talk(&mut known));
    let crl = |revoked: u64| mesh.mtls_server().crls_pem(mesh.ca.crl(12, &[revoked])).unwrap();
    let optional = || mesh.mtls_server().client_auth(ClientAuth::Optional);
    let other = mesh.server().client_ca_pem(Authority::new("Other CA").pem).unwrap();
    for (server, is_accepted, why) in [
        (mesh.mtls_server(), true, "the same"),
        (crl(99), true, "somebody else is revoked"),
        (crl(mesh.client.serial), false, "it is revoked"),
        (other, false, "its authority was removed"),
        (mesh.server(), false, "who is not asked is nobody"),
    ] {
        assert_eq!(
            known.server.wire.is_accepted_by(&server.build().unwrap()),
            is_accepted,
            "{why}"
        );
    }
    let mut nobody = pair(mesh.client(), optional());
    assert!(talk(&mut nobody));
    for (server, is_accepted) in
        [(optional(), true), (mesh.server(), true), (mesh.mtls_server(), false)]
    {
        assert_eq!(nobody.server.wire.is_accepted_by(&server.build().unwrap()), is_accepted);
    }
}

#[test]
fn a_session_is_resumed_only_where_no_certificate_is_skipped() {
    let mesh = Mesh::new();
    let resumed = |client: &ClientTls, server: &ServerTls| {
        [(); 2].map(|()| {
            let mut pair = pair_to(NAME, client, server);
            assert!(talk(&mut pair));
            pair.client.wire.is_resumed()
        })
    };
    let client = mesh.client().build().unwrap();
    let plain = resumed(&client, &mesh.server().build().unwrap());
    assert_eq!(plain, [false, true]);
    let client = mesh.mtls_client().build().unwrap();
    let mutual = resumed(&client, &mesh.mtls_server().build().unwrap());
    assert_eq!(mutual, [false, false]);
}
