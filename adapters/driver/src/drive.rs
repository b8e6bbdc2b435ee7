//! The pieces of the loop that every connection is driven with: read, write, sleep.

use std::cell::Cell;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, BytesMut};
use sinew_core::Wire;
use sinew_core::outbox::Outbox;
use sinew_core::time::Instant;

use crate::io::Io;
use crate::relay::Relay;
use crate::runtime::Runtime;

/// The size of a read when nothing is known about the connection, and of a worker's block.
const BLOCK: usize = 8 * 1024;

/// The largest read. A peer that fills its reads gets larger ones, up to this.
const LARGEST_READ: usize = 64 * 1024;

/// Slices that one write takes.
const SLICES: usize = 64;

thread_local! {
    /// The blocks of this worker. A connection borrows them while it is awake and has bytes; one that
    /// sleeps with nothing queued owns none. They are swapped in and out, so that nothing is made or
    /// dropped.
    static READ_BLOCK: Cell<BytesMut> = Cell::new(BytesMut::new());
    static WRITE_BLOCK: Cell<BytesMut> = Cell::new(BytesMut::new());
}

/// A socket, and what the driver remembers about it.
#[derive(Debug)]
pub(crate) struct Pipe<I> {
    io: I,
    /// What everything goes through on its way to the socket.
    relay: Option<Box<Relay>>,
    /// Bytes that the next read asks for.
    read_size: usize,
    /// The last read took less than it had room for: the socket is empty, most likely.
    sated: bool,
    /// Written bytes may still sit in an inner layer.
    flushing: bool,
}

impl<I: Io> Pipe<I> {
    pub(crate) fn new(io: I) -> Self {
        Self { io, relay: None, read_size: BLOCK, sated: false, flushing: false }
    }

    /// The same socket, through this.
    pub(crate) fn through(self, relay: Relay) -> Self {
        Self { relay: Some(Box::new(relay)), ..self }
    }

    /// Reads once into the inbox. `Ok(0)` is the end of the stream.
    ///
    /// The block behind an empty inbox is the worker's: it is taken before the read and given back
    /// when there was nothing to read.
    pub(crate) fn fill<W: Wire>(
        &mut self,
        cx: &mut Context<'_>,
        wire: &mut W,
    ) -> Poll<io::Result<usize>> {
        // After a short read it is asked, without a block in hand, whether there is more.
        if self.sated && self.relay.is_none() && self.io.poll_fillable(cx).is_pending() {
            self.sated = false;
            return_read_block(wire.inbox());
            return Poll::Pending;
        }
        let inbox = wire.inbox();
        if inbox.capacity() == 0 {
            swap_read_block(inbox);
        }
        // `reserve` takes the block's own head back where nobody holds a slice of it any more.
        if inbox.capacity() - inbox.len() < self.read_size / 2 {
            inbox.reserve(self.read_size);
        }
        let room = (inbox.capacity() - inbox.len()).min(self.read_size);
        let polled = match &mut self.relay {
            None => self.io.poll_fill(cx, inbox, self.read_size),
            Some(relay) => relay.poll_fill(&mut self.io, cx, inbox, self.read_size),
        };
        self.sated = matches!(&polled, Poll::Ready(Ok(read)) if *read < room);
        match &polled {
            Poll::Ready(Ok(read)) if *read >= room => {
                self.read_size = (self.read_size * 2).min(LARGEST_READ);
            }
            Poll::Ready(Ok(read)) if *read < self.read_size / 4 => {
                self.read_size = (self.read_size / 2).max(BLOCK);
            }
            Poll::Pending => return_read_block(inbox),
            Poll::Ready(_) => {}
        }
        polled
    }

    /// Writes once from the outbox, and flushes when that emptied it.
    pub(crate) fn drain(
        &mut self,
        cx: &mut Context<'_>,
        outbox: &mut Outbox,
    ) -> Poll<io::Result<()>> {
        let first = outbox.chunk();
        let mut write = |slices: &[IoSlice<'_>]| match &mut self.relay {
            None => self.io.poll_drain(cx, slices),
            Some(relay) => relay.poll_drain(&mut self.io, cx, slices),
        };
        let written = if first.len() == outbox.remaining() {
            ready!(write(&[IoSlice::new(first)]))?
        } else {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let used = outbox.chunks_vectored(&mut slices);
            ready!(write(slices.get(..used).unwrap_or_default()))?
        };
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        outbox.advance(written.min(outbox.remaining()));
        self.flushing = outbox.is_empty();
        self.flush(cx)
    }

    /// Goes on with a flush that did not end yet. Bytes held back by it are not a reason to sleep
    /// less: the layer that holds them wakes the task.
    pub(crate) fn flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.flushing {
            return Poll::Ready(Ok(()));
        }
        let flushed = match &mut self.relay {
            None => self.io.poll_flush(cx),
            Some(relay) => relay.poll_flush(&mut self.io, cx),
        };
        if let Poll::Ready(flushed) = flushed {
            self.flushing = false;
            flushed?;
        }
        Poll::Ready(Ok(()))
    }

    /// Shuts the writing side.
    pub(crate) fn shut(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.relay {
            None => self.io.poll_shut(cx),
            Some(relay) => relay.poll_shut(&mut self.io, cx),
        }
    }
}

/// Gives the worker's write block to an outbox that has none; call it before a machine writes.
#[inline]
pub(crate) fn lend_write_block(outbox: &mut Outbox) {
    if outbox.lacks_block() {
        WRITE_BLOCK.with(|shared| outbox.swap_block(shared));
    }
}

/// Takes everything back that a connection holds while it sleeps with nothing buffered.
pub(crate) fn rest<W: Wire>(wire: &mut W) {
    return_read_block(wire.inbox());
    wire.rest();
}

/// Takes the read block back, if nothing of it is unread.
#[inline]
fn return_read_block(inbox: &mut BytesMut) {
    if inbox.is_empty() && inbox.capacity() > 0 {
        swap_read_block(inbox);
        // Two had one: the worker keeps the later one.
        if inbox.capacity() > 0 {
            drop_block(inbox);
        }
    }
}

#[cold]
fn drop_block(inbox: &mut BytesMut) {
    *inbox = BytesMut::new();
}

#[inline]
fn swap_read_block(inbox: &mut BytesMut) {
    READ_BLOCK.with(|shared| shared.swap(Cell::from_mut(inbox)));
}

/// Takes the write block back, if nothing in it is queued. Of two, the worker keeps the later one, and
/// the outbox [drops](Outbox::rest) the other when it rests with nothing queued.
#[inline]
pub(crate) fn return_write_block(outbox: &mut Outbox) {
    if !outbox.lacks_block() {
        WRITE_BLOCK.with(|shared| outbox.swap_block(shared));
    }
}

/// The one timer of a connection, re-armed lazily.
///
/// A deadline that moves later does not touch the runtime's timer: the old one fires, finds nothing
/// due, and is armed anew.
pub(crate) struct Alarm<R: Runtime> {
    sleep: Option<R::Sleep>,
    /// What the sleep is armed for; [`Instant::MAX`] when it is not.
    at: Instant,
    /// Whom it wakes.
    waker: Option<Waker>,
}

impl<R: Runtime> Alarm<R> {
    pub(crate) fn new() -> Self {
        Self { sleep: None, at: Instant::MAX, waker: None }
    }

    /// Whether the runtime's timer has fired, or is about to. Every deadline that it was armed for
    /// lies at or after it, so before that nothing can be due.
    pub(crate) fn has_fired(&self, now: Instant) -> bool {
        self.at <= now
    }

    /// Makes sure that the task is woken at `deadline` or before. Ready: that is now.
    #[inline]
    pub(crate) fn arm(
        &mut self,
        cx: &mut Context<'_>,
        runtime: &R,
        now: Instant,
        deadline: Option<Instant>,
    ) -> Poll<()> {
        let known = self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        let Some(deadline) = deadline else {
            // An armed timer is left alone: it costs one idle wake-up at most.
            if self.at <= now {
                self.at = Instant::MAX;
            }
            return Poll::Pending;
        };
        let armed = self.at > now && self.at <= deadline;
        // It is, nearly always.
        if armed && known {
            return Poll::Pending;
        }
        if !known {
            self.waker = Some(cx.waker().clone());
        }
        self.set(cx, runtime, deadline, armed)
    }

    fn set(
        &mut self,
        cx: &mut Context<'_>,
        runtime: &R,
        deadline: Instant,
        armed: bool,
    ) -> Poll<()> {
        if !armed {
            match &mut self.sleep {
                Some(sleep) => runtime.reset(sleep, deadline),
                None => self.sleep = Some(runtime.sleep_until(deadline)),
            }
            self.at = deadline;
        }
        match &mut self.sleep {
            Some(sleep) => Pin::new(sleep).poll(cx),
            None => Poll::Pending,
        }
    }
}

impl<R: Runtime> std::fmt::Debug for Alarm<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Alarm").field("at", &self.at).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use sinew_core::http1::Server;
    use sinew_core::machine::Machine as _;

    use super::*;

    /// Gives one request, and nothing behind it.
    struct Once(&'static [u8]);

    impl Io for Once {
        fn poll_fill(
            &mut self,
            _: &mut Context<'_>,
            into: &mut BytesMut,
            _: usize,
        ) -> Poll<io::Result<usize>> {
            let bytes = std::mem::take(&mut self.0);
            into.extend_from_slice(bytes);
            if bytes.is_empty() { Poll::Pending } else { Poll::Ready(Ok(bytes.len())) }
        }

        fn poll_fillable(&mut self, _: &mut Context<'_>) -> Poll<()> {
            if self.0.is_empty() { Poll::Pending } else { Poll::Ready(()) }
        }

        fn poll_drain(
            &mut self,
            _: &mut Context<'_>,
            _: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            Poll::Pending
        }

        fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shut(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn who_waits_for_more_and_has_nothing_owns_no_block() {
        let mut cx = Context::from_waker(Waker::noop());
        let mut server = Server::new(std::sync::Arc::default(), Instant::ZERO);
        let mut pipe = Pipe::new(Once(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"));
        assert!(pipe.fill(&mut cx, &mut server).is_ready());
        drop(server.poll_event(Instant::ZERO).unwrap());
        assert!(pipe.fill(&mut cx, &mut server).is_pending());
        assert_eq!(server.inbox().capacity(), 0);
    }
}
