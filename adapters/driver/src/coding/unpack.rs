//! A body on its way out of its codings.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use flate2::{Decompress, FlushDecompress, Status};
use http::HeaderMap;
use http_body::{Body as _, Frame};
use sinew_core::content_coding::{Coding, Decompression, MEMBERS};
use sinew_core::error::{Delivery, Phase};
use sinew_core::head::Fields;
use sinew_core::reason::Reason;

use super::{PIECE, WINDOW};
use crate::body::Body;
use crate::error::{Error, ErrorKind, Origin};

/// How a body is unpacked.
#[derive(Debug)]
pub(crate) struct Unpacking {
    policy: Decompression,
    codings: Vec<Coding>,
}

impl Unpacking {
    /// What the fields of its message say. `None`: the body has no coding.
    pub(crate) fn of(policy: Decompression, fields: &Fields) -> Result<Option<Self>, Reason> {
        let codings = policy.admit(fields)?;
        Ok((!codings.is_empty()).then_some(Self { policy, codings }))
    }

    /// Unpacks a body to so many bytes at most. `Content-Encoding` and `Content-Length` no longer
    /// hold then.
    pub(crate) fn apply(self, body: Body, limit: u64, origin: Origin) -> Body {
        // https://www.rfc-editor.org/rfc/rfc9110#section-8.4: in the order in which they were applied.
        self.codings.into_iter().rev().fold(body, |body, coding| {
            let unpacked = Unpacked::new(body, coding, self.policy, limit, origin);
            Body::own(unpacked, origin)
        })
    }
}

/// A body that is unpacked as it is read. It holds some 50 KiB of window and tables, one piece of
/// what came, and makes pieces of [`PIECE`] bytes; nothing is unpacked before somebody asks for it.
struct Unpacked {
    body: Body,
    codec: Decompress,
    coding: Coding,
    policy: Decompression,
    /// Bytes that may come out.
    limit: u64,
    origin: Origin,
    input: Bytes,
    /// The last piece was full: there may be more where it came from.
    full: bool,
    /// Bytes that went in, over all members.
    taken: u64,
    /// Bytes that came out.
    given: u64,
    members: u32,
    stage: Stage,
    trailers: Option<HeaderMap>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// In the middle of a stream.
    Inside,
    /// Behind a stream that is complete.
    Behind,
    /// The body is over, well or not.
    Done,
}

impl Unpacked {
    fn new(body: Body, coding: Coding, policy: Decompression, limit: u64, origin: Origin) -> Self {
        Self {
            body,
            codec: codec(coding),
            coding,
            policy,
            limit,
            origin,
            input: Bytes::new(),
            full: false,
            taken: 0,
            given: 0,
            members: 1,
            stage: Stage::Inside,
            trailers: None,
        }
    }

    /// Unpacks one piece of what is here; it is empty where more has to come.
    fn step(&mut self) -> Result<Bytes, ErrorKind> {
        let mut made = Vec::with_capacity(PIECE);
        let (taken, given) = (self.codec.total_in(), self.codec.total_out());
        let status = self
            .codec
            .decompress_vec(&self.input, &mut made, FlushDecompress::None)
            .map_err(|_| ErrorKind::Coding)?;
        let taken = self.codec.total_in() - taken;
        self.full = made.len() == made.capacity();
        self.input.advance(usize::try_from(taken).unwrap_or(usize::MAX).min(self.input.len()));
        self.taken += taken;
        self.given += self.codec.total_out() - given;
        if self.given > self.limit {
            return Err(ErrorKind::TooLarge(self.limit));
        }
        if !self.policy.tolerates(self.taken, self.given) {
            return Err(ErrorKind::Inflated(self.policy.max_ratio));
        }
        if status == Status::StreamEnd {
            self.stage = Stage::Behind;
        } else if taken == 0 && made.is_empty() && !self.input.is_empty() {
            // It neither eats nor speaks: nothing that comes will change that.
            return Err(ErrorKind::Coding);
        }
        Ok(made.into())
    }

    /// More came behind the end of a stream.
    fn next_member(&mut self) -> Result<(), ErrorKind> {
        if self.coding != Coding::Gzip || self.members == MEMBERS {
            return Err(ErrorKind::Coding);
        }
        self.members += 1;
        self.codec = codec(self.coding);
        self.stage = Stage::Inside;
        Ok(())
    }

    fn fail(&mut self, kind: ErrorKind) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.stage = Stage::Done;
        self.trailers = None;
        let phase = match self.origin {
            Origin::Request => Phase::RequestBody,
            Origin::Call => Phase::ResponseBody,
        };
        let error = Error::new(kind, phase, Delivery::Processed);
        Poll::Ready(Some(Err(error.of(self.origin))))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        loop {
            if self.stage == Stage::Done {
                return Poll::Ready(self.trailers.take().map(Frame::trailers).map(Ok));
            }
            if self.stage == Stage::Behind
                && !self.input.is_empty()
                && let Err(kind) = self.next_member()
            {
                return self.fail(kind);
            }
            if self.stage == Stage::Inside && (self.full || !self.input.is_empty()) {
                match self.step() {
                    Ok(made) if !made.is_empty() => {
                        return Poll::Ready(Some(Ok(Frame::data(made))));
                    }
                    Ok(_) => continue,
                    Err(kind) => return self.fail(kind),
                }
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.input = data,
                    Err(frame) => self.trailers = frame.into_trailers().ok(),
                },
                Some(Err(error)) => {
                    self.stage = Stage::Done;
                    return Poll::Ready(Some(Err(error)));
                }
                None if self.stage == Stage::Behind => self.stage = Stage::Done,
                None => return self.fail(ErrorKind::Coding),
            }
        }
    }
}

impl http_body::Body for Unpacked {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.get_mut().poll(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.stage == Stage::Done && self.trailers.is_none()
    }
}

fn codec(coding: Coding) -> Decompress {
    match coding {
        Coding::Deflate => Decompress::new(true),
        // Every other coding is refused before it comes here.
        _ => Decompress::new_gzip(WINDOW),
    }
}

impl fmt::Debug for Unpacked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unpacked")
            .field("coding", &self.coding)
            .field("taken", &self.taken)
            .field("given", &self.given)
            .finish_non_exhaustive()
    }
}
