//! A streamed answer: its producer is polled as far as there is room.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::Body as _;
use sinew_core::Wire as _;
use sinew_core::error::{Kind, Misuse};
use sinew_core::http1::{self, Rejected};
use sinew_core::time::Instant;

use super::answer::misused;
use super::exchange::Exchange;
use super::http1::Http;
use super::mode::Mode;
use super::response::Pulse;
use super::server_wire::ServerWire;
use super::service::Notice;
use crate::body::Body;
use crate::drive;
use crate::runtime::Runtime;

/// Pieces of a streamed answer that one turn takes.
const PIECES: usize = 64;

/// A streamed answer.
pub(super) struct Outgoing {
    pub(super) body: Body,
    pub(super) trailers: Option<Box<HeaderMap>>,
    pub(super) pulse: Option<(Box<Pulse>, Instant)>,
    pub(super) kind: Streamed,
}

/// Whether an answer has an end of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Streamed {
    Body,
    /// Its client comes back for more, wherever it was ended.
    Events,
}

impl Streamed {
    pub(super) fn of(fields: &[(HeaderName, HeaderValue)]) -> Self {
        let is_events = |value: &HeaderValue| {
            let essence = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
            essence.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
        };
        let mut types = fields.iter().filter(|(name, _)| *name == CONTENT_TYPE);
        if types.any(|(_, value)| is_events(value)) { Self::Events } else { Self::Body }
    }
}

impl<W: ServerWire, R: Runtime, M: Mode> Http<W, R, M> {
    /// Whether a stream of events is being sent.
    pub(super) fn is_event_stream(&self) -> bool {
        matches!(&self.exchange, Exchange::Streaming(out) if out.kind == Streamed::Events)
    }

    /// Ends a streamed answer in order, whatever its producer still has.
    pub(super) fn end_stream(&mut self, now: Instant) {
        self.finish(now, None);
        self.end_streaming(now);
    }

    fn end_streaming(&mut self, now: Instant) {
        let top = self.wire.top();
        if top.body_open() {
            top.discard_body(now);
        }
        self.end_exchange();
    }

    /// Ends the body of the answer; where that is too early, the client is made to see it.
    pub(super) fn finish(&mut self, now: Instant, trailers: Option<&HeaderMap>) {
        let top = self.wire.top();
        let lines = trailers.into_iter().flatten();
        let lines = lines.map(|(name, value)| (name.as_str(), value.as_bytes()));
        if let Err(error) = top.send_end(now, lines) {
            top.abort(now);
            // Names and values are sound by their types: it is one that must not be there.
            let forbidden =
                |name: &&HeaderName| http1::is_forbidden_in_trailers(name.as_str().as_bytes());
            let named = error.kind == Kind::Usage(Misuse::Trailer);
            let field = trailers.filter(|_| named).and_then(|all| all.keys().find(forbidden));
            self.misused(error, field.cloned());
        }
    }

    /// Polls the producer of a streamed answer, as far as there is room.
    pub(super) fn stream(&mut self, cx: &mut Context<'_>, now: Instant) {
        let Exchange::Streaming(outgoing) = &mut self.exchange else { return };
        let top = self.wire.top();
        self.seen.producer_waits = false;
        self.held_up = false;
        let mut ended = None;
        for _ in 0..PIECES {
            if !top.can_send() {
                self.seen.producer_waits = true;
                // Bytes are queued: that is life enough.
                if let Some((pulse, at)) = &mut outgoing.pulse {
                    *at = now + pulse.every;
                }
                return;
            }
            if self.holdings.make_room(cx, top.outbox().len()).is_err() {
                self.held_up = true;
                // Whoever waits for room would be woken by this at once, and again.
                if let Some((pulse, at)) = &mut outgoing.pulse {
                    *at = now + pulse.every;
                }
                return;
            }
            drive::lend_write_block(top.outbox());
            let body = Pin::new(&mut outgoing.body);
            let poll = AssertUnwindSafe(|| body.poll_frame(cx));
            let frame = match self.span.run(|| catch_unwind(poll)) {
                Ok(Poll::Pending) => {
                    if let Some((pulse, at)) = &mut outgoing.pulse
                        && *at <= now
                    {
                        *at = now + pulse.every;
                        // A comment in the stream; where it cannot be sent, the stream ends soon.
                        let _ = top.send_data(now, pulse.bytes.clone());
                    }
                    return;
                }
                Ok(Poll::Ready(None)) => {
                    ended = Some(End::Complete(outgoing.trailers.take()));
                    break;
                }
                Ok(Poll::Ready(Some(Ok(frame)))) => frame,
                Ok(Poll::Ready(Some(Err(_)))) => {
                    ended = Some(End::Broken(None));
                    break;
                }
                Err(_) => {
                    ended = Some(End::Broken(Some(Notice::Panicked)));
                    break;
                }
            };
            match frame.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(data) => {
                    self.holdings.note_piece(data.len());
                    match top.send_data(now, data) {
                        Ok(()) => {
                            if let Some((pulse, at)) = &mut outgoing.pulse {
                                *at = now + pulse.every;
                            }
                        }
                        Err(Rejected::Error(error)) => {
                            ended = Some(End::Broken(Some(misused(error, None))));
                            break;
                        }
                        // Asked before: there is room.
                        Err(Rejected::Full(_)) => {
                            ended = Some(End::Broken(None));
                            break;
                        }
                    }
                }
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        let own = outgoing.trailers.take();
                        ended = Some(End::Complete(own.or_else(|| Some(Box::new(trailers)))));
                        break;
                    }
                }
            }
        }
        match ended {
            // There may be more at once: after the others had their turn.
            None => {
                self.stirred = true;
                self.seen.drained = false;
                return;
            }
            Some(End::Complete(trailers)) => self.finish(now, trailers.as_deref()),
            Some(End::Broken(notice)) => {
                top.abort(now);
                if let Some(notice) = notice {
                    self.notice(&notice);
                }
            }
        }
        self.end_streaming(now);
    }
}

/// How a streamed answer ended.
enum End {
    Complete(Option<Box<HeaderMap>>),
    Broken(Option<Notice>),
}
