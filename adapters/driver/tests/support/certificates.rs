//! Certificates of an authority of the test's own.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use sinew_tls::{ClientAuth, ClientTls, ServerTls};

/// One authority, a server named `server.test`, a client named `client.test`.
pub(crate) struct Certificates {
    ca: String,
    server: (String, String),
    client: (String, String),
}

impl Certificates {
    pub(crate) fn new() -> Self {
        Self::of("authority")
    }

    pub(crate) fn of(authority: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, authority);
        let key = KeyPair::generate().unwrap();
        let ca = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        let leaf = |name: &str| {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            params.distinguished_name.push(DnType::CommonName, name);
            (params.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
        };
        Self { ca, server: leaf("server.test"), client: leaf("client.test") }
    }

    pub(crate) fn server(&self) -> ServerTls {
        let server = ServerTls::builder().certificate_pem(&self.server.0, &self.server.1).unwrap();
        let server = server.client_ca_pem(&self.ca).unwrap().client_auth(ClientAuth::Required);
        server.build().unwrap()
    }

    pub(crate) fn client(&self) -> ClientTls {
        let client = ClientTls::builder().ca_pem(&self.ca).unwrap();
        client.identity_pem(&self.client.0, &self.client.1).unwrap().build().unwrap()
    }

    pub(crate) fn anonymous(&self) -> ClientTls {
        ClientTls::builder().ca_pem(&self.ca).unwrap().build().unwrap()
    }
}
