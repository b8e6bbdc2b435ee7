//! What a machine made of an input: messages, answers, the error, how it ended.

use bytes::Bytes;
use http::Version;
use sinew_core::error::Error;
use sinew_core::head::{Fields, RequestHead, ResponseHead};
use sinew_core::machine::CloseReason;

use crate::end::Breach;
use crate::reader;

/// Field lines as name and value.
pub type Lines = Vec<(String, Vec<u8>)>;

/// One message that was delivered, whole or in part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// The first line.
    pub start: Start,
    /// `1.0` or `1.1`.
    pub version: &'static str,
    /// Fields, names in lower case.
    pub headers: Lines,
    /// What of the body was delivered, adjacent pieces merged.
    pub body: Vec<u8>,
    /// Trailers, names in lower case; `None` where the body was not chunked.
    pub trailers: Option<Lines>,
    /// Whether its end was delivered.
    pub complete: bool,
}

/// The first line of a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Start {
    /// Of a request.
    Request {
        /// The method.
        method: String,
        /// The target, as it stood on the wire.
        target: String,
        /// The authority asked for.
        authority: Option<String>,
    },
    /// Of a response.
    Response {
        /// The status.
        status: u16,
        /// The reason phrase.
        reason: Vec<u8>,
    },
}

/// How a connection stands after an input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It goes on.
    Open,
    /// It left HTTP.
    Upgraded,
    /// The writing side was shut; the peer's remaining bytes are read and thrown away.
    HalfClosed,
    /// It was dropped.
    Closed(CloseReason),
}

/// Everything that can be seen of one run of a case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transcript {
    /// What was delivered, in order.
    pub messages: Vec<Message>,
    /// Statuses of the interim responses that were delivered.
    pub interim: Vec<u16>,
    /// The fatal error.
    pub error: Option<Error>,
    /// Everything the machine wrote, interim 100 responses left out.
    pub written: Vec<reader::Message>,
    /// Interim 100 responses that it wrote.
    pub sent_100: usize,
    /// How the connection stands.
    pub fate: Fate,
    /// Whether another exchange may start at once.
    pub reusable: bool,
    /// Bytes left over for the next protocol.
    pub rest: Vec<u8>,
    /// A law that was broken on the way.
    pub breach: Option<Breach>,
}

impl Transcript {
    /// The messages that were delivered whole.
    pub fn complete(&self) -> usize {
        self.messages.iter().filter(|message| message.complete).count()
    }

    /// The last final answer that was written.
    pub fn last_answer(&self) -> Option<&reader::Message> {
        self.written.iter().rev().find(|message| !message.is_interim())
    }

    /// Whether the machine ends the connection.
    pub fn closes(&self) -> bool {
        matches!(self.fate, Fate::HalfClosed | Fate::Closed(_))
    }
}

impl Message {
    /// The message that a request head opens.
    pub fn from_request(head: &RequestHead) -> Self {
        Self {
            start: Start::Request {
                method: head.method().as_str().to_owned(),
                target: head.target().to_owned(),
                authority: head.authority().map(str::to_owned),
            },
            version: version(head.version()),
            headers: lines(head.fields()),
            body: Vec::new(),
            trailers: None,
            complete: false,
        }
    }

    /// The message that a response head opens.
    pub fn from_response(head: &ResponseHead) -> Self {
        Self {
            start: Start::Response {
                status: head.status().as_u16(),
                reason: head.reason().to_vec(),
            },
            version: version(head.version()),
            headers: lines(head.fields()),
            body: Vec::new(),
            trailers: None,
            complete: false,
        }
    }

    /// The same without what targets and hosts say.
    pub fn without_authority(&self) -> Self {
        let mut message = self.clone();
        if let Start::Request { authority, .. } = &mut message.start {
            *authority = None;
        }
        message
    }

    /// Body bytes came.
    pub fn data(&mut self, data: &Bytes) {
        self.body.extend_from_slice(data);
    }

    /// The end came.
    pub fn end(&mut self, trailers: Option<&Fields>) {
        self.trailers = trailers.map(lines);
        self.complete = true;
    }
}

fn version(version: Version) -> &'static str {
    if version == Version::HTTP_10 { "1.0" } else { "1.1" }
}

fn lines(fields: &Fields) -> Lines {
    fields.iter().map(|(name, value)| (name.to_lowercase(), value.to_vec())).collect()
}
