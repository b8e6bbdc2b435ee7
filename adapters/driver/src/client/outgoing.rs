//! What a call sends, attempt by attempt.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, RANGE, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use http_body::Body as _;
use sinew_core::Wire as _;
use sinew_core::client::dispatcher::Sharing;
use sinew_core::content_coding::Decompression;
use sinew_core::error::{Delivery, Phase};
use sinew_core::http1::{BodySize, NO_FIELDS, Rejected, RequestLine};
use sinew_core::machine::Layered as _;
use sinew_core::observe::TraceContext;
use sinew_core::resilience::{
    DeadlineConfig, Departure, Replay, Safety, TimeoutField, TimeoutValue,
};
use sinew_core::time::Instant;

use super::carrier::Whose;
use super::conn::{Conn, Sending, refused};
use super::explained::Explaining;
use super::middleware::{AttemptEnd, AttemptOutcome, Layers};
use super::replay::{ReplayMemory, Streamed};
use crate::body::{Body, Factory};
use crate::drive;
use crate::error::{Error, ErrorKind};
use crate::runtime::Runtime;
use crate::trace::AttemptSpan;

/// Which attempt of its call a request is; from the second on.
pub(super) const ATTEMPT: HeaderName = HeaderName::from_static("sinew-attempt");

/// <https://www.w3.org/TR/trace-context/#traceparent-header>
pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// <https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-idempotency-key-header>
pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A field that says something about the call, and not only to the server.
#[derive(Clone, Copy)]
pub(super) enum Telling {
    Authorization,
    Upgrade,
    AcceptEncoding,
    Range,
    IdempotencyKey,
    /// How long somebody waits.
    Timeout,
}

/// Those of them that were given.
#[derive(Clone, Copy, Default)]
pub(super) struct Given(u8);

impl Given {
    /// They are few: a look at each costs less than a lookup for each name.
    fn of(fields: &HeaderMap, timeout: Option<TimeoutField>) -> Self {
        let timeout = timeout.map(TimeoutField::name);
        let telling = |name: &HeaderName| match name {
            name if *name == AUTHORIZATION => Some(Telling::Authorization),
            name if *name == UPGRADE => Some(Telling::Upgrade),
            name if *name == ACCEPT_ENCODING => Some(Telling::AcceptEncoding),
            name if *name == RANGE => Some(Telling::Range),
            name if *name == IDEMPOTENCY_KEY => Some(Telling::IdempotencyKey),
            name if timeout == Some(name.as_str()) => Some(Telling::Timeout),
            _ => None,
        };
        Self(fields.keys().filter_map(telling).fold(0, |given, one| given | 1 << one as u8))
    }

    pub(super) const fn has(self, telling: Telling) -> bool {
        self.0 & (1 << telling as u8) != 0
    }
}

/// The request of a call.
pub(super) struct Outgoing {
    pub(super) method: Method,
    pub(super) target: String,
    pub(super) authority: Arc<str>,
    pub(super) fields: HeaderMap,
    /// What the fields tell, once they are complete.
    pub(super) given: Given,
    /// The place of the call in its trace.
    pub(super) trace: Option<TraceContext>,
    pub(super) payload: Payload,
    pub(super) between_bytes: Option<Duration>,
    pub(super) body_timeout: Option<Duration>,
    /// How the next hop learns how long the call waits; `None`: it is told already.
    pub(super) departing: Option<Departing>,
    /// What the attempt that is sent says of that, beside the fields.
    pub(super) told: Option<(TimeoutField, TimeoutValue)>,
    /// How the answer is unpacked.
    pub(super) unpacks: Option<Decompression>,
    /// Whom the ends of attempts are told.
    pub(super) layers: Layers,
    /// Where it is to be explained: what is known so far.
    pub(super) explaining: Option<Explaining>,
}

/// What is left of a call, told to the next hop.
#[derive(Clone, Copy)]
pub(super) struct Departing {
    pub(super) config: DeadlineConfig,
    pub(super) deadline: Instant,
    /// One attempt, at most.
    pub(super) attempt: Option<Duration>,
}

/// The body of a request, as far as it can be sent again.
pub(super) enum Payload {
    Full(Bytes),
    Repeatable(Factory),
    /// `None` while an attempt has it.
    Streamed(Option<Box<Streamed>>),
}

impl Payload {
    /// A body; one in pieces is remembered as far as `memory` allows.
    pub(super) fn new(mut body: Body, memory: Option<&Arc<ReplayMemory>>) -> Self {
        match (body.take_full(), body.take_factory()) {
            (Some(bytes), _) => Self::Full(bytes),
            (None, Some(factory)) => Self::Repeatable(factory),
            (None, None) => Self::Streamed(Some(Box::new(Streamed::new(body, memory)))),
        }
    }
}

impl Outgoing {
    /// The request line. CONNECT names in `Host` whom it asks for, not the proxy that it asks.
    pub(super) fn line(&self) -> RequestLine<'_> {
        let authority = match self.method {
            Method::CONNECT => &*self.target,
            _ => &*self.authority,
        };
        let (target, authority) = (self.target.as_bytes(), authority.as_bytes());
        RequestLine { method: &self.method, target, authority }
    }

    /// What happens if it is processed twice.
    pub(super) fn safety(&self) -> Safety {
        let safety = Safety::of(&self.method);
        if self.given.has(Telling::IdempotencyKey) { safety.keyed() } else { safety }
    }

    /// Whether others may be around it on its connection. The machine has the last word.
    pub(super) fn sharing(&self) -> Sharing {
        let empty = matches!(&self.payload, Payload::Full(bytes) if bytes.is_empty());
        if empty && self.method.is_idempotent() && !self.given.has(Telling::Upgrade) {
            Sharing::Shared
        } else {
            Sharing::Exclusive
        }
    }

    /// Whether it can be sent once more, with what no attempt has.
    pub(super) fn replay(&self) -> Replay {
        match self.payload {
            Payload::Streamed(None) => Replay::Impossible,
            _ => Replay::Possible,
        }
    }

    /// Whether two attempts can be on their way at once.
    pub(super) fn can_be_doubled(&self) -> bool {
        !matches!(self.payload, Payload::Streamed(_))
    }

    /// Sends the head of an attempt, and the body as far as it is here.
    pub(super) fn send<R: Runtime>(&mut self, conn: &mut Conn<R>) -> Result<(), Error> {
        let now = conn.runtime.now();
        self.depart(now)?;
        let body = match &mut self.payload {
            Payload::Full(bytes) => Err(bytes.clone()),
            Payload::Repeatable(make) => Ok(Sending::Once(make())),
            // What an attempt took and could not give back is not sent as nothing.
            Payload::Streamed(body) => Ok(Sending::Streamed(body.take().ok_or_else(spent)?)),
        };
        let exact = match &body {
            Err(bytes) => Some(bytes.len() as u64),
            Ok(Sending::Once(body)) => body.size_hint().exact(),
            Ok(Sending::Streamed(body)) => body.exact(),
        };
        let size = exact.map_or(BodySize::Unknown, BodySize::Exact);
        drive::lend_write_block(conn.wire.top().outbox());
        self.send_head(conn, now, size)?;
        let top = conn.wire.top();
        top.set_between_bytes(now, self.between_bytes);
        match body {
            _ if size == BodySize::Exact(0) => {}
            Ok(body) => conn.outgoing = Some(body),
            Err(bytes) if top.can_send() => match top.send_data(now, bytes) {
                Ok(()) => top.send_end(now, NO_FIELDS).map_err(refused)?,
                Err(Rejected::Error(error)) => return Err(refused(error)),
                Err(Rejected::Full(bytes)) => {
                    conn.outgoing = Some(Sending::Once(Body::full(bytes)));
                }
            },
            Err(bytes) => conn.outgoing = Some(Sending::Once(Body::full(bytes))),
        }
        Ok(())
    }

    pub(super) fn send_head<R: Runtime>(
        &self,
        conn: &mut Conn<R>,
        now: Instant,
        size: BodySize,
    ) -> Result<(), Error> {
        let given = self.fields.iter().map(|(name, value)| (name.as_ref(), value.as_bytes()));
        let told = self.told.as_ref();
        let told = told.map(|(field, value)| (field.name().as_bytes(), value.as_bytes()));
        let fields = given.chain(told);
        conn.wire.top().send_request(now, self.line(), fields, size).map_err(refused)
    }

    /// Takes the body back from an attempt, if it can be sent once more.
    pub(super) fn recover<R: Runtime>(&mut self, conn: &mut Conn<R>) {
        if let Payload::Streamed(body @ None) = &mut self.payload {
            *body = conn.rewind();
        }
    }

    /// What an attempt says of itself: its place in the trace, and which attempt it is. In nothing
    /// else but [how long](Self::depart) somebody waits do the attempts of a call differ.
    pub(super) fn begin(&mut self, attempt: u8) -> AttemptSpan {
        let (span, parent) = AttemptSpan::start(attempt, self.trace.as_ref());
        if let Some(Ok(parent)) = parent.map(|parent| HeaderValue::from_bytes(&parent)) {
            self.fields.insert(TRACEPARENT, parent);
        }
        if attempt > 1 {
            self.fields.insert(ATTEMPT, HeaderValue::from(u16::from(attempt)));
        }
        span
    }

    /// Tells what came of an attempt.
    pub(super) fn ended(&self, attempt: u8, took: Duration, outcome: AttemptOutcome<'_>) {
        let Self { method, target, fields: headers, .. } = self;
        for layer in &*self.layers {
            layer.on_attempt(&AttemptEnd { method, target, headers, attempt, took, outcome });
        }
    }

    /// Says how long somebody waits for an attempt that starts now.
    pub(super) fn depart(&mut self, now: Instant) -> Result<(), Error> {
        let Some(Departing { config, deadline, attempt }) = self.departing else { return Ok(()) };
        let by = attempt.map_or(deadline, |time| deadline.min(now + time));
        self.told = match config.depart(now, by) {
            Departure::Silent => None,
            Departure::Field(field, value) => Some((field, value)),
            Departure::Expired => {
                let (phase, delivery) = (Phase::RequestHead, Delivery::NotSent);
                let whose = if by < deadline { Whose::Phase } else { Whose::Call };
                return Err(Error::new(whose.late(), phase, delivery));
            }
        };
        Ok(())
    }

    /// The fields are complete, but for what the client adds. Refuses what cannot stand in a request line. The
    /// authority is that of an origin, or the target.
    pub(super) fn complete(&mut self, timeout: Option<TimeoutField>) -> Result<(), Error> {
        self.given = Given::of(&self.fields, timeout);
        self.line().check_target().map_err(refused)
    }
}

fn spent() -> Error {
    Error::new(ErrorKind::Body, Phase::RequestHead, Delivery::NotSent)
}
