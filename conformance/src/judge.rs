//! Whether what a machine made of an input is what the case expects.

use sinew_core::error::Kind;
use sinew_core::machine::CloseReason;

use crate::case::{
    Choice, Expect, FieldList, MessageExpect, Messages, NamedError, Octets, Outcome, ParseCase,
    Side,
};
use crate::transcript::{Fate, Lines, Message, Start, Transcript};

/// What a passed case chose where it had a choice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chosen {
    /// Taken or refused, for the outcome `either`.
    pub either: Option<Choice>,
    /// The status of the refusal.
    pub status: Option<u16>,
}

/// Judges one run. `Err`: everything that is not as expected, one line each.
pub fn judge(case: &ParseCase, run: &Transcript) -> Result<Chosen, Vec<String>> {
    let mut court = Court { case, run, problems: Vec::new() };
    let chosen = court.hear();
    if court.problems.is_empty() { Ok(chosen) } else { Err(court.problems) }
}

/// What became of the input as a whole.
fn outcome(run: &Transcript) -> Outcome {
    let refused = run.last_answer().is_some_and(|answer| answer.status() >= 400);
    if run.error.is_some() || refused {
        Outcome::Reject
    } else if run.messages.last().is_some_and(|message| message.complete) {
        Outcome::Accept
    } else {
        Outcome::NeedMore
    }
}

struct Court<'a> {
    case: &'a ParseCase,
    run: &'a Transcript,
    problems: Vec<String>,
}

impl Court<'_> {
    fn hear(&mut self) -> Chosen {
        let expect = &self.case.expect;
        if let Some(breach) = &self.run.breach {
            self.problems.push(format!("a law is broken: {breach}"));
        }
        let mut chosen = Chosen { either: None, status: None };
        let got = outcome(self.run);
        if let Some(Messages::Sequence(messages)) = &expect.messages {
            self.sequence(messages);
            match expect.outcome {
                Outcome::Reject => chosen.status = self.refused(expect),
                _ => self.connection(expect),
            }
            return chosen;
        }
        if let Some(Messages::AtMost(most)) = expect.messages
            && self.run.messages.len() > most
        {
            let n = self.run.messages.len();
            self.problems.push(format!("{n} messages were delivered, at most {most} may"));
        }
        match (expect.outcome, got) {
            (Outcome::Accept, Outcome::Accept) => self.accepted(expect),
            (Outcome::Reject, Outcome::Reject) => chosen.status = self.refused(expect),
            (Outcome::NeedMore, Outcome::NeedMore) => self.waiting(expect),
            (Outcome::Either, Outcome::Reject) => {
                chosen.either = Some(Choice::Reject);
                chosen.status = self.refused(expect);
            }
            (Outcome::Either, Outcome::Accept) => {
                chosen.either = Some(Choice::Accept);
                self.accepted(expect);
            }
            (wanted, got) => self.problems.push(format!("outcome {got:?}, expected {wanted:?}")),
        }
        chosen
    }

    fn accepted(&mut self, expect: &Expect) {
        let run = self.run;
        let delivered = run.messages.len();
        if expect.messages.is_none() && delivered != 1 {
            self.problems.push(format!("{delivered} messages were delivered, expected one"));
        }
        let Some(message) = run.messages.first() else { return };
        self.message(expect, message);
        self.same("body", expect.body.as_ref().map(|b| &b.0), &message.body);
        let none = Lines::new();
        let trailers = message.trailers.as_ref().unwrap_or(&none);
        self.same("trailers", expect.trailers.as_ref().map(lines).as_ref(), trailers);
        self.connection(expect);
        self.same("interim", expect.interim.as_ref(), &run.interim);
        self.same("rest", expect.rest.as_ref().map(|rest| &rest.0), &run.rest);
        self.same("tunnel", expect.tunnel.as_ref(), &(run.fate == Fate::Upgraded));
        self.same("send_100", expect.send_100.as_ref(), &(run.sent_100 > 0));
        if let Some(wanted) = &expect.upgrade {
            let got = self.switched_to(message);
            self.same("upgrade", Some(wanted), &got);
        }
    }

    /// The protocol that the connection switched to by a 101.
    fn switched_to(&self, message: &Message) -> Option<String> {
        let left = self.run.fate == Fate::Upgraded;
        let protocol = match self.case.side {
            Side::Request => {
                let answer = self.run.last_answer().filter(|answer| answer.status() == 101);
                answer.and_then(|answer| answer.field("upgrade"))
            }
            Side::Response => message
                .headers
                .iter()
                .find(|(name, _)| name == "upgrade")
                .map(|(_, value)| String::from_utf8_lossy(value).into_owned()),
        };
        protocol.filter(|_| left)
    }

    fn message(&mut self, expect: &Expect, message: &Message) {
        self.same("version", expect.version.as_deref(), message.version);
        match &message.start {
            Start::Request { method, target, authority } => {
                self.same("method", expect.method.as_ref(), method);
                let target = target.as_bytes().to_vec();
                self.same("target", expect.target.as_ref().map(|t| &t.0), &target);
                let authority = authority.clone().unwrap_or_default();
                self.same("authority", expect.authority.as_ref(), &authority);
            }
            Start::Response { status, reason } => {
                self.same("status_code", expect.status_code.as_ref(), status);
                self.same("reason", expect.reason.as_ref().map(|r| &r.0), reason);
            }
        }
        self.same("headers", expect.headers.as_ref().map(lines).as_ref(), &message.headers);
        if expect.headers_unchanged {
            let plain = plain_headers(&self.case.input);
            self.same("headers behind the trailers", Some(&plain), &message.headers);
        }
    }

    fn connection(&mut self, expect: &Expect) {
        let run = self.run;
        self.same("close_after", expect.close_after.as_ref(), &run.closes());
        let reusable = run.fate == Fate::Open && run.reusable;
        self.same("keep_alive", expect.keep_alive.as_ref(), &reusable);
        // https://www.rfc-editor.org/rfc/rfc9112#section-9.6
        if self.case.side == Side::Request
            && let Some(answer) = run.last_answer()
            && answer.status() != 101
            && answer.says_close() != run.closes()
            && !matches!(run.fate, Fate::Upgraded | Fate::Closed(CloseReason::Idle))
        {
            let says = answer.says_close();
            self.problems.push(format!("the answer says close: {says}, the fate: {:?}", run.fate));
        }
    }

    /// Judges a refusal; returns its status.
    fn refused(&mut self, expect: &Expect) -> Option<u16> {
        let run = self.run;
        let status = run.last_answer().map(crate::reader::Message::status);
        let status = status.filter(|status| *status >= 400);
        let complete = run.complete();
        let by_the_machine = run.error.is_some();
        if by_the_machine && complete > 0 && !matches!(expect.messages, Some(Messages::Sequence(_)))
        {
            self.problems.push(format!("{complete} messages were delivered whole"));
        }
        match (self.case.side, expect.error) {
            (_, Some(NamedError::Incomplete)) => {
                let kind = run.error.map(|error| error.kind);
                self.same("error", Some(&Some(Kind::Truncated)), &kind);
                self.same("status", Some(&None), &status);
            }
            (_, Some(NamedError::Unanswered)) => {
                self.same("refused", Some(&true), &by_the_machine);
                self.same("status", Some(&None), &status);
            }
            (_, Some(NamedError::Timeout)) => {
                let timed_out = run.error.is_some_and(|e| matches!(e.kind, Kind::Timeout(_)));
                self.same("timeout", Some(&true), &timed_out);
                self.same("status", Some(&None), &status);
            }
            (Side::Request, None) => {
                if !status.is_some_and(|status| expect.status.contains(&status)) {
                    let wanted = &expect.status;
                    self.problems.push(format!("status {status:?}, expected one of {wanted:?}"));
                }
                if by_the_machine
                    && !run.last_answer().is_some_and(crate::reader::Message::says_close)
                {
                    self.problems.push("the refusal does not say close".to_owned());
                }
            }
            (Side::Response, None) => {}
        }
        self.same("send_100", expect.send_100.as_ref(), &(run.sent_100 > 0));
        // What is refused ends the connection, whether the case says so or not.
        let close_after = expect.close_after.or(if by_the_machine { Some(true) } else { None });
        self.same("close_after", close_after.as_ref(), &run.closes());
        status
    }

    fn waiting(&mut self, expect: &Expect) {
        let run = self.run;
        let message = run.messages.first();
        if let Some(message) = message {
            self.message(expect, message);
        } else if expect.method.is_some() || expect.body_so_far.is_some() {
            self.problems.push("no head was delivered".to_owned());
        }
        let so_far = message.map(|message| message.body.clone()).unwrap_or_default();
        self.same("body_so_far", expect.body_so_far.as_ref().map(|b| &b.0), &so_far);
        self.same("interim", expect.interim.as_ref(), &run.interim);
        self.same("send_100", expect.send_100.as_ref(), &(run.sent_100 > 0));
        let clean = matches!(run.fate, Fate::Closed(reason) if reason != CloseReason::Failed);
        self.same("closed_clean", expect.closed_clean.as_ref(), &clean);
        if run.last_answer().is_some() {
            self.problems.push("an answer before the message was complete".to_owned());
        }
        if expect.closed_clean.is_none() && run.fate != Fate::Open {
            self.problems.push(format!("the connection does not wait: {:?}", run.fate));
        }
    }

    fn sequence(&mut self, wanted: &[MessageExpect]) {
        let run = self.run;
        let complete = run.complete();
        let accepted = wanted.iter().filter(|m| m.outcome == Outcome::Accept).count();
        if complete != accepted {
            self.problems.push(format!("{complete} whole messages, expected {accepted}"));
        }
        for (i, expect) in wanted.iter().enumerate() {
            let got = run.messages.get(i);
            match (expect.outcome, got) {
                (Outcome::Accept, Some(message)) if message.complete => {
                    if let Start::Request { method, target, .. } = &message.start {
                        self.same("method", expect.method.as_ref(), method);
                        let target = target.as_bytes().to_vec();
                        self.same("target", expect.target.as_ref().map(|t| &t.0), &target);
                    }
                    self.same("body", expect.body.as_ref().map(|b| &b.0), &message.body);
                }
                (Outcome::NeedMore, got) if got.is_none_or(|message| !message.complete) => {
                    self.same("fate", Some(&Fate::Open), &run.fate);
                }
                (Outcome::Reject, got) if got.is_none_or(|message| !message.complete) => {
                    let status = run.last_answer().map(crate::reader::Message::status);
                    if !status.is_some_and(|status| expect.status.contains(&status)) {
                        self.problems.push(format!("message {i}: refused with {status:?}"));
                    }
                }
                (outcome, _) => self.problems.push(format!("message {i} is not {outcome:?}")),
            }
        }
    }

    fn same<T: PartialEq + core::fmt::Debug + ?Sized>(
        &mut self,
        what: &str,
        wanted: Option<&T>,
        got: &T,
    ) {
        if let Some(wanted) = wanted
            && wanted != got
        {
            self.problems.push(format!("{what} {got:?}, expected {wanted:?}"));
        }
    }
}

fn lines(fields: &FieldList) -> Lines {
    let name = |octets: &Octets| String::from_utf8_lossy(&octets.0).into_owned();
    fields.iter().map(|(n, value)| (name(n), value.0.clone())).collect()
}

/// The field lines of an input's head, read without any finesse.
fn plain_headers(input: &Octets) -> Lines {
    let text: String = input.0.iter().map(|b| char::from(*b)).collect();
    let head = text.split("\r\n\r\n").next().unwrap_or_default();
    let fields = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    fields
        .map(|(n, v)| (n.to_lowercase(), v.trim_matches([' ', '\t']).as_bytes().to_vec()))
        .collect()
}
