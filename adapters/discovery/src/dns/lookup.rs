//! One question, and the machine that gets its answer.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_proto::ProtoError;
use hickory_proto::op::ResponseCode;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use sinew_core::Machine;
use sinew_core::time::{Deadline, Instant, Timer};

use super::answer::{Answer, LookupError, Trouble};
use super::config::ResolverConfig;
use super::message::{Data, Fit, Kind, Question, Record, Reply};
use super::name::Name;

/// Aliases (CNAME) to follow, at most.
pub const MAX_ALIASES: usize = 8;

/// Datagrams that answer something else, before the question goes over TCP, where nobody else can answer.
pub const MAX_STRAYS: usize = 16;

/// No time is shorter than this.
const SHORTEST: Duration = Duration::from_millis(1);

/// How a question goes to a server.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Transport {
    /// As one datagram, from a port of its own.
    Udp,
    /// Over a connection of its own, with its length in front.
    Tcp,
}

/// A try to get the answer from a server. It takes the place of the one before.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Try {
    /// Which one: counts from 1.
    pub number: u32,
    /// Whom to ask.
    pub server: SocketAddr,
    /// How.
    pub transport: Transport,
    /// What to send, as it is.
    pub bytes: Vec<u8>,
}

/// What a lookup wants or found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LookupEvent {
    /// Ask this server. Whoever was asked before need not be listened to any more.
    Ask(Try),
    /// There is an answer. It comes once.
    Answer(Answer),
}

/// One question: which servers are asked, in which order and how, and what their answers mean.
///
/// It reads no socket and no clock. Whoever drives it sends what [`LookupEvent::Ask`] says, and tells it
/// what comes back. What does not answer the question is dropped: under another id, with another
/// question, or with another case of its letters, which are drawn for each lookup.
/// <https://www.rfc-editor.org/rfc/rfc5452>
#[derive(Debug)]
pub struct Lookup {
    servers: Vec<SocketAddr>,
    timeout: Duration,
    /// Tries that are left, each with the next server.
    left: usize,
    ends: Instant,
    name: Name,
    kind: Kind,
    aliases: usize,
    /// Of the aliases that were followed.
    ttl: Option<u32>,
    /// Servers take the size of datagrams: until one says that it does not know it.
    extended: bool,
    random: ChaCha20Rng,
    number: u32,
    state: State,
    /// The worst that was seen, and where.
    trouble: Option<(Trouble, SocketAddr)>,
}

#[derive(Debug)]
enum State {
    /// To be asked, or being asked.
    Asking {
        asked: Asked,
        unsent: Option<Try>,
    },
    Answered(Option<Answer>),
    Failed(LookupError),
}

/// What is on its way.
#[derive(Debug)]
struct Asked {
    server: SocketAddr,
    transport: Transport,
    question: Question,
    id: u16,
    until: Instant,
    strays: usize,
    /// What came over the connection.
    stream: Vec<u8>,
}

impl Lookup {
    /// `seed` decides ids and letters; nobody else should know it.
    pub fn new(
        config: &ResolverConfig,
        name: Name,
        kind: Kind,
        seed: [u8; 32],
        now: Instant,
    ) -> Self {
        let mut lookup = Self {
            servers: config.servers.clone(),
            timeout: config.timeout.max(SHORTEST),
            left: config.servers.len() * usize::from(config.attempts.max(1)),
            ends: now + config.total.max(SHORTEST),
            name,
            kind,
            aliases: 0,
            ttl: None,
            extended: true,
            random: ChaCha20Rng::from_seed(seed),
            number: 0,
            state: State::Failed(LookupError::NoServers),
            trouble: None,
        };
        lookup.next_server(now);
        lookup
    }

    /// A datagram came for this try.
    pub fn handle_datagram(&mut self, now: Instant, number: u32, datagram: &[u8]) {
        self.handle_timeout(now);
        if self.current(number, Transport::Udp).is_some() {
            self.read(now, datagram);
        }
    }

    /// Bytes came on the connection of this try.
    pub fn handle_stream(&mut self, now: Instant, number: u32, bytes: &[u8]) {
        self.handle_timeout(now);
        let Some(asked) = self.current(number, Transport::Tcp) else { return };
        asked.stream.extend_from_slice(bytes);
        // https://www.rfc-editor.org/rfc/rfc1035#section-4.2.2
        let [high, low, rest @ ..] = asked.stream.as_slice() else { return };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if let Some(message) = rest.get(..length) {
            let message = message.to_vec();
            asked.stream = Vec::new();
            self.read(now, &message);
        }
    }

    /// The server of this try cannot be reached, or hung up.
    pub fn handle_failure(&mut self, now: Instant, number: u32) {
        self.handle_timeout(now);
        if self.asked(number).is_some() {
            self.fail(now, Trouble::Unreachable);
        }
    }

    fn asked(&mut self, number: u32) -> Option<&mut Asked> {
        match &mut self.state {
            State::Asking { asked, .. } if number == self.number => Some(asked),
            _ => None,
        }
    }

    fn current(&mut self, number: u32, transport: Transport) -> Option<&mut Asked> {
        self.asked(number).filter(|asked| asked.transport == transport)
    }

    fn read(&mut self, now: Instant, message: &[u8]) {
        let State::Asking { asked, .. } = &mut self.state else { return };
        let (server, transport) = (asked.server, asked.transport);
        match (Reply::read(message, asked.id, &asked.question), transport) {
            (Some((Fit::Exact, reply)), _) | (Some((Fit::Folded, reply)), Transport::Tcp) => {
                self.take(now, server, transport, reply);
            }
            (Some((Fit::Folded, _)), Transport::Udp) => self.ask(now, server, Transport::Tcp),
            (None, Transport::Udp) => {
                asked.strays += 1;
                if asked.strays >= MAX_STRAYS {
                    self.ask(now, server, Transport::Tcp);
                }
            }
            (None, Transport::Tcp) => self.fail(now, Trouble::Malformed),
        }
    }

    fn take(
        &mut self,
        now: Instant,
        server: SocketAddr,
        transport: Transport,
        mut reply: Reply<'_>,
    ) {
        match (reply.code(), transport) {
            (ResponseCode::NoError | ResponseCode::NXDomain, Transport::Udp)
                if reply.is_truncated() =>
            {
                self.ask(now, server, Transport::Tcp);
            }
            (ResponseCode::NoError | ResponseCode::NXDomain, _) => match reply.records() {
                _ if reply.is_truncated() => self.fail(now, Trouble::Malformed),
                Ok(records) => self.follow(now, server, &reply, &records),
                Err(_) => self.fail(now, Trouble::Malformed),
            },
            // https://www.rfc-editor.org/rfc/rfc6891#section-7
            (ResponseCode::FormErr, _) if self.extended => {
                self.extended = false;
                self.ask(now, server, transport);
            }
            (code, _) => self.fail(now, Trouble::Code(code.low())),
        }
    }

    /// Goes from the name to its records, over aliases.
    fn follow(&mut self, now: Instant, server: SocketAddr, reply: &Reply<'_>, records: &[Record]) {
        let before = self.aliases;
        loop {
            let own = || records.iter().filter(|record| record.owner == self.name);
            let mut answer = Answer::default();
            let mut ttl = self.ttl;
            for record in own().filter(|record| record.data.is(self.kind)) {
                ttl = Some(ttl.unwrap_or(u32::MAX).min(record.ttl));
                answer.add(&record.data);
            }
            if !answer.is_empty() {
                answer.ttl = ttl.map(|ttl| Duration::from_secs(ttl.into()));
                self.state = State::Answered(Some(answer));
                return;
            }
            let alias = own().find_map(|record| match &record.data {
                Data::Alias(target) => Some((target.clone(), record.ttl)),
                _ => None,
            });
            let Some((target, ttl)) = alias else { break };
            if self.aliases == MAX_ALIASES {
                self.state = State::Failed(LookupError::Aliases(target));
                return;
            }
            self.aliases += 1;
            self.ttl = Some(self.ttl.unwrap_or(u32::MAX).min(ttl));
            self.name = target;
        }
        if reply.code() == ResponseCode::NXDomain {
            // The code is about the end of the chain. https://www.rfc-editor.org/rfc/rfc6604#section-3
            self.state = State::Failed(LookupError::NoSuchName(self.name.clone()));
        } else if self.aliases > before {
            // An alias into another zone, of which this server says nothing unasked.
            self.ask(now, server, Transport::Udp);
        } else if reply.is_final() {
            self.state = State::Answered(Some(Answer::default()));
        } else {
            self.fail(now, Trouble::NoRecursion);
        }
    }

    /// This server is of no use: the next one.
    fn fail(&mut self, now: Instant, trouble: Trouble) {
        let State::Asking { asked, .. } = &self.state else { return };
        let server = asked.server;
        if self.trouble.is_none_or(|(known, _)| known <= trouble) {
            self.trouble = Some((trouble, server));
        }
        self.next_server(now);
    }

    fn next_server(&mut self, now: Instant) {
        let tried = self.servers.len().saturating_sub(self.left % self.servers.len().max(1));
        let server = self.servers.get(tried % self.servers.len().max(1)).copied();
        match (server, self.trouble) {
            (Some(server), _) if self.left > 0 && now < self.ends => {
                self.left -= 1;
                self.ask(now, server, Transport::Udp);
            }
            (_, Some((trouble, server))) => {
                let name = self.name.clone();
                self.state = State::Failed(LookupError::NoAnswer { name, server, trouble });
            }
            _ => self.state = State::Failed(LookupError::NoServers),
        }
    }

    fn ask(&mut self, now: Instant, server: SocketAddr, transport: Transport) {
        let id = self.random.next_u32() as u16;
        let Ok((question, mut bytes)) = self.question(id) else {
            // What does not fit into a message is the name of nothing.
            self.state = State::Failed(LookupError::NoSuchName(self.name.clone()));
            return;
        };
        if transport == Transport::Tcp {
            // A name has 255 bytes at most.
            bytes.splice(..0, (bytes.len() as u16).to_be_bytes());
        }
        self.number += 1;
        let until = (now + self.timeout).min(self.ends);
        let asked = Asked { server, transport, question, id, until, strays: 0, stream: Vec::new() };
        let unsent = Some(Try { number: self.number, server, transport, bytes });
        self.state = State::Asking { asked, unsent };
    }

    /// With new letters for each try.
    fn question(&mut self, id: u16) -> Result<(Question, Vec<u8>), ProtoError> {
        let (mut letters, mut drawn) = (0, 0);
        let question = Question::new(&self.name, self.kind, || {
            if drawn % u32::BITS == 0 {
                letters = self.random.next_u32();
            }
            drawn += 1;
            letters.rotate_left(drawn) & 1 == 1
        })?;
        let message = question.message(id, self.extended)?;
        Ok((question, message))
    }
}

impl Machine for Lookup {
    type Event = LookupEvent;
    type Error = LookupError;

    fn poll_event(&mut self, now: Instant) -> Result<Option<LookupEvent>, LookupError> {
        self.handle_timeout(now);
        match &mut self.state {
            State::Asking { unsent, .. } => Ok(unsent.take().map(LookupEvent::Ask)),
            State::Answered(answer) => Ok(answer.take().map(LookupEvent::Answer)),
            State::Failed(why) => Err(why.clone()),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if matches!(&self.state, State::Asking { asked, .. } if asked.until <= now) {
            self.fail(now, Trouble::Silent);
        }
    }

    fn deadline(&self) -> Option<Deadline> {
        match &self.state {
            State::Asking { asked, .. } => Some(Deadline { at: asked.until, why: Timer::Resolve }),
            _ => None,
        }
    }
}
