//! Clock, timers, names and tasks.

use std::future::Future;
use std::io;
use std::marker::PhantomData;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::pin::Pin;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sinew_core::time::{Epoch, Instant};
use sinew_driver::{Datagrams, Runtime, Spawn, StdListener, Task};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::time;

use crate::datagram::TokioDatagram;
use crate::listener::TokioListener;
use crate::stream::TokioStream;

/// tokio as sinew's runtime; `Tasks` says where tasks run.
///
/// Its methods panic outside of a tokio runtime with IO and time enabled, as tokio's own do.
pub struct Tokio<Tasks>(PhantomData<Tasks>);

/// tokio with tasks that may move between worker threads; the current-thread runtime takes them too.
///
/// ```no_run
/// use sinew_tokio::{Runtime, TokioRuntime};
///
/// # async fn example() -> std::io::Result<()> {
/// let runtime = TokioRuntime::default();
/// let addresses = runtime.resolve("localhost", 8080).await?;
/// let stream = runtime.connect_tcp(addresses[0]).await?;
/// # drop(stream);
/// # Ok(())
/// # }
/// ```
pub type TokioRuntime = Tokio<Workers>;

/// tokio with tasks that stay on the thread that started them: thread-per-core, with handlers that
/// are not `Send`. Runs inside a [`LocalSet`](tokio::task::LocalSet).
///
/// ```
/// use std::rc::Rc;
///
/// use sinew_tokio::{Spawn, TokioLocal};
/// use tokio::sync::oneshot;
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// let local = tokio::task::LocalSet::new();
/// let answer = local.block_on(&runtime, async {
///     let (tell, told) = oneshot::channel();
///     let shared = Rc::new(42);
///     TokioLocal::default().spawn(async move {
///         let _ = tell.send(*shared);
///     });
///     told.await
/// });
/// assert_eq!(answer, Ok(42));
/// ```
pub type TokioLocal = Tokio<Here>;

/// Tasks run on any worker thread of the runtime.
#[derive(Debug)]
pub enum Workers {}

/// Tasks run on the thread that starts them.
#[derive(Debug)]
pub enum Here {}

impl<F> Spawn<F> for Tokio<Workers>
where
    F: Future<Output = ()> + Send + 'static,
{
    fn spawn(&self, future: F) {
        tokio::spawn(future);
    }
}

impl<F> Spawn<F> for Tokio<Here>
where
    F: Future<Output = ()> + 'static,
{
    fn spawn(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

impl<Tasks: Send + Sync + 'static> Runtime for Tokio<Tasks>
where
    Self: Spawn<Task>,
{
    type Io = TokioStream;
    type Listener = TokioListener;
    type Sleep = Pin<Box<time::Sleep>>;

    fn now(&self) -> Instant {
        let past = time::Instant::now().saturating_duration_since(Origin::get().clock);
        Instant::ZERO + past
    }

    fn epoch(&self) -> Epoch {
        Origin::get().epoch
    }

    fn sleep_until(&self, at: Instant) -> Self::Sleep {
        Box::pin(time::sleep_until(instant(at)))
    }

    fn reset(&self, sleep: &mut Self::Sleep, at: Instant) {
        sleep.as_mut().reset(instant(at));
    }

    fn connect_tcp(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::Io>> + Send + 'static {
        let connecting = TcpStream::connect(address);
        async move { connecting.await.map(TokioStream::from) }
    }

    fn connect_unix(
        &self,
        path: &Path,
    ) -> impl Future<Output = io::Result<Self::Io>> + Send + 'static {
        let path = path.to_owned();
        async move {
            #[cfg(unix)]
            return UnixStream::connect(path).await.map(TokioStream::from);
            #[cfg(not(unix))]
            return Err(io::Error::new(io::ErrorKind::Unsupported, path.display().to_string()));
        }
    }

    fn listen(&self, listener: StdListener) -> io::Result<Self::Listener> {
        TokioListener::register(listener)
    }

    fn resolve(
        &self,
        host: &str,
        port: u16,
    ) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static {
        let host = host.to_owned();
        async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) }
    }
}

impl<Tasks: Send + Sync + 'static> Datagrams for Tokio<Tasks>
where
    Self: Spawn<Task>,
{
    type Datagram = TokioDatagram;

    fn datagram(&self, socket: UdpSocket) -> io::Result<Self::Datagram> {
        TokioDatagram::register(socket)
    }
}

impl<Tasks> Default for Tokio<Tasks> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<Tasks> Clone for Tokio<Tasks> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Tasks> Copy for Tokio<Tasks> {}

impl<Tasks> std::fmt::Debug for Tokio<Tasks> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokio")
    }
}

/// Where the clock starts: one place for the whole process, so that instants compare everywhere.
struct Origin {
    clock: time::Instant,
    epoch: Epoch,
}

impl Origin {
    fn get() -> &'static Self {
        /// A runtime with a paused clock may lie behind the one that asked first.
        const EARLIER: Duration = Duration::from_secs(3600);
        static ORIGIN: OnceLock<Origin> = OnceLock::new();
        ORIGIN.get_or_init(|| {
            let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let now = time::Instant::now();
            match now.checked_sub(EARLIER) {
                Some(clock) => Self { clock, epoch: Epoch::new(unix.saturating_sub(EARLIER)) },
                None => Self { clock: now, epoch: Epoch::new(unix) },
            }
        })
    }
}

/// The same time on tokio's clock, or two years from the origin if that has no such time.
fn instant(at: Instant) -> time::Instant {
    let origin = Origin::get().clock;
    origin.checked_add(at - Instant::ZERO).unwrap_or_else(|| origin + Duration::from_secs(1 << 26))
}
