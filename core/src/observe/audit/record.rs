//! One record, and how it is written.

use core::net::IpAddr;
use core::time::Duration;

use super::Kind;
use crate::date;
use crate::json::Object;
use crate::problem::Ids;
use crate::reason::Reason;
use crate::security::{PeerName, Secret, SecurityContext, Subject};

/// Bytes of a text in a record, at most; longer ones are cut, and end with `…`.
pub const MAX_TEXT: usize = 512;

/// Details of a record, at most; further ones are left out, and `cut` says how many.
pub const MAX_DETAILS: usize = 16;

/// What happened, when, by whose doing.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// What happened.
    pub kind: Kind,
    /// When, since 1970-01-01T00:00:00Z.
    pub unix: Duration,
    /// The request and its trace.
    pub ids: &'a Ids,
    /// Who asked.
    pub who: Option<&'a SecurityContext>,
    /// Anything else, by name.
    pub details: &'a [(&'static str, Value<'a>)],
}

/// What a detail says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Value<'a> {
    /// A fixed name, such as that of a reason or a rule.
    Name(&'static str),
    /// Text that may be shown, such as the template of a route.
    Text(&'a str),
    /// A number.
    Number(u64),
    /// An address.
    Address(IpAddr),
    /// That there was one, and no more.
    Redacted,
}

impl From<Secret<'_>> for Value<'_> {
    /// Nothing of it is kept.
    fn from(_: Secret<'_>) -> Self {
        Self::Redacted
    }
}

impl From<Reason> for Value<'_> {
    fn from(reason: Reason) -> Self {
        Self::Name(reason.name())
    }
}

impl Record<'_> {
    /// The record as a line of JSON, without its end; `sequence` counts the records of a server.
    ///
    /// ```
    /// use std::time::Duration;
    /// use sinew_core::observe::audit::{Kind, Record, Value};
    /// use sinew_core::problem::Ids;
    /// use sinew_core::security::Secret;
    ///
    /// let details = [("credential", Value::from(Secret::new(b"hunter2"))), ("tries", Value::Number(3))];
    /// let record = Record {
    ///     kind: Kind::AuthFailure,
    ///     unix: Duration::from_secs(784_111_777),
    ///     ids: &Ids::default(),
    ///     who: None,
    ///     details: &details,
    /// };
    /// let wanted = concat!(
    ///     r#"{"seq":7,"time":"1994-11-06T08:49:37.000Z","kind":"auth_failure","severity":"warning","#,
    ///     r#""details":{"credential":"[redacted]","tries":3}}"#
    /// );
    /// assert_eq!(record.to_json(7), wanted);
    /// ```
    pub fn to_json(&self, sequence: u64) -> String {
        let mut json = Object::with_capacity(256);
        json.raw("seq", &sequence.to_string());
        json.text("time", &date::rfc3339(self.unix));
        json.text("kind", self.kind.name());
        json.text("severity", self.kind.severity().name());
        if let Some(id) = &self.ids.request {
            json.text("request_id", id.as_str());
        }
        if let Some(id) = self.ids.trace {
            json.text("trace_id", &format!("{id:032x}"));
        }
        if let Some(who) = self.who {
            write_who(&mut json, who);
        }
        if !self.details.is_empty() {
            let mut details = Object::with_capacity(128);
            for (name, value) in self.details.iter().take(MAX_DETAILS) {
                match value {
                    Value::Name(text) => details.text(name, text),
                    Value::Text(text) => bounded(&mut details, name, text),
                    Value::Number(number) => details.raw(name, &number.to_string()),
                    Value::Address(address) => details.text(name, &address.to_string()),
                    Value::Redacted => details.text(name, "[redacted]"),
                }
            }
            json.raw("details", &details.end());
            if let Some(cut) = self.details.len().checked_sub(MAX_DETAILS).filter(|cut| *cut > 0) {
                json.raw("cut", &cut.to_string());
            }
        }
        json.end()
    }
}

fn write_who(json: &mut Object, who: &SecurityContext) {
    match &who.peer {
        Some(PeerName::Spiffe(name)) => bounded(json, "peer_spiffe", name),
        Some(PeerName::Dns(name)) => bounded(json, "peer_dns", name),
        Some(PeerName::CommonName(name)) => bounded(json, "peer_common_name", name),
        None => {}
    }
    match who.principal.as_ref().map(|principal| &principal.subject) {
        Some(Subject::Token { issuer, subject }) => {
            bounded(json, "issuer", issuer);
            bounded(json, "subject", subject);
        }
        // Its hash is not shown: a weak key can be guessed from it.
        Some(Subject::ApiKey { label, .. }) => bounded(json, "api_key", label),
        None => {}
    }
    if let Some(address) = who.client_address {
        json.text("client", &address.to_string());
    }
    if let Some(address) = who.peer_address.filter(|peer| Some(*peer) != who.client_address) {
        json.text("peer", &address.to_string());
    }
}

fn bounded(json: &mut Object, name: &str, text: &str) {
    if text.len() <= MAX_TEXT {
        return json.text(name, text);
    }
    let start = (0..=MAX_TEXT).rev().find_map(|end| text.get(..end)).unwrap_or_default();
    json.text(name, &format!("{start}…"));
}
