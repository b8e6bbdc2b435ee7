//! UDP sockets.

use std::io::{self, ErrorKind};
use std::net::UdpSocket;
use std::task::{Context, Poll, ready};

use async_io::Async;
use sinew_driver::Datagram;

/// A UDP socket with one peer, registered with the reactor.
#[derive(Debug)]
pub struct SmolDatagram(Async<UdpSocket>);

impl SmolDatagram {
    pub(crate) fn register(socket: UdpSocket) -> io::Result<Self> {
        Async::new_nonblocking(socket).map(Self)
    }
}

impl Datagram for SmolDatagram {
    fn poll_send(&mut self, cx: &mut Context<'_>, datagram: &[u8]) -> Poll<io::Result<()>> {
        loop {
            match self.0.get_ref().send(datagram) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    ready!(self.0.poll_writable(cx))?;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                sent => return Poll::Ready(sent.map(|_| ())),
            }
        }
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            match self.0.get_ref().recv(into) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    ready!(self.0.poll_readable(cx))?;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                received => return Poll::Ready(received),
            }
        }
    }
}
