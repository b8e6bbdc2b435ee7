//! Public keys: <https://www.rfc-editor.org/rfc/rfc7517>

use core::fmt;

use serde::Deserialize;

use crate::algorithm::Algorithm;
use crate::{base64url, der};

/// Keys of one set, at most; a set with more is refused.
const KEYS: usize = 100;

/// Bytes of a set of keys, at most: 256 KiB.
pub const MAX_JWKS: usize = 256 * 1024;

/// A public key, and what it may be used for.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifyingKey {
    id: Option<Box<str>>,
    /// Never empty. More than one only for an RSA key whose `alg` is unsaid.
    algorithms: Vec<Algorithm>,
    /// The `subjectPublicKey` of X.509.
    pub(crate) public_key: Vec<u8>,
}

impl VerifyingKey {
    /// The `kid`.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Whether the key is for this algorithm.
    pub fn allows(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyingKey")
            .field("id", &self.id)
            .field("algorithms", &self.algorithms)
            .finish_non_exhaustive()
    }
}

/// The keys of an issuer.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KeySet {
    keys: Vec<VerifyingKey>,
}

/// Why a set of keys is not taken. The keys before it stay in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum BadJwks {
    /// More bytes or more keys than any issuer has.
    TooLarge,
    /// Not a JSON object with a list of `keys`.
    Malformed,
    /// Two keys have the same `kid` and a common algorithm: which of them signed?
    Ambiguous,
    /// No key in it can be used here.
    Empty,
}

impl KeySet {
    /// Reads a JWK set. Keys of other kinds, for other uses, or malformed ones are left out.
    /// <https://www.rfc-editor.org/rfc/rfc7517#section-5>
    ///
    /// An RSA key that does not say its `alg` is taken for the PSS family and for PKCS1 alike; every
    /// other key has one algorithm.
    ///
    /// # Errors
    ///
    /// See [`BadJwks`].
    pub fn from_json(json: &[u8]) -> Result<Self, BadJwks> {
        if json.len() > MAX_JWKS {
            return Err(BadJwks::TooLarge);
        }
        let set: JwkSet = serde_json::from_slice(json).map_err(|_| BadJwks::Malformed)?;
        if set.keys.len() > KEYS {
            return Err(BadJwks::TooLarge);
        }
        let keys = set.keys.into_iter();
        let keys: Vec<VerifyingKey> =
            keys.filter_map(|key| serde_json::from_value::<Jwk>(key).ok()?.into_key()).collect();
        let ambiguous = keys.iter().enumerate().any(|(i, key)| {
            let same = |other: &VerifyingKey| {
                other.id == key.id && other.algorithms.iter().any(|a| key.allows(*a))
            };
            key.id.is_some() && keys[i + 1..].iter().any(same)
        });
        match keys.len() {
            _ if ambiguous => Err(BadJwks::Ambiguous),
            0 => Err(BadJwks::Empty),
            _ => Ok(Self { keys }),
        }
    }

    /// The keys.
    pub fn keys(&self) -> &[VerifyingKey] {
        &self.keys
    }

    /// The key of this id. Without one, the only key that is for this algorithm.
    pub fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Find<'_> {
        let mut named = self.keys.iter().filter(|key| id.is_none() || key.id() == id).peekable();
        let known = named.peek().is_some();
        let mut fitting = named.filter(|key| key.allows(algorithm));
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Find::Key(key),
            // A key of this id is for something else: the token lies about its algorithm.
            (None, _) if known && id.is_some() => Find::OtherAlgorithm,
            _ => Find::Unknown,
        }
    }
}

/// What became of a search.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Find<'a> {
    /// The key.
    Key(&'a VerifyingKey),
    /// The id is known; its key is not for the algorithm.
    OtherAlgorithm,
    /// There is no such key, or it is not clear which one is meant.
    Unknown,
}

impl BadJwks {
    /// One phrase in plain words.
    pub const fn explain(self) -> &'static str {
        match self {
            Self::TooLarge => "the set of keys is too large",
            Self::Malformed => "the set of keys is not JSON of the right shape",
            Self::Ambiguous => "two keys have the same id",
            Self::Empty => "no key can be used",
        }
    }
}

impl fmt::Display for BadJwks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.explain())
    }
}

impl core::error::Error for BadJwks {}

#[derive(Deserialize)]
struct JwkSet {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
}

impl Jwk {
    fn into_key(self) -> Option<VerifyingKey> {
        // https://www.rfc-editor.org/rfc/rfc7517#section-4.2 and 4.3
        let signs = self.usage.as_deref().is_none_or(|usage| usage == "sig");
        let verifies = self.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        if !signs || !verifies {
            return None;
        }
        let part = |text: &Option<String>| base64url::decode(text.as_deref()?.as_bytes());
        let (possible, public_key) = match (self.kty.as_str(), self.crv.as_deref()) {
            ("EC", Some(curve)) => {
                let (algorithm, len) = match curve {
                    "P-256" => (Algorithm::Es256, 32),
                    "P-384" => (Algorithm::Es384, 48),
                    _ => return None,
                };
                let (x, y) = (part(&self.x)?, part(&self.y)?);
                // https://www.rfc-editor.org/rfc/rfc7518#section-6.2.1.2: the full length, always.
                if x.len() != len || y.len() != len {
                    return None;
                }
                // The uncompressed point: https://www.rfc-editor.org/rfc/rfc5480#section-2.2
                (vec![algorithm], [&[4], &x[..], &y[..]].concat())
            }
            ("OKP", Some("Ed25519")) => {
                (vec![Algorithm::EdDsa], part(&self.x).filter(|x| x.len() == 32)?)
            }
            ("RSA", None) => {
                let rsa = Algorithm::ALL.into_iter().filter(|algorithm| algorithm.is_rsa());
                (rsa.collect(), der::two_integers(&part(&self.n)?, &part(&self.e)?))
            }
            _ => return None,
        };
        let algorithms = match &self.alg {
            Some(name) => {
                let named = Algorithm::from_name(name)?;
                possible.contains(&named).then(|| vec![named])?
            }
            None => possible,
        };
        Some(VerifyingKey { id: self.kid.map(Into::into), algorithms, public_key })
    }
}
