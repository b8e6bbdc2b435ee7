//! What a configuration accepts, and what it says when it does not.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use std::path::PathBuf;
use std::time::Duration;

use common::Authority;
use common::certs::Mesh;
use sinew_core::time::Instant;
use sinew_tls::{ClientAuth, ClientTls, ConfigError, Item, Options, ServerTls, Source};

/// A directory of this test's own, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn files_and_memory_are_the_same() {
    let mesh = Mesh::new();
    let scratch = Scratch::new("files");
    let ca = scratch.file("ca.pem", &mesh.ca.pem);
    let chain = scratch.file("chain.pem", &mesh.server.chain);
    let key = scratch.file("key.pem", &mesh.server.key);
    let crl = scratch.file("crl.pem", &mesh.ca.crl(12, &[]));
    let both = scratch.file("both.pem", &format!("{}{}", mesh.client.key, mesh.client.chain));
    ServerTls::builder()
        .certificate_file(&chain, &key)
        .unwrap()
        .client_ca_file(&ca)
        .unwrap()
        .crls_file(&crl)
        .unwrap()
        .build()
        .unwrap();
    ClientTls::builder()
        .ca_file(&ca)
        .unwrap()
        .identity_file(&both, &both)
        .unwrap()
        .crls_file(&crl)
        .unwrap()
        .build()
        .unwrap();
}

#[test]
fn a_bad_file_is_named() {
    let mesh = Mesh::new();
    let scratch = Scratch::new("bad");
    let empty = scratch.file("empty.pem", "nothing here\n");
    let gone = scratch.0.join("gone.pem");
    let error = ClientTls::builder().ca_file(&gone).unwrap_err();
    assert!(matches!(&error, ConfigError::Unreadable { path, .. } if *path == gone), "{error}");
    let error = ClientTls::builder().ca_file(&empty).unwrap_err();
    let source = Source::File(empty.clone());
    assert_eq!(error, ConfigError::Missing { item: Item::Authority, source });
    assert_eq!(error.to_string(), format!("no authority's certificate in {}", empty.display()));
    let chain = scratch.file("chain.pem", &mesh.server.chain);
    let error = ServerTls::builder().certificate_file(&chain, &chain).unwrap_err();
    assert!(matches!(error, ConfigError::Missing { item: Item::PrivateKey, .. }), "{error}");
    let cut = mesh.server.key.replace("-----END PRIVATE KEY-----", "");
    let error = ServerTls::builder().certificate_pem(&mesh.server.chain, &cut).unwrap_err();
    assert!(matches!(error, ConfigError::Malformed { item: Item::PrivateKey, .. }), "{error}");
    let secret = mesh.server.key.lines().nth(1).unwrap();
    assert!(!error.to_string().contains(secret), "a key must not show in an error");
    let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let error = ClientTls::builder().ca_pem(junk).unwrap_err();
    assert!(matches!(error, ConfigError::Malformed { item: Item::Authority, .. }), "{error}");
    let list = junk.replace("CERTIFICATE", "X509 CRL");
    let error = mesh.client().crls_pem(list).unwrap().build().unwrap_err();
    assert!(matches!(error, ConfigError::Malformed { item: Item::RevocationList, .. }), "{error}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let mesh = Mesh::new();
    let other = Authority::new("Other CA");
    assert_eq!(ServerTls::builder().build().unwrap_err(), ConfigError::NoCertificate);
    assert_eq!(ClientTls::builder().build().unwrap_err(), ConfigError::NoRoots);
    let mixed = ServerTls::builder().certificate_pem(&mesh.server.chain, &mesh.client.key).unwrap();
    assert_eq!(mixed.build().unwrap_err(), ConfigError::KeyMismatch);
    let mixed = mesh.client().identity_pem(&mesh.server.chain, &mesh.client.key).unwrap();
    assert_eq!(mixed.build().unwrap_err(), ConfigError::KeyMismatch);
    for auth in [ClientAuth::Required, ClientAuth::Optional] {
        assert_eq!(mesh.server().client_auth(auth).build().unwrap_err(), ConfigError::NoClientCa);
    }
    let unused = mesh.mtls_server().client_auth(ClientAuth::Off).build();
    assert!(matches!(unused, Err(ConfigError::Unused(_))));
    let unused = mesh.server().crls_pem(other.crl(12, &[])).unwrap().build();
    assert!(matches!(unused, Err(ConfigError::Unused(_))));
    let never = Options { handshake_timeout: Duration::ZERO, ..Options::CLIENT };
    assert_eq!(mesh.client().options(never).build().unwrap_err(), ConfigError::ZeroTimeout);
    assert_eq!(mesh.client().alpn([""]).build().unwrap_err(), ConfigError::Alpn);
    let client = mesh.client().build().unwrap();
    let error = client.connect("not a name", (), Instant::ZERO).unwrap_err();
    assert_eq!(error, ConfigError::ServerName("not a name".to_owned()));
}

#[test]
fn raw_configurations_go_in_and_out() {
    let mesh = Mesh::new();
    let server = mesh.server().build().unwrap();
    let config = server.config();
    assert_eq!(config.alpn_protocols, [b"http/1.1", b"http/1.0"]);
    assert_eq!(config.max_early_data_size, 0);
    let again = ServerTls::from_config(config.clone(), Options::SERVER);
    assert!(std::sync::Arc::ptr_eq(again.config(), server.config()));
    let client = mesh.client().build().unwrap();
    assert!(!client.config().enable_early_data);
    assert_eq!(client.options(), Options::CLIENT);
}
