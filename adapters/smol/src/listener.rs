//! Listening sockets.

use std::io;
use std::net::TcpListener;
#[cfg(unix)]
use std::os::unix::net::UnixListener;
use std::task::{Context, Poll};

use async_io::Async;
use sinew_driver::{Listener, Peer, StdListener};

use crate::attempt::attempt;
use crate::stream::SmolStream;

/// A listener, registered with the reactor.
#[derive(Debug)]
pub struct SmolListener(Socket);

#[derive(Debug)]
enum Socket {
    Tcp(Async<TcpListener>),
    #[cfg(unix)]
    Unix(Async<UnixListener>),
}

impl SmolListener {
    pub(crate) fn register(listener: StdListener) -> io::Result<Self> {
        Ok(Self(match listener {
            StdListener::Tcp(listener) => Socket::Tcp(Async::new_nonblocking(listener)?),
            #[cfg(unix)]
            StdListener::Unix(listener) => Socket::Unix(Async::new_nonblocking(listener)?),
        }))
    }

    fn accept(&self) -> io::Result<(SmolStream, Peer)> {
        Ok(match &self.0 {
            Socket::Tcp(listener) => {
                let (stream, peer) = listener.get_ref().accept()?;
                (Async::new(stream)?.into(), Peer::Tcp(peer))
            }
            #[cfg(unix)]
            Socket::Unix(listener) => {
                let (stream, _) = listener.get_ref().accept()?;
                (Async::new(stream)?.into(), Peer::Unix)
            }
        })
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.0 {
            Socket::Tcp(listener) => listener.poll_readable(cx),
            #[cfg(unix)]
            Socket::Unix(listener) => listener.poll_readable(cx),
        }
    }
}

impl Listener for SmolListener {
    type Io = SmolStream;

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Self::Io, Peer)>> {
        attempt(cx, || self.accept(), |cx| self.poll_readable(cx))
    }
}
