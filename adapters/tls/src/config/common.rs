//! What servers and clients configure alike.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::{RootCertStore, SupportedProtocolVersion, version};

use super::{ConfigError, Item, Source, pem};
use crate::Options;

/// Nothing older, and both of these.
pub(super) static VERSIONS: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];

/// A certificate chain, leaf first, and its key.
pub(super) type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// What both builders collect.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) identity: Option<Identity>,
    pub(super) roots: RootCertStore,
    /// The same, as they came.
    pub(super) authorities: Vec<CertificateDer<'static>>,
    pub(super) crls: Vec<CertificateRevocationListDer<'static>>,
    pub(super) alpn: Vec<Vec<u8>>,
    pub(super) options: Options,
    pub(super) provider: Option<Arc<CryptoProvider>>,
    pub(super) clock: Arc<dyn TimeProvider>,
}

impl Common {
    pub(super) fn new(options: Options, alpn: &[&str]) -> Self {
        Self {
            identity: None,
            roots: RootCertStore::empty(),
            authorities: Vec::new(),
            crls: Vec::new(),
            alpn: alpn.iter().map(|name| name.as_bytes().to_vec()).collect(),
            options,
            provider: None,
            clock: Arc::new(DefaultTimeProvider),
        }
    }

    pub(super) fn identity_pem(&mut self, chain: &[u8], key: &[u8]) -> Result<(), ConfigError> {
        let source = Source::Memory;
        self.identity = Some((pem::chain(chain, &source)?, pem::key(key, &source)?));
        Ok(())
    }

    pub(super) fn identity_file(&mut self, chain: &Path, key: &Path) -> Result<(), ConfigError> {
        let certificates = pem::chain(&pem::read(chain)?, &pem::file(chain))?;
        self.identity = Some((certificates, pem::key(&pem::read(key)?, &pem::file(key))?));
        Ok(())
    }

    pub(super) fn authorities_pem(&mut self, pem: &[u8]) -> Result<(), ConfigError> {
        let source = Source::Memory;
        self.add_authorities(pem::authorities(pem, &source)?, &source)
    }

    pub(super) fn authorities_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let source = pem::file(path);
        self.add_authorities(pem::authorities(&pem::read(path)?, &source)?, &source)
    }

    pub(super) fn add_authorities(
        &mut self,
        certificates: impl IntoIterator<Item = CertificateDer<'static>>,
        source: &Source,
    ) -> Result<(), ConfigError> {
        for certificate in certificates {
            self.authorities.push(certificate.clone());
            self.roots.add(certificate).map_err(|error| ConfigError::Malformed {
                item: Item::Authority,
                source: source.clone(),
                why: error.to_string(),
            })?;
        }
        Ok(())
    }

    /// Checks what needs no context and settles the provider.
    pub(super) fn check(&self) -> Result<Arc<CryptoProvider>, ConfigError> {
        if !self.options.is_sound() {
            return Err(ConfigError::ZeroTimeout);
        }
        // https://www.rfc-editor.org/rfc/rfc7301#section-3.1
        if self.alpn.iter().any(|protocol| protocol.is_empty() || protocol.len() > 255) {
            return Err(ConfigError::Alpn);
        }
        self.provider.clone().or_else(default_provider).ok_or(ConfigError::NoProvider)
    }
}

#[cfg_attr(
    any(feature = "ring", feature = "aws-lc-rs"),
    expect(clippy::unnecessary_wraps, reason = "without either feature there is none")
)]
fn default_provider() -> Option<Arc<CryptoProvider>> {
    #[cfg(feature = "ring")]
    return Some(Arc::new(rustls::crypto::ring::default_provider()));
    #[cfg(all(feature = "aws-lc-rs", not(feature = "ring")))]
    return Some(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    #[cfg(not(any(feature = "ring", feature = "aws-lc-rs")))]
    return None;
}

/// A list that does not parse is told by rustls in its own words.
pub(super) fn refuse_verifier(error: &rustls::server::VerifierBuilderError) -> ConfigError {
    ConfigError::Malformed {
        item: Item::RevocationList,
        source: Source::Memory,
        why: error.to_string(),
    }
}

/// The setters that both builders have; `$of` is whose certificates are checked.
macro_rules! common_setters {
    ($of:literal) => {
        #[doc = concat!("Revocation lists for the certificates of ", $of, ", in PEM.")]
        ///
        /// Given at all, they must cover every certificate below the authority, and be current: a
        /// certificate on no list, or on one past its next update, is refused.
        ///
        /// # Errors
        ///
        /// When there is none in there, or it is malformed.
        pub fn crls_pem(mut self, pem: impl AsRef<[u8]>) -> Result<Self, ConfigError> {
            self.common.crls.extend(pem::crls(pem.as_ref(), &Source::Memory)?);
            Ok(self)
        }

        /// Like [`crls_pem`](Self::crls_pem), from a file.
        ///
        /// # Errors
        ///
        /// When the file cannot be read, has none in it, or it is malformed.
        pub fn crls_file(mut self, path: impl AsRef<Path>) -> Result<Self, ConfigError> {
            let path = path.as_ref();
            self.common.crls.extend(pem::crls(&pem::read(path)?, &pem::file(path))?);
            Ok(self)
        }

        /// Like [`crls_pem`](Self::crls_pem), one list in DER.
        pub fn crl_der(mut self, crl: CertificateRevocationListDer<'static>) -> Self {
            self.common.crls.push(crl);
            self
        }

        /// The time limits of every connection.
        pub fn options(mut self, options: Options) -> Self {
            self.common.options = options;
            self
        }

        /// The clock that certificates are checked against. Default: the system's.
        pub fn clock(mut self, clock: Arc<dyn TimeProvider>) -> Self {
            self.common.clock = clock;
            self
        }

        /// The cryptography. Default: ring, or else aws-lc-rs, as the crate's features say.
        pub fn provider(mut self, provider: Arc<CryptoProvider>) -> Self {
            self.common.provider = Some(provider);
            self
        }
    };
}
pub(super) use common_setters;
