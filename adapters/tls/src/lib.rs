//! TLS for sinew: rustls as a wire stacked on a wire, with mutual TLS and typed peer identity.
//!
//! [`Tls<W>`] is itself a [`Wire`](sinew_core::Wire): it does no IO, reads no clock but the one its
//! configuration was given for certificates, and passes the events of `W` through. So whatever drives
//! a bare machine drives one under TLS.
//!
//! ```
//! # use rcgen::{CertificateParams, DnType, Issuer, KeyPair};
//! use sinew_tls::{ClientAuth, ClientTls, ServerTls};
//! # fn leaf(name: &str, ca: &Issuer<'_, KeyPair>) -> (String, String) {
//! #     let key = KeyPair::generate().unwrap();
//! #     let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
//! #     params.distinguished_name.push(DnType::CommonName, name);
//! #     (params.signed_by(&key, ca).unwrap().pem(), key.serialize_pem())
//! # }
//! # let mut params = CertificateParams::default();
//! # params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
//! # let ca_key = KeyPair::generate().unwrap();
//! # let ca = params.self_signed(&ca_key).unwrap().pem();
//! # let issuer = Issuer::new(params, ca_key);
//! # let (server_chain, server_key) = leaf("billing.acme.org", &issuer);
//! # let (client_chain, client_key) = leaf("shop.acme.org", &issuer);
//! let server = ServerTls::builder()
//!     .certificate_pem(&server_chain, &server_key)?
//!     .client_ca_pem(&ca)?
//!     .client_auth(ClientAuth::Required)
//!     .build()?;
//! let client = ClientTls::builder()
//!     .ca_pem(&ca)?
//!     .identity_pem(&client_chain, &client_key)?
//!     .build()?;
//! # let _ = (server, client);
//! # Ok::<(), sinew_tls::ConfigError>(())
//! ```
//!
//! TLS 1.2 and 1.3 only, ALPN `http/1.1` (and `http/1.0` on a server), no early data, no trust roots
//! but those that are given.
//! The cryptography is passed explicitly; no process-wide default is read or set.
//!
//! # Resumption
//!
//! A resumed session does not look at the peer's certificate again. So it is off wherever that would
//! matter: on a server that asks for client certificates, and on a client that has an identity or
//! revocation lists. Elsewhere it is on, per configuration: a reload, which replaces the whole
//! configuration, starts afresh.

mod config;
mod der;
mod error;
mod failure;
mod identity;
mod options;
mod record;
mod session;
mod wire;

pub use config::{
    ClientAuth, ClientTls, ClientTlsBuilder, ConfigError, Item, ServerTls, ServerTlsBuilder, Source,
};
pub use error::Error;
pub use failure::{Failure, Reason, Side};
pub use identity::{NameKind, PeerIdentity};
pub use options::Options;
pub use wire::{Tls, Version};

/// The TLS library, whose configurations go in and out.
pub use rustls;
