//! What a CORS policy is built from, and why it may be refused.

use core::fmt;
use core::time::Duration;

use http::{HeaderName, Method};

use super::BadOrigin;

/// What a [`Cors`](super::Cors) is built from. Nothing is granted by default, and no origin at all is refused.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CorsConfig {
    /// Origins as browsers serialise them, `https://app.example.org:8443`; or with a `*` for the
    /// whole first label, `https://*.example.org`; or `*` alone for all, `null` included.
    pub origins: Vec<String>,
    /// Methods beside GET, HEAD and POST, which need no grant; `*` alone for all.
    pub methods: Vec<Method>,
    /// Fields that a page may set beyond the few harmless ones. `*` is all but `authorization`,
    /// which always needs its own entry.
    pub headers: Vec<HeaderName>,
    /// Fields of the answer that a page may read beyond the few harmless ones; `*` for all.
    pub expose: Vec<HeaderName>,
    /// Whether cookies, client certificates and HTTP authentication may go along. Excludes every
    /// `*`. Default false.
    pub credentials: bool,
    /// How long a browser may remember a preflight, in whole seconds; browsers cap it at 2 h or
    /// 24 h. Default unsaid: 5 s in browsers.
    pub max_age: Option<Duration>,
    /// Whether pages of a public network may reach this server in a private one. Default false.
    /// <https://wicg.github.io/private-network-access/>
    pub private_network: bool,
}

impl CorsConfig {
    /// Checks what stands beside the origins, and every `*`.
    pub(super) fn check(&self, any_origin: bool) -> Result<(), CorsError> {
        self.methods.iter().try_for_each(check_method)?;
        let stars = [
            (CorsList::Origins, any_origin, self.origins.len()),
            (CorsList::Methods, self.methods.iter().any(is_star), self.methods.len()),
            (CorsList::Headers, self.headers.iter().any(is_star), 1),
            (CorsList::Expose, self.expose.iter().any(is_star), self.expose.len()),
        ];
        for (list, _, len) in stars.into_iter().filter(|(_, star, _)| *star) {
            if len > 1 {
                return Err(CorsError::WildcardBesideOthers(list));
            }
            // https://fetch.spec.whatwg.org/#cors-protocol-and-credentials
            if self.credentials {
                return Err(CorsError::WildcardWithCredentials(list));
            }
        }
        Ok(())
    }
}

pub(super) fn is_star(entry: impl AsRef<str>) -> bool {
    entry.as_ref() == "*"
}

fn check_method(method: &Method) -> Result<(), CorsError> {
    // https://fetch.spec.whatwg.org/#forbidden-method
    let forbidden = ["CONNECT", "TRACE", "TRACK"];
    // https://fetch.spec.whatwg.org/#concept-method-normalize
    let normalised = ["DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT"];
    let is = |known: &&str| method.as_str().eq_ignore_ascii_case(known);
    if forbidden.iter().any(is) {
        return Err(CorsError::ForbiddenMethod(method.clone()));
    }
    if normalised.iter().any(|known| is(known) && method.as_str() != *known) {
        return Err(CorsError::MethodCase(method.clone()));
    }
    Ok(())
}

/// A list of a [`CorsConfig`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CorsList {
    /// [`CorsConfig::origins`]
    Origins,
    /// [`CorsConfig::methods`]
    Methods,
    /// [`CorsConfig::headers`]
    Headers,
    /// [`CorsConfig::expose`]
    Expose,
}

/// Why a [`CorsConfig`] is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum CorsError {
    /// No origin is allowed: leave the policy out instead.
    NoOrigin,
    /// An origin that no browser sends.
    Origin {
        /// What was configured.
        origin: String,
        /// What is wrong with it.
        why: BadOrigin,
    },
    /// `*` stands beside what it includes.
    WildcardBesideOthers(CorsList),
    /// Browsers take `*` literally where credentials are allowed.
    WildcardWithCredentials(CorsList),
    /// Browsers never send this method for a page.
    ForbiddenMethod(Method),
    /// Browsers send this method in capitals only.
    MethodCase(Method),
}

impl fmt::Display for CorsList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Origins => "origins",
            Self::Methods => "methods",
            Self::Headers => "headers",
            Self::Expose => "expose",
        })
    }
}

impl fmt::Display for CorsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoOrigin => f.write_str("CORS without an origin grants nothing: leave it out"),
            Self::Origin { origin, why } => write!(f, "CORS origin {origin:?}: {why}"),
            Self::WildcardBesideOthers(list) => {
                write!(f, "CORS {list}: * stands beside what it includes")
            }
            Self::WildcardWithCredentials(list) => {
                write!(f, "CORS {list}: * and credentials exclude each other")
            }
            Self::ForbiddenMethod(method) => {
                write!(f, "CORS method {method} is never sent for a page")
            }
            Self::MethodCase(method) => {
                write!(f, "CORS method {method} is sent in capitals only")
            }
        }
    }
}

impl core::error::Error for CorsError {}
