//! A runtime whose clock can be put forward, for a client that would have to wait for hours.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use sinew_core::time::{Epoch, Instant};
use sinew_driver::{Runtime, Spawn, StdListener, Task};

use crate::rt;

type Inner = rt::Runtime;

/// The runtime of the suite, some time ahead of it.
#[derive(Clone, Default)]
pub(crate) struct Shifted(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    ahead: Duration,
    sleepers: Vec<Waker>,
}

impl Shifted {
    /// Lets this much time pass at once.
    pub(crate) fn advance(&self, time: Duration) {
        let mut state = self.0.lock().unwrap();
        state.ahead += time;
        let sleepers = std::mem::take(&mut state.sleepers);
        drop(state);
        sleepers.into_iter().for_each(Waker::wake);
    }

    fn inner() -> Inner {
        Inner::default()
    }
}

impl Spawn<Task> for Shifted {
    fn spawn(&self, task: Task) {
        Self::inner().spawn(task);
    }
}

impl Runtime for Shifted {
    type Io = <Inner as Runtime>::Io;
    type Listener = <Inner as Runtime>::Listener;
    type Sleep = Sleep;

    fn now(&self) -> Instant {
        Self::inner().now() + self.0.lock().unwrap().ahead
    }

    fn epoch(&self) -> Epoch {
        Self::inner().epoch()
    }

    fn sleep_until(&self, at: Instant) -> Sleep {
        Sleep { clock: self.clone(), at, inner: Self::inner().sleep_until(at) }
    }

    fn connect_tcp(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::Io>> + Send + 'static {
        let inner = Self::inner();
        async move { inner.connect_tcp(address).await }
    }

    fn connect_unix(
        &self,
        path: &Path,
    ) -> impl Future<Output = io::Result<Self::Io>> + Send + 'static {
        let path = path.to_owned();
        async move { Self::inner().connect_unix(&path).await }
    }

    fn listen(&self, listener: StdListener) -> io::Result<Self::Listener> {
        Self::inner().listen(listener)
    }

    fn resolve(
        &self,
        host: &str,
        port: u16,
    ) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static {
        let host = host.to_owned();
        async move { Self::inner().resolve(&host, port).await }
    }
}

/// Over when the clock says so, whether time passed or the clock was put forward.
pub(crate) struct Sleep {
    clock: Shifted,
    at: Instant,
    inner: <Inner as Runtime>::Sleep,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.clock.0.lock().unwrap();
        state.sleepers.retain(|known| !known.will_wake(cx.waker()));
        state.sleepers.push(cx.waker().clone());
        drop(state);
        if self.clock.now() >= self.at {
            return Poll::Ready(());
        }
        // It fires later than it should: tests that put the clock forward do not wait for that.
        Pin::new(&mut self.inner).poll(cx)
    }
}
