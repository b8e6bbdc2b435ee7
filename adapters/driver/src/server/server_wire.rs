//! What a connection's loop asks of a wire, bare or under TLS.

use std::sync::Arc;

use sinew_core::http1::{self, ServerEvent};
use sinew_core::machine::{Layered, Machine, Status, Wire as _};
use sinew_core::server::Scheme;
use sinew_tls::{PeerIdentity, ServerTls, Tls};

use crate::wire::AnyWire;

/// A wire with an HTTP/1.1 server on top: the bare machine, or the machine under TLS.
pub trait ServerWire:
    Layered<Top = http1::Server>
    + Machine<Event = ServerEvent, Error: Into<sinew_tls::Error>>
    + Unpin
    + 'static
{
    /// What it speaks.
    const SCHEME: Scheme;

    /// Whom the peer's certificate names, once the handshake is complete.
    fn identity(&self) -> Option<Arc<PeerIdentity>>;

    /// Whether a server that goes by this would let the peer in, as far as it is known.
    fn is_accepted_by(&self, tls: &ServerTls) -> bool {
        let _ = tls;
        true
    }

    /// Whether who the peer is turns out later.
    fn is_anonymous_yet(&self) -> bool {
        false
    }

    /// Whether pulling an event would certainly give none: saves the pull.
    fn is_quiet(&self) -> bool {
        false
    }

    /// Bytes that were read and not parsed, and those that are to be written; what a TLS session has in
    /// hand is not among them.
    fn held(&mut self) -> (usize, usize);

    /// The same, bare or under TLS.
    fn into_any(self) -> AnyWire<http1::Server>;
}

impl ServerWire for http1::Server {
    const SCHEME: Scheme = Scheme::Http;

    fn identity(&self) -> Option<Arc<PeerIdentity>> {
        None
    }

    fn is_quiet(&self) -> bool {
        self.is_idle() && !self.peer_closed() && self.status() == Status::Open
    }

    fn held(&mut self) -> (usize, usize) {
        (self.inbox().len(), self.outbox().len())
    }

    fn into_any(self) -> AnyWire<http1::Server> {
        AnyWire::Plain(Box::new(self))
    }
}

impl ServerWire for Tls<http1::Server> {
    const SCHEME: Scheme = Scheme::Https;

    fn identity(&self) -> Option<Arc<PeerIdentity>> {
        self.shared_peer_identity()
    }

    fn held(&mut self) -> (usize, usize) {
        let (inbox, outbox) = self.top().held();
        (inbox + self.inbox().len(), outbox + self.outbox().len())
    }

    fn is_accepted_by(&self, tls: &ServerTls) -> bool {
        self.is_handshaking() || self.is_accepted_by(tls)
    }

    fn is_anonymous_yet(&self) -> bool {
        self.is_handshaking()
    }

    fn into_any(self) -> AnyWire<http1::Server> {
        AnyWire::Secure(Box::new(self))
    }
}
