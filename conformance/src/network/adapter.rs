//! The adapters, and the runtimes that they run on.

use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;

use sinew_async_std::AsyncStdRuntime;
use sinew_core::http1;
use sinew_driver::server::Conn;
use sinew_driver::{Datagrams, Spawn, Task, Threads};
use sinew_smol::SmolRuntime;
use sinew_tls::Tls;
use sinew_tokio::TokioRuntime;

/// An adapter.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Adapter {
    /// tokio, with worker threads
    Tokio,
    /// smol
    Smol,
    /// async-std
    AsyncStd,
}

/// Work that is the same on every runtime.
pub trait Work {
    /// What comes of it.
    type Outcome;

    /// Does it.
    fn on<R>(self, runtime: R) -> impl Future<Output = Self::Outcome>
    where
        R: Datagrams
            + Spawn<Task>
            + Spawn<Conn<http1::Server, R, Threads>>
            + Spawn<Conn<Tls<http1::Server>, R, Threads>>;
}

impl Adapter {
    /// Runs work to its end on this adapter's runtime, which it has for itself where the runtime is
    /// not one for the whole process.
    pub fn run<W: Work>(self, work: W) -> std::io::Result<W::Outcome> {
        Ok(match self {
            Self::Tokio => {
                let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
                runtime.block_on(work.on(TokioRuntime::default()))
            }
            Self::Smol => smol::block_on(work.on(SmolRuntime)),
            Self::AsyncStd => async_std::task::block_on(work.on(AsyncStdRuntime::default())),
        })
    }
}

/// Waits for both.
pub async fn both<A: Future, B: Future>(one: A, other: B) -> (A::Output, B::Output) {
    let (mut one, mut other) = (pin!(one), pin!(other));
    let (mut first, mut second) = (None, None);
    poll_fn(|cx| {
        if first.is_none()
            && let Poll::Ready(output) = one.as_mut().poll(cx)
        {
            first = Some(output);
        }
        if second.is_none()
            && let Poll::Ready(output) = other.as_mut().poll(cx)
        {
            second = Some(output);
        }
        match (first.take(), second.take()) {
            (Some(one), Some(other)) => Poll::Ready((one, other)),
            (one, other) => {
                (first, second) = (one, other);
                Poll::Pending
            }
        }
    })
    .await
}

/// Runs the first until the other is ready, and drops it then.
pub async fn until<A: Future, B: Future>(one: A, other: B) -> B::Output {
    let (mut one, mut other) = (pin!(one), pin!(other));
    let mut over = false;
    poll_fn(|cx| {
        over = over || one.as_mut().poll(cx).is_ready();
        other.as_mut().poll(cx)
    })
    .await
}
