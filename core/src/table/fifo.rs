//! What is told in order, and taken soon.

/// A queue that is emptied before much else comes: it begins anew whenever it is, and nothing wraps.
#[derive(Clone, Debug)]
pub(crate) struct Fifo<T> {
    items: Vec<T>,
    /// Those at the front that were taken; none, once all were.
    taken: usize,
}

impl<T> Default for Fifo<T> {
    fn default() -> Self {
        Self { items: Vec::new(), taken: 0 }
    }
}

impl<T: Copy> Fifo<T> {
    pub(crate) const fn new() -> Self {
        Self { items: Vec::new(), taken: 0 }
    }

    /// Those that wait.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.items.len() - self.taken
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a few instructions of every call")]
    pub(crate) fn push(&mut self, item: T) {
        if self.items.len() == self.items.capacity() {
            self.make_room();
        }
        self.items.push(item);
    }

    /// It grows with those that were not taken, and not with those that were.
    #[inline(never)]
    fn make_room(&mut self) {
        self.items.drain(..std::mem::take(&mut self.taken));
        // As much again: so often only are those that wait moved.
        self.items.reserve(self.items.len().max(1));
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Option<T> {
        let item = *self.items.get(self.taken)?;
        self.taken += 1;
        if self.taken == self.items.len() {
            self.items.clear();
            self.taken = 0;
        }
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a plain queue; what was taken is not kept for ever.
        #[test]
        fn equals_a_plain_queue(inputs in prop::collection::vec(any::<bool>(), 0..300)) {
            let (mut fifo, mut model) = (Fifo::new(), VecDeque::new());
            let mut most = 0;
            for (number, push) in inputs.into_iter().enumerate() {
                if push {
                    fifo.push(number);
                    model.push_back(number);
                } else {
                    prop_assert_eq!(fifo.pop(), model.pop_front());
                }
                prop_assert_eq!(fifo.is_empty(), model.is_empty());
                prop_assert_eq!(fifo.len(), model.len());
                most = model.len().max(most);
                prop_assert!(fifo.items.capacity() <= 4 + 4 * most);
            }
        }
    }

    #[test]
    fn those_that_wait_are_not_moved_for_each_that_comes() {
        let mut fifo = Fifo::new();
        (0..1_000).for_each(|number| fifo.push(number));
        let mut moved = 0;
        for number in 1_000..3_000 {
            fifo.pop();
            fifo.push(number);
            moved += usize::from(fifo.taken == 0);
        }
        assert!(moved <= 4, "{moved} times");
    }

    #[test]
    fn one_that_is_never_emptied_does_not_grow() {
        let mut fifo = Fifo::new();
        fifo.push(0);
        for number in 1..10_000 {
            fifo.push(number);
            assert_eq!(fifo.pop(), Some(number - 1));
        }
        assert!(fifo.items.capacity() <= 8, "{}", fifo.items.capacity());
    }
}
