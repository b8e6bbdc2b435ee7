//! A body that can be sent again.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use sinew_core::resilience::Replay;
use sinew_driver::BoxError;

use super::lock;

/// Pieces that are kept: each costs its place, however small it is.
const PIECES: usize = 1_024;

/// The body of an attempt: what was sent of it is kept, up to a limit and in 1,024 pieces, so that another attempt
/// can start from the front. The bytes are shared and not copied.
///
/// Only the last attempt may read it. Whoever still reads for one before gets [`Unrepeatable`].
pub struct Repeatable<B> {
    shared: Arc<Mutex<Kept<B>>>,
    /// Which attempt this is.
    turn: u32,
    /// How many of the kept pieces it has read.
    read: usize,
    /// Whether it has read the trailers.
    over: bool,
}

/// Where the attempts of a call have their bodies from.
pub(super) struct Source<B>(Arc<Mutex<Kept<B>>>);

/// A body of which another attempt has become the reader.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unrepeatable;

/// A body, and what was read of it.
struct Kept<B> {
    body: Pin<Box<B>>,
    /// The attempt that reads, and its task while it waits.
    turn: u32,
    reader: Option<Waker>,
    pieces: Vec<Bytes>,
    /// Bytes of the pieces, and how many there may be.
    held: usize,
    limit: usize,
    state: State,
}

enum State {
    /// All that was read is kept.
    Whole,
    /// The end was read, and all is kept.
    Ended(Option<HeaderMap>),
    /// Some of it is gone: it was too much, or the producer failed.
    Spent,
}

impl<B> Source<B> {
    /// Keeps so many bytes at most. With it comes the body of the first attempt.
    pub(super) fn new(body: B, limit: usize) -> (Self, Repeatable<B>) {
        let kept = Kept {
            body: Box::pin(body),
            turn: 0,
            reader: None,
            pieces: Vec::new(),
            held: 0,
            limit,
            state: State::Whole,
        };
        let shared = Arc::new(Mutex::new(kept));
        let first = Repeatable { shared: Arc::clone(&shared), turn: 0, read: 0, over: false };
        (Self(shared), first)
    }

    /// The same body from its front, for the next attempt. Whoever read it before is told so, and reads nothing
    /// more. `None`: some of it is gone, and whoever reads it goes on.
    pub(super) fn again(&self) -> Option<Repeatable<B>> {
        let mut kept = lock(&self.0);
        if matches!(kept.state, State::Spent) {
            return None;
        }
        kept.turn = kept.turn.wrapping_add(1);
        let (turn, reader) = (kept.turn, kept.reader.take());
        // A waker may do anything, a look at this body included.
        drop(kept);
        if let Some(reader) = reader {
            reader.wake();
        }
        Some(Repeatable { shared: Arc::clone(&self.0), turn, read: 0, over: false })
    }

    /// Whether all of it could be sent once more.
    pub(super) fn replay(&self) -> Replay {
        match lock(&self.0).state {
            State::Whole | State::Ended(_) => Replay::Possible,
            State::Spent => Replay::Impossible,
        }
    }
}

impl<B> Kept<B> {
    /// Keeps a piece, or all of them no longer.
    fn keep(&mut self, piece: &Bytes) {
        if !matches!(self.state, State::Whole) {
            return;
        }
        let held = self.held.saturating_add(piece.len());
        if held > self.limit || self.pieces.len() == PIECES {
            self.spend();
        } else {
            self.held = held;
            self.pieces.push(piece.clone());
        }
    }

    fn spend(&mut self) {
        self.pieces = Vec::new();
        self.held = 0;
        self.state = State::Spent;
    }
}

impl<B> Body for Repeatable<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let mut locked = lock(&this.shared);
        let kept = &mut *locked;
        if this.turn != kept.turn {
            return Poll::Ready(Some(Err(Unrepeatable.into())));
        }
        if let Some(piece) = kept.pieces.get(this.read) {
            this.read += 1;
            return Poll::Ready(Some(Ok(Frame::data(piece.clone()))));
        }
        if let State::Ended(trailers) = &kept.state {
            let trailers = trailers.clone().filter(|_| !this.over);
            this.over = true;
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        let Poll::Ready(next) = kept.body.as_mut().poll_frame(cx) else {
            let before = kept.reader.replace(cx.waker().clone());
            // As above: to drop a waker may be to drop a task.
            drop(locked);
            drop(before);
            return Poll::Pending;
        };
        Poll::Ready(match next {
            None => {
                if matches!(kept.state, State::Whole) {
                    kept.state = State::Ended(None);
                }
                None
            }
            Some(Err(error)) => {
                kept.spend();
                Some(Err(error.into()))
            }
            Some(Ok(frame)) => {
                if let Some(piece) = frame.data_ref() {
                    kept.keep(piece);
                    this.read = kept.pieces.len();
                } else if let Some(trailers) = frame.trailers_ref()
                    && matches!(kept.state, State::Whole)
                {
                    // https://www.rfc-editor.org/rfc/rfc9110#section-6.5: nothing follows them.
                    kept.state = State::Ended(Some(trailers.clone()));
                    this.over = true;
                }
                Some(Ok(frame))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        let kept = lock(&self.shared);
        if self.turn != kept.turn || self.read < kept.pieces.len() {
            return false;
        }
        match &kept.state {
            State::Ended(trailers) => self.over || trailers.is_none(),
            State::Whole | State::Spent => kept.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let kept = lock(&self.shared);
        let unread = kept.pieces.get(self.read..).unwrap_or_default();
        let unread = unread.iter().map(|piece| piece.len() as u64).sum::<u64>();
        let rest = kept.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(unread));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(unread));
        }
        hint
    }
}

impl<B> fmt::Debug for Repeatable<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repeatable").field("turn", &self.turn).finish_non_exhaustive()
    }
}

impl fmt::Display for Unrepeatable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("another attempt sends this body now")
    }
}

impl Error for Unrepeatable {}
