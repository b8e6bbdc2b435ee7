//! The thread that writes audit lines.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread;
use std::time::Duration;

use sinew_auth::AuditChain;
use sinew_core::observe::audit::Queue;

use super::super::observed::Observed;
use super::super::service::Notice;

/// Bytes that are written in one go, or a line more.
const BATCH: usize = 64 * 1024;

/// How long it is waited before what failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Where lines go.
pub(super) trait Out: Send {
    /// Writes whole lines: all of them, or it fails.
    fn put(&mut self, lines: &[u8]) -> io::Result<()>;

    /// No more will come.
    fn close(&mut self) -> io::Result<()>;
}

impl<W: Write + Send> Out for W {
    fn put(&mut self, lines: &[u8]) -> io::Result<()> {
        self.write_all(lines)?;
        self.flush()
    }

    fn close(&mut self) -> io::Result<()> {
        self.flush()
    }
}

/// The lines between those who have something to record and the thread.
#[derive(Debug)]
pub(super) struct Lines {
    state: Mutex<State>,
    more: Condvar,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) queue: Queue,
    /// The thread waits for a line.
    pub(super) waits: bool,
    /// No more will come.
    closing: bool,
    /// The thread has ended.
    over: bool,
    /// Who waits for that.
    closer: Option<Waker>,
}

impl Lines {
    pub(super) fn new(bytes: usize) -> Self {
        let queue = Queue::new(bytes);
        let state = State { queue, waits: false, closing: false, over: false, closer: None };
        Self { state: Mutex::new(state), more: Condvar::new() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the thread.
    pub(super) fn ring(&self) {
        self.more.notify_one();
    }

    /// No more will come: the thread writes what is there, and ends.
    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.ring();
    }

    /// Whether the thread has ended; else `waker` is woken when it does.
    pub(super) fn is_over(&self, waker: &Waker) -> bool {
        let mut state = self.lock();
        let over = state.over;
        let old = (!over).then(|| state.closer.replace(waker.clone()));
        drop(state);
        drop(old);
        over
    }
}

/// What the thread has.
pub(super) struct Writer {
    lines: Arc<Lines>,
    out: Box<dyn Out>,
    chain: Option<AuditChain>,
    observed: Arc<Observed>,
    /// Lines on their way into the batch.
    taken: Vec<String>,
    batch: Vec<u8>,
}

impl Writer {
    pub(super) fn start(
        lines: Arc<Lines>,
        out: Box<dyn Out>,
        chain: Option<AuditChain>,
        observed: Arc<Observed>,
    ) -> io::Result<()> {
        let writer = Self { lines, out, chain, observed, taken: Vec::new(), batch: Vec::new() };
        thread::Builder::new().name("sinew-audit".to_owned()).spawn(move || writer.run())?;
        Ok(())
    }

    fn run(mut self) {
        while self.fill() {
            if !self.write() {
                break;
            }
        }
        // What can be done about it was tried.
        let _ = self.out.close();
        let mut state = self.lines.lock();
        state.over = true;
        let closer = state.closer.take();
        drop(state);
        closer.into_iter().for_each(Waker::wake);
    }

    /// Waits for lines and takes some. `false`: there will be none.
    fn fill(&mut self) -> bool {
        self.take();
        self.batch.clear();
        // Requests do not wait for a hash.
        for line in self.taken.drain(..) {
            // Records are objects, and short.
            let sealed = self.chain.as_mut().and_then(|chain| chain.seal(&line).ok());
            self.batch.extend_from_slice(sealed.as_ref().unwrap_or(&line).as_bytes());
            self.batch.push(b'\n');
        }
        !self.batch.is_empty()
    }

    /// Waits for lines; none, if no more will come.
    fn take(&mut self) {
        let mut state = self.lines.lock();
        let mut bytes = 0;
        loop {
            while bytes < BATCH
                && let Some(line) = state.queue.pop()
            {
                bytes += line.len();
                self.taken.push(line);
            }
            if bytes > 0 || state.closing {
                return;
            }
            state.waits = true;
            state = self.lines.more.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waits = false;
        }
    }

    /// Writes the batch, however often that takes. `false`: no more will come, and it cannot be written.
    fn write(&mut self) -> bool {
        let mut told = false;
        while let Err(error) = self.out.put(&self.batch) {
            if !told {
                self.observed.tell(None, &Notice::AuditFailed(error.kind()));
            }
            told = true;
            let state = self.lines.lock();
            if state.closing {
                return false;
            }
            let again = self.lines.more.wait_timeout(state, RETRY);
            drop(again.unwrap_or_else(PoisonError::into_inner));
        }
        true
    }
}
