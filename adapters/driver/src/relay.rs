//! TLS around a socket, below whatever is spoken over it: that to a proxy, through which TLS to a service
//! goes.

use std::fmt;
use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use sinew_core::Machine as _;
use sinew_core::http1::{Tunnel, TunnelEvent};
use sinew_core::machine::{Status, Wire as _};
use sinew_core::time::Instant;
use sinew_tls::Tls;

use crate::drive::lend_write_block;
use crate::io::Io;

/// A session whose handshake is over. Its timers do not run: what goes through it has its own.
pub(crate) struct Relay {
    wire: Tls<Tunnel>,
    /// When it began, which is what time it is in here.
    now: Instant,
    ended: bool,
}

impl Relay {
    /// `None` where the other side has spoken already.
    pub(crate) fn new(mut wire: Tls<Tunnel>, now: Instant) -> Option<Self> {
        match wire.poll_event(now) {
            Ok(None) => Some(Self { wire, now, ended: false }),
            Ok(Some(_)) | Err(_) => None,
        }
    }

    /// [`Io::poll_fill`], through it.
    pub(crate) fn poll_fill<I: Io>(
        &mut self,
        io: &mut I,
        cx: &mut Context<'_>,
        into: &mut BytesMut,
        hint: usize,
    ) -> Poll<io::Result<usize>> {
        loop {
            match self.wire.poll_event(self.now) {
                Ok(Some(TunnelEvent::Data(data))) => {
                    into.extend_from_slice(&data);
                    return Poll::Ready(Ok(data.len()));
                }
                Ok(Some(TunnelEvent::End)) => return Poll::Ready(Ok(0)),
                Ok(None) if self.ended => return Poll::Ready(Ok(0)),
                Ok(None) => {}
                Err(error) => {
                    // An alert may be queued: one try, nobody waits for it.
                    let _ = self.poll_out(io, cx);
                    return Poll::Ready(Err(io::Error::other(error)));
                }
            }
            // TLS answers by itself at times.
            if let Poll::Ready(Err(error)) = self.poll_out(io, cx) {
                return Poll::Ready(Err(error));
            }
            if ready!(io.poll_fill(cx, self.wire.inbox(), hint))? == 0 {
                self.wire.handle_eof(self.now);
                self.ended = true;
            }
        }
    }

    /// [`Io::poll_drain`], through it.
    pub(crate) fn poll_drain<I: Io>(
        &mut self,
        io: &mut I,
        cx: &mut Context<'_>,
        from: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        while !self.wire.inner().can_send() {
            if self.wire.status() != Status::Open {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            ready!(self.poll_out(io, cx))?;
        }
        let mut taken = 0;
        for slice in from {
            if !self.wire.inner().can_send() {
                break;
            }
            lend_write_block(self.wire.inner_mut().outbox());
            let sent = self.wire.inner_mut().send(self.now, Bytes::copy_from_slice(slice));
            sent.map_err(|_| io::ErrorKind::BrokenPipe)?;
            taken += slice.len();
        }
        // What is left goes with the next write, or with a flush.
        match self.poll_out(io, cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(taken)),
        }
    }

    /// [`Io::poll_flush`], through it.
    pub(crate) fn poll_flush<I: Io>(
        &mut self,
        io: &mut I,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_out(io, cx))?;
        io.poll_flush(cx)
    }

    /// [`Io::poll_shut`], through it.
    pub(crate) fn poll_shut<I: Io>(
        &mut self,
        io: &mut I,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.wire.inner_mut().shut(self.now);
        // The end of the session is said before that of the stream.
        let _ = self.wire.poll_event(self.now);
        ready!(self.poll_out(io, cx))?;
        io.poll_shut(cx)
    }

    /// Writes what is queued.
    fn poll_out<I: Io>(&mut self, io: &mut I, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let outbox = self.wire.outbox();
            if outbox.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let written = ready!(io.poll_drain(cx, &[IoSlice::new(outbox.chunk())]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            outbox.advance(written.min(outbox.remaining()));
        }
    }
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay").finish_non_exhaustive()
    }
}
