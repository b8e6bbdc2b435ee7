//! The schema of the case files: one JSON object a line, documented in `README.md`.

use core::fmt;

use serde::{Deserialize, Deserializer};

/// Bytes written as a JSON string: one character is one octet, so none lies above U+00FF.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Octets(pub Vec<u8>);

impl<'de> Deserialize<'de> for Octets {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let bytes = text.chars().map(u8::try_from).collect::<Result<Vec<u8>, _>>();
        bytes.map(Self).map_err(|_| serde::de::Error::custom("a character above U+00FF"))
    }
}

impl fmt::Debug for Octets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// Field lines as name and value.
pub type FieldList = Vec<(Octets, Octets)>;

/// Who sent the input.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// A client: the input is read by a server machine.
    Request,
    /// A server: the input is read by a client machine.
    Response,
}

/// What the verdict of a case rests on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize)]
pub enum Level {
    /// A MUST of the RFC.
    #[serde(rename = "MUST")]
    Must,
    /// A SHOULD of the RFC.
    #[serde(rename = "SHOULD")]
    Should,
    /// The RFC leaves it open.
    #[serde(rename = "MAY")]
    May,
    /// The grammar does not produce the input.
    #[serde(rename = "GRAMMAR")]
    Grammar,
    /// A configured limit.
    #[serde(rename = "LIMIT")]
    Limit,
    /// The RFC leaves a second way, which has been attacked; the hardened one is the verdict.
    #[serde(rename = "SEC")]
    Sec,
}

impl Level {
    /// Every level, in the order of the summary.
    pub const ALL: [Self; 6] =
        [Self::Must, Self::Should, Self::May, Self::Grammar, Self::Limit, Self::Sec];

    /// The name used in the files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Must => "MUST",
            Self::Should => "SHOULD",
            Self::May => "MAY",
            Self::Grammar => "GRAMMAR",
            Self::Limit => "LIMIT",
            Self::Sec => "SEC",
        }
    }
}

/// One input and what a recipient makes of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParseCase {
    /// `category/name`, unique.
    pub id: String,
    /// The category, the first half of the id.
    pub cat: String,
    /// The section, CVE or class of attack behind the verdict.
    pub rfc: String,
    /// Who sent the input.
    pub side: Side,
    /// What the verdict rests on.
    pub level: Level,
    /// The bytes.
    pub input: Octets,
    /// Limits that differ from the default.
    #[serde(default)]
    pub limits: CaseLimits,
    /// Whether the sender shuts its writing side behind the input.
    #[serde(default)]
    pub eof: bool,
    /// The method of the request that a response answers; GET if unsaid.
    #[serde(default)]
    pub request_method: Option<String>,
    /// Fields of the request that a response answers.
    #[serde(default)]
    pub request_headers: FieldList,
    /// Which of two permitted outcomes is the hardened one.
    #[serde(default)]
    pub prefer: Option<Choice>,
    /// A remark for those who implement.
    #[serde(default)]
    pub note: Option<String>,
    /// What a recipient makes of it.
    pub expect: Expect,
    /// The reason, in one phrase.
    pub why: String,
}

/// Limits of the recipient for one case; what is unsaid keeps its default.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseLimits {
    /// Bytes of a head.
    #[serde(default)]
    pub max_head: Option<usize>,
    /// Bytes of the target.
    #[serde(default)]
    pub max_uri: Option<usize>,
    /// Field lines of a head.
    #[serde(default)]
    pub max_headers: Option<usize>,
    /// Bytes of a body.
    #[serde(default)]
    pub max_body: Option<u64>,
    /// Bytes of a chunk-size line.
    #[serde(default)]
    pub max_chunk_line: Option<usize>,
    /// Bytes of all chunk extensions of a body.
    #[serde(default)]
    pub max_chunk_ext_total: Option<usize>,
    /// Field lines of a trailer section.
    #[serde(default)]
    pub max_trailers: Option<usize>,
    /// Bytes of a trailer section.
    #[serde(default)]
    pub max_trailer_bytes: Option<usize>,
    /// Interim responses before a final one.
    #[serde(default)]
    pub max_interim: Option<u32>,
}

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

/// The one error that has no status.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NamedError {
    /// The input ended inside a message: it is never delivered whole.
    Incomplete,
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

/// One message to send and what a sender makes of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncodeCase {
    /// `encode/name`, unique.
    pub id: String,
    /// The section behind the verdict.
    pub rfc: String,
    /// Who sends: a client (`request`) or a server (`response`).
    pub side: Side,
    /// What the application asks for.
    pub spec: Spec,
    /// What the sender makes of it.
    pub expect: EncodeExpect,
    /// The reason, in one phrase.
    pub why: String,
}

/// What an application asks a sender to send.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Method of the request to send; GET if unsaid.
    #[serde(default)]
    pub method: Option<String>,
    /// Target of the request to send; `/` if unsaid.
    #[serde(default)]
    pub target: Option<String>,
    /// `Host` of the request to send; `a.test` if unsaid.
    #[serde(default)]
    pub host: Option<String>,
    /// Status of the response to send; 200 if unsaid.
    #[serde(default)]
    pub status: Option<u16>,
    /// Reason phrase of the response to send.
    #[serde(default)]
    pub reason: Option<String>,
    /// Method of the request that the response answers; GET if unsaid.
    #[serde(default)]
    pub request_method: Option<String>,
    /// Version of the request that the response answers; `1.1` if unsaid.
    #[serde(default)]
    pub request_version: Option<String>,
    /// Fields.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// A body whose length is known.
    #[serde(default)]
    pub body: Option<String>,
    /// Whether the length of the body is not known beforehand.
    #[serde(default)]
    pub stream: bool,
    /// The pieces of a streamed body.
    #[serde(default)]
    pub chunks: Vec<String>,
    /// Trailers of a streamed body.
    #[serde(default)]
    pub trailers: Vec<(String, String)>,
}

/// What a sender makes of what it was asked to send.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncodeExpect {
    /// Sent, or refused without a byte on the wire.
    pub outcome: Choice,
    /// A text that the head has, in lower case.
    #[serde(default)]
    pub contains: Option<String>,
    /// Names of fields that the head does not have.
    #[serde(default)]
    pub lacks: Vec<String>,
    /// Everything behind the head.
    #[serde(default)]
    pub wire_body: Option<Octets>,
    /// The body as a recipient decodes it.
    #[serde(default)]
    pub decoded_body: Option<Octets>,
    /// Whether the connection ends behind the message.
    #[serde(default)]
    pub close_after: Option<bool>,
}

/// A case of either kind.
#[derive(Clone, Debug)]
pub enum Case {
    /// For a recipient.
    Parse(Box<ParseCase>),
    /// For a sender.
    Encode(Box<EncodeCase>),
}

impl Case {
    /// The id.
    pub fn id(&self) -> &str {
        match self {
            Self::Parse(case) => &case.id,
            Self::Encode(case) => &case.id,
        }
    }

    /// The category: what stands in front of the first slash.
    pub fn category(&self) -> &str {
        self.id().split('/').next().unwrap_or_default()
    }

    /// What the verdict rests on; encode cases do not say.
    pub fn level(&self) -> Option<Level> {
        match self {
            Self::Parse(case) => Some(case.level),
            Self::Encode(_) => None,
        }
    }

    /// The reason, in one phrase, with the section behind it.
    pub fn why(&self) -> (&str, &str) {
        match self {
            Self::Parse(case) => (&case.why, &case.rfc),
            Self::Encode(case) => (&case.why, &case.rfc),
        }
    }
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
