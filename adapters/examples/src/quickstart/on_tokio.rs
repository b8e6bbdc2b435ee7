//! The quickstart on tokio.

#[path = "serve.rs"]
mod serve;
#[path = "steps.rs"]
mod steps;

use sinew_tokio as sinew;

use super::Task;
use crate::transcript::Outcome;

type Runtime = sinew::TokioRuntime;

/// Does it.
pub fn run(task: Task) -> Outcome {
    let threads = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    threads.block_on(async {
        match task {
            Task::Walk => steps::walk("tokio").await,
            Task::Serve => serve::serve("tokio").await,
        }
    })
}

/// Starts a task that nobody waits for.
fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}
