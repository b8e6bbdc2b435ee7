//! Bodies as they come in and go out.

use bytes::{Buf, Bytes, BytesMut};

use super::chunked::{Chunked, Piece};
use super::encode;
use super::framing::Framing;
use super::limits::Limits;
use crate::error::{Kind, Limit, Misuse};
use crate::head::Fields;
use crate::outbox::Outbox;

/// Smaller pieces are copied out, so that they do not keep a whole read buffer alive.
const COPY_BELOW: usize = 256;

/// Takes one body out of the inbox.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    coding: Coding,
    /// Decoded bytes announced so far.
    announced: u64,
}

#[derive(Debug, Default)]
enum Coding {
    #[default]
    Done,
    Length(u64),
    Chunked(Chunked),
    UntilClose,
}

/// What a body is made of.
pub(crate) enum Decoded {
    Data(Bytes),
    /// Trailers are rare: boxed, they do not make every piece as large as they are.
    End(Option<Box<Fields>>),
}

impl Decoder {
    pub(crate) fn new(framing: Framing) -> Self {
        let coding = match framing {
            Framing::Empty | Framing::Tunnel => Coding::Done,
            Framing::Length(length) => Coding::Length(length),
            Framing::Chunked => Coding::Chunked(Chunked::default()),
            Framing::UntilClose => Coding::UntilClose,
        };
        Self { coding, announced: 0 }
    }

    /// The bytes still due, where they are known.
    pub(crate) fn known_rest(&self) -> Option<u64> {
        match self.coding {
            Coding::Done => Some(0),
            Coding::Length(left) => Some(left),
            Coding::Chunked(_) | Coding::UntilClose => None,
        }
    }

    /// Whether the end of the connection is the end of the body.
    pub(crate) fn ends_with_connection(&self) -> bool {
        matches!(self.coding, Coding::UntilClose)
    }

    /// The next piece of at most `limit` decoded bytes in all. `eof`: nothing more will come.
    pub(crate) fn poll(
        &mut self,
        inbox: &mut BytesMut,
        limits: &Limits,
        limit: u64,
        eof: bool,
    ) -> Result<Option<Decoded>, Kind> {
        let announced = &mut self.announced;
        let announce = |announced: &mut u64, bytes: u64| {
            *announced = announced.saturating_add(bytes);
            if *announced > limit { Err(Kind::Limit(Limit::Body)) } else { Ok(()) }
        };
        let here = match &mut self.coding {
            Coding::Done => return Ok(None),
            Coding::Length(left) => {
                if *left == 0 {
                    self.coding = Coding::Done;
                    return Ok(Some(Decoded::End(None)));
                }
                if announced.saturating_add(*left) > limit {
                    return Err(Kind::Limit(Limit::Body));
                }
                let here = usize::try_from(*left).unwrap_or(usize::MAX).min(inbox.len());
                let whole = *announced == 0 && here as u64 == *left;
                *left -= here as u64;
                *announced += here as u64;
                if whole && here > 0 {
                    // At most one such piece a message, and its head holds the same block as a rule.
                    return Ok(Some(Decoded::Data(inbox.split_to(here).freeze())));
                }
                here
            }
            Coding::Chunked(chunked) => {
                match chunked.poll(inbox, limits, |size| announce(announced, size))? {
                    Some(Piece::Data(here)) => here,
                    Some(Piece::End(trailers)) => {
                        self.coding = Coding::Done;
                        return Ok(Some(Decoded::End(trailers)));
                    }
                    None => 0,
                }
            }
            Coding::UntilClose => {
                if inbox.is_empty() && eof {
                    self.coding = Coding::Done;
                    return Ok(Some(Decoded::End(None)));
                }
                // What the limit has room for is given out, however much came with it.
                let room = limit.saturating_sub(*announced);
                if room == 0 && !inbox.is_empty() {
                    return Err(Kind::Limit(Limit::Body));
                }
                let here = usize::try_from(room).unwrap_or(usize::MAX).min(inbox.len());
                *announced += here as u64;
                here
            }
        };
        match here {
            0 if eof => Err(Kind::Truncated),
            0 => Ok(None),
            here => Ok(Some(Decoded::Data(take(inbox, here)))),
        }
    }
}

/// The next `n` bytes; small pieces do not pin the block that they came in.
pub(crate) fn take(inbox: &mut BytesMut, n: usize) -> Bytes {
    if n < COPY_BELOW {
        let piece = Bytes::copy_from_slice(&inbox[..n]);
        inbox.advance(n);
        piece
    } else {
        inbox.split_to(n).freeze()
    }
}

/// Puts one body into the outbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Encoder {
    /// No body is due.
    #[default]
    Done,
    Length(u64),
    Chunked,
    UntilClose,
    /// The body is announced but does not travel: an answer to HEAD, or nobody reads it any more.
    Swallow,
}

impl Encoder {
    pub(crate) fn data(&mut self, outbox: &mut Outbox, data: Bytes) -> Result<(), Misuse> {
        match self {
            Self::Done => return Err(Misuse::NoBodyDue),
            Self::Length(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or(Misuse::BodyTooLong)?;
                outbox.push(data);
            }
            // https://www.rfc-editor.org/rfc/rfc9112#section-7.1: an empty chunk would be the last.
            Self::Chunked if data.is_empty() => {}
            Self::Chunked => {
                outbox.put_hex_line(data.len());
                outbox.push(data);
                outbox.put(b"\r\n");
            }
            Self::UntilClose => outbox.push(data),
            Self::Swallow => {}
        }
        Ok(())
    }

    /// Ends the body, where it may end here.
    pub(crate) fn end<N: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        outbox: &mut Outbox,
        trailers: impl IntoIterator<Item = (N, V)>,
    ) -> Result<(), Misuse> {
        match self {
            Self::Done => return Err(Misuse::NoBodyDue),
            Self::Length(left) if *left > 0 => return Err(Misuse::BodyTooShort),
            Self::Chunked => {
                let mut section = outbox.draft();
                encode::last_chunk(&mut section, trailers)?;
                section.finish();
            }
            _ => encode::check_trailers(trailers, |_, _| {})?,
        }
        *self = Self::Done;
        Ok(())
    }
}
