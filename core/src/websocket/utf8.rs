//! UTF-8 that comes in pieces: <https://www.rfc-editor.org/rfc/rfc6455#section-8.1>

/// Checks a text piece by piece; what cannot become UTF-8 is found at the first byte that shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Utf8 {
    /// The start of a character that is not all there.
    started: [u8; 4],
    len: usize,
}

/// It is not UTF-8.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct NotUtf8;

impl Utf8 {
    /// Checks the next piece.
    #[inline]
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<(), NotUtf8> {
        // Most texts are, and that is seen faster.
        if self.len == 0 && piece.is_ascii() { Ok(()) } else { self.push_any(piece) }
    }

    fn push_any(&mut self, piece: &[u8]) -> Result<(), NotUtf8> {
        let mut rest = piece;
        while self.len > 0 {
            let Some((&byte, behind)) = rest.split_first() else { return Ok(()) };
            let Some(slot) = self.started.get_mut(self.len) else { return Err(NotUtf8) };
            *slot = byte;
            self.len += 1;
            rest = behind;
            match core::str::from_utf8(&self.started[..self.len]) {
                Ok(_) => self.len = 0,
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return Err(NotUtf8),
            }
        }
        let Err(error) = core::str::from_utf8(rest) else { return Ok(()) };
        if error.error_len().is_some() {
            return Err(NotUtf8);
        }
        // Up to three bytes of a character.
        let tail = &rest[error.valid_up_to()..];
        self.started[..tail.len()].copy_from_slice(tail);
        self.len = tail.len();
        Ok(())
    }

    /// Whether the text may end here.
    pub(super) const fn is_complete(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn check<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> bool {
        let mut utf8 = Utf8::default();
        pieces.into_iter().all(|piece| utf8.push(piece).is_ok()) && utf8.is_complete()
    }

    /// Bytes that are nearly UTF-8, more often than chance would have it.
    fn nearly() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            any::<char>().prop_map(|c| c.to_string().into_bytes()),
            any::<char>().prop_map(|c| c.to_string().bytes().take(2).collect()),
            vec(prop_oneof![any::<u8>(), 0x7fu8..0xc3, 0xe0u8..0xf6], 0..4),
        ];
        vec(piece, 0..6).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn pieces_are_judged_as_the_whole(bytes in nearly()) {
            let whole = core::str::from_utf8(&bytes);
            prop_assert_eq!(check([&bytes[..]]), whole.is_ok());
            prop_assert_eq!(check(bytes.chunks(1)), whole.is_ok());
            prop_assert_eq!(check(bytes.chunks(3)), whole.is_ok());
            // What is wrong shows at once: no continuation could mend it.
            if let Err(error) = whole && let Some(len) = error.error_len() {
                let mut utf8 = Utf8::default();
                let shown = error.valid_up_to() + len;
                let sound = bytes[..shown].chunks(1).all(|byte| utf8.push(byte).is_ok());
                prop_assert!(!sound || bytes.get(shown).is_some_and(|byte| utf8.push(&[*byte]).is_err()));
            }
        }
    }
}
