//! One connection, driven by whoever has it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use http_body::Body as _;
use sinew_core::Machine as _;
use sinew_core::error::{Delivery, Kind, Phase};
use sinew_core::http1::{Client, ClientEvent, NO_FIELDS, Rejected};
use sinew_core::machine::{Layered as _, Seen, Status, Step, Wire as _};
use sinew_core::time::Instant;

use super::carrier::{Until, Whose};
use super::replay::Streamed;
use crate::body::Body;
use crate::drive::{self, Alarm, Pipe};
use crate::error::{Error, ErrorKind};
use crate::relay::Relay;
use crate::runtime::Runtime;
use crate::upgraded::{Carrier, Line};
use crate::wire::AnyWire;

/// Steps of one poll; then the other tasks of the worker get their turn.
const LAPS: usize = 64;

/// A request body on its way.
pub(super) enum Sending {
    /// Whatever there is of it.
    Once(Body),
    /// Pieces, which may be remembered.
    Streamed(Box<Streamed>),
}

/// A connection, and the request body that is being sent on it.
pub(super) struct Conn<R: Runtime> {
    pub(super) wire: AnyWire<Client>,
    pub(super) outgoing: Option<Sending>,
    /// A body that was sent, until the answer says that it is not wanted once more.
    sent: Option<Box<Streamed>>,
    /// When it is given up, whatever it has reached.
    pub(super) until: Option<Until>,
    pub(super) runtime: R,
    pipe: Pipe<R::Io>,
    seen: Seen,
    alarm: Alarm<R>,
    /// The server takes no more bytes. It may have answered all the same.
    deaf: Option<io::ErrorKind>,
    /// Whom its socket wakes while nobody uses it.
    pub(super) bell: Option<Waker>,
}

impl<R: Runtime> Conn<R> {
    pub(super) fn new(wire: AnyWire<Client>, pipe: Pipe<R::Io>, runtime: R) -> Self {
        Self {
            wire,
            outgoing: None,
            sent: None,
            until: None,
            runtime,
            pipe,
            seen: Seen::default(),
            alarm: Alarm::new(),
            deaf: None,
            bell: None,
        }
    }

    /// The connection has left HTTP: it is its caller's now, together with its place under the caps.
    #[expect(clippy::result_large_err, reason = "the connection itself comes back")]
    pub(super) fn upgrade(self, place: impl Send + 'static) -> Option<Arc<Line>> {
        let Self { wire, pipe, runtime, .. } = self;
        let now = runtime.now();
        let wire = wire.try_map(|client| client.into_tunnel(now))?;
        Some(Arc::new(Line::new(Carrier::new(wire, pipe, runtime, place)?)))
    }

    /// The socket, where a tunnel was asked for and nothing came out of it yet; through the session in
    /// which it was asked for, if that was one of TLS.
    #[expect(clippy::result_large_err, reason = "the connection itself comes back")]
    pub(super) fn into_socket(self) -> Option<Pipe<R::Io>> {
        let Self { wire, pipe, runtime, .. } = self;
        let now = runtime.now();
        match wire.try_map(|client| client.into_tunnel(now))? {
            AnyWire::Plain(tunnel) => {
                let (inbox, outbox) = tunnel.into_parts();
                (inbox.is_empty() && outbox.is_empty()).then_some(pipe)
            }
            AnyWire::Secure(tls) => Some(pipe.through(Relay::new(*tls, now)?)),
        }
    }

    /// Looks whether a connection that nobody uses is still good. From then on its bell rings when it
    /// is worth another look.
    pub(super) fn is_undisturbed(&mut self) -> bool {
        let bell = self.bell.take();
        let undisturbed =
            self.is_alive(&mut Context::from_waker(bell.as_ref().unwrap_or(Waker::noop())));
        self.bell = bell;
        undisturbed
    }

    /// Looks once whether a kept connection is still good: nothing to read, no end.
    pub(super) fn is_alive(&mut self, cx: &mut Context<'_>) -> bool {
        let now = self.runtime.now();
        self.wire.handle_timeout(now);
        for _ in 0..LAPS {
            match self.pipe.fill(cx, &mut self.wire) {
                Poll::Pending => return self.is_reusable(),
                Poll::Ready(Ok(0) | Err(_)) => return false,
                // TLS may have something to say between exchanges; HTTP has not.
                Poll::Ready(Ok(_)) => match self.wire.poll_event(now) {
                    Ok(None) if self.is_reusable() => {}
                    _ => return false,
                },
            }
        }
        // Whoever talks that much between exchanges is not idle.
        false
    }

    /// Whether the connection can be kept.
    fn is_clean(&mut self) -> bool {
        self.outgoing.is_none() && self.deaf.is_none() && self.is_reusable()
    }

    /// Whether another exchange can follow, on every layer.
    fn is_reusable(&mut self) -> bool {
        self.wire.top_ref().reusable()
            && self.wire.status() == Status::Open
            && self.wire.outbox().is_empty()
    }

    /// The connection between two exchanges, listened to by its bell, if it can carry another.
    pub(super) fn rested(mut self: Box<Self>) -> Result<Box<Self>, Box<Self>> {
        if !self.is_clean() {
            return Err(self);
        }
        self.rest();
        if self.is_undisturbed() { Ok(self) } else { Err(self) }
    }

    /// Gives back what a sleeping connection need not hold.
    fn rest(&mut self) {
        self.until = None;
        self.sent = None;
        self.seen = Seen::default();
        drive::return_write_block(self.wire.top().outbox());
        drive::rest(&mut self.wire);
    }

    /// Drives the connection until the machine has something to tell.
    pub(super) fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<ClientEvent, Error>> {
        self.drive(cx, AnyWire::poll_event)
    }

    /// Throws away what is left of an answer; whether all of it was here already.
    pub(super) fn discard(&mut self) -> bool {
        let now = self.runtime.now();
        // The inbox is bounded, and so is what comes out of it.
        while let Ok(Some(event)) = self.wire.poll_event(now) {
            if matches!(event, ClientEvent::End(_)) {
                return true;
            }
        }
        false
    }

    /// Drives the connection until its handshake is over.
    pub(super) fn poll_secured(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.drive(cx, |wire, now| {
            // Nothing was asked: no answer comes.
            wire.poll_event(now)?;
            let secured = match wire {
                AnyWire::Secure(tls) => !tls.is_handshaking(),
                AnyWire::Plain(_) => true,
            };
            Ok((secured && wire.outbox().is_empty()).then_some(()))
        })
    }

    /// Reads, writes and sleeps as the machine says, until `pull` finds something.
    fn drive<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut pull: impl FnMut(&mut AnyWire<Client>, Instant) -> Result<Option<T>, sinew_tls::Error>,
    ) -> Poll<Result<T, Error>> {
        let mut now = self.runtime.now();
        self.seen.read_blocked = false;
        self.seen.write_blocked = self.deaf.is_some();
        self.seen.drained = false;
        if let Some(whose) = Until::is_over(self.until, now) {
            return Poll::Ready(Err(self.timed_out(whose)));
        }
        if self.alarm.has_fired(now) {
            self.wire.handle_timeout(now);
        }
        // Until the next poll, so that reading goes on: the peer may wait for that.
        let mut shut_blocked = false;
        for _ in 0..LAPS {
            let mut seen = self.seen;
            if shut_blocked {
                seen.write_shut = true;
            }
            match self.wire.step(seen) {
                Step::Poll => {
                    self.seen.producer_waits = false;
                    if self.outgoing.is_some() {
                        self.produce(cx, now)?;
                    }
                    match pull(&mut self.wire, now) {
                        Ok(Some(found)) => return Poll::Ready(Ok(found)),
                        Ok(None) => self.seen.drained = true,
                        Err(error) => {
                            // An alert of TLS may be queued: one try, nobody waits for it.
                            if !self.wire.outbox().is_empty() {
                                let _ = self.pipe.drain(cx, self.wire.outbox());
                            }
                            return Poll::Ready(Err(self.failed(error)));
                        }
                    }
                }
                Step::Write => match self.pipe.drain(cx, self.wire.outbox()) {
                    Poll::Ready(Ok(())) => self.seen.drained = false,
                    Poll::Ready(Err(error)) => {
                        // The answer may have been sent before the server stopped reading.
                        self.deaf = Some(error.kind());
                        self.stop_sending();
                        self.seen.producer_waits = false;
                        self.seen.write_blocked = true;
                    }
                    Poll::Pending => self.seen.write_blocked = true,
                },
                Step::Read => match self.pipe.fill(cx, &mut self.wire) {
                    Poll::Ready(Ok(0)) => {
                        self.wire.handle_eof(now);
                        self.seen.drained = false;
                    }
                    Poll::Ready(Ok(_)) => self.seen.drained = false,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(self.lost(error.kind()))),
                    Poll::Pending => self.seen.read_blocked = true,
                },
                Step::Wait(machine) => {
                    let machine = machine.map(|deadline| deadline.at);
                    let at = match (machine, self.until.map(|until| until.at)) {
                        (Some(a), Some(b)) => Some(a.min(b)),
                        (a, b) => a.or(b),
                    };
                    if self.alarm.arm(cx, &self.runtime, now, at).is_pending() {
                        return Poll::Pending;
                    }
                    now = self.runtime.now();
                    if let Some(whose) = Until::is_over(self.until, now) {
                        return Poll::Ready(Err(self.timed_out(whose)));
                    }
                    self.wire.handle_timeout(now);
                    self.seen.drained = false;
                }
                Step::HalfClose => match self.pipe.shut(cx) {
                    Poll::Ready(Ok(())) => self.seen.write_shut = true,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(self.lost(error.kind()))),
                    Poll::Pending => shut_blocked = true,
                },
                Step::Close(_) => {
                    let kind = self.deaf.unwrap_or(io::ErrorKind::UnexpectedEof);
                    return Poll::Ready(Err(self.lost(kind)));
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Hands pieces of the request body to the machine, as long as it has room for them.
    fn produce(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<(), Error> {
        while let Some(body) = &mut self.outgoing {
            let top = self.wire.top();
            if !top.request_open() {
                self.stop_sending();
                return Ok(());
            }
            if !top.can_send() {
                // A body that waits for `100 Continue` is not waiting for room.
                self.seen.producer_waits = !self.wire.has_room();
                return Ok(());
            }
            let polled = match body {
                Sending::Once(body) => Pin::new(body).poll_frame(cx),
                Sending::Streamed(body) => body.poll_frame(cx),
            };
            let sent = match polled {
                Poll::Pending => return Ok(()),
                Poll::Ready(Some(Err(error))) => {
                    self.outgoing = None;
                    top.abort(now);
                    return Err(error.with_delivery(self.delivery()));
                }
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => match top.send_data(now, data) {
                        Ok(()) => Ok(false),
                        Err(Rejected::Error(error)) => Err(error),
                        // It was just asked whether there is room.
                        Err(Rejected::Full(_)) => Ok(true),
                    },
                    Err(frame) => {
                        let trailers = frame.into_trailers().unwrap_or_default();
                        top.send_end(now, &trailers).map(|()| true)
                    }
                },
                Poll::Ready(None) => top.send_end(now, NO_FIELDS).map(|()| true),
            };
            match sent {
                Ok(false) => {}
                Ok(true) => self.stop_sending(),
                Err(error) => {
                    self.outgoing = None;
                    top.abort(now);
                    return Err(refused(error).with_delivery(self.delivery()));
                }
            }
        }
        Ok(())
    }

    /// No more of the body is sent.
    fn stop_sending(&mut self) {
        if let Some(Sending::Streamed(body)) = self.outgoing.take() {
            self.sent = Some(body);
        }
    }

    /// The body in pieces that it sends, or sent.
    fn streamed(&self) -> Option<&Streamed> {
        match &self.outgoing {
            Some(Sending::Streamed(body)) => Some(body),
            Some(Sending::Once(_)) | None => self.sent.as_deref(),
        }
    }

    /// Whether the body that it sends, or sent, can be sent once more.
    pub(super) fn can_rewind(&self) -> bool {
        self.streamed().is_some_and(Streamed::can_rewind)
    }

    /// Takes the body back, to be sent once more elsewhere.
    pub(super) fn rewind(&mut self) -> Option<Box<Streamed>> {
        self.stop_sending();
        self.sent.take()?.rewound()
    }

    /// The body is not wanted once more.
    pub(super) fn forget_sent(&mut self) {
        self.sent = None;
    }

    /// How far the request got. Bytes queued behind a handshake that failed did not get anywhere.
    fn delivery(&self) -> Delivery {
        self.wire.top_ref().delivery()
    }

    pub(super) fn timed_out(&self, whose: Whose) -> Error {
        Error::new(whose.late(), self.phase(), self.delivery())
    }

    fn lost(&self, kind: io::ErrorKind) -> Error {
        Error::new(ErrorKind::Io(kind), self.phase(), self.delivery())
    }

    fn phase(&self) -> Phase {
        match &self.wire {
            AnyWire::Secure(tls) if tls.is_handshaking() => Phase::Tls,
            _ if self.wire.top_ref().awaits_response() => Phase::ResponseHead,
            _ => Phase::ResponseBody,
        }
    }

    fn failed(&self, error: sinew_tls::Error) -> Error {
        match (&error, self.deaf) {
            (sinew_tls::Error::Wire(wire), Some(kind)) if wire.kind == Kind::Truncated => {
                self.lost(kind)
            }
            _ => error.into(),
        }
    }
}

/// What the machine would not send: the application's mistake, before a byte left.
pub(super) fn refused(error: sinew_core::Error) -> Error {
    match error.kind {
        Kind::Usage(misuse) => Error::config(misuse.explain()).with_source(error),
        _ => error.into(),
    }
}

impl<R: Runtime> std::fmt::Debug for Conn<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conn").field("seen", &self.seen).finish_non_exhaustive()
    }
}
