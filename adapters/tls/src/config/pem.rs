//! Certificates, keys and revocation lists out of PEM.

use std::path::Path;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use super::{ConfigError, Item, Source};

pub(super) fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    std::fs::read(path)
        .map_err(|error| ConfigError::Unreadable { path: path.to_owned(), why: error.kind() })
}

pub(super) fn file(path: &Path) -> Source {
    Source::File(path.to_owned())
}

/// Our own chain: the leaf first.
pub(super) fn chain(
    pem: &[u8],
    source: &Source,
) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    all(pem, Item::Certificate, source)
}

pub(super) fn authorities(
    pem: &[u8],
    source: &Source,
) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    all(pem, Item::Authority, source)
}

pub(super) fn crls(
    pem: &[u8],
    source: &Source,
) -> Result<Vec<CertificateRevocationListDer<'static>>, ConfigError> {
    all(pem, Item::RevocationList, source)
}

pub(super) fn key(pem: &[u8], source: &Source) -> Result<PrivateKeyDer<'static>, ConfigError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| refuse(&error, Item::PrivateKey, source))
}

fn all<T: PemObject>(pem: &[u8], item: Item, source: &Source) -> Result<Vec<T>, ConfigError> {
    let found: Vec<T> = T::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| refuse(&error, item, source))?;
    if found.is_empty() {
        return Err(ConfigError::Missing { item, source: source.clone() });
    }
    Ok(found)
}

fn refuse(error: &pem::Error, item: Item, source: &Source) -> ConfigError {
    let source = source.clone();
    match error {
        pem::Error::NoItemsFound => ConfigError::Missing { item, source },
        // The words of the error itself may quote the file, and that may be a key.
        pem::Error::MissingSectionEnd { .. } => {
            ConfigError::Malformed { item, source, why: "an END line is missing".to_owned() }
        }
        pem::Error::IllegalSectionStart { .. } => {
            ConfigError::Malformed { item, source, why: "a BEGIN line is malformed".to_owned() }
        }
        _ => ConfigError::Malformed { item, source, why: "not base64".to_owned() },
    }
}
