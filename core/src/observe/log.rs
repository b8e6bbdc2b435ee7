//! A bounded list of events.

use super::Event;
use crate::table::Fifo;

/// Events that a machine keeps for its driver; older ones stay, newer ones are counted as lost.
pub const CAPACITY: usize = 256;

/// What one machine decided since its driver last looked.
///
/// Off by default: an embedder that never drains pays nothing.
#[derive(Clone, Debug, Default)]
pub struct Log {
    events: Fifo<Event>,
    lost: u64,
    enabled: bool,
}

impl Log {
    /// A log that keeps nothing until it is enabled.
    pub const fn new() -> Self {
        Self { events: Fifo::new(), lost: 0, enabled: false }
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
        if self.events.len() < CAPACITY {
            self.events.push(event);
        } else {
            self.lost = self.lost.saturating_add(1);
        }
    }

    /// The oldest event not yet drained; after an overflow, the loss itself.
    pub fn pop(&mut self) -> Option<Event> {
        let event = self.events.pop();
        if event.is_some() {
            return event;
        }
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
