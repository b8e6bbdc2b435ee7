//! What the fuzz targets share: an input decides by its own bytes how it is run.
//!
//! So a seed is nothing but the bytes of a peer, and any capture is one.

mod scene;

use sinew_conformance::feed::Way;
use sinew_conformance::laws::Input;
use sinew_core::http1::Limits;

pub use scene::scene;

/// How one input is run.
#[derive(Clone, Copy, Debug)]
pub struct Choice(u32);

impl Choice {
    /// What these bytes choose.
    pub fn of(bytes: &[u8]) -> Self {
        // FNV-1a: every byte counts, so a mutation anywhere may change the run.
        let mix = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        Self(bytes.iter().fold(0x811c_9dc5, mix))
    }

    /// The input, with the end behind it or not, cut twice: octet by octet, and at places of its
    /// own choice.
    pub fn input(self, bytes: &[u8]) -> Input<'_> {
        let cuts = [Way::Bytes, Way::Cuts(self.seed())];
        let cuts = cuts.map(|way| way.pieces(bytes.len())).to_vec();
        Input { bytes, eof: self.0 & 1 == 1, cuts }
    }

    /// Limits that short inputs reach, for half of the inputs.
    pub fn limits(self, base: Limits) -> Limits {
        if self.0 & 2 == 0 {
            return base;
        }
        Limits {
            head: 256,
            fields: 6,
            target: 60,
            body: 40,
            chunk_line: 30,
            chunk_extensions: 40,
            trailer_bytes: 60,
            trailers: 2,
            interim: 2,
            pipeline: 3,
            inbox: 512,
        }
    }

    /// A seed for what is random.
    pub fn seed(self) -> u64 {
        u64::from(self.0)
    }

    /// One of several.
    pub fn pick<T>(self, of: &[T]) -> &T {
        &of[(self.0 >> 8) as usize % of.len()]
    }
}
