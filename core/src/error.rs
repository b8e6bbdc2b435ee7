//! What went wrong: whose fault, in which phase, which status, and how far the request got.

use core::fmt;

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderName, StatusCode};

use crate::time::Timer;

/// Why a machine cannot go on, or why a command was refused.
///
/// Small, `Copy` and comparable. [`Kind::Usage`] is the one kind that is not fatal: the command
/// changed nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Error {
    /// What went wrong.
    pub kind: Kind,
    /// Where in an exchange.
    pub phase: Phase,
    /// How far the request got.
    pub delivery: Delivery,
}

/// What went wrong.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Kind {
    /// The application asked for something that makes no sense here. Nothing was changed.
    Usage(Misuse),
    /// The peer broke the protocol.
    Peer(Violation),
    /// A configured limit was exceeded.
    Limit(Limit),
    /// A timer fired.
    Timeout(Timer),
    /// The connection ended in the middle of a message.
    Truncated,
    /// The connection is over; the command came too late.
    Closed,
    /// The inbox was found shorter or edited.
    InboxEdited,
}

/// Who has to change something.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Fault {
    /// The embedding application, or its configuration.
    Local,
    /// The other side of the connection.
    Peer,
    /// What lies between.
    Network,
}

/// Where in the life of a connection or an exchange.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Phase {
    /// No exchange.
    Idle,
    /// Waiting for a token to send along.
    Token,
    /// Waiting for a connection of the pool.
    Pool,
    /// Turning a name into addresses.
    Resolve,
    /// Opening a connection.
    Connect,
    /// Securing the connection.
    Tls,
    /// Request line and fields.
    RequestHead,
    /// Request body and trailers.
    RequestBody,
    /// Waiting for the response's head, or reading it.
    ResponseHead,
    /// Response body and trailers.
    ResponseBody,
    /// Behind HTTP: the bytes of another protocol.
    Tunnel,
    /// Behind HTTP: the frames of WebSocket.
    WebSocket,
}

/// How far a request got: what a retry may conclude. The greater, the less harmless it is to send it
/// again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Delivery {
    /// No byte reached the peer.
    NotSent,
    /// The peer said that it did not process the request.
    Refused,
    /// Bytes were sent and no answer says what became of them.
    MaybeProcessed,
    /// An answer came.
    Processed,
}

impl Delivery {
    /// What an answer says about its request: processed, unless it says otherwise. 421, 425, 429 and a 503
    /// with `Retry-After` refuse it; any other 503 may come from anywhere on the way. `has_retry_after` is
    /// asked where it matters.
    pub fn of_answer(status: StatusCode, has_retry_after: impl FnOnce() -> bool) -> Self {
        match status {
            StatusCode::MISDIRECTED_REQUEST
            | StatusCode::TOO_EARLY
            | StatusCode::TOO_MANY_REQUESTS => Self::Refused,
            StatusCode::SERVICE_UNAVAILABLE if has_retry_after() => Self::Refused,
            StatusCode::SERVICE_UNAVAILABLE => Self::MaybeProcessed,
            _ => Self::Processed,
        }
    }
}

/// A command that makes no sense in the state the machine is in, or with these arguments.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Misuse {
    /// A response without a request, a second response, a request while one is running.
    OutOfTurn,
    /// Body bytes when none are due.
    NoBodyDue,
    /// More body than was announced.
    BodyTooLong,
    /// The body ended before the announced length.
    BodyTooShort,
    /// A body with a status or method that has none.
    BodyForbidden,
    /// A method that is not a token.
    Method,
    /// A target with a byte that cannot stand in a request line.
    Target,
    /// A status that cannot be sent here: 1xx as a final answer, a final status as interim, 1xx to
    /// HTTP/1.0.
    Status,
    /// A switch of protocols that the request does not offer, or of which the answer does not say
    /// to which.
    Upgrade,
    /// A reason phrase with a control byte.
    Reason,
    /// A field name that is not a token.
    FieldName,
    /// A field value with CR, LF, NUL or another control byte.
    FieldValue,
    /// A `host` that is malformed, or doubled.
    Host,
    /// A `content-length` that is malformed or doubled, or that contradicts the body.
    ContentLength,
    /// A `transfer-encoding`: the machine writes it by itself.
    TransferEncoding,
    /// A trailer that must not stand in a trailer section.
    Trailer,
    /// A configuration that contradicts itself.
    Config,
    /// A close code that must not be sent, or a reason for closing that is too long.
    CloseCode,
    /// A control frame with more than 125 bytes.
    ControlTooLong,
}

/// How the peer broke the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Violation {
    /// The request line is not `method SP target SP version`.
    RequestLine,
    /// The method is not a token.
    Method,
    /// The target has none of the four forms, or not one that fits the method.
    Target,
    /// The version is malformed.
    Version,
    /// A version that is not spoken here.
    VersionUnsupported,
    /// The status line is malformed.
    StatusLine,
    /// A line that ends without CR LF, or a lone CR.
    LineEnd,
    /// A field line without a valid name and colon.
    FieldName,
    /// A control byte in a field value.
    FieldValue,
    /// A folded line, or white space in front of the first field.
    Fold,
    /// `Host` missing, doubled or malformed.
    Host,
    /// `Content-Length` malformed or contradicting itself.
    ContentLength,
    /// `Transfer-Encoding` that is malformed, doubled, or does not end in one `chunked`.
    TransferEncoding,
    /// A transfer coding that is not implemented.
    TransferCoding,
    /// `Content-Length` beside `Transfer-Encoding`.
    LengthAndCoding,
    /// An expectation that is not `100-continue`.
    Expectation,
    /// A malformed chunk size or extension.
    ChunkHeader,
    /// Chunk data that does not end in CR LF.
    ChunkEnd,
    /// A malformed trailer section.
    Trailer,
    /// A response that nobody asked for.
    UnexpectedResponse,
    /// A switch of protocols that nobody asked for.
    UnexpectedSwitch,
    /// An upgrade handshake that its protocol forbids.
    Upgrade,
    /// TLS: the peer's handshake or records are wrong; the layer says how.
    Tls,
    /// WebSocket: a reserved bit that no extension gives a meaning.
    ReservedBits,
    /// WebSocket: an opcode that is reserved.
    Opcode,
    /// WebSocket: a frame of a client without a mask, or one of a server with one.
    Mask,
    /// WebSocket: a length in more bytes than it needs, or beyond 63 bits.
    FrameLength,
    /// WebSocket: a control frame that is fragmented, or longer than 125 bytes.
    ControlFrame,
    /// WebSocket: a continuation of nothing, or a new message in the middle of one.
    Continuation,
    /// WebSocket: a close frame with a code that must not be sent, or with half a code.
    CloseFrame,
    /// WebSocket: a text, or the reason of a close frame, that is not UTF-8.
    Utf8,
    /// WebSocket: a compressed message that does not unpack.
    Deflate,
}

/// Every limit by name. Its default stands with the configuration of the machine that has it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Limit {
    /// Bytes of a head, from the first byte to the empty line.
    HeadBytes,
    /// Field lines of a head.
    Fields,
    /// Bytes of the request target.
    Target,
    /// Bytes of a body, decoded.
    Body,
    /// Bytes of one chunk-size line, extensions included.
    ChunkLine,
    /// Bytes of all chunk extensions of a body.
    ChunkExtensions,
    /// Bytes of the trailer section.
    TrailerBytes,
    /// Field lines of the trailer section.
    Trailers,
    /// Interim responses before a final one.
    Interim,
    /// WebSocket: bytes of a frame's payload.
    Frame,
    /// WebSocket: bytes of a message, unpacked.
    Message,
    /// WebSocket: frames of one message.
    Fragments,
    /// WebSocket: pings in one second.
    Pings,
    /// Bytes of one line of an event stream.
    EventLine,
    /// Bytes of the data of one event.
    Event,
}

impl Error {
    /// A command refused; nothing changed.
    pub const fn usage(misuse: Misuse, phase: Phase) -> Self {
        Self { kind: Kind::Usage(misuse), phase, delivery: Delivery::NotSent }
    }

    /// Whether the machine goes on after this error.
    pub const fn is_fatal(&self) -> bool {
        !matches!(self.kind, Kind::Usage(_))
    }

    /// Who has to change something.
    pub const fn fault(&self) -> Fault {
        match self.kind {
            Kind::Usage(_) | Kind::InboxEdited | Kind::Timeout(Timer::Handler) => Fault::Local,
            Kind::Truncated | Kind::Closed | Kind::Timeout(Timer::Pong) => Fault::Network,
            Kind::Peer(_) | Kind::Limit(_) | Kind::Timeout(_) => Fault::Peer,
        }
    }

    /// The status with which a server answers this error, or `None` where it stays silent.
    pub const fn status(&self) -> Option<StatusCode> {
        Some(match self.kind {
            Kind::Peer(violation) => match violation {
                Violation::VersionUnsupported => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
                Violation::TransferCoding => StatusCode::NOT_IMPLEMENTED,
                Violation::Expectation => StatusCode::EXPECTATION_FAILED,
                Violation::Tls
                | Violation::ReservedBits
                | Violation::Opcode
                | Violation::Mask
                | Violation::FrameLength
                | Violation::ControlFrame
                | Violation::Continuation
                | Violation::CloseFrame
                | Violation::Utf8
                | Violation::Deflate => return None,
                _ => StatusCode::BAD_REQUEST,
            },
            Kind::Limit(limit) => match limit {
                Limit::Target => StatusCode::URI_TOO_LONG,
                Limit::Body => StatusCode::PAYLOAD_TOO_LARGE,
                Limit::ChunkLine
                | Limit::ChunkExtensions
                | Limit::Interim
                | Limit::EventLine
                | Limit::Event => StatusCode::BAD_REQUEST,
                Limit::HeadBytes | Limit::Fields | Limit::TrailerBytes | Limit::Trailers => {
                    StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
                }
                Limit::Frame | Limit::Message | Limit::Fragments | Limit::Pings => return None,
            },
            Kind::Timeout(Timer::HeaderRead | Timer::BodyRead) => StatusCode::REQUEST_TIMEOUT,
            Kind::Timeout(Timer::Handler) => StatusCode::SERVICE_UNAVAILABLE,
            Kind::Usage(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Kind::Timeout(_) | Kind::Truncated | Kind::Closed | Kind::InboxEdited => return None,
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = self.phase.name();
        match self.kind {
            Kind::Usage(misuse) => write!(f, "refused while in the {phase}: {}", misuse.explain()),
            Kind::Peer(violation) => {
                write!(f, "bad {phase} from the peer: {}", violation.explain())
            }
            Kind::Limit(limit) => write!(f, "{phase} over the limit of {}", limit.explain()),
            Kind::Timeout(timer) => write!(f, "timed out in the {phase}: {}", timer.name()),
            Kind::Truncated => write!(f, "connection ended in the middle of the {phase}"),
            Kind::Closed => write!(f, "connection is closed"),
            Kind::InboxEdited => write!(f, "the inbox was changed other than by appending"),
        }
    }
}

impl core::error::Error for Error {}

impl Phase {
    /// A fixed, lower-case name, fit for logs and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle connection",
            Self::Token => "wait for a token",
            Self::Pool => "wait for a connection",
            Self::Resolve => "name resolution",
            Self::Connect => "connect",
            Self::Tls => "TLS handshake",
            Self::RequestHead => "request head",
            Self::RequestBody => "request body",
            Self::ResponseHead => "response head",
            Self::ResponseBody => "response body",
            Self::Tunnel => "tunnel",
            Self::WebSocket => "WebSocket connection",
        }
    }
}

impl Misuse {
    /// One phrase in plain words.
    pub const fn explain(self) -> &'static str {
        match self {
            Self::OutOfTurn => "the exchange is not at this point",
            Self::NoBodyDue => "no body bytes are due",
            Self::BodyTooLong => "more body than announced",
            Self::BodyTooShort => "less body than announced",
            Self::BodyForbidden => "this message has no body",
            Self::Method => "the method is not a token",
            Self::Target => "the target cannot stand in a request line",
            Self::Status => "this status cannot be sent here",
            Self::Upgrade => "the request does not offer this switch of protocols",
            Self::Reason => "the reason phrase has a control byte",
            Self::FieldName => "a field name is not a token",
            Self::FieldValue => "a field value has a control byte",
            Self::Host => "the host is malformed or doubled",
            Self::ContentLength => "the content-length is malformed, or contradicts the body",
            Self::TransferEncoding => "a transfer-encoding is not the application's to send",
            Self::Trailer => "this field must not be a trailer",
            Self::Config => "the configuration contradicts itself",
            Self::CloseCode => "the close code, or its reason, cannot be sent",
            Self::ControlTooLong => "a control frame has 125 bytes at most",
        }
    }

    /// The field that it is about; `None`: it is about none, or about one that only the application can name.
    pub const fn field(self) -> Option<HeaderName> {
        match self {
            Self::Host => Some(HOST),
            Self::ContentLength => Some(CONTENT_LENGTH),
            Self::TransferEncoding => Some(TRANSFER_ENCODING),
            _ => None,
        }
    }
}

impl Violation {
    /// One phrase in plain words.
    pub const fn explain(self) -> &'static str {
        match self {
            Self::RequestLine => "malformed request line",
            Self::Method => "the method is not a token",
            Self::Target => "malformed target",
            Self::Version => "malformed version",
            Self::VersionUnsupported => "version not supported",
            Self::StatusLine => "malformed status line",
            Self::LineEnd => "a line does not end in CR LF",
            Self::FieldName => "malformed field name",
            Self::FieldValue => "control byte in a field value",
            Self::Fold => "folded line",
            Self::Host => "Host is missing, doubled or malformed",
            Self::ContentLength => "malformed Content-Length",
            Self::TransferEncoding => "malformed Transfer-Encoding",
            Self::TransferCoding => "unknown transfer coding",
            Self::LengthAndCoding => "Content-Length beside Transfer-Encoding",
            Self::Expectation => "unknown expectation",
            Self::ChunkHeader => "malformed chunk header",
            Self::ChunkEnd => "chunk data does not end in CR LF",
            Self::Trailer => "malformed trailer section",
            Self::UnexpectedResponse => "a response that nobody asked for",
            Self::UnexpectedSwitch => "a switch of protocols that nobody asked for",
            Self::Upgrade => "malformed upgrade handshake",
            Self::Tls => "TLS failed",
            Self::ReservedBits => "a reserved bit is set",
            Self::Opcode => "a reserved opcode",
            Self::Mask => "a mask is missing, or there where none may be",
            Self::FrameLength => "the length is not in its shortest form",
            Self::ControlFrame => "a control frame is fragmented or too long",
            Self::Continuation => "a continuation of nothing, or none where one is due",
            Self::CloseFrame => "malformed close frame",
            Self::Utf8 => "a text is not UTF-8",
            Self::Deflate => "a compressed message does not unpack",
        }
    }
}

impl Limit {
    /// What is limited, in plain words.
    pub const fn explain(self) -> &'static str {
        match self {
            Self::HeadBytes => "bytes of a head",
            Self::Fields => "fields of a head",
            Self::Target => "bytes of a target",
            Self::Body => "bytes of a body",
            Self::ChunkLine => "bytes of a chunk-size line",
            Self::ChunkExtensions => "bytes of chunk extensions",
            Self::TrailerBytes => "bytes of trailers",
            Self::Trailers => "trailer fields",
            Self::Interim => "interim responses",
            Self::Frame => "bytes of a frame",
            Self::Message => "bytes of a message",
            Self::Fragments => "frames of a message",
            Self::Pings => "pings in a second",
            Self::EventLine => "bytes of a line of an event stream",
            Self::Event => "bytes of an event",
        }
    }
}
