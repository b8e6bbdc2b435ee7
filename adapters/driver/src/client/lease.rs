//! Who has which connection: the pool's decisions, carried out.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use sinew_core::Machine as _;
use sinew_core::client::{Action, ConnId, Destination, Pool, PoolConfig, Verdict, WaiterId, Want};
use sinew_core::error::{Delivery, Phase};
use sinew_core::time::Instant;

use super::conn::Conn;
use crate::drive::Alarm;
use crate::error::{Error, ErrorKind};
use crate::runtime::Runtime;

/// The destination of a client that has one base URL.
const ONLY: Destination = Destination(0);

/// The connections of a client.
pub(super) struct Connections<R: Runtime> {
    pub(super) runtime: R,
    table: Mutex<Table<R>>,
}

struct Table<R: Runtime> {
    pool: Pool,
    /// The kept connections, by their id's place.
    kept: Vec<Option<Conn<R>>>,
    waiters: BTreeMap<WaiterId, Waiter<R>>,
}

enum Waiter<R: Runtime> {
    Waiting(Option<Waker>),
    Granted(ConnId, Option<Box<Conn<R>>>),
    Expired,
}

/// What a call that asks for a connection is told.
enum Asked<R: Runtime> {
    Found(ConnId, Option<Box<Conn<R>>>),
    Waits(WaiterId),
    Refused,
}

/// What has to be done after the lock was released: wake, and close.
struct Afterwards<R: Runtime> {
    wake: Vec<Waker>,
    close: Vec<Conn<R>>,
}

impl<R: Runtime> Afterwards<R> {
    fn run(self) {
        drop(self.close);
        for waker in self.wake {
            waker.wake();
        }
    }
}

impl<R: Runtime> Connections<R> {
    pub(super) fn new(config: PoolConfig, runtime: R) -> Result<Self, Error> {
        let seed = getrandom::u64()
            .map_err(|why| Error::config(format!("the system gives no seed: {why}")))?;
        let pool = Pool::new(config, seed)
            .map_err(|why| Error::config("a cap of zero connections").with_source(why))?;
        let table = Table { pool, kept: Vec::new(), waiters: BTreeMap::new() };
        Ok(Self { runtime, table: Mutex::new(table) })
    }

    /// Connections open and connections kept.
    pub(super) fn counts(&self) -> (usize, usize) {
        let table = self.lock();
        (table.pool.open(), table.pool.idle())
    }

    /// A connection, or the right to open one. Waits until `by` where the caps are reached.
    pub(super) async fn lease(
        self: &Arc<Self>,
        by: Instant,
        want: Want,
    ) -> Result<(Lease<R>, Option<Conn<R>>), Error> {
        match self.ask(by, want) {
            Asked::Found(id, conn) => Ok((Lease::new(self, id), conn.map(|conn| *conn))),
            Asked::Waits(waiter) => {
                Waiting { connections: self, waiter, alarm: Alarm::new() }.granted(by).await
            }
            Asked::Refused => Err(full()),
        }
    }

    /// Asks the pool; the lock is held for nothing else.
    fn ask(&self, by: Instant, want: Want) -> Asked<R> {
        let now = self.runtime.now();
        let mut table = self.lock();
        let asked = match table.pool.check_out(now, ONLY, by, want) {
            Verdict::Use(id) => Asked::Found(id, table.take(id).map(Box::new)),
            Verdict::Dial(id) => Asked::Found(id, None),
            Verdict::Wait(waiter) => {
                table.waiters.insert(waiter, Waiter::Waiting(None));
                Asked::Waits(waiter)
            }
            Verdict::Full => Asked::Refused,
        };
        let afterwards = table.settle(now);
        drop(table);
        afterwards.run();
        asked
    }

    fn lock(&self) -> MutexGuard<'_, Table<R>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settled(&self, change: impl FnOnce(&mut Table<R>, Instant)) {
        let now = self.runtime.now();
        let mut table = self.lock();
        change(&mut table, now);
        let afterwards = table.settle(now);
        drop(table);
        afterwards.run();
    }
}

fn full() -> Error {
    Error::new(ErrorKind::Timeout, Phase::Pool, Delivery::NotSent)
}

impl<R: Runtime> Table<R> {
    fn take(&mut self, id: ConnId) -> Option<Conn<R>> {
        self.kept.get_mut(id.index()).and_then(Option::take)
    }

    /// Carries out what the pool decided.
    fn settle(&mut self, now: Instant) -> Afterwards<R> {
        let mut afterwards = Afterwards { wake: Vec::new(), close: Vec::new() };
        while let Ok(Some(action)) = self.pool.poll_event(now) {
            let (waiter, told) = match action {
                Action::Close(id) => {
                    afterwards.close.extend(self.take(id));
                    continue;
                }
                Action::Use { waiter, conn } => {
                    (waiter, Waiter::Granted(conn, self.take(conn).map(Box::new)))
                }
                Action::Dial { waiter, conn } => (waiter, Waiter::Granted(conn, None)),
                Action::Expired(waiter) => (waiter, Waiter::Expired),
            };
            if let Some(Waiter::Waiting(Some(waker))) = self.waiters.insert(waiter, told) {
                afterwards.wake.push(waker);
            }
        }
        afterwards
    }
}

/// A place among those who wait; it is left when this is dropped.
struct Waiting<'a, R: Runtime> {
    connections: &'a Arc<Connections<R>>,
    waiter: WaiterId,
    alarm: Alarm<R>,
}

impl<R: Runtime> Waiting<'_, R> {
    async fn granted(mut self, by: Instant) -> Result<(Lease<R>, Option<Conn<R>>), Error> {
        poll_fn(|cx| {
            let runtime = &self.connections.runtime;
            let now = runtime.now();
            let late = by <= now || self.alarm.arm(cx, runtime, now, Some(by)).is_ready();
            let mut table = self.connections.lock();
            match table.waiters.remove(&self.waiter) {
                Some(Waiter::Granted(id, conn)) => {
                    let lease = Lease::new(self.connections, id);
                    return Poll::Ready(Ok((lease, conn.map(|conn| *conn))));
                }
                Some(Waiter::Waiting(_)) if !late => {}
                _ => return Poll::Ready(Err(full())),
            }
            let waiting = Waiter::Waiting(Some(cx.waker().clone()));
            table.waiters.insert(self.waiter, waiting);
            Poll::Pending
        })
        .await
    }
}

impl<R: Runtime> Drop for Waiting<'_, R> {
    fn drop(&mut self) {
        let waiter = self.waiter;
        self.connections.settled(|table, now| {
            table.pool.abandon(now, waiter);
            if let Some(Waiter::Granted(id, _)) = table.waiters.remove(&waiter) {
                table.pool.discard(now, id);
            }
        });
    }
}

/// A place under the caps; given up when it is dropped.
pub(super) struct Lease<R: Runtime> {
    connections: Arc<Connections<R>>,
    /// `None` once the place is the pool's again.
    id: Option<ConnId>,
}

impl<R: Runtime> Lease<R> {
    fn new(connections: &Arc<Connections<R>>, id: ConnId) -> Self {
        Self { connections: Arc::clone(connections), id: Some(id) }
    }
}

impl<R: Runtime> Drop for Lease<R> {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            self.connections.settled(|table, now| table.pool.discard(now, id));
        }
    }
}

/// A connection, and its place under the caps.
pub(super) struct Held<R: Runtime> {
    pub(super) conn: Conn<R>,
    pub(super) lease: Lease<R>,
}

impl<R: Runtime> Held<R> {
    /// Keeps the connection if it can carry another exchange, and gives the place up if not.
    pub(super) fn give_back(self) {
        let Self { mut conn, mut lease } = self;
        if !conn.is_clean() {
            return;
        }
        conn.rest();
        let Some(id) = lease.id.take() else { return };
        lease.connections.settled(|table, now| {
            if table.kept.len() <= id.index() {
                table.kept.resize_with(id.index() + 1, || None);
            }
            if let Some(place) = table.kept.get_mut(id.index()) {
                *place = Some(conn);
            }
            table.pool.check_in(now, id);
        });
    }
}

impl<R: Runtime> std::fmt::Debug for Connections<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (open, idle) = self.counts();
        write!(f, "Connections({open} open, {idle} idle)")
    }
}
