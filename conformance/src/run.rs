//! One case, one way, on the bare machines.

use std::sync::Arc;

use bytes::Buf;
use http::{HeaderMap, Method};
use sinew_core::error::Error;
use sinew_core::http1::{
    BodySize, Client, ClientConfig, Limits, RequestLine, Server, ServerConfig,
};
use sinew_core::machine::{CloseReason, Wire};
use sinew_core::time::Instant;

use crate::application::{Answering, Listening};
use crate::case::{CaseLimits, FieldList, ParseCase, Side};
use crate::end::{Application, Breach, End, Turn};
use crate::feed::{Script, Way};
use crate::reader;
use crate::transcript::{Fate, Lines, Message, Start, Transcript};

/// The request behind an input, in the way [`Way::Trailing`].
pub const TRAILING_REQUEST: &[u8] = b"GET /trailing HTTP/1.1\r\nHost: trailing.test\r\n\r\n";

/// The response behind an input, in the way [`Way::Trailing`]: nobody asked for it.
pub const TRAILING_RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\ntrailing";

/// All that happens, happens at this time: no timer fires.
const NOW: Instant = Instant::ZERO;

/// Runs a case one way. `Err`: the case cannot be run, and why.
pub fn run(case: &ParseCase, way: Way) -> Result<Transcript, String> {
    let mut input = case.input.0.clone();
    match (way, case.side) {
        (Way::Trailing, Side::Request) => input.extend_from_slice(TRAILING_REQUEST),
        (Way::Trailing, Side::Response) => input.extend_from_slice(TRAILING_RESPONSE),
        _ => {}
    }
    let mut script = Script::new(&input, way.pieces(input.len()), case.eof);
    match case.side {
        Side::Request => {
            let mut config = ServerConfig::default();
            config.limits = limits(&config.limits, case.limits)?;
            Ok(serve_script(config, &mut script))
        }
        Side::Response => {
            let mut config = ClientConfig::default();
            config.limits = limits(&config.limits, case.limits)?;
            let method = case.request_method.as_deref().unwrap_or("GET");
            let method = Method::from_bytes(method.as_bytes()).map_err(|e| e.to_string())?;
            fetch_script(config, &method, &case.request_headers, &mut script)
        }
    }
}

/// Feeds a script to a server machine with the [`Answering`] application on top.
pub fn serve_script(config: ServerConfig, script: &mut Script<'_>) -> Transcript {
    let mut end = End::new(Server::new(Arc::new(config), NOW), Answering::default());
    let breach = settle(&mut end, script).err();
    let refused = end.app.refused.map(|e| Breach(format!("a due answer was refused: {e:?}")));
    let methods: Vec<String> = end.app.messages.iter().filter_map(method_of).collect();
    let written = reader::responses(&script.written, &methods, false);
    let malformed = written.as_ref().err().map(|e| Breach(e.to_string()));
    let all = written.unwrap_or_default();
    // https://www.rfc-editor.org/rfc/rfc9112#section-2.3
    let older = all.iter().find(|message| !message.start.starts_with("HTTP/1.1 "));
    let older =
        older.map(|message| Breach(format!("an answer of another version: {}", message.start)));
    let hundreds = all.iter().filter(|message| message.status() == 100).count();
    let mut transcript = Transcript {
        messages: end.app.messages,
        interim: Vec::new(),
        error: end.error,
        written: all.into_iter().filter(|message| message.status() != 100).collect(),
        sent_100: hundreds,
        fate: fate(end.over, end.half_closed, end.wire.is_upgraded()),
        reusable: end.wire.is_idle(),
        rest: Vec::new(),
        breach: breach.or(refused).or(malformed).or(older),
    };
    if transcript.fate == Fate::Upgraded {
        match end.wire.into_upgraded() {
            Ok((rest, _)) => transcript.rest = rest.chunk().to_vec(),
            Err(_) => transcript.breach = Some(Breach("no bytes left over to take".to_owned())),
        }
        transcript.rest.extend_from_slice(script.unread());
    }
    transcript
}

/// Sends a request and feeds a script to the client machine, with [`Listening`] on top. `Err`: the
/// request was refused.
pub fn fetch_script(
    config: ClientConfig,
    method: &Method,
    fields: &FieldList,
    script: &mut Script<'_>,
) -> Result<Transcript, String> {
    let target: &[u8] = if *method == Method::CONNECT { b"a.test:443" } else { b"/" };
    let line = RequestLine { method, target, authority: b"a.test" };
    let fields = fields.iter().map(|(name, value)| (&name.0, &value.0));
    let mut client = Client::new(Arc::new(config));
    client
        .send_request(NOW, line, fields, BodySize::Empty)
        .map_err(|e| format!("the request was refused: {e}"))?;

    let mut end = End::new(client, Listening::default());
    let breach = settle(&mut end, script).err();
    let malformed = reader::request(&script.written).err().map(|e| Breach(e.to_string()));
    let mut transcript = Transcript {
        messages: end.app.messages,
        interim: end.app.interim,
        error: end.error,
        written: Vec::new(),
        sent_100: 0,
        fate: fate(end.over, end.half_closed, end.wire.is_upgraded()),
        reusable: end.wire.reusable(),
        rest: Vec::new(),
        breach: breach.or(malformed),
    };
    if transcript.fate == Fate::Upgraded {
        match end.wire.into_upgraded() {
            Ok((rest, _)) => transcript.rest = rest.chunk().to_vec(),
            Err(_) => transcript.breach = Some(Breach("no bytes left over to take".to_owned())),
        }
        transcript.rest.extend_from_slice(script.unread());
    }
    Ok(transcript)
}

/// Gives an end its turns until it sleeps with nothing left to read.
fn settle<W, A>(end: &mut End<W, A>, script: &mut Script<'_>) -> Result<(), Breach>
where
    W: Wire<Error = Error>,
    A: Application<W>,
{
    // A turn reads a byte, writes, or pulls one event; none of the three comes out of nothing.
    let most = 1000 + 20 * script.unread().len();
    for _ in 0..most {
        match end.turn(script, NOW)? {
            Turn::Moved => {}
            Turn::Waits(_) => return Ok(()),
            Turn::Over(_) => return crate::end::check_over(&mut end.wire),
        }
    }
    Err(Breach(format!("no rest after {most} turns")))
}

fn method_of(message: &Message) -> Option<String> {
    match &message.start {
        Start::Request { method, .. } => Some(method.clone()),
        Start::Response { .. } => None,
    }
}

fn fate(over: Option<CloseReason>, half_closed: bool, upgraded: bool) -> Fate {
    match over {
        _ if upgraded => Fate::Upgraded,
        Some(reason) => Fate::Closed(reason),
        None if half_closed => Fate::HalfClosed,
        None => Fate::Open,
    }
}

/// Maps the limits of a case to those of a machine.
pub fn limits(base: &Limits, case: CaseLimits) -> Result<Limits, String> {
    let head = case.max_head.unwrap_or(base.head);
    let limits = Limits {
        head,
        target: case.max_uri.unwrap_or(base.target).min(head),
        fields: case.max_headers.unwrap_or(base.fields),
        body: case.max_body.unwrap_or(base.body),
        chunk_line: case.max_chunk_line.unwrap_or(base.chunk_line),
        chunk_extensions: case.max_chunk_ext_total.unwrap_or(base.chunk_extensions),
        trailers: case.max_trailers.unwrap_or(base.trailers),
        trailer_bytes: case.max_trailer_bytes.unwrap_or(base.trailer_bytes),
        interim: case.max_interim.unwrap_or(base.interim),
        ..base.clone()
    };
    limits.check().map_err(|_| "the limits contradict each other".to_owned())?;
    Ok(limits)
}

/// The lines of a map, as a transcript has them.
pub fn header_lines(map: &HeaderMap) -> Lines {
    map.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect()
}
