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
        // From the end on, two at a time.
        let (mut digits, mut at) = ([0; DIGITS], DIGITS);
        while n >= 10 {
            at -= 2;
            digits[at..at + 2].copy_from_slice(&PAIRS[(n % 100) as usize]);
            n /= 100;
        }
        // An odd one, or the zero that is a number by itself.
        if n > 0 || at == DIGITS {
            at -= 1;
            digits[at] = b'0' + n as u8;
        }
        self.put(&digits[at..]);
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// Digits of a number, at most.
const DIGITS: usize = 20;

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
        assert_eq!(text.as_bytes(), b"ab", "never in part");
    }
}
