//! WebSocket cases over sockets, played to a server that sends back what it is sent: one of ours, or any.

use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::Instant;

use sinew_core::http1;
use sinew_driver::server::Conn;
use sinew_driver::{
    Error, Request, RestServer, Runtime, Spawn, Task, Threads, WebSocket, WebSocketOptions,
};
use sinew_tls::{ServerTls, Tls};
use tokio::sync::oneshot;

use crate::feed::Way;
use crate::judge::Chosen;
use crate::network::adapter::{Work, both};
use crate::network::conversation::{Patience, Transport};
use crate::network::line::{Heard, Line};
use crate::reader;
use crate::suite::CaseResult;
use crate::websocket::Spoken;
use crate::websocket::case::{Answer, Recipient, Sender, WebSocketCase};
use crate::websocket::frame::{self, Reader};
use crate::websocket::judge;
use crate::websocket::run::{config, offer, request};

/// Where a server speaks WebSocket.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its address.
    pub address: SocketAddr,
    /// What `Host` says.
    pub authority: String,
    /// The path, and a query where there is one.
    pub target: String,
    /// How it is reached.
    pub transport: Transport,
    /// How long it is waited for.
    pub patience: Patience,
}

const EXTENSIONS: &str = "sec-websocket-extensions";
const DEFLATE: &str = "permessage-deflate";

/// What is asked behind a case that leaves the connection open: its answer is the last.
const PROBE: &[u8] = b"still there?";

/// Runs one case once, in one piece; what was seen, in one line.
pub fn check(case: &WebSocketCase, place: &Place) -> (CaseResult, Vec<Way>, String) {
    let left_out = |reason: &str| {
        (CaseResult::LeftOut { reason: reason.to_owned() }, Vec::new(), String::new())
    };
    if let Some(reason) = unplayable(case) {
        return left_out(reason);
    }
    let spoken = match hold(case, place, Way::Whole) {
        Ok(mut spoken) => {
            without_repeated_pongs(&mut spoken.answers);
            spoken
        }
        Err(e) => {
            let why = format!("no conversation with {}: {e}", place.address);
            Spoken { breach: Some(why), ..Spoken::default() }
        }
    };
    let chosen: Vec<_> = spoken.fields.iter().filter(|(name, _)| name == EXTENSIONS).collect();
    let compresses = chosen.iter().any(|(_, value)| value.starts_with(DEFLATE));
    if case.recipient.deflate && wants_deflate(case) && spoken.status == Some(101) && !compresses {
        return left_out("needs a server that compresses");
    }
    let forgets = chosen.iter().any(|(_, value)| value.contains("client_no_context_takeover"));
    if forgets && case.frames.iter().filter(|frame| frame.is_compressed()).count() > 1 {
        return left_out("needs a server that keeps its window");
    }
    let problems = judge(&seen_from_here(case), &spoken);
    let seen = spoken.to_string();
    if problems.is_empty() {
        let chosen = Chosen { either: None, status: None };
        return (CaseResult::Passed(chosen), vec![Way::Whole], seen);
    }
    (CaseResult::Failed { problems, got: seen.clone() }, vec![Way::Whole], seen)
}

/// What a case needs that a server cannot be made to have.
fn unplayable(case: &WebSocketCase) -> Option<&'static str> {
    let Recipient { protocols, deflate, same_origin, .. } = &case.recipient;
    let limits = Recipient {
        protocols: Vec::new(),
        deflate: false,
        same_origin: false,
        ..case.recipient.clone()
    };
    let offers =
        case.handshake.with.iter().any(|(_, value)| value.0.starts_with(DEFLATE.as_bytes()));
    if case.from == Sender::Server {
        Some("is for a client")
    } else if limits != Recipient::default() {
        Some("needs limits of its own")
    } else if !protocols.is_empty() {
        Some("needs subprotocols of its own")
    } else if *same_origin {
        Some("needs a policy of its own")
    } else if offers && !deflate {
        Some("needs a server that does not compress")
    } else {
        None
    }
}

fn wants_deflate(case: &WebSocketCase) -> bool {
    !case.frames.is_empty() || case.expect.fields.iter().any(|(name, _)| name == EXTENSIONS)
}

/// The case without what is a server's choice: parameters of compression, and pings that are answered
/// together.
/// <https://www.rfc-editor.org/rfc/rfc6455#section-5.5.3>
fn seen_from_here(case: &WebSocketCase) -> WebSocketCase {
    let mut case = case.clone();
    case.expect.fields.retain(|(name, _)| name != EXTENSIONS);
    without_repeated_pongs(&mut case.expect.answers);
    case
}

fn without_repeated_pongs(answers: &mut Vec<Answer>) {
    answers.dedup_by(|next, last| matches!(next, Answer::Pong(_)) && next == last);
}

/// One run of a case on a `RestServer` of its own.
#[derive(Clone, Debug)]
pub struct Echoed<'a> {
    /// The case.
    pub case: &'a WebSocketCase,
    /// How the bytes are cut.
    pub way: Way,
    /// How the server is reached.
    pub transport: Transport,
    /// The server's side of that.
    pub tls: Option<ServerTls>,
    /// How long it is waited for.
    pub patience: Patience,
}

impl Work for Echoed<'_> {
    type Outcome = Result<Spoken, String>;

    async fn on<R>(self, runtime: R) -> Self::Outcome
    where
        R: Runtime
            + Spawn<Task>
            + Spawn<Conn<http1::Server, R, Threads>>
            + Spawn<Conn<Tls<http1::Server>, R, Threads>>,
    {
        let Self { case, way, transport, tls, patience } = self;
        let options = WebSocketOptions::new()
            .handshake(offer(&case.recipient))
            .config(config(&case.recipient)?);
        let builder = RestServer::<R>::builder_on(runtime)
            .listen("127.0.0.1:0")
            .websocket_with("/", options, send_back);
        let builder = match tls {
            Some(tls) => builder.tls(tls),
            None => builder.allow_plaintext(),
        };
        let server = builder.bind().await.map_err(|e| e.to_string())?;
        let place = Place {
            address: *server.local_addrs().first().ok_or("no address")?,
            authority: "a.test".to_owned(),
            target: "/".to_owned(),
            transport,
            patience,
        };
        let handle = server.handle();
        let (tell, told) = oneshot::channel();
        let case = case.clone();
        thread::spawn(move || {
            let _ = tell.send(hold(&case, &place, way));
        });
        let held = async {
            let held = told.await;
            handle.stop(patience.answer).await;
            held
        };
        let ((), held) = both(server.serve(), held).await;
        held.map_err(|e| e.to_string())?.map_err(|e| e.to_string())
    }
}

async fn send_back(_: Request, mut socket: WebSocket) -> Result<(), Error> {
    while let Some(message) = socket.recv().await? {
        socket.send(message).await?;
    }
    Ok(())
}

fn hold(case: &WebSocketCase, place: &Place, way: Way) -> io::Result<Spoken> {
    let Place { address, authority, target, transport, patience } = place;
    let mut line = transport.connect(*address, *patience)?;
    say(&mut line, &request(&case.handshake, target, authority), way, *patience);
    let mut received = Vec::new();
    let method = case.handshake.method.as_deref().unwrap_or("GET");
    let mut ended = false;
    let answer = loop {
        match reader::response(&received, method) {
            Ok(Some((answer, rest))) if !answer.open_ended || ended => {
                let rest = rest.to_vec();
                break Some((answer, rest));
            }
            Ok(_) if ended => break None,
            Ok(_) => ended = !hear(&mut line, &mut received, *patience),
            Err(malformed) => return Err(io::Error::other(malformed.0)),
        }
    };
    let Some((answer, rest)) = answer else { return Ok(Spoken::default()) };
    let mut spoken = Spoken::of(&answer);
    if answer.status() == 101 {
        let compresses = answer.field(EXTENSIONS).is_some_and(|value| value.starts_with(DEFLATE));
        let mut reader = Reader::new(Sender::Server, compresses);
        say(&mut line, &case.octets(), way, *patience);
        spoken.breach = listen(case, &mut line, rest, &mut reader, *patience).err();
        spoken.answers = reader.answers;
        spoken.close = reader.close;
        spoken.answers.retain(|answer| !is_probe(answer));
        spoken.ended = reader.close.is_some() && !hear_end(&mut line, *patience);
    }
    Ok(spoken)
}

/// Sends bytes in pieces cut this way.
fn say(line: &mut Line, mut bytes: &[u8], way: Way, patience: Patience) {
    for piece in way.pieces(bytes.len()) {
        let (first, rest) = bytes.split_at(piece);
        line.say(first, patience.answer);
        bytes = rest;
    }
}

/// Reads until everything that is due was said, and says goodbye. `Err`: what must not be.
fn listen(
    case: &WebSocketCase,
    line: &mut Line,
    mut received: Vec<u8>,
    reader: &mut Reader,
    patience: Patience,
) -> Result<(), String> {
    let closes = !case.expect.close.is_empty();
    if !closes && !case.expect.unfinished {
        line.say(&frame::control(9, PROBE, true), patience.answer);
    }
    let until = Instant::now() + patience.answer;
    loop {
        reader.read(&mut received)?;
        let due = case.expect.answers.len();
        let done = match (closes, case.expect.unfinished) {
            (true, _) => false,
            (false, true) => reader.answers.len() >= due,
            (false, false) => reader.answers.last().is_some_and(is_probe),
        };
        if done || reader.close.is_some() {
            break;
        }
        if !hear(line, &mut received, patience) {
            return Err("the connection ended without a close frame".to_owned());
        }
        if Instant::now() >= until {
            return Err("not everything that is due came in time".to_owned());
        }
    }
    // https://www.rfc-editor.org/rfc/rfc6455#section-5.5.1
    let code = reader.close.filter(|code| *code != 1005).map(u16::to_be_bytes);
    let payload = code.as_ref().map_or(&[][..], |code| &code[..]);
    line.say(&frame::control(8, payload, true), patience.answer);
    Ok(())
}

fn is_probe(answer: &Answer) -> bool {
    matches!(answer, Answer::Pong(payload) if payload.0 == PROBE)
}

/// Waits for bytes. `false`: the connection ended.
fn hear(line: &mut Line, received: &mut Vec<u8>, patience: Patience) -> bool {
    !matches!(line.hear(received, patience.answer), Heard::End | Heard::Broken(_))
}

/// Reads to the end. `true`: there is none in time.
fn hear_end(line: &mut Line, patience: Patience) -> bool {
    let until = Instant::now() + patience.answer;
    let mut ignored = Vec::new();
    while hear(line, &mut ignored, patience) {
        if Instant::now() >= until {
            return true;
        }
    }
    false
}
