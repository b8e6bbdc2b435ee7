//! The server's side.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::crypto::hash::HashAlgorithm;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, NoServerSessionStorage, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::{ServerConfig, SupportedCipherSuite};
use sinew_core::security::Thumbprint;
use sinew_core::time::Instant;

use super::common::{Common, VERSIONS, common_setters, refuse_verifier};
use super::{ConfigError, Source, pem};
use crate::{Options, Tls, der};

/// How a server does TLS. Cheap to clone; a reload replaces it whole.
#[derive(Clone, Debug)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
    client_auth: Option<ClientAuth>,
    /// Who judges the certificates of clients, where that is known.
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    /// The last moment of the first certificate that runs out, since 1970.
    not_after: Option<Duration>,
    options: Options,
}

/// Whether a client has to show a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ClientAuth {
    /// Without a good certificate there is no connection.
    Required,
    /// A client may come without; a certificate that is shown must be good.
    Optional,
    /// Clients are not asked.
    Off,
}

impl ServerTls {
    /// Starts with TLS 1.2 and 1.3, ALPN `http/1.1` and `http/1.0`, no client certificates.
    pub fn builder() -> ServerTlsBuilder {
        // Who asks for HTTP/1.0 alone says so here, too.
        let common = Common::new(Options::SERVER, &["http/1.1", "http/1.0"]);
        ServerTlsBuilder { common, client_auth: None }
    }

    /// Takes a configuration of rustls as it is, versions, ALPN and resumption included.
    pub fn from_config(config: Arc<ServerConfig>, options: Options) -> Self {
        Self { config, client_auth: None, verifier: None, not_after: None, options }
    }

    /// The configuration of rustls.
    pub fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }

    /// The SHA-256 of a certificate in DER, as the provider of the configuration makes it: what
    /// tokens are bound to. `None` where it has no SHA-256.
    pub fn thumbprint(&self, certificate: &CertificateDer<'_>) -> Option<Thumbprint> {
        let suites = &self.config.crypto_provider().cipher_suites;
        let sha256 = suites
            .iter()
            .filter_map(SupportedCipherSuite::tls13)
            .map(|suite| suite.common.hash_provider)
            .find(|hash| hash.algorithm() == HashAlgorithm::SHA256)?;
        sha256.hash(certificate).as_ref().try_into().ok().map(Thumbprint)
    }

    /// Whether clients are asked for certificates; `None`: the configuration was given as it is, and
    /// does not tell.
    pub fn client_auth(&self) -> Option<ClientAuth> {
        self.client_auth
    }

    /// The last moment at which all of its certificates are good, since 1970-01-01T00:00:00Z: its own
    /// chain and the authorities of its clients. `None`: the configuration was given as it is, and does
    /// not tell.
    pub fn not_after(&self) -> Option<Duration> {
        self.not_after
    }

    /// Whether it is the same configuration, a clone of this one.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.config, &other.config)
    }

    /// Whether a client that was let in by another configuration, with this chain of certificates or
    /// with none, would be let in by this one, as of now. A configuration that was given as it is says no
    /// to everybody: it does not tell.
    pub fn accepts(&self, chain: Option<&[CertificateDer<'_>]>) -> bool {
        let Some(verifier) = &self.verifier else { return false };
        match chain.and_then(<[_]>::split_first) {
            None => !verifier.client_auth_mandatory(),
            // Who is not asked is nobody: a name from before would be somebody.
            Some(_) if !verifier.offer_client_auth() => false,
            Some((leaf, issuers)) => {
                let now = self.config.time_provider.current_time();
                now.is_some_and(|now| verifier.verify_client_cert(leaf, issuers, now).is_ok())
            }
        }
    }

    /// Whether sessions that began under the one can be resumed under the other, without another look at
    /// certificates: they are configurations of rustls that share a store, or tickets.
    pub fn shares_sessions(&self, other: &Self) -> bool {
        let (one, other) = (&self.config, &other.config);
        let store = Arc::ptr_eq(&one.session_storage, &other.session_storage);
        let tickets = one.ticketer.enabled() && Arc::ptr_eq(&one.ticketer, &other.ticketer);
        (store && one.session_storage.can_cache()) || tickets
    }

    /// The time limits of every connection.
    pub fn options(&self) -> Options {
        self.options
    }

    /// Puts TLS under `inner`, for a connection that was accepted at `now`.
    ///
    /// # Errors
    ///
    /// When rustls refuses the configuration.
    pub fn accept<W>(&self, inner: W, now: Instant) -> Result<Tls<W>, ConfigError> {
        Ok(Tls::server(inner, self.config.clone(), self.options, now)?)
    }
}

/// Builds a [`ServerTls`].
#[derive(Debug)]
pub struct ServerTlsBuilder {
    common: Common,
    client_auth: Option<ClientAuth>,
}

impl ServerTlsBuilder {
    /// The server's certificate: the chain in PEM, leaf first, and the private key in PEM.
    ///
    /// # Errors
    ///
    /// When one of them is missing or malformed. Whether they match is checked when the
    /// configuration is built.
    pub fn certificate_pem(
        mut self,
        chain: impl AsRef<[u8]>,
        key: impl AsRef<[u8]>,
    ) -> Result<Self, ConfigError> {
        self.common.identity_pem(chain.as_ref(), key.as_ref())?;
        Ok(self)
    }

    /// Like [`certificate_pem`](Self::certificate_pem), from two files (which may be the same one).
    ///
    /// # Errors
    ///
    /// When a file cannot be read, or lacks what it should hold.
    pub fn certificate_file(
        mut self,
        chain: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Self, ConfigError> {
        self.common.identity_file(chain.as_ref(), key.as_ref())?;
        Ok(self)
    }

    /// Like [`certificate_pem`](Self::certificate_pem), in DER.
    pub fn certificate_der(
        mut self,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Self {
        self.common.identity = Some((chain, key));
        self
    }

    /// The authorities that sign client certificates, in PEM: one or several.
    ///
    /// # Errors
    ///
    /// When there is none in there, or it is malformed.
    pub fn client_ca_pem(mut self, pem: impl AsRef<[u8]>) -> Result<Self, ConfigError> {
        self.common.authorities_pem(pem.as_ref())?;
        Ok(self)
    }

    /// Like [`client_ca_pem`](Self::client_ca_pem), from a file.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, has none in it, or it is malformed.
    pub fn client_ca_file(mut self, path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        self.common.authorities_file(path.as_ref())?;
        Ok(self)
    }

    /// Like [`client_ca_pem`](Self::client_ca_pem), one certificate in DER.
    ///
    /// # Errors
    ///
    /// When it is malformed.
    pub fn client_ca_der(
        mut self,
        certificate: CertificateDer<'static>,
    ) -> Result<Self, ConfigError> {
        self.common.add_authorities([certificate], &Source::Memory)?;
        Ok(self)
    }

    /// Whether a client has to show a certificate. Default: required once an authority for it is
    /// given, off otherwise.
    pub fn client_auth(mut self, client_auth: ClientAuth) -> Self {
        self.client_auth = Some(client_auth);
        self
    }

    /// The application protocols offered, in order of preference. Default: `http/1.1`,
    /// `http/1.0`. An empty list switches ALPN off.
    pub fn alpn<P: Into<Vec<u8>>>(mut self, protocols: impl IntoIterator<Item = P>) -> Self {
        self.common.alpn = protocols.into_iter().map(Into::into).collect();
        self
    }

    common_setters!("clients");

    /// Builds it.
    ///
    /// # Errors
    ///
    /// When something is missing, does not fit together, or would have no effect.
    pub fn build(self) -> Result<ServerTls, ConfigError> {
        let provider = self.common.check()?;
        let common = self.common;
        let (chain, key) = common.identity.ok_or(ConfigError::NoCertificate)?;
        let has_ca = !common.roots.is_empty();
        let expiries = chain.iter().chain(&common.authorities);
        let not_after = expiries.filter_map(|certificate| der::not_after(certificate)).min();
        let default = if has_ca { ClientAuth::Required } else { ClientAuth::Off };
        let client_auth = self.client_auth.unwrap_or(default);
        match client_auth {
            ClientAuth::Off if has_ca => return Err(ConfigError::Unused("the client authority")),
            ClientAuth::Off if !common.crls.is_empty() => {
                return Err(ConfigError::Unused("the revocation list"));
            }
            ClientAuth::Required | ClientAuth::Optional if !has_ca => {
                return Err(ConfigError::NoClientCa);
            }
            _ => {}
        }
        let verifier: Arc<dyn ClientCertVerifier> = match client_auth {
            ClientAuth::Off => Arc::new(NoClientAuth),
            ClientAuth::Required | ClientAuth::Optional => {
                let roots = Arc::new(common.roots);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone())
                    .with_crls(common.crls)
                    .enforce_revocation_expiration();
                let verifier = match client_auth {
                    ClientAuth::Optional => verifier.allow_unauthenticated(),
                    _ => verifier,
                };
                verifier.build().map_err(|error| refuse_verifier(&error))?
            }
        };
        let mut config = ServerConfig::builder_with_details(provider, common.clock)
            .with_protocol_versions(VERSIONS)?
            .with_client_cert_verifier(Arc::clone(&verifier))
            .with_single_cert(chain, key)?;
        config.alpn_protocols = common.alpn;
        config.max_early_data_size = 0;
        if client_auth != ClientAuth::Off {
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        let client_auth = Some(client_auth);
        let (config, verifier, options) = (Arc::new(config), Some(verifier), common.options);
        Ok(ServerTls { config, client_auth, verifier, not_after, options })
    }
}
