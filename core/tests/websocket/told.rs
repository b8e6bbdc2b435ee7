//! Feeds a connection in many cuts, and notes what it tells and writes.

use std::sync::Arc;

use bytes::{Buf as _, Bytes, BytesMut};
use sinew_core::error::{Error, Kind};
use sinew_core::machine::{Seen, Status, Step};
use sinew_core::outbox::Outbox;
use sinew_core::time::Instant;
use sinew_core::websocket::handshake::Agreed;
use sinew_core::websocket::{
    CloseCode, Closed, Config, Connection, Event, Message, Role, Side, Text,
};
use sinew_core::{Machine, Wire};

pub(crate) const NOW: Instant = Instant::from_nanos(1);
pub(crate) const SEED: [u8; 32] = [9; 32];
pub(crate) const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// What a connection tells about its input, however that was cut.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Told {
    pub(crate) events: Vec<Event>,
    pub(crate) error: Option<Error>,
    pub(crate) written: Vec<u8>,
    pub(crate) status: Status,
}

impl Told {
    pub(crate) fn kind(&self) -> Option<Kind> {
        self.error.map(|error| error.kind)
    }

    /// The code of the close frame that was written last.
    pub(crate) fn code(&self) -> Option<u16> {
        sent_frames(&self.written)
            .into_iter()
            .filter(|(opcode, _)| *opcode == 8)
            .map(|(_, payload)| u16::from_be_bytes([payload[0], payload[1]]))
            .next_back()
    }
}

/// A connection as the options say.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) role: Role,
    pub(crate) config: Config,
    pub(crate) agreed: Agreed,
}

pub(crate) fn server() -> Setup {
    Setup { role: Role::Server, config: Config::default(), agreed: Agreed::default() }
}

pub(crate) fn client() -> Setup {
    Setup { role: Role::Client, ..server() }
}

impl Setup {
    pub(crate) fn open(&self) -> Connection {
        self.config.check().unwrap();
        let config = Arc::new(self.config);
        let upgraded = (BytesMut::new(), Outbox::new());
        Connection::new(self.role, config, &self.agreed, SEED, upgraded, NOW)
    }

    /// Feeds pieces; `eof`: the connection ends behind them.
    pub(crate) fn run<'a>(&self, pieces: impl IntoIterator<Item = &'a [u8]>, eof: bool) -> Told {
        let mut connection = self.open();
        let (mut events, mut error, mut written) = (Vec::new(), None, Vec::new());
        let mut pull = |connection: &mut Connection| {
            loop {
                match connection.poll_event(NOW) {
                    Ok(Some(event)) => events.push(event),
                    Ok(None) => break,
                    Err(again) => {
                        assert!(error.is_none_or(|error| error == again), "{error:?}, {again:?}");
                        error = Some(again);
                        break;
                    }
                }
                written.extend(drain(connection));
            }
            written.extend(drain(connection));
        };
        for piece in pieces {
            connection.inbox().extend_from_slice(piece);
            pull(&mut connection);
        }
        pull(&mut connection);
        if eof {
            connection.handle_eof(NOW);
            pull(&mut connection);
        }
        Told { events, error, written, status: connection.status() }
    }

    /// The same whole, byte by byte and in pieces of several lengths: all must tell the same.
    pub(crate) fn tell(&self, input: impl AsRef<[u8]>) -> Told {
        self.in_all_cuts(input.as_ref(), false)
    }

    pub(crate) fn tell_to_the_end(&self, input: impl AsRef<[u8]>) -> Told {
        self.in_all_cuts(input.as_ref(), true)
    }

    fn in_all_cuts(&self, input: &[u8], eof: bool) -> Told {
        let whole = self.run([input], eof);
        for size in [1, 2, 3, 5, 7, 16, 127, 4096] {
            if size == 1 || size < input.len() && input.len() / size < 5000 {
                assert_eq!(self.run(input.chunks(size), eof), whole, "in pieces of {size}");
            }
        }
        for at in 1..input.len().min(40) {
            let (a, b) = input.split_at(at);
            assert_eq!(self.run([a, b], eof), whole, "cut at {at}");
        }
        whole
    }
}

pub(crate) fn drain(connection: &mut Connection) -> Vec<u8> {
    let outbox = connection.outbox();
    outbox.copy_to_bytes(outbox.remaining()).to_vec()
}

/// A frame of a client, masked.
pub(crate) fn masked(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let mut frame = head(first, 0x80, payload.len());
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// A frame of a server.
pub(crate) fn plain(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let mut frame = head(first, 0, payload.as_ref().len());
    frame.extend(payload.as_ref());
    frame
}

pub(crate) fn head(first: u8, masked: u8, len: usize) -> Vec<u8> {
    let mut head = vec![first];
    match len {
        0..126 => head.push(masked | len as u8),
        126..65_536 => {
            head.push(masked | 0x7e);
            head.extend((len as u16).to_be_bytes());
        }
        _ => {
            head.push(masked | 0x7f);
            head.extend((len as u64).to_be_bytes());
        }
    }
    head
}

/// What was written, frame by frame, unmasked: opcode, or the whole first byte where it is not that
/// of a complete message, and payload.
pub(crate) fn sent_frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let [first, second, rest @ ..] = bytes {
        let (len, rest) = match second & 0x7f {
            126 => {
                let (len, rest) = rest.split_first_chunk().unwrap();
                (usize::from(u16::from_be_bytes(*len)), rest)
            }
            127 => {
                let (len, rest) = rest.split_first_chunk().unwrap();
                (u64::from_be_bytes(*len) as usize, rest)
            }
            len => (usize::from(len), rest),
        };
        let (mask, rest) = if second & 0x80 != 0 { rest.split_at(4) } else { (&[0; 4][..], rest) };
        let (payload, rest) = rest.split_at(len);
        let payload = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
        let opcode = if first & 0xf0 == 0x80 { first & 0x0f } else { *first };
        frames.push((opcode, payload.collect()));
        bytes = rest;
    }
    assert!(bytes.is_empty(), "half a frame was written");
    frames
}

pub(crate) fn text(text: &str) -> Event {
    Event::Message(Message::text(text.to_owned()))
}

pub(crate) fn binary(bytes: impl AsRef<[u8]>) -> Event {
    Event::Message(Message::binary(Bytes::copy_from_slice(bytes.as_ref())))
}

pub(crate) fn closed(code: CloseCode, reason: &str, by: Side) -> Event {
    Event::Closed(Closed { code, reason: Text::from(reason.to_owned()), by })
}

/// What a driver does next when everything was pulled and the socket would block.
pub(crate) fn next(connection: &mut Connection) -> Step {
    connection.step(Seen { drained: true, read_blocked: true, ..Seen::default() })
}
