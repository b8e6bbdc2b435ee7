//! What has come for a call while others drove its connection.

use std::collections::VecDeque;
use std::time::Duration;

use sinew_core::http1::ClientEvent;

use crate::client::seats::Ticket;
use crate::error::Error;

/// Bytes of an answer that are kept for a call that does not read them, so that the answers behind
/// it can come. The piece that exceeds it is kept too.
const MAIL: usize = 64 * 1024;

/// Bytes of an answer that nobody wants any more, read for the sake of those behind it. Beyond that
/// the connection is closed, and they are asked again.
const DISCARD: u64 = 64 * 1024;

/// What has come for a call.
pub(super) struct Mail {
    ticket: Ticket,
    exchange: Exchange,
    letters: VecDeque<Result<ClientEvent, Error>>,
    bytes: usize,
    /// Nothing more will come.
    pub(super) complete: bool,
    pub(super) between_bytes: Option<Duration>,
    reader: Reader,
}

/// What the dispatcher knows of the exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Exchange {
    /// It waits for a verdict on the answer's head.
    Sent,
    /// The caller has the head.
    Judged,
    /// It is over.
    Over,
}

enum Reader {
    Here,
    /// It left; so many bytes were thrown away since.
    Gone(u64),
}

impl Mail {
    pub(super) fn new(ticket: Ticket, between_bytes: Option<Duration>) -> Self {
        Self {
            ticket,
            exchange: Exchange::Sent,
            letters: VecDeque::new(),
            bytes: 0,
            complete: false,
            between_bytes,
            reader: Reader::Here,
        }
    }

    /// Whether the dispatcher takes the exchange for over.
    pub(super) fn is_over(&self) -> bool {
        self.exchange == Exchange::Over
    }

    /// The head was given to the caller. The exchange, if it is over with that.
    pub(super) fn judge(&mut self) -> Option<Ticket> {
        if self.exchange == Exchange::Sent {
            self.exchange = Exchange::Judged;
        }
        if self.complete { self.end() } else { None }
    }

    /// All of the answer is here. The exchange, if it is over with that: the dispatcher has to judge the
    /// head before.
    pub(super) fn end(&mut self) -> Option<Ticket> {
        if self.exchange != Exchange::Judged {
            return None;
        }
        self.exchange = Exchange::Over;
        Some(self.ticket)
    }

    /// Nobody waits for it any more. Whether it was not over before.
    pub(super) fn close(&mut self) -> bool {
        std::mem::replace(&mut self.exchange, Exchange::Over) != Exchange::Over
    }

    pub(super) fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    /// Whether the call has to read before more can come.
    pub(super) fn is_full(&self) -> bool {
        self.bytes > MAIL
    }

    /// Whether the call is still there.
    pub(super) fn is_read(&self) -> bool {
        matches!(self.reader, Reader::Here)
    }

    /// The call leaves; what has come for it is for the caller to drop.
    pub(super) fn leave(&mut self) -> VecDeque<Result<ClientEvent, Error>> {
        self.bytes = 0;
        self.reader = Reader::Gone(0);
        std::mem::take(&mut self.letters)
    }

    /// The connection failed; this is the last that comes.
    pub(super) fn fail(&mut self, error: Error) {
        self.complete = true;
        if self.is_read() {
            self.letters.push_back(Err(error));
        }
    }

    /// Keeps an event, or throws it away where nobody reads it; whether that was too much.
    pub(super) fn post(&mut self, event: ClientEvent) -> bool {
        let bytes = match &event {
            ClientEvent::Data(data) => data.len(),
            _ => 0,
        };
        match &mut self.reader {
            Reader::Here => {
                self.bytes += bytes;
                self.letters.push_back(Ok(event));
                false
            }
            Reader::Gone(discarded) => {
                *discarded += bytes as u64;
                *discarded > DISCARD
            }
        }
    }

    pub(super) fn take(&mut self) -> Option<Result<ClientEvent, Error>> {
        let letter = self.letters.pop_front()?;
        if let Ok(ClientEvent::Data(data)) = &letter {
            self.bytes -= data.len();
        }
        Some(letter)
    }
}
