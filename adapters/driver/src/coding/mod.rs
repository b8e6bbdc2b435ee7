//! Content codings carried out: streaming transforms of bodies, with back-pressure and in bounded
//! memory. Which coding a body has or gets is decided in the core.

mod pack;
mod unpack;

pub(crate) use pack::{Packed, pack};
pub(crate) use unpack::Unpacking;

/// Bytes that one step makes.
const PIECE: usize = 8 * 1024;

/// The window of deflate, as a power of two: what RFC 1951 has.
const WINDOW: u8 = 15;
