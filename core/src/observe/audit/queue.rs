//! Records on their way to whoever writes them.

use core::time::Duration;
use std::collections::VecDeque;

use super::Record;
use crate::date;
use crate::json::Object;

/// Lines that wait to be written: bounded in bytes, and never in the way.
///
/// Every record has a number, in order, whether it fits or not. Where some did not fit, a line of the kind
/// `lost` stands in their place and says which: `first` and `last`.
#[derive(Clone, Debug)]
pub struct Queue {
    lines: VecDeque<String>,
    bytes: usize,
    cap: usize,
    sequence: u64,
    /// Those that did not fit since the last one that did.
    gap: Option<Gap>,
    lost: u64,
}

#[derive(Clone, Copy, Debug)]
struct Gap {
    first: u64,
    last: u64,
    unix: Duration,
}

impl Queue {
    /// Bytes of the lines that wait, at most, unless set otherwise: 1 MiB, some 4,000 records.
    pub const CAP: usize = 1 << 20;

    /// An empty queue of at most `cap` bytes. Nothing at all fits into one of 0.
    pub const fn new(cap: usize) -> Self {
        Self { lines: VecDeque::new(), bytes: 0, cap, sequence: 0, gap: None, lost: 0 }
    }

    /// Takes a record, if there is room for it; counts it otherwise. Takes the time of writing a line,
    /// whatever becomes of it.
    pub fn push(&mut self, record: &Record<'_>) {
        self.sequence += 1;
        let gap = self.gap.map(Gap::to_json);
        let line = record.to_json(self.sequence);
        let more = line.len() + gap.as_ref().map_or(0, String::len);
        if self.bytes.saturating_add(more) > self.cap {
            self.lost += 1;
            let first = self.gap.map_or(self.sequence, |gap| gap.first);
            self.gap = Some(Gap { first, last: self.sequence, unix: record.unix });
            return;
        }
        self.gap = None;
        self.bytes += more;
        self.lines.extend(gap);
        self.lines.push_back(line);
    }

    /// The next line, to be written with an end of line behind it. What was lost is told in its place.
    pub fn pop(&mut self) -> Option<String> {
        if let Some(line) = self.lines.pop_front() {
            self.bytes = self.bytes.saturating_sub(line.len());
            return Some(line);
        }
        self.gap.take().map(Gap::to_json)
    }

    /// Bytes of the lines that wait.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Records that were taken or lost.
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Records that did not fit, ever.
    pub const fn lost(&self) -> u64 {
        self.lost
    }
}

impl Gap {
    fn to_json(self) -> String {
        let mut json = Object::with_capacity(96);
        json.raw("seq", &self.last.to_string());
        json.text("time", &date::rfc3339(self.unix));
        json.text("kind", "lost");
        json.raw("first", &self.first.to_string());
        json.raw("last", &self.last.to_string());
        json.end()
    }
}
