//! Cross-origin resource sharing, the server's side: <https://fetch.spec.whatwg.org/#http-cors-protocol>
//!
//! CORS lets pages of other origins read answers. It keeps nobody out: a refused origin's simple
//! requests still run. Who may do what is [access control](super::Access).

mod config;
mod origin;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    AUTHORIZATION, VARY,
};
use http::{HeaderName, HeaderValue, Method, StatusCode};

use self::config::is_star;
pub use self::config::{CorsConfig, CorsError, CorsList};
pub use self::origin::BadOrigin;
use self::origin::{Configured, OriginPattern};
use super::is_tchar;
use crate::head::{RequestHead, Single};

/// A CORS policy: what a request is, and the fields that belong on its answer, whoever writes it.
///
/// ```
/// use sinew_core::security::{Cors, CorsConfig};
///
/// let cors = Cors::new(CorsConfig {
///     origins: vec!["https://app.example.org".into(), "https://*.example.net".into()],
///     credentials: true,
///     ..CorsConfig::default()
/// })?;
/// # Ok::<(), sinew_core::security::CorsError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cors {
    origins: Origins,
    methods: Box<[Method]>,
    headers: Box<[HeaderName]>,
    private_network: bool,
    /// Beside `Access-Control-Allow-Origin`, on the answer to a preflight.
    on_preflight: Box<[(HeaderName, HeaderValue)]>,
    /// The same on any other answer.
    on_actual: Box<[(HeaderName, HeaderValue)]>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Origins {
    Any,
    Listed {
        /// Sorted by their bytes.
        exact: Box<[HeaderValue]>,
        patterns: Box<[OriginPattern]>,
    },
}

/// What a request is to CORS.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CorsKind {
    /// A browser asks before it sends the real request. Answer with [`Cors::PREFLIGHT_STATUS`],
    /// the fields and no body; before authentication, as a preflight carries no credentials.
    Preflight,
    /// A request with an `Origin`: go on, and add the fields to whatever becomes its answer.
    Actual,
    /// No `Origin`: go on, and add the fields all the same, as caches need them.
    NotCors,
}

/// Why a request was granted what it was, or not.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum CorsReason {
    /// The browser will hand out the answer, or send the request that it asked about.
    Granted,
    /// No page is involved.
    NoOrigin,
    /// The origin is not among those of the policy.
    Origin,
    /// There are several `Origin` lines.
    SeveralOrigins,
    /// The preflight asks for a method that the policy lacks, or for several.
    Method,
    /// The preflight asks for a field that the policy lacks, or for what is no field name.
    Header,
    /// The preflight asks for access to a private network.
    PrivateNetwork,
}

/// What [`Cors::check`] found. Keep it until the answer is there; it borrows nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use]
pub struct CorsVerdict {
    kind: CorsKind,
    reason: CorsReason,
    /// The value of `Access-Control-Allow-Origin`.
    origin: Option<HeaderValue>,
    /// Whether the preflight asks for access to a private network.
    into_private: bool,
}

impl CorsVerdict {
    /// What the request is.
    pub const fn kind(&self) -> CorsKind {
        self.kind
    }

    /// Why it was granted what it was, or not.
    pub const fn reason(&self) -> CorsReason {
        self.reason
    }
}

impl Cors {
    /// The status of the answer to a preflight, granted or not: a browser reads the fields.
    pub const PREFLIGHT_STATUS: StatusCode = StatusCode::NO_CONTENT;

    /// The fields of an answer that the policy alone may set.
    pub const OWNED: [HeaderName; 7] = [
        ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_ALLOW_CREDENTIALS,
        ACCESS_CONTROL_ALLOW_METHODS,
        ACCESS_CONTROL_ALLOW_HEADERS,
        ACCESS_CONTROL_ALLOW_PRIVATE_NETWORK,
        ACCESS_CONTROL_EXPOSE_HEADERS,
        ACCESS_CONTROL_MAX_AGE,
    ];

    /// Checks the configuration, and writes every field value that does not depend on a request.
    ///
    /// # Errors
    ///
    /// See [`CorsError`]: nothing is left to be found out in a browser.
    pub fn new(config: CorsConfig) -> Result<Self, CorsError> {
        let origins = Origins::new(&config.origins)?;
        config.check(origins == Origins::Any)?;
        let credentials = config
            .credentials
            .then(|| (ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true")));
        let listed = |name, entries: Vec<&str>| {
            // Methods and names are tokens, so this cannot fail.
            let value = HeaderValue::try_from(entries.join(", ")).ok()?;
            (!entries.is_empty()).then_some((name, value))
        };
        let methods = config.methods.iter().map(Method::as_str).collect();
        let headers = config.headers.iter().map(HeaderName::as_str).collect();
        let expose = config.expose.iter().map(HeaderName::as_str).collect();
        let max_age = config.max_age.map(|age| (ACCESS_CONTROL_MAX_AGE, age.as_secs().into()));
        let on_preflight = [
            credentials.clone(),
            listed(ACCESS_CONTROL_ALLOW_METHODS, methods),
            listed(ACCESS_CONTROL_ALLOW_HEADERS, headers),
            max_age,
        ];
        let on_actual = [credentials, listed(ACCESS_CONTROL_EXPOSE_HEADERS, expose)];
        Ok(Self {
            origins,
            methods: config.methods.into(),
            headers: config.headers.into(),
            private_network: config.private_network,
            on_preflight: on_preflight.into_iter().flatten().collect(),
            on_actual: on_actual.into_iter().flatten().collect(),
        })
    }

    /// What this request is, and what it is granted. Allocates nothing.
    pub fn check(&self, head: &RequestHead) -> CorsVerdict {
        self.check_origin(head, head.fields().single("origin"))
    }

    /// The same, where the origin was looked up already.
    #[inline]
    pub(crate) fn check_origin(&self, head: &RequestHead, given: Single<'_>) -> CorsVerdict {
        match given {
            Single::Absent => CorsVerdict {
                kind: CorsKind::NotCors,
                reason: CorsReason::NoOrigin,
                // Sent without an origin too, so that caches hold one answer for all.
                origin: (self.origins == Origins::Any).then_some(STAR),
                into_private: false,
            },
            Single::Once(value) => self.check_page(head, Some(value)),
            Single::Repeated => self.check_page(head, None),
        }
    }

    /// The same for a request that a page may have caused. `None`: it has several origins.
    #[inline(never)]
    fn check_page(&self, head: &RequestHead, origin: Option<&[u8]>) -> CorsVerdict {
        let (origin, reason) = match (&self.origins, origin) {
            (Origins::Any, _) => (Some(STAR), CorsReason::Granted),
            (Origins::Listed { .. }, None) => (None, CorsReason::SeveralOrigins),
            (Origins::Listed { exact, patterns }, Some(value)) => {
                match granted(exact, patterns, head, value) {
                    Some(origin) => (Some(origin), CorsReason::Granted),
                    None => (None, CorsReason::Origin),
                }
            }
        };
        // https://fetch.spec.whatwg.org/#cors-preflight-request
        let preflight = *head.method() == Method::OPTIONS
            && head.header("access-control-request-method").is_some();
        let kind = if preflight { CorsKind::Preflight } else { CorsKind::Actual };
        let into_private =
            preflight && head.header("access-control-request-private-network") == Some(b"true");
        let reason = match (preflight, reason) {
            (true, CorsReason::Granted) => self.preflight_reason(head, into_private),
            (_, reason) => reason,
        };
        CorsVerdict { kind, reason, origin, into_private }
    }

    /// The fields that belong on the answer, in addition to those that are there; `Vary` is always
    /// right, also where nothing is granted. Drop the lines that the policy
    /// [owns](Self::owns) before: a browser takes a second one for an error.
    pub fn fields(
        &self,
        verdict: &CorsVerdict,
    ) -> impl Iterator<Item = (HeaderName, HeaderValue)> + '_ {
        let origin = verdict.origin.clone().map(|value| (ACCESS_CONTROL_ALLOW_ORIGIN, value));
        let vary = self.vary(verdict).map(|names| (VARY, HeaderValue::from_static(names)));
        let private = self
            .grants_private(verdict)
            .then_some((ACCESS_CONTROL_ALLOW_PRIVATE_NETWORK, HeaderValue::from_static("true")));
        origin.into_iter().chain(self.lines(verdict).iter().cloned()).chain(private).chain(vary)
    }

    /// The same but for `Vary`, without the state that an iterator needs.
    #[inline]
    pub(crate) fn put_grants(
        &self,
        verdict: &CorsVerdict,
        mut put: impl FnMut(HeaderName, HeaderValue),
    ) {
        let Some(value) = &verdict.origin else { return };
        put(ACCESS_CONTROL_ALLOW_ORIGIN, value.clone());
        for (name, value) in self.lines(verdict) {
            put(name.clone(), value.clone());
        }
        if self.grants_private(verdict) {
            put(ACCESS_CONTROL_ALLOW_PRIVATE_NETWORK, HeaderValue::from_static("true"));
        }
    }

    /// The value of `Vary`.
    #[inline]
    pub(crate) fn vary(&self, verdict: &CorsVerdict) -> Option<&'static str> {
        match (verdict.kind, self.private_network, &self.origins) {
            (CorsKind::Preflight, false, _) => Some(VARY_PREFLIGHT),
            (CorsKind::Preflight, true, _) => Some(VARY_PRIVATE),
            (_, _, Origins::Listed { .. }) => Some(VARY_ACTUAL),
            // The same for everyone.
            (_, _, Origins::Any) => None,
        }
    }

    /// What stands beside the origin.
    fn lines(&self, verdict: &CorsVerdict) -> &[(HeaderName, HeaderValue)] {
        match (&verdict.origin, verdict.kind) {
            (None, _) => &[],
            (Some(_), CorsKind::Preflight) => &self.on_preflight,
            (Some(_), _) => &self.on_actual,
        }
    }

    fn grants_private(&self, verdict: &CorsVerdict) -> bool {
        verdict.into_private && self.private_network && verdict.origin.is_some()
    }

    /// Whether the policy alone may set this field of an answer.
    pub fn owns(name: &HeaderName) -> bool {
        name.as_str().starts_with("access-control-") && Self::OWNED.contains(name)
    }

    /// What a browser will make of a preflight from an origin that is granted.
    /// <https://fetch.spec.whatwg.org/#cors-preflight-fetch>
    fn preflight_reason(&self, head: &RequestHead, into_private: bool) -> CorsReason {
        let mut methods = head.fields().get_all("access-control-request-method");
        match (methods.next(), methods.next()) {
            (Some(method), None) if self.allows_method(method) => {}
            _ => return CorsReason::Method,
        }
        let mut names = head
            .fields()
            .get_all("access-control-request-headers")
            .flat_map(|line| line.split(|b| *b == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|name| !name.is_empty());
        if !names.all(|name| self.allows_header(name)) {
            return CorsReason::Header;
        }
        if into_private && !self.private_network {
            return CorsReason::PrivateNetwork;
        }
        CorsReason::Granted
    }

    fn allows_method(&self, method: &[u8]) -> bool {
        // https://fetch.spec.whatwg.org/#cors-safelisted-method
        matches!(method, b"GET" | b"HEAD" | b"POST")
            || self.methods.iter().any(|m| is_star(m) || m.as_str().as_bytes() == method)
    }

    fn allows_header(&self, name: &[u8]) -> bool {
        self.headers.iter().any(|known| {
            // https://fetch.spec.whatwg.org/#cors-non-wildcard-request-header-name
            (is_star(known)
                && name.iter().all(|byte| is_tchar(*byte))
                && !name.eq_ignore_ascii_case(AUTHORIZATION.as_str().as_bytes()))
                || name.eq_ignore_ascii_case(known.as_str().as_bytes())
        })
    }
}

impl Origins {
    fn new(origins: &[String]) -> Result<Self, CorsError> {
        if origins.is_empty() {
            return Err(CorsError::NoOrigin);
        }
        if origins.iter().any(|origin| origin == "*") {
            // Others beside it are refused where all lists are looked at.
            return Ok(Self::Any);
        }
        let (mut exact, mut patterns) = (Vec::new(), Vec::new());
        for text in origins {
            let refused = |why| CorsError::Origin { origin: text.clone(), why };
            match origin::parse(text).map_err(refused)? {
                Configured::Exact(text) => {
                    exact.push(HeaderValue::try_from(text).map_err(|_| refused(BadOrigin::Host))?);
                }
                Configured::Pattern(pattern) => patterns.push(pattern),
            }
        }
        exact.sort_unstable();
        Ok(Self::Listed { exact: exact.into(), patterns: patterns.into() })
    }
}

/// The origin as it goes back, if it is one of these: octet for octet.
/// <https://fetch.spec.whatwg.org/#concept-cors-check>
fn granted(
    exact: &[HeaderValue],
    patterns: &[OriginPattern],
    head: &RequestHead,
    origin: &[u8],
) -> Option<HeaderValue> {
    if let Ok(found) = exact.binary_search_by(|known| known.as_bytes().cmp(origin)) {
        return exact.get(found).cloned();
    }
    patterns.iter().any(|pattern| pattern.matches(origin)).then_some(())?;
    // A slice of the head: nothing is copied.
    HeaderValue::from_maybe_shared(head.as_bytes().slice_ref(origin)).ok()
}

const STAR: HeaderValue = HeaderValue::from_static("*");
const VARY_ACTUAL: &str = "origin";
const VARY_PREFLIGHT: &str =
    "origin, access-control-request-method, access-control-request-headers";
const VARY_PRIVATE: &str = "origin, access-control-request-method, \
    access-control-request-headers, access-control-request-private-network";
const ACCESS_CONTROL_ALLOW_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-allow-private-network");
