//! What runs beside the connections of a server, for as long as it serves.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Context;

use super::service::Observer;

pub(super) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Becomes a task when it is known who observes the server.
pub(super) type Start = Box<dyn FnOnce(Option<Observer>) -> Task + Send>;

/// What is to run.
#[derive(Default)]
pub(super) struct Background(Vec<Start>);

impl Background {
    pub(super) fn push(&mut self, start: Start) {
        self.0.push(start);
    }

    pub(super) fn append(&mut self, mut more: Self) {
        self.0.append(&mut more.0);
    }

    pub(super) fn start(self, observer: Option<&Observer>) -> Tasks {
        Tasks(self.0.into_iter().map(|start| start(observer.cloned())).collect())
    }
}

/// What runs. Dropped, it has ended.
#[derive(Default)]
pub(super) struct Tasks(Vec<Task>);

impl Tasks {
    /// Polls all of them; one that has ended, or panicked, is dropped. How many panicked.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> usize {
        let mut panicked = 0;
        self.0.retain_mut(|task| {
            let polled = catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(cx)));
            panicked += usize::from(polled.is_err());
            polled.is_ok_and(|polled| polled.is_pending())
        });
        panicked
    }
}

impl fmt::Debug for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Background({})", self.0.len())
    }
}
