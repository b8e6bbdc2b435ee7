//! Content codings carried out: streaming transforms of bodies, with back-pressure and in bounded
//! memory. Which coding a body has or gets is decided in the core.

mod pack;
mod unpack;

use sinew_core::content_coding::{Compression, Decompression};

pub(crate) use pack::{Packed, pack};
pub(crate) use unpack::Unpacking;

/// Says what makes no sense about codings: of which setting, and why.
pub(crate) fn check(
    decompression: Option<Decompression>,
    compression: Option<Compression>,
) -> Option<(&'static str, &'static str)> {
    let takes_nothing = |policy: Decompression| policy.max_codings == 0 || policy.max_ratio == 0;
    if decompression.is_some_and(takes_nothing) {
        let why = "with max_codings or max_ratio 0 takes nothing: leave it off";
        return Some(("decompression", why));
    }
    let no_level = |policy: Compression| !(1..=9).contains(&policy.level);
    let why = ("compression", "has a level that is not 1 to 9");
    compression.is_some_and(no_level).then_some(why)
}

/// Bytes that one step makes.
const PIECE: usize = 8 * 1024;

/// The window of deflate, as a power of two: what RFC 1951 has.
const WINDOW: u8 = 15;
