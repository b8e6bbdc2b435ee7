//! A server that is not ours: nothing of it is seen but its answers.

use std::net::SocketAddr;

use crate::case::{
    Behaviour, Case, CaseLimits, Choice, Expect, Messages, Outcome, ParseCase, Side,
};
use crate::feed::Way;
use crate::judge::Chosen;
use crate::network::conversation::{Conversation, Next, Patience, Seen, Transport, names_no_path};
use crate::reader::Message;
use crate::suite::{CaseResult, Verdict};

/// Runs one case against the server at `address`, once, in one piece.
pub fn check(
    case: &Case,
    address: SocketAddr,
    transport: &Transport,
    patience: Patience,
) -> Verdict {
    let (result, seen) = match playable(case) {
        Err(reason) => (CaseResult::LeftOut { reason: reason.to_owned() }, String::new()),
        Ok(parse) => match Conversation::hold(parse, Way::Whole, address, transport, patience) {
            Err(e) => {
                let problems = vec![format!("no conversation with {address}: {e}")];
                (CaseResult::Failed { problems, got: "nothing".to_owned() }, e.to_string())
            }
            Ok(held) => (verdict(parse, &held.seen), held.seen.to_string()),
        },
    };
    let ways = match result {
        CaseResult::LeftOut { .. } => Vec::new(),
        _ => vec![Way::Whole],
    };
    Verdict { case: case.clone(), result, ways, seen }
}

/// The cases that need no control of the server. `Err`: what they need.
fn playable(case: &Case) -> Result<&ParseCase, &'static str> {
    let case = match case {
        Case::Parse(case) => case,
        Case::Encode(_) => return Err("needs an application that sends what the case says"),
        Case::Cors(_) => return Err("needs a policy of its own"),
        Case::WebSocket(_) => return Err("is for ws://HOST:PORT/PATH"),
    };
    let expect = &case.expect;
    if case.side == Side::Response {
        Err("is for a client")
    } else if case.is_timed() {
        Err("needs virtual time")
    } else if case.handler != Behaviour::Whole {
        Err("needs a handler of its own")
    } else if case.limits != CaseLimits::default() {
        Err("needs limits of its own")
    } else if expect.tunnel == Some(true)
        || expect.rest.is_some()
        || matches!(expect.upgrade, Some(Some(_)))
        || expect.outcome == Outcome::Accept && expect.method.as_deref() == Some("CONNECT")
    {
        Err("needs an application that switches protocols")
    } else if case.id.starts_with("upgrade/ws-") {
        Err("needs an application that speaks WebSocket")
    } else if names_no_path(expect) {
        Err("needs an application that does not decode the path")
    } else {
        Ok(case)
    }
}

fn verdict(case: &ParseCase, seen: &Seen) -> CaseResult {
    let mut problems = Vec::new();
    let either = judge(case, seen, &mut problems);
    if problems.is_empty() {
        let status = seen.answers.last().map(Message::status).filter(|status| *status >= 400);
        CaseResult::Passed(Chosen { either, status })
    } else {
        CaseResult::Failed { problems, got: seen.to_string() }
    }
}

/// A status that refuses the message, and not what the application makes of it: a server may well
/// have no such resource (404), or none with such a method (405).
fn refuses(answer: &Message) -> bool {
    let status = answer.status();
    matches!(status, 400 | 408 | 411 | 413 | 414 | 417 | 431 | 501 | 505)
}

fn judge(case: &ParseCase, seen: &Seen, problems: &mut Vec<String>) -> Option<Choice> {
    let expect = &case.expect;
    if let Some(malformed) = &seen.malformed {
        problems.push(malformed.clone());
    }
    if seen.surplus > 0 {
        problems.push(format!("{} answers that nobody asked for", seen.surplus));
    }
    if let Some(Messages::Sequence(messages)) = &expect.messages {
        for (i, message) in messages.iter().enumerate() {
            match (message.outcome, seen.answers.get(i)) {
                (Outcome::Accept, Some(answer)) => accepted(case, answer, problems),
                (Outcome::Reject, Some(answer)) => refused(&message.status, answer, problems),
                (Outcome::NeedMore, None) | (Outcome::Either, Some(_)) => {}
                (outcome, None) => problems.push(format!("message {i} has no answer: {outcome:?}")),
                (Outcome::NeedMore, Some(_)) => problems.push(format!("message {i} is not whole")),
            }
        }
        connection(expect, seen, problems);
        return None;
    }
    let answer = seen.answers.last();
    match (expect.outcome, answer) {
        (Outcome::NeedMore, None) => {
            if seen.closed && expect.closed_clean.is_none() {
                problems.push("it does not wait".to_owned());
            }
            if let Some(wanted) = expect.send_100
                && wanted != seen.interim.contains(&100)
            {
                problems.push(format!("sent 100: {}, expected {wanted}", !wanted));
            }
            None
        }
        // Whoever knows the head may answer before the body is here.
        (Outcome::NeedMore, Some(answer)) if expect.method.is_some() && !refuses(answer) => None,
        (Outcome::NeedMore, Some(answer)) => {
            problems.push(format!("{} before the message was whole", answer.status()));
            None
        }
        (Outcome::Reject, None) if expect.error.is_some() => {
            if !seen.closed {
                problems.push("it does not close".to_owned());
            }
            None
        }
        (_, None) => {
            problems.push("no answer".to_owned());
            None
        }
        (Outcome::Accept, Some(answer)) => {
            accepted(case, answer, problems);
            connection(expect, seen, problems);
            None
        }
        (Outcome::Reject, Some(answer)) => {
            refused(&expect.status, answer, problems);
            connection(expect, seen, problems);
            None
        }
        (Outcome::Either, Some(answer)) if expect.status.contains(&answer.status()) => {
            connection(expect, seen, problems);
            Some(Choice::Reject)
        }
        (Outcome::Either, Some(answer)) => {
            accepted(case, answer, problems);
            connection(expect, seen, problems);
            Some(Choice::Accept)
        }
    }
}

fn accepted(case: &ParseCase, answer: &Message, problems: &mut Vec<String>) {
    // https://www.rfc-editor.org/rfc/rfc9110#section-9.1
    let known = ["GET ", "HEAD ", "POST "];
    let known = known.iter().any(|method| case.input.0.starts_with(method.as_bytes()));
    if refuses(answer) && (known || answer.status() != 501) {
        problems.push(format!("refused with {}", answer.status()));
    }
}

fn refused(wanted: &[u16], answer: &Message, problems: &mut Vec<String>) {
    // https://www.rfc-editor.org/rfc/rfc9112#section-8: what is cut off may be answered, or not.
    let said_nothing = wanted.is_empty() && refuses(answer);
    if !said_nothing && !wanted.contains(&answer.status()) {
        problems.push(format!("status {}, expected one of {wanted:?}", answer.status()));
    }
}

/// Whether the connection goes on as it should, and what the next request on it sees.
fn connection(expect: &Expect, seen: &Seen, problems: &mut Vec<String>) {
    let last = seen.answers.last();
    match seen.next {
        Next::Answered(_)
            if expect.close_after == Some(true) || expect.keep_alive == Some(false) =>
        {
            problems.push("the connection goes on".to_owned());
        }
        Next::Answered(400..) if last.is_some_and(|answer| answer.status() < 400) => {
            problems.push("the next request is not understood".to_owned());
        }
        // A server may close whenever it says so.
        // https://www.rfc-editor.org/rfc/rfc9112#section-9.6
        Next::Closed
            if expect.keep_alive == Some(true) && !last.is_some_and(Message::says_close) =>
        {
            problems.push("closed without a word".to_owned());
        }
        Next::Silent if !seen.closed => {
            problems.push("neither closed nor was the next request answered".to_owned());
        }
        _ => {}
    }
}
