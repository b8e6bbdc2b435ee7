//! Whether what was said is what a case expects.

use core::fmt;

use crate::suite::shorten;
use crate::websocket::case::{Answer, Sender, WebSocketCase};

/// What came of a case.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Spoken {
    /// The status of a server's answer; `None`: it gave none, or is a client.
    pub status: Option<u16>,
    /// The fields of its answer, names in lower case.
    pub fields: Vec<(String, String)>,
    /// Why a client refused an answer.
    pub refused: Option<String>,
    /// Messages and pongs.
    pub answers: Vec<Answer>,
    /// The code in the close frame that came back.
    pub close: Option<u16>,
    /// Whether the recipient ended the connection, or waits for its peer to do so.
    pub ended: bool,
    /// What must never be, and was.
    pub breach: Option<String>,
}

/// What differs, one line each.
pub fn judge(case: &WebSocketCase, spoken: &Spoken) -> Vec<String> {
    let expect = &case.expect;
    let mut problems: Vec<String> = spoken.breach.iter().cloned().collect();
    if case.from == Sender::Client {
        let statuses = case.statuses();
        if !spoken.status.is_some_and(|status| statuses.contains(&status)) {
            problems.push(format!("status {:?}, expected one of {statuses:?}", spoken.status));
        }
    } else if spoken.refused.is_some() != expect.refused {
        let why = spoken.refused.as_deref().unwrap_or("not at all");
        problems.push(format!("the answer is refused: {why}"));
    }
    let values = |name: &str| -> Vec<&str> {
        let lines = spoken.fields.iter().filter(|(known, _)| known == name);
        lines.map(|(_, value)| value.as_str()).collect()
    };
    for (name, wanted) in &expect.fields {
        if values(name) != [wanted] {
            problems.push(format!("{name} is {:?}, expected {wanted:?}", values(name)));
        }
    }
    for name in expect.absent.iter().filter(|name| !values(name).is_empty()) {
        problems.push(format!("{name} is there"));
    }
    if !case.switches() {
        return problems;
    }
    let alike = spoken.answers.len() == expect.answers.len()
        && spoken.answers.iter().zip(&expect.answers).all(|(got, wanted)| got.is_as(wanted));
    if !alike {
        let wanted = Answers(&expect.answers);
        problems.push(format!("came back: {}; expected: {wanted}", Answers(&spoken.answers)));
    }
    match (spoken.close, &expect.close[..]) {
        (None, []) if spoken.ended => problems.push("the connection ended".to_owned()),
        (None, []) => {}
        (Some(code), wanted) if wanted.contains(&code) => {
            if case.from == Sender::Client && !spoken.ended {
                problems.push("behind its close frame the server goes on".to_owned());
            }
        }
        (code, wanted) => {
            let wanted = if wanted.is_empty() { "none".to_owned() } else { format!("{wanted:?}") };
            let code = code.map_or_else(|| "none".to_owned(), |code| code.to_string());
            problems.push(format!("the close code is {code}, expected {wanted}"));
        }
    }
    problems
}

impl Answer {
    fn is_as(&self, wanted: &Self) -> bool {
        match (self, wanted) {
            (Self::Text(payload) | Self::Binary(payload), Self::Length(length)) => {
                payload.0.len() == *length
            }
            _ => self == wanted,
        }
    }
}

struct Answers<'a>(&'a [Answer]);

impl fmt::Display for Answers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nothing");
        }
        for (at, answer) in self.0.iter().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            match answer {
                Answer::Text(payload) => write!(f, "{comma}text {}", shorten(&payload.0))?,
                Answer::Binary(payload) => write!(f, "{comma}binary {}", shorten(&payload.0))?,
                Answer::Pong(payload) => write!(f, "{comma}pong {}", shorten(&payload.0))?,
                Answer::Length(length) => write!(f, "{comma}{length} bytes")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Spoken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.status, &self.refused) {
            (_, Some(why)) => return write!(f, "refused: {why}"),
            (Some(101), None) => {}
            (Some(status), None) => return write!(f, "{status}"),
            (None, None) => {}
        }
        write!(f, "{}", Answers(&self.answers))?;
        if let Some(code) = self.close {
            write!(f, ", closed with {code}")?;
        }
        f.write_str(if self.ended { ", ended" } else { ", open" })
    }
}
