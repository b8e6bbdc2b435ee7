//! A case played to a server: its bytes, the answers, and what the next request sees.

use core::fmt;
use core::time::Duration;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use sinew_tls::rustls::ClientConfig;
use sinew_tls::rustls::pki_types::ServerName;

use crate::case::{Expect, Messages, Outcome, ParseCase};
use crate::feed::Way;
use crate::network::line::{Heard, Line};
use crate::reader::{self, Message};
use crate::transcript::{self, Start};

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
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Next {
    /// It was not sent: the case ends the input, waits, or switches protocols.
    #[default]
    NotAsked,
    /// It was answered with this status.
    Answered(u16),
    /// The connection was closed in front of it.
    Closed,
    /// Neither within [`Patience::answer`].
    Silent,
}

/// Everything that a client can see of one case.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
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
    /// How the connection broke, if it did not end in order.
    pub broken: Option<String>,
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

/// How a server is reached.
#[derive(Clone, Debug)]
pub enum Transport {
    /// Over TCP alone.
    Plain,
    /// Over TLS, whose certificate names this server.
    Tls(Arc<ClientConfig>, ServerName<'static>),
}

impl Transport {
    /// Connects, and shakes hands where that is due.
    pub fn connect(&self, address: SocketAddr, patience: Patience) -> io::Result<Line> {
        let socket = TcpStream::connect_timeout(&address, patience.answer)?;
        match self {
            Self::Plain => Line::plain(socket),
            Self::Tls(config, name) => Line::client(socket, config, name.clone(), patience.answer),
        }
    }
}

/// A case that was played, and the connection, which ends when this is dropped.
#[derive(Debug)]
pub struct Conversation {
    /// What was seen.
    pub seen: Seen,
    line: Line,
    patience: Patience,
    methods: Vec<String>,
    received: Vec<u8>,
    /// How much of it was read as answers.
    read: usize,
    finals: usize,
}

impl Conversation {
    /// Plays a case, in pieces cut this way, to the server at `address`.
    pub fn hold(
        case: &ParseCase,
        way: Way,
        address: SocketAddr,
        transport: &Transport,
        patience: Patience,
    ) -> io::Result<Self> {
        let mut this = Self {
            seen: Seen::default(),
            line: transport.connect(address, patience)?,
            patience,
            methods: methods(case),
            received: Vec::new(),
            read: 0,
            finals: 0,
        };
        this.play(case, way);
        Ok(this)
    }

    fn play(&mut self, case: &ParseCase, way: Way) {
        let mut rest = &case.input.0[..];
        for piece in way.pieces(rest.len()) {
            let (first, more) = rest.split_at(piece);
            self.line.say(first, self.patience.answer);
            rest = more;
        }
        if case.eof {
            self.line.shut();
        }
        let due = answers_due(case);
        self.listen(due, self.patience.answer);
        if waits_for_more(case) {
            // Nothing more is due: whatever comes is too much.
            self.listen(usize::MAX, self.patience.silence);
            return;
        }
        let last = self.seen.answers.last();
        if case.eof || last.is_some_and(Message::says_close) {
            self.listen(usize::MAX, self.patience.answer);
        }
        let switched = self.seen.answers.last().is_some_and(|answer| answer.status() == 101);
        if !case.eof && !switched && self.seen.malformed.is_none() {
            self.ask_next(due);
        }
    }

    /// Sends the request behind the case, and reads whatever comes up to the end.
    fn ask_next(&mut self, due: usize) {
        let before = self.seen.answers.len();
        self.seen.surplus = before.saturating_sub(due);
        if before < due && !self.seen.closed {
            self.seen.next = Next::Silent;
            return;
        }
        if !self.seen.closed {
            self.line.say(NEXT, self.patience.answer);
            self.listen(usize::MAX, self.patience.answer);
        }
        let behind = self.seen.answers.split_off(before);
        self.seen.surplus += behind.len().saturating_sub(1);
        self.seen.next = match behind.last() {
            Some(answer) => Next::Answered(answer.status()),
            None if self.seen.closed => Next::Closed,
            None => Next::Silent,
        };
    }

    /// Reads until there are so many answers, the end, or `time` has passed.
    fn listen(&mut self, answers: usize, time: Duration) {
        let until = Instant::now() + time;
        loop {
            self.read_answers();
            let seen = &mut self.seen;
            if seen.closed || seen.malformed.is_some() || seen.answers.len() >= answers {
                return;
            }
            let left = until.saturating_duration_since(Instant::now());
            match self.line.hear(&mut self.received, left) {
                Heard::Bytes(_) => {}
                Heard::End => seen.closed = true,
                Heard::Broken(why) => {
                    seen.closed = true;
                    seen.broken = Some(why);
                }
                Heard::Nothing if left.is_zero() => return,
                Heard::Nothing => {}
            }
        }
    }

    fn read_answers(&mut self) {
        let seen = &mut self.seen;
        while self.read < self.received.len() && seen.malformed.is_none() {
            let bytes = &self.received[self.read..];
            let method = self.methods.get(self.finals).map_or("GET", String::as_str);
            match reader::response(bytes, method) {
                // It ends with the connection.
                Ok(Some((message, _))) if message.open_ended && !seen.closed => return,
                Ok(Some((message, rest))) => {
                    self.read = self.received.len() - rest.len();
                    if message.is_interim() {
                        seen.interim.push(message.status());
                    } else {
                        self.finals += 1;
                        seen.answers.push(message);
                    }
                }
                Ok(None) if seen.closed => {
                    seen.malformed = Some("an answer was cut off".to_owned());
                }
                Ok(None) => return,
                Err(malformed) => seen.malformed = Some(malformed.0),
            }
        }
    }
}

/// How many final answers a case has.
fn answers_due(case: &ParseCase) -> usize {
    let due = |outcome: Outcome| usize::from(outcome != Outcome::NeedMore);
    match &case.expect.messages {
        Some(Messages::Sequence(messages)) => messages.iter().map(|m| due(m.outcome)).sum(),
        Some(Messages::AtMost(most)) if case.expect.outcome != Outcome::Reject => *most,
        _ => due(case.expect.outcome),
    }
}

/// Whether a case ends in the middle of a message.
pub fn waits_for_more(case: &ParseCase) -> bool {
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

/// Whether this message is the request behind a case, as it was sent.
pub fn is_next(message: &transcript::Message) -> bool {
    let line = matches!(
        &message.start,
        Start::Request { method, target, .. } if method == "GET" && target == "/"
    );
    let fields = message.headers.iter().map(|(name, value)| (name.as_str(), &value[..]));
    line && message.complete && fields.eq([("host", &b"a.test"[..]), ("connection", b"close")])
}

/// Whether the target decodes to a path with a line end in it, which any router may refuse.
pub fn names_no_path(expect: &Expect) -> bool {
    let target = expect.target.as_ref().map_or(&b""[..], |target| &target.0);
    target.windows(3).any(|octet| octet.eq_ignore_ascii_case(b"%0d"))
}
