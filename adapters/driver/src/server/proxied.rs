//! A connection that a proxy passes on: what it says in front of everything else.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use sinew_core::security::{ProxyHeader, ProxyProtocol};
use sinew_core::server::ConnectionRefused;
use sinew_core::server::drain::Activity;
use sinew_core::time::Instant;

use super::current::Current;
use super::http1::Http;
use super::mode::Mode;
use super::seat::Orders;
use super::server_wire::ServerWire;
use super::service::Service;
use super::ticket::Ticket;
use crate::drive::Alarm;
use crate::io::{Io as _, Peer};
use crate::runtime::Runtime;

/// Bytes that a read asks for; most headers have less than a hundred.
const READ: usize = 256;

/// A connection of which nobody knows yet for whom it is.
pub(super) struct Proxied<W, R: Runtime, M: Mode> {
    protocol: Arc<ProxyProtocol>,
    inbox: BytesMut,
    by: Instant,
    alarm: Alarm<R>,
    /// All of it, until it is known.
    parts: Option<Parts<W, R, M>>,
}

/// What a connection is made of.
pub(super) struct Parts<W, R: Runtime, M: Mode> {
    pub(super) wire: W,
    pub(super) io: R::Io,
    pub(super) runtime: R,
    pub(super) service: Arc<Service<M>>,
    pub(super) current: Arc<Current<M>>,
    pub(super) peer: Peer,
    pub(super) ticket: Ticket,
}

impl<W: ServerWire, R: Runtime, M: Mode> Proxied<W, R, M> {
    pub(super) fn new(protocol: Arc<ProxyProtocol>, now: Instant, parts: Parts<W, R, M>) -> Self {
        let by = now + parts.service.machine.first_byte;
        let (inbox, alarm) = (BytesMut::new(), Alarm::new());
        Self { protocol, inbox, by, alarm, parts: Some(parts) }
    }

    /// Ready with the connection behind the header; with none, it is dropped without an answer.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Http<W, R, M>>> {
        let Some(parts) = &mut self.parts else { return Poll::Ready(None) };
        let orders = parts.ticket.look(cx);
        if orders.closes() {
            parts.ticket.does(Activity::Idle);
        }
        if orders.contains(Orders::CLOSE) || orders.contains(Orders::RESET) {
            return Poll::Ready(None);
        }
        let refused = loop {
            match self.protocol.decode(&mut self.inbox) {
                Ok(Some(header)) => return Poll::Ready(self.accept(header)),
                Ok(None) => {}
                Err(bad) => break ConnectionRefused::ProxyHeader(bad),
            }
            match parts.io.poll_fill(cx, &mut self.inbox, READ) {
                Poll::Ready(Ok(read)) if read > 0 => {}
                Poll::Ready(_) => break ConnectionRefused::ProxySilent,
                Poll::Pending => {
                    let now = parts.runtime.now();
                    if self.alarm.arm(cx, &parts.runtime, now, Some(self.by)).is_pending() {
                        return Poll::Pending;
                    }
                    break ConnectionRefused::ProxySilent;
                }
            }
        };
        parts.ticket.refuse(refused);
        Poll::Ready(None)
    }

    fn accept(&mut self, header: ProxyHeader) -> Option<Http<W, R, M>> {
        let mut parts = self.parts.take()?;
        match header {
            ProxyHeader::Local => {}
            ProxyHeader::Proxied { source, .. } => {
                parts.peer = Peer::Tcp(source);
                parts.ticket.speaks_for(parts.peer.clone()).ok()?;
            }
            // Section 2.2 leaves it to us. The proxy's own address would stand for anybody.
            ProxyHeader::Unknown => {
                parts.ticket.refuse(ConnectionRefused::UnknownClient);
                return None;
            }
        }
        parts.wire.inbox().extend_from_slice(&self.inbox);
        Some(Http::new(parts))
    }
}
