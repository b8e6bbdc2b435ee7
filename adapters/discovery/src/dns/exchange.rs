//! One try of a lookup, on a socket.

use std::future::Future;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use sinew_core::time::Instant;
use sinew_driver::{Datagram as _, Datagrams, Io as _, udp_socket};

use super::lookup::{Lookup, Transport, Try};

/// Room for a datagram. One that is longer than what we asked for is cut, and makes no sense then.
const ROOM: usize = 4_096;

/// What is read of a stream at once.
const CHUNK: usize = 4_096;

/// One try on a socket of its own.
pub(super) struct Exchange<R: Datagrams> {
    number: u32,
    unsent: Vec<u8>,
    carrier: Carrier<R>,
}

enum Carrier<R: Datagrams> {
    Datagrams(R::Datagram),
    Connecting(Pin<Box<dyn Future<Output = io::Result<R::Io>> + Send>>),
    Stream(R::Io),
    /// It failed, and that was told.
    Gone,
}

impl<R: Datagrams> Exchange<R> {
    pub(super) fn open(runtime: &R, next: Try) -> Self {
        let carrier = match next.transport {
            Transport::Udp => Carrier::datagrams(runtime, next.server),
            Transport::Tcp => Ok(Carrier::Connecting(Box::pin(runtime.connect_tcp(next.server)))),
        };
        Self {
            number: next.number,
            unsent: next.bytes,
            // Told at the first poll.
            carrier: carrier
                .unwrap_or_else(|why| Carrier::Connecting(Box::pin(std::future::ready(Err(why))))),
        }
    }

    /// Moves bytes until something came that `lookup` was told.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        lookup: &mut Lookup,
        now: impl Fn() -> Instant,
    ) -> Poll<()> {
        let moved: io::Result<()> = ready!(self.poll_move(cx, lookup, &now));
        if moved.is_err() {
            self.carrier = Carrier::Gone;
            lookup.handle_failure(now(), self.number);
        }
        Poll::Ready(())
    }

    fn poll_move(
        &mut self,
        cx: &mut Context<'_>,
        lookup: &mut Lookup,
        now: impl Fn() -> Instant,
    ) -> Poll<io::Result<()>> {
        loop {
            match &mut self.carrier {
                Carrier::Datagrams(socket) => {
                    if !self.unsent.is_empty() {
                        ready!(socket.poll_send(cx, &self.unsent))?;
                        self.unsent.clear();
                    }
                    let mut room = [0; ROOM];
                    let length = ready!(socket.poll_receive(cx, &mut room))?;
                    let datagram = room.get(..length).unwrap_or_default();
                    lookup.handle_datagram(now(), self.number, datagram);
                    return Poll::Ready(Ok(()));
                }
                Carrier::Connecting(connecting) => {
                    self.carrier = Carrier::Stream(ready!(connecting.as_mut().poll(cx))?);
                }
                Carrier::Stream(io) => {
                    while !self.unsent.is_empty() {
                        let taken = ready!(io.poll_drain(cx, &[IoSlice::new(&self.unsent)]))?;
                        if taken == 0 {
                            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                        }
                        self.unsent.drain(..taken.min(self.unsent.len()));
                    }
                    ready!(io.poll_flush(cx))?;
                    let mut chunk = BytesMut::new();
                    if ready!(io.poll_fill(cx, &mut chunk, CHUNK))? == 0 {
                        return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                    }
                    lookup.handle_stream(now(), self.number, &chunk);
                    return Poll::Ready(Ok(()));
                }
                Carrier::Gone => return Poll::Pending,
            }
        }
    }
}

impl<R: Datagrams> Carrier<R> {
    fn datagrams(runtime: &R, server: SocketAddr) -> io::Result<Self> {
        runtime.datagram(udp_socket(server)?).map(Self::Datagrams)
    }
}
