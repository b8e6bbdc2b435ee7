//! Steady load, by clients that never try again: whatever fails was lost.

use core::time::Duration;
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use serde_json::json;
use sinew_conformance::network::adapter::both;
use sinew_driver::{RestClient, Runtime};

use crate::Failure;

/// Of each caller, between an answer and the next request.
const PAUSE: Duration = Duration::from_millis(2);

#[derive(Default)]
struct Tally {
    answered: u64,
    /// By what went wrong.
    failed: BTreeMap<String, u64>,
}

impl Tally {
    fn count(&mut self, failed: Option<String>) {
        match failed {
            None => {
                self.answered += 1;
                // Whoever started this may wait for it.
                if self.answered == 1 {
                    println!("answered");
                    let _ = std::io::stdout().flush();
                }
            }
            Some(why) => *self.failed.entry(why).or_default() += 1,
        }
    }
}

/// Whether nothing was lost.
pub(crate) async fn run<R: Runtime>(client: &RestClient<R>, runtime: &R) -> Result<bool, Failure> {
    let over = Arc::new(AtomicBool::new(false));
    let ends = Arc::clone(&over);
    thread::spawn(move || {
        let mut rest = Vec::new();
        let _ = std::io::stdin().read_to_end(&mut rest);
        ends.store(true, Ordering::Relaxed);
    });
    let tally = Mutex::new(Tally::default());
    let caller = || call(client, runtime, &over, &tally);
    both(both(caller(), caller()), both(caller(), caller())).await;
    let Tally { answered, failed } = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("{}", json!({ "answered": answered, "failed": failed }));
    Ok(failed.is_empty() && answered > 0)
}

async fn call<R: Runtime>(
    client: &RestClient<R>,
    runtime: &R,
    over: &AtomicBool,
    tally: &Mutex<Tally>,
) {
    while !over.load(Ordering::Relaxed) {
        let failed = match client.get("/plain").no_retry().send().await {
            Ok(response) if response.status().is_success() => {
                response.text().await.err().map(|error| error.to_string())
            }
            Ok(response) => Some(response.status().to_string()),
            Err(error) => Some(error.to_string()),
        };
        tally.lock().unwrap_or_else(PoisonError::into_inner).count(failed);
        runtime.sleep_until(runtime.now() + PAUSE).await;
    }
}
