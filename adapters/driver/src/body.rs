//! Bodies: one type for what comes in and what goes out.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};
use sinew_core::error::{Delivery, Phase};

use crate::error::{BoxError, Error, ErrorKind, Origin};

/// Makes the same body once more.
pub(crate) type Factory = Box<dyn FnMut() -> Body + Send>;

type Boxed = Pin<Box<dyn http_body::Body<Data = Bytes, Error = Error> + Send>>;

/// Collected bodies below this many bytes are copied out of the buffer that they were read into.
const COPY_BELOW: usize = 256;

/// A request or response body: nothing, bytes, or a stream with back-pressure and trailers.
///
/// It is an [`http_body::Body`]. Dropping it half-way is fine: the connection is drained or closed.
#[derive(Default)]
pub struct Body {
    kind: Kind,
    /// Whose errors its errors are.
    origin: Origin,
}

#[derive(Default)]
enum Kind {
    #[default]
    Empty,
    Full(Bytes),
    /// Behind a lock that is never contended, so that what holds a body can be shared.
    Boxed(Mutex<Boxed>),
    Repeatable(Mutex<Factory>),
}

impl Body {
    /// No body.
    pub const fn empty() -> Self {
        Self { kind: Kind::Empty, origin: Origin::Call }
    }

    /// These bytes.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let kind = if bytes.is_empty() { Kind::Empty } else { Kind::Full(bytes) };
        Self { kind, origin: Origin::Call }
    }

    /// Any [`http_body::Body`] of bytes. Its size hint, if exact, becomes the content-length.
    pub fn wrap<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self::boxed(Wrapped { body: Box::pin(body) })
    }

    /// A stream of pieces, of unknown length.
    pub fn stream<S, E>(stream: S) -> Self
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        Self::boxed(Pieces { stream: Box::pin(stream) })
    }

    /// A body that `make` makes anew for every attempt of a call, so that a call that fails can be made
    /// again: a file that is opened again, a stream that can be begun again.
    pub fn repeatable(make: impl FnMut() -> Self + Send + 'static) -> Self {
        Self { kind: Kind::Repeatable(Mutex::new(Box::new(make))), origin: Origin::Call }
    }

    /// What makes the body anew, where something does.
    pub(crate) fn take_factory(&mut self) -> Option<Factory> {
        if matches!(self.kind, Kind::Repeatable(_))
            && let Kind::Repeatable(make) = std::mem::take(&mut self.kind)
        {
            return Some(make.into_inner().unwrap_or_else(PoisonError::into_inner));
        }
        None
    }

    /// It is to be sent once: one that can be made anew is made.
    pub(crate) fn make(&mut self) {
        while let Some(mut make) = self.take_factory() {
            self.kind = make().kind;
        }
    }

    /// A body of this crate, whose errors are ours already, and whose they are.
    pub(crate) fn own(
        body: impl http_body::Body<Data = Bytes, Error = Error> + Send + 'static,
        origin: Origin,
    ) -> Self {
        Self { origin, ..Self::boxed(body) }
    }

    pub(crate) const fn origin(&self) -> Origin {
        self.origin
    }

    fn boxed(body: impl http_body::Body<Data = Bytes, Error = Error> + Send + 'static) -> Self {
        Self { kind: Kind::Boxed(Mutex::new(Box::pin(body))), origin: Origin::Call }
    }

    /// The bytes, where all of them are here already: nothing has to be polled.
    pub(crate) fn take_full(&mut self) -> Option<Bytes> {
        match std::mem::take(&mut self.kind) {
            Kind::Empty => Some(Bytes::new()),
            Kind::Full(bytes) => Some(bytes),
            other @ (Kind::Boxed(_) | Kind::Repeatable(_)) => {
                self.kind = other;
                None
            }
        }
    }

    /// The bytes, where all of them are here already and there are no more than this; else the body.
    pub(crate) fn into_full(mut self, most: usize) -> Result<Bytes, Self> {
        match self.take_full() {
            Some(bytes) if bytes.len() <= most => Ok(bytes),
            Some(bytes) => Err(Self { kind: Kind::Full(bytes), ..self }),
            None => Err(self),
        }
    }

    /// The next piece; `None` at the end. Trailers are skipped: see [`frame`](Self::frame).
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            match self.frame().await {
                Some(frame) => match frame?.into_data() {
                    Ok(data) => return Ok(Some(data)),
                    Err(_trailers) => {}
                },
                None => return Ok(None),
            }
        }
    }

    /// The next piece of data or the trailers; `None` at the end.
    pub async fn frame(&mut self) -> Option<Result<Frame<Bytes>, Error>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_frame(cx)).await
    }

    /// All of it, up to `limit` bytes.
    pub async fn collect(self, limit: u64) -> Result<Bytes, Error> {
        self.collect_with_trailers(limit).await.map(|(bytes, _)| bytes)
    }

    /// All of it, up to `limit` bytes, and the trailers.
    pub async fn collect_with_trailers(
        self,
        limit: u64,
    ) -> Result<(Bytes, Option<HeaderMap>), Error> {
        let origin = self.origin;
        let collected = collect(self, limit).await.map_err(|error| match error.kind() {
            ErrorKind::TooLarge(_) => error.of(origin),
            _ => error,
        });
        collected.map(|(bytes, trailers)| (bytes, trailers.map(|all| *all)))
    }
}

/// All of a body, up to `limit` bytes, and the trailers.
pub(crate) async fn collect(
    mut body: impl http_body::Body<Data = Bytes, Error = Error> + Unpin,
    limit: u64,
) -> Result<(Bytes, Option<Box<HeaderMap>>), Error> {
    let too_large = || Error::new(ErrorKind::TooLarge(limit), Phase::Idle, Delivery::Processed);
    if body.size_hint().lower() > limit {
        return Err(too_large());
    }
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    let mut trailers = None;
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        match frame?.into_data() {
            Ok(data) => {
                let held = (first.len() + rest.len() + data.len()) as u64;
                if held > limit {
                    return Err(too_large());
                }
                if first.is_empty() && rest.is_empty() {
                    first = data;
                } else {
                    if rest.is_empty() {
                        rest.extend_from_slice(&std::mem::take(&mut first));
                    }
                    rest.extend_from_slice(&data);
                }
            }
            Err(frame) => trailers = frame.into_trailers().ok().map(Box::new),
        }
    }
    // Who collects a body may keep it: a small one must not keep a whole read buffer alive.
    let bytes = match rest.is_empty() {
        true if first.len() < COPY_BELOW => Bytes::copy_from_slice(&first),
        true => first,
        false => rest.freeze(),
    };
    Ok((bytes, trailers))
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.make();
        match std::mem::take(&mut self.kind) {
            Kind::Repeatable(_) | Kind::Empty => Poll::Ready(None),
            Kind::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            Kind::Boxed(mut boxed) => {
                let inner = boxed.get_mut().unwrap_or_else(PoisonError::into_inner);
                let polled = inner.as_mut().poll_frame(cx);
                self.kind = Kind::Boxed(boxed);
                polled.map_err(|error| match self.origin {
                    Origin::Call => error,
                    Origin::Request => error.of(Origin::Request),
                })
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Empty => true,
            Kind::Full(_) | Kind::Repeatable(_) => false,
            Kind::Boxed(boxed) => {
                boxed.lock().unwrap_or_else(PoisonError::into_inner).is_end_stream()
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Boxed(boxed) => boxed.lock().unwrap_or_else(PoisonError::into_inner).size_hint(),
            Kind::Repeatable(_) => SizeHint::default(),
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Empty => "Body(empty)",
            Kind::Full(_) => "Body(full)",
            Kind::Boxed(_) => "Body(stream)",
            Kind::Repeatable(_) => "Body(repeatable)",
        })
    }
}

macro_rules! from_bytes {
    ($($source:ty),*) => {$(
        impl From<$source> for Body {
            fn from(source: $source) -> Self {
                Self::full(source)
            }
        }
    )*};
}

from_bytes!(Bytes, Vec<u8>, String, &'static str, &'static [u8]);

impl From<()> for Body {
    fn from((): ()) -> Self {
        Self::empty()
    }
}

fn producer_failed(source: impl Into<BoxError>) -> Error {
    Error::new(ErrorKind::Body, Phase::Idle, Delivery::MaybeProcessed).with_source(source)
}

struct Wrapped<B> {
    body: Pin<Box<B>>,
}

impl<B> http_body::Body for Wrapped<B>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.body.as_mut().poll_frame(cx).map_err(producer_failed)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

struct Pieces<S> {
    stream: Pin<Box<S>>,
}

impl<S, E> http_body::Body for Pieces<S>
where
    S: Stream<Item = Result<Bytes, E>>,
    E: Into<BoxError>,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.stream
            .as_mut()
            .poll_next(cx)
            .map(|next| next.map(|piece| piece.map(Frame::data).map_err(producer_failed)))
    }
}
