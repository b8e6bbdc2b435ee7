//! Notices a driver that changed the inbox other than by appending.

use bytes::BytesMut;

/// What the inbox looked like when the machine last looked: its length and its last bytes.
///
/// Offsets into the inbox are kept between polls; this is what keeps them from going stale.
#[derive(Debug, Default)]
pub(crate) struct InboxGuard {
    len: usize,
    last: [u8; 8],
}

impl InboxGuard {
    /// Whether what was there still is.
    #[inline]
    pub(crate) fn holds(&self, inbox: &BytesMut) -> bool {
        self.len == 0 || inbox.get(..self.len).is_some_and(|old| last(old) == self.last)
    }

    /// How long it was.
    #[cfg(feature = "websocket")]
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Remembers the inbox as it is.
    #[inline]
    pub(crate) fn remember(&mut self, inbox: &BytesMut) {
        self.len = inbox.len();
        if self.len > 0 {
            self.last = last(inbox);
        }
    }
}

/// The last eight bytes; fewer are filled up with zeros.
fn last(bytes: &[u8]) -> [u8; 8] {
    bytes.last_chunk().copied().unwrap_or_else(|| {
        let mut last = [0; 8];
        last[..bytes.len()].copy_from_slice(bytes);
        last
    })
}
