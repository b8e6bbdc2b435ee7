//! How far a body is.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};

use crate::body::Body;
use crate::error::Error;

/// Bytes of a body that is here already which are told as one step.
const STEP: usize = 64 * 1024;

/// How far a body is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes that passed.
    pub bytes: u64,
    /// Bytes in all, where that is known beforehand.
    pub total: Option<u64>,
}

type Told = Arc<dyn Fn(Progress) + Send + Sync>;

impl Body {
    /// The same body, which tells how far it is: with each piece that its reader takes. Of a request
    /// that is the connection, which takes what it has room for; of an answer it is whoever reads it.
    /// It runs where the body is polled, so it must be quick. Where a call is made again, it begins
    /// anew.
    ///
    /// ```
    /// use sinew_driver::Body;
    ///
    /// let body = Body::from("large").with_progress(|progress| {
    ///     println!("{} of {:?}", progress.bytes, progress.total);
    /// });
    /// ```
    #[must_use]
    pub fn with_progress(mut self, told: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        let told: Told = Arc::new(told);
        let origin = self.origin();
        match (self.take_full(), self.take_factory()) {
            (Some(bytes), _) => Self::repeatable(move || {
                let (bytes, told) = (bytes.clone(), Arc::clone(&told));
                Self::own(Watched::new(Source::Here(bytes), told), origin)
            }),
            (None, Some(mut make)) => Self::repeatable(move || {
                Self::own(Watched::new(Source::Comes(make()), told.clone()), origin)
            }),
            (None, None) => Self::own(Watched::new(Source::Comes(self), told), origin),
        }
    }
}

struct Watched {
    source: Source,
    progress: Progress,
    told: Told,
}

enum Source {
    Here(Bytes),
    Comes(Body),
}

impl Source {
    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Here(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Comes(body) => body.size_hint(),
        }
    }
}

impl Watched {
    fn new(source: Source, told: Told) -> Self {
        let progress = Progress { bytes: 0, total: source.size_hint().exact() };
        Self { source, progress, told }
    }
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = match &mut self.source {
            Source::Here(bytes) if bytes.is_empty() => return Poll::Ready(None),
            Source::Here(bytes) => Frame::data(bytes.split_to(bytes.len().min(STEP))),
            Source::Comes(body) => match ready!(Pin::new(body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                other => return Poll::Ready(other),
            },
        };
        if let Some(data) = frame.data_ref() {
            self.progress.bytes += data.len() as u64;
            (self.told)(self.progress);
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Here(bytes) => bytes.is_empty(),
            Source::Comes(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.source.size_hint()
    }
}
