//! What becomes of messages for which there is no room.

use std::collections::VecDeque;

use super::CloseCode;
use super::connection::{Connection, Rejected};
use super::message::Message;
use crate::error::{Error, Misuse, Phase};
use crate::time::Instant;

/// What a [`SendQueue`] does with a message when the peer takes less than is sent: the queue of the
/// connection ([`Limits::queued`](super::Limits::queued)) is full then.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Overflow {
    /// It comes back, and its sender waits.
    #[default]
    Wait,
    /// It waits in a queue of its own, of which the oldest messages are dropped: for a state of which
    /// the latest counts.
    DropOldest,
    /// The connection is closed, with 1013: for those who can come back and ask for what they missed.
    Close,
}

/// What one message in a [`SendQueue`] is counted as beside its bytes: so empty ones have a bound, too.
const OVERHEAD: usize = 64;

/// The messages in front of a connection that is full: what becomes of them, its configuration says
/// ([`Config::overflow`](super::Config::overflow)).
///
/// Where the oldest are [dropped](Overflow::DropOldest), messages of up to as many bytes wait as the
/// queue of the connection may hold, each counted with 64 more; or one that is larger.
#[derive(Debug, Default)]
pub struct SendQueue {
    waiting: VecDeque<Message>,
    /// Of those that wait, with their overhead.
    bytes: usize,
    dropped: u64,
}

impl SendQueue {
    /// Sends a message, or does with it what is to be done where there is no room.
    ///
    /// # Errors
    ///
    /// Those of [`Connection::send_message`]; `Usage` where the connection was closed for it.
    pub fn send(
        &mut self,
        connection: &mut Connection,
        now: Instant,
        message: Message,
    ) -> Result<(), Rejected> {
        self.pump(connection, now);
        if self.waiting.is_empty() {
            match connection.send_message(now, message) {
                Err(Rejected::Full(message)) => self.overflow(connection, now, message),
                done => done,
            }
        } else {
            self.overflow(connection, now, message)
        }
    }

    /// Passes on what there is room for: after the outbox was drained.
    pub fn pump(&mut self, connection: &mut Connection, now: Instant) {
        while connection.can_send()
            && let Some(message) = self.pop()
        {
            // There is room; a connection that failed needs no messages.
            let _ = connection.send_message(now, message);
        }
        if !connection.is_open() {
            while self.pop().is_some() {
                self.dropped += 1;
            }
        }
    }

    /// Closes the connection, behind what waits: that goes along, whether or not there is room.
    ///
    /// # Errors
    ///
    /// Those of [`Connection::close`].
    pub fn close(
        &mut self,
        connection: &mut Connection,
        now: Instant,
        code: CloseCode,
        reason: &str,
    ) -> Result<(), Error> {
        let waiting = core::iter::from_fn(|| self.pop());
        connection.close_behind(now, code, reason, waiting)
    }

    /// Whether a message would be taken without waiting.
    pub fn has_room(&self, connection: &Connection) -> bool {
        connection.config().overflow != Overflow::Wait || connection.can_send()
    }

    /// Bytes that wait, with 64 for each message.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Messages that were dropped: for newer ones, and where nothing is sent any more.
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    fn overflow(
        &mut self,
        connection: &mut Connection,
        now: Instant,
        message: Message,
    ) -> Result<(), Rejected> {
        let config = connection.config();
        match config.overflow {
            Overflow::Wait => Err(Rejected::Full(message)),
            Overflow::DropOldest => {
                self.bytes += cost(&message);
                self.waiting.push_back(message);
                while self.bytes > config.limits.queued && self.waiting.len() > 1 {
                    self.pop();
                    self.dropped += 1;
                }
                Ok(())
            }
            Overflow::Close => {
                connection.close(now, CloseCode::TRY_AGAIN_LATER, "too slow")?;
                Err(Error::usage(Misuse::OutOfTurn, Phase::WebSocket).into())
            }
        }
    }

    fn pop(&mut self) -> Option<Message> {
        let message = self.waiting.pop_front()?;
        self.bytes -= cost(&message);
        Some(message)
    }
}

fn cost(message: &Message) -> usize {
    message.len() + OVERHEAD
}
