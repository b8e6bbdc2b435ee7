//! Connected sockets.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, BytesMut};
use sinew_driver::Io;
use tokio::io::{AsyncWrite, Interest};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::task::coop;

/// A connected stream, registered with the runtime that opened it.
#[derive(Debug)]
pub struct TokioStream(Socket);

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

macro_rules! each {
    ($socket:expr, $stream:ident => $act:expr) => {
        match $socket {
            Socket::Tcp($stream) => $act,
            #[cfg(unix)]
            Socket::Unix($stream) => $act,
        }
    };
}

/// One system call, unless the reactor knows that it would block. `$act` says how many bytes it moved,
/// and whether that was all that the kernel has, or has room for: the reactor is told so, and the next
/// attempt asks it, not the kernel.
macro_rules! attempt {
    ($socket:expr, $cx:ident, $interest:expr, $poll_ready:ident, $stream:ident => $act:expr) => {{
        let coop = ready!(coop::poll_proceed($cx));
        let done = each!($socket, $stream => loop {
            let mut moved = None;
            let tried = $stream.try_io($interest, || {
                let (bytes, spent): (usize, bool) = $act;
                moved = Some(bytes);
                if spent { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(bytes) }
            });
            match (moved, tried) {
                (Some(bytes), _) => break Ok(bytes),
                (None, Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!($stream.$poll_ready($cx))?;
                }
                (None, tried) => break tried,
            }
        });
        coop.made_progress();
        Poll::Ready(done)
    }};
}

impl From<TcpStream> for TokioStream {
    fn from(stream: TcpStream) -> Self {
        // A socket whose peer is gone already may refuse the option; its first read says why.
        let _ = stream.set_nodelay(true);
        Self(Socket::Tcp(stream))
    }
}

#[cfg(unix)]
impl From<UnixStream> for TokioStream {
    fn from(stream: UnixStream) -> Self {
        Self(Socket::Unix(stream))
    }
}

impl Io for TokioStream {
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut BytesMut,
        hint: usize,
    ) -> Poll<io::Result<usize>> {
        // Half of what was hinted at is room enough: a block is not left for a few bytes.
        let hint = hint.max(1);
        if into.capacity() - into.len() < hint.div_ceil(2) {
            into.reserve(hint);
        }
        let room = hint.min(into.capacity() - into.len());
        let mut into = into.limit(room);
        attempt!(&self.0, cx, Interest::READABLE, poll_read_ready, stream => {
            let read = stream.try_read_buf(&mut into)?;
            // A short read took all there was; one of nothing is the end, which stays.
            (read, read > 0 && read < room)
        })
    }

    fn poll_fillable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // What goes wrong is said by the read.
        each!(&mut self.0, stream => stream.poll_read_ready(cx).map(drop))
    }

    fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        from: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        attempt!(&self.0, cx, Interest::WRITABLE, poll_write_ready, stream => match from {
            [one] => {
                let written = stream.try_write(one)?;
                (written, written < one.len())
            }
            many => {
                let written = stream.try_write_vectored(many)?;
                (written, written < many.iter().map(|one| one.len()).sum())
            }
        })
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The kernel holds nothing back with `TCP_NODELAY`.
        Poll::Ready(Ok(()))
    }

    fn poll_shut(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(&mut self.0, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
