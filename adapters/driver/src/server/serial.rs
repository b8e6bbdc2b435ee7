//! One at a time, in the order in which they came.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use super::link::remember;

/// The line of those who do what only one may do at a time.
#[derive(Clone, Debug, Default)]
pub(super) struct Serial(Arc<Mutex<Line>>);

/// Each by the number that it drew; the lowest has the turn.
#[derive(Debug, Default)]
struct Line {
    came: u64,
    waiting: BTreeMap<u64, Option<Waker>>,
}

/// Somebody's place in the line. Dropped, the next one has its turn.
#[derive(Debug)]
pub(super) struct Turn {
    serial: Serial,
    number: u64,
}

impl Serial {
    /// Waits until all who came before are done.
    pub(super) async fn turn(&self) -> Turn {
        let turn = self.join();
        let number = turn.number;
        poll_fn(|cx| {
            let mut line = self.lock();
            if line.waiting.first_key_value().is_none_or(|(first, _)| *first == number) {
                return Poll::Ready(());
            }
            let old = line.waiting.get_mut(&number).and_then(|own| remember(own, cx.waker()));
            drop(line);
            drop(old);
            Poll::Pending
        })
        .await;
        turn
    }

    fn join(&self) -> Turn {
        let mut line = self.lock();
        line.came += 1;
        let number = line.came;
        line.waiting.insert(number, None);
        Turn { serial: self.clone(), number }
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        // Nothing panics under this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut line = self.serial.lock();
        let own = line.waiting.remove(&self.number);
        let next = line.waiting.first_entry().and_then(|mut first| first.get_mut().take());
        drop(line);
        drop(own);
        next.into_iter().for_each(Waker::wake);
    }
}
