//! Bodies as what is read.

use std::io::{self, BufRead, Read};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use sinew_driver::Body;

/// Bytes that are read at once from what an application sends.
const PIECE: usize = 16 * 1024;

/// The body of an answer, as [`Read`] and [`BufRead`].
///
/// What cuts the body short is an [`io::Error`] with the [`Error`](crate::Error) inside of it.
#[derive(Debug)]
pub struct Reader {
    body: Body,
    piece: Bytes,
}

impl Reader {
    pub(crate) fn new(body: Body) -> Self {
        Self { body, piece: Bytes::new() }
    }
}

impl Read for Reader {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(room)?;
        self.consume(read);
        Ok(read)
    }
}

impl BufRead for Reader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.piece.is_empty() {
            match smol::block_on(self.body.chunk()).map_err(io::Error::other)? {
                Some(piece) => self.piece = piece,
                None => break,
            }
        }
        Ok(&self.piece)
    }

    fn consume(&mut self, amount: usize) {
        self.piece.advance(amount.min(self.piece.len()));
    }
}

/// A body of what is read.
pub(crate) fn body_of(reader: impl Read + Send + 'static) -> Body {
    Body::stream(Pieces { reader: Box::new(reader), block: vec![0; PIECE].into_boxed_slice() })
}

struct Pieces {
    reader: Box<dyn Read + Send>,
    block: Box<[u8]>,
}

impl futures_core::Stream for Pieces {
    type Item = io::Result<Bytes>;

    /// Blocks: whoever polls is the thread whose call it is.
    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { reader, block } = &mut *self;
        loop {
            let read = match reader.read(block) {
                Ok(0) => None,
                Ok(read) => Some(Ok(Bytes::copy_from_slice(block.get(..read).unwrap_or_default()))),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Some(Err(error)),
            };
            return Poll::Ready(read);
        }
    }
}
