//! async-std's tasks over the reactor of `sinew-smol`.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;

use sinew_core::time::{Epoch, Instant};
use sinew_driver::{Datagrams, Runtime, Spawn, StdListener};
use sinew_smol::SmolRuntime;

/// async-std as sinew's runtime: the reactor of `async-io`, tasks on async-std's executor.
///
/// ```
/// use sinew_async_std::{AsyncStdRuntime, Spawn};
///
/// let (tell, told) = std::sync::mpsc::channel();
/// AsyncStdRuntime::default().spawn(async move {
///     let _ = tell.send(42);
/// });
/// assert_eq!(told.recv(), Ok(42));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct AsyncStdRuntime {
    reactor: SmolRuntime,
}

impl<F> Spawn<F> for AsyncStdRuntime
where
    F: Future<Output = ()> + Send + 'static,
{
    fn spawn(&self, future: F) {
        async_std::task::spawn(future);
    }
}

impl Runtime for AsyncStdRuntime {
    type Io = <SmolRuntime as Runtime>::Io;
    type Listener = <SmolRuntime as Runtime>::Listener;
    type Sleep = <SmolRuntime as Runtime>::Sleep;

    fn now(&self) -> Instant {
        self.reactor.now()
    }

    fn epoch(&self) -> Epoch {
        self.reactor.epoch()
    }

    fn sleep_until(&self, at: Instant) -> Self::Sleep {
        self.reactor.sleep_until(at)
    }

    fn reset(&self, sleep: &mut Self::Sleep, at: Instant) {
        self.reactor.reset(sleep, at);
    }

    fn connect_tcp(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::Io>> + Send + 'static {
        self.reactor.connect_tcp(address)
    }

    fn connect_unix(
        &self,
        path: &Path,
    ) -> impl Future<Output = io::Result<Self::Io>> + Send + 'static {
        self.reactor.connect_unix(path)
    }

    fn listen(&self, listener: StdListener) -> io::Result<Self::Listener> {
        self.reactor.listen(listener)
    }

    fn resolve(
        &self,
        host: &str,
        port: u16,
    ) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static {
        self.reactor.resolve(host, port)
    }
}

impl Datagrams for AsyncStdRuntime {
    type Datagram = <SmolRuntime as Datagrams>::Datagram;

    fn datagram(&self, socket: UdpSocket) -> io::Result<Self::Datagram> {
        self.reactor.datagram(socket)
    }
}
