//! One case, one way, on the bare machines.

use std::sync::Arc;

use bytes::Buf;
use http::{HeaderMap, Method};
use sinew_core::error::{Error, Kind};
use sinew_core::http1::{
    BodySize, Client, ClientConfig, Limits, RequestLine, Server, ServerConfig,
};
use sinew_core::machine::{CloseReason, Wire};
use sinew_core::time::{Deadline, Instant};

use crate::application::{Answering, Listening};
use crate::case::{Behaviour, CaseLimits, FieldList, ParseCase, Side};
use crate::end::{Application, Breach, End, Turn};
use crate::feed::{Script, Way};
use crate::reader;
use crate::transcript::{Fate, Lines, Message, Start, Transcript};

/// The request behind an input, in the way [`Way::Trailing`].
pub const TRAILING_REQUEST: &[u8] = b"GET /trailing HTTP/1.1\r\nHost: trailing.test\r\n\r\n";

/// The response behind an input, in the way [`Way::Trailing`]: nobody asked for it.
pub const TRAILING_RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\ntrailing";

/// When everything begins. Without steps that wait, nothing happens later.
const START: Instant = Instant::ZERO;

/// Runs a case one way. `Err`: the case cannot be run, and why.
pub fn run(case: &ParseCase, way: Way) -> Result<Transcript, String> {
    let input = &case.input.0;
    let mut script = if case.steps.is_empty() {
        Script::new(input, way.pieces(input.len()), case.eof)
    } else {
        Script::of(&case.steps, way, case.eof)
    };
    match (way, case.side) {
        (Way::Trailing, Side::Request) => script.append(TRAILING_REQUEST),
        (Way::Trailing, Side::Response) => script.append(TRAILING_RESPONSE),
        _ => {}
    }
    match case.side {
        Side::Request => {
            let mut config = ServerConfig::default();
            config.limits = limits(&config.limits, case.limits)?;
            Ok(serve_script(config, case.handler, &mut script))
        }
        Side::Response => {
            let mut config = ClientConfig::default();
            config.limits = limits(&config.limits, case.limits)?;
            let method = case.request_method.as_deref().unwrap_or("GET");
            let method = Method::from_bytes(method.as_bytes()).map_err(|e| e.to_string())?;
            let asked = Asked { method, fields: &case.request_headers, body: case.request_body };
            fetch_script(config, &asked, &mut script)
        }
    }
}

/// Feeds a script to a server machine with the [`Answering`] application on top.
pub fn serve_script(config: ServerConfig, behaviour: Behaviour, script: &mut Script) -> Transcript {
    let app = Answering::new(behaviour);
    let mut end = End::new(Server::new(Arc::new(config), START), app);
    let breach = settle(&mut end, script).err();
    let refused = end.app.refused.map(|e| Breach(format!("a due answer was refused: {e:?}")));
    let methods: Vec<String> = end.app.messages.iter().filter_map(method_of).collect();
    // An answer that nobody takes, or that time ran out on, is cut off.
    let cut_off = matches!(end.error, Some(Error { kind: Kind::Timeout(_), .. }));
    let written = reader::responses(&script.written, &methods, cut_off);
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
        transcript.rest.extend_from_slice(&script.unread());
    }
    transcript
}

/// The request that a script of responses answers.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    /// The method.
    pub method: Method,
    /// The fields.
    pub fields: &'a FieldList,
    /// Bytes of its body.
    pub body: usize,
}

/// Sends a request and feeds a script to the client machine, with [`Listening`] on top. `Err`: the
/// request was refused.
pub fn fetch_script(
    config: ClientConfig,
    asked: &Asked<'_>,
    script: &mut Script,
) -> Result<Transcript, String> {
    let method = &asked.method;
    let target: &[u8] = if *method == Method::CONNECT { b"a.test:443" } else { b"/" };
    let line = RequestLine { method, target, authority: b"a.test" };
    let fields = asked.fields.iter().map(|(name, value)| (&name.0, &value.0));
    let size = match asked.body {
        0 => BodySize::Empty,
        n => BodySize::Exact(n as u64),
    };
    let mut client = Client::new(Arc::new(config));
    client
        .send_request(START, line, fields, size)
        .map_err(|e| format!("the request was refused: {e}"))?;

    let mut end = End::new(client, Listening::new(asked.body));
    let breach = settle(&mut end, script).err();
    // A body that the answer overtook is cut off.
    let written = reader::requests(&script.written, asked.body > 0);
    let malformed = written.err().map(|e| Breach(e.to_string()));
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
        transcript.rest.extend_from_slice(&script.unread());
    }
    Ok(transcript)
}

/// Runs an end and its script, time included, until neither has anything left to do.
fn settle<W, A>(end: &mut End<W, A>, script: &mut Script) -> Result<(), Breach>
where
    W: Wire<Error = Error>,
    A: Application<W>,
{
    let mut now = START;
    loop {
        let Some(mut deadline) = sleep(end, script, now)? else { return Ok(()) };
        let Some(time) = script.pause() else { return Ok(()) };
        let until = now + time;
        while let Some(due) = deadline.filter(|deadline| deadline.at <= until) {
            now = due.at;
            end.fire(now);
            deadline = match sleep(end, script, now)? {
                Some(deadline) => deadline,
                None => return Ok(()),
            };
        }
        now = until;
        end.socket_woke();
    }
}

/// Gives an end its turns until it sleeps; returns what wakes it, or `None`: it is over.
#[expect(clippy::option_option, reason = "over, without a deadline, and with one are three things")]
fn sleep<W, A>(
    end: &mut End<W, A>,
    script: &mut Script,
    now: Instant,
) -> Result<Option<Option<Deadline>>, Breach>
where
    W: Wire<Error = Error>,
    A: Application<W>,
{
    // A turn reads a byte, writes, or pulls one event; none of the three comes out of nothing.
    let most = 1000 + 20 * script.unread().len();
    for _ in 0..most {
        match end.turn(script, now)? {
            Turn::Moved => {}
            Turn::Waits(deadline) => return Ok(Some(deadline)),
            Turn::Over(_) => return crate::end::check_over(&mut end.wire).map(|()| None),
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
