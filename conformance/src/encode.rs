//! Encode cases: what an application asks a machine to send, and what the machine makes of it.

use std::sync::Arc;

use bytes::Bytes;
use core::fmt;
use core::time::Duration;
use http::{Method, StatusCode};
use sinew_core::error::Error;
use sinew_core::http1::{
    BodySize, Client, ClientConfig, Rejected, RequestLine, Server, ServerConfig, ServerEvent,
    StatusLine,
};
use sinew_core::machine::{Machine, Status, Wire};
use sinew_core::time::{Epoch, Instant};

use crate::case::{Choice, EncodeCase, EncodeExpect, Side, Spec};
use crate::feed::drain;
use crate::judge::Chosen;
use crate::reader::{self, Message};
use crate::suite::{CaseResult, shorten};

const NOW: Instant = Instant::ZERO;

/// Sun, 06 Nov 1994 08:49:37 GMT, the RFC's own example.
const EPOCH: Epoch = Epoch::new(Duration::from_secs(784_111_777));

/// Why something was not sent.
enum Refusal {
    /// The `http` crate has no such value: it cannot even be asked for.
    Type(String),
    /// The machine refused.
    Machine(Error),
}

impl From<Rejected> for Refusal {
    fn from(rejected: Rejected) -> Self {
        match rejected {
            Rejected::Error(error) => Self::Machine(error),
            Rejected::Full(_) => Self::Type("the outbox is full".to_owned()),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type(why) => write!(f, "no such value: {why}"),
            Self::Machine(error) => write!(f, "{error}"),
        }
    }
}

/// What came of a request to send.
pub(crate) struct Sent {
    /// The first refusal.
    refusal: Option<Refusal>,
    pub(crate) written: Vec<u8>,
    pub(crate) status: Status,
}

impl Sent {
    /// Whether nothing was refused.
    pub(crate) fn is_whole(&self) -> bool {
        self.refusal.is_none()
    }

    /// Whether the peer sees no more than it should of something refused: refused before the head,
    /// nothing is out; refused later, it breaks off.
    pub(crate) fn is_broken_off(&self) -> bool {
        self.written.is_empty() || self.status != Status::Open
    }
}

/// Asks a machine to send something. `Err`: it cannot be asked.
pub(crate) fn send(side: Side, spec: &Spec) -> Result<Sent, String> {
    match side {
        Side::Request => Ok(send_request(spec)),
        Side::Response => send_response(spec),
    }
}

/// Runs one encode case; returns what was seen, too.
pub fn check(case: &EncodeCase) -> (CaseResult, String) {
    let sent = match send(case.side, &case.spec) {
        Ok(sent) => sent,
        Err(why) => {
            let got = "nothing".to_owned();
            return (CaseResult::Failed { problems: vec![why], got: got.clone() }, got);
        }
    };
    let problems = judge(case, &sent);
    let refusal = sent.refusal.map_or(String::new(), |refusal| format!("{refusal}, "));
    let got = format!("{refusal}{}", shorten(&sent.written));
    if problems.is_empty() {
        return (CaseResult::Passed(Chosen { either: None, status: None }), got);
    }
    (CaseResult::Failed { problems, got: got.clone() }, got)
}

fn judge(case: &EncodeCase, sent: &Sent) -> Vec<String> {
    let closes = sent.status != Status::Open;
    match (case.expect.outcome, &sent.refusal) {
        (Choice::Reject, None) => vec!["it was sent".to_owned()],
        (Choice::Reject, Some(_)) if sent.is_broken_off() => Vec::new(),
        (Choice::Reject, Some(_)) => vec!["refused in the middle, and it goes on".to_owned()],
        (Choice::Accept, Some(refusal)) => vec![format!("it was refused: {refusal}")],
        (Choice::Accept, None) => {
            let read = match case.side {
                Side::Request => reader::request(&sent.written).map(|message| vec![message]),
                Side::Response => {
                    let method = case.spec.request_method.clone();
                    let methods = [method.unwrap_or_else(|| "GET".to_owned())];
                    reader::responses(&sent.written, &methods, false)
                }
            };
            match read {
                Ok(messages) if messages.len() == 1 => {
                    judge_message(&case.expect, &messages[0], closes)
                }
                Ok(messages) => vec![format!("{} messages on the wire", messages.len())],
                Err(malformed) => vec![malformed.to_string()],
            }
        }
    }
}

fn judge_message(expect: &EncodeExpect, message: &Message, closes: bool) -> Vec<String> {
    let mut problems = Vec::new();
    if let Some(wanted) = &expect.contains
        && !message.head.contains(wanted)
    {
        problems.push(format!("the head has no {wanted:?}: {:?}", message.head));
    }
    for name in &expect.lacks {
        if let Some(value) = message.field(name) {
            problems.push(format!("the head has {name}: {value}"));
        }
    }
    let bodies = [(&expect.wire_body, &message.wire_body), (&expect.decoded_body, &message.body)];
    for (wanted, got) in bodies {
        if let Some(wanted) = wanted
            && wanted.0 != *got
        {
            problems.push(format!("body {}, expected {wanted:?}", shorten(got)));
        }
    }
    if let Some(wanted) = expect.close_after
        && wanted != closes
    {
        problems.push(format!("close_after {closes}, expected {wanted}"));
    }
    problems
}

/// Octets of a text: latin-1, or UTF-8 where a character has no octet.
pub(crate) fn octets(text: &str) -> Vec<u8> {
    let latin1: Result<Vec<u8>, _> = text.chars().map(u8::try_from).collect();
    latin1.unwrap_or_else(|_| text.as_bytes().to_vec())
}

fn field_octets(fields: &[(String, String)]) -> Vec<(Vec<u8>, Vec<u8>)> {
    fields.iter().map(|(name, value)| (octets(name), octets(value))).collect()
}

/// The body as it is given to a machine.
fn pieces(spec: &Spec) -> impl Iterator<Item = Bytes> {
    let pieces = spec.chunks.iter().chain(&spec.body).map(|piece| Bytes::from(octets(piece)));
    pieces.filter(|piece| !piece.is_empty())
}

fn body_size(spec: &Spec) -> BodySize {
    match &spec.body {
        _ if spec.stream => BodySize::Unknown,
        Some(body) => BodySize::Exact(octets(body).len() as u64),
        None => BodySize::Empty,
    }
}

fn send_request(spec: &Spec) -> Sent {
    let mut client = Client::new(Arc::new(ClientConfig::default()));
    let method = match Method::from_bytes(&octets(spec.method.as_deref().unwrap_or("GET"))) {
        Ok(method) => method,
        Err(e) => {
            let refusal = Some(Refusal::Type(e.to_string()));
            return Sent { refusal, written: Vec::new(), status: Status::Open };
        }
    };
    let target = octets(spec.target.as_deref().unwrap_or("/"));
    let authority = octets(spec.host.as_deref().unwrap_or("a.test"));
    let line = RequestLine { method: &method, target: &target, authority: &authority };
    let refusal = match ask(&mut client, line, spec) {
        Ok(()) => None,
        Err(refusal) => {
            // What an application does that cannot go on.
            if client.request_open() {
                client.abort(NOW);
            }
            Some(refusal)
        }
    };
    let mut written = Vec::new();
    drain(client.outbox(), &mut written, usize::MAX);
    Sent { refusal, written, status: client.status() }
}

fn ask(client: &mut Client, line: RequestLine<'_>, spec: &Spec) -> Result<(), Refusal> {
    let size = body_size(spec);
    client.send_request(NOW, line, field_octets(&spec.headers), size).map_err(Refusal::Machine)?;
    for piece in pieces(spec) {
        client.send_data(NOW, piece).map_err(Refusal::from)?;
    }
    match size {
        BodySize::Empty | BodySize::Exact(0) => Ok(()),
        _ => client.send_end(NOW, field_octets(&spec.trailers)).map_err(Refusal::Machine),
    }
}

fn send_response(spec: &Spec) -> Result<Sent, String> {
    let config = ServerConfig { epoch: Some(EPOCH), ..ServerConfig::default() };
    let mut server = Server::new(Arc::new(config), NOW);
    let method = spec.request_method.as_deref().unwrap_or("GET");
    let version = spec.request_version.as_deref().unwrap_or("1.1");
    let target = if method == "CONNECT" { "a.test:443" } else { "/" };
    // The client takes trailers, so that a trailer is refused for what it is.
    let asked = format!(
        "{method} {target} HTTP/{version}\r\nhost: a.test:443\r\nte: trailers\r\nconnection: te\r\n\r\n"
    );
    server.inbox().extend_from_slice(asked.as_bytes());
    if !matches!(server.poll_event(NOW), Ok(Some(ServerEvent::Request { .. }))) {
        return Err("the request that it answers was not taken".to_owned());
    }
    let refusal = match respond(&mut server, spec) {
        Ok(()) => None,
        Err(refusal) => {
            // What an application does that cannot go on.
            if server.response_open() {
                server.abort(NOW);
            }
            Some(refusal)
        }
    };
    let mut written = Vec::new();
    // Nothing more is asked of the machine: what follows from the end of the exchange shows.
    let rest = server.poll_event(NOW);
    drain(server.outbox(), &mut written, usize::MAX);
    if !matches!(rest, Ok(None)) {
        return Err(format!("the machine goes on with {rest:?}"));
    }
    Ok(Sent { refusal, written, status: server.status() })
}

fn respond(server: &mut Server, spec: &Spec) -> Result<(), Refusal> {
    let status = StatusCode::from_u16(spec.status.unwrap_or(200));
    let status = status.map_err(|e| Refusal::Type(e.to_string()))?;
    let fields = field_octets(&spec.headers);
    if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
        return server.send_informational(NOW, status, fields).map_err(Refusal::Machine);
    }
    let reason = spec.reason.as_deref().map(octets);
    let line = StatusLine { reason: reason.as_deref(), ..StatusLine::from(status) };
    let size = body_size(spec);
    server.send_response(NOW, line, fields, size).map_err(Refusal::Machine)?;
    for piece in pieces(spec) {
        server.send_data(NOW, piece).map_err(Refusal::from)?;
    }
    match size {
        BodySize::Empty | BodySize::Exact(0) => Ok(()),
        _ => server.send_end(NOW, field_octets(&spec.trailers)).map_err(Refusal::Machine),
    }
}
