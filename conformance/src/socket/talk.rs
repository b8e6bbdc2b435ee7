//! A request case, played by a client over a socket.

use std::io;
use std::time::Duration;

use sinew_core::error::{Delivery, Error, Kind, Phase};
use sinew_core::machine::CloseReason;

use super::link::Link;
use crate::case::{Messages, NamedError, Outcome, ParseCase, Side};
use crate::judge::{Chosen, judge};
use crate::reader;
use crate::run::TRAILING_REQUEST;
use crate::transcript::{Fate, Message, Start, Transcript};

/// Reads the body of an answer that says what the server received.
pub type Mirror = fn(&[u8]) -> Option<Message>;

/// What is known of a server beside the wire.
#[derive(Clone, Copy, Debug)]
pub struct Manners {
    /// `None` for servers that do not say what they received.
    pub mirror: Option<Mirror>,
    /// An answer, or the end of a connection, comes within this time.
    pub patience: Duration,
    /// A server that waits for more says nothing for this time.
    pub silence: Duration,
}

/// Statuses with which servers refuse what they cannot read or will not take. Any other answer,
/// such as a 404, comes from a server that took the request for one.
const REFUSALS: [u16; 10] = [400, 408, 411, 413, 414, 417, 426, 431, 501, 505];

/// Why a case cannot be played against a server that the suite does not control.
pub fn left_out(case: &ParseCase) -> Option<&'static str> {
    if case.side == Side::Response {
        Some("a response: it takes a client")
    } else if case.limits != crate::case::CaseLimits::default() {
        Some("limits of its own")
    } else if case.expect.tunnel == Some(true) || case.expect.upgrade.iter().any(Option::is_some) {
        Some("an application that switches protocols")
    } else {
        None
    }
}

/// Plays a case and judges it. `Err`: everything that is not as expected, one line each, and what
/// was seen.
pub fn check(
    case: &ParseCase,
    manners: &Manners,
    connect: impl Fn() -> io::Result<Link>,
) -> Result<Chosen, (Vec<String>, String)> {
    let nothing = |e: io::Error| (vec![format!("no connection: {e}")], "nothing".to_owned());
    let mut link = connect().map_err(nothing)?;
    let (transcript, seen) = play(case, manners, &mut link)
        .map_err(|problem| (vec![problem], format!("\"{}\"", link.received().escape_ascii())))?;
    if manners.mirror.is_none() && answered_early(case, &transcript) {
        return Ok(Chosen { either: None, status: None });
    }
    let mut case = blinded(case, manners, seen);
    let says_close = transcript.last_answer().is_some_and(reader::Message::says_close);
    if manners.mirror.is_none() && says_close {
        // https://www.rfc-editor.org/rfc/rfc9112#section-9.6: it may, whenever it says so.
        case.expect.keep_alive = None;
    }
    judge(&case, &transcript).map_err(|problems| (problems, crate::suite::describe(&transcript)))
}

/// Whether a server answered by the head, before it could see what is wrong or missing in the body,
/// and let nothing follow. That is as good as a refusal: nobody takes the rest for a request.
fn answered_early(case: &ParseCase, run: &Transcript) -> bool {
    let by_the_head = matches!(case.expect.outcome, Outcome::Reject | Outcome::NeedMore);
    let has_body = case.input.0.windows(4).any(|bytes| bytes == b"\r\n\r\n");
    by_the_head && has_body && run.messages.len() == 1 && !run.reusable
}

/// How much of the requests the transcript shows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sight {
    /// All of what was delivered.
    Full,
    /// That they were taken.
    Blind,
}

fn play(
    case: &ParseCase,
    manners: &Manners,
    link: &mut Link,
) -> Result<(Transcript, Sight), String> {
    let methods = methods(case);
    let read = |bytes: &[u8]| reader::responses(bytes, &methods, true).unwrap_or_default();
    let finals = |bytes: &[u8]| read(bytes).iter().filter(|answer| !answer.is_interim()).count();
    link.send(&case.input.0);
    if case.eof {
        link.shut();
    }
    let (wanted, patience) = match case.expect.outcome {
        Outcome::NeedMore => (usize::MAX, manners.silence),
        _ if case.eof => (usize::MAX, manners.patience),
        _ => (answers(case), manners.patience),
    };
    link.receive(patience, |bytes| finals(bytes) >= wanted);
    let switched = read(link.received()).last().is_some_and(|last| leaves_http(last, &methods));
    let mut reusable = false;
    if switched {
        let rest = case.expect.rest.as_ref().map_or(0, |rest| rest.0.len());
        let head = wire_len(&read(link.received()));
        link.receive(manners.patience, |bytes| bytes.len() >= head + rest);
    } else if !link.ended() && !case.eof && !ends_open(case) {
        let before = finals(link.received());
        if before == 0 {
            return Err("no answer".to_owned());
        }
        // What the next request on the connection sees is where smuggling shows.
        link.send(TRAILING_REQUEST);
        link.receive(manners.patience, |bytes| finals(bytes) > before);
        reusable = finals(link.received()) > before;
        if !reusable && !link.ended() {
            return Err("neither an answer to the next request nor the end".to_owned());
        }
    }
    let all = reader::responses(link.received(), &methods, true).map_err(|e| e.to_string())?;
    transcribe(case, manners, link, all, switched, reusable)
}

fn transcribe(
    case: &ParseCase,
    manners: &Manners,
    link: &Link,
    all: Vec<reader::Message>,
    switched: bool,
    reusable: bool,
) -> Result<(Transcript, Sight), String> {
    let rest = link.received().get(wire_len(&all)..).unwrap_or_default().to_vec();
    let sent_100 = all.iter().filter(|answer| answer.status() == 100).count();
    let mut written: Vec<_> = all.into_iter().filter(|answer| answer.status() != 100).collect();
    if reusable && written.pop().is_some_and(|answer| REFUSALS.contains(&answer.status())) {
        return Err("the next request was not understood".to_owned());
    }
    let mut sight = Sight::Full;
    let mut messages = Vec::new();
    for answer in &written {
        let refused = match manners.mirror {
            Some(_) => answer.status() >= 400,
            None => refuses(case, answer),
        };
        if refused {
            continue;
        }
        let seen = manners.mirror.and_then(|mirror| mirror(&answer.body));
        if seen.is_none() {
            sight = Sight::Blind;
        }
        messages.push(seen.unwrap_or_else(taken));
    }
    if manners.mirror.is_none() {
        // Whatever else a server answers, it took the request.
        written.retain(|answer| answer.status() < 400 || refuses(case, answer));
    }
    let incomplete = case.expect.error == Some(NamedError::Incomplete) && link.ended();
    if incomplete {
        // https://www.rfc-editor.org/rfc/rfc9112#section-8: it may say so, or just close.
        written.retain(|answer| !matches!(answer.status(), 400 | 408));
    }
    let error = incomplete.then_some(Error {
        kind: Kind::Truncated,
        phase: Phase::RequestBody,
        delivery: Delivery::Refused,
    });
    let says_close = written.last().is_some_and(reader::Message::says_close);
    let fate = match link.ended() {
        _ if switched => Fate::Upgraded,
        false => Fate::Open,
        true if case.eof && !says_close => Fate::Closed(CloseReason::PeerClosed),
        true => Fate::Closed(CloseReason::Done),
    };
    let transcript = Transcript {
        messages,
        interim: Vec::new(),
        error,
        written,
        sent_100,
        fate,
        reusable,
        rest: if switched { rest } else { Vec::new() },
        breach: None,
    };
    Ok((transcript, sight))
}

/// Whether a stranger's answer refuses the message, and does not just tell what became of it.
fn refuses(case: &ParseCase, answer: &reader::Message) -> bool {
    // https://www.rfc-editor.org/rfc/rfc9110#section-9.1: what every server knows.
    let known = [&b"GET "[..], b"HEAD ", b"POST "];
    let known = known.iter().any(|method| case.input.0.starts_with(method));
    REFUSALS.contains(&answer.status()) && (known || answer.status() != 501)
}

/// A request of which is known only that it was taken.
fn taken() -> Message {
    Message {
        start: Start::Request { method: String::new(), target: String::new(), authority: None },
        version: "1.1",
        headers: Vec::new(),
        body: Vec::new(),
        trailers: None,
        complete: true,
    }
}

/// The case without what cannot be seen: what is not said is not checked.
fn blinded(case: &ParseCase, manners: &Manners, sight: Sight) -> ParseCase {
    let mut case = case.clone();
    let expect = &mut case.expect;
    expect.interim = None;
    expect.body_so_far = None;
    if case.side == Side::Request && expect.outcome == Outcome::NeedMore || sight == Sight::Blind {
        expect.method = None;
        expect.target = None;
        expect.authority = None;
        expect.version = None;
        expect.headers = None;
        expect.headers_unchanged = false;
        expect.body = None;
        expect.trailers = None;
        if let Some(Messages::Sequence(messages)) = &mut expect.messages {
            for message in messages {
                (message.method, message.target, message.body) = (None, None, None);
            }
        }
    }
    if manners.mirror.is_none() {
        expect.send_100 = None;
        expect.upgrade = None;
        expect.tunnel = None;
    }
    case
}

/// Whether the input ends in the middle of a message, which the next request would become part of.
fn ends_open(case: &ParseCase) -> bool {
    let last = match &case.expect.messages {
        Some(Messages::Sequence(messages)) => messages.last().map(|message| message.outcome),
        _ => None,
    };
    last.unwrap_or(case.expect.outcome) == Outcome::NeedMore
}

/// Final answers that the input deserves.
fn answers(case: &ParseCase) -> usize {
    match &case.expect.messages {
        Some(Messages::Sequence(messages)) => {
            let due = |m: &&crate::case::MessageExpect| m.outcome != Outcome::NeedMore;
            messages.iter().filter(due).count()
        }
        _ => 1,
    }
}

/// The methods of the requests, as far as they matter to whoever reads the answers.
fn methods(case: &ParseCase) -> Vec<String> {
    let first = case.input.0.split(|byte| *byte == b' ').next().unwrap_or_default();
    let first = String::from_utf8_lossy(first.trim_ascii()).into_owned();
    match &case.expect.messages {
        Some(Messages::Sequence(messages)) => {
            messages.iter().map(|m| m.method.clone().unwrap_or_else(|| first.clone())).collect()
        }
        _ => vec![first],
    }
}

/// Whether the bytes behind this answer are no HTTP.
fn leaves_http(answer: &reader::Message, methods: &[String]) -> bool {
    let connect = methods.first().is_some_and(|method| method == "CONNECT");
    answer.status() == 101 || connect && (200..300).contains(&answer.status())
}

/// Bytes of these answers on the wire.
fn wire_len(answers: &[reader::Message]) -> usize {
    answers.iter().map(|answer| answer.head.len() + answer.wire_body.len()).sum()
}
