//! A socket that is opened again when it is lost.

use std::fmt;
use std::time::Duration;

use sinew_core::client::reconnect::{Loss, Reconnect, ReconnectPolicy, ReconnectVerdict};
use sinew_core::websocket::{CloseCode, Closed, Message, Side};

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

    /// What happens next; `None` once the socket was closed for good: [`closed`](Self::closed) says how.
    /// Dropping the future loses no message; an attempt to open is made again.
    ///
    /// # Errors
    ///
    /// Why the socket cannot be had, or not any more: the server or a policy refuses it, or it was tried
    /// too often. Nothing follows.
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
                Stage::Open(socket) => match socket.recv().await {
                    Ok(Some(message)) => return Ok(Some(SocketEvent::Message(message))),
                    Ok(None) => {
                        self.closed = socket.closed();
                        let code = self.closed.as_ref().map_or(CloseCode::ABNORMAL, |how| how.code);
                        return self.lost(Loss::Closed(code.as_u16()), None);
                    }
                    Err(error) => return self.lost(loss(&error), Some(error)),
                },
            }
        }
    }

    fn lost(&mut self, loss: Loss, error: Option<Error>) -> Result<Option<SocketEvent>, Error> {
        let now = self.runtime.now();
        let by_us = self
            .closed
            .as_ref()
            .is_some_and(|closed| closed.by == Side::Local && matches!(loss, Loss::Closed(_)));
        match self.reconnect.lost(now, loss) {
            ReconnectVerdict::After(again) if !by_us => {
                self.stage = Stage::Waiting(self.runtime.sleep_until(now + again));
                Ok(Some(SocketEvent::Lost { again }))
            }
            _ => {
                self.stage = Stage::Over;
                error.map_or(Ok(None), Err)
            }
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
