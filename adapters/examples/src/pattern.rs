//! Bytes of which every position is known, so that whoever reads them can tell whether one was
//! lost, doubled or moved.

use std::convert::Infallible;
use std::sync::OnceLock;

use bytes::Bytes;
use futures_util::stream;
use sinew_driver::Body;

/// The pattern repeats after this many bytes: a prime, so that no power of two hides a mistake.
const PERIOD: u8 = 251;

/// The size of the pieces of [`body`], in bytes.
pub const PIECE: usize = 32 * 1024;

/// The bytes of the pattern from position `start` on, at most [`PIECE`] of them. Nothing is copied.
pub fn piece(start: u64, length: usize) -> Bytes {
    static TEMPLATE: OnceLock<Bytes> = OnceLock::new();
    let period = usize::from(PERIOD);
    let template = TEMPLATE.get_or_init(|| (0..PERIOD).cycle().take(period + PIECE).collect());
    let from = usize::try_from(start % u64::from(PERIOD)).unwrap_or_default();
    template.slice(from..from + length.min(PIECE))
}

/// Whether these bytes are those of the pattern from position `start` on.
pub fn matches(start: u64, bytes: &[u8]) -> bool {
    let mut at = start;
    bytes.chunks(PIECE).all(|chunk| {
        let same = piece(at, chunk.len()) == chunk;
        at += chunk.len() as u64;
        same
    })
}

/// The first `bytes` bytes of the pattern, piece by piece.
pub fn pieces(bytes: u64) -> impl Iterator<Item = Bytes> + Send {
    let step = PIECE as u64;
    (0..bytes.div_ceil(step)).map(move |index| {
        let start = index * step;
        piece(start, usize::try_from(step.min(bytes - start)).unwrap_or(PIECE))
    })
}

/// The same as a body that streams; its length is not announced.
pub fn body(bytes: u64) -> Body {
    Body::stream(stream::iter(pieces(bytes).map(Ok::<_, Infallible>)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_join_without_a_seam() {
        let all: Vec<u8> = pieces(100_000).flatten().collect();
        assert_eq!(all.len(), 100_000);
        assert!(matches(0, &all));
        assert!(matches(77_777, &all[77_777..]));
        assert!(!matches(77_776, &all[77_777..]));
        assert!(all.iter().enumerate().all(|(at, &byte)| usize::from(byte) == at % 251));
    }
}
