//! Connected sockets.

use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::{BufMut, BytesMut};
use sinew_driver::Io;
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

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
        // `read_buf` keeps no state between polls, so a new one each time is sound. It reads into
        // spare capacity as it is, and after a short read it knows that the socket is empty: the
        // next poll asks the reactor, not the kernel.
        let mut room = into.limit(hint);
        each!(&mut self.0, stream => pin!(stream.read_buf(&mut room)).poll(cx))
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
        each!(&mut self.0, stream => match from {
            [one] => Pin::new(stream).poll_write(cx, one),
            many => Pin::new(stream).poll_write_vectored(cx, many),
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
