//! Clock, timers, names and tasks.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::path::Path;

use async_io::Async;
use sinew_core::time::{Epoch, Instant};
use sinew_driver::{Datagrams, Runtime, Spawn, StdListener};

use crate::datagram::SmolDatagram;
use crate::listener::SmolListener;
use crate::stream::SmolStream;
use crate::timer::{Origin, SmolTimer};

/// smol as sinew's runtime: the reactor of `async-io`, tasks on the global executor.
///
/// ```
/// use sinew_smol::{Runtime, SmolRuntime};
///
/// # fn main() -> std::io::Result<()> {
/// let runtime = SmolRuntime;
/// let addresses = smol::block_on(runtime.resolve("127.0.0.1", 8080))?;
/// assert_eq!(addresses, [([127, 0, 0, 1], 8080).into()]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct SmolRuntime;

impl<F> Spawn<F> for SmolRuntime
where
    F: Future<Output = ()> + Send + 'static,
{
    fn spawn(&self, future: F) {
        smol::spawn(future).detach();
    }
}

impl Runtime for SmolRuntime {
    type Io = SmolStream;
    type Listener = SmolListener;
    type Sleep = SmolTimer;

    fn now(&self) -> Instant {
        Origin::get().now()
    }

    fn epoch(&self) -> Epoch {
        Origin::get().epoch
    }

    fn sleep_until(&self, at: Instant) -> Self::Sleep {
        SmolTimer::at(at)
    }

    fn reset(&self, sleep: &mut Self::Sleep, at: Instant) {
        sleep.reset(at);
    }

    fn connect_tcp(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::Io>> + Send + 'static {
        let connecting = Async::<TcpStream>::connect(address);
        async move { connecting.await.map(SmolStream::from) }
    }

    fn connect_unix(
        &self,
        path: &Path,
    ) -> impl Future<Output = io::Result<Self::Io>> + Send + 'static {
        let path = path.to_owned();
        async move {
            #[cfg(unix)]
            return Async::<UnixStream>::connect(path).await.map(SmolStream::from);
            #[cfg(not(unix))]
            return Err(io::Error::new(io::ErrorKind::Unsupported, path.display().to_string()));
        }
    }

    fn listen(&self, listener: StdListener) -> io::Result<Self::Listener> {
        SmolListener::register(listener)
    }

    fn resolve(
        &self,
        host: &str,
        port: u16,
    ) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static {
        let host = host.to_owned();
        // The system's resolver blocks: it has threads of its own.
        smol::unblock(move || Ok((host.as_str(), port).to_socket_addrs()?.collect()))
    }
}

impl Datagrams for SmolRuntime {
    type Datagram = SmolDatagram;

    fn datagram(&self, socket: UdpSocket) -> io::Result<Self::Datagram> {
        SmolDatagram::register(socket)
    }
}
