//! `[shared_quota]`

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sinew_core::limit::{BadLease, LeaseConfig, Leases, Quota, WithoutStore};
use sinew_core::policy;
use sinew_driver::{Runtime, SharedQuota as Shared};
use sinew_redis::{BadConfig, RedisConfig, RedisStore};
use sinew_tls::ClientTls;

use super::{ModeName, secret};
use crate::document::Document;
use crate::value::{Parse, QuotaText, Span, Text};

/// How much each client may ask for of all replicas together, and who counts it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SharedQuota {
    mode: ModeName,
    quota: Option<QuotaText>,
    store: Option<Text<Place>>,
    ca: Vec<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    user: Option<String>,
    password_file: Option<PathBuf>,
    password_env: Option<String>,
    secret_file: Option<PathBuf>,
    secret_env: Option<String>,
    prefix: Option<String>,
    connect_timeout: Option<Span>,
    reply_timeout: Option<Span>,
    tokens: u32,
    lifetime: Span,
    ahead: u32,
    patience: Span,
    pause: Span,
    asks: usize,
    clients: usize,
    without_store: Fallback,
}

/// What becomes of requests that nobody can count.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(untagged, expecting = "expected \"closed\", \"open\" or a quota")]
enum Fallback {
    Named(FallbackName),
    Local(QuotaText),
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum FallbackName {
    Closed,
    Open,
}

impl Default for SharedQuota {
    fn default() -> Self {
        let LeaseConfig { tokens, lifetime, ahead, patience, pause, asks, clients, .. } =
            LeaseConfig::default();
        Self {
            mode: ModeName::default(),
            quota: None,
            store: None,
            ca: Vec::new(),
            certificate: None,
            key: None,
            user: None,
            password_file: None,
            password_env: None,
            secret_file: None,
            secret_env: None,
            prefix: None,
            connect_timeout: None,
            reply_timeout: None,
            tokens,
            lifetime: lifetime.into(),
            ahead,
            patience: patience.into(),
            pause: pause.into(),
            asks,
            clients,
            without_store: Fallback::Named(FallbackName::Closed),
        }
    }
}

/// Where the store is.
#[derive(Clone, Debug)]
struct Place {
    config: RedisConfig,
    secure: bool,
}

impl Parse for Place {
    const EXPECTED: &str =
        "a store such as \"rediss://10.0.0.7:6380/0\" or \"unix:/run/redis.sock\"";

    fn parse(text: &str) -> Result<Self, Option<String>> {
        if !text.starts_with("unix:") && text.contains('@') {
            return Err(Some(
                "no credentials stand in here: see user and password_file".to_owned(),
            ));
        }
        let config = RedisConfig::from_url(text).map_err(|bad| Some(bad.to_string()))?;
        Ok(Self { config, secure: text.starts_with("rediss://") })
    }
}

impl SharedQuota {
    pub(crate) fn build<R: Runtime>(
        &self,
        base: &Path,
        document: &mut Document<'_>,
        runtime: &R,
    ) -> Option<(policy::Mode, Shared<RedisStore<R>>)> {
        let mut refuse = |setting: &str, why: String| {
            document.refuse(&format!("shared_quota{setting}"), why);
        };
        let config = self.store(base, &mut refuse);
        let secret = self.secret(base).map_err(|(setting, why)| refuse(setting, why)).ok();
        let leases = self.leases(&mut refuse);
        let quota = match &self.quota {
            Some(quota) => built(quota, ".quota", &mut refuse),
            None => {
                refuse("", "quota says how much each client has".to_owned());
                None
            }
        };
        let (config, quota) = (config?, quota?);
        let refused = |bad: BadConfig| {
            let setting = match bad {
                BadConfig::User => ".user",
                BadConfig::Prefix => ".prefix",
                BadConfig::Time if config.connect_timeout.is_zero() => ".connect_timeout",
                BadConfig::Time => ".reply_timeout",
                BadConfig::Quota => ".quota",
                _ => ".store",
            };
            refuse(setting, bad.to_string());
        };
        let store = RedisStore::new(runtime.clone(), quota, config.clone()).map_err(refused).ok();
        Some((self.mode.into(), Shared::new(store?, secret?).leases(leases?)))
    }

    /// Where the store is, and how it is treated.
    fn store(&self, base: &Path, refuse: &mut impl FnMut(&str, String)) -> Option<RedisConfig> {
        let Some(Text { value: Place { config, secure }, .. }) = &self.store else {
            refuse("", "store says who counts".to_owned());
            return None;
        };
        let mut config = config.clone();
        config.user.clone_from(&self.user);
        config.password = match (&self.password_file, &self.password_env) {
            (None, None) => None,
            (Some(path), None) => {
                let read = secret::of_file(base, path);
                Some(read.map_err(|why| refuse(".password_file", why)).ok()?)
            }
            (None, Some(name)) => {
                let read = secret::of_env(name);
                Some(read.map_err(|why| refuse(".password_env", why)).ok()?)
            }
            (Some(_), Some(_)) => {
                refuse(".password_env", "the password stands in password_file as well".to_owned());
                return None;
            }
        };
        config.prefix = self.prefix.clone().unwrap_or(config.prefix);
        let given = |span: &Option<Span>, default| span.as_ref().map_or(default, |span| span.value);
        config.connect_timeout = given(&self.connect_timeout, config.connect_timeout);
        config.reply_timeout = given(&self.reply_timeout, config.reply_timeout);
        let unused = [
            (".ca", !self.ca.is_empty()),
            (".certificate", self.certificate.is_some()),
            (".key", self.key.is_some()),
        ];
        match (secure, unused.iter().find(|(_, given)| *given)) {
            (true, _) => Some(config.tls(&self.tls(base, refuse)?)),
            (false, None) => Some(config),
            (false, Some((setting, _))) => {
                refuse(setting, "the store is not asked over TLS: that is rediss://".to_owned());
                None
            }
        }
    }

    fn tls(&self, base: &Path, refuse: &mut impl FnMut(&str, String)) -> Option<ClientTls> {
        if self.ca.is_empty() {
            let why = "ca says which authorities a store of rediss:// is known by";
            refuse(".store", why.to_owned());
            return None;
        }
        let mut tls = ClientTls::builder();
        for (i, path) in self.ca.iter().enumerate() {
            let read = tls.ca_file(base.join(path));
            tls = read.map_err(|bad| refuse(&format!(".ca.{i}"), bad.to_string())).ok()?;
        }
        match (&self.certificate, &self.key) {
            (None, None) => {}
            (Some(certificate), Some(key)) => {
                let read = tls.identity_file(base.join(certificate), base.join(key));
                tls = read.map_err(|bad| refuse(".certificate", bad.to_string())).ok()?;
            }
            (certificate, _) => {
                let setting = if certificate.is_some() { ".certificate" } else { ".key" };
                refuse(setting, "certificate and key belong together".to_owned());
                return None;
            }
        }
        tls.build().map_err(|bad| refuse(".ca", bad.to_string())).ok()
    }

    /// What hides clients from the store. `Err`: the setting that makes no sense, and why.
    fn secret(&self, base: &Path) -> Result<[u8; 16], (&'static str, String)> {
        let (setting, text) = match (&self.secret_file, &self.secret_env) {
            (Some(path), None) => (".secret_file", secret::of_file(base, path)),
            (None, Some(name)) => (".secret_env", secret::of_env(name)),
            _ => {
                let why =
                    "one of secret_file and secret_env says what hides clients from the store";
                return Err(("", why.to_owned()));
            }
        };
        let text = text.map_err(|why| (setting, why))?;
        let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = if is_hex { u128::from_str_radix(&text, 16).ok() } else { None };
        let why = || (setting, "expected 16 bytes in 32 hexadecimal digits".to_owned());
        number.map(u128::to_be_bytes).ok_or_else(why)
    }

    fn leases(&self, refuse: &mut impl FnMut(&str, String)) -> Option<LeaseConfig> {
        let without_store = match &self.without_store {
            Fallback::Named(FallbackName::Closed) => WithoutStore::Closed,
            Fallback::Named(FallbackName::Open) => WithoutStore::Open,
            Fallback::Local(quota) => WithoutStore::Local(built(quota, ".without_store", refuse)?),
        };
        let config = LeaseConfig {
            tokens: self.tokens,
            lifetime: self.lifetime.value,
            ahead: self.ahead,
            patience: self.patience.value,
            pause: self.pause.value,
            asks: self.asks,
            clients: self.clients,
            without_store,
            ..LeaseConfig::default()
        };
        let bad = Leases::new(config.clone()).err();
        if let Some(bad) = bad {
            let setting = match bad {
                BadLease::Lease if config.tokens == 0 => ".tokens",
                BadLease::Lease => ".lifetime",
                BadLease::Time if config.patience.is_zero() => ".patience",
                BadLease::Time => ".pause",
                BadLease::Room if config.asks == 0 => ".asks",
                BadLease::Room => ".clients",
                _ => ".without_store",
            };
            refuse(setting, bad.to_string());
            return None;
        }
        Some(config)
    }
}

fn built(quota: &QuotaText, setting: &str, refuse: &mut impl FnMut(&str, String)) -> Option<Quota> {
    let refused = |(part, why): (Option<&str>, String)| {
        let part = part.map(|part| format!(".{part}")).unwrap_or_default();
        refuse(&format!("{setting}{part}"), why);
    };
    quota.build().map_err(refused).ok()
}
