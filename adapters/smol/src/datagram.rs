//! UDP sockets.

use std::io;
use std::net::UdpSocket;
use std::task::{Context, Poll};

use async_io::Async;
use sinew_driver::Datagram;

use crate::attempt::attempt;

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
        let send = || self.0.get_ref().send(datagram);
        attempt(cx, send, |cx| self.0.poll_writable(cx)).map_ok(|_| ())
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        attempt(cx, || self.0.get_ref().recv(into), |cx| self.0.poll_readable(cx))
    }
}
