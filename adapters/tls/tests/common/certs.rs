//! Certificates and revocation lists, minted in place, valid in 2026.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use sinew_tls::rustls::pki_types::UnixTime;
use sinew_tls::rustls::time_provider::TimeProvider;
use sinew_tls::{ClientTls, ClientTlsBuilder, ServerTls, ServerTlsBuilder};

/// 2026-06-01.
pub const JUNE: u64 = 1_780_272_000;
/// 2027-06-01: the certificates have expired.
pub const NEXT_JUNE: u64 = 1_811_808_000;
/// 2025-06-01: they are not valid yet.
pub const LAST_JUNE: u64 = 1_748_736_000;

#[derive(Debug)]
pub struct Clock(AtomicU64);

impl Clock {
    pub fn at(unix: u64) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(unix)))
    }

    pub fn set(&self, unix: u64) {
        self.0.store(unix, Ordering::Relaxed);
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let unix = self.0.load(Ordering::Relaxed);
        Some(UnixTime::since_unix_epoch(Duration::from_secs(unix)))
    }
}

#[derive(Clone)]
pub struct Identity {
    pub chain: String,
    pub key: String,
    pub serial: u64,
}

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    pub fn leaf(&self, serial: u64, name: &str, sans: &[&str]) -> Identity {
        self.leaf_for(
            serial,
            name,
            sans,
            &[ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
        )
    }

    pub fn leaf_for(
        &self,
        serial: u64,
        name: &str,
        sans: &[&str],
        usage: &[ExtendedKeyUsagePurpose],
    ) -> Identity {
        let key = KeyPair::generate().unwrap();
        let chain = leaf(serial, name, sans, usage).signed_by(&key, &self.issuer).unwrap().pem();
        Identity { chain, key: key.serialize_pem(), serial }
    }

    /// A client whose key is this one, in PKCS #8.
    pub fn client_with(&self, key: &[u8], sans: &[&str]) -> Identity {
        let key = KeyPair::try_from(key).unwrap();
        let params = leaf(3, "client", sans, &[ExtendedKeyUsagePurpose::ClientAuth]);
        let chain = params.signed_by(&key, &self.issuer).unwrap().pem();
        Identity { chain, key: key.serialize_pem(), serial: 3 }
    }

    /// A list valid from January to the given month of 2026.
    pub fn crl(&self, until_month: u8, revoked: &[u64]) -> String {
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 1, 1),
            next_update: date_time_ymd(2026, until_month, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked
                .iter()
                .map(|&serial| RevokedCertParams {
                    serial_number: SerialNumber::from(serial),
                    revocation_time: date_time_ymd(2026, 2, 1),
                    reason_code: None,
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

fn leaf(
    serial: u64,
    name: &str,
    sans: &[&str],
    usage: &[ExtendedKeyUsagePurpose],
) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2027, 1, 1);
    params.serial_number = Some(SerialNumber::from(serial));
    params.extended_key_usages = usage.to_vec();
    params.subject_alt_names = sans
        .iter()
        .map(|san| match san.parse() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) if san.contains("://") => SanType::URI((*san).try_into().unwrap()),
            Err(_) => SanType::DnsName((*san).try_into().unwrap()),
        })
        .collect();
    params
}

/// A client that vouches for itself.
pub fn self_signed(sans: &[&str]) -> Identity {
    let key = KeyPair::generate().unwrap();
    let params = leaf(4, "client", sans, &[ExtendedKeyUsagePurpose::ClientAuth]);
    let chain = params.self_signed(&key).unwrap().pem();
    Identity { chain, key: key.serialize_pem(), serial: 4 }
}

/// A mesh of two: one authority, a server and a client with a SPIFFE identity each.
pub struct Mesh {
    pub ca: Authority,
    pub server: Identity,
    pub client: Identity,
    pub clock: Arc<Clock>,
}

pub const CLIENT_ID: &str = "spiffe://acme.org/ns/shop/sa/cart";

impl Mesh {
    pub fn new() -> Self {
        let ca = Authority::new("Acme Mesh CA");
        let server = ca.leaf(1, "billing", &["billing.acme.org", "127.0.0.1", "::1"]);
        let client = ca.leaf(2, "cart", &[CLIENT_ID, "cart.acme.org"]);
        Self { ca, server, client, clock: Clock::at(JUNE) }
    }

    pub fn server(&self) -> ServerTlsBuilder {
        ServerTls::builder()
            .certificate_pem(&self.server.chain, &self.server.key)
            .unwrap()
            .clock(self.clock.clone())
    }

    pub fn mtls_server(&self) -> ServerTlsBuilder {
        self.server().client_ca_pem(&self.ca.pem).unwrap()
    }

    pub fn client(&self) -> ClientTlsBuilder {
        ClientTls::builder().ca_pem(&self.ca.pem).unwrap().clock(self.clock.clone())
    }

    pub fn mtls_client(&self) -> ClientTlsBuilder {
        self.client().identity_pem(&self.client.chain, &self.client.key).unwrap()
    }
}
