//! The body of an answer on its way into a coding.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use flate2::{Compress, FlushCompress, Status};
use http::HeaderMap;
use http_body::Frame;
use sinew_core::content_coding::Coding;
use sinew_core::error::{Delivery, Phase};

use super::{PIECE, WINDOW};
use crate::body::Body;
use crate::error::{Error, ErrorKind};

/// Bytes that one step takes in.
const STEP: usize = 16 * 1024;

/// Steps without a result; then the other tasks of the worker get their turn.
const STEPS: usize = 16;

/// A body that is compressed as it is read. It holds some 256 KiB of window and tables, one piece of
/// its producer, and makes pieces of [`PIECE`] bytes.
///
/// What a producer said before it went to sleep is sent on: nobody waits for the end of a block.
pub(crate) struct Packed {
    body: Body,
    codec: Compress,
    input: Bytes,
    stage: Stage,
    /// Bytes went in that may not have come out yet.
    unflushed: bool,
    trailers: Option<HeaderMap>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Reading,
    /// The producer sleeps: what it said goes out.
    Flushing,
    Finishing,
    Done,
}

impl Packed {
    pub(crate) fn new(body: Body, coding: Coding, level: u8) -> Self {
        Self {
            body,
            codec: codec(coding, level),
            input: Bytes::new(),
            stage: Stage::Reading,
            unflushed: false,
            trailers: None,
        }
    }

    /// Lets the codec work once. What it made, and whether there is more of it.
    fn step(&mut self, flush: FlushCompress) -> Result<(Bytes, Status), Error> {
        let mut made = Vec::with_capacity(PIECE);
        let before = self.codec.total_in();
        let input = self.input.get(..STEP).unwrap_or(&self.input);
        let status = self.codec.compress_vec(input, &mut made, flush).map_err(failed)?;
        self.input.advance(usize::try_from(self.codec.total_in() - before).unwrap_or(STEP));
        Ok((made.into(), status))
    }
}

impl http_body::Body for Packed {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        for _ in 0..STEPS {
            let flush = match this.stage {
                Stage::Done => {
                    return Poll::Ready(this.trailers.take().map(Frame::trailers).map(Ok));
                }
                Stage::Flushing => FlushCompress::Sync,
                Stage::Finishing => FlushCompress::Finish,
                Stage::Reading if !this.input.is_empty() => FlushCompress::None,
                Stage::Reading => {
                    match Pin::new(&mut this.body).poll_frame(cx) {
                        Poll::Pending if this.unflushed => this.stage = Stage::Flushing,
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(None) => this.stage = Stage::Finishing,
                        Poll::Ready(Some(Err(error))) => {
                            this.stage = Stage::Done;
                            return Poll::Ready(Some(Err(error)));
                        }
                        Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                            Ok(data) => this.input = data,
                            Err(frame) => {
                                this.trailers = frame.into_trailers().ok();
                                this.stage = Stage::Finishing;
                            }
                        },
                    }
                    continue;
                }
            };
            let (made, status) = match this.step(flush) {
                Ok(stepped) => stepped,
                Err(error) => {
                    this.stage = Stage::Done;
                    return Poll::Ready(Some(Err(error)));
                }
            };
            // A full piece: there may be more where it came from.
            let drained = made.len() < PIECE;
            match this.stage {
                Stage::Reading => this.unflushed = true,
                Stage::Flushing if drained => {
                    this.unflushed = false;
                    this.stage = Stage::Reading;
                }
                Stage::Finishing if status == Status::StreamEnd => this.stage = Stage::Done,
                _ => {}
            }
            if !made.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(made))));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// All of a body at once.
pub(crate) fn pack(bytes: &[u8], coding: Coding, level: u8) -> Result<Bytes, Error> {
    let mut codec = codec(coding, level);
    let mut packed = Vec::with_capacity(bytes.len() / 4 + 64);
    loop {
        let taken = usize::try_from(codec.total_in()).unwrap_or(bytes.len());
        let rest = bytes.get(taken..).unwrap_or_default();
        let status =
            codec.compress_vec(rest, &mut packed, FlushCompress::Finish).map_err(failed)?;
        if status == Status::StreamEnd {
            return Ok(packed.into());
        }
        packed.reserve(PIECE);
    }
}

fn codec(coding: Coding, level: u8) -> Compress {
    let level = flate2::Compression::new(level.into());
    match coding {
        Coding::Deflate => Compress::new(level, true),
        // Every other coding is refused before it comes here.
        _ => Compress::new_gzip(level, WINDOW),
    }
}

fn failed(source: flate2::CompressError) -> Error {
    Error::new(ErrorKind::Body, Phase::ResponseBody, Delivery::Processed).with_source(source)
}

impl fmt::Debug for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packed").field("stage", &self.stage).finish_non_exhaustive()
    }
}
