//! When a source asks again.

use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::time::Duration;

use sinew_core::jitter::Jitter;
use sinew_core::time::Instant;
use sinew_driver::Runtime;

/// After the first failure.
const FIRST: Duration = Duration::from_secs(1);

/// After many.
const LONGEST: Duration = Duration::from_secs(30);

/// The time between two questions: short while all goes well, growing while it does not, so that those who
/// ask do not hold down what they ask.
#[derive(Debug)]
pub(crate) struct Pause<R> {
    runtime: R,
    /// While all goes well.
    least: Duration,
    failures: u32,
    due: Option<Instant>,
    jitter: Jitter,
}

impl<R: Runtime> Pause<R> {
    pub(crate) fn new(runtime: R, least: Duration) -> Self {
        // Without numbers of the system all wait for as long, which is no worse than not to ask.
        let jitter = Jitter::new(getrandom::u64().unwrap_or_default());
        Self { runtime, least, failures: 0, due: None, jitter }
    }

    pub(crate) async fn wait(&self) {
        if let Some(due) = self.due {
            let mut alarm = self.runtime.sleep_until(due);
            poll_fn(|cx| Pin::new(&mut alarm).poll(cx)).await;
        }
    }

    /// It goes well, and nothing has to be waited for.
    pub(crate) fn well(&mut self) {
        self.failures = 0;
    }

    /// How it went.
    pub(crate) fn after(&mut self, well: bool) {
        let time = if well {
            self.failures = 0;
            self.least
        } else {
            let most = FIRST.saturating_mul(1 << self.failures.min(8)).min(LONGEST);
            self.failures = self.failures.saturating_add(1);
            self.jitter.between(most / 2, most)
        };
        self.due = Some(self.runtime.now() + time);
    }
}
