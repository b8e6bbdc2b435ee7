//! A whole `RestClient` in memory: a runtime whose sockets answer every request with the same bytes.

use std::cell::RefCell;
use std::future::{Future, pending, ready};
use std::hint::black_box;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bytes::BytesMut;
use sinew_core::time::{Epoch, Instant};
use sinew_driver::{Io, Listener, Peer, RestClient, Runtime, Spawn, StdListener, Task};

use crate::Result;
use crate::traffic::{CLIENT_FIELDS, RESPONSE};

thread_local! {
    /// What the client started.
    static TASKS: RefCell<Vec<Task>> = const { RefCell::new(Vec::new()) };
}

/// A clock that goes on by a tenth of a millisecond whenever somebody looks at it.
#[derive(Clone, Default)]
struct Memory(Arc<AtomicU64>);

impl Runtime for Memory {
    type Io = Canned;
    type Listener = Nobody;
    type Sleep = std::future::Pending<()>;

    fn now(&self) -> Instant {
        Instant::from_nanos(self.0.fetch_add(100_000, Ordering::Relaxed))
    }

    fn epoch(&self) -> Epoch {
        Epoch::new(std::time::Duration::ZERO)
    }

    fn sleep_until(&self, _: Instant) -> Self::Sleep {
        pending()
    }

    fn connect_tcp(
        &self,
        _: SocketAddr,
    ) -> impl Future<Output = io::Result<Canned>> + Send + 'static {
        ready(Ok(Canned { due: 0 }))
    }

    fn connect_unix(&self, _: &Path) -> impl Future<Output = io::Result<Canned>> + Send + 'static {
        ready(Err(io::ErrorKind::Unsupported.into()))
    }

    fn listen(&self, _: StdListener) -> io::Result<Nobody> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn resolve(
        &self,
        _: &str,
        _: u16,
    ) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static {
        ready(Err(io::ErrorKind::Unsupported.into()))
    }
}

impl Spawn<Task> for Memory {
    fn spawn(&self, task: Task) {
        TASKS.with_borrow_mut(|tasks| tasks.push(task));
    }
}

/// A socket with so many answers to be read.
struct Canned {
    due: usize,
}

impl Io for Canned {
    fn poll_fill(
        &mut self,
        _: &mut Context<'_>,
        into: &mut BytesMut,
        _: usize,
    ) -> Poll<io::Result<usize>> {
        if self.due == 0 {
            return Poll::Pending;
        }
        self.due -= 1;
        into.extend_from_slice(RESPONSE);
        Poll::Ready(Ok(RESPONSE.len()))
    }

    fn poll_drain(&mut self, _: &mut Context<'_>, from: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.due += 1;
        Poll::Ready(Ok(from.iter().map(|slice| slice.len()).sum()))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shut(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

enum Nobody {}

impl Listener for Nobody {
    type Io = Canned;

    fn poll_accept(&mut self, _: &mut Context<'_>) -> Poll<io::Result<(Canned, Peer)>> {
        Poll::Pending
    }
}

/// Polls the future, and what it started, until it is ready.
fn run<F: Future>(future: F) -> F::Output {
    struct Quiet;
    impl Wake for Quiet {
        fn wake(self: Arc<Self>) {}
        fn wake_by_ref(self: &Arc<Self>) {}
    }
    let waker = Waker::from(Arc::new(Quiet));
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        let mut tasks = TASKS.take();
        tasks.retain_mut(|task: &mut Pin<_>| task.as_mut().poll(&mut cx).is_pending());
        TASKS.with_borrow_mut(|started| started.append(&mut tasks));
    }
}

/// Calls one after the other, with so many fields of their own; the answers are collected.
pub(crate) fn calls(requests: u64, fields: usize) -> Result<()> {
    let client =
        RestClient::builder("http://127.0.0.1:1").allow_plaintext().allow_plaintext_tokens();
    let client = client.build_on(Memory::default())?;
    run(async {
        for _ in 0..requests {
            let mut call = client.get("/api/resource/42?verbose=1");
            for (name, value) in CLIENT_FIELDS.iter().take(fields) {
                call = call.header(*name, *value);
            }
            black_box(call.send().await?.bytes().await?);
        }
        Ok::<_, sinew_driver::Error>(())
    })?;
    Ok(())
}
