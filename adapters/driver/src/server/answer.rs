//! What is sent for a request.

use std::mem;

use http::{HeaderName, StatusCode};
use http_body::Body as _;
use sinew_core::Wire as _;
use sinew_core::error::{Kind, Misuse, Phase};
use sinew_core::http1::{self, BodySize, NO_FIELDS, Rejected, StatusLine};
use sinew_core::problem::Ids;
use sinew_core::reason::Reason;
use sinew_core::time::Instant;

use super::exchange::Exchange;
use super::http1::Http;
use super::mode::Mode;
use super::passage;
use super::problem::Problem;
use super::response::{IntoResponse as _, Response};
use super::server_wire::ServerWire;
use super::service::Notice;
use super::stream::{Outgoing, Streamed};
use crate::body::Body;
use crate::drive;
use crate::runtime::Runtime;

/// Answers that are larger are booked before they are queued.
const LARGE: usize = 16 * 1024;

impl<W: ServerWire, R: Runtime, M: Mode> Http<W, R, M> {
    /// The handler takes the connection over, if the machine lets it.
    pub(super) fn switch(&mut self, now: Instant, response: Response) {
        let mut response = response;
        if let Some(passage) = &self.passage
            && passage.dress(&mut response).is_err()
        {
            self.notice(&Notice::Panicked);
        }
        let status = response.0.status;
        let leaves = self.leaves_http(status);
        let top = self.wire.top();
        drive::lend_write_block(top.outbox());
        let malformed = response.0.malformed.take();
        let sent = if let Some(malformed) = &malformed {
            Err(sinew_core::Error::usage(malformed.misuse(), Phase::ResponseHead))
        } else if !response.0.body.is_end_stream() {
            Err(sinew_core::Error::usage(Misuse::BodyForbidden, Phase::ResponseHead))
        } else if !leaves {
            Err(sinew_core::Error::usage(Misuse::Status, Phase::ResponseHead))
        } else {
            let line = StatusLine { lines: response.0.lines.as_ref(), ..status.into() };
            top.send_response(now, line, response.fields(), BodySize::Empty)
        };
        passage::reuse(response.0.lines.take());
        if sent.is_ok() {
            self.span.answered(status, None);
            self.vacate(now, status);
        }
        if let Err(error) = sent {
            // The handler is told what is wrong with its answer, but not with which field.
            if let Some(malformed) = malformed {
                self.misused(error, malformed.field());
            }
            self.link.refuse_switch(self.wire.top_ref().exchange(), error.into());
            self.stirred = true;
            self.seen.drained = false;
        } else if let Some(passage) = &mut self.passage {
            passage.answered(now, status, None);
        }
    }

    /// Whether the bytes behind an answer with this status belong to another protocol.
    pub(super) fn leaves_http(&self, status: StatusCode) -> bool {
        status == StatusCode::SWITCHING_PROTOCOLS || (self.connect && status.is_success())
    }

    pub(super) fn panicked(&mut self, now: Instant) {
        self.span.panicked();
        self.notice(&Notice::Panicked);
        self.internal_error(now);
    }

    /// An answer cannot be sent. `field`: which one it is about, where the error alone does not say that.
    pub(super) fn misused(&self, error: sinew_core::Error, field: Option<HeaderName>) {
        self.notice(&misused(error, field));
    }

    /// 500 without a word of why, and no further request on this connection.
    pub(super) fn internal_error(&mut self, now: Instant) {
        self.wire.top().close(now);
        if self.send(now, Problem::because(Reason::Internal).into_response()).is_err() {
            self.end_exchange();
        }
    }

    /// Sends what the handler answered.
    pub(super) fn respond(&mut self, now: Instant, mut response: Response) {
        if let Some(malformed) = response.0.malformed.take() {
            let error = sinew_core::Error::usage(malformed.misuse(), Phase::ResponseHead);
            return self.refuse_answer(now, error, malformed.field());
        }
        match self.send(now, response) {
            Ok(()) => {}
            Err(error) if error.is_fatal() => self.end_exchange(),
            Err(error) => self.refuse_answer(now, error, None),
        }
    }

    /// What the handler answered cannot be sent.
    #[cold]
    fn refuse_answer(&mut self, now: Instant, error: sinew_core::Error, field: Option<HeaderName>) {
        self.misused(error, field);
        if let Some(passage) = &mut self.passage {
            // It may be a layer that asks for what cannot be sent, and it would again.
            passage.plain = true;
        }
        self.internal_error(now);
    }

    /// Sends a head, and the body if it is here already.
    fn send(&mut self, now: Instant, mut response: Response) -> Result<(), sinew_core::Error> {
        let reason = response.reason();
        match &mut self.passage {
            Some(passage) => {
                if !passage.plain && passage.dress(&mut response).is_err() && !passage.failed {
                    passage.failed = true;
                    self.panicked(now);
                    return Ok(());
                }
                response.write_problem(&passage.record.ids());
            }
            None => response.write_problem(&Ids::default()),
        }
        if let Some(packing) = self.packing {
            packing.apply(&mut response);
        }
        let status = response.0.status;
        // A connection leaves HTTP only if its handler takes it over: `Request::upgrade`.
        if self.leaves_http(status) {
            return Err(sinew_core::Error::usage(Misuse::Status, Phase::ResponseHead));
        }
        if matches!(
            status,
            StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED
        ) {
            response.0.body = Body::empty();
        }
        if self.ticket.is_leaving() {
            self.answers_last(now);
        }
        let full = response.0.body.take_full();
        if let Some(bytes) = &full
            && bytes.len() > LARGE
            && !self.head_only
        {
            let queued = self.wire.top().outbox().len();
            if self.holdings.take_answer(queued, bytes.len()).is_err() {
                let problem = Problem::because(Reason::InsufficientMemory);
                return self.send(now, problem.into_response());
            }
        }
        let trailers = response.0.trailers.take();
        let size = match (&full, &trailers) {
            (Some(bytes), None) => BodySize::Exact(bytes.len() as u64),
            (Some(bytes), Some(_)) if bytes.is_empty() => BodySize::Empty,
            (None, None) => {
                response.0.body.size_hint().exact().map_or(BodySize::Unknown, BodySize::Exact)
            }
            (_, Some(_)) => BodySize::Unknown,
        };
        let streamed = full.is_none() && !self.head_only;
        // Those of a full body with trailers.
        let mut bytes = None;
        let top = self.wire.top();
        // Decided before the head is written, so that the head can say what becomes of the
        // connection. Whoever streams an answer may still be reading.
        if top.body_open() {
            if streamed && self.feeding && !self.link.is_dropped() {
                // A final answer would end the client's wait without the body.
                allow_body(top, now);
            } else {
                self.feeding = false;
                top.discard_body(now);
            }
        }
        drive::lend_write_block(top.outbox());
        let line = StatusLine { lines: response.0.lines.as_ref(), ..status.into() };
        match (full, &trailers) {
            (Some(bytes), None) => top.send_whole(now, line, response.fields(), bytes)?,
            (full, _) => {
                top.send_response(now, line, response.fields(), size)?;
                bytes = full;
            }
        }
        passage::reuse(response.0.lines.take());
        self.span.answered(status, reason);
        self.vacate(now, status);
        if let Some(passage) = &mut self.passage {
            passage.answered(now, status, reason);
        }
        let top = self.wire.top();
        if streamed && top.response_open() {
            let pulse = response.0.pulse.take().map(|pulse| {
                let at = now + pulse.every;
                (pulse, at)
            });
            let kind = Streamed::of(&response.0.fields);
            let body = mem::take(&mut response.0.body);
            let outgoing = Outgoing { body, trailers, pulse, kind };
            self.exchange = Exchange::Streaming(Box::new(outgoing));
            response.leave();
            return Ok(());
        }
        if top.response_open() {
            if let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty() && !self.head_only)
                && let Err(Rejected::Error(error)) = top.send_data(now, bytes)
            {
                self.misused(error, None);
            }
            self.finish(now, trailers.as_deref());
        }
        response.leave();
        self.end_exchange();
        Ok(())
    }
}

/// That an answer cannot be sent. `field`: which one it is about, where the error alone does not say that.
pub(super) fn misused(error: sinew_core::Error, field: Option<HeaderName>) -> Notice {
    let field = field.or(match error.kind {
        Kind::Usage(misuse) => misuse.field(),
        _ => None,
    });
    Notice::Misused { error, field }
}

/// Tells a client that holds the body back to send it.
pub(super) fn allow_body(top: &mut http1::Server, now: Instant) {
    if top.awaits_continue() {
        drive::lend_write_block(top.outbox());
        // The machine has just said that one is due.
        let _ = top.send_informational(now, StatusCode::CONTINUE, NO_FIELDS);
    }
}
