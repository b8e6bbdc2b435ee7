//! The schema of the case files: one JSON object a line, documented in `README.md`.

use core::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use crate::cors::CorsCase;
pub use crate::expect::{Choice, Expect, MessageExpect, Messages, NamedError, Outcome};
pub use crate::websocket::case::WebSocketCase;

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

impl Serialize for Octets {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0.iter().map(|byte| char::from(*byte)).collect::<String>())
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
    /// The section, CVE or class of attack behind the verdict.
    pub rfc: String,
    /// Who sent the input.
    pub side: Side,
    /// What the verdict rests on.
    pub level: Level,
    /// The bytes; of a case with `steps`, all that they send.
    #[serde(default)]
    pub input: Octets,
    /// The bytes with what happens between them, instead of `input`.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// What the application does with a request.
    #[serde(default)]
    pub handler: Behaviour,
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
    /// Bytes of the body of the request that a response answers.
    #[serde(default)]
    pub request_body: usize,
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

/// One step of a peer.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Sends bytes.
    Send(Octets),
    /// Sends so many times the letter `x`.
    Fill(usize),
    /// Does nothing for so many seconds.
    Wait(f64),
    /// Takes nothing more of what it is sent.
    Stall,
}

/// What an application does with a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Behaviour {
    /// Reads the body to its end, then answers.
    #[default]
    Whole,
    /// Answers at the head, and does not want the body.
    Early,
    /// Reads the body and never answers.
    Silent,
    /// Answers with [`LARGE`] bytes.
    Large,
}

/// Bytes of the answer of [`Behaviour::Large`], more than any socket buffers in passing: 4 MiB.
pub const LARGE: usize = 4 << 20;

impl Step {
    /// What it sends.
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Send(bytes) => bytes.0.clone(),
            Self::Fill(n) => vec![b'x'; *n],
            Self::Wait(_) | Self::Stall => Vec::new(),
        }
    }
}

impl ParseCase {
    /// Whether time has to pass.
    pub fn is_timed(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Wait(_)))
    }
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

/// What a case is about; the case files are named after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Subject {
    /// HTTP/1.1 as it is read and written.
    Http1,
    /// Cross-origin resource sharing.
    Cors,
    /// WebSocket, handshakes and frames.
    WebSocket,
}

/// A case of any kind.
#[derive(Clone, Debug)]
pub enum Case {
    /// For a recipient.
    Parse(Box<ParseCase>),
    /// For a sender.
    Encode(Box<EncodeCase>),
    /// For a policy.
    Cors(Box<CorsCase>),
    /// For a recipient that speaks WebSocket.
    WebSocket(Box<WebSocketCase>),
}

impl Case {
    /// The id.
    pub fn id(&self) -> &str {
        match self {
            Self::Parse(case) => &case.id,
            Self::Encode(case) => &case.id,
            Self::Cors(case) => &case.id,
            Self::WebSocket(case) => &case.id,
        }
    }

    /// What it is about.
    pub const fn subject(&self) -> Subject {
        match self {
            Self::Parse(_) | Self::Encode(_) => Subject::Http1,
            Self::Cors(_) => Subject::Cors,
            Self::WebSocket(_) => Subject::WebSocket,
        }
    }

    /// The category: what stands in front of the first slash.
    pub fn category(&self) -> &str {
        self.id().split('/').next().unwrap_or_default()
    }

    /// What the verdict rests on; encode and CORS cases do not say.
    pub fn level(&self) -> Option<Level> {
        match self {
            Self::Parse(case) => Some(case.level),
            Self::WebSocket(case) => Some(case.level),
            Self::Encode(_) | Self::Cors(_) => None,
        }
    }

    /// The reason, in one phrase, with the section behind it.
    pub fn why(&self) -> (&str, &str) {
        match self {
            Self::Parse(case) => (&case.why, &case.rfc),
            Self::Encode(case) => (&case.why, &case.rfc),
            Self::Cors(case) => (&case.why, "Fetch"),
            Self::WebSocket(case) => (&case.why, &case.rfc),
        }
    }
}
