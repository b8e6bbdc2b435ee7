//! What flows, how it ends, and what stalls.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use std::time::Duration;

use bytes::BytesMut;
use common::certs::Mesh;
use common::{Pair, Toy, ToyEvent};
use sinew_core::error::{Delivery, Fault, Kind};
use sinew_core::machine::{CloseReason, Layered as _, Machine, Status, Wire};
use sinew_core::outbox::Outbox;
use sinew_core::time::{Deadline, Instant, Timer};
use sinew_tls::rustls::pki_types::{CertificateDer, pem::PemObject as _};
use sinew_tls::rustls::version::TLS12;
use sinew_tls::rustls::{ClientConfig, RootCertStore};
use sinew_tls::{ClientTls, Error, Failure, Options, Reason, Side, Tls, Version};

type TlsPair = Pair<Tls<Toy>, Tls<Toy>>;

fn pair() -> TlsPair {
    let mesh = Mesh::new();
    let client = mesh.mtls_client().build().unwrap();
    let server = mesh.mtls_server().build().unwrap();
    Pair::new(
        client.connect("billing.acme.org", Toy::default(), Instant::ZERO).unwrap(),
        server.accept(Toy::default(), Instant::ZERO).unwrap(),
    )
}

fn established() -> TlsPair {
    let mut pair = pair();
    pair.settle();
    assert!(!pair.client.wire.is_handshaking() && !pair.server.wire.is_handshaking());
    pair
}

fn data(events: &[ToyEvent]) -> Vec<u8> {
    let pieces = events.iter().filter_map(|event| match event {
        ToyEvent::Data(bytes) => Some(&bytes[..]),
        ToyEvent::End => None,
    });
    pieces.flatten().copied().collect()
}

#[track_caller]
fn failure(error: Option<&Error>) -> &Failure {
    error.and_then(Error::tls).expect("a failure of TLS")
}

fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|i| (i / 251) as u8 ^ (i % 251) as u8 ^ seed).collect()
}

/// Feeds the outbox while there is room, as a body producer would.
fn produce(wire: &mut Tls<Toy>, left: &mut Vec<u8>) -> bool {
    let toy = wire.top();
    while !left.is_empty() && toy.can_send() {
        let rest = left.split_off(left.len().min(10_000));
        toy.send(std::mem::replace(left, rest));
    }
    !left.is_empty()
}

#[test]
fn a_mebibyte_each_way_in_bounded_buffers() {
    let mut pair = pair();
    let (up, down) = (pattern(1 << 20, 1), pattern(1 << 20, 2));
    pair.client.to_send = up.clone();
    pair.server.to_send = down.clone();
    pair.settle_with(&mut || 9_000, &mut produce, &mut produce);
    assert!(data(&pair.server.events) == up && data(&pair.client.events) == down);
    for peak in [pair.client.peak, pair.server.peak] {
        assert!(peak.0 < 48 * 1024 && peak.1 < 84 * 1024, "{peak:?}");
    }
}

#[test]
fn byte_by_byte() {
    let mut pair = pair();
    pair.client.to_send = pattern(3_000, 1);
    pair.server.to_send = pattern(3_000, 2);
    pair.settle_with(&mut || 1, &mut produce, &mut produce);
    assert!(data(&pair.server.events) == pattern(3_000, 1));
    assert!(data(&pair.client.events) == pattern(3_000, 2));
}

#[test]
fn what_was_queued_together_shares_a_record() {
    let mut pair = established();
    for _ in 0..16 {
        pair.client.wire.top().send(vec![b'x'; 100]);
    }
    // One header, one tag, one content type.
    assert_eq!(pair.client.wire.outbox().len(), 1_600 + 5 + 16 + 1);
}

#[test]
fn nothing_is_encrypted_before_the_handshake_is_through() {
    let mut pair = pair();
    pair.client.wire.top().send(&b"early"[..]);
    let _hello = pair.client.wire.outbox().len();
    assert_eq!(pair.client.wire.inner().outbox.len(), 5);
    pair.settle();
    assert_eq!(data(&pair.server.events), b"early");
}

#[test]
fn a_paused_inner_machine_stops_the_decryption() {
    let mut pair = pair();
    pair.server.wire.top().paused = true;
    pair.up.capacity = 64 * 1024;
    let sent = pattern(300_000, 3);
    pair.client.to_send = sent.clone();
    pair.settle_with(&mut || usize::MAX, &mut produce, &mut |_, _| false);
    let toy = pair.server.wire.inner();
    assert!(toy.inbox.len() < common::toy::INBOX + 16 * 1024 + 1, "{}", toy.inbox.len());
    assert!(!pair.server.wire.wants_read());
    assert!(!pair.client.to_send.is_empty(), "the producer is held back");
    pair.server.wire.top().paused = false;
    pair.nudge();
    pair.settle_with(&mut || usize::MAX, &mut produce, &mut |_, _| false);
    assert!(data(&pair.server.events) == sent);
}

#[test]
fn a_close_is_announced_and_answered() {
    let mut pair = established();
    pair.server.wire.top().send(&b"bye"[..]);
    pair.nudge();
    pair.settle();
    pair.server.wire.top().close();
    assert_eq!(pair.server.wire.status(), Status::Open, "close_notify first");
    pair.nudge();
    pair.settle();
    assert_eq!(pair.server.closed, Some(CloseReason::Done));
    assert_eq!(data(&pair.client.events), b"bye");
    assert_eq!(pair.client.events.last(), Some(&ToyEvent::End));
    assert!(pair.client.error.is_none());
}

#[test]
fn after_a_half_close_reading_goes_on() {
    let mut pair = established();
    pair.client.wire.top().send(&b"all"[..]);
    pair.client.wire.top().half_close();
    pair.nudge();
    pair.settle();
    assert!(pair.client.half_closed && pair.client.closed.is_none());
    assert_eq!(pair.server.events.last(), Some(&ToyEvent::End));
    pair.server.wire.top().send(&b"answer"[..]);
    pair.server.wire.top().close();
    pair.nudge();
    pair.settle();
    assert_eq!(data(&pair.client.events), b"answer");
    assert_eq!(pair.client.events.last(), Some(&ToyEvent::End));
    assert!(pair.client.error.is_none() && pair.server.error.is_none());
}

#[test]
fn a_cut_is_not_an_end() {
    let mut pair = established();
    pair.server.wire.top().send(&b"half an answ"[..]);
    pair.nudge();
    pair.settle();
    pair.down.shut = true;
    pair.settle();
    assert_eq!(pair.client.events, [ToyEvent::Data(b"half an answ"[..].into())]);
    let told = failure(pair.client.error.as_ref());
    assert_eq!((told.reason, told.established), (Reason::Truncated, true));
    assert_eq!(told.fault(), Fault::Network);
    assert_eq!(told.delivery(), Delivery::MaybeProcessed);
    assert_eq!(told.to_core().kind, Kind::Truncated);
    assert_eq!(pair.client.closed, Some(CloseReason::Failed));
}

#[test]
fn a_cut_in_the_middle_of_a_record_is_a_cut() {
    let mut pair = established();
    pair.server.wire.top().send(&b"answer"[..]);
    let record: Vec<u8> = pair.server.wire.outbox().peek();
    pair.down.bytes.extend(&record[..record.len() - 1]);
    pair.down.shut = true;
    pair.client.nudge();
    pair.settle();
    assert!(pair.client.events.is_empty());
    assert_eq!(failure(pair.client.error.as_ref()).reason, Reason::Truncated);
}

#[test]
fn a_cut_that_harms_nobody_is_an_end() {
    let mut pair = established();
    pair.client.wire.top().delimited = true;
    pair.down.shut = true;
    pair.settle();
    assert_eq!(pair.client.events, [ToyEvent::End]);
    assert!(pair.client.error.is_none());
}

#[test]
fn what_came_before_the_cut_is_delivered_first() {
    let mut pair = established();
    pair.client.wire.top().paused = true;
    pair.server.to_send = pattern(40_000, 4);
    pair.nudge();
    pair.settle_with(&mut || usize::MAX, &mut |_, _| false, &mut produce);
    pair.down.shut = true;
    pair.settle();
    assert!(pair.client.error.is_none(), "not judged before it is read");
    pair.client.wire.top().paused = false;
    pair.nudge();
    pair.settle();
    assert!(data(&pair.client.events) == pattern(40_000, 4));
    assert_eq!(failure(pair.client.error.as_ref()).reason, Reason::Truncated);
}

#[test]
fn plain_http_is_told_so_by_an_alert() {
    let mut pair = pair();
    pair.up.bytes.extend(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let mut nobody = || usize::MAX;
    pair.server.run(&mut pair.up, &mut pair.down, pair.now, &mut nobody, &mut |_, _| false);
    assert_eq!(failure(pair.server.error.as_ref()).reason, Reason::NotTls);
    // A fatal alert (2): decode_error (50).
    assert_eq!(pair.down.bytes, [21, 3, 3, 0, 2, 2, 50]);
    assert!(pair.server.half_closed && pair.server.closed.is_none(), "it may read the alert");
    assert_eq!(pair.server.deadline.map(|deadline| deadline.why), Some(Timer::Linger));
    pair.now = pair.now + Duration::from_secs(1);
    pair.server.timeout(pair.now);
    pair.server.run(&mut pair.up, &mut pair.down, pair.now, &mut nobody, &mut |_, _| false);
    assert_eq!(pair.server.closed, Some(CloseReason::Failed));
}

#[test]
fn a_plain_server_is_recognized() {
    let mut pair = pair();
    pair.down.bytes.extend(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    pair.client.run(&mut pair.down, &mut pair.up, pair.now, &mut || 1, &mut |_, _| false);
    let told = failure(pair.client.error.as_ref());
    assert_eq!((told.reason, told.delivery()), (Reason::NotTls, Delivery::NotSent));
}

#[test]
fn a_flood_after_a_failure_is_not_read_for_ever() {
    let mut pair = pair();
    pair.up.bytes.extend(vec![b'x'; 1 << 20]);
    pair.server.run(&mut pair.up, &mut pair.down, pair.now, &mut || 8192, &mut |_, _| false);
    assert_eq!(pair.server.closed, Some(CloseReason::Failed));
    assert!(pair.server.peak.0 <= 8192);
}

#[test]
fn a_probe_of_the_port_is_no_failure() {
    let mut pair = pair();
    pair.up.shut = true;
    pair.server.run(&mut pair.up, &mut pair.down, pair.now, &mut || 1, &mut |_, _| false);
    assert_eq!(pair.server.closed, Some(CloseReason::PeerClosed));
    assert!(pair.server.error.is_none() && pair.down.bytes.is_empty());
    pair.down.bytes.clear();
    pair.settle();
    assert_eq!(failure(pair.client.error.as_ref()).reason, Reason::Truncated);
    assert_eq!(failure(pair.client.error.as_ref()).delivery(), Delivery::NotSent);
}

#[test]
fn a_silent_peer_runs_out_of_time() {
    let mut pair = pair();
    pair.up.capacity = 100;
    pair.client.run(&mut pair.down, &mut pair.up, pair.now, &mut || 50, &mut |_, _| false);
    assert_eq!(pair.up.bytes.len(), 100);
    let due = pair.client.deadline.expect("a deadline");
    assert_eq!((due.why, due.at - Instant::ZERO), (Timer::Handshake, Duration::from_secs(2)));
    pair.now = due.at;
    pair.client.timeout(pair.now);
    pair.client.run(&mut pair.down, &mut pair.up, pair.now, &mut || 0, &mut |_, _| false);
    let told = failure(pair.client.error.as_ref());
    assert_eq!(told.reason, Reason::Timeout(Timer::Handshake));
    assert_eq!((told.fault(), told.delivery()), (Fault::Peer, Delivery::NotSent));
    assert_eq!(pair.client.closed, Some(CloseReason::Failed));
    assert_eq!(pair.client.wire.deadline(), None);
    assert!(pair.client.wire.outbox().is_empty());
}

#[test]
fn the_server_waits_ten_seconds_for_a_handshake() {
    let mut pair = pair();
    pair.up.bytes.extend(&[22, 3, 1, 2]);
    pair.server.run(&mut pair.up, &mut pair.down, pair.now, &mut || 1, &mut |_, _| false);
    let due = pair.server.deadline.expect("a deadline");
    assert_eq!((due.why, due.at - Instant::ZERO), (Timer::Handshake, Duration::from_secs(10)));
}

#[test]
fn a_peer_that_takes_nothing_is_given_up() {
    let mut pair = established();
    pair.up.capacity = 0;
    pair.now = pair.now + Duration::from_secs(100);
    // Encrypted by the clock of long ago; that must not count as a stall of 100 seconds.
    pair.client.wire.top().send(&b"in vain"[..]);
    assert!(!pair.client.wire.outbox().is_empty());
    assert!(pair.client.wire.deadline().is_some(), "watched from the start");
    pair.nudge();
    pair.settle();
    let at = Instant::ZERO + Duration::from_secs(130);
    assert_eq!(pair.client.deadline, Some(Deadline { at, why: Timer::WriteStall }));
    assert!(pair.client.error.is_none());
    assert!(pair.tick());
    let told = failure(pair.client.error.as_ref());
    assert_eq!(told.reason, Reason::Timeout(Timer::WriteStall));
    assert_eq!(told.delivery(), Delivery::MaybeProcessed);
    assert_eq!(pair.client.closed, Some(CloseReason::Failed));
}

#[test]
fn a_stall_of_the_inner_machine_is_one_of_the_whole_connection() {
    let mut pair = established();
    pair.down.capacity = 0;
    pair.server.wire.top().send(&b"in vain"[..]);
    assert!(!pair.server.wire.outbox().is_empty());
    pair.server.wire.top().fail(Kind::Timeout(Timer::WriteStall));
    pair.server.wire.top().close();
    pair.nudge();
    pair.settle();
    let error = pair.server.error.as_ref().and_then(|error| error.wire());
    assert_eq!(error.map(|error| error.kind), Some(Kind::Timeout(Timer::WriteStall)));
    assert_eq!(pair.server.closed, Some(CloseReason::Failed), "nothing is left to wait for");
    assert!(pair.server.wire.outbox().is_empty());
}

#[test]
fn the_inner_timer_is_passed_on() {
    let mut pair = established();
    let at = pair.now + Duration::from_secs(5);
    pair.server.wire.top().timer = Some(Deadline { at, why: Timer::Idle });
    assert_eq!(pair.server.wire.deadline().map(|due| due.why), Some(Timer::Idle));
    pair.pass(Duration::from_secs(5));
    assert_eq!(pair.server.closed, Some(CloseReason::Idle));
    assert_eq!(pair.client.events, [ToyEvent::End], "close_notify was sent");
}

#[test]
fn the_inner_error_comes_through_and_stays() {
    let mut pair = established();
    pair.server.wire.top().fail(Kind::Closed);
    pair.server.wire.top().send(&b"413"[..]);
    pair.server.wire.top().close();
    pair.nudge();
    pair.settle();
    let error = pair.server.error.clone().expect("an error");
    assert_eq!(error.wire().map(|error| error.kind), Some(Kind::Closed));
    assert_eq!(data(&pair.client.events), b"413");
    assert_eq!(pair.server.wire.poll_event(pair.now), Err(error));
}

#[test]
fn the_first_error_is_the_one_that_stays() {
    let mut pair = established();
    pair.down.capacity = 0;
    pair.server.wire.top().fail(Kind::Closed);
    pair.server.wire.top().send(&b"413"[..]);
    pair.nudge();
    pair.settle();
    let first = pair.server.error.clone();
    assert!(first.as_ref().is_some_and(|error| error.wire().is_some()));
    assert!(pair.tick(), "the write stall");
    assert_eq!(pair.server.closed, Some(CloseReason::Failed));
    assert_eq!(pair.server.error, first);
    assert_eq!(pair.server.wire.poll_event(pair.now).err(), first);
}

#[test]
fn a_tampered_record_is_refused() {
    let mut pair = established();
    pair.client.wire.top().send(&b"good"[..]);
    pair.nudge();
    pair.settle();
    pair.client.wire.top().send(&b"evil"[..]);
    let mut record: Vec<u8> = pair.client.wire.outbox().peek();
    record[8] ^= 1;
    pair.up.bytes.extend(record);
    pair.client.wire.outbox().clear();
    pair.settle();
    assert_eq!(data(&pair.server.events), b"good");
    let told = failure(pair.server.error.as_ref());
    assert_eq!((told.reason, told.by), (Reason::Protocol, Side::Local));
    // bad_record_mac
    assert_eq!(failure(pair.client.error.as_ref()).reason, Reason::Alert(20));
    assert_eq!(failure(pair.client.error.as_ref()).delivery(), Delivery::MaybeProcessed);
}

#[test]
fn an_edited_inbox_is_fatal() {
    let mut pair = pair();
    pair.server.wire.inbox().extend_from_slice(&[22, 3, 1, 0]);
    assert_eq!(pair.server.wire.poll_event(pair.now), Ok(None));
    pair.server.wire.inbox().clear();
    let error = pair.server.wire.poll_event(pair.now).unwrap_err();
    assert_eq!(error.wire().map(|error| error.kind), Some(Kind::InboxEdited));
    assert_eq!(error.fault(), Fault::Local);
    assert_eq!(pair.server.wire.poll_event(pair.now), Err(error));
    assert_eq!(pair.server.wire.status(), Status::Close(CloseReason::Failed));
}

#[test]
fn at_rest_it_holds_no_buffers() {
    let mut pair = established();
    pair.client.to_send = pattern(200_000, 6);
    pair.settle_with(&mut || usize::MAX, &mut produce, &mut |_, _| false);
    for wire in [&mut pair.client.wire, &mut pair.server.wire] {
        wire.rest();
        assert_eq!(wire.inbox().capacity(), 0);
        assert_eq!(wire.top_ref().inbox.capacity(), 0);
    }
    // And goes on afterwards.
    pair.client.wire.top().send(&b"more"[..]);
    pair.server.wire.top().send(&b"back"[..]);
    pair.nudge();
    pair.settle();
    assert!(data(&pair.server.events).ends_with(b"more"));
    assert_eq!(data(&pair.client.events), b"back");
}

#[test]
fn tls_1_2_works_the_same() {
    let mesh = Mesh::new();
    let modern = mesh.client().build().unwrap();
    let provider = modern.config().crypto_provider().clone();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(mesh.ca.pem.as_bytes()).unwrap()).unwrap();
    let old = ClientConfig::builder_with_details(provider, mesh.clock.clone())
        .with_protocol_versions(&[&TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = ClientTls::from_config(old.into(), Options::CLIENT);
    let connect = |server: sinew_tls::ServerTls| {
        Pair::new(
            client.connect("billing.acme.org", Toy::default(), Instant::ZERO).unwrap(),
            server.accept(Toy::default(), Instant::ZERO).unwrap(),
        )
    };
    let mut pair = connect(mesh.server().build().unwrap());
    pair.client.to_send = pattern(100_000, 7);
    pair.server.to_send = pattern(100_000, 8);
    pair.settle_with(&mut || 777, &mut produce, &mut produce);
    assert_eq!(pair.client.wire.protocol_version(), Some(Version::Tls12));
    assert!(data(&pair.server.events) == pattern(100_000, 7));
    assert!(data(&pair.client.events) == pattern(100_000, 8));
    pair.client.wire.top().close();
    pair.nudge();
    pair.settle();
    assert_eq!(pair.server.events.last(), Some(&ToyEvent::End));
    // Here a missing certificate is noticed within the handshake.
    let mut refused = connect(mesh.mtls_server().build().unwrap());
    refused.settle();
    assert_eq!(failure(refused.server.error.as_ref()).reason, Reason::NoClientCertificate);
    assert_eq!(failure(refused.client.error.as_ref()).by, Side::Peer);
    assert_eq!(failure(refused.client.error.as_ref()).delivery(), Delivery::NotSent);
}

/// Another protocol, for an upgrade: whole lines.
#[derive(Debug)]
struct Lines {
    inbox: BytesMut,
    outbox: Outbox,
}

impl Lines {
    fn from(toy: Toy) -> Self {
        Self { inbox: toy.inbox, outbox: toy.outbox }
    }
}

impl Machine for Lines {
    type Event = String;
    type Error = sinew_core::Error;

    fn poll_event(&mut self, _: Instant) -> Result<Option<String>, sinew_core::Error> {
        let Some(end) = self.inbox.iter().position(|&b| b == b'\n') else { return Ok(None) };
        let line = self.inbox.split_to(end + 1);
        Ok(Some(String::from_utf8_lossy(&line[..end]).into_owned()))
    }

    fn handle_timeout(&mut self, _: Instant) {}

    fn deadline(&self) -> Option<Deadline> {
        None
    }
}

impl Wire for Lines {
    fn inbox(&mut self) -> &mut BytesMut {
        &mut self.inbox
    }

    fn wants_read(&self) -> bool {
        true
    }

    fn handle_eof(&mut self, _: Instant) {}

    fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    fn status(&self) -> Status {
        Status::Open
    }

    fn rest(&mut self) {}
}

#[test]
fn an_upgrade_keeps_the_session() {
    let mut pair = established();
    // The server has answered and paused; the client talks the new protocol already: one line is
    // decrypted, the others are still ciphertext, and the answer is not encrypted yet.
    pair.server.wire.top().paused = true;
    pair.client.wire.top().send(&b"one\ntw"[..]);
    pair.nudge();
    pair.settle();
    assert_eq!(pair.server.wire.inner().inbox.len(), 6);
    pair.client.wire.top().send(&b"o\nthree\n"[..]);
    let late: Vec<u8> = pair.client.wire.outbox().peek();
    pair.server.wire.inbox().extend_from_slice(&late);
    pair.server.wire.top().send(&b"switching\n"[..]);

    let identity = pair.server.wire.shared_peer_identity();
    let refused = pair.server.wire.try_map_inner(Err::<Lines, _>).unwrap_err();
    let mut server = refused.map_inner(Lines::from);
    let mut client = pair.client.wire.map_inner(Lines::from);
    assert_eq!(server.shared_peer_identity(), identity);
    let lines: Vec<String> =
        std::iter::from_fn(|| server.poll_event(Instant::ZERO).unwrap()).collect();
    assert_eq!(lines, ["one", "two", "three"]);
    let answer: Vec<u8> = server.outbox().peek();
    client.inbox().extend_from_slice(&answer);
    assert_eq!(client.poll_event(Instant::ZERO), Ok(Some("switching".to_owned())));
}

/// All bytes of an outbox, without draining it.
trait Peek {
    fn peek(&self) -> Vec<u8>;
}

impl Peek for Outbox {
    fn peek(&self) -> Vec<u8> {
        use bytes::Buf as _;
        let mut slices = [std::io::IoSlice::new(&[]); 64];
        let n = self.chunks_vectored(&mut slices);
        slices[..n].iter().flat_map(|slice| slice.iter().copied()).collect()
    }
}
