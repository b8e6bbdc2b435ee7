//! What a client decides about endpoints, told in words. Endpoints are A, B, C, in the order in which the
//! client heard of them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sinew_core::client::dispatcher::{Endpoint, Outcome};
use sinew_core::observe::Event;
use sinew_core::policy::Mode;
use sinew_core::resilience::{Change, OpenReason};

/// Collects what is decided.
#[derive(Clone, Default)]
pub(super) struct Watch {
    /// The number of A.
    first: u64,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    words: Vec<String>,
    /// Attempts, by endpoint.
    sent: BTreeMap<u64, usize>,
}

/// How many attempts went where.
pub(super) struct Sent {
    first: u64,
    by_endpoint: BTreeMap<u64, usize>,
}

impl Sent {
    pub(super) fn to(&self, endpoint: Endpoint) -> usize {
        self.by_endpoint.get(&endpoint.0).copied().unwrap_or_default()
    }
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (endpoint, attempts)) in self.by_endpoint.iter().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            write!(f, "{comma}{attempts} to {}", letter(*endpoint, self.first))?;
        }
        Ok(())
    }
}

impl Watch {
    /// Of a client that knew an endpoint before A: the one that its URL names.
    pub(super) fn behind_the_url() -> Self {
        Self { first: 1, ..Self::default() }
    }

    /// A, B, C.
    pub(super) fn name(&self, endpoint: Endpoint) -> char {
        letter(endpoint.0, self.first)
    }

    /// The observer of a client.
    pub(super) fn listen(&self) -> impl Fn(&Event) + Send + Sync + use<> {
        let watch = self.clone();
        move |event| {
            let mut seen = watch.lock();
            if let Event::AttemptSent { endpoint, .. } = event {
                *seen.sent.entry(endpoint.0).or_default() += 1;
            }
            seen.words.extend(watch.tell(event));
        }
    }

    /// What was decided since the last time.
    pub(super) fn words(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().words)
    }

    /// Attempts since the last time.
    pub(super) fn sent(&self) -> Sent {
        Sent { first: self.first, by_endpoint: std::mem::take(&mut self.lock().sent) }
    }

    fn tell(&self, event: &Event) -> Option<String> {
        Some(match event {
            Event::EndpointsUpdated { added, removed, all, .. } => {
                format!("endpoints: {all}, {added} new, {removed} gone")
            }
            Event::Picked { pick, .. } => {
                let chosen = format!(
                    "{} is chosen ({})",
                    self.name(pick.chosen.endpoint),
                    pick.chosen.score
                );
                match pick.runner_up {
                    Some(other) => {
                        format!("{chosen}, not {} ({})", self.name(other.endpoint), other.score)
                    }
                    None => chosen,
                }
            }
            Event::RetryScheduled { mode: Mode::Enforce, after, .. } => {
                format!("it fails; once again after {} ms", after.as_millis())
            }
            Event::Breaker { endpoint, change } => {
                format!("the breaker of {} {}", self.name(*endpoint), changed(*change))
            }
            Event::Ejected { endpoint, mode: Mode::Enforce, .. } => {
                format!("{} is worse than the others, and left alone", self.name(*endpoint))
            }
            Event::EjectionEnded { endpoint, .. } => {
                format!("{} takes part again", self.name(*endpoint))
            }
            Event::Probed { endpoint, up, .. } => {
                format!(
                    "{} is {}, as checks say",
                    self.name(*endpoint),
                    if *up { "up" } else { "down" }
                )
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

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn letter(endpoint: u64, first: u64) -> char {
    let number = endpoint.checked_sub(first).and_then(|number| u8::try_from(number).ok());
    number.map_or('?', |number| char::from(b'A'.saturating_add(number)))
}

fn changed(change: Change) -> String {
    match change {
        Change::Opened { why, .. } => format!("opens: {}", OpenReason::Tripped(why).name()),
        Change::HalfOpened => "lets a probe through".to_owned(),
        Change::Closed => "closes".to_owned(),
    }
}
