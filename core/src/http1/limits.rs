//! Named limits and named timers, with their defaults.

use core::time::Duration;

use crate::error::{Error, Misuse, Phase};
use crate::time::Epoch;

/// What a peer may make a connection hold. Every one is checked before anything is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a head, from its first byte to the empty line. Default 16 KiB, at most 65,000.
    pub head: usize,
    /// Field lines of a head. Default 100.
    pub fields: usize,
    /// Bytes of the request target. Default 8 KiB.
    pub target: usize,
    /// Bytes of a body, decoded. Default 1 MiB on a server, unlimited on a client.
    pub body: u64,
    /// Bytes of one chunk-size line, extensions included. Default 4 KiB.
    pub chunk_line: usize,
    /// Bytes of all chunk extensions of one body. Default 16 KiB.
    pub chunk_extensions: usize,
    /// Bytes of the trailer section. Default 8 KiB.
    pub trailer_bytes: usize,
    /// Field lines of the trailer section. Default 64.
    pub trailers: usize,
    /// Interim responses before a final one (client). Default 16.
    pub interim: u32,
    /// Answers queued before further pipelined requests wait (server). Default 16.
    pub pipeline: u32,
    /// Bytes of input held before reading pauses. Default 64 KiB; never below `head`.
    pub inbox: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: 16 * 1024,
            fields: 100,
            target: 8 * 1024,
            body: 1024 * 1024,
            chunk_line: 4 * 1024,
            chunk_extensions: 16 * 1024,
            trailer_bytes: 8 * 1024,
            trailers: 64,
            interim: 16,
            pipeline: 16,
            inbox: 64 * 1024,
        }
    }
}

impl Limits {
    /// Bytes of a head or a trailer section, at most: spans are 16 bits wide.
    pub const HEAD_MAX: usize = 65_000;

    /// Bytes of a chunk-size line, at least: sixteen digits and the end of the line.
    pub const CHUNK_LINE_MIN: usize = 18;

    /// Refuses limits that contradict each other.
    pub fn check(&self) -> Result<(), Error> {
        let sane = (1..=Self::HEAD_MAX).contains(&self.head)
            && self.trailer_bytes <= Self::HEAD_MAX
            && self.target <= self.head
            && self.inbox >= self.head
            && self.fields > 0
            && self.pipeline > 0
            && self.chunk_line >= Self::CHUNK_LINE_MIN;
        if sane { Ok(()) } else { Err(Error::usage(Misuse::Config, Phase::Idle)) }
    }
}

/// Configuration of a server connection; shared by all connections of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// What a peer may make the connection hold.
    pub limits: Limits,
    /// A fresh connection must send its first byte within this time. Default 10 s.
    pub first_byte: Duration,
    /// From the first byte of a head to its end. Default 10 s.
    pub header_read: Duration,
    /// A kept-alive connection without a request. Default 75 s.
    pub idle: Duration,
    /// A body must come at this many bytes a second, measured only while reading is wanted.
    /// Default 240; 0 switches the measure off.
    pub body_rate: u32,
    /// The body rate is measured over windows of this length, the first one free. Default 5 s.
    pub body_grace: Duration,
    /// Queued bytes of which the peer takes none; noticed within twice that time. Default 30 s.
    pub write_stall: Duration,
    /// The application must answer within this time, or 503 is sent. Default 30 s.
    pub handler: Option<Duration>,
    /// After the last answer, the peer's remaining bytes are read for at most this time. Default 1 s.
    pub linger: Duration,
    /// ... and at most this many bytes. Default 256 KiB.
    pub linger_bytes: u64,
    /// An unread request body of at most this size is drained so that the connection can be reused.
    /// Default 64 KiB.
    pub drain_bytes: u64,
    /// Ties the clock to wall time; without it no `Date` is sent.
    pub epoch: Option<Epoch>,
    /// Whether decisions are kept for `poll_observed`.
    pub observe: bool,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            first_byte: Duration::from_secs(10),
            header_read: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            body_rate: 240,
            body_grace: Duration::from_secs(5),
            write_stall: Duration::from_secs(30),
            handler: Some(Duration::from_secs(30)),
            linger: Duration::from_secs(1),
            linger_bytes: 256 * 1024,
            drain_bytes: 64 * 1024,
            epoch: None,
            observe: false,
        }
    }
}

/// Configuration of a client connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// What the server may make the connection hold.
    pub limits: Limits,
    /// From the end of the request's head to the response's head. Default none: the call's own
    /// deadline covers it.
    pub response_head: Option<Duration>,
    /// Between two pieces of a response body, measured only while reading is wanted. Default 15 s.
    pub between_bytes: Option<Duration>,
    /// Queued bytes of which the peer takes none; noticed within twice that time. Default 30 s.
    pub write_stall: Duration,
    /// Requests on their way at once, at most; how many of them depends on how fast answers come.
    /// Default 1: the next request waits for the answer, and so does 0.
    pub pipelining: u32,
    /// How long `Expect: 100-continue` waits before the body is sent unasked. Default 1 s.
    pub continue_wait: Duration,
    /// Whether decisions are kept for `poll_observed`.
    pub observe: bool,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            limits: Limits { body: u64::MAX, ..Limits::default() },
            response_head: None,
            between_bytes: Some(Duration::from_secs(15)),
            write_stall: Duration::from_secs(30),
            pipelining: 1,
            continue_wait: Duration::from_secs(1),
            observe: false,
        }
    }
}
