//! The chunked transfer coding, strict: <https://www.rfc-editor.org/rfc/rfc9112#section-7.1>

use bytes::{Buf, BytesMut};
use memchr::memchr;

use super::grammar::TOKEN;
use super::limits::Limits;
use super::parse::TrailerParser;
use crate::error::{Kind, Limit, Violation};
use crate::head::Fields;

/// Where in a chunked body the next byte stands.
#[derive(Debug, Default)]
pub(crate) struct Chunked {
    stage: Stage,
    /// Bytes of all extensions so far.
    extensions: usize,
}

#[derive(Debug)]
enum Stage {
    /// In a chunk-size line; no line end before this offset.
    Size(usize),
    /// In chunk data, this many bytes before its end.
    Data(u64),
    /// In the CR LF behind chunk data.
    DataEnd,
    Trailers(Box<TrailerParser>),
}

impl Default for Stage {
    fn default() -> Self {
        Self::Size(0)
    }
}

/// What comes next out of a chunked body.
pub(crate) enum Piece {
    /// This many bytes of data stand at the front of the inbox.
    Data(usize),
    /// The body is complete.
    End(Option<Box<Fields>>),
}

impl Chunked {
    /// Consumes framing up to the next data. `announce` is told of each chunk's size before any of
    /// its data is given out, and may refuse it.
    pub(crate) fn poll(
        &mut self,
        inbox: &mut BytesMut,
        limits: &Limits,
        mut announce: impl FnMut(u64) -> Result<(), Kind>,
    ) -> Result<Option<Piece>, Kind> {
        loop {
            match &mut self.stage {
                Stage::Size(searched) => {
                    let visible = inbox.len().min(limits.chunk_line);
                    let Some(found) = memchr(b'\n', &inbox[*searched..visible]) else {
                        *searched = visible;
                        return if visible == limits.chunk_line {
                            Err(Kind::Limit(Limit::ChunkLine))
                        } else {
                            Ok(None)
                        };
                    };
                    let feed = *searched + found;
                    let malformed = Kind::Peer(Violation::ChunkHeader);
                    let line = inbox[..feed].strip_suffix(b"\r").ok_or(malformed)?;
                    let (size, extensions) = size_line(line).ok_or(malformed)?;
                    self.extensions += extensions;
                    if self.extensions > limits.chunk_extensions {
                        return Err(Kind::Limit(Limit::ChunkExtensions));
                    }
                    announce(size)?;
                    inbox.advance(feed + 1);
                    self.stage = match size {
                        0 => Stage::Trailers(Box::default()),
                        size => Stage::Data(size),
                    };
                }
                Stage::Data(left) => {
                    if inbox.is_empty() {
                        return Ok(None);
                    }
                    let here = usize::try_from(*left).unwrap_or(usize::MAX).min(inbox.len());
                    *left -= here as u64;
                    if *left == 0 {
                        self.stage = Stage::DataEnd;
                    }
                    return Ok(Some(Piece::Data(here)));
                }
                Stage::DataEnd => match inbox[..] {
                    [b'\r', b'\n', ..] => {
                        inbox.advance(2);
                        self.stage = Stage::Size(0);
                    }
                    [] | [b'\r'] => return Ok(None),
                    _ => return Err(Kind::Peer(Violation::ChunkEnd)),
                },
                Stage::Trailers(parser) => {
                    let trailers = parser.poll(inbox, limits)?;
                    return Ok(trailers.map(|all| {
                        let some = !all.is_empty();
                        Piece::End(some.then(|| Box::new(all)))
                    }));
                }
            }
        }
    }
}

/// `chunk-size [ chunk-ext ]` without its line end: the size, and the bytes of extensions.
///
/// Stricter than the grammar in one point: no white space round the size or the extensions, which
/// others read differently.
fn size_line(line: &[u8]) -> Option<(u64, usize)> {
    let digits = line.iter().position(|b| !b.is_ascii_hexdigit()).unwrap_or(line.len());
    // Sixteen digits fill 64 bits; more would overflow or hide behind zeros.
    if !(1..=16).contains(&digits) {
        return None;
    }
    let size = line[..digits].iter().try_fold(0u64, |size, &digit| {
        let value = char::from(digit).to_digit(16)?;
        Some(size << 4 | u64::from(value))
    })?;
    let extensions = &line[digits..];
    is_extensions(extensions).then_some((size, extensions.len()))
}

/// `*( ";" token [ "=" ( token / quoted-string ) ] )`
/// <https://www.rfc-editor.org/rfc/rfc9112#section-7.1.1>
fn is_extensions(mut rest: &[u8]) -> bool {
    while let [b';', tail @ ..] = rest {
        let Some(tail) = skip_token(tail) else { return false };
        rest = match tail {
            [b'=', b'"', tail @ ..] => match skip_quoted(tail) {
                Some(tail) => tail,
                None => return false,
            },
            [b'=', tail @ ..] => match skip_token(tail) {
                Some(tail) => tail,
                None => return false,
            },
            tail => tail,
        };
    }
    rest.is_empty()
}

fn skip_token(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.iter().position(|&b| !TOKEN[usize::from(b)]).unwrap_or(bytes.len());
    (end > 0).then(|| &bytes[end..])
}

/// The rest behind the closing quote: <https://www.rfc-editor.org/rfc/rfc9110#section-5.6.4>
fn skip_quoted(bytes: &[u8]) -> Option<&[u8]> {
    let mut escaped = false;
    for (i, &byte) in bytes.iter().enumerate() {
        match byte {
            0x00..=0x08 | 0x0a..=0x1f | 0x7f => return None,
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(&bytes[i + 1..]),
            _ => {}
        }
    }
    None
}
