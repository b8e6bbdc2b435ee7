//! A connection that speaks what its machine speaks: for clients of other protocols.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::task::{Context, Poll};
use std::time::Duration;

use sinew_core::error::{Delivery, Phase};
use sinew_core::machine::{Layered, Machine as _, Seen, Step, Wire as _};
use sinew_tls::ClientTls;

use super::base::Site;
use super::dial::{addresses, reach, within};
use crate::drive::{self, Alarm, Pipe};
use crate::error::{Error, ErrorKind};
use crate::runtime::Runtime;
use crate::wire::AnyWire;

/// Steps of one poll; then the other tasks of the worker get their turn.
const LAPS: usize = 64;

/// A connection to a server of any protocol: a machine of yours on a socket, under TLS or not, driven by
/// whoever polls it. Dropped, it is closed.
pub struct Connection<R: Runtime, W> {
    wire: AnyWire<W>,
    pipe: Pipe<R::Io>,
    runtime: R,
    alarm: Alarm<R>,
    seen: Seen,
}

/// Where a [`Connection`] goes.
#[derive(Clone, Debug)]
pub struct ConnectTo {
    site: Site,
    tls: Option<(ClientTls, String)>,
}

impl ConnectTo {
    /// A port of a host, which is a name or an IP address without brackets. In plaintext.
    pub fn tcp(host: impl Into<String>, port: u16) -> Self {
        Self { site: Site::Tcp { host: host.into(), port }, tls: None }
    }

    /// A socket of this machine.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self { site: Site::Unix(path.into()), tls: None }
    }

    /// Speaks TLS, to a server whose certificate names `server_name`.
    #[must_use]
    pub fn tls(mut self, tls: ClientTls, server_name: impl Into<String>) -> Self {
        self.tls = Some((tls, server_name.into()));
        self
    }
}

impl<R: Runtime, W: Layered<Error = sinew_core::Error>> Connection<R, W> {
    /// Opens a connection within so long. All addresses of a name are tried. The handshake of TLS, and what
    /// the machine has to say, begin when it is polled.
    ///
    /// # Errors
    ///
    /// A server that cannot be reached in time, or a name that TLS cannot look for.
    pub async fn open(
        runtime: R,
        to: &ConnectTo,
        machine: W,
        limit: Duration,
    ) -> Result<Self, Error> {
        let by = runtime.now() + limit;
        let found = addresses(&runtime, &to.site, || (Phase::Resolve, by)).await?;
        let reached = reach(&runtime, &to.site, found);
        let io = within(&runtime, (Phase::Connect, by), reached).await??;
        let wire = match &to.tls {
            Some((tls, name)) => AnyWire::start_tls(tls, name, machine, runtime.now())?,
            None => AnyWire::Plain(Box::new(machine)),
        };
        let (pipe, alarm) = (Pipe::new(io), Alarm::new());
        Ok(Self { wire, pipe, runtime, alarm, seen: Seen::default() })
    }

    /// The machine, to be told what to send.
    pub fn machine(&mut self) -> &mut W::Top {
        self.wire.top()
    }

    /// Drives the connection until the machine has something to tell.
    ///
    /// # Errors
    ///
    /// The machine, TLS or the socket failed, or the connection is over.
    pub fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<W::Event, Error>> {
        let mut now = self.runtime.now();
        self.seen = Seen { write_shut: self.seen.write_shut, ..Seen::default() };
        if self.alarm.has_fired(now) {
            self.wire.handle_timeout(now);
        }
        if let Poll::Ready(Err(error)) = self.pipe.flush(cx) {
            return Poll::Ready(Err(lost(error.kind())));
        }
        // Until the next poll, so that reading goes on: the peer may wait for that.
        let mut shut_blocked = false;
        for _ in 0..LAPS {
            let write_shut = self.seen.write_shut || shut_blocked;
            match self.wire.step(Seen { write_shut, ..self.seen }) {
                Step::Poll => match self.wire.poll_event(now) {
                    Ok(Some(found)) => return Poll::Ready(Ok(found)),
                    Ok(None) => self.seen.drained = true,
                    Err(error) => {
                        // An alert of TLS may be queued: one try, nobody waits for it.
                        if !self.wire.outbox().is_empty() {
                            let _ = self.pipe.drain(cx, self.wire.outbox());
                        }
                        return Poll::Ready(Err(error.into()));
                    }
                },
                Step::Write => match self.pipe.drain(cx, self.wire.outbox()) {
                    Poll::Ready(Ok(())) => self.seen.drained = false,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(lost(error.kind()))),
                    Poll::Pending => self.seen.write_blocked = true,
                },
                Step::Read => match self.pipe.fill(cx, &mut self.wire) {
                    Poll::Ready(Ok(read)) => {
                        if read == 0 {
                            self.wire.handle_eof(now);
                        }
                        self.seen.drained = false;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(lost(error.kind()))),
                    Poll::Pending => self.seen.read_blocked = true,
                },
                Step::Wait(deadline) => {
                    let at = deadline.map(|deadline| deadline.at);
                    if self.alarm.arm(cx, &self.runtime, now, at).is_pending() {
                        drive::rest(&mut self.wire);
                        return Poll::Pending;
                    }
                    now = self.runtime.now();
                    self.wire.handle_timeout(now);
                    self.seen.drained = false;
                }
                Step::HalfClose => match self.pipe.shut(cx) {
                    Poll::Ready(Ok(())) => self.seen.write_shut = true,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(lost(error.kind()))),
                    Poll::Pending => shut_blocked = true,
                },
                Step::Close(_) => {
                    return Poll::Ready(Err(lost(io::ErrorKind::UnexpectedEof)));
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

fn lost(kind: io::ErrorKind) -> Error {
    Error::new(ErrorKind::Io(kind), Phase::Tunnel, Delivery::MaybeProcessed)
}

impl<R: Runtime, W> fmt::Debug for Connection<R, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("seen", &self.seen).finish_non_exhaustive()
    }
}
