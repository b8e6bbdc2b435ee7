//! A machine, bare or under TLS, where that is known only when the connection is made.

use std::sync::Arc;

use bytes::BytesMut;
use sinew_core::machine::{Layered, Machine, Status, Wire};
use sinew_core::observe;
use sinew_core::outbox::Outbox;
use sinew_core::time::{Deadline, Instant};
use sinew_tls::{ClientTls, PeerIdentity, ServerTls, Tls};

use crate::error::Error;

/// One of the two.
#[derive(Debug)]
pub enum AnyWire<W> {
    Plain(Box<W>),
    Secure(Box<Tls<W>>),
}

macro_rules! each {
    ($self:expr, $wire:ident => $result:expr) => {
        match $self {
            AnyWire::Plain($wire) => $result,
            AnyWire::Secure($wire) => $result,
        }
    };
}

impl<W> AnyWire<W> {
    /// Whom the peer's certificate names.
    pub(crate) fn identity(&self) -> Option<Arc<PeerIdentity>> {
        match self {
            Self::Plain(_) => None,
            Self::Secure(tls) => tls.shared_peer_identity(),
        }
    }

    /// The client's side of a session with whom the certificate must name.
    pub(crate) fn start_tls(
        tls: &ClientTls,
        name: &str,
        wire: W,
        now: Instant,
    ) -> Result<Self, Error> {
        let tls = tls.connect(name, wire, now);
        let failed = |why| Error::config("TLS cannot be started").with_source(why);
        Ok(Self::Secure(Box::new(tls.map_err(failed)?)))
    }

    /// Whether a server that goes by this would let the peer in.
    pub(crate) fn is_accepted_by(&self, tls: &ServerTls) -> bool {
        match self {
            Self::Plain(_) => true,
            Self::Secure(secure) => secure.is_accepted_by(tls),
        }
    }

    /// The same connection with another machine on it.
    pub(crate) fn try_map<V>(self, f: impl FnOnce(W) -> Result<V, W>) -> Option<AnyWire<V>> {
        Some(match self {
            Self::Plain(wire) => AnyWire::Plain(Box::new(f(*wire).ok()?)),
            Self::Secure(tls) => AnyWire::Secure(Box::new(tls.try_map_inner(f).ok()?)),
        })
    }
}

impl<W: Wire<Error = sinew_core::Error>> Machine for AnyWire<W> {
    type Event = W::Event;
    type Error = sinew_tls::Error;

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "an event is large, and would be copied once more")]
    fn poll_event(&mut self, now: Instant) -> Result<Option<W::Event>, sinew_tls::Error> {
        match self {
            Self::Plain(wire) => match wire.poll_event(now) {
                // Told apart: an event is large, and would be copied even where there is none.
                Ok(None) => Ok(None),
                event => Ok(event?),
            },
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

impl<W: Wire<Error = sinew_core::Error>> Wire for AnyWire<W> {
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

impl<W: Layered<Error = sinew_core::Error>> Layered for AnyWire<W> {
    type Top = W::Top;

    fn top(&mut self) -> &mut W::Top {
        each!(self, wire => wire.top())
    }

    fn top_ref(&self) -> &W::Top {
        each!(self, wire => wire.top_ref())
    }
}
