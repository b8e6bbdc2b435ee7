//! Server-sent events as an answer: <https://html.spec.whatwg.org/multipage/server-sent-events.html>

use std::fmt::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use http::HeaderValue;
use http::header::CACHE_CONTROL;

use super::response::{IntoResponse, Pulse, Response};
use crate::body::Body;
use crate::error::BoxError;

/// One event. An event without data is not delivered by browsers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SseEvent {
    event: Option<String>,
    id: Option<String>,
    data: Option<String>,
    retry: Option<Duration>,
}

impl SseEvent {
    /// An event with this data; it may have several lines.
    pub fn data(data: impl Into<String>) -> Self {
        Self { data: Some(data.into()), ..Self::default() }
    }

    /// An event with this value as JSON.
    ///
    /// # Errors
    ///
    /// When the value cannot be written as JSON.
    pub fn json(value: &impl serde::Serialize) -> Result<Self, serde_json::Error> {
        serde_json::to_string(value).map(Self::data)
    }

    /// Names the type of the event. Line ends in it are left out.
    pub fn event(mut self, event: impl Into<String>) -> Self {
        self.event = Some(event.into());
        self
    }

    /// Gives the event an id, to which the client can come back. Line ends and NUL are left out.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Tells the client how long to wait before it connects again; in whole milliseconds.
    pub fn retry(mut self, after: Duration) -> Self {
        self.retry = Some(after);
        self
    }

    fn to_text(&self) -> String {
        let mut text = String::new();
        let one_line = |value: &str| value.replace(['\r', '\n', '\0'], "");
        if let Some(event) = &self.event {
            line(&mut text, "event", &one_line(event));
        }
        if let Some(id) = &self.id {
            line(&mut text, "id", &one_line(id));
        }
        if let Some(retry) = self.retry {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "retry:{}", retry.as_millis());
        }
        if let Some(data) = &self.data {
            let data = data.replace("\r\n", "\n");
            data.split(['\n', '\r']).for_each(|piece| line(&mut text, "data", piece));
        }
        text.push('\n');
        text
    }
}

fn line(text: &mut String, name: &str, value: &str) {
    let _ = writeln!(text, "{name}: {value}");
}

/// An endless answer of events. A comment every 15 s of silence keeps what lies between from
/// closing the connection.
#[derive(Debug)]
pub struct Sse<S> {
    events: S,
    keep_alive: Option<Duration>,
}

impl<S> Sse<S> {
    /// These events.
    pub fn new(events: S) -> Self {
        Self { events, keep_alive: Some(Duration::from_secs(15)) }
    }

    /// Sends a comment after this much silence; `None`: never.
    pub fn keep_alive(mut self, every: Option<Duration>) -> Self {
        self.keep_alive = every;
        self
    }
}

impl<S, E> IntoResponse for Sse<S>
where
    S: Stream<Item = Result<SseEvent, E>> + Send + 'static,
    E: Into<BoxError> + 'static,
{
    fn into_response(self) -> Response {
        let lines = Lines { events: Box::pin(self.events) };
        let mut response = Response::typed(Body::stream(lines), "text/event-stream");
        response.0.fields.push((CACHE_CONTROL, HeaderValue::from_static("no-cache")));
        response.0.pulse = self
            .keep_alive
            .filter(|every| !every.is_zero())
            .map(|every| Box::new(Pulse { every, bytes: Bytes::from_static(b":\n\n") }));
        response
    }
}

struct Lines<S> {
    events: Pin<Box<S>>,
}

impl<S, E> Stream for Lines<S>
where
    S: Stream<Item = Result<SseEvent, E>>,
{
    type Item = Result<Bytes, E>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.events.as_mut().poll_next(cx);
        next.map(|next| next.map(|event| event.map(|event| event.to_text().into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_cannot_break_out_of_its_lines() {
        let event = SseEvent::data("a\r\nb\rc\nevent: x")
            .event("up\ndate")
            .id("7\0\r")
            .retry(Duration::from_millis(1500));
        assert_eq!(
            event.to_text(),
            "event: update\nid: 7\nretry:1500\ndata: a\ndata: b\ndata: c\ndata: event: x\n\n"
        );
    }
}
