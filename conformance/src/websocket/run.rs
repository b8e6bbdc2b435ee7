//! One case, one way, on the bare machines.

use std::sync::Arc;

use bytes::BytesMut;
use sinew_core::error::Error;
use sinew_core::http1::{Client, ClientConfig, Server, ServerConfig};
use sinew_core::machine::Wire;
use sinew_core::outbox::Outbox;
use sinew_core::time::Instant;
use sinew_core::websocket::handshake::{Agreed, ClientHandshake, Origins, ServerHandshake};
use sinew_core::websocket::{Config, Connection, Limits, Role};

use crate::end::{Application, End, Turn};
use crate::feed::{Script, Way};
use crate::judge::Chosen;
use crate::reader::{self, Message};
use crate::suite::{CUTS, CaseResult};
use crate::websocket::case::{Handshake, Recipient, Sender, WebSocketCase};
use crate::websocket::door::{Doorkeeper, Visitor};
use crate::websocket::echo::{self, Echo};
use crate::websocket::frame::Reader;
use crate::websocket::judge::{Spoken, judge};

const START: Instant = Instant::ZERO;

/// What masks and keys are drawn from. There is nobody to hide them from.
const SEED: [u8; 32] = [7; 32];

/// Runs a case whole, octet by octet and cut at random: all must give the same.
pub fn check(case: &WebSocketCase, seed: u64) -> (CaseResult, Vec<Way>, String) {
    let cuts = (0..CUTS).map(|i| Way::Cuts(seed.wrapping_mul(CUTS).wrapping_add(i)));
    let mut ways = Vec::new();
    let mut whole: Option<Spoken> = None;
    for way in [Way::Whole, Way::Bytes].into_iter().chain(cuts) {
        ways.push(way);
        let spoken = match run(case, way) {
            Ok(spoken) => spoken,
            Err(why) => Spoken { breach: Some(why), ..Spoken::default() },
        };
        let mut problems = judge(case, &spoken);
        // Law 3: every cut gives the same.
        if let Some(whole) = whole.as_ref().filter(|whole| **whole != spoken) {
            problems.push(format!("differs from the whole input: {whole}"));
        }
        if !problems.is_empty() {
            let problems = problems.iter().map(|p| format!("{}: {p}", way.name())).collect();
            let seen = spoken.to_string();
            return (CaseResult::Failed { problems, got: seen.clone() }, ways, seen);
        }
        whole.get_or_insert(spoken);
    }
    let seen = whole.map_or_else(String::new, |spoken| spoken.to_string());
    (CaseResult::Passed(Chosen { either: None, status: None }), ways, seen)
}

/// Runs a case one way. `Err`: the case cannot be run, or a law is broken.
pub fn run(case: &WebSocketCase, way: Way) -> Result<Spoken, String> {
    match case.from {
        Sender::Client => serve(case, way),
        Sender::Server => visit(case, way),
    }
}

fn serve(case: &WebSocketCase, way: Way) -> Result<Spoken, String> {
    let input = [request(&case.handshake, "/", "a.test"), case.octets()].concat();
    let mut script = Script::new(&input, way.pieces(input.len()), false);
    let server = Server::new(Arc::new(ServerConfig::default()), START);
    let mut end = End::new(server, Doorkeeper::new(offer(&case.recipient)));
    settle(&mut end, &mut script, Server::is_upgraded)?;
    let agreed = end.app.agreed.unwrap_or_default();
    // The answer to the handshake may still stand in the outbox.
    let ended = match end.wire.into_upgraded() {
        Ok(upgraded) => speak(case, &agreed, upgraded, &mut script)?,
        Err(_) => false,
    };
    let answer = reader::response(&script.written, "GET").map_err(|e| e.to_string())?;
    let Some((answer, rest)) = answer else { return Ok(Spoken::default()) };
    let mut spoken = Spoken::of(&answer);
    if answer.status() == 101 {
        spoken.hear(Sender::Server, agreed.deflate.is_some(), rest.to_vec())?;
        spoken.ended = ended;
    }
    Ok(spoken)
}

fn visit(case: &WebSocketCase, way: Way) -> Result<Spoken, String> {
    let Recipient { protocols, deflate, .. } = &case.recipient;
    let opening =
        ClientHandshake { protocols: protocols.clone(), deflate: deflate.then(echo::deflate) };
    let mut client = Client::new(Arc::new(ClientConfig::default()));
    let visitor = Visitor::knock(&mut client, opening.open(SEED), "/", "a.test", START)
        .map_err(|e| e.to_string())?;
    let mut end = End::new(client, visitor);
    let mut script = Script::new(&[], Vec::new(), false);
    settle(&mut end, &mut script, |_| false)?;
    let input = [answer(&case.handshake, &script.written)?, case.octets()].concat();
    let mut script = Script::new(&input, way.pieces(input.len()), false);
    end.socket_woke();
    settle(&mut end, &mut script, Client::is_upgraded)?;
    let mut spoken = Spoken::default();
    match end.app.agreed {
        Some(Ok(agreed)) => {
            let upgraded = end.wire.into_upgraded().map_err(|_| "nothing was left over")?;
            spoken.ended = speak(case, &agreed, upgraded, &mut script)?;
            spoken.hear(Sender::Client, agreed.deflate.is_some(), script.written)?;
        }
        Some(Err(why)) => spoken.refused = Some(why.to_string()),
        None => spoken.refused = Some("it is no answer".to_owned()),
    }
    Ok(spoken)
}

/// Runs the connection behind a handshake. Whether it ended.
fn speak(
    case: &WebSocketCase,
    agreed: &Agreed,
    upgraded: (BytesMut, Outbox),
    script: &mut Script,
) -> Result<bool, String> {
    let role = match case.from {
        Sender::Client => Role::Server,
        Sender::Server => Role::Client,
    };
    let config = Arc::new(config(&case.recipient)?);
    let connection = Connection::new(role, config, agreed, SEED, upgraded, START);
    let mut end = End::new(connection, Echo::default());
    settle(&mut end, script, |_| false)?;
    Ok(end.half_closed || end.over.is_some())
}

/// Gives an end its turns until it sleeps, is over, or `done`.
fn settle<W, A>(
    end: &mut End<W, A>,
    script: &mut Script,
    done: impl Fn(&W) -> bool,
) -> Result<(), String>
where
    W: Wire<Error = Error>,
    A: Application<W>,
{
    while !done(&end.wire) {
        match end.turn(script, START).map_err(|breach| breach.to_string())? {
            Turn::Moved => {}
            Turn::Waits(_) | Turn::Over(_) => break,
        }
    }
    Ok(())
}

/// How a server of ours is set up for a case.
pub fn offer(recipient: &Recipient) -> ServerHandshake {
    ServerHandshake {
        protocols: recipient.protocols.clone(),
        origins: if recipient.same_origin { Origins::Same } else { Origins::Any },
        deflate: recipient.deflate.then(echo::deflate),
    }
}

/// The limits of a case.
pub fn config(recipient: &Recipient) -> Result<Config, String> {
    let base = echo::config();
    let message = recipient.max_message.unwrap_or(base.limits.message);
    let limits = Limits {
        message,
        frame: recipient.max_frame.unwrap_or(base.limits.frame).min(message),
        fragments: recipient.max_fragments.unwrap_or(base.limits.fragments),
        pings: recipient.max_pings.unwrap_or(base.limits.pings),
        ..base.limits
    };
    let config = Config { limits, ..base };
    config.check().map_err(|_| "the limits contradict each other".to_owned())?;
    Ok(config)
}

/// The request of a case.
pub fn request(handshake: &Handshake, target: &str, authority: &str) -> Vec<u8> {
    let method = handshake.method.as_deref().unwrap_or("GET");
    let version = handshake.version.as_deref().unwrap_or("1.1");
    let fields = [
        ("Host", authority),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    head(&format!("{method} {target} HTTP/{version}"), &fields, handshake)
}

/// The answer of a case to a request.
fn answer(handshake: &Handshake, request: &[u8]) -> Result<Vec<u8>, String> {
    // Whatever is wrong in the case, the rest of the answer is right.
    let server = Server::new(Arc::new(ServerConfig::default()), START);
    let mut end = End::new(server, Doorkeeper::new(ServerHandshake::default()));
    let mut script = Script::new(request, vec![request.len()], false);
    settle(&mut end, &mut script, |_| false)?;
    let right = reader::response(&script.written, "GET").map_err(|e| e.to_string())?;
    let accept = right.and_then(|(right, _)| right.field("sec-websocket-accept"));
    let accept = accept.ok_or("a server of ours refuses the request")?;
    let fields =
        [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", &accept)];
    let status = handshake.status.unwrap_or(101);
    Ok(head(&format!("HTTP/1.1 {status} X"), &fields, handshake))
}

fn head(start: &str, fields: &[(&str, &str)], handshake: &Handshake) -> Vec<u8> {
    let left_out = |name: &str| handshake.without.iter().any(|out| out.eq_ignore_ascii_case(name));
    let mut head = format!("{start}\r\n").into_bytes();
    for (name, value) in fields.iter().filter(|(name, _)| !left_out(name)) {
        head.extend(format!("{name}: {value}\r\n").into_bytes());
    }
    for (name, value) in &handshake.with {
        head.extend([&name.0[..], b": ", &value.0, b"\r\n"].concat());
    }
    head.extend(b"\r\n");
    head
}

impl Spoken {
    /// What an answer says.
    pub fn of(answer: &Message) -> Self {
        Self { status: Some(answer.status()), fields: answer.fields.clone(), ..Self::default() }
    }

    /// Reads the frames that came back, all of them.
    fn hear(&mut self, from: Sender, deflate: bool, mut frames: Vec<u8>) -> Result<(), String> {
        let mut reader = Reader::new(from, deflate);
        reader.read(&mut frames)?;
        if !frames.is_empty() {
            return Err("half a frame was written".to_owned());
        }
        self.answers = reader.answers;
        self.close = reader.close;
        Ok(())
    }
}
