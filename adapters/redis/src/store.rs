//! The store: asks in, answers out, over one connection that is opened again whenever it ends.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::{Future as _, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use sinew_core::jitter::Jitter;
use sinew_core::limit::{Answer, KeyHash, Quota};
use sinew_driver::{ConnectTo, Connection, LeaseStore, Runtime};

use crate::config::{BadConfig, RedisConfig};
use crate::fault::{Fault, Notice};
use crate::script::Script;
use crate::session::{Ask, Greeting, Session, Told};

/// Keeps the buckets of all clients in Redis, 5 or newer, or Valkey.
///
/// Asks go over one connection, which is opened by the first of them, and again, after a wait, whenever it
/// ends; it is closed when the store is dropped. While it is being opened asks wait; after a failure they
/// fail at once until the next attempt. An ask that was sent and not answered fails, and is not sent again:
/// its tokens may be taken.
///
/// A user of an ACL needs `+ping +select +evalsha +eval +time +get +set` and the keys `~sinew:quota:*`, or
/// whatever the [prefix](RedisConfig::prefix) is. Buckets expire when they are full. A store that may evict
/// keys forgets what clients owe when it does. Neither Cluster nor Sentinel is spoken: the URL names the
/// master, or whatever leads to it.
pub struct RedisStore<R: Runtime> {
    shared: Arc<Shared<R>>,
}

/// Who is told of the store.
type Observer = Arc<dyn Fn(&Notice) + Send + Sync>;

struct Shared<R> {
    runtime: R,
    quota: Quota,
    config: RedisConfig,
    to: ConnectTo,
    greeting: Greeting,
    script: Script,
    /// Held for a look only.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    phase: Phase,
    observer: Option<Observer>,
    /// To be sent.
    unsent: VecDeque<Ask>,
    /// Those that somebody waits for.
    waiting: BTreeMap<u64, Waiting>,
    /// Sent and not answered, whether somebody waits or not.
    sent: usize,
    asked: u64,
    /// The task that drives the connection, while it sleeps.
    task: Option<Waker>,
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    /// There is no task.
    #[default]
    Idle,
    /// It connects, or is connected.
    Running,
    /// It waits until it may connect again.
    Pausing,
    /// Nobody asks any more.
    Dropped,
}

#[derive(Default)]
struct Waiting {
    answer: Option<Answer>,
    waker: Option<Waker>,
}

impl<R: Runtime> RedisStore<R> {
    /// Nothing is connected before the first ask.
    ///
    /// # Errors
    ///
    /// See [`BadConfig`].
    pub fn new(runtime: R, quota: Quota, config: RedisConfig) -> Result<Self, BadConfig> {
        config.check()?;
        let (to, greeting) = (config.destination()?, config.greeting()?);
        let script = Script::new(&config.prefix, &quota).ok_or(BadConfig::Quota)?;
        let shared =
            Shared { runtime, quota, config, to, greeting, script, state: Mutex::default() };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Tells when the store is connected, and why it is not, from now on and instead of who was told before.
    /// Called in the task of the connection: it is to return soon.
    #[must_use]
    pub fn observe(self, observer: impl Fn(&Notice) + Send + Sync + 'static) -> Self {
        let former = self.shared.lock().observer.replace(Arc::new(observer));
        // Its captures are dropped outside of the lock.
        drop(former);
        self
    }
}

impl<R: Runtime> Drop for RedisStore<R> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.phase = Phase::Dropped;
        let task = state.task.take();
        drop(state);
        task.into_iter().for_each(Waker::wake);
    }
}

impl<R: Runtime> LeaseStore for RedisStore<R> {
    fn quota(&self) -> Quota {
        self.shared.quota
    }

    async fn take(&self, client: KeyHash, tokens: u32) -> Answer {
        let Some(ticket) = Ticket::queue(&self.shared, client, tokens) else {
            return Answer::Failed;
        };
        poll_fn(|cx| ticket.poll(cx.waker())).await
    }
}

/// An ask that somebody waits for.
struct Ticket<'a, R: Runtime> {
    shared: &'a Arc<Shared<R>>,
    number: u64,
}

impl<'a, R: Runtime> Ticket<'a, R> {
    /// `None`: the store is away, or has too much to do.
    fn queue(shared: &'a Arc<Shared<R>>, client: KeyHash, tokens: u32) -> Option<Self> {
        let mut state = shared.lock();
        let full = state.unsent.len() + state.sent >= shared.config.pending;
        if full || matches!(state.phase, Phase::Pausing | Phase::Dropped) {
            return None;
        }
        state.asked += 1;
        let number = state.asked;
        state.waiting.insert(number, Waiting::default());
        state.unsent.push_back(Ask { number, client, tokens });
        let starts = std::mem::replace(&mut state.phase, Phase::Running) == Phase::Idle;
        let task = state.task.take();
        drop(state);
        task.into_iter().for_each(Waker::wake);
        if starts {
            shared.runtime.spawn(Box::pin(Task(Arc::clone(shared)).run()));
        }
        Some(Self { shared, number })
    }

    fn poll(&self, waker: &Waker) -> Poll<Answer> {
        let mut state = self.shared.lock();
        let Some(waiting) = state.waiting.get_mut(&self.number) else {
            return Poll::Ready(Answer::Failed);
        };
        match waiting.answer {
            Some(answer) => Poll::Ready(answer),
            None => {
                // A waker may own what it wakes: none is dropped under the lock.
                let old = waiting.waker.replace(waker.clone());
                drop(state);
                drop(old);
                Poll::Pending
            }
        }
    }
}

impl<R: Runtime> Drop for Ticket<'_, R> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        let waiting = state.waiting.remove(&self.number);
        // One that was sent keeps its place: its answer comes all the same.
        state.unsent.retain(|ask| ask.number != self.number);
        drop(state);
        drop(waiting);
    }
}

impl<R> Shared<R> {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, notice: &Notice) {
        let observer = self.lock().observer.clone();
        if let Some(observer) = observer {
            observer(notice);
        }
    }

    /// An ask is settled.
    fn settle(&self, number: u64, answer: Answer) {
        let mut state = self.lock();
        state.sent = state.sent.saturating_sub(1);
        let waker = state.waiting.get_mut(&number).and_then(|waiting| {
            waiting.answer = Some(answer);
            waiting.waker.take()
        });
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }

    /// No ask will be answered: those that wait have failed.
    fn abandon(&self, phase: Phase) {
        let mut state = self.lock();
        if state.phase != Phase::Dropped {
            state.phase = phase;
        }
        state.unsent.clear();
        state.sent = 0;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_values().filter_map(|waiting| waiting.waker).for_each(Waker::wake);
    }
}

/// Drives the connection. Where its runtime ends without the store, the next ask starts another one.
struct Task<R: Runtime>(Arc<Shared<R>>);

impl<R: Runtime> Drop for Task<R> {
    fn drop(&mut self) {
        self.0.abandon(Phase::Idle);
    }
}

impl<R: Runtime> Task<R> {
    async fn run(self) {
        let mut work = pin!(self.work());
        poll_fn(|cx| {
            let mut state = self.0.lock();
            if state.phase == Phase::Dropped {
                return Poll::Ready(());
            }
            let old = state.task.replace(cx.waker().clone());
            drop(state);
            drop(old);
            work.as_mut().poll(cx)
        })
        .await;
    }

    async fn work(&self) {
        let shared = &*self.0;
        let seed = getrandom::u64().unwrap_or_else(|_| shared.runtime.now().as_nanos());
        let mut jitter = Jitter::new(seed);
        let mut attempts = 0;
        loop {
            let mut granted = false;
            let fault = self.serve(&mut granted).await;
            // Only who grants something is well: one that lets us in and hangs up is not.
            attempts = if granted { 0 } else { attempts };
            shared.abandon(Phase::Pausing);
            shared.tell(&Notice::Lost(fault));
            let wait = shared.config.backoff.delay(attempts, &mut jitter);
            attempts = attempts.saturating_add(1);
            let mut sleep = shared.runtime.sleep_until(shared.runtime.now() + wait);
            poll_fn(|cx| Pin::new(&mut sleep).poll(cx)).await;
            let mut state = shared.lock();
            if state.phase == Phase::Pausing {
                state.phase = Phase::Running;
            }
        }
    }

    /// Until the connection ends. `granted`: it was of use.
    async fn serve(&self, granted: &mut bool) -> Fault {
        let shared = &*self.0;
        let (script, config) = (shared.script.clone(), &shared.config);
        let now = shared.runtime.now();
        // The time of what it says first counts from when it is connected, at the latest.
        let patience = config.reply_timeout;
        let session =
            Session::new(&shared.greeting, script, patience, now + config.connect_timeout);
        let opening =
            Connection::open(shared.runtime.clone(), &shared.to, session, config.connect_timeout);
        let mut connection = match opening.await {
            Ok(connection) => connection,
            Err(why) => return Fault::Connection(why),
        };
        let mut greeted = false;
        poll_fn(|cx| {
            loop {
                if greeted {
                    self.send(connection.machine());
                }
                match connection.poll_event(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Err(why)) => return Poll::Ready(Fault::Connection(why)),
                    Poll::Ready(Ok(Told::Over(fault))) => return Poll::Ready(fault),
                    Poll::Ready(Ok(Told::Greeted)) => {
                        greeted = true;
                        shared.tell(&Notice::Connected);
                    }
                    Poll::Ready(Ok(Told::Answered(number, answer))) => {
                        *granted = true;
                        shared.settle(number, answer);
                    }
                    Poll::Ready(Ok(Told::Refused(number, why))) => {
                        shared.settle(number, Answer::Failed);
                        shared.tell(&Notice::Refused(why));
                    }
                }
            }
        })
        .await
    }

    /// Hands over what is to be asked.
    fn send(&self, session: &mut Session) {
        let now = self.0.runtime.now();
        let mut state = self.0.lock();
        while let Some(ask) = state.unsent.pop_front() {
            state.sent += 1;
            session.ask(now, ask);
        }
    }
}

impl<R: Runtime> fmt::Debug for RedisStore<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("quota", &self.shared.quota)
            .field("config", &self.shared.config)
            .finish_non_exhaustive()
    }
}
