//! The quickstart on smol.

#[path = "serve.rs"]
mod serve;
#[path = "steps.rs"]
mod steps;

use sinew_smol as sinew;

use super::Task;
use crate::transcript::Outcome;

type Runtime = sinew::SmolRuntime;

/// Does it.
pub fn run(task: Task) -> Outcome {
    smol::block_on(async {
        match task {
            Task::Walk => steps::walk("smol").await,
            Task::Serve => serve::serve("smol").await,
        }
    })
}

/// Starts a task that nobody waits for.
fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    smol::spawn(task).detach();
}
