//! The laws on one input, for tests and fuzzers.

use http::Method;
use sinew_core::error::{Fault, Kind, Violation};
use sinew_core::http1::{ClientConfig, ServerConfig};

use crate::case::Behaviour;
use crate::end::Breach;
use crate::feed::Script;
use crate::reference::{self, Framed, Stop};
use crate::run::{Asked, fetch_script, serve_script};
use crate::suite::{describe, describe_message};
use crate::transcript::{Fate, Message, Start, Transcript};

/// An input and the ways in which it is cut, beside being left whole.
#[derive(Clone, Debug)]
pub struct Input<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// Whether the sender shuts its writing side behind them.
    pub eof: bool,
    /// For each further run, the lengths of the pieces.
    pub cuts: Vec<Vec<usize>>,
}

/// Requests on a server machine: laws 3, 4, 5 and 6, and framing as the reference has it.
pub fn check_requests(config: &ServerConfig, input: &Input<'_>) -> Result<(), Breach> {
    let run = |pieces| {
        let mut script = Script::new(input.bytes, pieces, input.eof);
        Ok(serve_script(config.clone(), Behaviour::Whole, &mut script))
    };
    let whole = same_however_cut(input, run)?;
    check_answers(&whole)?;
    check_requests_framed(&whole, input)
}

/// Responses on a client machine: laws 3, 4 and 6, and framing as the reference has it.
pub fn check_responses(
    config: &ClientConfig,
    method: &Method,
    input: &Input<'_>,
) -> Result<(), Breach> {
    let run = |pieces| {
        let mut script = Script::new(input.bytes, pieces, input.eof);
        let asked = Asked { method: method.clone(), fields: &Vec::new(), body: 0 };
        fetch_script(config.clone(), &asked, &mut script).map_err(Breach)
    };
    let whole = same_however_cut(input, run)?;
    check_response_framed(&whole, method, input)
}

fn same_however_cut(
    input: &Input<'_>,
    run: impl Fn(Vec<usize>) -> Result<Transcript, Breach>,
) -> Result<Transcript, Breach> {
    let whole = run(vec![input.bytes.len()])?;
    if let Some(breach) = whole.breach {
        return Err(breach);
    }
    for pieces in &input.cuts {
        let cut = run(pieces.clone())?;
        if let Some(breach) = cut.breach {
            return Err(breach);
        }
        if !cut.agrees_with(&whole) {
            let (cut, whole) = (describe(&cut), describe(&whole));
            return Err(Breach(format!("cut:   {cut}\nwhole: {whole}")));
        }
    }
    Ok(whole)
}

/// Law 5, and one answer for one request.
fn check_answers(run: &Transcript) -> Result<(), Breach> {
    let broken = |what: &str| Err(Breach(format!("{what}: {}", describe(run))));
    let answers = run.written.iter().filter(|answer| !answer.is_interim()).count();
    let by_the_machine = run.error.and_then(|error| error.status());
    if answers != run.complete() + usize::from(by_the_machine.is_some()) {
        return broken("requests and answers do not match");
    }
    let Some(status) = by_the_machine else { return Ok(()) };
    match run.last_answer() {
        Some(answer) if answer.status() == status.as_u16() && answer.says_close() => {}
        _ => return broken("the error is not answered with its status and close"),
    }
    if run.error.is_some_and(|error| error.fault() != Fault::Peer) {
        return broken("the input is not the peer's fault");
    }
    Ok(())
}

/// Two readers that disagree about where a message ends are a smuggler's way in: what the machine
/// delivers is what the [reference](crate::reference) reads.
fn check_requests_framed(run: &Transcript, input: &Input<'_>) -> Result<(), Breach> {
    let mut rest = input.bytes;
    let mut messages = Vec::new();
    let stop = loop {
        let Framed { message, stop, persists, rest: behind } = reference::request(rest);
        rest = behind;
        messages.extend(message);
        // Whether HTTP is left behind a message is not a matter of framing.
        let left = run.fate == Fate::Upgraded && messages.len() == run.messages.len();
        if stop.is_some() || !persists || left {
            break stop;
        }
    };
    check_framed(run, &messages, stop, rest)
}

/// The same of the responses to one request.
fn check_response_framed(
    run: &Transcript,
    method: &Method,
    input: &Input<'_>,
) -> Result<(), Breach> {
    let mut rest = input.bytes;
    let mut interim = Vec::new();
    loop {
        let framed = reference::response(rest, method, input.eof);
        rest = framed.rest;
        if let Some(message) = &framed.message
            && let Start::Response { status, .. } = message.start
            && status < 200
            && status != 101
        {
            interim.push(status);
            continue;
        }
        if !is_beside_framing(run) && run.interim != interim {
            let run = describe(run);
            return Err(Breach(format!("reference: interim {interim:?}\nmachine: {run}")));
        }
        return check_framed(run, framed.message.as_slice(), framed.stop, rest);
    }
}

/// Whether a run ended by what the reference leaves to others: limits, and all that does not frame.
fn is_beside_framing(run: &Transcript) -> bool {
    let beside = |violation| {
        use Violation::{Expectation, Host, Target, UnexpectedSwitch, Upgrade};
        matches!(violation, Target | Host | Expectation | Upgrade | UnexpectedSwitch)
    };
    run.error.is_some_and(|error| match error.kind {
        Kind::Limit(_) => true,
        Kind::Peer(violation) => beside(violation),
        _ => false,
    })
}

fn check_framed(
    run: &Transcript,
    messages: &[Message],
    stop: Option<Stop>,
    rest: &[u8],
) -> Result<(), Breach> {
    let differs = |what: &str| {
        let messages = messages.iter().map(describe_message).collect::<Vec<_>>().join(" ");
        let (stop, run) = (format!("{stop:?}"), describe(run));
        Err(Breach(format!("{what}\nreference: {messages} {stop}\nmachine:   {run}")))
    };
    let ours: Vec<Message> = run.messages.iter().map(Message::without_authority).collect();
    if is_beside_framing(run) {
        // As far as it came, it came the same way.
        let (Some((last, before)), Some(reference)) =
            (ours.split_last(), messages.get(..ours.len()))
        else {
            return if ours.is_empty() { Ok(()) } else { differs("more messages") };
        };
        let whole = &reference[before.len()];
        let same = if last.complete {
            last == whole
        } else {
            last.headers == whole.headers && whole.body.starts_with(&last.body)
        };
        return if same && before == &reference[..before.len()] {
            Ok(())
        } else {
            differs("other messages before the refusal")
        };
    }
    if ours != messages {
        return differs("other messages");
    }
    if run.fate == Fate::Upgraded && run.rest != rest {
        return differs("other bytes left over");
    }
    match (stop, run.error.map(|error| error.kind)) {
        (Some(Stop::Refused(_)), Some(Kind::Peer(_))) => Ok(()),
        (Some(Stop::Refused(_)), _) => differs("not refused"),
        // What is wrong may show before the message ends.
        (Some(Stop::Unfinished), _) | (None, None) => Ok(()),
        (None, Some(Kind::Peer(Violation::UnexpectedResponse))) if !rest.is_empty() => Ok(()),
        (None, Some(_)) => differs("refused"),
    }
}
