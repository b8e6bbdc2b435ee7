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

    #[inline]
    pub(super) fn put(&mut self, text: &[u8]) {
        if let Some(to) = self.bytes.get_mut(self.len..self.len + text.len()) {
            to.copy_from_slice(text);
            self.len += text.len();
        }
    }

    /// A number in decimal digits.
    pub(super) fn number(&mut self, n: u64) {
        let digits = n.checked_ilog10().map_or(1, |log| log as usize + 1);
        let Some(to) = self.bytes.get_mut(self.len..self.len + digits) else { return };
        self.len += digits;
        let (first, pairs) = to.as_rchunks_mut();
        let mut left = n;
        for pair in pairs.iter_mut().rev() {
            *pair = PAIRS[(left % 100) as usize];
            left /= 100;
        }
        if let [first] = first {
            *first = b'0' + left as u8;
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// The numbers below 100, in two digits each.
static PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut n = 0;
    while n < pairs.len() {
        pairs[n] = [b'0' + (n / 10) as u8, b'0' + (n % 10) as u8];
        n += 1;
    }
    pairs
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_whole() {
        for n in [0, 7, 10, 99, 100, 101, 1_000, 1_234_567_890, u64::MAX] {
            let mut text = Text::<24>::new();
            text.put(b"n=");
            text.number(n);
            assert_eq!(text.as_bytes(), format!("n={n}").as_bytes());
        }
        let mut text = Text::<3>::new();
        text.put(b"ab");
        text.put(b"cd");
        text.number(10);
        assert_eq!(text.as_bytes(), b"ab", "never in part");
    }
}
