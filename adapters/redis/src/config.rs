//! Where the store is, and how it is treated.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use sinew_core::resilience::{Backoff, BadBackoff};
use sinew_driver::ConnectTo;
use sinew_tls::ClientTls;
use sinew_tls::rustls::ClientConfig;

use crate::session::Greeting;

/// Where the store is, and how it is treated.
#[derive(Clone)]
pub struct RedisConfig {
    place: Place,
    tls: Option<ClientTls>,
    /// The user of an ACL; `None`: the default one, or a server that knows passwords only.
    pub user: Option<String>,
    /// Without one, none is sent.
    pub password: Option<String>,
    /// Which database. Default 0.
    pub database: u32,
    /// What the names of buckets start with, at most 256 bytes. Quotas that are counted apart need prefixes
    /// of their own. Default `sinew:quota:`.
    pub prefix: String,
    /// How long resolving and connecting may take, together. Default 1 s.
    pub connect_timeout: Duration,
    /// How long the store may say nothing to what it was asked; then the connection is given up. Default
    /// 500 ms. Answers that come later than [`LeaseConfig::patience`](sinew_core::limit::LeaseConfig) are
    /// lost already.
    pub reply_timeout: Duration,
    /// The wait before the next connection. Default full jitter from 50 ms to 2 s.
    pub backoff: Backoff,
    /// Asks that wait for the store, at most; further ones fail at once. Default 64.
    pub pending: usize,
}

#[derive(Clone, Debug)]
enum Place {
    Tcp { host: String, port: u16, secure: bool },
    Unix(String),
}

/// Why a [`RedisConfig`], or a quota, is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum BadConfig {
    /// No `redis://[[user]:password@]host[:port][/database]`, `rediss://…` or `unix:/path`.
    Url(&'static str),
    /// `rediss://` without TLS, or TLS for a place in plaintext.
    Tls,
    /// A user without a password.
    User,
    /// A prefix above 256 bytes.
    Prefix,
    /// No time to connect in, or to answer.
    Time,
    /// No ask at once.
    Pending,
    /// The backoff makes no sense.
    Backoff(BadBackoff),
    /// A quota whose burst times its period is above 2^52 µs, some 142 years.
    Quota,
}

impl RedisConfig {
    /// `redis://[[user]:password@]host[:port][/database]`, with user and password percent-encoded;
    /// `rediss://…` the same under [TLS](Self::tls); `unix:/path/of/socket`. The port is 6379 unless given.
    ///
    /// # Errors
    ///
    /// [`BadConfig::Url`], in words that hold nothing of the URL: it may hold a password.
    pub fn from_url(url: &str) -> Result<Self, BadConfig> {
        if let Some(path) = url.strip_prefix("unix:") {
            if !path.starts_with('/') {
                return Err(BadConfig::Url("a socket needs an absolute path"));
            }
            return Ok(Self::at(Place::Unix(path.to_owned())));
        }
        let (secure, rest) = match (url.strip_prefix("redis://"), url.strip_prefix("rediss://")) {
            (Some(rest), _) => (false, rest),
            (None, Some(rest)) => (true, rest),
            (None, None) => return Err(BadConfig::Url("not redis://, rediss:// or unix:")),
        };
        if rest.contains(['?', '#']) {
            return Err(BadConfig::Url("no query and no fragment is understood"));
        }
        let (rest, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, authority) = match rest.rsplit_once('@') {
            Some((credentials, authority)) => (Some(credentials), authority),
            None => (None, rest),
        };
        let (host, port) = split_port(authority).ok_or(BadConfig::Url("no host, or no port"))?;
        let mut config = Self::at(Place::Tcp { host: host.to_owned(), port, secure });
        if !database.is_empty() {
            let database = database.parse();
            config.database = database.map_err(|_| BadConfig::Url("a database is a number"))?;
        }
        if let Some(credentials) = credentials {
            let (user, password) = credentials
                .split_once(':')
                .ok_or(BadConfig::Url("credentials are user:password, or :password"))?;
            config.user = Some(decoded(user)?).filter(|user| !user.is_empty());
            config.password = Some(decoded(password)?);
        }
        Ok(config)
    }

    fn at(place: Place) -> Self {
        Self {
            place,
            tls: None,
            user: None,
            password: None,
            database: 0,
            prefix: "sinew:quota:".to_owned(),
            connect_timeout: Duration::from_secs(1),
            reply_timeout: Duration::from_millis(500),
            backoff: Backoff { base: Duration::from_millis(50), cap: Duration::from_secs(2) },
            pending: 64,
        }
    }

    /// Whom `rediss://` trusts, and what it shows. The certificate must name the host. No application
    /// protocol is offered.
    #[must_use]
    pub fn tls(mut self, tls: &ClientTls) -> Self {
        let mut config = ClientConfig::clone(tls.config());
        config.alpn_protocols.clear();
        self.tls = Some(ClientTls::from_config(Arc::new(config), tls.options()));
        self
    }

    /// Where connections go.
    pub(crate) fn destination(&self) -> Result<ConnectTo, BadConfig> {
        match (&self.place, &self.tls) {
            (Place::Unix(path), None) => Ok(ConnectTo::unix(path)),
            (Place::Tcp { host, port, secure: false }, None) => {
                Ok(ConnectTo::tcp(host.clone(), *port))
            }
            (Place::Tcp { host, port, secure: true }, Some(tls)) => {
                Ok(ConnectTo::tcp(host.clone(), *port).tls(tls.clone(), host.clone()))
            }
            _ => Err(BadConfig::Tls),
        }
    }

    /// What a connection begins with.
    pub(crate) fn greeting(&self) -> Result<Greeting, BadConfig> {
        let credentials = match (&self.user, &self.password) {
            (user, Some(password)) => Some((user.clone(), password.clone())),
            (None, None) => None,
            (Some(_), None) => return Err(BadConfig::User),
        };
        Ok(Greeting { credentials, database: self.database })
    }

    pub(crate) fn check(&self) -> Result<(), BadConfig> {
        if self.prefix.len() > 256 {
            return Err(BadConfig::Prefix);
        }
        if self.connect_timeout.is_zero() || self.reply_timeout.is_zero() {
            return Err(BadConfig::Time);
        }
        if self.pending == 0 {
            return Err(BadConfig::Pending);
        }
        self.backoff.check().map_err(BadConfig::Backoff)
    }
}

/// An address of IPv6 stands in brackets: <https://www.rfc-editor.org/rfc/rfc3986#section-3.2.2>
fn split_port(authority: &str) -> Option<(&str, u16)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let port = port.map_or(Some(6379), |port| port.parse().ok())?;
    (!host.is_empty() && port > 0).then_some((host, port))
}

fn decoded(text: &str) -> Result<String, BadConfig> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(String::from).map_err(|_| BadConfig::Url("credentials are UTF-8"))
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("place", &self.place)
            .field("user", &self.user)
            .field("database", &self.database)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for BadConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(why) => write!(f, "the URL of the store: {why}"),
            Self::Tls => f.write_str("rediss:// needs .tls(…), and nothing else takes it"),
            Self::User => f.write_str("a user of the store without a password"),
            Self::Prefix => f.write_str("the prefix of buckets is above 256 bytes"),
            Self::Time => f.write_str("a store needs some time to connect and to answer"),
            Self::Pending => f.write_str("a store that may be asked nothing grants nothing"),
            Self::Backoff(why) => why.fmt(f),
            Self::Quota => f.write_str("a quota whose burst times its period is above 2^52 µs"),
        }
    }
}

impl std::error::Error for BadConfig {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_say_where_and_who() {
        for (url, place, user, password, database) in [
            ("redis://a.test", "a.test 6379", None, None, 0),
            ("redis://a.test:1/15", "a.test 1", None, None, 15),
            ("rediss://:p%40ss@[::1]:7", "::1 7", None, Some("p@ss"), 0),
            ("redis://ann:a:b@10.0.0.1/", "10.0.0.1 6379", Some("ann"), Some("a:b"), 0),
            ("unix:/run/redis.sock", "/run/redis.sock", None, None, 0),
        ] {
            let config = RedisConfig::from_url(url).unwrap();
            let found = match &config.place {
                Place::Tcp { host, port, secure } => {
                    assert_eq!(*secure, url.starts_with("rediss"));
                    format!("{host} {port}")
                }
                Place::Unix(path) => path.clone(),
            };
            assert_eq!(found, place);
            assert_eq!(config.user.as_deref(), user, "{url}");
            assert_eq!(config.password.as_deref(), password, "{url}");
            assert_eq!(config.database, database, "{url}");
            assert!(!format!("{config:?}").contains("ss\""), "{config:?}");
        }
    }

    #[test]
    fn what_is_no_url_is_refused_without_being_shown() {
        for url in [
            "http://a.test",
            "redis://",
            "redis://:secret@",
            "redis://secret@a.test",
            "redis://a.test:0",
            "redis://a.test:port",
            "redis://a.test/zero",
            "redis://a.test/-1",
            "redis://a.test?db=secret",
            "redis://[::1",
            "redis://[::1]6379",
            "redis://u:%ff@a.test",
            "unix:run/redis.sock",
        ] {
            let why = RedisConfig::from_url(url).unwrap_err();
            assert!(matches!(why, BadConfig::Url(_)), "{url}");
            assert!(!why.to_string().contains("secret"), "{why}");
        }
    }
}
