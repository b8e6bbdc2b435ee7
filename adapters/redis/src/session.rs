//! One connection to the store, as a machine: who we are, then asks and their answers, in order.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::BytesMut;
use sinew_core::limit::{Answer, KeyHash};
use sinew_core::machine::{CloseReason, Layered, Machine, Status, Wire};
use sinew_core::outbox::Outbox;
use sinew_core::time::{Deadline, Instant, Timer};

use crate::fault::Fault;
use crate::refusal::{Code, Refusal};
use crate::resp::{MAX_REPLY, Reply, put_command, take_reply};
use crate::script::{Named, Script, wait};

/// Bytes that are read ahead, at most, beside one read.
const INBOX_FULL: usize = 4 * MAX_REPLY;

/// What a reply that is overdue gets on top: a task that was stalled reads before it judges.
const LAST_LOOK: Duration = Duration::from_millis(1);

/// What a connection begins with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Greeting {
    /// `AUTH`, with a user or without.
    pub(crate) credentials: Option<(Option<String>, String)>,
    /// `SELECT`.
    pub(crate) database: u32,
}

/// What a connection tells.
#[derive(Debug)]
pub(crate) enum Told {
    /// The store has let us in.
    Greeted,
    /// An answer to an ask, by the number that it was sent with.
    Answered(u64, Answer),
    /// An ask that the store refused; the connection goes on.
    Refused(u64, Refusal),
    /// Nothing more comes.
    Over(Fault),
}

/// An ask for tokens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    pub(crate) number: u64,
    pub(crate) client: KeyHash,
    pub(crate) tokens: u32,
}

/// A connection, as a machine.
#[derive(Debug)]
pub(crate) struct Session {
    inbox: BytesMut,
    outbox: Outbox,
    script: Script,
    /// How long a reply may take.
    patience: Duration,
    /// In the order in which they were sent.
    sent: VecDeque<Sent>,
    /// When the reply to the oldest of them is to be there.
    due: Instant,
    /// It was not, and has until `due` to be found.
    overdue: bool,
    /// The store says nothing more.
    ended: bool,
    state: State,
}

/// A command without its reply.
#[derive(Clone, Copy, Debug)]
enum Sent {
    Greeting,
    Ask(Ask, Named),
}

#[derive(Debug)]
enum State {
    Greeting,
    Open,
    /// To be told.
    Failed(Fault),
    Over,
}

impl Session {
    pub(crate) fn new(
        greeting: &Greeting,
        script: Script,
        patience: Duration,
        now: Instant,
    ) -> Self {
        let mut session = Self {
            inbox: BytesMut::new(),
            outbox: Outbox::new(),
            script,
            patience,
            sent: VecDeque::new(),
            due: now + patience,
            overdue: false,
            ended: false,
            state: State::Greeting,
        };
        match &greeting.credentials {
            Some((Some(user), password)) => {
                session.greet(&[b"AUTH", user.as_bytes(), password.as_bytes()]);
            }
            Some((None, password)) => session.greet(&[b"AUTH", password.as_bytes()]),
            None => {}
        }
        if greeting.database > 0 {
            session.greet(&[b"SELECT", greeting.database.to_string().as_bytes()]);
        }
        // What is there is a store, and lets us in.
        session.greet(&[b"PING"]);
        session
    }

    fn greet(&mut self, words: &[&[u8]]) {
        put_command(&mut self.outbox, words);
        self.sent.push_back(Sent::Greeting);
    }

    /// Asks for tokens. Nothing, before we are let in, and after the end.
    pub(crate) fn ask(&mut self, now: Instant, ask: Ask) {
        if matches!(self.state, State::Open) {
            self.send(now, ask, Named::ByHash);
        }
    }

    fn send(&mut self, now: Instant, ask: Ask, named: Named) {
        self.script.ask(&mut self.outbox, named, ask.client, ask.tokens);
        if self.sent.is_empty() {
            self.be_patient(now);
        }
        self.sent.push_back(Sent::Ask(ask, named));
    }

    /// The oldest without its reply has all its time.
    fn be_patient(&mut self, now: Instant) {
        self.due = now + self.patience;
        self.overdue = false;
    }

    fn handle_reply(&mut self, now: Instant, reply: Reply) -> Result<Option<Told>, Fault> {
        let Some(sent) = self.sent.pop_front() else { return Err(Fault::Malformed) };
        self.be_patient(now);
        match (sent, reply) {
            (Sent::Greeting, Reply::Done) if self.sent.is_empty() => {
                self.state = State::Open;
                Ok(Some(Told::Greeted))
            }
            (Sent::Greeting, Reply::Done) => Ok(None),
            (Sent::Greeting, Reply::Refused(why)) => Err(Fault::Refused(why)),
            (Sent::Ask(ask, _), Reply::Pair(tokens, micros)) => {
                let tokens = u32::try_from(tokens).ok().filter(|tokens| *tokens <= ask.tokens);
                let tokens = tokens.filter(|_| micros >= 0).ok_or(Fault::Malformed)?;
                let answer = Answer::Granted { tokens, retry_after: wait(micros) };
                Ok(Some(Told::Answered(ask.number, answer)))
            }
            (Sent::Ask(ask, named), Reply::Refused(why)) => match (why.code(), named) {
                (Code::NoScript, Named::ByHash) => {
                    self.send(now, ask, Named::InFull);
                    Ok(None)
                }
                // Asked again, a name may lead to the new master.
                (Code::ReadOnly, _) => Err(Fault::ReadOnly),
                _ => Ok(Some(Told::Refused(ask.number, why))),
            },
            (Sent::Greeting, Reply::Pair(..)) | (Sent::Ask(..), Reply::Done) => {
                Err(Fault::Malformed)
            }
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        self.deadline().is_some_and(|deadline| deadline.at <= now)
    }

    fn fail(&mut self, fault: Fault) {
        if matches!(self.state, State::Greeting | State::Open) {
            self.state = State::Failed(fault);
            self.sent.clear();
            self.inbox.clear();
            self.outbox.clear();
        }
    }
}

impl Machine for Session {
    type Event = Told;
    type Error = sinew_core::Error;

    fn poll_event(&mut self, now: Instant) -> Result<Option<Told>, sinew_core::Error> {
        while matches!(self.state, State::Greeting | State::Open) {
            let told = match take_reply(&mut self.inbox) {
                Ok(None) if self.ended => Err(Fault::Closed),
                Ok(None) if self.overdue && self.is_due(now) => Err(Fault::Silent),
                Ok(None) => {
                    self.handle_timeout(now);
                    return Ok(None);
                }
                Ok(Some(reply)) => self.handle_reply(now, reply),
                Err(_) => Err(Fault::Malformed),
            };
            match told {
                Ok(None) => {}
                Ok(told) => return Ok(told),
                Err(fault) => self.fail(fault),
            }
        }
        match std::mem::replace(&mut self.state, State::Over) {
            State::Failed(fault) => Ok(Some(Told::Over(fault))),
            _ => Ok(None),
        }
    }

    /// Marks only: drivers call it before they read.
    fn handle_timeout(&mut self, now: Instant) {
        if !self.overdue && self.is_due(now) {
            self.due = now + LAST_LOOK;
            self.overdue = true;
        }
    }

    fn deadline(&self) -> Option<Deadline> {
        (!self.sent.is_empty()).then_some(Deadline { at: self.due, why: Timer::Lease })
    }
}

impl Wire for Session {
    fn inbox(&mut self) -> &mut BytesMut {
        &mut self.inbox
    }

    fn wants_read(&self) -> bool {
        let listens = matches!(self.state, State::Greeting | State::Open) && !self.ended;
        listens && self.inbox.len() < INBOX_FULL
    }

    fn handle_eof(&mut self, _: Instant) {
        self.ended = true;
    }

    fn is_self_delimited(&self) -> bool {
        true
    }

    fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    fn status(&self) -> Status {
        match self.state {
            State::Greeting | State::Open => Status::Open,
            State::Failed(_) | State::Over => Status::Close(CloseReason::Failed),
        }
    }

    fn rest(&mut self) {
        self.outbox.rest();
    }
}

impl Layered for Session {
    type Top = Self;

    fn top(&mut self) -> &mut Self {
        self
    }

    fn top_ref(&self) -> &Self {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sinew_core::limit::{KeyHasher, Quota};

    const PATIENCE: Duration = Duration::from_millis(500);

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    /// One that was asked once, at 0.
    fn asked() -> Session {
        let quota = Quota::new(100, Duration::from_secs(60), 20).unwrap();
        let script = Script::new("", &quota).unwrap();
        let mut session = Session::new(&Greeting::default(), script, PATIENCE, at(0));
        session.inbox().extend_from_slice(b"+PONG\r\n");
        assert!(matches!(session.poll_event(at(0)), Ok(Some(Told::Greeted))));
        let client = KeyHasher::new([1; 16]).hash("ann");
        session.ask(at(0), Ask { number: 1, client, tokens: 10 });
        assert!(matches!(session.poll_event(at(0)), Ok(None)));
        session
    }

    #[test]
    fn an_answer_that_is_read_late_is_an_answer() {
        let late = at(10_000);
        // As a driver does that was stalled: timers, what was read before, the socket.
        for (timer, read_before) in [(true, true), (true, false), (false, true), (false, false)] {
            let mut session = asked();
            if read_before {
                session.inbox().extend_from_slice(b"*2\r\n:10\r\n:0\r\n");
            }
            if timer {
                session.handle_timeout(late);
            }
            if !read_before {
                assert!(matches!(session.poll_event(late), Ok(None)));
                assert!(session.wants_read());
                session.inbox().extend_from_slice(b"*2\r\n:10\r\n:0\r\n");
                // And stalled again, before it is looked at.
                session.handle_timeout(at(20_000));
            }
            let told = session.poll_event(at(20_000));
            assert!(matches!(told, Ok(Some(Told::Answered(1, _)))), "{told:?}");
            assert!(matches!(session.poll_event(at(20_000)), Ok(None)));
            assert_eq!(session.deadline(), None);
        }
    }

    #[test]
    fn silence_is_told_after_one_more_look() {
        let mut session = asked();
        assert_eq!(session.deadline().unwrap().at, at(500));
        session.handle_timeout(at(500));
        assert!(matches!(session.poll_event(at(500)), Ok(None)));
        let last = session.deadline().unwrap().at;
        assert_eq!(last, at(500) + LAST_LOOK);
        session.handle_timeout(last);
        assert!(matches!(session.poll_event(last), Ok(Some(Told::Over(Fault::Silent)))));
        assert_eq!(session.deadline(), None);
    }

    #[test]
    fn an_answer_gives_the_next_one_all_its_time() {
        let mut session = asked();
        let client = KeyHasher::new([1; 16]).hash("bob");
        session.ask(at(0), Ask { number: 2, client, tokens: 10 });
        session.handle_timeout(at(600));
        session.inbox().extend_from_slice(b"*2\r\n:10\r\n:0\r\n");
        assert!(matches!(session.poll_event(at(600)), Ok(Some(Told::Answered(1, _)))));
        assert!(matches!(session.poll_event(at(600)), Ok(None)));
        assert_eq!(session.deadline().unwrap().at, at(1_100));
    }
}
