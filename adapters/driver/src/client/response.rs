//! An answer, and its body, which owns the connection until it ends.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, Version};
use http_body::{Frame, SizeHint};
use serde::de::DeserializeOwned;
use sinew_core::content_coding::Decompression;
use sinew_core::error::{Delivery, Phase};
use sinew_core::event_stream::EventStreamLimits;
use sinew_core::head::ResponseHead;
use sinew_core::http1::{BodySize, ClientEvent};
use sinew_core::resilience::NoRetry;
use sinew_tls::PeerIdentity;

use super::events::Events;
use super::explained::Explained;
use crate::body::{Body, collect};
use crate::coding::Unpacking;
use crate::error::{Error, ErrorKind, Origin};
use crate::upgraded::{Line, Upgraded};

/// An answer whose head is here. Its body comes as it is read.
pub struct ClientResponse {
    /// Boxed: it moves from hand to hand.
    answer: Box<Answer>,
}

struct Answer {
    head: ResponseHead,
    fields: OnceLock<HeaderMap>,
    identity: Option<Arc<PeerIdentity>>,
    /// The body while nobody has touched it: still under the call's deadline.
    fresh: Option<Pin<Box<dyn Arriving>>>,
    /// The body once it is streamed.
    body: Body,
    limit: u64,
    /// How the body is unpacked, while nobody has touched it.
    unpacking: Option<Unpacking>,
    upgraded: Option<Upgraded>,
    attempts: u8,
    explained: Option<Box<Explained>>,
}

/// A body that can be told that it is streamed: the call's time ended with the head then.
pub(super) trait Arriving: http_body::Body<Data = Bytes, Error = Error> + Send {
    fn lift_deadline(self: Pin<&mut Self>);

    /// It may be silent for as long as it likes.
    fn lift_silence(self: Pin<&mut Self>);
}

impl ClientResponse {
    /// The same answer, from this peer, with this body.
    pub(super) fn with(
        mut self,
        identity: Option<Arc<PeerIdentity>>,
        body: Option<Box<impl Arriving + 'static>>,
    ) -> Self {
        let answer = &mut *self.answer;
        answer.identity = identity;
        answer.fresh = body.map(|body| -> Pin<Box<dyn Arriving>> { Box::into_pin(body) });
        self
    }

    /// A head, and nothing else.
    pub(super) fn bare(head: ResponseHead) -> Self {
        // Written where it stays: it is large.
        let answer = Box::write(
            Box::new_uninit(),
            Answer {
                head,
                fields: OnceLock::new(),
                identity: None,
                fresh: None,
                body: Body::empty(),
                limit: u64::MAX,
                unpacking: None,
                upgraded: None,
                attempts: 0,
                explained: None,
            },
        );
        Self { answer }
    }

    /// The answer, to be unpacked as it is read. What has no body stays as it is.
    pub(super) fn unpacked(mut self, policy: Decompression) -> Result<Self, Error> {
        let answer = &mut *self.answer;
        if answer.fresh.is_none() {
            return Ok(self);
        }
        let failed = |_| Error::new(ErrorKind::Coding, Phase::ResponseHead, Delivery::Processed);
        answer.unpacking = Unpacking::of(policy, answer.head.fields()).map_err(failed)?;
        if answer.unpacking.is_some() {
            answer.head.remove_field("content-encoding");
            answer.head.remove_field("content-length");
        }
        Ok(self)
    }

    /// The answer with which the connection left HTTP.
    pub(super) fn switched(
        mut self,
        identity: Option<Arc<PeerIdentity>>,
        line: Option<Arc<Line>>,
    ) -> Self {
        let answer = &mut *self.answer;
        answer.upgraded = line.map(|line| Upgraded::new(line, identity.clone()));
        answer.identity = identity;
        self
    }

    /// The same answer, to this attempt.
    pub(super) fn after(mut self, attempts: u8) -> Self {
        self.answer.attempts = attempts;
        self
    }

    /// How many attempts it took, this one included; 0 where nobody was asked.
    pub fn attempts(&self) -> u8 {
        self.answer.attempts
    }

    pub(super) fn explained(mut self, explained: Box<Explained>) -> Self {
        self.answer.explained = Some(explained);
        self
    }

    /// What became of the call up to this answer, and why, where it was to be
    /// [explained](super::Call::explain).
    pub fn explanation(&self) -> Option<&Explained> {
        self.answer.explained.as_deref()
    }

    pub(super) fn head(&self) -> &ResponseHead {
        &self.answer.head
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.answer.head.status()
    }

    /// HTTP/1.0 or HTTP/1.1.
    pub fn version(&self) -> Version {
        self.answer.head.version()
    }

    /// The first value of a field.
    pub fn header(&self, name: &str) -> Option<HeaderValue> {
        HeaderValue::from_bytes(self.answer.head.header(name)?).ok()
    }

    /// All fields; the map is built at the first call.
    pub fn headers(&self) -> &HeaderMap {
        self.answer.fields.get_or_init(|| self.answer.head.to_header_map())
    }

    /// Whom the server's certificate names.
    pub fn peer_identity(&self) -> Option<&PeerIdentity> {
        self.answer.identity.as_deref()
    }

    /// An error for a status of 400 and above, else the answer itself.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Status`].
    pub fn error_for_status(self) -> Result<Self, Error> {
        let status = self.status();
        if status.is_client_error() || status.is_server_error() {
            let kind = ErrorKind::Status(status);
            let error = Error::new(kind, Phase::ResponseHead, self.answer.head.delivery());
            return Err(error.of_call(self.answer.attempts, None));
        }
        Ok(self)
    }

    /// The connection, where it has left HTTP: the server answered 101 to
    /// [`Call::upgrade`](super::Call::upgrade), or 2xx to CONNECT. It keeps its place among the
    /// client's connections until it is dropped.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Status`], where the server answered something else.
    pub fn upgrade(self) -> Result<Upgraded, Error> {
        let Answer { head, upgraded, .. } = *self.answer;
        let kind = ErrorKind::Status(head.status());
        upgraded.ok_or_else(|| Error::new(kind, Phase::ResponseHead, head.delivery()))
    }

    /// The next piece of the body; `None` at its end. From the first piece on, the call's time is
    /// no longer counted, only the time between two pieces.
    ///
    /// # Errors
    ///
    /// Whatever cuts the body short.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        self.streamed().chunk().await
    }

    /// The body, to be read piece by piece, with its trailers.
    pub fn into_body(mut self) -> Body {
        std::mem::take(self.streamed())
    }

    /// An [`http::Response`].
    pub fn into_http(mut self) -> http::Response<Body> {
        let body = std::mem::take(self.streamed());
        self.answer.head.into_http(body)
    }

    /// All of the body, within the call's time, up to
    /// [`max_response_size`](super::RestClientConfig::max_response_size).
    ///
    /// # Errors
    ///
    /// Whatever cuts the body short; a body that is too large.
    pub async fn bytes(mut self) -> Result<Bytes, Error> {
        let Answer { fresh, body, unpacking, limit, attempts, .. } = &mut *self.answer;
        let (limit, attempts) = (*limit, *attempts);
        let collected = match (fresh.take(), unpacking.take()) {
            (Some(fresh), None) => collect(fresh, limit).await.map(|(bytes, _)| bytes),
            (Some(fresh), Some(unpacking)) => {
                let body = unpacking.apply(Body::own(fresh, Origin::Call), limit, Origin::Call);
                body.collect(limit).await
            }
            (None, _) => std::mem::take(body).collect(limit).await,
        };
        collected.map_err(|error| error.of_call(attempts, Some(NoRetry::Delivered)))
    }

    /// Collects no more than this, nor more than was said before.
    pub(crate) fn at_most(mut self, bytes: u64) -> Self {
        self.answer.limit = self.answer.limit.min(bytes);
        self
    }

    /// All of the body as text.
    ///
    /// # Errors
    ///
    /// Those of [`bytes`](Self::bytes), and bytes that are not UTF-8.
    pub async fn text(self) -> Result<String, Error> {
        let attempts = self.attempts();
        let bytes = self.bytes().await?;
        String::from_utf8(bytes.into()).map_err(|why| undecodable(why, attempts))
    }

    /// All of the body as JSON.
    ///
    /// # Errors
    ///
    /// Those of [`bytes`](Self::bytes), and bytes that are not the JSON of this type.
    pub async fn json<T: DeserializeOwned>(self) -> Result<T, Error> {
        let attempts = self.attempts();
        let bytes = self.bytes().await?;
        serde_json::from_slice(&bytes).map_err(|why| undecodable(why, attempts))
    }

    /// The events of an event stream, within the [default limits](EventStreamLimits). It may be silent
    /// between them for as long as it likes, unless it shares its connection.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Status`] where the answer is not a 200, [`ErrorKind::Decode`] where it is no
    /// `text/event-stream`.
    pub fn events(self) -> Result<Events, Error> {
        self.events_within(EventStreamLimits::default())
    }

    /// The same, within these limits.
    ///
    /// # Errors
    ///
    /// As with [`events`](Self::events).
    pub fn events_within(mut self, limits: EventStreamLimits) -> Result<Events, Error> {
        if let Some(fresh) = &mut self.answer.fresh {
            fresh.as_mut().lift_silence();
        }
        Events::of(self, limits)
    }

    fn streamed(&mut self) -> &mut Body {
        let answer = &mut *self.answer;
        if let Some(mut fresh) = answer.fresh.take() {
            fresh.as_mut().lift_deadline();
            let body = Body::own(fresh, Origin::Call);
            answer.body = match answer.unpacking.take() {
                Some(unpacking) => unpacking.apply(body, u64::MAX, Origin::Call),
                None => body,
            };
        }
        &mut answer.body
    }
}

/// An answer that no server gave, for a [`Middleware`](super::Middleware) that answers by itself. Fails
/// where the fields are too many for a head: more than 64 KiB.
impl<B: Into<Body>> TryFrom<http::Response<B>> for ClientResponse {
    type Error = Error;

    fn try_from(answer: http::Response<B>) -> Result<Self, Error> {
        let (parts, body) = answer.into_parts();
        let head = ResponseHead::new(parts.status, &parts.headers)
            .ok_or_else(|| Error::config("an answer whose fields are too many"))?;
        let mut response = Self::bare(head);
        response.answer.body = body.into();
        Ok(response)
    }
}

fn undecodable(why: impl Into<crate::error::BoxError>, attempts: u8) -> Error {
    Error::new(ErrorKind::Decode, Phase::ResponseBody, Delivery::Processed)
        .of_call(attempts, Some(NoRetry::Delivered))
        .with_source(why)
}

impl std::fmt::Debug for ClientResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientResponse").field("head", &self.answer.head).finish_non_exhaustive()
    }
}

/// Where the events of an answer come from.
pub(super) trait Source: Send {
    /// The next event of this answer.
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<ClientEvent, Error>>;

    /// The call's time is not counted any more.
    fn lift_deadline(&mut self);

    /// The time between two pieces is not counted any more.
    fn lift_silence(&mut self);

    /// All of the answer came.
    fn complete(self);

    /// The rest of the answer is not wanted.
    fn leave(self);

    /// The rest of the answer does not come: what the call failed with.
    fn fail(self, error: Error) -> Error;
}

/// The body of an answer.
pub(super) struct Incoming<S: Source> {
    /// `None` once the body has ended, or failed.
    source: Option<S>,
    left: Option<u64>,
}

impl<S: Source> Unpin for Incoming<S> {}

impl<S: Source> Incoming<S> {
    /// `None` where no body comes.
    pub(super) fn new(source: S, size: BodySize) -> Option<Box<Self>> {
        let left = match size {
            BodySize::Empty => {
                source.complete();
                return None;
            }
            BodySize::Exact(length) => Some(length),
            BodySize::Unknown => None,
        };
        Some(Box::write(Box::new_uninit(), Self { source: Some(source), left }))
    }
}

impl<S: Source> Drop for Incoming<S> {
    fn drop(&mut self) {
        if let Some(source) = self.source.take() {
            source.leave();
        }
    }
}

impl<S: Source> http_body::Body for Incoming<S> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        loop {
            let Some(source) = &mut this.source else { return Poll::Ready(None) };
            match ready!(source.poll_event(cx)) {
                Ok(ClientEvent::Data(data)) => {
                    if let Some(left) = &mut this.left {
                        *left = left.saturating_sub(data.len() as u64);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Ok(ClientEvent::End(trailers)) => {
                    this.source.take().into_iter().for_each(Source::complete);
                    let trailers = trailers.map(|all| Ok(Frame::trailers(all.to_header_map())));
                    return Poll::Ready(trailers);
                }
                Ok(_) => {}
                Err(error) => {
                    let source = this.source.take();
                    return Poll::Ready(source.map(|source| Err(source.fail(error))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.source.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.source, self.left) {
            (None, _) => SizeHint::with_exact(0),
            (Some(_), Some(left)) => SizeHint::with_exact(left),
            (Some(_), None) => SizeHint::default(),
        }
    }
}

impl<S: Source> Arriving for Incoming<S> {
    fn lift_deadline(mut self: Pin<&mut Self>) {
        if let Some(source) = &mut self.source {
            source.lift_deadline();
        }
    }

    fn lift_silence(mut self: Pin<&mut Self>) {
        if let Some(source) = &mut self.source {
            source.lift_silence();
        }
    }
}
