//! Connected sockets.

use std::cell::RefCell;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::task::{Context, Poll, ready};

use async_io::Async;
use bytes::BytesMut;
use sinew_driver::Io;

use crate::attempt::attempt;

/// The most that one read takes.
const SCRATCH: usize = 64 * 1024;

thread_local! {
    /// Reads land here and are copied: it is initialised once, where spare capacity of an inbox
    /// would have to be zeroed before every read.
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into_boxed_slice());
}

/// A connected stream, registered with the reactor.
#[derive(Debug)]
pub struct SmolStream {
    socket: Socket,
    /// The last read left nothing in the kernel: ask the reactor before reading again.
    dry: bool,
}

#[derive(Debug)]
enum Socket {
    Tcp(Async<TcpStream>),
    #[cfg(unix)]
    Unix(Async<UnixStream>),
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

impl From<Async<TcpStream>> for SmolStream {
    fn from(stream: Async<TcpStream>) -> Self {
        // A socket whose peer is gone already may refuse the option; its first read says why.
        let _ = stream.get_ref().set_nodelay(true);
        Self { socket: Socket::Tcp(stream), dry: false }
    }
}

#[cfg(unix)]
impl From<Async<UnixStream>> for SmolStream {
    fn from(stream: Async<UnixStream>) -> Self {
        Self { socket: Socket::Unix(stream), dry: false }
    }
}

impl Socket {
    fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        each!(self, stream => stream.get_ref().read(into))
    }

    fn write(&self, from: &[IoSlice<'_>]) -> io::Result<usize> {
        each!(self, stream => match from {
            [one] => stream.get_ref().write(one),
            many => stream.get_ref().write_vectored(many),
        })
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_readable(cx))
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_writable(cx))
    }
}

impl Io for SmolStream {
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut BytesMut,
        hint: usize,
    ) -> Poll<io::Result<usize>> {
        let size = hint.clamp(1, SCRATCH);
        if self.dry {
            ready!(self.socket.poll_readable(cx))?;
        }
        let read = || {
            READ.with_borrow_mut(|scratch| {
                let scratch = scratch.get_mut(..size).unwrap_or_default();
                let taken = self.socket.read(scratch)?;
                into.extend_from_slice(scratch.get(..taken).unwrap_or_default());
                Ok(taken)
            })
        };
        let polled = attempt(cx, read, |cx| self.socket.poll_readable(cx));
        self.dry = !matches!(polled, Poll::Ready(Ok(taken)) if taken == size);
        polled
    }

    fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        from: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        attempt(cx, || self.socket.write(from), |cx| self.socket.poll_writable(cx))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The kernel holds nothing back with `TCP_NODELAY`.
        Poll::Ready(Ok(()))
    }

    fn poll_shut(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(each!(&self.socket, stream => stream.get_ref().shutdown(Shutdown::Write)))
    }
}
