//! What is sent and received.

use core::fmt;

use bytes::Bytes;

/// Makes room for `more` bytes in the block that a message is put together in: it holds `most` bytes at
/// most, and is that long, or a half of it, a quarter and so on: less than twice as long as it has to be.
pub(super) fn make_room(block: &mut Vec<u8>, more: usize, most: usize) {
    let needed = block.len().saturating_add(more);
    if needed > block.capacity() {
        let halvings = most.checked_div(needed).and_then(usize::checked_ilog2).unwrap_or(0);
        block.reserve_exact((most >> halvings).max(needed) - block.len());
    }
}

/// A message: whole, unpacked, and where it is a text, UTF-8.
///
/// One that came in a single frame is a slice of the block that it was read into, and keeps it
/// alive: [`detach`](Self::detach) copies it out for those who keep one for long.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Message {
    /// UTF-8.
    Text(Text),
    /// Bytes.
    Binary(Bytes),
}

/// Bytes that are UTF-8.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Text(Bytes);

impl Message {
    /// A text.
    pub fn text(text: impl Into<Text>) -> Self {
        Self::Text(text.into())
    }

    /// Bytes.
    pub fn binary(bytes: impl Into<Bytes>) -> Self {
        Self::Binary(bytes.into())
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// Its bytes.
    pub fn into_bytes(self) -> Bytes {
        match self {
            Self::Text(text) => text.into_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// How many bytes it has.
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies it out of the block that it came in.
    pub fn detach(&mut self) {
        let (Self::Text(Text(bytes)) | Self::Binary(bytes)) = self;
        *bytes = Bytes::copy_from_slice(bytes);
    }
}

impl Text {
    /// Bytes that were checked.
    pub(super) const fn checked(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The text. Checks it once more, at some gigabytes a second, because nothing here is `unsafe`.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Its bytes.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<&'static str> for Text {
    fn from(text: &'static str) -> Self {
        Self(Bytes::from_static(text.as_bytes()))
    }
}

impl TryFrom<Bytes> for Text {
    type Error = core::str::Utf8Error;

    fn try_from(bytes: Bytes) -> Result<Self, Self::Error> {
        core::str::from_utf8(&bytes)?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Text {
    /// Its length: what it says may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Debug for Message {
    /// Its kind and length: what it says may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Text(_) => "Text",
            Self::Binary(_) => "Binary",
        };
        write!(f, "{kind}({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_block_ends_at_its_limit_and_is_never_twice_as_long_as_it_has_to_be(
            most in 1usize..100_000,
            pieces in proptest::collection::vec(1usize..3000, 1..60),
        ) {
            let mut block: Vec<u8> = Vec::new();
            for piece in pieces {
                let piece = piece.min(most - block.len());
                let (needed, before) = (block.len() + piece, block.capacity());
                make_room(&mut block, piece, most);
                let room = block.capacity();
                prop_assert!(room >= needed && room <= most, "{room} bytes of {most}");
                prop_assert!(room == before || room / 2 < needed, "{room} bytes for {needed}");
                prop_assert!(room == before || before <= room.div_ceil(2), "{before}, then {room}");
                block.resize(needed, 0);
            }
        }
    }
}
