//! A runtime in memory: a clock that the test moves, sockets that the test holds the other end of,
//! an executor that runs until nothing is left to do.

#![allow(dead_code, reason = "every test file uses its own part of it")]

pub(crate) mod calling;
pub(crate) mod certificates;
mod duplex;
mod net;
mod pipe;
pub(crate) mod running;

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use sinew_core::time::{Epoch, Instant};
use sinew_driver::{Listener, Mode, Peer, RestServer, Runtime, ServerBuilder, Spawn, StdListener};

use net::Net;
#[allow(unused_imports, reason = "every test file uses its own part of it")]
pub(crate) use net::Site;
pub(crate) use pipe::{Client, SimIo};

/// More polls than this without the clock moving: something spins.
const TOO_MANY_POLLS: usize = 10_000;

/// The clock at the start, in nanoseconds.
const START: u64 = 1_000_000_000;

type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

#[derive(Clone)]
pub(crate) struct Sim(Arc<World>);

struct World {
    now: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    ready: VecDeque<Arc<Task>>,
    timers: Vec<(Instant, Waker)>,
    backlog: VecDeque<SimIo>,
    acceptor: Option<Waker>,
    net: Net,
    accept_errors: VecDeque<io::ErrorKind>,
    /// Timers that were armed or re-armed.
    arms: usize,
    polls: usize,
    /// Those that were started; the ones that have ended are gone.
    tasks: Vec<Weak<Task>>,
}

struct Task {
    job: Mutex<Option<Job>>,
    queued: AtomicBool,
    world: Weak<World>,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel)
            && let Some(world) = self.world.upgrade()
        {
            world.lock().ready.push_back(self);
        }
    }
}

impl World {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn now(&self) -> Instant {
        Instant::from_nanos(self.now.load(Ordering::Acquire))
    }

    /// A socket that is about to be accepted.
    fn offer(&self, io: SimIo) {
        let mut state = self.lock();
        state.backlog.push_back(io);
        let acceptor = state.acceptor.take();
        drop(state);
        acceptor.into_iter().for_each(Waker::wake);
    }
}

impl Sim {
    pub(crate) fn new() -> Self {
        Self(Arc::new(World { now: AtomicU64::new(START), state: Mutex::default() }))
    }

    /// Polls every task that was woken, until none is.
    pub(crate) fn run(&self) {
        for _ in 0..TOO_MANY_POLLS {
            let Some(task) = self.0.lock().ready.pop_front() else { return };
            self.poll(&task);
        }
        panic!("tasks keep waking themselves");
    }

    /// Polls one woken task once; whether there was one.
    pub(crate) fn run_once(&self) -> bool {
        let task = self.0.lock().ready.pop_front();
        task.inspect(|task| self.poll(task)).is_some()
    }

    fn poll(&self, task: &Arc<Task>) {
        self.0.lock().polls += 1;
        task.queued.store(false, Ordering::Release);
        let waker = Waker::from(Arc::clone(task));
        let mut job = task.job.lock().unwrap();
        if let Some(running) = job.as_mut()
            && running.as_mut().poll(&mut Context::from_waker(&waker)).is_ready()
        {
            let done = job.take();
            drop(job);
            drop(done);
        }
    }

    /// Moves the clock, timer by timer.
    pub(crate) fn advance(&self, by: Duration) {
        self.run();
        let end = self.now() + by;
        loop {
            let mut state = self.0.lock();
            let due = state.timers.iter().map(|(at, _)| *at).min().filter(|at| *at <= end);
            let Some(at) = due else { break };
            self.0.now.store(at.as_nanos().max(self.now().as_nanos()), Ordering::Release);
            let (fired, left) =
                std::mem::take(&mut state.timers).into_iter().partition(|(t, _)| *t <= at);
            state.timers = left;
            drop(state);
            let fired: Vec<(Instant, Waker)> = fired;
            for (_, waker) in fired {
                waker.wake();
            }
            self.run();
        }
        self.0.now.store(end.as_nanos(), Ordering::Release);
        self.run();
    }

    /// Runs until this is done; the clock stands still.
    pub(crate) fn block_on<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let result = self.start(future);
        self.run();
        result.take().expect("the future waits for something that does not come")
    }

    /// Starts something and keeps its result.
    pub(crate) fn start<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Outcome<T> {
        let outcome = Outcome(Arc::new(Mutex::new(None)));
        let place = outcome.clone();
        self.spawn(async move {
            let value = future.await;
            *place.0.lock().unwrap() = Some(value);
        });
        outcome
    }

    /// Calls back when this future is ready.
    pub(crate) fn spawn_watch(
        &self,
        future: impl Future<Output = ()> + Send + 'static,
        then: impl FnOnce() + Send + 'static,
    ) {
        self.spawn(async move {
            future.await;
            then();
        });
    }

    /// A client that is about to be accepted.
    pub(crate) fn connect(&self) -> Client {
        let (client, io) = pipe::pair();
        self.0.offer(io);
        self.run();
        client
    }

    pub(crate) fn fail_accept(&self, kind: io::ErrorKind) {
        let mut state = self.0.lock();
        state.accept_errors.push_back(kind);
        let acceptor = state.acceptor.take();
        drop(state);
        acceptor.into_iter().for_each(Waker::wake);
    }

    /// Tasks that have not ended.
    pub(crate) fn tasks(&self) -> usize {
        let tasks: Vec<_> = self.0.lock().tasks.iter().filter_map(Weak::upgrade).collect();
        tasks.iter().filter(|task| task.job.lock().unwrap().is_some()).count()
    }

    pub(crate) fn arms(&self) -> usize {
        self.0.lock().arms
    }

    pub(crate) fn polls(&self) -> usize {
        self.0.lock().polls
    }

    /// A server on this runtime, on a port that nobody connects to.
    pub(crate) fn server<M: Mode>(&self) -> ServerBuilder<Self, M> {
        RestServer::builder_on(self.clone()).listen("127.0.0.1:0").allow_plaintext()
    }
}

/// What a started future ended with, once it did.
pub(crate) struct Outcome<T>(Arc<Mutex<Option<T>>>);

impl<T> Clone for Outcome<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Outcome<T> {
    pub(crate) fn take(&self) -> Option<T> {
        self.0.lock().unwrap().take()
    }
}

impl<F: Future<Output = ()> + Send + 'static> Spawn<F> for Sim {
    fn spawn(&self, future: F) {
        let task = Task {
            job: Mutex::new(Some(Box::pin(future))),
            queued: AtomicBool::new(false),
            world: Arc::downgrade(&self.0),
        };
        let task = Arc::new(task);
        self.0.lock().tasks.push(Arc::downgrade(&task));
        task.wake();
    }
}

impl Runtime for Sim {
    type Io = SimIo;
    type Listener = SimListener;
    type Sleep = SimSleep;

    fn now(&self) -> Instant {
        self.0.now()
    }

    fn epoch(&self) -> Epoch {
        Epoch::new(Duration::from_secs(784_111_776))
    }

    fn sleep_until(&self, at: Instant) -> SimSleep {
        self.0.lock().arms += 1;
        SimSleep { world: Arc::clone(&self.0), at }
    }

    fn connect_tcp(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<SimIo>> + Send + 'static {
        net::connect(Arc::clone(&self.0), address.to_string())
    }

    fn connect_unix(
        &self,
        path: &Path,
    ) -> impl Future<Output = io::Result<SimIo>> + Send + 'static {
        net::connect(Arc::clone(&self.0), path.display().to_string())
    }

    fn listen(&self, _: StdListener) -> io::Result<SimListener> {
        Ok(SimListener(Arc::clone(&self.0)))
    }

    fn resolve(
        &self,
        host: &str,
        port: u16,
    ) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static {
        net::resolve(Arc::clone(&self.0), host.to_owned(), port)
    }
}

pub(crate) struct SimListener(Arc<World>);

impl Listener for SimListener {
    type Io = SimIo;

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(SimIo, Peer)>> {
        let mut state = self.0.lock();
        if let Some(kind) = state.accept_errors.pop_front() {
            return Poll::Ready(Err(kind.into()));
        }
        match state.backlog.pop_front() {
            Some(io) => Poll::Ready(Ok((io, Peer::Tcp(([192, 0, 2, 1], 4711).into())))),
            None => {
                state.acceptor = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

pub(crate) struct SimSleep {
    world: Arc<World>,
    at: Instant,
}

impl Future for SimSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.world.now.load(Ordering::Acquire) >= self.at.as_nanos() {
            return Poll::Ready(());
        }
        self.world.lock().timers.push((self.at, cx.waker().clone()));
        Poll::Pending
    }
}
