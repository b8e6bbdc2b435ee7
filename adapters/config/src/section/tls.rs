//! `[tls]`

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sinew_tls::{ClientAuth, ConfigError, Item, Options, ServerTls, ServerTlsBuilder};

use crate::document::Document;
use crate::value::Span;

/// Certificates, by the paths of their files.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    client_ca: Vec<PathBuf>,
    client_auth: Option<ClientAuthName>,
    crls: Vec<PathBuf>,
    handshake_timeout: Span,
    write_stall: Span,
    linger: Span,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum ClientAuthName {
    Required,
    Optional,
    Off,
}

impl Default for Tls {
    fn default() -> Self {
        let Options { handshake_timeout, write_stall, linger } = Options::SERVER;
        Self {
            certificate: PathBuf::new(),
            key: PathBuf::new(),
            client_ca: Vec::new(),
            client_auth: None,
            crls: Vec::new(),
            handshake_timeout: handshake_timeout.into(),
            write_stall: write_stall.into(),
            linger: linger.into(),
        }
    }
}

impl Tls {
    pub(crate) fn build(&self, base: &Path, document: &mut Document<'_>) -> Option<ServerTls> {
        let options = Options {
            handshake_timeout: self.handshake_timeout.value,
            write_stall: self.write_stall.value,
            linger: self.linger.value,
        };
        let times = [
            ("tls.handshake_timeout", options.handshake_timeout),
            ("tls.write_stall", options.write_stall),
            ("tls.linger", options.linger),
        ];
        let zero: Vec<_> = times.iter().filter(|(_, time)| time.is_zero()).collect();
        for (setting, _) in &zero {
            document.refuse(setting, ConfigError::ZeroTimeout.to_string());
        }
        let mut unsaid = false;
        for (setting, path) in [("tls.certificate", &self.certificate), ("tls.key", &self.key)] {
            if path.as_os_str().is_empty() {
                document.refuse(setting, ConfigError::NoCertificate.to_string());
                unsaid = true;
            }
        }
        if unsaid || !zero.is_empty() {
            return None;
        }
        let (certificate, key) = (base.join(&self.certificate), base.join(&self.key));
        let mut builder = ServerTls::builder()
            .options(options)
            .certificate_file(&certificate, &key)
            .map_err(|error| {
                let setting = match &error {
                    ConfigError::Unreadable { path, .. } if *path == key => "tls.key",
                    ConfigError::Missing { item: Item::PrivateKey, .. }
                    | ConfigError::Malformed { item: Item::PrivateKey, .. } => "tls.key",
                    _ => "tls.certificate",
                };
                document.refuse(setting, error.to_string());
            })
            .ok()?;
        let client_ca: ReadFile = |builder, path| builder.client_ca_file(path);
        let crls: ReadFile = |builder, path| builder.crls_file(path);
        let files = [("client_ca", &self.client_ca, client_ca), ("crls", &self.crls, crls)];
        for (name, paths, read) in files {
            for (i, path) in paths.iter().enumerate() {
                let refuse = |error: ConfigError| {
                    document.refuse(&format!("tls.{name}.{i}"), error.to_string());
                };
                builder = read(builder, base.join(path)).map_err(refuse).ok()?;
            }
        }
        if let Some(name) = self.client_auth {
            builder = builder.client_auth(match name {
                ClientAuthName::Required => ClientAuth::Required,
                ClientAuthName::Optional => ClientAuth::Optional,
                ClientAuthName::Off => ClientAuth::Off,
            });
        }
        let refuse = |error: ConfigError| {
            let setting = match error {
                ConfigError::KeyMismatch => "tls.key",
                ConfigError::NoClientCa | ConfigError::Unused(_) => "tls.client_auth",
                ConfigError::Malformed { item: Item::RevocationList, .. } => "tls.crls",
                _ => "tls",
            };
            document.refuse(setting, error.to_string());
        };
        builder.build().map_err(refuse).ok()
    }
}

type ReadFile = fn(ServerTlsBuilder, PathBuf) -> Result<ServerTlsBuilder, ConfigError>;
