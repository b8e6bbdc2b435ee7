//! Listening sockets.

use std::io;
use std::task::{Context, Poll, ready};

use sinew_driver::{Listener, Peer, StdListener};
use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::net::UnixListener;

use crate::stream::TokioStream;

/// A listener, registered with the runtime in which it was made.
#[derive(Debug)]
pub struct TokioListener(Socket);

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener),
}

impl TokioListener {
    pub(crate) fn register(listener: StdListener) -> io::Result<Self> {
        Ok(Self(match listener {
            StdListener::Tcp(listener) => Socket::Tcp(TcpListener::from_std(listener)?),
            #[cfg(unix)]
            StdListener::Unix(listener) => Socket::Unix(UnixListener::from_std(listener)?),
        }))
    }
}

impl Listener for TokioListener {
    type Io = TokioStream;

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Self::Io, Peer)>> {
        Poll::Ready(Ok(match &self.0 {
            Socket::Tcp(listener) => {
                let (stream, peer) = ready!(listener.poll_accept(cx))?;
                (stream.into(), Peer::Tcp(peer))
            }
            #[cfg(unix)]
            Socket::Unix(listener) => {
                let (stream, _) = ready!(listener.poll_accept(cx))?;
                (stream.into(), Peer::Unix)
            }
        }))
    }
}
