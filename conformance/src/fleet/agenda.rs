//! What happens when: the clock of a fleet.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use sinew_core::time::Instant;

/// Events in the order of their time; those of the same instant in the order in which they were
/// entered. The time is virtual: it is that of the event that was taken last.
#[derive(Clone, Debug)]
pub struct Agenda<E> {
    entries: BinaryHeap<Reverse<(Instant, u64, E)>>,
    entered: u64,
}

impl<E: Ord> Agenda<E> {
    /// Nothing happens.
    pub const fn new() -> Self {
        Self { entries: BinaryHeap::new(), entered: 0 }
    }

    /// Enters what happens then.
    pub fn enter(&mut self, at: Instant, event: E) {
        self.entered += 1;
        self.entries.push(Reverse((at, self.entered, event)));
    }

    /// Takes what happens next.
    pub fn take(&mut self) -> Option<(Instant, E)> {
        self.entries.pop().map(|Reverse((at, _, event))| (at, event))
    }

    /// Events that were entered, ever.
    pub const fn entered(&self) -> u64 {
        self.entered
    }
}

impl<E: Ord> Default for Agenda<E> {
    fn default() -> Self {
        Self::new()
    }
}
