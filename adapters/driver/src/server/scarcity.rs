//! What a connection does while the memory of its server runs short.

use std::task::Context;

use sinew_core::limit::Stage;
use sinew_core::observe::Event;
use sinew_core::time::Instant;

use super::exchange::Exchange;
use super::http1::{Http, Stop};
use super::mode::Mode;
use super::server_wire::ServerWire;
use super::service::Notice;
use crate::runtime::Runtime;

/// Bytes that a connection may have read and not parsed although memory is short.
const HEARD: usize = 16 * 1024;

impl<W: ServerWire, R: Runtime, M: Mode> Http<W, R, M> {
    /// Books what the connection holds while it sleeps.
    pub(super) fn settle(&mut self, cx: &Context<'_>) {
        let held = self.wire.held();
        let short = self.holdings.settle(cx, held, self.held_up).is_err();
        // A little is read in any case: who is let in is heard, and a handshake is finished.
        self.starved = short && held.0 > HEARD;
    }

    /// While memory runs short, a connection that does nothing does so for a shorter time: one without
    /// a request, and one whose client takes nothing.
    pub(super) fn quiet_until(&mut self, now: Instant) -> Option<Instant> {
        if self.holdings.stage() < Stage::ShortenIdle {
            self.quiet = None;
            return None;
        }
        let (inbox, queued) = self.wire.held();
        let machine = &self.service.machine;
        let runs = !matches!(self.exchange, Exchange::None);
        let limit = match queued {
            0 if runs || inbox > 0 || !self.wire.top_ref().is_idle() => None,
            0 => Some(self.holdings.idle(machine.idle)),
            _ => Some(self.holdings.stall(machine.write_stall)),
        };
        let Some(limit) = limit else {
            self.quiet = None;
            return None;
        };
        let drained = self.wire.outbox().drained();
        let since = match self.quiet {
            Some((since, before)) if before == drained => since,
            _ => now,
        };
        self.quiet = Some((since, drained));
        Some(since + limit)
    }

    /// Gives back what it holds for nothing.
    pub(super) fn yield_memory(&mut self, now: Instant) -> Result<(), Stop> {
        self.quiet = None;
        let (_, queued) = self.wire.held();
        if queued > 0 {
            self.notice(&Notice::Decided(Event::Reclaimed { bytes: queued as u64 }));
            return Err(Stop::Aborted);
        }
        self.close(now);
        Ok(())
    }
}
