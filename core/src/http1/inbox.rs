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
    pub(crate) fn holds(&self, inbox: &BytesMut) -> bool {
        let n = self.len.min(8);
        inbox.len() >= self.len && inbox[self.len - n..self.len] == self.last[..n]
    }

    /// Remembers the inbox as it is.
    pub(crate) fn remember(&mut self, inbox: &BytesMut) {
        self.len = inbox.len();
        let n = self.len.min(8);
        self.last[..n].copy_from_slice(&inbox[self.len - n..]);
    }
}
