//! What the driver asks of a runtime.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
#[cfg(unix)]
use std::os::fd::{AsFd, BorrowedFd};
#[cfg(unix)]
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::pin::Pin;

use sinew_core::time::{Epoch, Instant};

use crate::io::{Datagram, Io, Listener};

/// A bound, non-blocking listener, to be registered with a runtime.
#[derive(Debug)]
pub enum StdListener {
    /// TCP, v4 or v6.
    Tcp(TcpListener),
    /// A Unix socket.
    #[cfg(unix)]
    Unix(UnixListener),
}

impl StdListener {
    /// Another handle of the same socket.
    #[cfg(unix)]
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(listener) => Self::Tcp(listener.try_clone()?),
            Self::Unix(listener) => Self::Unix(listener.try_clone()?),
        })
    }
}

#[cfg(unix)]
impl AsFd for StdListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }
}

/// A runtime: clock, timers, sockets, names, and tasks of the driver's own. Cheap to clone.
///
/// Methods may be called only where the runtime runs.
pub trait Runtime: Spawn<Task> + Clone + Send + Sync + 'static {
    /// A connected stream, TCP or Unix.
    type Io: Io + Send;
    /// A registered listener.
    type Listener: Listener<Io = Self::Io> + Send;
    /// A timer, armed for one instant. Ready at or after it.
    type Sleep: Future<Output = ()> + Unpin + Send + 'static;

    /// The clock. Never goes back.
    fn now(&self) -> Instant;

    /// Wall time at the clock's origin.
    fn epoch(&self) -> Epoch;

    /// Arms a timer.
    fn sleep_until(&self, at: Instant) -> Self::Sleep;

    /// Re-arms a timer, keeping its registration where the runtime can.
    fn reset(&self, sleep: &mut Self::Sleep, at: Instant) {
        *sleep = self.sleep_until(at);
    }

    /// Connects by TCP, with `TCP_NODELAY`.
    fn connect_tcp(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::Io>> + Send + 'static;

    /// Connects to a Unix socket.
    fn connect_unix(
        &self,
        path: &Path,
    ) -> impl Future<Output = io::Result<Self::Io>> + Send + 'static;

    /// Registers a listener.
    fn listen(&self, listener: StdListener) -> io::Result<Self::Listener>;

    /// Resolves a name to all its addresses, in the system's order.
    fn resolve(
        &self,
        host: &str,
        port: u16,
    ) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static;
}

/// A runtime that has UDP too. Servers and clients do not need it.
pub trait Datagrams: Runtime {
    /// A UDP socket.
    type Datagram: Datagram + Send;

    /// Registers a socket that [`udp_socket`] made.
    fn datagram(&self, socket: UdpSocket) -> io::Result<Self::Datagram>;
}

/// A non-blocking socket that speaks to `peer` alone, from a port that the system draws at random.
pub fn udp_socket(peer: SocketAddr) -> io::Result<UdpSocket> {
    let socket = match peer {
        SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?,
        SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?,
    };
    socket.connect(peer)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A task of the driver's own.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Starts a task. A trait over the future's type, so that a thread-per-core runtime takes futures
/// that are not `Send` through the same code.
pub trait Spawn<F: Future<Output = ()>> {
    /// Starts `future`; it runs to its end even if nobody waits.
    fn spawn(&self, future: F);
}
