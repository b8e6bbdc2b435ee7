//! Connections that have no end of their own, and what becomes of them.

use std::io;
use std::net::SocketAddr;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use sinew_conformance::network::conversation::{Patience, Transport};
use sinew_conformance::network::line::Heard;

/// Beyond every deadline.
const PATIENCE: Patience =
    Patience { answer: Duration::from_secs(60), silence: Duration::from_millis(300) };

/// A connection that is read to its end.
pub(super) struct Witness {
    what: &'static str,
    /// What it ends with, if it ends in order.
    last: &'static [u8],
    /// Whether it ends in order.
    listens: bool,
    reader: JoinHandle<(Vec<u8>, Duration)>,
}

/// What was seen.
pub(super) struct End {
    pub(super) what: &'static str,
    pub(super) how: String,
    pub(super) is_as_it_should: bool,
}

impl Witness {
    /// An event stream, which its server ends.
    pub(super) fn of_events(place: SocketAddr, transport: &Transport) -> io::Result<Self> {
        let request = "GET /events HTTP/1.1\r\nhost: restart\r\n\r\n";
        Self::open((place, transport), request, "events", (b"\r\n0\r\n\r\n", b""), true)
    }

    /// A WebSocket, which is closed with 1001 and closes, too.
    pub(super) fn of_websocket(place: SocketAddr, transport: &Transport) -> io::Result<Self> {
        let request = "GET /ws HTTP/1.1\r\nhost: restart\r\nconnection: upgrade\r\n\
                       upgrade: websocket\r\nsec-websocket-version: 13\r\n\
                       sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        let ends = (&b"\x88\x02\x03\xe9"[..], &b"\x88\x82\0\0\0\0\x03\xe9"[..]);
        Self::open((place, transport), request, "websocket", ends, true)
    }

    /// An upgraded connection; the stubborn one does not end when it is told.
    pub(super) fn of_session(
        place: SocketAddr,
        transport: &Transport,
        path: &str,
    ) -> io::Result<Self> {
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: restart\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n"
        );
        let listens = !path.ends_with("stubborn");
        let what = if listens { "session" } else { "stubborn" };
        Self::open((place, transport), &request, what, (b"goodbye", b""), listens)
    }

    fn open(
        (place, transport): (SocketAddr, &Transport),
        request: &str,
        what: &'static str,
        (last, reply): (&'static [u8], &'static [u8]),
        listens: bool,
    ) -> io::Result<Self> {
        let mut connection = transport.connect(place, PATIENCE)?;
        connection.say(request.as_bytes(), PATIENCE.answer);
        let mut seen = Vec::new();
        // The head at least: it is open.
        connection.hear(&mut seen, PATIENCE.answer);
        let started = Instant::now();
        let reader = thread::spawn(move || {
            // A reset is an end, too.
            while let Heard::Bytes(_) = connection.hear(&mut seen, PATIENCE.answer) {
                if seen.ends_with(last) && !reply.is_empty() {
                    connection.say(reply, PATIENCE.answer);
                }
            }
            (seen, started.elapsed())
        });
        Ok(Self { what, last, listens, reader })
    }

    /// Waits for its end.
    pub(super) fn end(self) -> End {
        let Self { what, last, listens, reader } = self;
        let Ok((seen, after)) = reader.join() else {
            return End { what, how: "panicked".to_owned(), is_as_it_should: false };
        };
        let in_order = seen.ends_with(last);
        let how = if in_order { "told, and ended in order" } else { "cut" };
        End { what, how: format!("{how} after {after:.1?}"), is_as_it_should: in_order == listens }
    }
}
