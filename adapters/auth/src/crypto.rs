//! The cryptography, as a provider of rustls brings it.

use core::fmt;
use std::sync::Arc;

use rustls::SupportedCipherSuite;
use rustls::crypto::CryptoProvider;
use rustls::crypto::hash::{Hash, HashAlgorithm};
use rustls::pki_types::SignatureVerificationAlgorithm;
use sinew_core::security::Thumbprint;

use crate::algorithm::Algorithm;
use crate::der;

/// Signatures are checked and hashes made by this. Cheap to clone.
#[derive(Clone)]
pub struct Crypto {
    provider: Arc<CryptoProvider>,
    sha256: &'static dyn Hash,
}

/// The provider has no SHA-256, or there is no provider.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoCrypto;

impl Crypto {
    /// The provider of the crate's features: ring, or else aws-lc-rs.
    ///
    /// # Errors
    ///
    /// When neither feature is on.
    pub fn built_in() -> Result<Self, NoCrypto> {
        #[cfg(feature = "ring")]
        return Self::new(Arc::new(rustls::crypto::ring::default_provider()));
        #[cfg(all(feature = "aws-lc-rs", not(feature = "ring")))]
        return Self::new(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
        #[cfg(not(any(feature = "ring", feature = "aws-lc-rs")))]
        return Err(NoCrypto);
    }

    /// A provider of the caller's choice.
    ///
    /// # Errors
    ///
    /// When it has no SHA-256.
    pub fn new(provider: Arc<CryptoProvider>) -> Result<Self, NoCrypto> {
        let sha256 = provider
            .cipher_suites
            .iter()
            .filter_map(SupportedCipherSuite::tls13)
            .map(|suite| suite.common.hash_provider)
            .find(|hash| hash.algorithm() == HashAlgorithm::SHA256)
            .ok_or(NoCrypto)?;
        Ok(Self { provider, sha256 })
    }

    /// SHA-256.
    pub fn sha256(&self, bytes: &[u8]) -> [u8; 32] {
        let mut digest = [0; 32];
        digest.copy_from_slice(self.sha256.hash(bytes).as_ref());
        digest
    }

    /// The thumbprint of a certificate in DER: `x5t#S256`.
    pub fn thumbprint(&self, certificate: &[u8]) -> Thumbprint {
        Thumbprint(self.sha256(certificate))
    }

    /// Whether the provider can check signatures of this kind.
    pub(crate) fn knows(&self, algorithm: Algorithm) -> bool {
        self.verifiers(algorithm).next().is_some()
    }

    /// Whether this is the signature of that message; anything malformed is not.
    pub(crate) fn verify(
        &self,
        algorithm: Algorithm,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        // https://www.rfc-editor.org/rfc/rfc7518#section-3.4: two numbers of fixed length, which
        // X.509 writes as DER.
        let der = match algorithm.ecdsa_half() {
            Some(half) if signature.len() == 2 * half => {
                Some(der::two_integers(&signature[..half], &signature[half..]))
            }
            Some(_) => return false,
            None => None,
        };
        let signature = der.as_deref().unwrap_or(signature);
        self.verifiers(algorithm)
            .any(|verifier| verifier.verify_signature(public_key, message, signature).is_ok())
    }

    fn verifiers(
        &self,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &'static dyn SignatureVerificationAlgorithm> {
        let (key, signature) = algorithm.identifiers();
        let all = self.provider.signature_verification_algorithms.all;
        all.iter().copied().filter(move |verifier| {
            verifier.public_key_alg_id() == key && verifier.signature_alg_id() == signature
        })
    }
}

impl fmt::Debug for Crypto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Crypto")
    }
}

impl fmt::Display for NoCrypto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is no provider of cryptography with SHA-256")
    }
}

impl core::error::Error for NoCrypto {}
