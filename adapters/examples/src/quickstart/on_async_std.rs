//! The quickstart on async-std.

#[path = "serve.rs"]
mod serve;
#[path = "steps.rs"]
mod steps;

use sinew_async_std as sinew;

use super::Task;
use crate::transcript::Outcome;

type Runtime = sinew::AsyncStdRuntime;

/// Does it.
pub fn run(task: Task) -> Outcome {
    async_std::task::block_on(async {
        match task {
            Task::Walk => steps::walk("async-std").await,
            Task::Serve => serve::serve("async-std").await,
        }
    })
}

/// Starts a task that nobody waits for.
fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    async_std::task::spawn(task);
}
