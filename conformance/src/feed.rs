//! The four ways in which an input reaches a machine, and the random numbers that cut it.

use bytes::{Buf, BytesMut};
use sinew_core::outbox::Outbox;
use sinew_core::time::Instant;

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
pub struct Script<'a> {
    input: &'a [u8],
    pieces: std::vec::IntoIter<usize>,
    /// Whether the peer shuts its writing side behind the input.
    eof: bool,
    /// Everything that was written.
    pub written: Vec<u8>,
}

impl<'a> Script<'a> {
    /// Feeds `input` in pieces of these lengths.
    pub fn new(input: &'a [u8], pieces: Vec<usize>, eof: bool) -> Self {
        Self { input, pieces: pieces.into_iter(), eof, written: Vec::new() }
    }

    /// What was not read.
    pub const fn unread(&self) -> &'a [u8] {
        self.input
    }
}

impl Socket for Script<'_> {
    fn read(&mut self, inbox: &mut BytesMut, _now: Instant) -> Read {
        let wanted = self.pieces.find(|piece| *piece > 0).unwrap_or(self.input.len());
        let (piece, rest) = self.input.split_at(wanted.min(self.input.len()));
        self.input = rest;
        if piece.is_empty() {
            return if self.eof { Read::Eof } else { Read::Blocked };
        }
        inbox.extend_from_slice(piece);
        Read::Bytes(piece.len())
    }

    fn write(&mut self, outbox: &mut Outbox, _now: Instant) -> usize {
        drain(outbox, &mut self.written, usize::MAX)
    }

    fn shut(&mut self) {}

    fn close(&mut self) {}
}

/// Moves up to `most` bytes out of an outbox; returns how many.
pub fn drain(outbox: &mut Outbox, into: &mut Vec<u8>, most: usize) -> usize {
    let mut moved = 0;
    while outbox.has_remaining() && moved < most {
        let chunk = outbox.chunk();
        let n = chunk.len().min(most - moved);
        into.extend_from_slice(&chunk[..n]);
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
