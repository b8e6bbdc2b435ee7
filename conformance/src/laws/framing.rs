//! Two readers that disagree about where a message ends are a smuggler's way in: what a machine
//! delivers is what the [reference](crate::reference) reads.

use http::Method;
use sinew_core::error::{Kind, Violation};

use super::Input;
use crate::end::Breach;
use crate::reference::{self, Framed, Stop};
use crate::suite::{describe, describe_message};
use crate::transcript::{Fate, Message, Start, Transcript};

/// The requests that a server machine delivers are those that the reference reads.
pub(super) fn check_requests(run: &Transcript, input: &Input<'_>) -> Result<(), Breach> {
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

/// The responses to one request that a client machine delivers are those that the reference reads.
pub(super) fn check_response(
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
pub(super) fn is_beside_framing(run: &Transcript) -> bool {
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
