//! The loop of an upgraded connection: the turn of whoever polls it.

use std::task::{Context, Poll};

use sinew_core::http1::TunnelEvent;
use sinew_core::machine::{Layered as _, Machine as _, Seen, Step, Wire as _};
use sinew_core::time::Instant;
use sinew_core::websocket;

use super::{Carrier, Cause};
use crate::drive::{self, Pipe};
use crate::runtime::Runtime;
use crate::upgraded::carry::Stir;
use crate::upgraded::compressors;
use crate::upgraded::spoken::{Heard, Spoken};

/// Steps of one poll; then the other tasks of the worker get their turn.
const LAPS: usize = 64;

impl<R: Runtime, G> Carrier<R, G> {
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        // Taken out, so that it can be used beside the rest.
        let Some(mut pipe) = self.pipe.take().filter(|_| !self.over) else { return };
        self.laps(cx, &mut pipe);
        if !self.over {
            self.pipe = Some(pipe);
        }
    }

    fn laps(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe<R::Io>) {
        let mut now = self.runtime.now();
        self.seen.read_blocked = false;
        self.seen.write_blocked = false;
        self.seen.drained = false;
        if self.alarm.has_fired(now) {
            self.wire.handle_timeout(now);
        }
        if let Poll::Ready(Err(error)) = pipe.flush(cx) {
            return self.lost(&error);
        }
        // Until the next poll, so that reading goes on: the peer may wait for that.
        let mut shut_blocked = false;
        for _ in 0..LAPS {
            let write_shut = self.seen.write_shut || shut_blocked;
            let deadline = match self.wire.step(Seen { write_shut, ..self.seen }) {
                Step::Poll => {
                    self.pull(now);
                    continue;
                }
                Step::Write => match pipe.drain(cx, self.wire.outbox()) {
                    Poll::Ready(Ok(())) => {
                        self.refill(now);
                        self.seen.drained = false;
                        self.stir();
                        continue;
                    }
                    Poll::Ready(Err(error)) => return self.lost(&error),
                    Poll::Pending => {
                        self.seen.write_blocked = true;
                        continue;
                    }
                },
                Step::Read => match pipe.fill(cx, &mut self.wire) {
                    Poll::Ready(Ok(read)) => {
                        if read == 0 {
                            self.wire.handle_eof(now);
                        }
                        self.seen.drained = false;
                        self.stir();
                        continue;
                    }
                    Poll::Ready(Err(error)) => return self.lost(&error),
                    Poll::Pending => {
                        self.seen.read_blocked = true;
                        continue;
                    }
                },
                Step::Wait(deadline) => deadline,
                Step::HalfClose => match pipe.shut(cx) {
                    Poll::Ready(Ok(())) => {
                        self.seen.write_shut = true;
                        self.stir();
                        continue;
                    }
                    Poll::Ready(Err(error)) => return self.lost(&error),
                    Poll::Pending => {
                        shut_blocked = true;
                        continue;
                    }
                },
                Step::Close(_) => {
                    return self.end();
                }
            };
            let at = deadline.map(|deadline| deadline.at);
            if self.alarm.arm(cx, &self.runtime, now, at).is_pending() {
                drive::return_write_block(self.wire.top().outbox());
                drive::rest(&mut self.wire);
                return;
            }
            now = self.runtime.now();
            self.wire.handle_timeout(now);
            self.seen.drained = false;
        }
        self.stir = Stir::All;
    }

    /// Pulls one event. Bytes if somebody waits for them; of messages one ahead: so pings are answered,
    /// and the end is seen, while nobody asks.
    pub(super) fn pull(&mut self, now: Instant) {
        self.seen.drained = true;
        let unasked = matches!(self.wire.top_ref(), Spoken::Bytes(_)) && !self.wanted;
        let waits = self.bytes.is_some() || self.message.is_some();
        if (unasked || waits) && self.cause.is_none() {
            // Nobody takes what comes; timers run all the same.
            self.wire.handle_timeout(now);
            return;
        }
        drive::lend_write_block(self.wire.top().outbox());
        if let Some(connection) = self.wire.top().connection() {
            compressors::lend(connection);
        }
        let polled = self.wire.poll_event(now);
        if let Some(connection) = self.wire.top().connection() {
            compressors::take_back(connection);
        }
        match polled {
            Ok(None) => {}
            Ok(Some(heard)) => self.hear(heard),
            // A wire that failed goes on until its alert is out, and throws away what comes.
            Err(_) if self.cause.is_some() => {}
            Err(error) => {
                self.cause = Some(Cause::Wire(error));
                self.stir();
            }
        }
    }

    fn hear(&mut self, heard: Heard) {
        // There may be more behind it.
        self.seen.drained = false;
        match heard {
            Heard::Bytes(TunnelEvent::Data(_)) if self.discards => return,
            Heard::Bytes(TunnelEvent::Data(data)) => self.bytes = Some(data),
            Heard::Bytes(TunnelEvent::End) => self.ended = true,
            Heard::Messages(websocket::Event::Message(_)) if self.discards => return,
            Heard::Messages(websocket::Event::Message(message)) => {
                self.hold_messages(true);
                self.message = Some(message);
            }
            Heard::Messages(websocket::Event::Ping(_) | websocket::Event::Pong(_)) => return,
            Heard::Messages(websocket::Event::Closed(closed)) => {
                self.ended = true;
                self.closed = Some(closed);
            }
        }
        self.stir();
        // The reader gets its turn first.
        self.seen.drained = !self.discards;
    }

    /// Passes on messages that waited for room.
    fn refill(&mut self, now: Instant) {
        if let Some(connection) = self.wire.top().connection() {
            compressors::lend(connection);
            self.queue.pump(connection, now);
            compressors::take_back(connection);
        }
    }
}
