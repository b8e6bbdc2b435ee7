//! A connection whose server was told to go by something else.

use std::sync::Arc;

use sinew_core::time::Instant;

use super::http1::Http;
use super::link::Hold;
use super::mode::Mode;
use super::server_wire::ServerWire;
use super::service::Notice;
use crate::runtime::Runtime;

impl<W: ServerWire, R: Runtime, M: Mode> Http<W, R, M> {
    /// What the server goes by was replaced: it holds from the next head on. Whom it would not let in any
    /// more is told to close.
    pub(super) fn renew(&mut self, now: Instant) {
        self.ticket.renewed();
        let next = self.current.get();
        if let Some(tls) = next.changed_tls(&self.service) {
            self.doubted = self.wire.is_anonymous_yet();
            if !self.wire.is_accepted_by(tls) {
                self.notice(&Notice::Distrusted);
                self.close(now);
            }
        }
        self.next = Some(next);
        self.seen.drained = false;
    }

    /// No exchange is running: goes by what is in force.
    pub(super) fn adopt(&mut self) {
        let Some(next) = self.next.take() else { return };
        if self.wire.top().reconfigure(Arc::clone(&next.machine)).is_err() {
            // The rest of a body is still being thrown away.
            self.next = Some(next);
            return;
        }
        let templates = Arc::clone(next.router.templates());
        self.link = Hold::new(self.link.renewed(templates, Arc::clone(&next.stack)));
        self.service = next;
    }

    /// The first request of a connection whose handshake began under what is not in force any more:
    /// whether its client would not be let in now.
    pub(super) fn is_distrusted(&mut self) -> bool {
        let doubted = std::mem::take(&mut self.doubted);
        let tls = self.service.tls.as_ref().filter(|_| doubted);
        tls.is_some_and(|tls| !self.wire.is_accepted_by(tls))
    }
}
