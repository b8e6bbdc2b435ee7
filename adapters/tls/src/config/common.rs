//! What servers and clients configure alike.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::{RootCertStore, SupportedProtocolVersion, version};

use super::{ConfigError, Item, Source};
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
            crls: Vec::new(),
            alpn: alpn.iter().map(|name| name.as_bytes().to_vec()).collect(),
            options,
            provider: None,
            clock: Arc::new(DefaultTimeProvider),
        }
    }

    pub(super) fn add_authorities(
        &mut self,
        certificates: impl IntoIterator<Item = CertificateDer<'static>>,
        source: &Source,
    ) -> Result<(), ConfigError> {
        for certificate in certificates {
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
