//! A runtime whose sockets say what they took, and when they took nothing more.

use std::future::Future;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};

use bytes::BytesMut;
use sinew_core::time::{Epoch, Instant};
use sinew_driver::{Io, Listener, Peer, Runtime, Spawn, StdListener};

use crate::rt;

type Inner = rt::Runtime;

/// The runtime of the suite, for one connection with a producer behind it.
#[derive(Clone)]
pub(crate) struct Watched(Arc<State>);

struct State {
    /// Bytes that the producer gave.
    drawn: Arc<AtomicU64>,
    /// Bytes that the socket took.
    written: AtomicU64,
    /// The most that were drawn and not written. Both happen in the task of the connection, so what
    /// is seen at a write is exact.
    ahead: AtomicU64,
    /// The last write would have blocked.
    blocked: AtomicBool,
}

impl Watched {
    pub(crate) fn new(drawn: Arc<AtomicU64>) -> Self {
        let (written, ahead, blocked) = Default::default();
        Self(Arc::new(State { drawn, written, ahead, blocked }))
    }

    /// Over when the socket takes nothing more.
    pub(crate) async fn blocks(&self) {
        while !self.0.blocked.load(Relaxed) {
            super::pause().await;
        }
    }

    /// The most that was held between producer and socket.
    pub(crate) fn ahead(&self) -> u64 {
        self.0.ahead.load(Relaxed)
    }
}

impl Runtime for Watched {
    type Io = WatchedIo<<Inner as Runtime>::Io>;
    type Listener = WatchedIo<<Inner as Runtime>::Listener>;
    type Sleep = <Inner as Runtime>::Sleep;

    fn now(&self) -> Instant {
        Inner::default().now()
    }

    fn epoch(&self) -> Epoch {
        Inner::default().epoch()
    }

    fn sleep_until(&self, at: Instant) -> Self::Sleep {
        Inner::default().sleep_until(at)
    }

    fn connect_tcp(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::Io>> + Send + 'static {
        let watched = self.clone();
        async move {
            let inner = Inner::default().connect_tcp(address).await?;
            Ok(WatchedIo { inner, watched })
        }
    }

    fn connect_unix(
        &self,
        path: &Path,
    ) -> impl Future<Output = io::Result<Self::Io>> + Send + 'static {
        let (watched, path) = (self.clone(), path.to_owned());
        async move {
            let inner = Inner::default().connect_unix(&path).await?;
            Ok(WatchedIo { inner, watched })
        }
    }

    fn listen(&self, listener: StdListener) -> io::Result<Self::Listener> {
        Ok(WatchedIo { inner: Inner::default().listen(listener)?, watched: self.clone() })
    }

    fn resolve(
        &self,
        host: &str,
        port: u16,
    ) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static {
        let host = host.to_owned();
        async move { Inner::default().resolve(&host, port).await }
    }
}

impl<F: Future<Output = ()>> Spawn<F> for Watched
where
    Inner: Spawn<F>,
{
    fn spawn(&self, future: F) {
        Inner::default().spawn(future);
    }
}

/// A socket, or a listener of them.
pub(crate) struct WatchedIo<I> {
    inner: I,
    watched: Watched,
}

impl<L: Listener> Listener for WatchedIo<L> {
    type Io = WatchedIo<L::Io>;

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Self::Io, Peer)>> {
        let watched = self.watched.clone();
        self.inner.poll_accept(cx).map_ok(|(inner, peer)| (WatchedIo { inner, watched }, peer))
    }
}

impl<I: Io> Io for WatchedIo<I> {
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut BytesMut,
        hint: usize,
    ) -> Poll<io::Result<usize>> {
        self.inner.poll_fill(cx, into, hint)
    }

    fn poll_fillable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.inner.poll_fillable(cx)
    }

    fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        from: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let State { drawn, written, ahead, blocked } = &*self.watched.0;
        ahead.fetch_max(drawn.load(Relaxed).saturating_sub(written.load(Relaxed)), Relaxed);
        let polled = self.inner.poll_drain(cx, from);
        if let Poll::Ready(Ok(taken)) = &polled {
            written.fetch_add(*taken as u64, Relaxed);
        }
        blocked.store(polled.is_pending(), Relaxed);
        polled
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.poll_flush(cx)
    }

    fn poll_shut(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.poll_shut(cx)
    }
}
