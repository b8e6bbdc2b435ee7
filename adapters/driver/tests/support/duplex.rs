//! Two ends of a socket in memory, both under test, with little room between them.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use sinew_driver::Io;

/// Bytes on their way in one direction.
const ROOM: usize = 64 * 1024;

#[derive(Default)]
struct Lane {
    bytes: VecDeque<u8>,
    /// No more will come.
    ended: bool,
    /// Nobody reads any more.
    deserted: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

type Shared = Arc<Mutex<Lane>>;

/// One end.
pub(crate) struct Duplex {
    from: Shared,
    to: Shared,
}

pub(crate) fn pair() -> (Duplex, Duplex) {
    let (one, other) = (Shared::default(), Shared::default());
    (Duplex { from: Arc::clone(&one), to: Arc::clone(&other) }, Duplex { from: other, to: one })
}

fn lock(lane: &Shared) -> MutexGuard<'_, Lane> {
    lane.lock().unwrap()
}

fn change(lane: &Shared, change: impl FnOnce(&mut Lane)) {
    let mut lane = lock(lane);
    change(&mut lane);
    let woken = [lane.reader.take(), lane.writer.take()];
    drop(lane);
    woken.into_iter().flatten().for_each(Waker::wake);
}

impl Io for Duplex {
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut BytesMut,
        hint: usize,
    ) -> Poll<io::Result<usize>> {
        let mut lane = lock(&self.from);
        if lane.bytes.is_empty() && !lane.ended {
            lane.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let take = lane.bytes.len().min(hint);
        into.extend(lane.bytes.drain(..take));
        let writer = lane.writer.take();
        drop(lane);
        writer.into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(take))
    }

    fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        from: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut lane = lock(&self.to);
        if lane.deserted {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        assert!(!lane.ended, "written after the writing side was shut");
        let room = ROOM.saturating_sub(lane.bytes.len());
        if room == 0 {
            lane.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let before = lane.bytes.len();
        for slice in from {
            let left = room - (lane.bytes.len() - before);
            lane.bytes.extend(&slice[..slice.len().min(left)]);
        }
        let taken = lane.bytes.len() - before;
        let reader = lane.reader.take();
        drop(lane);
        reader.into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shut(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        change(&self.to, |lane| lane.ended = true);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Duplex {
    fn drop(&mut self) {
        change(&self.to, |lane| lane.ended = true);
        change(&self.from, |lane| lane.deserted = true);
    }
}
