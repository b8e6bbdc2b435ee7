//! The messages of RFC 1035, as far as a stub resolver needs them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::name::Name;

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses. <https://www.rfc-editor.org/rfc/rfc3596>
    Aaaa,
    /// Hosts and ports that offer a service. <https://www.rfc-editor.org/rfc/rfc2782>
    Srv,
}

/// One host that offers a service.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Service {
    /// Hosts with the lowest number are to be taken while there is one.
    pub priority: u16,
    /// The share among those with the same priority.
    pub weight: u16,
    /// The port.
    pub port: u16,
    /// The host. Its addresses are to be asked for.
    pub target: Name,
}

/// Bytes of a UDP answer that we take: what fits through any network without fragments.
/// <https://www.rfc-editor.org/rfc/rfc9715#section-3.2>
pub(super) const MAX_DATAGRAM: u16 = 1_232;

/// Pointers to follow for one name, at most: none that makes sense has more labels.
const MAX_POINTERS: usize = 127;

const CLASS_IN: u16 = 1;
const TYPE_A: u16 = 1;
const TYPE_CNAME: u16 = 5;
const TYPE_AAAA: u16 = 28;
const TYPE_SRV: u16 = 33;
const TYPE_OPT: u16 = 41;

const HEADER: usize = 12;

impl Kind {
    const fn code(self) -> u16 {
        match self {
            Self::A => TYPE_A,
            Self::Aaaa => TYPE_AAAA,
            Self::Srv => TYPE_SRV,
        }
    }
}

/// A question as it goes over the wire: with the letters of its name in the case that was drawn.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Question(Vec<u8>);

impl Question {
    /// `upper` says of each letter whether it is a capital one.
    pub(super) fn new(name: &Name, kind: Kind, mut upper: impl FnMut() -> bool) -> Self {
        let mut bytes = Vec::new();
        for label in name.labels() {
            // A label has 63 bytes at most.
            bytes.push(label.len() as u8);
            bytes.extend(label.iter().map(|byte| match byte {
                b'a'..=b'z' if upper() => byte.to_ascii_uppercase(),
                _ => *byte,
            }));
        }
        bytes.push(0);
        bytes.extend(kind.code().to_be_bytes());
        bytes.extend(CLASS_IN.to_be_bytes());
        Self(bytes)
    }

    /// The message that asks it, for recursion. `extended`: with the size of a datagram that we take.
    /// <https://www.rfc-editor.org/rfc/rfc6891#section-6.1.2>
    pub(super) fn message(&self, id: u16, extended: bool) -> Vec<u8> {
        let mut message = Vec::with_capacity(HEADER + self.0.len() + 11);
        message.extend(id.to_be_bytes());
        message.extend(RECURSION_DESIRED.to_be_bytes());
        message.extend([0, 1, 0, 0, 0, 0, 0, u8::from(extended)]);
        message.extend(&self.0);
        if extended {
            message.push(0);
            message.extend(TYPE_OPT.to_be_bytes());
            message.extend(MAX_DATAGRAM.to_be_bytes());
            message.extend([0; 6]);
        }
        message
    }
}

const RESPONSE: u16 = 0x8000;
const OPCODE: u16 = 0x7800;
const AUTHORITATIVE: u16 = 0x0400;
const TRUNCATED: u16 = 0x0200;
const RECURSION_DESIRED: u16 = 0x0100;
const RECURSION_AVAILABLE: u16 = 0x0080;

/// Why bytes are no message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Malformed;

/// How a message fits what was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fit {
    /// It is the answer.
    Ours,
    /// It is the answer but for the case of the name: of a server that folds it, or of somebody who
    /// guesses.
    Folded,
    /// It is of somebody who guesses, or of before.
    Stray,
}

/// The outer parts of an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reply<'a> {
    message: &'a [u8],
    flags: u16,
    answers: u16,
    at: usize,
}

/// A record of the answer that matters here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Record {
    pub(super) owner: Name,
    /// Seconds.
    pub(super) ttl: u32,
    pub(super) data: Data,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Data {
    Address(IpAddr),
    Service(Service),
    Alias(Name),
}

impl Data {
    /// Whether it is what this kind of question asks for.
    pub(super) fn is(&self, kind: Kind) -> bool {
        match self {
            Self::Address(address) => match kind {
                Kind::A => address.is_ipv4(),
                Kind::Aaaa => address.is_ipv6(),
                Kind::Srv => false,
            },
            Self::Service(_) => kind == Kind::Srv,
            Self::Alias(_) => false,
        }
    }
}

impl<'a> Reply<'a> {
    /// The message, if it answers `question` under this `id`.
    pub(super) fn read(message: &'a [u8], id: u16, question: &Question) -> (Fit, Option<Self>) {
        let stray = (Fit::Stray, None);
        let mut reader = Reader { message, at: 0 };
        let mut word = || reader.u16().unwrap_or_default();
        let (its, flags, questions, answers) = (word(), word(), word(), word());
        if message.len() < HEADER || its != id || flags & (RESPONSE | OPCODE) != RESPONSE {
            return stray;
        }
        let end = HEADER + question.0.len();
        let asked = message.get(HEADER..end);
        let fit = match asked {
            // Servers that cannot read a question may not repeat it.
            _ if questions == 0 && flags & 0xf == u16::from(FORMAT_ERROR) => Fit::Ours,
            Some(asked) if questions == 1 && asked == question.0 => Fit::Ours,
            Some(asked) if questions == 1 && asked.eq_ignore_ascii_case(&question.0) => Fit::Folded,
            _ => return stray,
        };
        (fit, Some(Self { message, flags, answers, at: end }))
    }

    /// The response code. <https://www.rfc-editor.org/rfc/rfc1035#section-4.1.1>
    pub(super) const fn code(&self) -> u8 {
        (self.flags & 0xf) as u8
    }

    /// There is more than fits into a datagram.
    pub(super) const fn is_truncated(&self) -> bool {
        self.flags & TRUNCATED != 0
    }

    /// Whether an empty answer means that there is nothing: one who neither knows nor asks others does
    /// not say that.
    pub(super) const fn is_final(&self) -> bool {
        self.flags & (AUTHORITATIVE | RECURSION_AVAILABLE) != 0
    }

    /// The records of the answer that matter here, in order.
    pub(super) fn records(&self) -> Result<Vec<Record>, Malformed> {
        let mut reader = Reader { message: self.message, at: self.at };
        let mut records = Vec::new();
        for _ in 0..self.answers {
            records.extend(reader.record()?);
        }
        Ok(records)
    }
}

pub(super) const FORMAT_ERROR: u8 = 1;
pub(super) const NAME_ERROR: u8 = 3;

struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let taken = self.message.get(self.at..).and_then(|rest| rest.get(..length));
        self.at += length;
        taken.ok_or(Malformed)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_| Malformed)
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    /// `None`: one that does not matter.
    fn record(&mut self) -> Result<Option<Record>, Malformed> {
        let owner = self.name()?;
        let (kind, class) = (self.u16()?, self.u16()?);
        let ttl = u32::from_be_bytes(self.array()?);
        // https://www.rfc-editor.org/rfc/rfc2181#section-8
        let ttl = if ttl > i32::MAX.unsigned_abs() { 0 } else { ttl };
        let length = usize::from(self.u16()?);
        let end = self.at + length;
        if end > self.message.len() {
            return Err(Malformed);
        }
        let data = match kind {
            _ if class != CLASS_IN => None,
            TYPE_A => Some(Data::Address(Ipv4Addr::from(self.array::<4>()?).into())),
            TYPE_AAAA => Some(Data::Address(Ipv6Addr::from(self.array::<16>()?).into())),
            TYPE_CNAME => Some(Data::Alias(self.name()?)),
            TYPE_SRV => {
                let (priority, weight, port) = (self.u16()?, self.u16()?, self.u16()?);
                let target = self.name()?;
                Some(Data::Service(Service { priority, weight, port, target }))
            }
            _ => None,
        };
        if data.is_some() && self.at != end {
            return Err(Malformed);
        }
        self.at = end;
        Ok(data.map(|data| Record { owner, ttl, data }))
    }

    /// <https://www.rfc-editor.org/rfc/rfc1035#section-4.1.4>
    fn name(&mut self) -> Result<Name, Malformed> {
        let mut name = Name::root();
        let mut after = None;
        for _ in 0..=MAX_POINTERS {
            let before = self.at;
            let target = loop {
                let [length] = self.array()?;
                match length {
                    0 => {
                        self.at = after.unwrap_or(self.at);
                        return Ok(name);
                    }
                    1..=0x3f => {
                        name.push(self.take(length.into())?).map_err(|_| Malformed)?;
                    }
                    0xc0.. => {
                        let [low] = self.array()?;
                        break usize::from(u16::from_be_bytes([length & 0x3f, low]));
                    }
                    _ => return Err(Malformed),
                }
            };
            after.get_or_insert(self.at);
            // Only what came before can be pointed at, so there is no circle.
            if target >= before {
                return Err(Malformed);
            }
            self.at = target;
        }
        Err(Malformed)
    }
}
