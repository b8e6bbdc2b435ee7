//! TLS as a wire stacked on a wire.

use core::fmt;
use std::sync::Arc;

use bytes::BytesMut;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Connection, HandshakeKind};
use rustls::{ProtocolVersion, ServerConfig, ServerConnection};
use sinew_core::machine::{Layered, Machine, Status, Wire};
use sinew_core::observe;
use sinew_core::outbox::Outbox;
use sinew_core::time::{Deadline, Instant};

use crate::session::Session;
use crate::{Error, Options, PeerIdentity, ServerTls};

/// A wire under TLS: ciphertext at its inbox and outbox, the events of `W` out of
/// [`poll_event`](Machine::poll_event).
///
/// - Decryption happens in `poll_event`, one record ahead of the inner machine and only while that
///   wants to read. Encryption happens in [`outbox`](Wire::outbox): what was queued since the last
///   write shares a record, and no more than about 80 KiB of ciphertext waits for the socket.
/// - The peer's `close_notify` is the end of the inner machine's input. An end of the transport
///   without it is passed on only where the inner machine
///   [cannot mistake it](Wire::is_self_delimited), and is the error
///   [`Truncated`](crate::Reason::Truncated) elsewhere.
/// - When the inner machine is through, `close_notify` goes out before the status says so.
/// - After a failure the alert is flushed, the writing side is shut, and the peer has a second to
///   read it; then the status is `Close(Failed)`.
/// - The timers of the inner machine run during the handshake too: a server's limit on the first
///   byte of a request then covers the handshake. The handshake's own timer goes first, and once
///   this layer has failed the inner machine is not called any more.
///
/// Memory of one connection: 32 KiB of ciphertext in (and one read), 80 KiB out, what rustls holds
/// (4 KiB at rest, 18 KiB at most; 64 KiB during the handshake), and the peer's certificate.
pub struct Tls<W> {
    inner: W,
    session: Session,
}

/// The versions of TLS that are spoken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Version {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl<W> Tls<W> {
    /// The server's side of a connection that was accepted at `now`.
    ///
    /// # Errors
    ///
    /// When rustls refuses the configuration.
    pub fn server(
        inner: W,
        config: Arc<ServerConfig>,
        options: Options,
        now: Instant,
    ) -> Result<Self, rustls::Error> {
        let connection = ServerConnection::new(config)?;
        Ok(Self { inner, session: Session::new(Connection::Server(connection), options, now) })
    }

    /// The client's side of a connection to `name`, started at `now`.
    ///
    /// # Errors
    ///
    /// When rustls refuses the configuration, or has no random numbers.
    pub fn client(
        inner: W,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        options: Options,
        now: Instant,
    ) -> Result<Self, rustls::Error> {
        let connection = ClientConnection::new(config, name)?;
        Ok(Self { inner, session: Session::new(Connection::Client(connection), options, now) })
    }

    /// Who the peer is. `None` before the end of the handshake, and for a client that showed no
    /// certificate.
    pub fn peer_identity(&self) -> Option<&PeerIdentity> {
        self.session.identity.as_deref()
    }

    /// The same, to keep: a count goes up, nothing is copied.
    pub fn shared_peer_identity(&self) -> Option<Arc<PeerIdentity>> {
        self.session.identity.clone()
    }

    /// The application protocol that was agreed on.
    pub fn alpn(&self) -> Option<&[u8]> {
        self.session.tls.alpn_protocol()
    }

    /// Whether this configuration would let the peer in, whose client certificate another one accepted; see
    /// [`ServerTls::accepts`].
    pub fn is_accepted_by(&self, tls: &ServerTls) -> bool {
        tls.accepts(self.session.tls.peer_certificates())
    }

    /// Whether the handshake is still going on.
    pub fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    /// The version that was agreed on.
    pub fn protocol_version(&self) -> Option<Version> {
        match self.session.tls.protocol_version()? {
            ProtocolVersion::TLSv1_2 => Some(Version::Tls12),
            ProtocolVersion::TLSv1_3 => Some(Version::Tls13),
            _ => None,
        }
    }

    /// Whether an earlier session was resumed, whose certificates were not looked at again.
    pub fn is_resumed(&self) -> bool {
        self.session.tls.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Whether this is the server's side.
    pub fn is_server(&self) -> bool {
        self.session.is_server()
    }

    /// The wire inside.
    pub fn inner(&self) -> &W {
        &self.inner
    }

    /// The wire inside.
    pub fn inner_mut(&mut self) -> &mut W {
        &mut self.inner
    }

    /// Replaces the wire inside and keeps the session: an upgrade.
    ///
    /// What was decrypted already lies in the old wire's inbox, what it queued and was not encrypted
    /// yet in its outbox; `f` carries both over. What is still encrypted goes to the new wire.
    pub fn map_inner<V>(self, f: impl FnOnce(W) -> V) -> Tls<V> {
        Tls { inner: f(self.inner), session: self.session }
    }

    /// Like [`map_inner`](Self::map_inner), for an upgrade that may be refused.
    ///
    /// # Errors
    ///
    /// The unchanged connection, when `f` gives the old wire back.
    #[expect(clippy::result_large_err, reason = "the connection itself comes back")]
    pub fn try_map_inner<V>(self, f: impl FnOnce(W) -> Result<V, W>) -> Result<Tls<V>, Self> {
        match f(self.inner) {
            Ok(inner) => Ok(Tls { inner, session: self.session }),
            Err(inner) => Err(Self { inner, session: self.session }),
        }
    }
}

impl<W: Wire<Error = sinew_core::Error>> Machine for Tls<W> {
    type Event = W::Event;
    type Error = Error;

    fn poll_event(&mut self, now: Instant) -> Result<Option<W::Event>, Error> {
        self.session.poll(&mut self.inner, now)
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.session.tick(now);
        if !self.session.is_dead() {
            self.inner.handle_timeout(now);
        }
    }

    fn deadline(&self) -> Option<Deadline> {
        let own = self.session.deadline();
        if self.session.is_dead() {
            return own;
        }
        Deadline::earlier(own, self.inner.deadline())
    }

    fn poll_observed(&mut self) -> Option<observe::Event> {
        self.session.next_news().or_else(|| self.inner.poll_observed())
    }
}

impl<W: Wire<Error = sinew_core::Error>> Wire for Tls<W> {
    fn inbox(&mut self) -> &mut BytesMut {
        &mut self.session.inbox
    }

    fn wants_read(&self) -> bool {
        self.session.wants_read(&self.inner)
    }

    fn handle_eof(&mut self, now: Instant) {
        self.session.end_of_input(now);
    }

    fn is_self_delimited(&self) -> bool {
        self.inner.is_self_delimited()
    }

    fn outbox(&mut self) -> &mut Outbox {
        self.session.pump(&mut self.inner);
        &mut self.session.outbox
    }

    fn has_room(&mut self) -> bool {
        self.session.pump(&mut self.inner);
        !self.session.is_dead() && self.inner.has_room()
    }

    fn status(&self) -> Status {
        self.session.status(&self.inner)
    }

    fn rest(&mut self) {
        self.session.rest();
        self.inner.rest();
    }
}

impl<W: Layered + Wire<Error = sinew_core::Error>> Layered for Tls<W> {
    type Top = W::Top;

    fn top(&mut self) -> &mut W::Top {
        self.inner.top()
    }

    fn top_ref(&self) -> &W::Top {
        self.inner.top_ref()
    }
}

impl<W: fmt::Debug> fmt::Debug for Tls<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("inner", &self.inner)
            .field("handshaking", &self.is_handshaking())
            .field("peer", &self.peer_identity().map(PeerIdentity::name))
            .finish_non_exhaustive()
    }
}
