//! A socket that is opened again when it is lost.

use std::fmt;
use std::time::Duration;

use sinew_core::client::reconnect::{Loss, Reconnect, ReconnectPolicy, ReconnectVerdict, WhyNever};
use sinew_core::error::{Delivery, Phase};
use sinew_core::websocket::{Closed, Message, Side};

use super::websocket::SocketCall;
use crate::error::{Error, ErrorKind};
use crate::runtime::Runtime;
use crate::websocket::{SocketSender, WebSocket};

/// A socket that is opened again when it is lost, as a [`ReconnectPolicy`] says: never where the server
/// refuses it, and not without end.
///
/// What was on its way when a socket was lost is gone, and the server knows nothing of the earlier
/// one: whoever [opened](SocketEvent::Opened) it asks for what was missed.
///
/// ```
/// use sinew_driver::websocket::{ReconnectPolicy, SocketEvent};
/// use sinew_driver::{Error, RestClient, Runtime};
///
/// async fn follow<R: Runtime>(client: RestClient<R>) -> Result<(), Error> {
///     let mut socket = client.websocket("/prices").lasting(ReconnectPolicy::default())?;
///     let mut last = 0;
///     while let Some(event) = socket.next().await? {
///         match event {
///             SocketEvent::Opened(sender) => sender.send_json(&last).await?,
///             SocketEvent::Message(message) => last += message.len(),
///             SocketEvent::Lost { again } => println!("again in {again:?}"),
///         }
///     }
///     Ok(())
/// }
/// ```
pub struct LastingSocket<R: Runtime> {
    call: SocketCall<R>,
    runtime: R,
    reconnect: Reconnect,
    stage: Stage<R>,
    closed: Option<Closed>,
}

enum Stage<R: Runtime> {
    Opening,
    Open(WebSocket),
    Waiting(R::Sleep),
    Over,
}

/// What happens to a [`LastingSocket`].
#[derive(Debug)]
pub enum SocketEvent {
    /// It is open, for the first time or again.
    Opened(SocketSender),
    /// A message.
    Message(Message),
    /// It was lost, or could not be opened.
    Lost {
        /// The time to the next attempt.
        again: Duration,
    },
}

impl<R: Runtime> LastingSocket<R> {
    pub(super) fn new(
        call: SocketCall<R>,
        policy: ReconnectPolicy,
        runtime: R,
    ) -> Result<Self, Error> {
        let seed = getrandom::u64()
            .map_err(|why| Error::config(format!("the system gives no seed: {why}")))?;
        let reconnect = Reconnect::new(policy, seed, runtime.now())
            .map_err(|why| Error::config(why.to_string()).with_source(why))?;
        Ok(Self { call, runtime, reconnect, stage: Stage::Opening, closed: None })
    }

    /// What happens next; `None` once the socket has served its purpose: the server closed it with 1000,
    /// or a [sender](SocketEvent::Opened) did, with whatever code. Dropping the future loses no message;
    /// an attempt to open is made again.
    ///
    /// # Errors
    ///
    /// Why the socket cannot be had; [`ErrorKind::Lost`], where it was closed for a reason that would be
    /// one again, or was tried too often; what it broke with after a sender had closed it. Nothing
    /// follows.
    pub async fn next(&mut self) -> Result<Option<SocketEvent>, Error> {
        loop {
            match &mut self.stage {
                Stage::Over => return Ok(None),
                Stage::Waiting(sleep) => {
                    sleep.await;
                    self.stage = Stage::Opening;
                }
                Stage::Opening => match self.call.open().await {
                    Ok(socket) => {
                        self.reconnect.opened();
                        let sender = socket.sender();
                        self.stage = Stage::Open(socket);
                        return Ok(Some(SocketEvent::Opened(sender)));
                    }
                    Err(error) => return self.lost(loss(&error), Some(error)),
                },
                Stage::Open(socket) => {
                    let (closed, error) = match socket.recv().await {
                        Ok(Some(message)) => return Ok(Some(SocketEvent::Message(message))),
                        Ok(None) => (socket.closed(), None),
                        Err(error) => (None, Some(error)),
                    };
                    let left = socket.was_left();
                    self.closed = closed;
                    if left {
                        self.stage = Stage::Over;
                        return error.map_or(Ok(None), Err);
                    }
                    let loss = error.as_ref().map_or_else(|| self.how(), loss);
                    return self.lost(loss, error);
                }
            }
        }
    }

    fn lost(&mut self, loss: Loss, error: Option<Error>) -> Result<Option<SocketEvent>, Error> {
        let now = self.runtime.now();
        let why = match self.reconnect.lost(now, loss) {
            ReconnectVerdict::After(again) => {
                self.stage = Stage::Waiting(self.runtime.sleep_until(now + again));
                return Ok(Some(SocketEvent::Lost { again }));
            }
            ReconnectVerdict::Never(why) => why,
        };
        self.stage = Stage::Over;
        let never = Error::new(ErrorKind::Lost(why), Phase::WebSocket, Delivery::MaybeProcessed);
        match (why, error) {
            (WhyNever::Done, None) => Ok(None),
            (WhyNever::Exhausted, Some(error)) => Err(never.with_source(error)),
            (_, Some(error)) => Err(error),
            (_, None) => Err(never),
        }
    }

    /// What a close without an error says.
    fn how(&self) -> Loss {
        match &self.closed {
            // Nobody asked for it: the server was too slow for what was sent.
            Some(Closed { by: Side::Local, .. }) | None => Loss::Broken,
            Some(Closed { code, .. }) => Loss::Closed(code.as_u16()),
        }
    }

    /// How the last socket ended, where it was closed.
    pub fn closed(&self) -> Option<&Closed> {
        self.closed.as_ref()
    }
}

/// What an error says about the next attempt.
fn loss(error: &Error) -> Loss {
    match error.kind() {
        ErrorKind::Status(status) => Loss::Answered(*status),
        ErrorKind::Config(_)
        | ErrorKind::Handshake(_)
        | ErrorKind::Forbidden(_)
        | ErrorKind::Redirect(_)
        | ErrorKind::Stopped => Loss::Impossible,
        // The peer breaks the protocol, and would again.
        ErrorKind::Protocol(sinew_core::Error {
            kind: sinew_core::error::Kind::Peer(_) | sinew_core::error::Kind::Limit(_),
            ..
        }) => Loss::Impossible,
        _ => Loss::Broken,
    }
}

impl<R: Runtime> fmt::Debug for LastingSocket<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LastingSocket")
            .field("call", &self.call)
            .field("reconnect", &self.reconnect)
            .finish_non_exhaustive()
    }
}
