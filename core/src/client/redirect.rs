//! Where an answer sends a call next, and what of the call goes along.
//! <https://www.rfc-editor.org/rfc/rfc9110#section-15.4>

use core::fmt;

use http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_LOCATION,
    CONTENT_TYPE, COOKIE, EXPECT, PROXY_AUTHORIZATION, TRAILER,
};
use http::{HeaderName, Method, StatusCode};

use crate::head::Scanned;
use crate::origin::{Origin, Scheme};
use crate::resilience::Replay;

/// Bytes of a `Location`, at most.
pub const MAX_LOCATION: usize = 8 * 1024;

/// Which redirects are followed. Nothing is, unless a client is given one of these.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RedirectPolicy {
    /// Redirects of one call. Default 10.
    pub max: u32,
    /// Whether they may lead elsewhere. Default no.
    pub reach: Reach,
}

/// How far redirects may lead.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Reach {
    /// Within the origin that the call went to.
    SameOrigin,
    /// Anywhere, but never from `https` to `http`. Credentials stay behind.
    Anywhere,
}

impl Default for RedirectPolicy {
    fn default() -> Self {
        Self { max: 10, reach: Reach::SameOrigin }
    }
}

/// A request of a call, as far as redirects are concerned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hop {
    /// Its method.
    pub method: Method,
    /// Whom it goes to.
    pub origin: Origin,
    /// Path and query.
    pub target: String,
    /// What becomes of the body.
    pub content: Content,
    /// What becomes of credentials, from here on.
    pub credentials: Credentials,
}

/// What becomes of the body of a call.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Content {
    /// It is sent again, with its fields.
    Keep,
    /// It stays behind, with its fields.
    Drop,
}

/// What becomes of the credentials of a call.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Credentials {
    /// They go along: it is still the origin that they are for.
    Keep,
    /// They stay behind, also if a later hop leads back: whoever redirected must not choose where
    /// they go.
    Drop,
}

/// What a call makes of an answer.
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use]
pub enum RedirectVerdict {
    /// It is the answer.
    Answer,
    /// It goes on there.
    Follow(Hop),
    /// It should go on, and must not.
    Refuse(RedirectRefusal),
}

/// Why a redirect is not followed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum RedirectRefusal {
    /// There were as many as the policy takes.
    TooMany,
    /// The same request was made before.
    Loop,
    /// `Location` comes twice, or is no reference to `http` or `https`.
    Location,
    /// From `https` to `http`.
    Downgrade,
    /// To another origin, and the policy stays at home.
    Elsewhere,
    /// The body would have to be sent again, and cannot be.
    Body,
}

impl RedirectRefusal {
    /// One phrase in plain words.
    pub const fn explain(self) -> &'static str {
        match self {
            Self::TooMany => "too many redirects",
            Self::Loop => "redirects in a circle",
            Self::Location => "a redirect to what is no http or https URL",
            Self::Downgrade => "a redirect from https to http",
            Self::Elsewhere => "a redirect to another origin",
            Self::Body => "a redirect of a body that cannot be sent again",
        }
    }
}

impl fmt::Display for RedirectRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.explain())
    }
}

impl core::error::Error for RedirectRefusal {}

/// The redirects of one call.
#[derive(Clone, Debug)]
pub struct Redirects {
    policy: RedirectPolicy,
    /// The request that is running, behind all that came before it; at most one more than the
    /// policy takes.
    hops: Vec<Hop>,
}

impl Redirects {
    /// A call whose first request goes there.
    pub fn new(policy: RedirectPolicy, method: Method, origin: Origin, target: String) -> Self {
        let (content, credentials) = (Content::Keep, Credentials::Keep);
        Self { policy, hops: vec![Hop { method, origin, target, content, credentials }] }
    }

    /// What is made of an answer. `locations`: its lines of `Location`.
    pub fn judge<'a>(
        &mut self,
        status: StatusCode,
        locations: impl IntoIterator<Item = &'a [u8]>,
        replay: Replay,
    ) -> RedirectVerdict {
        let Some(last) = self.hops.last() else { return RedirectVerdict::Answer };
        let Some((method, content)) = onward(status, &last.method) else {
            return RedirectVerdict::Answer;
        };
        let mut locations = locations.into_iter();
        let location = match (locations.next(), locations.next()) {
            // Nowhere to go: https://fetch.spec.whatwg.org/#concept-response-location-url
            (None, _) => return RedirectVerdict::Answer,
            (Some(location), None) => location,
            (Some(_), Some(_)) => return RedirectVerdict::Refuse(RedirectRefusal::Location),
        };
        match self.follow(last, method, content, location, replay) {
            Ok(hop) => {
                self.hops.push(hop.clone());
                RedirectVerdict::Follow(hop)
            }
            Err(why) => RedirectVerdict::Refuse(why),
        }
    }

    fn follow(
        &self,
        last: &Hop,
        method: Method,
        content: Content,
        location: &[u8],
        replay: Replay,
    ) -> Result<Hop, RedirectRefusal> {
        if self.hops.len() > self.policy.max as usize {
            return Err(RedirectRefusal::TooMany);
        }
        let (origin, target) = resolve(last, location).ok_or(RedirectRefusal::Location)?;
        if last.origin.scheme() == Scheme::Https && origin.scheme() == Scheme::Http {
            return Err(RedirectRefusal::Downgrade);
        }
        let content = match last.content {
            Content::Keep => content,
            Content::Drop => Content::Drop,
        };
        if content == Content::Keep && replay == Replay::Impossible {
            return Err(RedirectRefusal::Body);
        }
        let mut credentials = last.credentials;
        if origin != last.origin {
            if self.policy.reach == Reach::SameOrigin {
                return Err(RedirectRefusal::Elsewhere);
            }
            credentials = Credentials::Drop;
        }
        let hop = Hop { method, origin, target, content, credentials };
        let same = |past: &Hop| {
            (&past.method, &past.origin, &past.target) == (&hop.method, &hop.origin, &hop.target)
        };
        if self.hops.iter().any(same) { Err(RedirectRefusal::Loop) } else { Ok(hop) }
    }
}

impl Credentials {
    /// Whether a field goes along. A value that is marked as sensitive is a credential, whatever its
    /// name.
    pub fn keeps(self, name: &HeaderName, is_sensitive: bool) -> bool {
        let is_credential =
            is_sensitive || [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION].contains(name);
        self == Self::Keep || !is_credential
    }
}

impl Content {
    /// Whether a field goes along.
    /// <https://fetch.spec.whatwg.org/#request-body-header-name>
    pub fn keeps(self, name: &HeaderName) -> bool {
        const OF_CONTENT: [HeaderName; 7] = [
            CONTENT_ENCODING,
            CONTENT_LANGUAGE,
            CONTENT_LENGTH,
            CONTENT_LOCATION,
            CONTENT_TYPE,
            EXPECT,
            TRAILER,
        ];
        self == Self::Keep || !OF_CONTENT.contains(name)
    }
}

/// The method behind a redirect, and whether the body goes along; `None`: it is none.
fn onward(status: StatusCode, method: &Method) -> Option<(Method, Content)> {
    // What leaves HTTP leads nowhere else.
    if *method == Method::CONNECT {
        return None;
    }
    let get = || {
        let method = if *method == Method::HEAD { Method::HEAD } else { Method::GET };
        (method, Content::Drop)
    };
    match status {
        // https://www.rfc-editor.org/rfc/rfc9110#section-15.4.2: what everyone does with POST, and
        // nobody with other methods.
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND if *method == Method::POST => Some(get()),
        // https://www.rfc-editor.org/rfc/rfc9110#section-15.4.4
        StatusCode::SEE_OTHER => Some(get()),
        StatusCode::MOVED_PERMANENTLY
        | StatusCode::FOUND
        | StatusCode::TEMPORARY_REDIRECT
        | StatusCode::PERMANENT_REDIRECT => Some((method.clone(), Content::Keep)),
        _ => None,
    }
}

/// Resolves a reference against the request that was answered with it; a fragment is left out.
/// <https://www.rfc-editor.org/rfc/rfc3986#section-5.2.2>
fn resolve(base: &Hop, location: &[u8]) -> Option<(Origin, String)> {
    if location.len() > MAX_LOCATION {
        return None;
    }
    let text = core::str::from_utf8(location).ok()?;
    let text = text.split('#').next().unwrap_or_default();
    let (scheme, rest) = match scheme(text) {
        Some((scheme, rest)) => (Some(Scheme::named(scheme.as_bytes())?), rest),
        None => (None, text),
    };
    let (origin, target) = if let Some(behind) = rest.strip_prefix("//") {
        let end = behind.find(['/', '?']).unwrap_or(behind.len());
        let (authority, target) = behind.split_at(end);
        let scheme = scheme.unwrap_or_else(|| base.origin.scheme());
        let slash = if target.starts_with('/') { "" } else { "/" };
        (Origin::new(scheme, authority).ok()?, format!("{slash}{target}"))
    } else if scheme.is_some() {
        // `https:path` means something else to everyone.
        return None;
    } else {
        (base.origin.clone(), relative(&base.target, rest))
    };
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (&*target, None),
    };
    let mut target = without_dots(path);
    if let Some(query) = query {
        target.push('?');
        target.push_str(query);
    }
    Scanned::whole(target.as_bytes())?;
    Some((origin, target))
}

/// <https://www.rfc-editor.org/rfc/rfc3986#section-3.1>
fn scheme(reference: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = reference.split_once(':')?;
    let in_scheme = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(in_scheme);
    is_scheme.then_some((scheme, rest))
}

/// A reference without scheme and authority, behind the path that it is relative to.
fn relative(base: &str, reference: &str) -> String {
    let (path, query) = match base.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (base, None),
    };
    // `*`, the target of OPTIONS, is no path.
    let path = if path.starts_with('/') { path } else { "/" };
    match reference.bytes().next() {
        None => query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}")),
        Some(b'/') => reference.to_owned(),
        Some(b'?') => format!("{path}{reference}"),
        Some(_) => {
            let directory = path.rfind('/').map_or("/", |at| &path[..=at]);
            format!("{directory}{reference}")
        }
    }
}

/// <https://www.rfc-editor.org/rfc/rfc3986#section-5.2.4>, of a path that starts with a slash.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." if is_last => kept.push(""),
            "." => {}
            ".." => {
                kept.pop();
                if is_last {
                    kept.push("");
                }
            }
            _ => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}
