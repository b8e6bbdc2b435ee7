//! Certificates, minted in memory: an authority, servers and clients.
//!
//! ```
//! use sinew_examples::certs::Authority;
//!
//! let authority = Authority::mint("Acme test authority")?;
//! let server = authority.server(&["localhost", "127.0.0.1", "::1"])?;
//! let client = authority.client("spiffe://acme.test/ns/shop/sa/cart")?;
//! assert!(server.chain.starts_with("-----BEGIN CERTIFICATE-----"));
//! assert!(client.key.starts_with("-----BEGIN PRIVATE KEY-----"));
//! # Ok::<(), sinew_examples::certs::Error>(())
//! ```

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};

pub use rcgen::Error;

const HOUR: Duration = Duration::from_secs(3600);

/// A certificate and its private key, both in PEM.
#[derive(Clone)]
pub struct Identity {
    /// The certificate.
    pub chain: String,
    /// The private key, PKCS #8. Secret.
    pub key: String,
}

/// From when to when a certificate is valid, seen from now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Validity {
    /// Since an hour ago, for a week.
    Week,
    /// Since two hours ago, until an hour ago.
    Expired,
}

/// A certificate authority that lives as long as the value.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    /// A new authority with a fresh P-256 key.
    pub fn mint(name: &str) -> Result<Self, Error> {
        let mut params = params(name, Vec::new(), Validity::Week)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }

    /// The authority's certificate, for those who shall trust it.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A server certificate for these DNS names and IP addresses.
    pub fn server(&self, names: &[&str]) -> Result<Identity, Error> {
        self.server_valid(names, Validity::Week)
    }

    /// A server certificate with a validity of your choice.
    pub fn server_valid(&self, names: &[&str], validity: Validity) -> Result<Identity, Error> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        // The subject must differ from the authority's: OpenSSL, and so curl, takes a certificate
        // whose subject and issuer are equal for self-signed.
        let subject = format!("server {}", names.first().map_or("", String::as_str));
        let mut params = params(&subject, names, validity)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(params)
    }

    /// A client certificate whose identity is this SPIFFE ID, `spiffe://trust-domain/path`.
    pub fn client(&self, spiffe: &str) -> Result<Identity, Error> {
        self.client_valid(spiffe, Validity::Week)
    }

    /// A client certificate with a validity of your choice.
    pub fn client_valid(&self, spiffe: &str, validity: Validity) -> Result<Identity, Error> {
        let name = spiffe.rsplit('/').next().unwrap_or_default();
        let mut params = params(&format!("client {name}"), Vec::new(), validity)?;
        params.subject_alt_names = vec![SanType::URI(spiffe.try_into()?)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params)
    }

    fn sign(&self, mut params: CertificateParams) -> Result<Identity, Error> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let chain = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Identity { chain, key: key.serialize_pem() })
    }
}

fn params(
    subject: &str,
    names: Vec<String>,
    validity: Validity,
) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, subject);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = date_time_ymd(1970, 1, 1) + now;
    (params.not_before, params.not_after) = match validity {
        Validity::Week => (now - HOUR, now + 7 * 24 * HOUR),
        Validity::Expired => (now - 2 * HOUR, now - HOUR),
    };
    Ok(params)
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("chain", &self.chain).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("pem", &self.pem).finish_non_exhaustive()
    }
}

/// A temporary folder for keys: nobody else may look into it.
pub fn private_folder() -> std::io::Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    #[cfg(unix)]
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    Ok(folder)
}
