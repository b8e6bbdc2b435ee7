//! The loop of an upgraded connection.

use std::io;
use std::task::{Context, Poll};

use bytes::Bytes;
use sinew_core::error::{Delivery, Phase};
use sinew_core::http1::{self, Tunnel, TunnelEvent};
use sinew_core::machine::{Layered as _, Machine as _, Seen, Step, Wire as _};
use sinew_core::observe;
use sinew_core::time::Instant;
use sinew_core::websocket::{self, CloseCode, Closed, Connection, Message, Overflow, SendQueue};

use sinew_tls::ServerTls;

use super::carry::{Carry, Setup, Unsent};
use super::compressors;
use super::spoken::{Heard, Spoken};
use crate::drive::{self, Alarm, Pipe};
use crate::error::{Error, ErrorKind};
use crate::runtime::Runtime;
use crate::websocket::Seat;
use crate::wire::AnyWire;

/// Steps of one poll; then the other tasks of the worker get their turn.
const LAPS: usize = 64;

/// An upgraded connection with its socket.
pub(crate) struct Carrier<R: Runtime, G> {
    wire: AnyWire<Spoken>,
    /// `None` once it is over: the socket is closed then, whoever still has a handle.
    pipe: Option<Pipe<R::Io>>,
    runtime: R,
    alarm: Alarm<R>,
    seen: Seen,
    /// A reader waits, or what comes is thrown away: unasked, bytes stay where they are.
    wanted: bool,
    /// What waits for its reader.
    bytes: Option<Bytes>,
    message: Option<Message>,
    /// The peer sends nothing more.
    ended: bool,
    /// What becomes of messages that are sent.
    queue: SendQueue,
    /// A place among the sockets, as long as the connection lives.
    seat: Option<Seat>,
    /// How WebSocket ended, once it has.
    closed: Option<Closed>,
    /// Nobody wants what comes: it is thrown away.
    discards: bool,
    /// The server leaves.
    leaving: bool,
    /// The application closed first.
    left: bool,
    over: bool,
    cause: Option<Cause>,
    stirred: bool,
    /// A place that is taken for as long as the connection lives.
    _place: G,
}

/// Why the connection can go no further.
enum Cause {
    Wire(sinew_tls::Error),
    Io(io::ErrorKind),
    Stopped,
}

impl<R: Runtime, G> Carrier<R, G> {
    /// `None` where the wire cannot be carried any further.
    pub(crate) fn new(
        wire: AnyWire<Tunnel>,
        pipe: Pipe<R::Io>,
        runtime: R,
        place: G,
    ) -> Option<Self> {
        Some(Self {
            wire: wire.try_map(speaking)?,
            pipe: Some(pipe),
            runtime,
            alarm: Alarm::new(),
            seen: Seen::default(),
            wanted: false,
            bytes: None,
            message: None,
            ended: false,
            queue: SendQueue::new(Overflow::Wait, 0),
            seat: None,
            closed: None,
            discards: false,
            leaving: false,
            left: false,
            over: false,
            cause: None,
            stirred: false,
            _place: place,
        })
    }

    fn drive(&mut self, cx: &mut Context<'_>) {
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
                        self.stirred = true;
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
                        self.stirred = true;
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
                        self.stirred = true;
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
        cx.waker().wake_by_ref();
    }

    /// Pulls one event. Bytes if somebody waits for them; of messages one ahead: so pings are answered,
    /// and the end is seen, while nobody asks.
    fn pull(&mut self, now: Instant) {
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
                self.stirred = true;
            }
        }
    }

    /// A message that the reader has, or is to get, is answered before the next one is looked at.
    fn hold_messages(&mut self, hold: bool) {
        if let Some(connection) = self.wire.top().connection() {
            connection.hold_messages(hold);
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
        self.stirred = true;
        // The reader gets its turn first.
        self.seen.drained = !self.discards;
    }

    /// Throws away what comes, and what waits for a reader.
    fn discard(&mut self) {
        self.discards = true;
        self.bytes = None;
        self.message = None;
        self.hold_messages(false);
    }

    fn lost(&mut self, error: &io::Error) {
        self.cause.get_or_insert_with(|| Cause::Io(error.kind()));
        self.end();
    }

    fn end(&mut self) {
        self.over = true;
        self.stirred = true;
        self.pipe = None;
        self.seat = None;
    }

    /// Passes on messages that waited for room.
    fn refill(&mut self, now: Instant) {
        if let Some(connection) = self.wire.top().connection() {
            compressors::lend(connection);
            self.queue.pump(connection, now);
            compressors::take_back(connection);
        }
    }

    /// Begins to close, behind what is queued and what waits; whether nobody had.
    fn close_with(&mut self, code: CloseCode, reason: &str) -> Result<bool, Error> {
        let was_open = self.with(|connection, queue, now| {
            let was_open = connection.is_open();
            queue.close(connection, now, code, reason)?;
            Ok(was_open)
        })?;
        // Said again, it wakes nobody: whoever waits for the end says it in each poll.
        self.stirred |= was_open;
        Ok(was_open)
    }

    /// Does something with the machine, where WebSocket is spoken.
    fn with<T>(
        &mut self,
        act: impl FnOnce(&mut Connection, &mut SendQueue, Instant) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if let Some(error) = self.failed() {
            return Err(error);
        }
        let now = self.runtime.now();
        let connection = self.wire.top().connection().ok_or_else(gone)?;
        compressors::lend(connection);
        let done = act(connection, &mut self.queue, now);
        compressors::take_back(connection);
        done
    }

    fn failed(&self) -> Option<Error> {
        let kind = match self.cause.as_ref()? {
            Cause::Wire(error) => return Some(error.clone().into()),
            Cause::Io(kind) => ErrorKind::Io(*kind),
            Cause::Stopped => ErrorKind::Stopped,
        };
        Some(Error::new(kind, Phase::Tunnel, Delivery::MaybeProcessed))
    }
}

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

    fn take_stirred(&mut self) -> bool {
        std::mem::take(&mut self.stirred)
    }

    fn poll_observed(&mut self) -> Option<observe::Event> {
        self.wire.poll_observed()
    }

    fn is_accepted_by(&self, tls: &ServerTls) -> bool {
        self.wire.is_accepted_by(tls)
    }

    fn speak(&mut self, setup: Setup) {
        let now = self.runtime.now();
        let Setup { speech, overflow, expires, seat } = setup;
        self.queue = SendQueue::new(overflow, speech.config.limits.queued);
        // Of one that is over already, nobody would give it back.
        self.seat = seat.filter(|_| !self.over);
        self.wire.top().speak(speech, now);
        self.stirred = true;
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
                self.stirred = true;
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
        self.stirred = true;
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

/// Nobody knows yet what is spoken.
#[expect(
    clippy::result_large_err,
    clippy::unnecessary_wraps,
    reason = "it never fails where others may"
)]
fn speaking(tunnel: Tunnel) -> Result<Spoken, Tunnel> {
    Ok(Spoken::Bytes(Box::new(tunnel)))
}

/// It has been closed.
fn gone() -> Error {
    Error::new(ErrorKind::Gone, Phase::WebSocket, Delivery::NotSent)
}
