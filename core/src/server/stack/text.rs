//! Short values of fields, written without an allocation.

/// Up to `N` bytes of text; what does not fit is cut off.
#[derive(Debug)]
pub(super) struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Text<N> {
    pub(super) const fn new() -> Self {
        Self { bytes: [0; N], len: 0 }
    }

    pub(super) fn put(&mut self, text: &[u8]) {
        if let Some(to) = self.bytes.get_mut(self.len..self.len + text.len()) {
            to.copy_from_slice(text);
            self.len += text.len();
        }
    }

    /// A number in decimal digits.
    pub(super) fn number(&mut self, mut n: u64) {
        let mut digits = [0; 20];
        let mut at = digits.len();
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (n % 10) as u8;
            n /= 10;
            at -= 1;
            if n == 0 {
                break;
            }
        }
        self.put(digits.get(at..).unwrap_or_default());
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_whole() {
        for n in [0, 7, 10, 1_234_567_890, u64::MAX] {
            let mut text = Text::<24>::new();
            text.put(b"n=");
            text.number(n);
            assert_eq!(text.as_bytes(), format!("n={n}").as_bytes());
        }
        let mut text = Text::<3>::new();
        text.put(b"ab");
        text.put(b"cd");
        assert_eq!(text.as_bytes(), b"ab", "never in part");
    }
}
