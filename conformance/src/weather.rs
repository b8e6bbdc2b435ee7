//! A hostile network in memory: a byte pipe with a splitter, a staller and a cutter in it.

use bytes::{Buf, BytesMut};
use core::time::Duration;
use sinew_core::outbox::Outbox;
use sinew_core::time::Instant;

use crate::end::{Read, Socket};
use crate::feed::drain;

/// What a network does to one direction.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Weather {
    /// The splitter: at most so many bytes in one read or write, in turn; none: no limit.
    pub pieces: Vec<usize>,
    /// The staller: behind so many bytes, nothing is read for so long. In ascending order.
    pub stalls: Vec<(u64, Duration)>,
    /// The cutter: behind so many bytes the reader sees the end, and the rest is lost.
    pub cut: Option<u64>,
    /// Bytes under way; 0: 64 KiB.
    pub capacity: usize,
}

/// One direction of a connection.
#[derive(Debug, Default)]
pub struct Pipe {
    weather: Weather,
    flight: BytesMut,
    written: u64,
    read: u64,
    turn: usize,
    next_stall: usize,
    stalled_until: Option<Instant>,
    /// The writer shut it.
    shut: bool,
    /// The reader dropped it.
    deaf: bool,
    /// Counts everything that may wake someone.
    changes: u64,
}

impl Pipe {
    /// A fresh pipe in this weather.
    pub fn new(weather: Weather) -> Self {
        Self { weather, ..Self::default() }
    }

    /// Grows with everything that may wake a reader or a writer.
    pub const fn changes(&self) -> u64 {
        self.changes
    }

    /// When a stalled reader may look again.
    pub fn wakes_at(&self) -> Option<Instant> {
        self.stalled_until
    }

    /// Bytes under way.
    pub fn in_flight(&self) -> usize {
        self.flight.len()
    }

    /// Whether time is not the reason why nothing moves.
    pub fn clear_until(&mut self, now: Instant) {
        if self.stalled_until.is_some_and(|until| until <= now) {
            self.stalled_until = None;
        }
    }

    fn piece(&mut self) -> usize {
        let pieces = &self.weather.pieces;
        let piece = pieces.get(self.turn % pieces.len().max(1)).copied().unwrap_or(usize::MAX);
        self.turn += 1;
        piece.max(1)
    }

    fn is_cut(&self) -> bool {
        self.weather.cut.is_some_and(|cut| self.written >= cut)
    }

    fn write(&mut self, outbox: &mut Outbox) -> usize {
        if self.deaf || self.is_cut() {
            // Into a connection that is gone: taken, and lost.
            let lost = outbox.len();
            outbox.advance(lost);
            return lost;
        }
        let capacity = if self.weather.capacity == 0 { 65_536 } else { self.weather.capacity };
        let room = capacity.saturating_sub(self.flight.len());
        let mut most = self.piece().min(room);
        if let Some(cut) = self.weather.cut {
            most = most.min(usize::try_from(cut - self.written).unwrap_or(usize::MAX));
        }
        let written = drain(outbox, &mut self.flight, most);
        self.written += written as u64;
        self.changes += u64::from(written > 0);
        written
    }

    fn read(&mut self, inbox: &mut BytesMut, now: Instant) -> Read {
        self.clear_until(now);
        if let Some((at, length)) = self.weather.stalls.get(self.next_stall).copied()
            && at <= self.read
        {
            self.next_stall += 1;
            self.stalled_until = Some(now + length);
        }
        if self.stalled_until.is_some() {
            return Read::Blocked;
        }
        if self.flight.is_empty() {
            return if self.shut || self.is_cut() { Read::Eof } else { Read::Blocked };
        }
        let n = self.piece().min(self.flight.len());
        inbox.extend_from_slice(&self.flight[..n]);
        self.flight.advance(n);
        self.read += n as u64;
        self.changes += 1;
        Read::Bytes(n)
    }
}

/// The two pipes as one end sees them.
#[derive(Debug)]
pub struct Port<'a> {
    /// What this end writes.
    pub out: &'a mut Pipe,
    /// What this end reads.
    pub into: &'a mut Pipe,
}

impl Socket for Port<'_> {
    fn read(&mut self, inbox: &mut BytesMut, now: Instant) -> Read {
        self.into.read(inbox, now)
    }

    fn write(&mut self, outbox: &mut Outbox, _now: Instant) -> usize {
        self.out.write(outbox)
    }

    fn shut(&mut self) {
        self.out.shut = true;
        self.out.changes += 1;
    }

    fn close(&mut self) {
        self.shut();
        self.into.deaf = true;
        self.into.flight.clear();
        self.into.changes += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox(bytes: &[u8]) -> Outbox {
        let mut outbox = Outbox::new();
        outbox.put(bytes);
        outbox
    }

    fn read(pipe: &mut Pipe, at: u64) -> (Read, Vec<u8>) {
        let mut inbox = BytesMut::new();
        let read = pipe.read(&mut inbox, Instant::ZERO + Duration::from_secs(at));
        (read, inbox.to_vec())
    }

    #[test]
    fn it_splits() {
        let mut pipe = Pipe::new(Weather { pieces: vec![2, 1], ..Weather::default() });
        let mut from = outbox(b"abcd");
        assert_eq!(pipe.write(&mut from), 2);
        assert_eq!(read(&mut pipe, 0), (Read::Bytes(1), b"a".to_vec()));
        assert_eq!(pipe.write(&mut from), 2);
        assert_eq!(read(&mut pipe, 0), (Read::Bytes(1), b"b".to_vec()));
    }

    #[test]
    fn it_stalls() {
        let stalls = vec![(1, Duration::from_secs(5))];
        let mut pipe = Pipe::new(Weather { stalls, pieces: vec![1], ..Weather::default() });
        let mut from = outbox(b"ab");
        pipe.write(&mut from);
        pipe.write(&mut from);
        assert_eq!(read(&mut pipe, 0).0, Read::Bytes(1));
        assert_eq!(read(&mut pipe, 0).0, Read::Blocked);
        assert_eq!(read(&mut pipe, 4).0, Read::Blocked);
        assert_eq!(read(&mut pipe, 5), (Read::Bytes(1), b"b".to_vec()));
    }

    #[test]
    fn it_cuts() {
        let mut pipe = Pipe::new(Weather { cut: Some(3), ..Weather::default() });
        let mut from = outbox(b"abcdef");
        assert_eq!(pipe.write(&mut from), 3);
        assert_eq!(pipe.write(&mut from), 3);
        assert_eq!(read(&mut pipe, 0), (Read::Bytes(3), b"abc".to_vec()));
        assert_eq!(read(&mut pipe, 0).0, Read::Eof);
    }
}
