//! A name server's side of a conversation: answers, written by hand.

/// An answer to a query, as it is written.
#[derive(Clone)]
pub(crate) struct Reply {
    id: [u8; 2],
    flags: u16,
    question: Vec<u8>,
    answers: Vec<Vec<u8>>,
}

pub(crate) const A: u16 = 1;
pub(crate) const CNAME: u16 = 5;
pub(crate) const AAAA: u16 = 28;
pub(crate) const SRV: u16 = 33;

impl Reply {
    /// What answers this query, with recursion, and nothing in it yet.
    pub(crate) fn to(query: &[u8]) -> Self {
        let end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
        Self {
            id: [query[0], query[1]],
            flags: 0x8180,
            question: query[12..end].to_vec(),
            answers: Vec::new(),
        }
    }

    /// The name that is asked for, as it is written.
    pub(crate) fn asked(query: &[u8]) -> String {
        let (mut at, mut name) = (12, String::new());
        while query[at] != 0 {
            let end = at + 1 + usize::from(query[at]);
            name.push_str(std::str::from_utf8(&query[at + 1..end]).unwrap());
            name.push('.');
            at = end;
        }
        name
    }

    /// The type that is asked for.
    pub(crate) fn kind(query: &[u8]) -> u16 {
        let question = Self::to(query).question;
        u16::from_be_bytes([question[question.len() - 4], question[question.len() - 3]])
    }

    pub(crate) fn code(mut self, code: u16) -> Self {
        self.flags |= code;
        self
    }

    pub(crate) fn flags(mut self, flags: u16) -> Self {
        self.flags = flags;
        self
    }

    pub(crate) fn other_id(mut self) -> Self {
        self.id[1] ^= 1;
        self
    }

    /// Changes the question.
    pub(crate) fn question(mut self, change: impl FnOnce(&mut Vec<u8>)) -> Self {
        change(&mut self.question);
        self
    }

    pub(crate) fn record(mut self, owner: &str, kind: u16, ttl: u32, data: &[u8]) -> Self {
        let mut record = name(owner);
        record.extend(kind.to_be_bytes());
        record.extend([0, 1]);
        record.extend(ttl.to_be_bytes());
        record.extend((data.len() as u16).to_be_bytes());
        record.extend(data);
        self.answers.push(record);
        self
    }

    pub(crate) fn a(self, owner: &str, ttl: u32, address: [u8; 4]) -> Self {
        self.record(owner, A, ttl, &address)
    }

    pub(crate) fn cname(self, owner: &str, ttl: u32, target: &str) -> Self {
        self.record(owner, CNAME, ttl, &name(target))
    }

    pub(crate) fn srv(self, owner: &str, ttl: u32, numbers: [u16; 3], target: &str) -> Self {
        let mut data: Vec<u8> = numbers.into_iter().flat_map(u16::to_be_bytes).collect();
        data.extend(name(target));
        self.record(owner, SRV, ttl, &data)
    }

    pub(crate) fn raw(mut self, record: &[u8]) -> Self {
        self.answers.push(record.to_vec());
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.id.to_vec();
        bytes.extend(self.flags.to_be_bytes());
        bytes.extend([0, u8::from(!self.question.is_empty())]);
        bytes.extend((self.answers.len() as u16).to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(&self.question);
        bytes.extend(self.answers.concat());
        bytes
    }
}

/// A name on the wire; "." is the root.
pub(crate) fn name(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in text.split('.').filter(|label| !label.is_empty()) {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}
