//! A certificate for one run, and both ends of TLS that trust it.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use sinew_tls::rustls::crypto::ring;
use sinew_tls::rustls::pki_types::pem::PemObject as _;
use sinew_tls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use sinew_tls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use sinew_tls::{ClientTls, Options, ServerTls};

use crate::network::conversation::{Patience, Transport};

/// Whom the certificate names.
pub const NAME: &str = "localhost";

/// Both ends of TLS, of sinew and of plain rustls.
#[derive(Clone, Debug)]
pub struct Secrets {
    /// For a server of ours.
    pub server: ServerTls,
    /// For a client of ours.
    pub client: ClientTls,
    /// For the suite's own server.
    pub suite_server: Arc<ServerConfig>,
    /// How the suite's own client reaches a server of ours.
    pub transport: Transport,
}

impl Secrets {
    /// Fresh keys.
    pub fn generate() -> Result<Self, Box<dyn Error>> {
        let Issued { authority, certificate, key } = &Issued::generate()?;
        let provider = Arc::new(ring::default_provider());
        let patient = Options { handshake_timeout: Patience::default().answer, ..Options::CLIENT };
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes())?];
        let suite_server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes())?)?;
        Ok(Self {
            server: ServerTls::builder().certificate_pem(certificate, key)?.build()?,
            client: ClientTls::builder().ca_pem(authority)?.options(patient).build()?,
            suite_server: Arc::new(suite_server),
            transport: Transport::trusting(authority)?,
        })
    }
}

/// A certificate authority, for as long as the value lives.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate in PEM, for those who are to trust it.
    pub pem: String,
}

impl Authority {
    /// A fresh key.
    pub fn generate() -> Result<Self, Box<dyn Error>> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }

    /// A certificate for this name, with a fresh key.
    pub fn issue(&self, name: &str) -> Result<Issued, Box<dyn Error>> {
        let key = KeyPair::generate()?;
        let leaf = CertificateParams::new(vec![name.to_owned()])?.signed_by(&key, &self.issuer)?;
        let (authority, certificate) = (self.pem.clone(), leaf.pem());
        Ok(Issued { authority, certificate, key: key.serialize_pem() })
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

/// A certificate that an authority has issued, all in PEM.
pub struct Issued {
    /// Whom others are to trust.
    pub authority: String,
    /// For a server, or a client.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

impl Issued {
    /// For [`NAME`], of an authority of its own; fresh keys.
    pub fn generate() -> Result<Self, Box<dyn Error>> {
        Authority::generate()?.issue(NAME)
    }
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").finish_non_exhaustive()
    }
}

impl Transport {
    /// TLS to [`NAME`], as far as this authority says who that is.
    pub fn trusting(authority: &str) -> Result<Self, Box<dyn Error>> {
        Ok(Self::Tls(trusting(authority.as_bytes())?, ServerName::try_from(NAME)?))
    }
}

/// A client that trusts the authorities in a PEM text.
pub fn trusting(pem: &[u8]) -> Result<Arc<ClientConfig>, Box<dyn Error>> {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(pem) {
        roots.add(authority?)?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
