//! What a client decides, told in words.

use std::sync::{Arc, Mutex, PoisonError};

use sinew_core::client::dispatcher::Outcome;
use sinew_core::observe::Event;
use sinew_core::policy::Mode;
use sinew_core::resilience::{Change, OpenReason};

/// Collects what is decided about calls.
#[derive(Clone, Default)]
pub(super) struct Narrator(Arc<Mutex<Vec<String>>>);

impl Narrator {
    /// The observer of a client.
    pub(super) fn listen(&self) -> impl Fn(&Event) + Send + Sync + use<> {
        let heard = Arc::clone(&self.0);
        move |event| {
            if let Some(words) = words(event) {
                heard.lock().unwrap_or_else(PoisonError::into_inner).push(words);
            }
        }
    }

    /// What was decided since the last time.
    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn words(event: &Event) -> Option<String> {
    Some(match event {
        Event::AttemptSent { attempt, endpoint, .. } => {
            format!("attempt {attempt} goes to endpoint {}", endpoint.0)
        }
        Event::RetryScheduled { mode: Mode::Enforce, after, .. } => {
            format!("once again after {} ms", after.as_millis())
        }
        Event::RetryRefused { why, .. } => format!("not again: {}", why.name()),
        Event::Hedged { .. } => "a second attempt joins the first".to_owned(),
        Event::Breaker { endpoint, change } => {
            format!("the breaker of endpoint {} {}", endpoint.0, changed(*change))
        }
        Event::RouteBreaker { route, change } => {
            format!("the breaker of {route} {}", changed(*change))
        }
        Event::CallEnded { outcome: Outcome::Done, attempts, .. } => {
            format!("answered, attempts: {attempts}")
        }
        Event::CallEnded { outcome, attempts, .. } => {
            format!("given up, attempts: {attempts} ({outcome:?})")
        }
        _ => return None,
    })
}

fn changed(change: Change) -> String {
    match change {
        Change::Opened { why, .. } => format!("opens: {}", OpenReason::Tripped(why).name()),
        Change::HalfOpened => "lets a probe through".to_owned(),
        Change::Closed => "closes".to_owned(),
    }
}
