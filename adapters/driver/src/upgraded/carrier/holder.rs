//! What is done for whoever holds the connection.

use std::task::{Context, Poll};

use bytes::Bytes;
use sinew_core::http1;
use sinew_core::machine::{Layered as _, Machine as _, Wire as _};
use sinew_core::observe;
use sinew_core::websocket::{self, CloseCode, Closed, Connection, Message};
use sinew_tls::ServerTls;

use super::{Carrier, Cause, gone};
use crate::drive;
use crate::error::Error;
use crate::runtime::Runtime;
use crate::upgraded::carry::{Carry, Setup, Stir, Unsent};
use crate::upgraded::spoken::Spoken;

impl<R: Runtime, G: Send> Carry for Carrier<R, G> {
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Error>> {
        if self.bytes.is_none() && !self.ended {
            self.wanted = true;
            self.drive(cx);
            self.wanted = false;
        }
        match self.bytes.take() {
            Some(bytes) => Poll::Ready(Ok(Some(bytes))),
            None if self.ended => Poll::Ready(Ok(None)),
            None => self.failed().map_or(Poll::Pending, |error| Poll::Ready(Err(error))),
        }
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &mut Option<Bytes>,
    ) -> Poll<Result<(), Error>> {
        loop {
            if let Some(error) = self.failed() {
                return Poll::Ready(Err(error));
            }
            if self.wire.has_room()
                && let Some(piece) = bytes.take()
            {
                let now = self.runtime.now();
                let Some(tunnel) = self.wire.top().tunnel() else {
                    return Poll::Ready(Err(gone()));
                };
                drive::lend_write_block(tunnel.outbox());
                match tunnel.send(now, piece) {
                    Ok(()) => {}
                    Err(http1::Rejected::Full(piece)) => *bytes = Some(piece),
                    Err(http1::Rejected::Error(error)) => return Poll::Ready(Err(error.into())),
                }
            }
            self.drive(cx);
            match bytes {
                None if self.wire.outbox().is_empty() => {
                    let error = self.failed();
                    return Poll::Ready(error.map_or(Ok(()), Err));
                }
                Some(_) if self.wire.has_room() => {}
                _ if self.cause.is_some() => {}
                _ => return Poll::Pending,
            }
        }
    }

    fn poll_shut(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let now = self.runtime.now();
        if let Some(tunnel) = self.wire.top().tunnel() {
            tunnel.shut(now);
        }
        self.drive(cx);
        match self.failed() {
            Some(error) => Poll::Ready(Err(error)),
            None if self.seen.write_shut || self.over => Poll::Ready(Ok(())),
            None => Poll::Pending,
        }
    }

    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.drive(cx);
        if self.over { Poll::Ready(()) } else { Poll::Pending }
    }

    fn close(&mut self, cx: &mut Context<'_>) {
        let now = self.runtime.now();
        if let Some(tunnel) = self.wire.top().tunnel() {
            tunnel.close(now);
        } else {
            let failed = std::thread::panicking();
            let code = if failed { CloseCode::INTERNAL_ERROR } else { CloseCode::NORMAL };
            // One that failed, or is over, has said all there is to say.
            let _ = self.close_with(code, "");
        }
        self.discard();
        self.wanted = true;
        self.drive(cx);
    }

    fn stop(&mut self) {
        self.cause.get_or_insert(Cause::Stopped);
        self.end();
    }

    fn take_stir(&mut self) -> Stir {
        std::mem::take(&mut self.stir)
    }

    fn poll_observed(&mut self) -> Option<observe::Event> {
        self.wire.poll_observed()
    }

    fn is_accepted_by(&self, tls: &ServerTls) -> bool {
        self.wire.is_accepted_by(tls)
    }

    fn speak(&mut self, setup: Setup) {
        let now = self.runtime.now();
        let Setup { speech, expires, seat } = setup;
        // Of one that is over already, nobody would give it back.
        self.seat = seat.filter(|_| !self.over);
        self.wire.top().speak(speech, now);
        self.stir();
        if let Some(expires) = expires {
            let left = expires.saturating_sub(self.runtime.epoch().unix(now));
            let (code, reason) = (CloseCode::TOKEN_EXPIRED, "token expired");
            // Just opened, it can be closed.
            let _ = self.with(|connection, _, now| {
                Ok(connection.close_at(now, now + left, code, reason)?)
            });
        }
        if self.leaving {
            self.leave();
        }
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Message>, Error>> {
        self.discards = false;
        if self.message.is_none() {
            self.hold_messages(false);
        }
        // What is there already needs no socket: so the answers of one wake-up leave together.
        if self.message.is_none() && !self.ended && self.cause.is_none() {
            self.pull(self.runtime.now());
        }
        if self.message.is_none() && !self.ended && self.cause.is_none() {
            self.drive(cx);
        }
        match self.message.take() {
            Some(message) => {
                self.stir();
                Poll::Ready(Ok(Some(message)))
            }
            None if self.ended => Poll::Ready(Ok(None)),
            None => self.failed().map_or(Poll::Pending, |error| Poll::Ready(Err(error))),
        }
    }

    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<Result<Closed, Error>> {
        self.discard();
        self.drive(cx);
        match (&self.closed, self.failed()) {
            (Some(closed), _) => Poll::Ready(Ok(closed.clone())),
            (None, Some(error)) => Poll::Ready(Err(error)),
            (None, None) if self.over => Poll::Ready(Err(gone())),
            (None, None) => Poll::Pending,
        }
    }

    fn send(&mut self, message: Message) -> Result<(), Unsent> {
        self.stir();
        let sent = self.with(|connection, queue, now| {
            if !connection.is_open() {
                return Err(gone());
            }
            drive::lend_write_block(connection.outbox());
            let sent = queue.send(connection, now, message);
            Ok(sent.map_err(|rejected| match rejected {
                websocket::Rejected::Full(message) => Unsent::Full(message),
                // It was closed for the message that had no room.
                websocket::Rejected::Error(_) if !connection.is_open() => Unsent::Error(gone()),
                websocket::Rejected::Error(error) => Unsent::Error(error.into()),
            }))
        });
        sent.unwrap_or_else(|error| Err(Unsent::Error(error)))
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        for driven in [false, true] {
            if driven {
                self.drive(cx);
            }
            let room = self.with(|connection, queue, _| {
                let open = connection.is_open();
                if open { Ok(queue.has_room(connection)) } else { Err(gone()) }
            });
            match room {
                Ok(true) => return Poll::Ready(Ok(())),
                Ok(false) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Pending
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.drive(cx);
        match self.failed() {
            Some(error) => Poll::Ready(Err(error)),
            None if self.wire.outbox().is_empty() => Poll::Ready(Ok(())),
            None => Poll::Pending,
        }
    }

    fn begin_close(&mut self, code: CloseCode, reason: &str) -> Result<(), Error> {
        self.left |= self.close_with(code, reason)?;
        Ok(())
    }

    fn leave(&mut self) {
        self.leaving = true;
        // One that carries bytes is told once it speaks WebSocket; one that is over needs no telling.
        let _ = self.close_with(CloseCode::GOING_AWAY, "");
    }

    fn dropped(&self) -> u64 {
        self.queue.dropped()
    }

    fn websocket(&self) -> Option<&Connection> {
        match self.wire.top_ref() {
            Spoken::Messages(connection) => Some(connection),
            Spoken::Bytes(_) => None,
        }
    }

    fn closed(&self) -> Option<&Closed> {
        self.closed.as_ref()
    }

    fn was_left(&self) -> bool {
        self.left
    }
}
