//! Messages, compressed and unpacked: <https://www.rfc-editor.org/rfc/rfc7692#section-7.2>

use core::fmt;

use bytes::Bytes;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::{Deflate, Pool, Takeover, Window};
use crate::websocket::message::make_room;

/// The end of every message, which does not travel.
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// Room that output is given at least, a step at a time.
const ROOM: usize = 512;

/// Both directions of one connection. Nothing is allocated before a message needs it.
pub(in crate::websocket) struct Codec {
    agreed: Deflate,
    deflater: Option<Compress>,
    inflater: Option<Decompress>,
    /// A block said to be the last, and nothing came behind it so far.
    ended: bool,
    /// A message is half unpacked.
    open: bool,
}

/// Why a message cannot be unpacked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::websocket) enum Flaw {
    Corrupt,
    /// It is larger than the limit; as many bytes of it as the limit allows are there.
    TooLong,
}

impl Codec {
    pub(in crate::websocket) fn new(agreed: Deflate) -> Self {
        Self { agreed, deflater: None, inflater: None, ended: false, open: false }
    }

    /// A message as it travels; `None` where it travels as it is.
    #[inline(never)]
    pub(in crate::websocket) fn deflate(&mut self, message: &[u8]) -> Option<Bytes> {
        if message.len() < self.agreed.threshold {
            return None;
        }
        // https://www.rfc-editor.org/rfc/rfc7692#section-7.2.3.6
        if message.is_empty() {
            return Some(Bytes::from_static(&[0]));
        }
        let (level, bits) = (self.agreed.level, self.agreed.outgoing.bits);
        let deflater = self.deflater.get_or_insert_with(|| {
            Compress::new_with_window_bits(Compression::new(u32::from(level)), false, bits)
        });
        let mut out = Vec::with_capacity(message.len() / 2 + ROOM);
        let start = deflater.total_in();
        loop {
            let done = usize::try_from(deflater.total_in() - start).ok()?;
            let status =
                deflater.compress_vec(message.get(done..)?, &mut out, FlushCompress::Sync).ok()?;
            // Room that is left says that everything is out.
            if out.len() < out.capacity() || status == Status::BufError {
                break;
            }
            out.reserve(message.len() / 2 + ROOM);
        }
        // https://www.rfc-editor.org/rfc/rfc7692#section-7.2.1
        if out.ends_with(&TAIL) {
            out.truncate(out.len() - TAIL.len());
        }
        if self.agreed.outgoing.takeover == Takeover::Forget {
            deflater.reset();
        }
        Some(out.into())
    }

    /// Unpacks a piece of a message. Stops as soon as `out` holds more than `limit` bytes: no more is
    /// ever allocated.
    pub(in crate::websocket) fn inflate(
        &mut self,
        piece: &[u8],
        out: &mut Vec<u8>,
        limit: usize,
    ) -> Result<(), Flaw> {
        let bits = self.incoming_bits();
        let inflater =
            self.inflater.get_or_insert_with(|| Decompress::new_with_window_bits(false, bits));
        self.open = true;
        let mut rest = piece;
        while !rest.is_empty() || out.len() == out.capacity() {
            if self.ended {
                if rest.is_empty() {
                    break;
                }
                // https://www.rfc-editor.org/rfc/rfc7692#section-7.2.3.5
                inflater.reset(false);
                self.ended = false;
            }
            // One byte beyond the limit tells that there is more.
            let room = (rest.len().saturating_mul(4) + ROOM).min(limit + 1 - out.len());
            make_room(out, room, limit + 1);
            let (read, written) = (inflater.total_in(), out.len());
            let status = inflater
                .decompress_vec(rest, out, FlushDecompress::Sync)
                .map_err(|_| Flaw::Corrupt);
            let read = usize::try_from(inflater.total_in() - read).unwrap_or(rest.len());
            rest = rest.get(read..).unwrap_or_default();
            if out.len() > limit {
                return Err(Flaw::TooLong);
            }
            match status? {
                Status::StreamEnd => self.ended = true,
                // Nothing in, nothing out: there is no more to come of it.
                Status::Ok | Status::BufError if read == 0 && out.len() == written => break,
                Status::Ok | Status::BufError => {}
            }
        }
        Ok(())
    }

    /// The message is complete.
    pub(in crate::websocket) fn finish(
        &mut self,
        out: &mut Vec<u8>,
        limit: usize,
    ) -> Result<(), Flaw> {
        if !self.ended {
            // https://www.rfc-editor.org/rfc/rfc7692#section-7.2.2
            self.inflate(&TAIL, out, limit)?;
        }
        self.open = false;
        if (self.forgets_incoming() || self.ended)
            && let Some(inflater) = &mut self.inflater
        {
            inflater.reset(false);
            self.ended = false;
        }
        Ok(())
    }

    /// Gives memory back that holds nothing.
    pub(in crate::websocket) fn rest(&mut self) {
        if self.agreed.outgoing.takeover == Takeover::Forget {
            self.deflater = None;
        }
        if self.forgets_incoming() && !self.open {
            self.inflater = None;
        }
    }

    pub(in crate::websocket) fn lend(&mut self, pool: &mut Pool) {
        if self.agreed.outgoing.takeover == Takeover::Forget && self.deflater.is_none() {
            self.deflater = pool.deflater(self.agreed.level, self.agreed.outgoing.bits);
        }
        if self.forgets_incoming() && self.inflater.is_none() {
            self.inflater = pool.inflater(self.incoming_bits());
        }
    }

    pub(in crate::websocket) fn give_back(&mut self, pool: &mut Pool) {
        if self.agreed.outgoing.takeover == Takeover::Forget
            && let Some(deflater) = self.deflater.take()
        {
            pool.keep_deflater(self.agreed.level, self.agreed.outgoing.bits, deflater);
        }
        if self.forgets_incoming()
            && !self.open
            && let Some(inflater) = self.inflater.take()
        {
            pool.keep_inflater(self.incoming_bits(), inflater);
        }
    }

    /// The window of what unpacks; zlib has none below nine bits.
    fn incoming_bits(&self) -> u8 {
        self.agreed.incoming.bits.max(Window::MIN_BITS)
    }

    const fn forgets_incoming(&self) -> bool {
        matches!(self.agreed.incoming.takeover, Takeover::Forget)
    }
}

impl fmt::Debug for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Codec").field("agreed", &self.agreed).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bomb_takes_no_more_memory_than_a_message_may_have() {
        const LIMIT: usize = 1_000_000;
        let agreed = Deflate {
            outgoing: Window::default(),
            incoming: Window::default(),
            level: 9,
            threshold: 0,
        };
        let bomb = Codec::new(agreed.clone()).deflate(&vec![0; 4 * LIMIT]).unwrap_or_default();
        for size in [1, 100, bomb.len()] {
            let (mut codec, mut out) = (Codec::new(agreed.clone()), Vec::new());
            let mut largest = 0;
            let end = bomb.chunks(size).find_map(|piece| {
                let end = codec.inflate(piece, &mut out, LIMIT).err();
                largest = largest.max(out.capacity());
                end
            });
            assert_eq!(end, Some(Flaw::TooLong));
            assert_eq!(largest, LIMIT + 1, "in pieces of {size}");
        }
    }
}
