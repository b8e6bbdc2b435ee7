//! What an upgraded connection does for whoever holds it.

use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use sinew_core::observe;
use sinew_core::websocket::{CloseCode, Closed, Connection, Message};
use sinew_tls::ServerTls;

use super::spoken::Speech;
use crate::error::Error;
use crate::websocket::Seat;

/// A connection that somebody drives, whatever the runtime.
pub(crate) trait Carry: Send {
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Error>>;

    /// Takes the bytes as soon as there is room; ready when they are out.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &mut Option<Bytes>,
    ) -> Poll<Result<(), Error>>;

    fn poll_shut(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>>;

    /// Ready when the connection is over, for whatever reason.
    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Ends in order, as far as somebody goes on driving.
    fn close(&mut self, cx: &mut Context<'_>);

    /// Ends here and now.
    fn stop(&mut self);

    /// Who is to look at the connection again, after what was done since the last time this was asked.
    fn take_stir(&mut self) -> Stir;

    fn poll_observed(&mut self) -> Option<observe::Event>;

    /// Whether a server that goes by this would let the peer in.
    fn is_accepted_by(&self, tls: &ServerTls) -> bool;

    /// From now on WebSocket is spoken.
    fn speak(&mut self, setup: Setup);

    /// The next message; `None` once both sides have closed.
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Message>, Error>>;

    /// Throws messages away until the connection is over; how it ended.
    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<Result<Closed, Error>>;

    /// Queues a message, if it is taken now.
    fn send(&mut self, message: Message) -> Result<(), Unsent>;

    /// Ready when a message would be taken, or none ever again.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>>;

    /// Ready when everything that was queued is out.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>>;

    /// Begins to close, behind what is queued.
    fn begin_close(&mut self, code: CloseCode, reason: &str) -> Result<(), Error>;

    /// The server leaves: begins to close. What carries bytes is left to whoever has it.
    fn leave(&mut self);

    /// The machine, where WebSocket is spoken.
    fn websocket(&self) -> Option<&Connection>;

    /// Messages that were dropped.
    fn dropped(&self) -> u64;

    /// How it ended, once it has.
    fn closed(&self) -> Option<&Closed>;

    /// Whether the application closed it, or began to, before the peer did.
    fn was_left(&self) -> bool;
}

/// Who is to look at a connection again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) enum Stir {
    /// Nobody before the socket or the timer says so.
    #[default]
    Nobody,
    /// Something happened that others than the last caller may wait for.
    Others,
    /// The last caller has had its turn, and there is more to do.
    All,
}

/// How a connection goes on in WebSocket.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) speech: Speech,
    /// When the token of the peer expires, since 1970-01-01T00:00:00Z.
    pub(crate) expires: Option<Duration>,
    pub(crate) seat: Option<Seat>,
}

/// Why a message was not taken.
#[derive(Debug)]
pub(crate) enum Unsent {
    /// There is no room: here it is.
    Full(Message),
    /// Nothing is sent any more.
    Error(Error),
}
