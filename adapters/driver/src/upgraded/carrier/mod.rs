//! An upgraded connection with its socket.

mod holder;
mod turn;

use std::io;

use bytes::Bytes;
use sinew_core::error::{Delivery, Phase};
use sinew_core::http1::Tunnel;
use sinew_core::machine::{Layered as _, Seen};
use sinew_core::time::Instant;
use sinew_core::websocket::{CloseCode, Closed, Connection, Message, SendQueue};

use super::carry::Stir;
use super::compressors;
use super::spoken::Spoken;
use crate::drive::{Alarm, Pipe};
use crate::error::{Error, ErrorKind};
use crate::runtime::Runtime;
use crate::websocket::Seat;
use crate::wire::AnyWire;

/// An upgraded connection with its socket.
pub(crate) struct Carrier<R: Runtime, G> {
    wire: AnyWire<Spoken>,
    /// `None` once it is over: the socket is closed then, whoever still has a handle.
    pipe: Option<Pipe<R::Io>>,
    runtime: R,
    alarm: Alarm<R>,
    seen: Seen,
    /// A reader waits, or what comes is thrown away: unasked, bytes stay where they are.
    wanted: bool,
    /// What waits for its reader.
    bytes: Option<Bytes>,
    message: Option<Message>,
    /// The peer sends nothing more.
    ended: bool,
    /// Messages for which there is no room.
    queue: SendQueue,
    /// A place among the sockets, as long as the connection lives.
    seat: Option<Seat>,
    /// How WebSocket ended, once it has.
    closed: Option<Closed>,
    /// Nobody wants what comes: it is thrown away.
    discards: bool,
    /// The server leaves.
    leaving: bool,
    /// The application closed first.
    left: bool,
    over: bool,
    cause: Option<Cause>,
    stir: Stir,
    /// A place that is taken for as long as the connection lives.
    _place: G,
}

/// Why the connection can go no further.
enum Cause {
    Wire(sinew_tls::Error),
    Io(io::ErrorKind),
    Stopped,
}

impl<R: Runtime, G> Carrier<R, G> {
    /// `None` where the wire cannot be carried any further.
    pub(crate) fn new(
        wire: AnyWire<Tunnel>,
        pipe: Pipe<R::Io>,
        runtime: R,
        place: G,
    ) -> Option<Self> {
        Some(Self {
            wire: wire.try_map(speaking)?,
            pipe: Some(pipe),
            runtime,
            alarm: Alarm::new(),
            seen: Seen::default(),
            wanted: false,
            bytes: None,
            message: None,
            ended: false,
            queue: SendQueue::default(),
            seat: None,
            closed: None,
            discards: false,
            leaving: false,
            left: false,
            over: false,
            cause: None,
            stir: Stir::Nobody,
            _place: place,
        })
    }

    /// Something happened that others may wait for.
    fn stir(&mut self) {
        self.stir = self.stir.max(Stir::Others);
    }

    /// A message that the reader has, or is to get, is answered before the next one is looked at.
    fn hold_messages(&mut self, hold: bool) {
        if let Some(connection) = self.wire.top().connection() {
            connection.hold_messages(hold);
        }
    }

    /// Throws away what comes, and what waits for a reader.
    fn discard(&mut self) {
        self.discards = true;
        self.bytes = None;
        self.message = None;
        self.hold_messages(false);
    }

    fn lost(&mut self, error: &io::Error) {
        self.cause.get_or_insert_with(|| Cause::Io(error.kind()));
        self.end();
    }

    fn end(&mut self) {
        self.over = true;
        self.stir();
        self.pipe = None;
        self.seat = None;
    }

    /// Begins to close, behind what is queued and what waits; whether nobody had.
    fn close_with(&mut self, code: CloseCode, reason: &str) -> Result<bool, Error> {
        let was_open = self.with(|connection, queue, now| {
            let was_open = connection.is_open();
            queue.close(connection, now, code, reason)?;
            Ok(was_open)
        })?;
        // Said again, it wakes nobody: whoever waits for the end says it in each poll.
        if was_open {
            self.stir();
        }
        Ok(was_open)
    }

    /// Does something with the machine, where WebSocket is spoken.
    fn with<T>(
        &mut self,
        act: impl FnOnce(&mut Connection, &mut SendQueue, Instant) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if let Some(error) = self.failed() {
            return Err(error);
        }
        let now = self.runtime.now();
        let connection = self.wire.top().connection().ok_or_else(gone)?;
        compressors::lend(connection);
        let done = act(connection, &mut self.queue, now);
        compressors::take_back(connection);
        done
    }

    fn failed(&self) -> Option<Error> {
        let kind = match self.cause.as_ref()? {
            Cause::Wire(error) => return Some(error.clone().into()),
            Cause::Io(kind) => ErrorKind::Io(*kind),
            Cause::Stopped => ErrorKind::Stopped,
        };
        Some(Error::new(kind, Phase::Tunnel, Delivery::MaybeProcessed))
    }
}

/// Nobody knows yet what is spoken.
#[expect(
    clippy::result_large_err,
    clippy::unnecessary_wraps,
    reason = "it never fails where others may"
)]
fn speaking(tunnel: Tunnel) -> Result<Spoken, Tunnel> {
    Ok(Spoken::Bytes(Box::new(tunnel)))
}

/// It has been closed.
fn gone() -> Error {
    Error::new(ErrorKind::Gone, Phase::WebSocket, Delivery::NotSent)
}
