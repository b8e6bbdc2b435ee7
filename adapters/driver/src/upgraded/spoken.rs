//! What is spoken on a connection that left HTTP.

use std::sync::Arc;

use bytes::BytesMut;
use sinew_core::http1::{Tunnel, TunnelConfig, TunnelEvent};
use sinew_core::machine::{Layered, Machine, Status, Wire};
use sinew_core::observe;
use sinew_core::outbox::Outbox;
use sinew_core::time::{Deadline, Instant};
use sinew_core::websocket::handshake::Agreed;
use sinew_core::websocket::{self, Connection, Role};

/// One of the two.
#[derive(Debug)]
pub(crate) enum Spoken {
    /// Nobody knows what: bytes.
    Bytes(Box<Tunnel>),
    /// WebSocket.
    Messages(Box<Connection>),
}

/// What comes of it.
#[derive(Debug)]
pub(crate) enum Heard {
    Bytes(TunnelEvent),
    Messages(websocket::Event),
}

/// How WebSocket is spoken.
#[derive(Debug)]
pub(crate) struct Speech {
    pub(crate) role: Role,
    pub(crate) config: Arc<websocket::Config>,
    pub(crate) agreed: Agreed,
    /// Out of the operating system, for this connection alone.
    pub(crate) seed: [u8; 32],
}

macro_rules! each {
    ($self:expr, $wire:ident => $result:expr) => {
        match $self {
            Spoken::Bytes($wire) => $result,
            Spoken::Messages($wire) => $result,
        }
    };
}

impl Spoken {
    /// From now on WebSocket is spoken. What came early, and what is not written yet, goes along.
    pub(super) fn speak(&mut self, speech: Speech, now: Instant) {
        let Self::Bytes(tunnel) = self else { return };
        let config = TunnelConfig::default();
        let emptied = Tunnel::new(config, BytesMut::new(), Outbox::new(), now);
        let tunnel = std::mem::replace(&mut **tunnel, emptied);
        let ended = tunnel.peer_closed();
        let Speech { role, config, agreed, seed } = speech;
        let upgraded = tunnel.into_parts();
        let mut connection = Connection::new(role, config, &agreed, seed, upgraded, now);
        if ended {
            connection.handle_eof(now);
        }
        *self = Self::Messages(Box::new(connection));
    }

    /// The machine, where bytes are spoken.
    pub(super) fn tunnel(&mut self) -> Option<&mut Tunnel> {
        match self {
            Self::Bytes(tunnel) => Some(tunnel),
            Self::Messages(_) => None,
        }
    }

    /// The machine, where WebSocket is spoken.
    pub(super) fn connection(&mut self) -> Option<&mut Connection> {
        match self {
            Self::Bytes(_) => None,
            Self::Messages(connection) => Some(connection),
        }
    }
}

impl Machine for Spoken {
    type Event = Heard;
    type Error = sinew_core::Error;

    fn poll_event(&mut self, now: Instant) -> Result<Option<Heard>, sinew_core::Error> {
        Ok(match self {
            Self::Bytes(tunnel) => tunnel.poll_event(now)?.map(Heard::Bytes),
            Self::Messages(connection) => connection.poll_event(now)?.map(Heard::Messages),
        })
    }

    fn handle_timeout(&mut self, now: Instant) {
        each!(self, wire => wire.handle_timeout(now));
    }

    fn deadline(&self) -> Option<Deadline> {
        each!(self, wire => wire.deadline())
    }

    fn poll_observed(&mut self) -> Option<observe::Event> {
        each!(self, wire => wire.poll_observed())
    }
}

impl Wire for Spoken {
    fn inbox(&mut self) -> &mut BytesMut {
        each!(self, wire => wire.inbox())
    }

    fn wants_read(&self) -> bool {
        each!(self, wire => wire.wants_read())
    }

    fn handle_eof(&mut self, now: Instant) {
        each!(self, wire => wire.handle_eof(now));
    }

    fn is_self_delimited(&self) -> bool {
        each!(self, wire => wire.is_self_delimited())
    }

    fn outbox(&mut self) -> &mut Outbox {
        each!(self, wire => wire.outbox())
    }

    fn has_room(&mut self) -> bool {
        each!(self, wire => wire.has_room())
    }

    fn status(&self) -> Status {
        each!(self, wire => wire.status())
    }

    fn rest(&mut self) {
        each!(self, wire => wire.rest());
    }
}

impl Layered for Spoken {
    type Top = Self;

    fn top(&mut self) -> &mut Self {
        self
    }

    fn top_ref(&self) -> &Self {
        self
    }
}
