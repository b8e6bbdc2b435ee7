//! The client's side.

use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName};
use rustls::time_provider::TimeProvider;
use sinew_core::time::Instant;

use super::common::{Common, VERSIONS, common_setters, refuse_verifier};
use super::{ConfigError, Source, pem};
use crate::{Options, Tls};

/// How a client does TLS. Cheap to clone; a reload replaces it whole.
#[derive(Clone, Debug)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    options: Options,
}

impl ClientTls {
    /// Starts with TLS 1.2 and 1.3, ALPN `http/1.1`, no identity and no trusted authority.
    pub fn builder() -> ClientTlsBuilder {
        ClientTlsBuilder { common: Common::new(Options::CLIENT, &["http/1.1"]) }
    }

    /// Takes a configuration of rustls as it is, versions, ALPN and resumption included.
    pub fn from_config(config: Arc<ClientConfig>, options: Options) -> Self {
        Self { config, options }
    }

    /// The configuration of rustls.
    pub fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }

    /// The time limits of every connection.
    pub fn options(&self) -> Options {
        self.options
    }

    /// Puts TLS under `inner`, for a connection to `server_name` that was made at `now`.
    ///
    /// The name is a DNS name or an IP address; an IPv6 address may stand in brackets, as in a URL.
    ///
    /// # Errors
    ///
    /// When the name is neither, or rustls refuses the configuration.
    pub fn connect<W>(
        &self,
        server_name: &str,
        inner: W,
        now: Instant,
    ) -> Result<Tls<W>, ConfigError> {
        self.connect_to(parse_name(server_name)?, inner, now)
    }

    /// Like [`connect`](Self::connect), with the name parsed already.
    ///
    /// # Errors
    ///
    /// When rustls refuses the configuration.
    pub fn connect_to<W>(
        &self,
        server_name: ServerName<'static>,
        inner: W,
        now: Instant,
    ) -> Result<Tls<W>, ConfigError> {
        Ok(Tls::client(inner, self.config.clone(), server_name, self.options, now)?)
    }
}

fn parse_name(name: &str) -> Result<ServerName<'static>, ConfigError> {
    let refuse = || ConfigError::ServerName(name.to_owned());
    let bare = match name.strip_prefix('[') {
        Some(rest) => {
            let bare = rest.strip_suffix(']').ok_or_else(refuse)?;
            // Only an IPv6 address stands in brackets.
            bare.contains(':').then_some(bare).ok_or_else(refuse)?
        }
        None => name,
    };
    ServerName::try_from(bare.to_owned()).map_err(|_| refuse())
}

/// Builds a [`ClientTls`].
#[derive(Debug)]
pub struct ClientTlsBuilder {
    common: Common,
}

impl ClientTlsBuilder {
    /// Authorities whose servers are trusted, in PEM: one or several.
    ///
    /// # Errors
    ///
    /// When there is none in there, or it is malformed.
    pub fn ca_pem(mut self, pem: impl AsRef<[u8]>) -> Result<Self, ConfigError> {
        self.common.authorities_pem(pem.as_ref())?;
        Ok(self)
    }

    /// Like [`ca_pem`](Self::ca_pem), from a file.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, has none in it, or it is malformed.
    pub fn ca_file(mut self, path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        self.common.authorities_file(path.as_ref())?;
        Ok(self)
    }

    /// Like [`ca_pem`](Self::ca_pem), one certificate in DER.
    ///
    /// # Errors
    ///
    /// When it is malformed.
    pub fn ca_der(mut self, certificate: CertificateDer<'static>) -> Result<Self, ConfigError> {
        self.common.add_authorities([certificate], &Source::Memory)?;
        Ok(self)
    }

    /// Trusts what the system trusts, beside the authorities given.
    ///
    /// # Errors
    ///
    /// When the system's store holds no usable certificate.
    #[cfg(feature = "native-roots")]
    pub fn native_roots(mut self) -> Result<Self, ConfigError> {
        let found = rustls_native_certs::load_native_certs();
        let (added, _) = self.common.roots.add_parsable_certificates(found.certs);
        if added == 0 {
            let item = super::Item::Authority;
            return Err(ConfigError::Missing { item, source: Source::System });
        }
        Ok(self)
    }

    /// The client's own certificate, shown to servers that ask: the chain in PEM, leaf first, and
    /// the private key in PEM.
    ///
    /// # Errors
    ///
    /// When one of them is missing or malformed. Whether they match is checked when the
    /// configuration is built.
    pub fn identity_pem(
        mut self,
        chain: impl AsRef<[u8]>,
        key: impl AsRef<[u8]>,
    ) -> Result<Self, ConfigError> {
        self.common.identity_pem(chain.as_ref(), key.as_ref())?;
        Ok(self)
    }

    /// Like [`identity_pem`](Self::identity_pem), from two files (which may be the same one).
    ///
    /// # Errors
    ///
    /// When a file cannot be read, or lacks what it should hold.
    pub fn identity_file(
        mut self,
        chain: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Self, ConfigError> {
        self.common.identity_file(chain.as_ref(), key.as_ref())?;
        Ok(self)
    }

    /// Like [`identity_pem`](Self::identity_pem), in DER.
    pub fn identity_der(
        mut self,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Self {
        self.common.identity = Some((chain, key));
        self
    }

    /// The application protocols offered, in order of preference. Default: `http/1.1`. An empty list
    /// switches ALPN off.
    pub fn alpn<P: Into<Vec<u8>>>(mut self, protocols: impl IntoIterator<Item = P>) -> Self {
        self.common.alpn = protocols.into_iter().map(Into::into).collect();
        self
    }

    common_setters!("servers");

    /// Builds it.
    ///
    /// # Errors
    ///
    /// When something is missing or does not fit together.
    pub fn build(self) -> Result<ClientTls, ConfigError> {
        let provider = self.common.check()?;
        let common = self.common;
        if common.roots.is_empty() {
            return Err(ConfigError::NoRoots);
        }
        let resumes = common.identity.is_none() && common.crls.is_empty();
        let roots = Arc::new(common.roots);
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
            .with_crls(common.crls)
            .enforce_revocation_expiration()
            .build()
            .map_err(|error| refuse_verifier(&error))?;
        let config = ClientConfig::builder_with_details(provider, common.clock)
            .with_protocol_versions(VERSIONS)?
            .with_webpki_verifier(verifier);
        let mut config = match common.identity {
            Some((chain, key)) => config.with_client_auth_cert(chain, key)?,
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = common.alpn;
        config.enable_early_data = false;
        if !resumes {
            config.resumption = Resumption::disabled();
        }
        Ok(ClientTls { config: Arc::new(config), options: common.options })
    }
}

#[cfg(test)]
mod tests {
    use super::parse_name;
    use rustls::pki_types::ServerName;

    #[test]
    fn names_and_addresses() {
        for dns in ["billing.acme.org", "localhost"] {
            assert!(matches!(parse_name(dns), Ok(ServerName::DnsName(_))), "{dns}");
        }
        for ip in ["127.0.0.1", "::1", "[::1]", "[2001:db8::7]"] {
            assert!(matches!(parse_name(ip), Ok(ServerName::IpAddress(_))), "{ip}");
        }
        for bad in ["", "a b", "[::1", "::1]", "[127.0.0.1]", "[localhost]", "a:80"] {
            assert!(parse_name(bad).is_err(), "{bad}");
        }
    }
}
