//! Who is served first when not all can be: the more important, and among equals the older.

use crate::policy::Priority;
use crate::table::{Key, Link, List, Slab};

/// One line for each [`Priority`].
const CLASSES: usize = Priority::ALL.len();

/// A place in a [`PriorityQueue`]; stale once its occupant left.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ticket(Key);

/// A bounded queue with a line for each [`Priority`]. Every operation takes constant time, leaving
/// from the middle, too, so that deadlines can be kept by whoever keeps time.
#[derive(Clone, Debug)]
pub struct PriorityQueue<T> {
    /// `None` is who has left.
    waiting: Slab<(Priority, Option<T>)>,
    links: Vec<Link>,
    lines: [List; CLASSES],
    cap: usize,
}

impl<T> PriorityQueue<T> {
    /// An empty queue of at most `cap` occupants. It grows with what waits in it.
    pub const fn new(cap: usize) -> Self {
        Self { waiting: Slab::new(), links: Vec::new(), lines: [List::EMPTY; CLASSES], cap }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether nobody else may wait.
    pub fn is_full(&self) -> bool {
        self.len() >= self.cap
    }

    /// Joins behind everyone of the same priority.
    ///
    /// # Errors
    ///
    /// `occupant` itself, where the queue is full.
    pub fn push(&mut self, priority: Priority, occupant: T) -> Result<Ticket, T> {
        if self.is_full() {
            return Err(occupant);
        }
        let key = self.waiting.insert((priority, Some(occupant)));
        if self.links.len() <= key.index() as usize {
            self.links.resize(key.index() as usize + 1, Link::OUT);
        }
        self.lines[priority as usize].push_back(&mut self.links, key.index());
        Ok(Ticket(key))
    }

    /// Leaves, from wherever it stands. `None` for who is not here any more.
    pub fn remove(&mut self, ticket: Ticket) -> Option<T> {
        let (priority, occupant) = self.waiting.remove(ticket.0)?;
        self.lines[*priority as usize].remove(&mut self.links, ticket.0.index());
        occupant.take()
    }

    /// Who is to be served next, still here.
    pub fn peek(&self) -> Option<&T> {
        let next = self.lines.iter().rev().find_map(|line| line.front())?;
        self.at(next).map(|(_, occupant)| occupant)
    }

    /// Who is to be served next.
    pub fn pop(&mut self) -> Option<T> {
        let next = self.lines.iter().rev().find_map(|line| line.front())?;
        self.remove(Ticket(self.waiting.key_at(next)?))
    }

    /// The first in the line of a priority.
    pub fn first(&self, priority: Priority) -> Option<(Ticket, &T)> {
        self.at(self.lines[priority as usize].front()?)
    }

    /// The last in the line of a priority.
    pub fn last(&self, priority: Priority) -> Option<(Ticket, &T)> {
        self.at(self.lines[priority as usize].back()?)
    }

    fn at(&self, index: u32) -> Option<(Ticket, &T)> {
        let (key, (_, occupant)) = self.waiting.at(index)?;
        Some((Ticket(key), occupant.as_ref()?))
    }

    /// Who is to be turned away next: the least important, and among equals the one who came last.
    pub fn pop_last(&mut self) -> Option<T> {
        let last = self.lines.iter().find_map(|line| line.back())?;
        self.remove(Ticket(self.waiting.key_at(last)?))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    const ALL: [Priority; CLASSES] = Priority::ALL;

    proptest! {
        /// Against five plain lists.
        #[test]
        fn equals_plain_lists(inputs in prop::collection::vec((0..5u8, 0..5usize, any::<prop::sample::Index>()), 0..300)) {
            let mut queue = PriorityQueue::new(20);
            let mut lists: [VecDeque<(usize, Ticket)>; CLASSES] = Default::default();
            let mut gone = Vec::new();
            for (number, (what, class, pick)) in inputs.into_iter().enumerate() {
                match what {
                    0 | 1 => match queue.push(ALL[class], number) {
                        Ok(ticket) => lists[class].push_back((number, ticket)),
                        Err(back) => {
                            prop_assert_eq!(back, number);
                            prop_assert_eq!(queue.len(), 20);
                        }
                    },
                    2 => {
                        let expected = lists.iter_mut().rev().find_map(VecDeque::pop_front);
                        prop_assert_eq!(queue.pop(), expected.map(|(number, _)| number));
                        gone.extend(expected.map(|(_, ticket)| ticket));
                    }
                    3 => {
                        let expected = lists.iter_mut().find_map(VecDeque::pop_back);
                        prop_assert_eq!(queue.pop_last(), expected.map(|(number, _)| number));
                        gone.extend(expected.map(|(_, ticket)| ticket));
                    }
                    _ => {
                        let list = &mut lists[class];
                        if !list.is_empty()
                            && let Some((number, ticket)) = list.remove(pick.index(list.len()))
                        {
                            prop_assert_eq!(queue.remove(ticket), Some(number));
                            gone.push(ticket);
                        }
                    }
                }
                if let Some(ticket) = gone.last() {
                    prop_assert_eq!(queue.remove(*ticket), None, "a stale ticket moves nobody");
                }
                prop_assert_eq!(queue.len(), lists.iter().map(VecDeque::len).sum::<usize>());
                let ends = |end: Option<(Ticket, &usize)>| end.map(|(ticket, number)| (*number, ticket));
                prop_assert_eq!(ends(queue.first(ALL[class])), lists[class].front().copied());
                prop_assert_eq!(ends(queue.last(ALL[class])), lists[class].back().copied());
            }
        }
    }
}
