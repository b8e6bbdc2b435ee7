//! Certificates for one run, minted on the spot, and the client that trusts them.

use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use sinew_tls::rustls::crypto::ring;
use sinew_tls::rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use sinew_tls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;

use crate::Result;

/// An authority, a server and a client.
pub(crate) struct Pki {
    dir: TempDir,
    client: Arc<ClientConfig>,
}

impl Pki {
    /// Mints all of them.
    pub(crate) fn mint() -> Result<Self> {
        let mut params = named("authority", &[])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let (server_key, client_key) = (KeyPair::generate()?, KeyPair::generate()?);
        let server = named("server", &["localhost"])?.signed_by(&server_key, &authority)?;
        let client = named("client", &["client"])?.signed_by(&client_key, &authority)?;

        let dir = TempDir::new()?;
        let write = |name, text| std::fs::write(dir.path().join(name), text);
        write("ca.pem", authority.pem())?;
        write("cert.pem", server.pem())?;
        write("key.pem", server_key.serialize_pem())?;
        write("client.pem", client.pem())?;
        write("client.key", client_key.serialize_pem())?;

        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone())?;
        let key = PrivatePkcs8KeyDer::from(client_key.serialize_der());
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![client.der().clone()], key.into())?;
        Ok(Self { dir, client: Arc::new(config) })
    }

    /// Where they lie as a server expects them: `cert.pem`, `key.pem`, `ca.pem`; and for curl,
    /// `client.pem` and `client.key`.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Puts a connection under mutual TLS. The handshake comes with the first bytes.
    pub(crate) fn secure(
        &self,
        stream: TcpStream,
    ) -> Result<StreamOwned<ClientConnection, TcpStream>> {
        let name = ServerName::try_from("localhost")?;
        Ok(StreamOwned::new(ClientConnection::new(Arc::clone(&self.client), name)?, stream))
    }
}

/// OpenSSL takes a certificate whose issuer is called like its subject for a self-signed one.
fn named(name: &str, hosts: &[&str]) -> Result<CertificateParams> {
    let hosts: Vec<_> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}
