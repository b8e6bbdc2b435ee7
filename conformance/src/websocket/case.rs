//! The schema of the WebSocket cases.

use serde::Deserialize;

use crate::case::{FieldList, Level, Octets};
use crate::websocket::frame::Frame;

/// A handshake, frames behind it, and what a recipient makes of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebSocketCase {
    /// `category/name`, unique.
    pub id: String,
    /// What the verdict rests on.
    pub level: Level,
    /// The section behind the verdict.
    pub rfc: String,
    /// Who sends: a client, if unsaid.
    #[serde(default)]
    pub from: Sender,
    /// Where the sender's half of the handshake differs from a plain one.
    #[serde(default)]
    pub handshake: Handshake,
    /// How the recipient is set up, where it is not a plain echo.
    #[serde(default)]
    pub recipient: Recipient,
    /// What is sent behind the handshake.
    #[serde(default)]
    pub frames: Vec<Frame>,
    /// What the recipient makes of it.
    pub expect: Expect,
    /// The reason, in one phrase.
    pub why: String,
}

/// Who sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sender {
    /// A client: the recipient is a server.
    #[default]
    Client,
    /// A server: the recipient is a client.
    Server,
}

/// One half of a handshake. A plain request is a GET in HTTP/1.1 with `Host`, `Upgrade`, `Connection`,
/// `Sec-WebSocket-Version` and `Sec-WebSocket-Key`; a plain answer is a 101 with `Upgrade`,
/// `Connection` and the right `Sec-WebSocket-Accept`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Handshake {
    /// Another method.
    #[serde(default)]
    pub method: Option<String>,
    /// Another version of HTTP.
    #[serde(default)]
    pub version: Option<String>,
    /// Another status.
    #[serde(default)]
    pub status: Option<u16>,
    /// Fields that are left out.
    #[serde(default)]
    pub without: Vec<String>,
    /// Fields that are added.
    #[serde(default)]
    pub with: FieldList,
}

/// How the recipient is set up.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipient {
    /// Subprotocols, the preferred one first.
    #[serde(default)]
    pub protocols: Vec<String>,
    /// Whether messages may be compressed.
    #[serde(default)]
    pub deflate: bool,
    /// Whether only pages of the same origin may open a socket.
    #[serde(default)]
    pub same_origin: bool,
    /// Bytes of a frame.
    #[serde(default)]
    pub max_frame: Option<usize>,
    /// Bytes of a message.
    #[serde(default)]
    pub max_message: Option<usize>,
    /// Frames of a message.
    #[serde(default)]
    pub max_fragments: Option<u32>,
    /// Pings in a second.
    #[serde(default)]
    pub max_pings: Option<u32>,
}

/// What a recipient makes of it. What is not said of the handshake is not checked.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// Statuses, one of which the answer has; 101, if unsaid.
    #[serde(default)]
    pub status: Vec<u16>,
    /// Fields of the answer.
    #[serde(default)]
    pub fields: Vec<(String, String)>,
    /// Fields that the answer does not have.
    #[serde(default)]
    pub absent: Vec<String>,
    /// Whether a client refuses the answer.
    #[serde(default)]
    pub refused: bool,
    /// What comes back, in order: messages, put together and unpacked, and pongs.
    #[serde(default)]
    pub answers: Vec<Answer>,
    /// Codes, one of which is in the close frame that comes back, and 1005 for one without a code.
    /// If unsaid, the connection stays open.
    #[serde(default)]
    pub close: Vec<u16>,
    /// Whether the frames end in the middle of one.
    #[serde(default)]
    pub unfinished: bool,
}

/// Something that comes back.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// A text.
    Text(Octets),
    /// Bytes.
    Binary(Octets),
    /// The answer to a ping.
    Pong(Octets),
    /// A message of so many bytes, whatever they are.
    Length(usize),
}

impl WebSocketCase {
    /// What the types cannot say.
    pub fn check_sound(&self) -> Result<(), String> {
        let expect = &self.expect;
        self.frames.iter().try_for_each(Frame::check_sound)?;
        let from_client = self.from == Sender::Client;
        if from_client && (expect.refused || self.handshake.status.is_some()) {
            return Err("`refused` and `status` of a handshake are for answers".to_owned());
        }
        if !from_client && (!expect.status.is_empty() || !expect.fields.is_empty()) {
            return Err("`status` and `fields` are expected of servers".to_owned());
        }
        let speaks = !self.frames.is_empty() || !expect.answers.is_empty();
        if !self.switches() && (speaks || !expect.close.is_empty()) {
            return Err("frames follow a handshake that is not refused".to_owned());
        }
        Ok(())
    }

    /// Whether the handshake is meant to succeed.
    pub fn switches(&self) -> bool {
        !self.expect.refused && self.statuses() == [101]
    }

    /// Statuses, one of which the answer has.
    pub fn statuses(&self) -> &[u16] {
        if self.expect.status.is_empty() { &[101] } else { &self.expect.status }
    }

    /// Everything that the sender sends behind the handshake.
    pub fn octets(&self) -> Vec<u8> {
        let masked = self.from == Sender::Client;
        self.frames.iter().flat_map(|frame| frame.octets(masked)).collect()
    }
}
