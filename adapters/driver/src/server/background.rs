//! What runs beside the connections of a server, for as long as it serves.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use super::service::Observer;
use crate::error::Error;

pub(super) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Becomes a task when it is known who observes the server.
pub(super) type Start = Box<dyn FnOnce(Option<Observer>) -> Task + Send>;

/// Whether what runs has what it needs; `None`: that is not known yet.
pub(super) type Ready = Box<dyn Fn() -> Option<Result<(), Error>> + Send>;

/// What is to run.
#[derive(Default)]
pub(super) struct Background {
    starts: Vec<Start>,
    ready: Vec<Ready>,
}

impl Background {
    pub(super) fn push(&mut self, start: Start) {
        self.starts.push(start);
    }

    /// Something else is replaced only once this is so.
    pub(super) fn wait_for(&mut self, ready: Ready) {
        self.ready.push(ready);
    }

    pub(super) fn append(&mut self, mut more: Self) {
        self.starts.append(&mut more.starts);
        self.ready.append(&mut more.ready);
    }

    pub(super) fn start(self, observer: Option<&Observer>) -> Tasks {
        let tasks = self.starts.into_iter().map(|start| start(observer.cloned())).collect();
        Tasks { tasks, ready: self.ready }
    }
}

/// What runs. Dropped, it has ended.
#[derive(Default)]
pub(super) struct Tasks {
    tasks: Vec<Task>,
    ready: Vec<Ready>,
}

impl Tasks {
    /// Polls all of them; one that has ended, or panicked, is dropped. How many panicked.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> usize {
        let mut panicked = 0;
        self.tasks.retain_mut(|task| {
            let polled = catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(cx)));
            panicked += usize::from(polled.is_err());
            polled.is_ok_and(|polled| polled.is_pending())
        });
        panicked
    }

    /// Polls all of them until they have what they need. `Err`: one of them cannot get it.
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.poll(cx) > 0 {
            return Poll::Ready(Err(Error::config("what runs beside the server panicked")));
        }
        let (mut pending, mut failed) = (false, None);
        for ready in &self.ready {
            match ready() {
                None => pending = true,
                Some(Ok(())) => {}
                Some(Err(error)) => failed = Some(error),
            }
        }
        match failed {
            Some(error) => Poll::Ready(Err(error)),
            None if pending => Poll::Pending,
            None => Poll::Ready(Ok(())),
        }
    }
}

impl fmt::Debug for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Background({})", self.starts.len())
    }
}
