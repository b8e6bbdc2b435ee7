//! What a route wants to be sent, checked before any of the body is read.

use core::fmt;

use http::header::ACCEPT;
use http::{HeaderName, HeaderValue, StatusCode};

use super::{Arrival, Decision, Exchanges, Interest, Layer, Record, ResponseHead};
use crate::head::RequestHead;
use crate::policy::Stage;
use crate::reason::Reason;

/// Holds requests to what their route [expects](Expectation).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Validation;

/// What a route wants to be sent. By default anything goes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Expectation {
    /// The types of content that it takes; empty takes every type, and no type at all.
    pub content_types: Box<[MediaRange]>,
    /// Fields that must be there.
    pub fields: Box<[HeaderName]>,
}

/// A media type without parameters, `application/json`, or all of a kind, `image/*`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct MediaRange(Box<str>);

/// What is no media type.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BadMediaType(String);

impl MediaRange {
    /// Checks and keeps a media type.
    pub fn new(text: &str) -> Result<Self, BadMediaType> {
        let bad = || BadMediaType(text.to_owned());
        let (kind, subtype) = text.split_once('/').ok_or_else(bad)?;
        let token = |part: &str| HeaderName::from_bytes(part.as_bytes()).is_ok();
        if token(kind) && kind != "*" && token(subtype) {
            Ok(Self(text.to_ascii_lowercase().into()))
        } else {
            Err(bad())
        }
    }

    /// Whether a value of `Content-Type` is in the range. Parameters are of no account; types
    /// compare case-insensitively. <https://www.rfc-editor.org/rfc/rfc9110#section-8.3.1>
    pub fn includes(&self, content_type: &[u8]) -> bool {
        let end = content_type.iter().position(|b| *b == b';').unwrap_or(content_type.len());
        let essence = content_type[..end].trim_ascii();
        match self.0.strip_suffix('*') {
            Some(kind) => {
                essence.len() > kind.len()
                    && essence[..kind.len()].eq_ignore_ascii_case(kind.as_bytes())
            }
            None => essence.eq_ignore_ascii_case(self.0.as_bytes()),
        }
    }
}

impl Expectation {
    fn refuses(&self, head: &RequestHead, has_body: bool) -> Option<Reason> {
        let fields = head.fields();
        if self.fields.iter().any(|name| fields.get(name.as_str()).is_none()) {
            return Some(Reason::MissingField);
        }
        if !has_body || self.content_types.is_empty() {
            return None;
        }
        let mut types = fields.get_all("content-type");
        let fits = match (types.next(), types.next()) {
            (Some(given), None) => self.content_types.iter().any(|range| range.includes(given)),
            // None, or several: nobody knows which one is meant.
            _ => false,
        };
        (!fits).then_some(Reason::UnsupportedMediaType)
    }
}

/// The types that would have been taken, for the answer.
#[derive(Clone, Debug)]
struct Taken(HeaderValue);

impl Layer for Validation {
    fn stage(&self) -> Stage {
        Stage::Validate
    }

    fn interest(&self) -> Interest {
        Interest { answers: Exchanges::Refused, ..Interest::HEAD }
    }

    fn on_head(&self, arrival: &Arrival<'_>, record: &mut Record) -> Decision {
        let Expectation { content_types, fields } = &arrival.policy.expectation;
        if content_types.is_empty() && fields.is_empty() {
            return Decision::Continue;
        }
        check(arrival, record)
    }

    fn on_response(&self, record: &Record, response: &mut dyn ResponseHead) {
        // https://www.rfc-editor.org/rfc/rfc9110#section-15.5.16
        if let Some(Taken(types)) = record.extensions.get()
            && response.status() == StatusCode::UNSUPPORTED_MEDIA_TYPE
        {
            response.append(ACCEPT, types.clone());
        }
    }
}

/// Apart, so that a route that expects nothing does not pay for it.
#[inline(never)]
fn check(arrival: &Arrival<'_>, record: &mut Record) -> Decision {
    let expectation = &arrival.policy.expectation;
    let Some(reason) = expectation.refuses(arrival.head, arrival.has_body) else {
        return Decision::Continue;
    };
    let types: Vec<&str> = expectation.content_types.iter().map(|range| &*range.0).collect();
    if reason == Reason::UnsupportedMediaType
        && let Ok(types) = HeaderValue::try_from(types.join(", "))
    {
        record.extensions.insert(Taken(types));
    }
    Decision::Refuse(reason)
}

impl fmt::Display for BadMediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is neither type/subtype nor type/*", self.0)
    }
}

impl core::error::Error for BadMediaType {}
