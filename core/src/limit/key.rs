//! Whose bucket: keys of clients, hashed with a secret.

use core::fmt;
use core::hash::{Hash, Hasher};

/// Who pays, hashed with a secret key: nobody can look for two clients that share a bucket.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct KeyHash(pub(super) u64);

impl KeyHash {
    /// As a number: the name of the bucket at a store.
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// The same client at the `n`th of several things, each with buckets of its own: a route, say.
    #[must_use]
    pub const fn at(self, n: u64) -> Self {
        // Odd, so that no two numbers give the same.
        Self(self.0 ^ n.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}

/// Whom keys have in common, a network, say: hashed like a key, but not to its end, as it is hardly
/// ever looked at. Not shown: the secret can be had from it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyGroup(Sip);

impl KeyGroup {
    /// The same group at the `n`th of several things, each with buckets of its own.
    #[must_use]
    pub const fn at(mut self, n: u64) -> Self {
        self.0.word(n);
        self
    }

    /// What is left to do.
    pub(super) fn hash(self) -> KeyHash {
        KeyHash(self.0.finish())
    }
}

/// The group of whoever is alone in it.
impl From<KeyHash> for KeyGroup {
    fn from(key: KeyHash) -> Self {
        Self(Sip::new(0, 0)).at(key.0)
    }
}

impl fmt::Debug for KeyGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyGroup(..)")
    }
}

/// Makes [`KeyHash`]es.
#[derive(Clone)]
pub struct KeyHasher {
    start: Sip,
}

impl KeyHasher {
    /// `seed` is a secret.
    pub fn new(seed: [u8; 16]) -> Self {
        let (high, low) = seed.split_at(8);
        let word = |half: &[u8]| half.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
        Self { start: Sip::new(word(high), word(low)) }
    }

    /// The hash of a key, whatever it consists of.
    #[inline]
    pub fn hash(&self, key: impl Hash) -> KeyHash {
        self.group(key).hash()
    }

    /// What keys have in common, whatever it consists of.
    #[inline]
    pub fn group(&self, group: impl Hash) -> KeyGroup {
        let mut sip = self.start;
        group.hash(&mut sip);
        KeyGroup(sip)
    }

    /// A group of keys, and the hash of one key in it, in one go.
    #[inline]
    pub fn hash_within(&self, group: impl Hash, key: impl Hash) -> (KeyGroup, KeyHash) {
        let group = self.group(group);
        let KeyGroup(mut sip) = group;
        key.hash(&mut sip);
        (group, KeyHash(sip.finish()))
    }
}

impl fmt::Debug for KeyHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHasher(..)")
    }
}

/// Bytes of a text whose length does not fit into the last word.
const LONG: u64 = 0xff;

/// `SipHash` with one round a word and three at the end, as the maps of std have it. Each value takes
/// whole words, which std's way of packing them into as few as possible costs more than it saves.
/// <https://www.aumasson.jp/siphash/siphash.pdf>
#[derive(Clone, Copy, PartialEq, Eq)]
struct Sip {
    v: [u64; 4],
}

impl Sip {
    const fn new(k0: u64, k1: u64) -> Self {
        Self {
            v: [
                k0 ^ 0x736f_6d65_7073_6575,
                k1 ^ 0x646f_7261_6e64_6f6d,
                k0 ^ 0x6c79_6765_6e65_7261,
                k1 ^ 0x7465_6462_7974_6573,
            ],
        }
    }

    #[inline]
    const fn round(&mut self) {
        let [mut a, mut b, mut c, mut d] = self.v;
        a = a.wrapping_add(b);
        b = b.rotate_left(13) ^ a;
        a = a.rotate_left(32);
        c = c.wrapping_add(d);
        d = d.rotate_left(16) ^ c;
        a = a.wrapping_add(d);
        d = d.rotate_left(21) ^ a;
        c = c.wrapping_add(b);
        b = b.rotate_left(17) ^ c;
        c = c.rotate_left(32);
        self.v = [a, b, c, d];
    }

    #[inline]
    const fn word(&mut self, word: u64) {
        self.v[3] ^= word;
        self.round();
        self.v[0] ^= word;
    }
}

impl Hasher for Sip {
    /// The last word ends with the length, or that has a word of its own: so no two ways to cut text
    /// into parts are the same.
    #[expect(clippy::inline_always, reason = "a call takes as long as the rounds of a short text")]
    #[inline(always)]
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        let last = match bytes.last_chunk::<8>() {
            // Of these, the ones that were not in a word yet.
            Some(last) => u64::from_le_bytes(*last) >> 8 >> (56 - 8 * rest.len()),
            None => rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
        };
        let len = bytes.len() as u64;
        self.word(last | len.min(LONG) << 56);
        if len >= LONG {
            self.word(len);
        }
    }

    #[inline]
    fn write_u8(&mut self, n: u8) {
        self.word(n.into());
    }

    #[inline]
    fn write_u16(&mut self, n: u16) {
        self.word(n.into());
    }

    #[inline]
    fn write_u32(&mut self, n: u32) {
        self.word(n.into());
    }

    #[inline]
    fn write_u64(&mut self, n: u64) {
        self.word(n);
    }

    #[inline]
    fn write_u128(&mut self, n: u128) {
        self.word(n as u64);
        self.word((n >> 64) as u64);
    }

    #[inline]
    fn write_usize(&mut self, n: usize) {
        self.word(n as u64);
    }

    #[inline]
    fn finish(&self) -> u64 {
        let mut end = *self;
        end.v[2] ^= 0xff;
        end.round();
        end.round();
        end.round();
        end.v.iter().fold(0, |all, word| all ^ word)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The reference vector: the key 0, 1, … 15, and the message 0, 1, … 14, which takes one whole
    /// word and one that ends with the length.
    #[test]
    fn rounds_are_those_of_siphash() {
        let mut sip = Sip::new(0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908);
        for word in [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908] {
            // Twice a word, as in the reference; the message is xored in once.
            sip.v[3] ^= word;
            sip.round();
            sip.round();
            sip.v[0] ^= word;
        }
        sip.v[2] ^= 0xff;
        (0..4).for_each(|_| sip.round());
        assert_eq!(sip.v.iter().fold(0, |all, word| all ^ word), 0xa129_ca61_49be_45e5);
    }

    #[test]
    fn no_two_keys_are_the_same_text() {
        let hasher = KeyHasher::new([9; 16]);
        let cut = [("", "abcdefghi"), ("a", "bcdefghi"), ("abcdefgh", "i"), ("abcdefghi", "")];
        for (i, one) in cut.iter().enumerate() {
            for other in &cut[i + 1..] {
                assert_ne!(hasher.hash(one), hasher.hash(other));
            }
        }
        assert_ne!(hasher.hash("a"), hasher.hash("a\0"));
        // Nothing but the length tells these apart.
        let zeros = |len: usize| hasher.hash("\0".repeat(len));
        let all: BTreeSet<u64> = (0..600).map(|len| zeros(len).to_bits()).collect();
        assert_eq!(all.len(), 600);
        assert_ne!(hasher.hash("a"), KeyHasher::new([8; 16]).hash("a"));
        let (group, key) = hasher.hash_within("us", "ann");
        assert_eq!((group.hash(), key), (hasher.hash("us"), hasher.hash(("us", "ann"))));
        assert_ne!(group.at(1), group.at(2));
        assert_ne!(key.at(1), key.at(2));
        assert_eq!(key.at(0), key);
    }
}
