//! Server-sent events as an answer that is read.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use http_body::Body as _;
use sinew_core::error::{Delivery, Phase};
use sinew_core::event_stream::{EventStream, EventStreamLimits, StreamEvent};

use super::response::ClientResponse;
use crate::body::Body;
use crate::error::{Error, ErrorKind};

/// The events of an answer, as they come. It is a [`Stream`] that ends with the answer, or with its
/// first error.
///
/// ```
/// use sinew_driver::{Error, RestClient, Runtime};
///
/// async fn follow<R: Runtime>(client: RestClient<R>) -> Result<(), Error> {
///     let answer = client.get("/prices").send().await?;
///     let mut events = answer.events()?;
///     while let Some(event) = events.next().await {
///         println!("{}", event?.data);
///     }
///     // Whoever comes back says so: .header("last-event-id", events.last_event_id())
///     Ok(())
/// }
/// ```
pub struct Events {
    /// `None` once it is over.
    body: Option<Body>,
    stream: EventStream,
}

impl Events {
    /// <https://html.spec.whatwg.org/multipage/server-sent-events.html#sse-processing-model>
    pub(super) fn of(response: ClientResponse, limits: EventStreamLimits) -> Result<Self, Error> {
        let failed = |kind| Error::new(kind, Phase::ResponseHead, Delivery::Processed);
        let status = response.status();
        if status != StatusCode::OK {
            return Err(failed(ErrorKind::Status(status)));
        }
        let typed = response.headers().get(CONTENT_TYPE);
        if !typed.is_some_and(|value| is_event_stream(value.as_bytes())) {
            return Err(failed(ErrorKind::Decode).with_source("not text/event-stream"));
        }
        let stream = EventStream::new(limits);
        Ok(Self { body: Some(response.into_body()), stream })
    }

    /// The next event; `None` at the end.
    ///
    /// # Errors
    ///
    /// Whatever cuts the answer short; a line or an event that is too large.
    pub async fn next(&mut self) -> Option<Result<StreamEvent, Error>> {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// The id of the last event that had one, with which to come back; empty: from the start.
    pub fn last_event_id(&self) -> &str {
        self.stream.last_event_id()
    }

    /// How long the server wants whoever lost the stream to wait before they come back.
    pub fn retry(&self) -> Option<std::time::Duration> {
        self.stream.retry()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<StreamEvent, Error>>> {
        loop {
            let Some(body) = &mut self.body else { return Poll::Ready(None) };
            let failed = match self.stream.poll_event() {
                Ok(Some(event)) => return Poll::Ready(Some(Ok(event))),
                Ok(None) => match ready!(Pin::new(body).poll_frame(cx)) {
                    Some(Ok(frame)) => {
                        // Trailers are of no interest.
                        if let Ok(data) = frame.into_data() {
                            self.stream.feed(data);
                        }
                        continue;
                    }
                    Some(Err(error)) => Some(Err(error)),
                    None => None,
                },
                Err(error) => Some(Err(error.into())),
            };
            self.body = None;
            return Poll::Ready(failed);
        }
    }
}

impl Stream for Events {
    type Item = Result<StreamEvent, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll(cx)
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("ended", &self.body.is_none()).finish_non_exhaustive()
    }
}

fn is_event_stream(content_type: &[u8]) -> bool {
    let essence = content_type.split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
}
