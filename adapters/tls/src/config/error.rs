//! Why a configuration is refused.

use core::fmt;
use std::io;
use std::path::PathBuf;

/// Why a configuration is refused, in plain words.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file cannot be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        why: io::ErrorKind,
    },
    /// There is nothing of the kind in there.
    Missing {
        /// What was looked for.
        item: Item,
        /// Where.
        source: Source,
    },
    /// There is something, but it cannot be read as what it should be.
    Malformed {
        /// What was looked for.
        item: Item,
        /// Where.
        source: Source,
        /// What is wrong with it.
        why: String,
    },
    /// The private key does not belong to the certificate.
    KeyMismatch,
    /// A server needs a certificate.
    NoCertificate,
    /// A client needs authorities to trust; none is trusted by default.
    NoRoots,
    /// Client certificates are asked for without an authority to check them against.
    NoClientCa,
    /// This setting has no effect beside the others, and was surely meant to have one.
    Unused(&'static str),
    /// A time limit of zero.
    ZeroTimeout,
    /// An application protocol that is empty or longer than 255 bytes.
    Alpn,
    /// No cryptography: neither a feature (`ring`, `aws-lc-rs`) nor a provider was chosen.
    NoProvider,
    /// Neither a DNS name nor an IP address.
    ServerName(String),
    /// rustls refuses it.
    Rustls(rustls::Error),
}

/// What a configuration is made of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Item {
    /// A certificate of our own chain.
    Certificate,
    /// A private key.
    PrivateKey,
    /// The certificate of an authority.
    Authority,
    /// A certificate revocation list.
    RevocationList,
}

/// Where it came from.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Source {
    /// Bytes given by the application.
    Memory,
    /// A file.
    File(PathBuf),
    /// The trust store of the system.
    System,
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate => "certificate",
            Self::PrivateKey => "private key",
            Self::Authority => "authority's certificate",
            Self::RevocationList => "revocation list",
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("the bytes given"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::System => f.write_str("the system's trust store"),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, why } => write!(f, "cannot read {}: {why}", path.display()),
            Self::Missing { item, source } => write!(f, "no {item} in {source}"),
            Self::Malformed { item, source, why } => {
                write!(f, "malformed {item} in {source}: {why}")
            }
            Self::KeyMismatch => write!(f, "the private key does not match the certificate"),
            Self::NoCertificate => write!(f, "a server needs a certificate and its key"),
            Self::NoRoots => {
                write!(f, "a client needs authorities to trust; none is trusted by default")
            }
            Self::NoClientCa => {
                write!(f, "client certificates are asked for, but no authority is given for them")
            }
            Self::Unused(what) => write!(f, "{what} would have no effect"),
            Self::ZeroTimeout => write!(f, "a time limit of zero"),
            Self::Alpn => write!(f, "an application protocol has 1 to 255 bytes"),
            Self::NoProvider => write!(f, "no cryptography: enable `ring` or `aws-lc-rs`"),
            Self::ServerName(name) => write!(f, "neither a DNS name nor an address: {name:?}"),
            Self::Rustls(error) => write!(f, "{error}"),
        }
    }
}

impl core::error::Error for ConfigError {}

impl From<rustls::Error> for ConfigError {
    fn from(error: rustls::Error) -> Self {
        match error {
            rustls::Error::InconsistentKeys(_) => Self::KeyMismatch,
            error => Self::Rustls(error),
        }
    }
}
