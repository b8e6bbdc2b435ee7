//! A WebSocket connection of either role, compressed or not: whatever comes, and however it is cut,
//! the events, the errors and what is written are the same; what breaks the protocol is told to the
//! peer; what is not compressed is read as tungstenite reads it.
#![no_main]

// The same harness as in the tests of the core.
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../core/tests/websocket/reference.rs"]
mod reference;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../core/tests/websocket/told.rs"]
mod told;

use std::sync::{Arc, OnceLock};

use libfuzzer_sys::fuzz_target;
use sinew_core::http1::{Server, ServerEvent};
use sinew_core::time::Instant;
use sinew_core::websocket::deflate::DeflateConfig;
use sinew_core::websocket::handshake::{Agreed, ServerHandshake};
use sinew_core::websocket::{CloseCode, Limits, Role};
use sinew_core::{Machine, Wire};
use sinew_fuzz::Choice;
use told::Setup;

fuzz_target!(|bytes: &[u8]| {
    let choice = Choice::of(bytes);
    let mut setup = Setup { role: *choice.pick(&[Role::Server, Role::Client]), ..told::server() };
    if choice.seed() & 2 == 0 {
        // No frame is smaller than what a control frame may be: there the oracle differs.
        setup.config.limits =
            Limits { frame: 125, message: 300, fragments: 5, ..Limits::default() };
    }
    let compressed = choice.seed() & 4 == 0;
    if compressed {
        setup.agreed = agreed().clone();
    }
    let eof = choice.seed() & 1 == 1;
    let whole = setup.run([bytes], eof);
    assert_eq!(setup.run(bytes.chunks(1), eof), whole, "{choice:?}");
    let size = (choice.seed() >> 16) as usize % 50 + 2;
    assert_eq!(setup.run(bytes.chunks(size), eof), whole, "{choice:?}");
    if let Some(error) = whole.error {
        assert_eq!(whole.code(), CloseCode::of(&error).map(CloseCode::as_u16), "{choice:?}");
    }
    if !compressed && setup.config.limits == Limits::default() {
        reference::compare(&setup, bytes);
    }
});

/// Compression with the usual parameters.
fn agreed() -> &'static Agreed {
    static AGREED: OnceLock<Agreed> = OnceLock::new();
    AGREED.get_or_init(|| {
        let mut server = Server::new(Arc::default(), Instant::ZERO);
        server.inbox().extend_from_slice(
            b"GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
              sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nsec-websocket-version: 13\r\n\
              sec-websocket-extensions: permessage-deflate\r\n\r\n",
        );
        let Ok(Some(ServerEvent::Request { head, .. })) = server.poll_event(Instant::ZERO) else {
            panic!("the request is sound")
        };
        let deflate = Some(DeflateConfig::default());
        let handshake = ServerHandshake { deflate, ..ServerHandshake::default() };
        handshake.accept(&head).expect("the handshake is sound").into_agreed()
    })
}
