//! The laws of `sinew_core::machine`, for a wire under TLS.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Buf as _;
use common::certs::Mesh;
use common::{Pair, Toy, ToyEvent};
use proptest::prelude::*;
use sinew_core::machine::{CloseReason, Machine as _, Status, Wire as _};
use sinew_core::time::Instant;
use sinew_tls::{ClientTls, Error, Reason, ServerTls, Tls};

static CONFIGS: LazyLock<(ClientTls, ServerTls)> = LazyLock::new(|| {
    let mesh = Mesh::new();
    (mesh.mtls_client().build().unwrap(), mesh.mtls_server().build().unwrap())
});

fn pair() -> Pair<Tls<Toy>, Tls<Toy>> {
    let (client, server) = &*CONFIGS;
    Pair::new(
        client.connect("billing.acme.org", Toy::default(), Instant::ZERO).unwrap(),
        server.accept(Toy::default(), Instant::ZERO).unwrap(),
    )
}

fn data(events: &[ToyEvent]) -> Vec<u8> {
    let mut all = Vec::new();
    for event in events {
        if let ToyEvent::Data(bytes) = event {
            all.extend_from_slice(bytes);
        }
    }
    all
}

fn produce(wire: &mut Tls<Toy>, left: &mut Vec<u8>) -> bool {
    let toy = wire.inner_mut();
    while !left.is_empty() && toy.can_send() {
        let rest = left.split_off(left.len().min(5_000));
        toy.send(std::mem::replace(left, rest));
    }
    !left.is_empty()
}

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    (0..max, any::<u8>()).prop_map(|(len, seed)| {
        (0..len).map(|i| (i / 256) as u8 ^ (i % 256) as u8 ^ seed).collect()
    })
}

fn reason(error: Option<&Error>) -> Option<Reason> {
    error.and_then(Error::tls).map(|failure| failure.reason)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Laws 3, 6 and 7: whatever the cuts and stalls, everything arrives, in bounded buffers, and
    /// nobody sleeps with work or a due timer left (the pair asserts that).
    #[test]
    fn every_byte_arrives(
        up in bytes(150_000),
        down in bytes(150_000),
        cuts in prop::collection::vec(prop_oneof![1usize..40, 100usize..30_000], 1..30),
        stalls in prop::collection::vec((any::<bool>(), any::<bool>(), 0usize..4), 1..8),
    ) {
        let mut pair = pair();
        pair.client.to_send = up.clone();
        pair.server.to_send = down.clone();
        let mut at = 0;
        let mut cut = || { at += 1; cuts[at % cuts.len()] };
        for (client_pauses, server_pauses, width) in stalls {
            pair.client.wire.inner_mut().paused = client_pauses;
            pair.server.wire.inner_mut().paused = server_pauses;
            pair.up.capacity = width * 3_000;
            pair.down.capacity = 9_000 - width * 3_000;
            pair.nudge();
            pair.settle_with(&mut cut, &mut produce, &mut produce);
            pair.pass(Duration::from_millis(100));
        }
        pair.client.wire.inner_mut().paused = false;
        pair.server.wire.inner_mut().paused = false;
        pair.up.capacity = 20_000;
        pair.down.capacity = 20_000;
        pair.nudge();
        pair.settle_with(&mut cut, &mut produce, &mut produce);
        prop_assert!(data(&pair.server.events) == up);
        prop_assert!(data(&pair.client.events) == down);
        for peak in [pair.client.peak, pair.server.peak] {
            prop_assert!(peak.0 <= 62 * 1024 && peak.1 < 84 * 1024, "{:?}", peak);
        }
        pair.client.wire.inner_mut().close();
        pair.nudge();
        pair.settle_with(&mut cut, &mut produce, &mut produce);
        prop_assert_eq!(pair.client.closed, Some(CloseReason::Done));
        prop_assert_eq!(pair.server.events.last(), Some(&ToyEvent::End));
        prop_assert!(pair.client.error.is_none() && pair.server.error.is_none());
    }

    /// Law 3 with an error in the stream: what came before it is delivered, nothing after it, and
    /// the same alert goes out, however the input is cut.
    #[test]
    fn an_error_comes_after_what_came_before_it(
        before in prop::collection::vec(bytes(3_000), 0..4),
        flip in 5usize..20,
        cuts in prop::collection::vec(1usize..5_000, 1..20),
        paused in any::<bool>(),
    ) {
        let mut pair = pair();
        pair.settle();
        pair.server.wire.inner_mut().paused = paused;
        for piece in before.iter().chain([&b"to be garbled"[..].to_vec(), &b"after"[..].to_vec()]) {
            pair.client.wire.inner_mut().send(piece.clone());
            let start = pair.up.bytes.len();
            while pair.client.wire.outbox().has_remaining() {
                let outbox = pair.client.wire.outbox();
                let len = outbox.chunk().len();
                pair.up.bytes.extend(outbox.chunk());
                outbox.advance(len);
            }
            if *piece == b"to be garbled" {
                pair.up.bytes[start + flip] ^= 0x40;
            }
        }
        let mut at = 0;
        let mut cut = || { at += 1; cuts[at % cuts.len()] };
        pair.server.run(&mut pair.up, &mut pair.down, pair.now, &mut cut, &mut |_, _| false);
        pair.server.wire.inner_mut().paused = false;
        pair.server.nudge();
        pair.server.run(&mut pair.up, &mut pair.down, pair.now, &mut cut, &mut |_, _| false);
        let whole = before.concat();
        prop_assert_eq!(reason(pair.server.error.as_ref()), Some(Reason::Protocol));
        // A paused toy that fails delivers nothing more; an active one delivered everything.
        if paused {
            prop_assert!(whole.starts_with(&data(&pair.server.events)));
        } else {
            prop_assert!(data(&pair.server.events) == whole);
        }
        // An encrypted alert: header, two bytes, content type, tag.
        prop_assert_eq!(pair.down.bytes.len(), 5 + 2 + 1 + 16);
    }

    /// Law 1: any method in any order, with any input. And law 4: an error stays.
    #[test]
    fn nothing_confuses_it(
        client in any::<bool>(),
        script in prop::collection::vec((0u8..12, any::<u8>(), 0usize..600), 1..60),
    ) {
        let (to_client, to_server) = &*CONFIGS;
        let mut wire = if client {
            to_client.connect("billing.acme.org", Toy::default(), Instant::ZERO).unwrap()
        } else {
            to_server.accept(Toy::default(), Instant::ZERO).unwrap()
        };
        let mut now = Instant::ZERO;
        let mut error: Option<Error> = None;
        for (what, byte, len) in script {
            match what {
                0 => wire.inbox().extend_from_slice(&vec![byte; len]),
                1 => wire.inbox().extend_from_slice(&[22, 3, 3, 0, byte]),
                2 => {
                    let len = u16::try_from(len).unwrap().to_be_bytes();
                    wire.inbox().extend_from_slice(&[20 + byte % 5, 3, byte % 5, len[0], len[1]]);
                }
                3 => wire.handle_eof(now),
                4 => wire.handle_timeout(now),
                5 => now = now + Duration::from_millis(u64::from(byte) * 40),
                6 => {
                    let outbox = wire.outbox();
                    let len = outbox.chunk().len().min(len);
                    outbox.advance(len);
                }
                7 => wire.inner_mut().send(vec![byte; len]),
                8 => wire.rest(),
                9 if byte > 200 => wire.inner_mut().close(),
                10 if byte > 250 => wire.inbox().clear(),
                11 if byte > 200 => wire.inner_mut().half_close(),
                _ => {}
            }
            let _ = (wire.wants_read(), wire.status(), wire.poll_observed(), wire.has_room());
            loop {
                match wire.poll_event(now) {
                    Ok(Some(_)) => prop_assert!(error.is_none()),
                    Ok(None) => {
                        prop_assert!(error.is_none());
                        break;
                    }
                    Err(told) => {
                        prop_assert!(error.as_ref().is_none_or(|old| *old == told));
                        error = Some(told);
                        break;
                    }
                }
            }
            prop_assert!(wire.deadline().is_none_or(|due| due.at > now));
        }
        // Law 8: left alone, it comes to its end; no timer is left.
        wire.handle_eof(now);
        for _ in 0..10 {
            while let Ok(Some(_)) = wire.poll_event(now) {}
            let len = wire.outbox().remaining();
            wire.outbox().advance(len);
            match wire.deadline() {
                Some(due) => now = due.at,
                None => break,
            }
            wire.handle_timeout(now);
        }
        prop_assert_eq!(wire.deadline(), None);
        prop_assert!(matches!(wire.status(), Status::Close(_)), "{:?}", wire.status());
        prop_assert!(!wire.wants_read());
    }
}
