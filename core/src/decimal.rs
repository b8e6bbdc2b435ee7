//! Short text with numbers in it, written from its end: so nobody has to know how many digits come.

/// Up to `N` bytes of text; what does not fit is left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Backwards<const N: usize> {
    bytes: [u8; N],
    start: usize,
}

impl<const N: usize> Backwards<N> {
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; N], start: N }
    }

    /// Puts text in front of what is there.
    #[inline]
    pub(crate) fn put(&mut self, text: &[u8]) {
        if let Some(start) = self.start.checked_sub(text.len())
            && let Some(to) = self.bytes.get_mut(start..self.start)
        {
            to.copy_from_slice(text);
            self.start = start;
        }
    }

    /// The same with a number in decimal digits, 20 at most.
    #[inline]
    pub(crate) fn number(&mut self, n: u64) {
        let mut left = n;
        while left >= 100 {
            self.put(&PAIRS[(left % 100) as usize]);
            left /= 100;
        }
        match PAIRS[left as usize] {
            [b'0', digit] => self.put(&[digit]),
            pair => self.put(&pair),
        }
    }

    #[inline]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        // Never beyond the end: then there is no text.
        &self.bytes[self.start.min(N)..]
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
            let mut text = Backwards::<24>::new();
            text.put(b"ms");
            text.number(n);
            text.put(b"=");
            assert_eq!(text.as_bytes(), format!("={n}ms").as_bytes());
        }
        let mut text = Backwards::<3>::new();
        text.put(b"b");
        text.put(b"bcd");
        text.number(7);
        text.number(10);
        assert_eq!(text.as_bytes(), b"7b", "never beyond its room");
    }
}
