//! Named limits and named timers, with their defaults.

use core::time::Duration;

use super::heartbeat::HeartbeatConfig;
use super::queue::Overflow;
use crate::error::{Error, Misuse, Phase};

/// What a peer may make a connection hold, or do. Every one is checked before anything is kept, and
/// nothing is reserved because a header announced it.
///
/// A connection holds at most: the inbox, or one frame if that is larger, and what one read brings;
/// a message that comes in several frames, or compressed, in a block of up to twice its size, and no
/// larger than the limit; the queue and the message that filled it, and as much again in a `SendQueue` that drops
/// the oldest; and what compression needs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Limits {
    /// Bytes of a frame's payload. Default 256 KiB. Beyond it: 1009.
    pub frame: usize,
    /// Bytes of a message, unpacked. Default 1 MiB. Beyond it: 1009.
    pub message: usize,
    /// Frames of a message. Default 131,072. Beyond it: 1008.
    pub fragments: u32,
    /// Bytes queued above which no more messages are taken, and pings wait to be answered. Default
    /// 256 KiB; one message of overshoot is taken.
    pub queued: usize,
    /// Pings in a second. Default 100. Beyond it: 1008.
    pub pings: u32,
    /// Bytes of input held before reading pauses; a frame that is larger is read to its end.
    /// Default 64 KiB.
    pub inbox: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame: 256 * 1024,
            message: 1024 * 1024,
            fragments: 131_072,
            queued: 256 * 1024,
            pings: 100,
            inbox: 64 * 1024,
        }
    }
}

/// Configuration of a connection; shared by all of them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Config {
    /// What a peer may make the connection hold, or do.
    pub limits: Limits,
    /// Bytes of the payload of a frame that we send, at most; larger messages are sent in several.
    /// Default 256 KiB.
    pub frame: usize,
    /// What a [`SendQueue`](super::SendQueue) does with messages for which there is no room;
    /// [`Connection::send_message`](super::Connection::send_message) itself gives them back. Default: their
    /// sender waits.
    pub overflow: Overflow,
    /// Whether, and when, the peer is asked for a sign of life. Default: every 30 s, for 10 s.
    pub heartbeat: Option<HeartbeatConfig>,
    /// From our close frame, once it is written, to the peer's. Default 5 s.
    pub close_handshake: Duration,
    /// After the last close frame, the peer's end of the connection is awaited for at most this
    /// time. Default 1 s.
    pub linger: Duration,
    /// ... over at most this many bytes. Default 256 KiB.
    pub linger_bytes: u64,
    /// Queued bytes of which the peer takes none; noticed within twice that time. Default 30 s.
    pub write_stall: Duration,
    /// Whether decisions are kept for `poll_observed`.
    pub observe: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            frame: 256 * 1024,
            overflow: Overflow::default(),
            heartbeat: Some(HeartbeatConfig::default()),
            close_handshake: Duration::from_secs(5),
            linger: Duration::from_secs(1),
            linger_bytes: 256 * 1024,
            write_stall: Duration::from_secs(30),
            observe: false,
        }
    }
}

impl Config {
    /// Bytes of the inbox, at least: a control frame.
    pub const INBOX_MIN: usize = 256;

    /// Refuses a configuration that contradicts itself.
    ///
    /// # Errors
    ///
    /// `Usage`: a limit or a time that is zero, a frame limit above the message limit, an inbox
    /// below [`INBOX_MIN`](Self::INBOX_MIN), a message limit that has no successor.
    pub fn check(&self) -> Result<(), Error> {
        let Limits { frame, message, fragments, queued, pings, inbox } = self.limits;
        let beats =
            self.heartbeat.is_none_or(|beat| !beat.interval.is_zero() && !beat.timeout.is_zero());
        let sane = (1..=message).contains(&frame)
            && message < usize::MAX
            && fragments > 0
            && queued > 0
            && pings > 0
            && inbox >= Self::INBOX_MIN
            && self.frame > 0
            && beats;
        if sane { Ok(()) } else { Err(Error::usage(Misuse::Config, Phase::WebSocket)) }
    }
}
