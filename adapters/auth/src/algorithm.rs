//! The signature algorithms: <https://www.rfc-editor.org/rfc/rfc7518#section-3.1>

use core::fmt;

use rustls::pki_types::{AlgorithmIdentifier, alg_id};

/// An asymmetric signature algorithm of JOSE.
///
/// There is no `none`, and nothing symmetric: who can check such a token can also forge it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519: <https://www.rfc-editor.org/rfc/rfc8037#section-3.1>
    EdDsa,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 9] = [
        Self::Es256,
        Self::Es384,
        Self::EdDsa,
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
    ];

    /// The name in `alg`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
        }
    }

    /// The algorithm of that name; names are case-sensitive.
    pub fn from_name(name: &str) -> Option<Self> {
        // https://www.rfc-editor.org/rfc/rfc9864#section-2.2: the same algorithm by its own name.
        let name = if name == "Ed25519" { "EdDSA" } else { name };
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// Whether it is one of the RSA family.
    pub(crate) const fn is_rsa(self) -> bool {
        !matches!(self, Self::Es256 | Self::Es384 | Self::EdDsa)
    }

    /// Bytes of each of the two numbers in an ECDSA signature.
    /// <https://www.rfc-editor.org/rfc/rfc7518#section-3.4>
    pub(crate) const fn ecdsa_half(self) -> Option<usize> {
        match self {
            Self::Es256 => Some(32),
            Self::Es384 => Some(48),
            _ => None,
        }
    }

    /// What X.509 calls it: the kind of key, and the kind of signature.
    pub(crate) const fn identifiers(self) -> (AlgorithmIdentifier, AlgorithmIdentifier) {
        match self {
            Self::Es256 => (alg_id::ECDSA_P256, alg_id::ECDSA_SHA256),
            Self::Es384 => (alg_id::ECDSA_P384, alg_id::ECDSA_SHA384),
            Self::EdDsa => (alg_id::ED25519, alg_id::ED25519),
            Self::Rs256 => (alg_id::RSA_ENCRYPTION, alg_id::RSA_PKCS1_SHA256),
            Self::Rs384 => (alg_id::RSA_ENCRYPTION, alg_id::RSA_PKCS1_SHA384),
            Self::Rs512 => (alg_id::RSA_ENCRYPTION, alg_id::RSA_PKCS1_SHA512),
            Self::Ps256 => (alg_id::RSA_ENCRYPTION, alg_id::RSA_PSS_SHA256),
            Self::Ps384 => (alg_id::RSA_ENCRYPTION, alg_id::RSA_PSS_SHA384),
            Self::Ps512 => (alg_id::RSA_ENCRYPTION, alg_id::RSA_PSS_SHA512),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
