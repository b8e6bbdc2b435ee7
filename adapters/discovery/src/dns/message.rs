//! The messages of RFC 1035: written and read by hickory-proto, judged here.

use std::net::IpAddr;

use hickory_proto::ProtoError;
use hickory_proto::op::{
    Edns, Header, Message, MessageType, Metadata, OpCode, Query, ResponseCode,
};
use hickory_proto::rr::{self, DNSClass, RData, RecordType};
use hickory_proto::serialize::binary::{BinDecodable as _, BinDecoder, DecodeError};

use super::name::{BadName, Name};

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
const MAX_DATAGRAM: u16 = 1_232;

impl Kind {
    const fn record_type(self) -> RecordType {
        match self {
            Self::A => RecordType::A,
            Self::Aaaa => RecordType::AAAA,
            Self::Srv => RecordType::SRV,
        }
    }
}

/// A question as it goes over the wire: with the letters of its name in the case that was drawn.
#[derive(Clone, Debug)]
pub(super) struct Question(Query);

impl Question {
    /// `upper` says of each letter whether it is a capital one.
    ///
    /// # Errors
    ///
    /// The name does not fit into a message.
    pub(super) fn new(
        name: &Name,
        kind: Kind,
        mut upper: impl FnMut() -> bool,
    ) -> Result<Self, ProtoError> {
        let mut cased = |byte: &u8| match byte {
            b'a'..=b'z' if upper() => byte.to_ascii_uppercase(),
            _ => *byte,
        };
        let labels = name.labels().map(|label| label.iter().map(&mut cased).collect::<Vec<_>>());
        let name = rr::Name::from_labels(labels)?;
        Ok(Self(Query::query(name, kind.record_type())))
    }

    /// The message that asks it, for recursion. `extended`: with the size of a datagram that we take.
    /// <https://www.rfc-editor.org/rfc/rfc6891#section-6.1.2>
    pub(super) fn message(&self, id: u16, extended: bool) -> Result<Vec<u8>, ProtoError> {
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(self.0.clone());
        if extended {
            let mut edns = Edns::new();
            edns.set_max_payload(MAX_DATAGRAM);
            message.set_edns(edns);
        }
        message.to_vec()
    }
}

/// Why bytes are no message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Malformed;

impl From<DecodeError> for Malformed {
    fn from(_: DecodeError) -> Self {
        Self
    }
}

impl From<BadName> for Malformed {
    fn from(_: BadName) -> Self {
        Self
    }
}

/// How an answer repeats the question.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fit {
    /// Letter by letter.
    Exact,
    /// But for the case of the name: it is of a server that folds it, or of somebody who guesses.
    Folded,
}

/// The outer parts of an answer.
pub(super) struct Reply<'a> {
    header: Metadata,
    answers: u16,
    /// Behind the question.
    rest: BinDecoder<'a>,
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
    /// The message, if it answers `question` under this `id`. `None`: it is of somebody who guesses, or of
    /// before.
    ///
    /// Part by part: [`Message`] makes room for as many questions as a header claims, and fails where anything
    /// behind the answers makes no sense.
    pub(super) fn read(message: &'a [u8], id: u16, question: &Question) -> Option<(Fit, Self)> {
        let mut rest = BinDecoder::new(message);
        let Header { metadata: header, counts } = Header::read(&mut rest).ok()?;
        let kind = (header.message_type, header.op_code);
        if header.id != id || kind != (MessageType::Response, OpCode::Query) {
            return None;
        }
        let fit = match counts.queries {
            // Servers that cannot read a question may not repeat it.
            0 if header.response_code == ResponseCode::FormErr => Fit::Exact,
            1 => {
                let asked = Query::read(&mut rest).ok()?;
                // Names are equal whatever their case.
                if asked != question.0 {
                    return None;
                }
                if asked.name.eq_case(&question.0.name) { Fit::Exact } else { Fit::Folded }
            }
            _ => return None,
        };
        Some((fit, Self { header, answers: counts.answers, rest }))
    }

    /// The response code, without what EDNS adds to it.
    pub(super) const fn code(&self) -> ResponseCode {
        self.header.response_code
    }

    /// There is more than fits into a datagram.
    pub(super) const fn is_truncated(&self) -> bool {
        self.header.truncation
    }

    /// Whether an empty answer means that there is nothing: one who neither knows nor asks others does
    /// not say that.
    pub(super) const fn is_final(&self) -> bool {
        self.header.authoritative || self.header.recursion_available
    }

    /// The records of the answer that matter here, in order.
    pub(super) fn records(&mut self) -> Result<Vec<Record>, Malformed> {
        let mut records = Vec::new();
        for _ in 0..self.answers {
            records.extend(Record::of(rr::Record::read(&mut self.rest)?)?);
        }
        Ok(records)
    }
}

impl Record {
    /// `None`: one that does not matter.
    fn of(record: rr::Record) -> Result<Option<Self>, Malformed> {
        let owner = Name::of_wire(&record.name)?;
        if record.dns_class != DNSClass::IN {
            return Ok(None);
        }
        let data = match record.data {
            RData::A(address) => Data::Address(address.0.into()),
            RData::AAAA(address) => Data::Address(address.0.into()),
            RData::CNAME(target) => Data::Alias(Name::of_wire(&target.0)?),
            RData::SRV(rr::rdata::SRV { priority, weight, port, target, .. }) => {
                let target = Name::of_wire(&target)?;
                Data::Service(Service { priority, weight, port, target })
            }
            // Without data, which only updates may be. https://www.rfc-editor.org/rfc/rfc2136
            RData::Update0(
                RecordType::A | RecordType::AAAA | RecordType::CNAME | RecordType::SRV,
            ) => return Err(Malformed),
            _ => return Ok(None),
        };
        // https://www.rfc-editor.org/rfc/rfc2181#section-8
        let ttl = if record.ttl > i32::MAX.unsigned_abs() { 0 } else { record.ttl };
        Ok(Some(Self { owner, ttl, data }))
    }
}
