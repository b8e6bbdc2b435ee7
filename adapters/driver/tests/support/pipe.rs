//! A socket in memory, whose other end the test holds.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use sinew_driver::Io;

use super::duplex::Duplex;

#[derive(Default)]
struct Pipe {
    to_server: VecDeque<u8>,
    /// Bytes that one read gives at most.
    cut: Option<usize>,
    client_shut: bool,
    to_client: Vec<u8>,
    /// Bytes that the client still takes; `None`: any number.
    window: Option<usize>,
    /// The writing side cannot be shut yet.
    shut_held: bool,
    server_shut: bool,
    server_gone: bool,
    reset: bool,
    deaf: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    writes: usize,
    reads: usize,
}

type Shared = Arc<Mutex<Pipe>>;

pub(crate) fn pair() -> (Client, SimIo) {
    let pipe = Shared::default();
    (Client(Arc::clone(&pipe)), SimIo::Scripted(Scripted(pipe)))
}

/// The test's end: a client of the server under test, or the server that a client under test calls.
pub(crate) struct Client(Shared);

impl Client {
    fn lock(&self) -> MutexGuard<'_, Pipe> {
        self.0.lock().unwrap()
    }

    fn change(&self, change: impl FnOnce(&mut Pipe)) {
        let mut pipe = self.lock();
        change(&mut pipe);
        let woken = [pipe.reader.take(), pipe.writer.take()];
        drop(pipe);
        woken.into_iter().flatten().for_each(Waker::wake);
    }

    pub(crate) fn send(&self, bytes: impl AsRef<[u8]>) {
        self.change(|pipe| pipe.to_server.extend(bytes.as_ref()));
    }

    /// Bytes that are there before anybody is told of them.
    pub(crate) fn slip(&self, bytes: impl AsRef<[u8]>) {
        self.lock().to_server.extend(bytes.as_ref());
    }

    /// Shuts the writing side.
    pub(crate) fn shut(&self) {
        self.change(|pipe| pipe.client_shut = true);
    }

    /// Goes away: reads and writes of the server fail.
    pub(crate) fn reset(&self) {
        self.change(|pipe| pipe.reset = true);
    }

    /// Is gone without the other side having noticed: its next write fails, and then its reads end.
    pub(crate) fn deafen(&self) {
        self.change(|pipe| pipe.deaf = true);
    }

    /// Takes only so many more bytes.
    pub(crate) fn window(&self, bytes: usize) {
        self.change(|pipe| pipe.window = Some(bytes));
    }

    /// Lets a shut of the other side wait, or end.
    pub(crate) fn hold_shut(&self, held: bool) {
        self.change(|pipe| pipe.shut_held = held);
    }

    /// Lets a read of the server give so many bytes at most.
    pub(crate) fn cut(&self, bytes: usize) {
        self.change(|pipe| pipe.cut = Some(bytes));
    }

    /// Bytes that the other side has not read.
    pub(crate) fn unread(&self) -> usize {
        self.lock().to_server.len()
    }

    /// What came since the last call.
    pub(crate) fn received(&self) -> String {
        String::from_utf8(self.received_bytes()).unwrap()
    }

    pub(crate) fn received_bytes(&self) -> Vec<u8> {
        std::mem::take(&mut self.lock().to_client)
    }

    pub(crate) fn writes(&self) -> usize {
        self.lock().writes
    }

    pub(crate) fn reads(&self) -> usize {
        self.lock().reads
    }

    /// Whether the server shut its side or dropped the socket.
    pub(crate) fn is_ended(&self) -> bool {
        let pipe = self.lock();
        pipe.server_shut || pipe.server_gone
    }

    /// Whether the server dropped the socket.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().server_gone
    }
}

/// A socket of the side under test.
pub(crate) enum SimIo {
    /// The test says what comes.
    Scripted(Scripted),
    /// Both ends are under test.
    Duplex(Duplex),
}

macro_rules! each {
    ($io:expr, $end:ident => $act:expr) => {
        match $io {
            SimIo::Scripted($end) => $act,
            SimIo::Duplex($end) => $act,
        }
    };
}

impl Io for SimIo {
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut BytesMut,
        hint: usize,
    ) -> Poll<io::Result<usize>> {
        each!(self, end => end.poll_fill(cx, into, hint))
    }

    fn poll_fillable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        each!(self, end => end.poll_fillable(cx))
    }

    fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        from: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, end => end.poll_drain(cx, from))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, end => end.poll_flush(cx))
    }

    fn poll_shut(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, end => end.poll_shut(cx))
    }
}

/// The end of a scripted socket that is under test.
pub(crate) struct Scripted(Shared);

impl Scripted {
    fn lock(&self) -> MutexGuard<'_, Pipe> {
        self.0.lock().unwrap()
    }
}

impl Io for Scripted {
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut BytesMut,
        hint: usize,
    ) -> Poll<io::Result<usize>> {
        let mut pipe = self.lock();
        pipe.reads += 1;
        if pipe.reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if pipe.to_server.is_empty() && !pipe.client_shut {
            pipe.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let take = pipe.to_server.len().min(hint).min(pipe.cut.unwrap_or(usize::MAX));
        let bytes: Vec<u8> = pipe.to_server.drain(..take).collect();
        into.extend_from_slice(&bytes);
        Poll::Ready(Ok(take))
    }

    fn poll_fillable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut pipe = self.lock();
        if pipe.to_server.is_empty() && !pipe.client_shut && !pipe.reset {
            pipe.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        from: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut pipe = self.lock();
        if pipe.reset || pipe.deaf {
            pipe.client_shut = true;
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        assert!(!pipe.server_shut, "written after the writing side was shut");
        let window = pipe.window.unwrap_or(usize::MAX);
        if window == 0 {
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        pipe.writes += 1;
        let mut taken = 0;
        for slice in from {
            let take = slice.len().min(window - taken);
            pipe.to_client.extend_from_slice(&slice[..take]);
            taken += take;
        }
        if let Some(left) = &mut pipe.window {
            *left -= taken;
        }
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shut(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut pipe = self.lock();
        if pipe.shut_held {
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        pipe.server_shut = true;
        Poll::Ready(Ok(()))
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.lock().server_gone = true;
    }
}
