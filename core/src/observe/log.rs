//! A bounded list of events.

use super::Event;

/// Events that a machine keeps for its driver; older ones stay, newer ones are counted as lost.
pub const CAPACITY: usize = 256;

/// What one machine decided since its driver last looked.
///
/// Off by default: an embedder that never drains pays nothing.
#[derive(Clone, Debug, Default)]
pub struct Log {
    events: Vec<Event>,
    /// Those of them that were drained: all, usually, before the next ones come.
    drained: usize,
    lost: u64,
    enabled: bool,
}

impl Log {
    /// A log that keeps nothing until it is enabled.
    pub const fn new() -> Self {
        Self { events: Vec::new(), drained: 0, lost: 0, enabled: false }
    }

    /// Starts or stops keeping events.
    pub fn enable(&mut self, enabled: bool) {
        self.enabled = enabled;
    }

    /// Whether it keeps events.
    #[inline]
    pub const fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Writes one event down.
    #[inline]
    pub fn record(&mut self, event: Event) {
        if self.enabled {
            self.keep(event);
        }
    }

    fn keep(&mut self, event: Event) {
        if self.events.len() == CAPACITY {
            self.events.drain(..core::mem::take(&mut self.drained));
        }
        if self.events.len() < CAPACITY {
            self.events.push(event);
        } else {
            self.lost = self.lost.saturating_add(1);
        }
    }

    /// The oldest event not yet drained; after an overflow, the loss itself.
    pub fn pop(&mut self) -> Option<Event> {
        if let Some(event) = self.events.get(self.drained) {
            self.drained += 1;
            return Some(*event);
        }
        self.events.clear();
        self.drained = 0;
        let lost = core::mem::take(&mut self.lost);
        (lost > 0).then_some(Event::Lost(lost))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::CloseReason;

    #[test]
    fn an_overflow_is_counted_and_told() {
        let mut log = Log::new();
        log.record(Event::Closed(CloseReason::Done));
        assert_eq!(log.pop(), None, "off until enabled");
        log.enable(true);
        for exchange in 0..(CAPACITY as u64 + 3) {
            log.record(Event::RequestStarted { exchange });
        }
        for exchange in 0..CAPACITY as u64 {
            assert_eq!(log.pop(), Some(Event::RequestStarted { exchange }));
        }
        assert_eq!(log.pop(), Some(Event::Lost(3)));
        assert_eq!(log.pop(), None);
    }
}
