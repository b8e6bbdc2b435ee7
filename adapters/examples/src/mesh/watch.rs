//! What a client decides about endpoints, told in words. Endpoints are A, B, C, in the order in which the
//! client heard of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sinew_core::client::dispatcher::{Endpoint, Outcome};
use sinew_core::observe::Event;
use sinew_core::policy::Mode;
use sinew_core::resilience::{Change, OpenReason};

/// Collects what is decided.
#[derive(Clone, Default)]
pub(super) struct Watch(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    words: Vec<String>,
    /// Attempts, by endpoint.
    sent: BTreeMap<u64, usize>,
}

impl Watch {
    /// The observer of a client.
    pub(super) fn listen(&self) -> impl Fn(&Event) + Send + Sync + use<> {
        let watch = self.clone();
        move |event| {
            let mut seen = watch.lock();
            if let Event::AttemptSent { endpoint, .. } = event {
                *seen.sent.entry(endpoint.0).or_default() += 1;
            }
            seen.words.extend(words(event));
        }
    }

    /// What was decided since the last time.
    pub(super) fn words(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().words)
    }

    /// Attempts since the last time, of the first endpoints that the client heard of.
    pub(super) fn sent<const N: usize>(&self) -> [usize; N] {
        let sent = std::mem::take(&mut self.lock().sent);
        std::array::from_fn(|at| sent.get(&(at as u64)).copied().unwrap_or_default())
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A, B, C.
pub(super) fn name(endpoint: Endpoint) -> char {
    u8::try_from(endpoint.0).map_or('?', |number| char::from(b'A'.saturating_add(number)))
}

fn words(event: &Event) -> Option<String> {
    Some(match event {
        Event::EndpointsUpdated { added, removed, all, .. } => {
            format!("endpoints: {all}, {added} new, {removed} gone")
        }
        Event::Picked { pick, .. } => {
            let chosen =
                format!("{} is chosen ({})", name(pick.chosen.endpoint), pick.chosen.score);
            match pick.runner_up {
                Some(other) => format!("{chosen}, not {} ({})", name(other.endpoint), other.score),
                None => chosen,
            }
        }
        Event::RetryScheduled { mode: Mode::Enforce, after, .. } => {
            format!("it fails; once again after {} ms", after.as_millis())
        }
        Event::Breaker { endpoint, change } => {
            format!("the breaker of {} {}", name(*endpoint), changed(*change))
        }
        Event::Ejected { endpoint, mode: Mode::Enforce, .. } => {
            format!("{} is worse than the others, and left alone", name(*endpoint))
        }
        Event::EjectionEnded { endpoint, .. } => format!("{} takes part again", name(*endpoint)),
        Event::Probed { endpoint, up, .. } => {
            format!("{} is {}, as checks say", name(*endpoint), if *up { "up" } else { "down" })
        }
        Event::Panic { panics: true, well, all } => {
            format!("{well} of {all} are well: all of them are asked")
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
