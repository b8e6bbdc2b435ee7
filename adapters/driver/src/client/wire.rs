//! The wires that a client knows: the bare machine, or the machine under TLS.

use std::sync::Arc;

use bytes::BytesMut;
use sinew_core::http1::{Client, ClientEvent};
use sinew_core::machine::{Layered, Machine, Status, Wire};
use sinew_core::observe;
use sinew_core::outbox::Outbox;
use sinew_core::time::{Deadline, Instant};
use sinew_tls::{PeerIdentity, Tls};

/// One of the two.
#[derive(Debug)]
pub(super) enum ClientWire {
    Plain(Box<Client>),
    Secure(Box<Tls<Client>>),
}

macro_rules! each {
    ($self:expr, $wire:ident => $result:expr) => {
        match $self {
            ClientWire::Plain($wire) => $result,
            ClientWire::Secure($wire) => $result,
        }
    };
}

impl ClientWire {
    /// Whom the server's certificate names.
    pub(super) fn identity(&self) -> Option<Arc<PeerIdentity>> {
        match self {
            Self::Plain(_) => None,
            Self::Secure(tls) => tls.shared_peer_identity(),
        }
    }

    /// Whether another exchange can follow, on every layer.
    pub(super) fn reusable(&mut self) -> bool {
        self.top_ref().reusable() && self.status() == Status::Open && self.outbox().is_empty()
    }
}

impl Machine for ClientWire {
    type Event = ClientEvent;
    type Error = sinew_tls::Error;

    fn poll_event(&mut self, now: Instant) -> Result<Option<ClientEvent>, sinew_tls::Error> {
        match self {
            Self::Plain(client) => Ok(client.poll_event(now)?),
            Self::Secure(tls) => tls.poll_event(now),
        }
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

impl Wire for ClientWire {
    fn inbox(&mut self) -> &mut BytesMut {
        each!(self, wire => wire.inbox())
    }

    fn wants_read(&self) -> bool {
        each!(self, wire => wire.wants_read())
    }

    fn handle_eof(&mut self, now: Instant) {
        each!(self, wire => wire.handle_eof(now));
    }

    fn outbox(&mut self) -> &mut Outbox {
        each!(self, wire => wire.outbox())
    }

    fn status(&self) -> Status {
        each!(self, wire => wire.status())
    }

    fn rest(&mut self) {
        each!(self, wire => wire.rest());
    }

    fn has_room(&mut self) -> bool {
        each!(self, wire => wire.has_room())
    }

    fn is_self_delimited(&self) -> bool {
        each!(self, wire => wire.is_self_delimited())
    }
}

impl Layered for ClientWire {
    type Top = Client;

    fn top(&mut self) -> &mut Client {
        each!(self, wire => wire.top())
    }

    fn top_ref(&self) -> &Client {
        each!(self, wire => wire.top_ref())
    }
}
