//! UDP sockets.

use std::io;
use std::net;
use std::task::{Context, Poll, ready};

use sinew_driver::Datagram;
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;

/// A UDP socket with one peer, registered with the runtime in which it was made.
#[derive(Debug)]
pub struct TokioDatagram(UdpSocket);

impl TokioDatagram {
    pub(crate) fn register(socket: net::UdpSocket) -> io::Result<Self> {
        UdpSocket::from_std(socket).map(Self)
    }
}

impl Datagram for TokioDatagram {
    fn poll_send(&mut self, cx: &mut Context<'_>, datagram: &[u8]) -> Poll<io::Result<()>> {
        self.0.poll_send(cx, datagram).map_ok(|_| ())
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut into = ReadBuf::new(into);
        ready!(self.0.poll_recv(cx, &mut into))?;
        Poll::Ready(Ok(into.filled().len()))
    }
}
