//! The four ways in which an input reaches a machine, and the random numbers that cut it.

use core::time::Duration;
use std::collections::VecDeque;

use bytes::{Buf, BufMut, BytesMut};
use sinew_core::outbox::Outbox;
use sinew_core::time::Instant;

use crate::case::Step;
use crate::end::{Read, Socket};

/// How an input is fed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// In one piece.
    Whole,
    /// Octet by octet.
    Bytes,
    /// In pieces cut at random, by this seed.
    Cuts(u64),
    /// In one piece, with more bytes behind it.
    Trailing,
    /// Over a socket, with another request behind it.
    Socket,
}

impl Way {
    /// A name for reports.
    pub fn name(self) -> String {
        match self {
            Self::Whole => "whole".to_owned(),
            Self::Bytes => "byte by byte".to_owned(),
            Self::Cuts(seed) => format!("cut at random (seed {seed})"),
            Self::Trailing => "with trailing bytes".to_owned(),
            Self::Socket => "over a socket".to_owned(),
        }
    }

    /// The lengths of the pieces of an input of `len` bytes.
    pub fn pieces(self, len: usize) -> Vec<usize> {
        match self {
            Self::Whole | Self::Trailing | Self::Socket => vec![len],
            Self::Bytes => vec![1; len],
            Self::Cuts(seed) => {
                let mut random = Random::new(seed);
                let mut pieces = Vec::new();
                let mut left = len;
                while left > 0 {
                    // Small and large pieces alike: the reach is drawn too.
                    let reach = [1, 3, 17, left][random.below(4)].min(left);
                    let piece = 1 + random.below(reach);
                    pieces.push(piece);
                    left -= piece;
                }
                pieces
            }
        }
    }
}

/// Repeatable random numbers (`SplitMix64`): for cutting inputs, for nothing secret.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The same seed gives the same numbers.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = (bound as u64).max(1);
        // Below a usize, so it fits one.
        usize::try_from(self.next() % bound).unwrap_or(0)
    }
}

/// A socket whose input is written down and whose output is kept.
#[derive(Debug)]
pub struct Script {
    acts: VecDeque<Act>,
    /// Whether the peer shuts its writing side behind the input.
    eof: bool,
    /// Whether the peer takes nothing more.
    stalled: bool,
    /// Everything that was written.
    pub written: Vec<u8>,
}

#[derive(Debug)]
enum Act {
    Piece(Vec<u8>),
    Wait(Duration),
    Stall,
}

impl Script {
    /// Feeds `input` in pieces of these lengths.
    pub fn new(input: &[u8], pieces: Vec<usize>, eof: bool) -> Self {
        let mut script = Self { acts: VecDeque::new(), eof, stalled: false, written: Vec::new() };
        script.send(input, pieces);
        script
    }

    /// Does these steps, what they send cut this way.
    pub fn of(steps: &[Step], way: Way, eof: bool) -> Self {
        let mut script = Self::new(&[], Vec::new(), eof);
        script.stalled = steps.first() == Some(&Step::Stall);
        for step in steps {
            match step {
                Step::Send(_) | Step::Fill(_) => {
                    let bytes = step.bytes();
                    script.send(&bytes, way.pieces(bytes.len()));
                }
                Step::Wait(seconds) => {
                    script.acts.push_back(Act::Wait(Duration::from_secs_f64(*seconds)));
                }
                Step::Stall => script.acts.push_back(Act::Stall),
            }
        }
        script
    }

    /// Sends more, in one piece.
    pub fn append(&mut self, bytes: &[u8]) {
        self.send(bytes, vec![bytes.len()]);
    }

    fn send(&mut self, mut input: &[u8], pieces: Vec<usize>) {
        for piece in pieces {
            let (first, rest) = input.split_at(piece.min(input.len()));
            input = rest;
            self.acts.push_back(Act::Piece(first.to_vec()));
        }
        self.acts.push_back(Act::Piece(input.to_vec()));
    }

    /// The next time that passes. What was sent in front of it lies in the socket, read or not.
    pub fn pause(&mut self) -> Option<Duration> {
        let at = self.acts.iter().position(|act| matches!(act, Act::Wait(_)))?;
        self.stalled |= self.acts.iter().take(at).any(|act| matches!(act, Act::Stall));
        match self.acts.remove(at) {
            Some(Act::Wait(time)) => Some(time),
            _ => None,
        }
    }

    /// What was not read.
    pub fn unread(&self) -> Vec<u8> {
        let piece = |act: &Act| match act {
            Act::Piece(piece) => piece.clone(),
            Act::Wait(_) | Act::Stall => Vec::new(),
        };
        self.acts.iter().flat_map(piece).collect()
    }
}

impl Socket for Script {
    fn read(&mut self, inbox: &mut BytesMut, _now: Instant) -> Read {
        loop {
            match self.acts.pop_front() {
                Some(Act::Piece(piece)) if piece.is_empty() => {}
                Some(Act::Piece(piece)) => {
                    inbox.extend_from_slice(&piece);
                    return Read::Bytes(piece.len());
                }
                Some(Act::Stall) => self.stalled = true,
                Some(wait @ Act::Wait(_)) => {
                    self.acts.push_front(wait);
                    return Read::Blocked;
                }
                None if self.eof => return Read::Eof,
                None => return Read::Blocked,
            }
        }
    }

    fn write(&mut self, outbox: &mut Outbox, _now: Instant) -> usize {
        if self.stalled { 0 } else { drain(outbox, &mut self.written, usize::MAX) }
    }

    fn shut(&mut self) {}

    fn close(&mut self) {}
}

/// Moves up to `most` bytes out of an outbox; returns how many.
pub fn drain(outbox: &mut Outbox, into: &mut impl BufMut, most: usize) -> usize {
    let mut moved = 0;
    while outbox.has_remaining() && moved < most {
        let chunk = outbox.chunk();
        let n = chunk.len().min(most - moved);
        into.put_slice(&chunk[..n]);
        outbox.advance(n);
        moved += n;
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_the_input() {
        for seed in 0..200 {
            let pieces = Way::Cuts(seed).pieces(97);
            assert_eq!(pieces.iter().sum::<usize>(), 97);
            assert!(pieces.iter().all(|piece| *piece > 0));
        }
        assert_eq!(Way::Bytes.pieces(3), [1, 1, 1]);
        assert_eq!(Way::Whole.pieces(3), [3]);
    }

    #[test]
    fn one_seed_one_sequence() {
        let draw = |seed| (0..8).map(move |_| 0).scan(Random::new(seed), |r, _| Some(r.next()));
        assert!(draw(7).eq(draw(7)));
        assert!(!draw(7).eq(draw(8)));
    }
}
