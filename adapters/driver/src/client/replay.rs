//! Bodies that come in pieces, remembered while they are sent, so that they can be sent once more.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};

use crate::body::Body;
use crate::error::Error;

/// The bytes that all calls of a client may remember together.
#[derive(Debug)]
pub(super) struct ReplayMemory {
    left: AtomicUsize,
    /// The bytes of one call.
    each: usize,
}

impl ReplayMemory {
    pub(super) fn new(each: usize, all: usize) -> Arc<Self> {
        Arc::new(Self { left: AtomicUsize::new(all), each })
    }

    fn take(&self, bytes: usize) -> bool {
        let less = |left: usize| left.checked_sub(bytes);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}

/// A body in pieces, on its way.
pub(super) struct Streamed {
    source: Body,
    size: SizeHint,
    /// What was taken from the source; empty where that was too much.
    pieces: Vec<Piece>,
    /// Where the present attempt is in that.
    at: usize,
    begun: bool,
    ended: bool,
    log: Log,
}

#[derive(Clone)]
enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
}

/// Whether what is sent is remembered.
enum Log {
    Kept { memory: Arc<ReplayMemory>, bytes: usize },
    Off,
}

impl Drop for Log {
    fn drop(&mut self) {
        if let Self::Kept { memory, bytes } = self {
            memory.left.fetch_add(*bytes, Ordering::Relaxed);
        }
    }
}

impl Log {
    /// Whether there is room for so many bytes more.
    fn takes(&mut self, more: usize) -> bool {
        match self {
            Self::Kept { memory, bytes } if *bytes + more <= memory.each && memory.take(more) => {
                *bytes += more;
                true
            }
            Self::Kept { .. } | Self::Off => false,
        }
    }
}

impl Streamed {
    /// A body, remembered as far as `memory` allows.
    pub(super) fn new(source: Body, memory: Option<&Arc<ReplayMemory>>) -> Self {
        let log = match memory {
            Some(memory) => Log::Kept { memory: Arc::clone(memory), bytes: 0 },
            None => Log::Off,
        };
        let size = source.size_hint();
        let pieces = Vec::new();
        Self { source, size, pieces, at: 0, begun: false, ended: false, log }
    }

    /// Whether its beginning is still there.
    pub(super) fn can_rewind(&self) -> bool {
        !self.begun || matches!(self.log, Log::Kept { .. })
    }

    /// Back to the beginning, if that is still there.
    pub(super) fn rewound(mut self: Box<Self>) -> Option<Box<Self>> {
        self.at = 0;
        self.can_rewind().then_some(self)
    }

    /// The length of all of it, where that is known.
    pub(super) fn exact(&self) -> Option<u64> {
        self.size.exact()
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.begun = true;
        if let Some(piece) = self.pieces.get(self.at) {
            self.at += 1;
            return Poll::Ready(Some(Ok(match piece.clone() {
                Piece::Data(data) => Frame::data(data),
                Piece::Trailers(trailers) => Frame::trailers(trailers),
            })));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        let frame = match ready!(Pin::new(&mut self.source).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                self.forget();
                return Poll::Ready(Some(Err(error)));
            }
            None => {
                self.ended = true;
                return Poll::Ready(None);
            }
        };
        self.remember(&frame);
        Poll::Ready(Some(Ok(frame)))
    }

    fn remember(&mut self, frame: &Frame<Bytes>) {
        let (piece, bytes) = match (frame.data_ref(), frame.trailers_ref()) {
            // The block that a piece lies in is counted as the piece.
            (Some(data), _) => (Piece::Data(data.clone()), data.len()),
            (None, Some(trailers)) => {
                let bytes = trailers.iter().map(|(name, value)| name.as_str().len() + value.len());
                (Piece::Trailers(trailers.clone()), bytes.sum())
            }
            (None, None) => return,
        };
        if self.log.takes(bytes) {
            self.pieces.push(piece);
            self.at = self.pieces.len();
        } else {
            self.forget();
        }
    }

    /// It was too much, or the source failed.
    fn forget(&mut self) {
        self.pieces = Vec::new();
        self.at = 0;
        self.log = Log::Off;
    }
}

impl std::fmt::Debug for Streamed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Streamed").field("begun", &self.begun).finish_non_exhaustive()
    }
}
