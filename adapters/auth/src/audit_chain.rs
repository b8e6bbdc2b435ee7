//! Lines that are chained by their hashes, so that it shows if one is changed or taken out later.

use core::fmt;
use core::str::FromStr;
use std::io::{self, BufRead, Read as _};

use crate::crypto::Crypto;

/// Bytes of a sealed line, at most; a longer one is malformed.
pub const MAX_LINE: usize = 64 * 1024;

/// Where a chain stands: the hash of its last line.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChainHead([u8; 32]);

/// Seals lines of JSON, such as those of an
/// [audit queue](sinew_core::observe::audit::Queue): each gets `prev`, the hash of the line before it, and
/// `hash`, its own, which covers `prev`.
///
/// It shows that a line was changed, taken out, put in or moved, to everyone who knows where the chain
/// stands. It cannot show that lines were cut off at the end, nor that all of it was written anew, to
/// someone who knows nothing but the file: so write the [head](Self::head) down elsewhere from time to
/// time.
///
/// ```
/// use sinew_auth::{AuditChain, ChainHead, ChainVerdict, Crypto, verify_chain};
///
/// let crypto = Crypto::built_in().expect("a provider is built in");
/// let mut chain = AuditChain::new(crypto.clone(), ChainHead::GENESIS);
/// let mut file = String::new();
/// for line in [r#"{"seq":1}"#, r#"{"seq":2}"#] {
///     file += &chain.seal(line).expect("an object");
///     file.push('\n');
/// }
/// let verdict = verify_chain(&crypto, file.as_bytes(), ChainHead::GENESIS)?;
/// assert_eq!(verdict, ChainVerdict::Intact { lines: 2, head: chain.head() });
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct AuditChain {
    crypto: Crypto,
    head: ChainHead,
}

/// A line that cannot be sealed: it is no JSON object with members on one line, or longer than
/// [`MAX_LINE`] once it is sealed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BadAuditLine;

/// What became of a chain.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ChainVerdict {
    /// Every line is as it was written, and none is missing between the first and the last.
    Intact {
        /// How many.
        lines: u64,
        /// Where it stands. If another head was written down elsewhere, lines are missing at the end.
        head: ChainHead,
    },
    /// Something was done to it.
    Broken {
        /// The first line where it shows, counted from 1.
        line: u64,
        /// How.
        why: ChainBreak,
    },
}

/// How it shows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ChainBreak {
    /// It is no sealed line, or has no end: the writer was stopped in the middle, or somebody cut it.
    Malformed,
    /// It was changed.
    Changed,
    /// It does not follow the line before it: one was taken out or put in, or they were moved.
    OutOfPlace,
}

/// What stands behind the members of a sealed line.
const PREV: &str = ",\"prev\":\"";
const HASH: &str = "\",\"hash\":\"";
const END: &str = "\"}";
const HEX: usize = 64;
const SEAL: usize = PREV.len() + HEX + HASH.len() + HEX + END.len();

impl AuditChain {
    /// Goes on where a chain stands; a new one begins with [`ChainHead::GENESIS`]. A file that is rotated
    /// goes on with the head of the one before it.
    pub const fn new(crypto: Crypto, head: ChainHead) -> Self {
        Self { crypto, head }
    }

    /// Goes on behind a line that was sealed before, the last one of a file; without its end.
    ///
    /// # Errors
    ///
    /// It is no sealed line, or was changed.
    pub fn behind(crypto: Crypto, line: &[u8]) -> Result<Self, BadAuditLine> {
        match parse(line) {
            Some((open, prev, own)) if hash(&crypto, prev, open) == own => {
                Ok(Self::new(crypto, own))
            }
            _ => Err(BadAuditLine),
        }
    }

    /// Where it stands.
    pub const fn head(&self) -> ChainHead {
        self.head
    }

    /// The line with its seal, to be written with an end of line behind it.
    ///
    /// # Errors
    ///
    /// It cannot be sealed; the chain stands where it stood.
    pub fn seal(&mut self, line: &str) -> Result<String, BadAuditLine> {
        let open = line.strip_suffix('}').filter(|open| open.starts_with('{') && open.len() > 1);
        let open = open.filter(|open| !open.contains('\n')).ok_or(BadAuditLine)?;
        if open.len() + SEAL > MAX_LINE {
            return Err(BadAuditLine);
        }
        let prev = self.head;
        self.head = hash(&self.crypto, prev, open.as_bytes());
        Ok(format!("{open}{PREV}{prev}{HASH}{}{END}", self.head))
    }
}

/// Reads a chain to its end, or to where it breaks. `after` is where it stood before the first line.
///
/// # Errors
///
/// It could not be read.
pub fn verify_chain(
    crypto: &Crypto,
    mut file: impl BufRead,
    after: ChainHead,
) -> io::Result<ChainVerdict> {
    let (mut head, mut lines) = (after, 0);
    let mut line = Vec::new();
    loop {
        line.clear();
        let most = u64::try_from(MAX_LINE + 1).unwrap_or(u64::MAX);
        if file.by_ref().take(most).read_until(b'\n', &mut line)? == 0 {
            return Ok(ChainVerdict::Intact { lines, head });
        }
        lines += 1;
        let broken = |why| Ok(ChainVerdict::Broken { line: lines, why });
        let Some((open, prev, own)) = line.strip_suffix(b"\n").and_then(parse) else {
            return broken(ChainBreak::Malformed);
        };
        if hash(crypto, prev, open) != own {
            return broken(ChainBreak::Changed);
        }
        if prev != head {
            return broken(ChainBreak::OutOfPlace);
        }
        head = own;
    }
}

/// Of the line before it, and of its members; a head has a fixed length, so no two pairs are the same text.
fn hash(crypto: &Crypto, prev: ChainHead, open: &[u8]) -> ChainHead {
    ChainHead(crypto.sha256(&[&prev.0, open].concat()))
}

/// The members of a sealed line, and the two heads of its seal.
fn parse(line: &[u8]) -> Option<(&[u8], ChainHead, ChainHead)> {
    let (open, seal) = line.split_at_checked(line.len().checked_sub(SEAL)?)?;
    let seal = core::str::from_utf8(seal).ok()?;
    let (prev, rest) = seal.strip_prefix(PREV)?.split_at_checked(HEX)?;
    let own = rest.strip_prefix(HASH)?.strip_suffix(END)?;
    Some((open, prev.parse().ok()?, own.parse().ok()?))
}

impl ChainHead {
    /// Before the first line of all.
    pub const GENESIS: Self = Self([0; 32]);

    /// Where a chain stood before this sealed line, as the line says; `None`: it is none.
    pub fn before(line: &[u8]) -> Option<Self> {
        parse(line).map(|(_, prev, _)| prev)
    }
}

/// Text that is no [`ChainHead`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BadChainHead;

impl FromStr for ChainHead {
    type Err = BadChainHead;

    /// Reads 64 lower-case hexadecimal digits: each head is written in one way.
    fn from_str(text: &str) -> Result<Self, BadChainHead> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(BadChainHead),
        };
        let digits: &[u8; HEX] = text.as_bytes().try_into().map_err(|_| BadChainHead)?;
        let mut head = [0; 32];
        let (pairs, _) = digits.as_chunks::<2>();
        for (byte, [high, low]) in head.iter_mut().zip(pairs) {
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        Ok(Self(head))
    }
}

impl fmt::Display for ChainHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ChainHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ChainBreak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "it is no sealed line, or has no end",
            Self::Changed => "it was changed",
            Self::OutOfPlace => {
                "it does not follow the line before it: one is missing, new or moved"
            }
        })
    }
}

impl fmt::Display for BadChainHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the head of a chain is 64 lower-case hexadecimal digits")
    }
}

impl core::error::Error for BadChainHead {}

impl fmt::Display for BadAuditLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("only a JSON object with members, on one line that is not too long, is sealed")
    }
}

impl core::error::Error for BadAuditLine {}
