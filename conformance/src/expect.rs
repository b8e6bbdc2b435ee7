//! What a recipient makes of an input: the half of the schema that says what is right.

use serde::{Deserialize, Deserializer};

use crate::case::{FieldList, Octets};

/// What becomes of an input.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is a message.
    #[default]
    Accept,
    /// It is refused, and the connection ends.
    Reject,
    /// Both are permitted.
    Either,
    /// It is the start of one.
    NeedMore,
}

/// One of the two ways of [`Outcome::Either`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// Take it.
    Accept,
    /// Refuse it.
    Reject,
}

/// An error that has no status.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NamedError {
    /// The input ended inside a message: it is never delivered whole.
    Incomplete,
    /// Time was over, and there was nobody to tell.
    Timeout,
    /// It is refused behind its answer: there is nothing left to say.
    Unanswered,
}

/// What a recipient makes of an input. What is unsaid is not checked.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// What becomes of the input.
    pub outcome: Outcome,
    /// Statuses with which a server may refuse.
    #[serde(default)]
    pub status: Vec<u16>,
    /// The one of them that says it best.
    #[serde(default)]
    pub status_best: Option<u16>,
    /// An error without a status.
    #[serde(default)]
    pub error: Option<NamedError>,
    /// Whether the connection serves another exchange; `"any"` and null: not checked.
    #[serde(default, deserialize_with = "flag")]
    pub keep_alive: Option<bool>,
    /// Whether the recipient ends the connection; `"any"`: not checked.
    #[serde(default, deserialize_with = "flag")]
    pub close_after: Option<bool>,
    /// The messages of a pipelined input.
    #[serde(default)]
    pub messages: Option<Messages>,
    /// Bytes left over for the next protocol.
    #[serde(default)]
    pub rest: Option<Octets>,
    /// Whether the recipient sends an interim 100; `"any"`: not checked.
    #[serde(default, deserialize_with = "flag")]
    pub send_100: Option<bool>,
    /// The protocol that is switched to; null: none is.
    #[serde(default, deserialize_with = "said")]
    pub upgrade: Option<Option<String>>,
    /// Statuses of the interim responses, in order.
    #[serde(default)]
    pub interim: Option<Vec<u16>>,
    /// Whether the connection becomes a tunnel.
    #[serde(default)]
    pub tunnel: Option<bool>,
    /// Method of the request.
    #[serde(default)]
    pub method: Option<String>,
    /// Target of the request, as it stood on the wire.
    #[serde(default)]
    pub target: Option<Octets>,
    /// Authority of the request.
    #[serde(default)]
    pub authority: Option<String>,
    /// `"1.0"` or `"1.1"`.
    #[serde(default)]
    pub version: Option<String>,
    /// Status of the response.
    #[serde(default)]
    pub status_code: Option<u16>,
    /// Reason phrase of the response.
    #[serde(default)]
    pub reason: Option<Octets>,
    /// All fields, names in lower case, in order.
    #[serde(default)]
    pub headers: Option<FieldList>,
    /// Whether the fields of the head are those of the input, whatever the trailers say.
    #[serde(default)]
    pub headers_unchanged: bool,
    /// The body, decoded.
    #[serde(default)]
    pub body: Option<Octets>,
    /// The part of an unfinished body that is delivered.
    #[serde(default)]
    pub body_so_far: Option<Octets>,
    /// All trailers, names in lower case, in order.
    #[serde(default)]
    pub trailers: Option<FieldList>,
    /// Whether the connection ends without an error.
    #[serde(default)]
    pub closed_clean: Option<bool>,
}

/// The messages of a pipelined input.
#[derive(Clone, Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "`messages` is a number or a list of {outcome, method, target, body, status}"
)]
pub enum Messages {
    /// At most so many.
    AtMost(usize),
    /// These, in order.
    Sequence(Vec<MessageExpect>),
}

/// One message of a pipelined input.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MessageExpect {
    /// What becomes of it; accepted if unsaid.
    #[serde(default)]
    pub outcome: Outcome,
    /// Statuses with which it may be refused.
    #[serde(default)]
    pub status: Vec<u16>,
    /// Method of the request.
    #[serde(default)]
    pub method: Option<String>,
    /// Target of the request.
    #[serde(default)]
    pub target: Option<Octets>,
    /// The body, decoded.
    #[serde(default)]
    pub body: Option<Octets>,
}

/// `true`, `false`; null and `"any"` check nothing.
fn flag<'de, D: Deserializer<'de>>(from: D) -> Result<Option<bool>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "true, false, null or \"any\"")]
    enum Flag {
        Set(bool),
        Any(Any),
    }
    #[derive(Deserialize)]
    enum Any {
        #[serde(rename = "any")]
        Any,
    }
    Ok(match Option::<Flag>::deserialize(from)? {
        Some(Flag::Set(value)) => Some(value),
        Some(Flag::Any(Any::Any)) | None => None,
    })
}

/// Keeps a null apart from a key that is not there.
#[expect(clippy::option_option, reason = "unsaid, null and a value are three things here")]
fn said<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(from).map(Some)
}
