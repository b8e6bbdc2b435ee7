//! Server-sent events, as they are read.
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation>

use core::time::Duration;

use bytes::{Buf as _, Bytes};
use memchr::{memchr, memchr2};

use crate::error::{Delivery, Error, Kind, Limit, Phase};

/// An event of a stream.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct StreamEvent {
    /// Its type; `message` where it names none.
    pub event: String,
    /// Its lines, with line feeds between them.
    pub data: String,
    /// The id of this event, or the last one before it that had one; empty if there was none. Who
    /// comes back says it in `Last-Event-ID`.
    pub id: String,
}

/// What a stream may take of memory.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct EventStreamLimits {
    /// Bytes of one line, without its end. Default 64 KiB.
    pub line: usize,
    /// Bytes of the data of one event. Default 1 MiB.
    pub event: usize,
}

impl Default for EventStreamLimits {
    fn default() -> Self {
        Self { line: 64 * 1024, event: 1024 * 1024 }
    }
}

/// Reads an event stream: bytes go in, piece by piece, and events come out.
///
/// Line ends are CR, LF or both; one byte order mark at the start is skipped; what is not UTF-8 is
/// replaced. An event is given out with the empty line behind it, so what a stream that breaks off
/// leaves unfinished never comes out. What comes out does not depend on how the bytes were cut.
#[derive(Clone, Debug, Default)]
pub struct EventStream {
    limits: EventStreamLimits,
    /// What was fed, and not looked at yet.
    fed: Bytes,
    /// The start of a line whose end is not here yet.
    line: Vec<u8>,
    /// The last line ended in CR: an LF next belongs to it.
    after_cr: bool,
    /// A line was read: no byte order mark can follow.
    begun: bool,
    event: String,
    data: String,
    has_data: bool,
    /// The last id that was read.
    id: String,
    /// The last one whose event was whole.
    last_id: String,
    retry: Option<Duration>,
    failed: Option<Error>,
}

impl EventStream {
    /// A stream of which nothing was read.
    pub fn new(limits: EventStreamLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// The same stream, opened again behind the event with this id.
    pub fn resumed(limits: EventStreamLimits, id: String) -> Self {
        Self { limits, id: id.clone(), last_id: id, ..Self::default() }
    }

    /// Feeds what came next. Ask [`poll_event`](Self::poll_event) until it gives `None` in between:
    /// what is fed before that is copied behind the rest.
    pub fn feed(&mut self, bytes: Bytes) {
        self.fed = if self.fed.is_empty() { bytes } else { [&*self.fed, &*bytes].concat().into() };
    }

    /// The next event that is whole.
    ///
    /// # Errors
    ///
    /// A line or an event that is too large. It stays at that.
    pub fn poll_event(&mut self) -> Result<Option<StreamEvent>, Error> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        loop {
            match self.next_line() {
                Ok(None) => return Ok(None),
                Ok(Some(line)) => match self.interpret(&line) {
                    Ok(None) => {}
                    Ok(Some(event)) => return Ok(Some(event)),
                    Err(limit) => return Err(self.fail(limit)),
                },
                Err(limit) => return Err(self.fail(limit)),
            }
        }
    }

    /// The id with which to come back; empty: from the start.
    pub fn last_event_id(&self) -> &str {
        &self.last_id
    }

    /// How long the server wants whoever lost the stream to wait before they come back.
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    fn fail(&mut self, limit: Limit) -> Error {
        let (phase, delivery) = (Phase::ResponseBody, Delivery::Processed);
        let error = Error { kind: Kind::Limit(limit), phase, delivery };
        let Self { limits, last_id, retry, .. } = core::mem::take(self);
        *self = Self { limits, last_id, retry, failed: Some(error), ..Self::default() };
        error
    }

    /// The next line without its end; `None`: its end is not here yet.
    fn next_line(&mut self) -> Result<Option<Bytes>, Limit> {
        if self.after_cr && !self.fed.is_empty() {
            self.after_cr = false;
            if self.fed.starts_with(b"\n") {
                self.fed.advance(1);
            }
        }
        let end = memchr2(b'\r', b'\n', &self.fed);
        let here = end.unwrap_or(self.fed.len());
        if self.line.len() + here > self.limits.line {
            return Err(Limit::EventLine);
        }
        let piece = self.fed.split_to(here);
        if end.is_none() {
            self.line.extend_from_slice(&piece);
            return Ok(None);
        }
        self.after_cr = self.fed.starts_with(b"\r");
        self.fed.advance(1);
        let mut line = if self.line.is_empty() {
            piece
        } else {
            let mut whole = core::mem::take(&mut self.line);
            whole.extend_from_slice(&piece);
            whole.into()
        };
        if !core::mem::replace(&mut self.begun, true) && line.starts_with(BYTE_ORDER_MARK) {
            line.advance(BYTE_ORDER_MARK.len());
        }
        Ok(Some(line))
    }

    fn interpret(&mut self, line: &[u8]) -> Result<Option<StreamEvent>, Limit> {
        if line.is_empty() {
            return Ok(self.dispatch());
        }
        let (field, value) = match memchr(b':', line) {
            Some(at) => {
                let (field, value) = (line.get(..at), line.get(at + 1..).unwrap_or_default());
                (field.unwrap_or_default(), value.strip_prefix(b" ").unwrap_or(value))
            }
            None => (line, &b""[..]),
        };
        match field {
            b"event" => self.event = text(value),
            b"data" => {
                let value = text(value);
                if self.data.len() + usize::from(self.has_data) + value.len() > self.limits.event {
                    return Err(Limit::Event);
                }
                if core::mem::replace(&mut self.has_data, true) {
                    self.data.push('\n');
                }
                self.data.push_str(&value);
            }
            b"id" if !value.contains(&0) => self.id = text(value),
            b"retry" if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                let millis = value.iter().fold(0_u64, |sum, digit| {
                    sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
                });
                self.retry = Some(Duration::from_millis(millis));
            }
            // A comment, or a field of another time.
            _ => {}
        }
        Ok(None)
    }

    fn dispatch(&mut self) -> Option<StreamEvent> {
        let event = core::mem::take(&mut self.event);
        let data = core::mem::take(&mut self.data);
        self.last_id.clone_from(&self.id);
        if !core::mem::take(&mut self.has_data) {
            return None;
        }
        let event = if event.is_empty() { "message".to_owned() } else { event };
        Some(StreamEvent { event, data, id: self.id.clone() })
    }
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// <https://encoding.spec.whatwg.org/#utf-8-decode>: a line end is never part of a character, so that
/// each line can be decoded alone.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
