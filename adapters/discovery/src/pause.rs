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

    /// Whether the last one failed.
    pub(crate) const fn is_failing(&self) -> bool {
        self.failures > 0
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

#[cfg(test)]
mod tests {
    use sinew_smol::SmolRuntime;

    use super::*;

    /// How long it would wait, as far as may be told while time goes on.
    fn wait(pause: &mut Pause<SmolRuntime>, well: bool) -> (Duration, Duration) {
        let before = pause.runtime.now();
        pause.after(well);
        let (due, after) = (pause.due.unwrap(), pause.runtime.now());
        (due.saturating_since(after), due.saturating_since(before))
    }

    #[test]
    fn the_time_grows_with_failures_up_to_half_a_minute_and_is_spread() {
        let mut pause = Pause::new(SmolRuntime, Duration::from_millis(500));
        for most in [1, 2, 4, 8, 16, 30, 30].map(Duration::from_secs) {
            let (at_least, at_most) = wait(&mut pause, false);
            assert!(at_most >= most / 2 && at_least <= most, "{at_least:?} {at_most:?} {most:?}");
            assert!(pause.is_failing());
        }
        let (at_least, at_most) = wait(&mut pause, true);
        assert!(at_least <= pause.least && pause.least <= at_most && !pause.is_failing());
        pause.after(false);
        pause.well();
        assert!(!pause.is_failing());
    }
}
