//! A case played to a server: its bytes, the answers, and what the next request sees.

use core::fmt;
use core::time::Duration;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Instant;

use crate::case::{Messages, Outcome, ParseCase};
use crate::reader::{self, Message};

/// The request behind a case. It closes, so that whatever a server takes for another request in
/// front of it shows as an answer too many.
const NEXT: &[u8] = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";

/// How long a server is waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience {
    /// To connect, to answer, or to close where it must.
    pub answer: Duration,
    /// To stay silent where there is nothing to answer yet.
    pub silence: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { answer: Duration::from_secs(5), silence: Duration::from_millis(300) }
    }
}

/// What came of the request behind a case.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// It was not sent: the case ends the input or switches protocols.
    NotAsked,
    /// It was answered with this status.
    Answered(u16),
    /// The connection was closed in front of it.
    Closed,
    /// Neither within [`Patience::answer`].
    Silent,
}

/// Everything that a client can see of one case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    /// The final answers to the case itself.
    pub answers: Vec<Message>,
    /// The statuses of the interim answers.
    pub interim: Vec<u16>,
    /// What came of the request behind it.
    pub next: Next,
    /// How many answers nobody asked for.
    pub surplus: usize,
    /// Whether the server closed.
    pub closed: bool,
    /// Bytes that are no answer.
    pub malformed: Option<String>,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for status in &self.interim {
            write!(f, "{status} ")?;
        }
        for answer in &self.answers {
            write!(f, "{}{} ", answer.status(), if answer.says_close() { " close" } else { "" })?;
        }
        if self.answers.is_empty() {
            f.write_str("no answer ")?;
        }
        if let Some(malformed) = &self.malformed {
            write!(f, "({malformed}) ")?;
        }
        match self.next {
            Next::NotAsked if self.closed => f.write_str("then closed"),
            Next::NotAsked => f.write_str("then open"),
            Next::Answered(status) => write!(f, "then next {status}"),
            Next::Closed => f.write_str("then closed"),
            Next::Silent => f.write_str("then next unanswered"),
        }?;
        match self.surplus {
            0 => Ok(()),
            n => write!(f, " and {n} answers too many"),
        }
    }
}

/// Plays a case to the server at `address`.
pub fn hold(case: &ParseCase, address: SocketAddr, patience: Patience) -> io::Result<Seen> {
    let stream = TcpStream::connect_timeout(&address, patience.answer)?;
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(patience.answer))?;
    let mut line = Line { stream, received: Vec::new(), read: 0, finals: 0, closed: false };
    line.send(&case.input.0);
    if case.eof {
        let _ = line.stream.shutdown(Shutdown::Write);
    }

    let wanted = answers_due(case);
    let methods = methods(case);
    let mut seen = Seen {
        answers: Vec::new(),
        interim: Vec::new(),
        next: Next::NotAsked,
        surplus: 0,
        closed: false,
        malformed: None,
    };
    line.listen(&mut seen, &methods, wanted, patience.answer)?;
    if waits_for_more(case) {
        // Nothing more is due: whatever comes is too much.
        line.listen(&mut seen, &methods, usize::MAX, patience.silence)?;
    } else if case.eof || seen.answers.last().is_some_and(Message::says_close) {
        line.listen(&mut seen, &methods, usize::MAX, patience.answer)?;
    }
    seen.closed = line.closed;
    let switched = seen.answers.last().is_some_and(|answer| answer.status() == 101);
    if waits_for_more(case) || case.eof || switched || seen.malformed.is_some() {
        return Ok(seen);
    }
    if seen.answers.len() > wanted {
        seen.surplus = seen.answers.len() - wanted;
    }
    let before = seen.answers.len();
    if before < wanted && !line.closed {
        seen.next = Next::Silent;
        return Ok(seen);
    }
    if !line.closed {
        line.send(NEXT);
        line.listen(&mut seen, &methods, usize::MAX, patience.answer)?;
    }
    let behind = seen.answers.split_off(before);
    seen.next = match behind.last() {
        Some(answer) => Next::Answered(answer.status()),
        None if line.closed => Next::Closed,
        None => Next::Silent,
    };
    seen.surplus += behind.len().saturating_sub(1);
    seen.closed = line.closed;
    Ok(seen)
}

/// How many final answers a case has.
fn answers_due(case: &ParseCase) -> usize {
    let due = |outcome: Outcome| usize::from(outcome != Outcome::NeedMore);
    match &case.expect.messages {
        Some(Messages::Sequence(messages)) => messages.iter().map(|m| due(m.outcome)).sum(),
        _ => due(case.expect.outcome),
    }
}

/// Whether a case ends in the middle of a message.
fn waits_for_more(case: &ParseCase) -> bool {
    match &case.expect.messages {
        Some(Messages::Sequence(messages)) => {
            messages.last().is_some_and(|message| message.outcome == Outcome::NeedMore)
        }
        _ => case.expect.outcome == Outcome::NeedMore,
    }
}

/// The methods of a case, as far as the framing of the answers depends on them.
fn methods(case: &ParseCase) -> Vec<String> {
    match &case.expect.messages {
        Some(Messages::Sequence(messages)) => {
            messages.iter().map(|m| m.method.clone().unwrap_or_else(|| "GET".to_owned())).collect()
        }
        _ => {
            let word = case.input.0.split(|b| *b == b' ').next().unwrap_or_default();
            vec![String::from_utf8_lossy(word).trim_start().to_owned()]
        }
    }
}

/// One connection and what came over it.
struct Line {
    stream: TcpStream,
    received: Vec<u8>,
    /// How much of it was read as answers.
    read: usize,
    finals: usize,
    closed: bool,
}

impl Line {
    /// A server that refuses early may close at any byte: what it said is read all the same.
    fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Reads until there are so many answers, the end, or `time` has passed.
    fn listen(
        &mut self,
        seen: &mut Seen,
        methods: &[String],
        answers: usize,
        time: Duration,
    ) -> io::Result<()> {
        let until = Instant::now() + time;
        loop {
            self.read_answers(seen, methods);
            if self.closed || seen.malformed.is_some() || seen.answers.len() >= answers {
                return Ok(());
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            self.stream.set_read_timeout(Some(left))?;
            let mut piece = [0; 16_384];
            match self.stream.read(&mut piece) {
                Ok(0) => self.closed = true,
                Ok(n) => self.received.extend_from_slice(&piece[..n]),
                Err(e) => match e.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => return Ok(()),
                    ErrorKind::Interrupted => {}
                    // A reset is an end too: bytes behind a refusal were thrown away unread.
                    _ => self.closed = true,
                },
            }
        }
    }

    fn read_answers(&mut self, seen: &mut Seen, methods: &[String]) {
        while self.read < self.received.len() && seen.malformed.is_none() {
            let bytes = &self.received[self.read..];
            let method = methods.get(self.finals).map_or("GET", String::as_str);
            match reader::response(bytes, method) {
                // It ends with the connection.
                Ok(Some((message, _))) if message.open_ended && !self.closed => return,
                Ok(Some((message, rest))) => {
                    self.read = self.received.len() - rest.len();
                    if message.is_interim() {
                        seen.interim.push(message.status());
                    } else {
                        self.finals += 1;
                        seen.answers.push(message);
                    }
                }
                Ok(None) if self.closed => {
                    seen.malformed = Some("an answer was cut off".to_owned());
                }
                Ok(None) => return,
                Err(malformed) => seen.malformed = Some(malformed.0),
            }
        }
    }
}
