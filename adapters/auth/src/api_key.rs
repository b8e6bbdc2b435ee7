//! Keys that are nothing but long random strings.

use core::fmt;

use crate::crypto::Crypto;

/// Finds what belongs to a key, knowing only the hashes of keys.
///
/// A key is hashed before it is compared, so the time that a comparison takes tells about hashes
/// and not about keys. A fast hash suffices because keys are random: 128 bits at least, which is why
/// short ones are refused.
#[derive(Clone)]
pub struct ApiKeys<T> {
    crypto: Crypto,
    /// Sorted by hash.
    entries: Vec<([u8; 32], T)>,
}

/// Why a key is not added.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum BadKey {
    /// Shorter than [`ApiKeys::MIN_BYTES`].
    TooShort,
    /// There already.
    Duplicate,
}

impl<T> ApiKeys<T> {
    /// Bytes of a key, at least: 128 bits in base64url.
    pub const MIN_BYTES: usize = 22;

    /// No keys.
    pub fn new(crypto: Crypto) -> Self {
        Self { crypto, entries: Vec::new() }
    }

    /// Adds a key.
    ///
    /// # Errors
    ///
    /// See [`BadKey`].
    pub fn insert(&mut self, key: &str, owner: T) -> Result<(), BadKey> {
        if key.len() < Self::MIN_BYTES {
            return Err(BadKey::TooShort);
        }
        self.insert_hash(self.crypto.sha256(key.as_bytes()), owner)
    }

    /// Adds a key of which only the SHA-256 is known.
    ///
    /// # Errors
    ///
    /// When it is there already.
    pub fn insert_hash(&mut self, sha256: [u8; 32], owner: T) -> Result<(), BadKey> {
        match self.entries.binary_search_by_key(&sha256, |(hash, _)| *hash) {
            Ok(_) => Err(BadKey::Duplicate),
            Err(at) => {
                self.entries.insert(at, (sha256, owner));
                Ok(())
            }
        }
    }

    /// What belongs to this key.
    pub fn find(&self, key: &str) -> Option<&T> {
        let sha256 = self.crypto.sha256(key.as_bytes());
        let at = self.entries.binary_search_by_key(&sha256, |(hash, _)| *hash).ok()?;
        self.entries.get(at).map(|(_, owner)| owner)
    }
}

impl<T> fmt::Debug for ApiKeys<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKeys({})", self.entries.len())
    }
}

impl fmt::Display for BadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooShort => "the key is too short to be random enough",
            Self::Duplicate => "the key is there already",
        })
    }
}

impl core::error::Error for BadKey {}
