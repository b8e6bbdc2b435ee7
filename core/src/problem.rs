//! What a refused request is answered with: <https://www.rfc-editor.org/rfc/rfc9457>
//!
//! Whoever refuses it, a machine, a layer of the [stack](crate::server::Stack) or a handler, the
//! same document is written; no text from within is in it.

use core::num::NonZeroU128;
use core::time::Duration;

use http::StatusCode;

use crate::json::Object;
use crate::observe::RequestId;
use crate::reason::Reason;

/// The media type of a problem document: <https://www.rfc-editor.org/rfc/rfc9457#section-3>
pub const MEDIA_TYPE: &str = "application/problem+json";

/// By what a refused request is found again in logs and traces.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ids {
    /// The name of the request.
    pub request: Option<RequestId>,
    /// The trace that it belongs to.
    pub trace: Option<NonZeroU128>,
}

/// A problem document.
///
/// ```
/// use http::StatusCode;
/// use sinew_core::problem::Document;
/// use sinew_core::reason::Reason;
///
/// let document = Document::from(Reason::NotFound);
/// let wanted = r#"{"title":"Not Found","status":404,"reason":"not_found"}"#;
/// assert_eq!(document.to_json(), wanted);
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Document<'a> {
    /// The status of the answer.
    pub status: StatusCode,
    /// `type`, a URI; left out it is `about:blank`.
    pub kind: Option<&'a str>,
    /// `title`; left out it is the phrase of the status.
    pub title: Option<&'a str>,
    /// `reason`, unless the answer is a handler's own.
    pub reason: Option<Reason>,
    /// `detail`: what is wrong with this very request. The client reads it.
    pub detail: Option<&'a str>,
    /// `request_id` and `trace_id`.
    pub ids: &'a Ids,
    /// `retry_after_ms`.
    pub retry_after: Option<Duration>,
    /// Further members: names, and values that are JSON already.
    pub members: &'a [(String, String)],
}

const NO_IDS: &Ids = &Ids { request: None, trace: None };

impl From<StatusCode> for Document<'_> {
    fn from(status: StatusCode) -> Self {
        Self {
            status,
            kind: None,
            title: None,
            reason: None,
            detail: None,
            ids: NO_IDS,
            retry_after: None,
            members: &[],
        }
    }
}

impl From<Reason> for Document<'_> {
    fn from(reason: Reason) -> Self {
        Self { reason: Some(reason), ..Self::from(reason.status()) }
    }
}

impl Document<'_> {
    /// The document as JSON.
    pub fn to_json(&self) -> String {
        let mut json = Object::with_capacity(160);
        if let Some(kind) = self.kind {
            json.text("type", kind);
        }
        json.text(
            "title",
            self.title.or_else(|| self.status.canonical_reason()).unwrap_or_default(),
        );
        json.raw("status", self.status.as_str());
        if let Some(reason) = self.reason {
            json.text("reason", reason.name());
        }
        if let Some(detail) = self.detail {
            json.text("detail", detail);
        }
        if let Some(id) = &self.ids.request {
            json.text("request_id", id.as_str());
        }
        if let Some(id) = self.ids.trace {
            json.text("trace_id", &format!("{id:032x}"));
        }
        if let Some(time) = self.retry_after {
            // Rounded up: who comes back a moment too early is refused again.
            let ms = time.as_nanos().div_ceil(1_000_000);
            json.raw("retry_after_ms", &ms.to_string());
        }
        for (name, value) in self.members {
            json.raw(name, value);
        }
        json.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_says_what_is_known() {
        let ids = Ids { request: Some(RequestId::mint(7)), trace: NonZeroU128::new(0xabc) };
        let members = [("limit".to_owned(), "[1,2]".to_owned())];
        let document = Document {
            kind: Some("https://example.org/quota"),
            title: Some("Slow down"),
            detail: Some("a \"b\" \\ \n c"),
            ids: &ids,
            retry_after: Some(Duration::from_nanos(1_000_001)),
            members: &members,
            ..Document::from(Reason::RateLimited)
        };
        assert_eq!(
            document.to_json(),
            concat!(
                r#"{"type":"https://example.org/quota","title":"Slow down","status":429,"#,
                r#""reason":"rate_limited","detail":"a \"b\" \\ \u000a c","#,
                r#""request_id":"00000000000000000000000000000007","#,
                r#""trace_id":"00000000000000000000000000000abc","retry_after_ms":2,"#,
                r#""limit":[1,2]}"#
            )
        );
    }
}
