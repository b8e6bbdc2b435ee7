//! The traits that a runtime's sockets implement.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};

use bytes::BytesMut;

/// A byte stream of some runtime.
pub trait Io: Unpin + 'static {
    /// Appends up to about `hint` bytes to `into`. `Ok(0)` is the end of the stream.
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut BytesMut,
        hint: usize,
    ) -> Poll<io::Result<usize>>;

    /// Whether [`poll_fill`](Self::poll_fill) may find something, as far as that is known without a
    /// system call. Asked behind a read that took all there was.
    ///
    /// Pending only where a read would be, too, with the waker registered as for one. Bytes that this
    /// value holds itself are something to be found, and so are an end and an error.
    fn poll_fillable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let _ = cx;
        Poll::Ready(())
    }

    /// Writes from the slices, in order, and says how many bytes were taken.
    fn poll_drain(&mut self, cx: &mut Context<'_>, from: &[IoSlice<'_>])
    -> Poll<io::Result<usize>>;

    /// Passes on what an inner layer may hold back.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Shuts the writing side; reading goes on. Dropping the value closes both.
    fn poll_shut(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// A UDP socket that speaks to one peer. Datagrams of others never show.
pub trait Datagram: Unpin + 'static {
    /// Sends one datagram, whole.
    fn poll_send(&mut self, cx: &mut Context<'_>, datagram: &[u8]) -> Poll<io::Result<()>>;

    /// Receives one datagram and says how long it is; what of it does not fit is lost.
    fn poll_receive(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>>;
}

/// Who is on the other side of an accepted connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A Unix socket; clients rarely have a name there.
    Unix,
}

impl Peer {
    /// The IP address, where there is one; an IPv4 address is one in either notation.
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(address) => Some(address.ip().to_canonical()),
            Self::Unix => None,
        }
    }
}

/// A listening socket of some runtime.
pub trait Listener: 'static {
    /// What it accepts.
    type Io: Io;

    /// Accepts one connection.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Self::Io, Peer)>>;
}
