//! TLS around a socket, below whatever is spoken over it: that to a proxy, through which TLS to a service
//! goes.

use std::fmt;
use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use sinew_core::Machine as _;
use sinew_core::http1::{Tunnel, TunnelEvent};
use sinew_core::machine::{Status, Wire as _};
use sinew_core::time::Instant;
use sinew_tls::Tls;

use crate::drive::lend_write_block;
use crate::io::Io;

/// Bytes that one write takes at most: they are copied.
const LARGEST_WRITE: usize = 64 * 1024;

/// A session whose handshake is over. Its timers do not run: what goes through it has its own.
pub(crate) struct Relay {
    wire: Tls<Tunnel>,
    /// When it began, which is what time it is in here.
    now: Instant,
    /// Nothing more comes, as the session or the stream says.
    ended: bool,
}

impl Relay {
    /// `None` where the other side has spoken already.
    pub(crate) fn new(mut wire: Tls<Tunnel>, now: Instant) -> Option<Self> {
        match wire.poll_event(now) {
            Ok(None) => Some(Self { wire, now, ended: false }),
            Ok(Some(_)) | Err(_) => None,
        }
    }

    /// [`Io::poll_fill`], through it.
    pub(crate) fn poll_fill<I: Io>(
        &mut self,
        io: &mut I,
        cx: &mut Context<'_>,
        into: &mut BytesMut,
        hint: usize,
    ) -> Poll<io::Result<usize>> {
        loop {
            match self.wire.poll_event(self.now) {
                Ok(Some(TunnelEvent::Data(data))) => {
                    into.extend_from_slice(&data);
                    return Poll::Ready(Ok(data.len()));
                }
                Ok(Some(TunnelEvent::End)) => {
                    self.ended = true;
                    return Poll::Ready(Ok(0));
                }
                Ok(None) if self.ended => return Poll::Ready(Ok(0)),
                Ok(None) => {}
                Err(error) => {
                    // An alert may be queued: one try, nobody waits for it.
                    let _ = self.poll_out(io, cx);
                    return Poll::Ready(Err(io::Error::other(error)));
                }
            }
            // TLS answers by itself at times.
            if let Poll::Ready(Err(error)) = self.poll_out(io, cx) {
                return Poll::Ready(Err(error));
            }
            if ready!(io.poll_fill(cx, self.wire.inbox(), hint))? == 0 {
                self.wire.handle_eof(self.now);
                self.ended = true;
            }
        }
    }

    /// [`Io::poll_drain`], through it.
    pub(crate) fn poll_drain<I: Io>(
        &mut self,
        io: &mut I,
        cx: &mut Context<'_>,
        from: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        while !self.wire.inner().can_send() {
            if self.wire.status() != Status::Open {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            ready!(self.poll_out(io, cx))?;
        }
        let mut taken = 0;
        for slice in from {
            if taken == LARGEST_WRITE || !self.wire.inner().can_send() {
                break;
            }
            let piece = &slice[..slice.len().min(LARGEST_WRITE - taken)];
            lend_write_block(self.wire.inner_mut().outbox());
            let sent = self.wire.inner_mut().send(self.now, Bytes::copy_from_slice(piece));
            sent.map_err(|_| io::ErrorKind::BrokenPipe)?;
            taken += piece.len();
        }
        // What is left goes with the next write, or with a flush.
        match self.poll_out(io, cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(taken)),
        }
    }

    /// [`Io::poll_flush`], through it.
    pub(crate) fn poll_flush<I: Io>(
        &mut self,
        io: &mut I,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_out(io, cx))?;
        io.poll_flush(cx)
    }

    /// [`Io::poll_shut`], through it.
    pub(crate) fn poll_shut<I: Io>(
        &mut self,
        io: &mut I,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.wire.inner_mut().shut(self.now);
        // The session says its end by itself, behind what is queued and before that of the stream. What it
        // has received already stays for whoever reads.
        ready!(self.poll_out(io, cx))?;
        io.poll_shut(cx)
    }

    /// Writes what is queued.
    fn poll_out<I: Io>(&mut self, io: &mut I, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let outbox = self.wire.outbox();
            if outbox.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let written = ready!(io.poll_drain(cx, &[IoSlice::new(outbox.chunk())]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            outbox.advance(written.min(outbox.remaining()));
        }
    }
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use sinew_core::http1::TunnelConfig;
    use sinew_core::outbox::Outbox;
    use sinew_tls::{ClientTls, ServerTls};

    use super::*;

    const NOW: Instant = Instant::from_nanos(1);

    /// A socket in memory.
    #[derive(Default)]
    struct Socket {
        incoming: BytesMut,
        written: BytesMut,
        /// The peer takes nothing more.
        blocked: bool,
        shut: bool,
    }

    impl Io for Socket {
        fn poll_fill(
            &mut self,
            _: &mut Context<'_>,
            into: &mut BytesMut,
            _: usize,
        ) -> Poll<io::Result<usize>> {
            if self.incoming.is_empty() {
                return Poll::Pending;
            }
            let all = self.incoming.split();
            into.extend_from_slice(&all);
            Poll::Ready(Ok(all.len()))
        }

        fn poll_drain(
            &mut self,
            _: &mut Context<'_>,
            from: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            assert!(!self.shut, "written after the writing side was shut");
            if self.blocked {
                return Poll::Pending;
            }
            for slice in from {
                self.written.extend_from_slice(slice);
            }
            Poll::Ready(Ok(from.iter().map(|slice| slice.len()).sum()))
        }

        fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shut(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.shut = true;
            Poll::Ready(Ok(()))
        }
    }

    fn tunnel() -> Tunnel {
        Tunnel::new(TunnelConfig::default(), BytesMut::new(), Outbox::new(), NOW)
    }

    /// All that is queued goes from one side to the other.
    fn pass(from: &mut Tls<Tunnel>, to: &mut BytesMut) {
        while !from.outbox().is_empty() {
            let queued = from.outbox().remaining();
            to.extend_from_slice(&from.outbox().copy_to_bytes(queued));
        }
    }

    /// A relay, the socket below it, and the proxy at the other end.
    fn secured() -> (Relay, Socket, Tls<Tunnel>) {
        let proxy = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (certificate, key) = (proxy.cert.pem(), proxy.signing_key.serialize_pem());
        let server = ServerTls::builder().certificate_pem(&certificate, &key).unwrap();
        let mut theirs = server.build().unwrap().accept(tunnel(), NOW).unwrap();
        let client = ClientTls::builder().ca_pem(&certificate).unwrap().build().unwrap();
        let mut ours = client.connect("localhost", tunnel(), NOW).unwrap();
        while ours.is_handshaking() || theirs.is_handshaking() {
            pass(&mut ours, theirs.inbox());
            assert_eq!(theirs.poll_event(NOW).unwrap(), None);
            pass(&mut theirs, ours.inbox());
            assert_eq!(ours.poll_event(NOW).unwrap(), None);
        }
        (Relay::new(ours, NOW).unwrap(), Socket::default(), theirs)
    }

    fn cx() -> Context<'static> {
        Context::from_waker(Waker::noop())
    }

    #[test]
    fn after_a_shut_the_rest_of_what_came_is_still_read() {
        let (mut relay, mut socket, mut proxy) = secured();
        for piece in ["one ", "two ", "three"] {
            proxy.inner_mut().send(NOW, Bytes::from_static(piece.as_bytes())).unwrap();
            // A record of its own.
            pass(&mut proxy, &mut socket.incoming);
        }
        proxy.inner_mut().shut(NOW);
        pass(&mut proxy, &mut socket.incoming);
        let mut read = BytesMut::new();
        assert!(relay.poll_fill(&mut socket, &mut cx(), &mut read, 1).is_ready());
        assert_eq!(read, "one ");
        for _ in 0..2 {
            let shut = relay.poll_shut(&mut socket, &mut cx());
            assert!(matches!(shut, Poll::Ready(Ok(()))), "{shut:?}");
        }
        assert!(socket.shut);
        while let Poll::Ready(Ok(1..)) = relay.poll_fill(&mut socket, &mut cx(), &mut read, 1) {}
        assert_eq!(read, "one two three");
        // The end stays one; that of the stream is not waited for.
        for _ in 0..2 {
            let end = relay.poll_fill(&mut socket, &mut cx(), &mut read, 1);
            assert!(matches!(end, Poll::Ready(Ok(0))), "{end:?}");
        }
        // The proxy is told by the session, before the stream ends.
        proxy.inbox().extend_from_slice(&socket.written);
        assert_eq!(proxy.poll_event(NOW).unwrap(), Some(TunnelEvent::End));
    }

    #[test]
    fn a_write_takes_a_bounded_piece() {
        let (mut relay, mut socket, _) = secured();
        socket.blocked = true;
        let (small, large) = (vec![1; 1000], vec![2; 4 * LARGEST_WRITE]);
        let slices = [&*small, &*large, &*small].map(IoSlice::new);
        let taken = relay.poll_drain(&mut socket, &mut cx(), &slices);
        assert!(matches!(taken, Poll::Ready(Ok(LARGEST_WRITE))), "{taken:?}");
    }

    #[test]
    fn what_is_written_in_pieces_arrives_whole() {
        let (mut relay, mut socket, mut proxy) = secured();
        let body: Vec<u8> = (0..=250).cycle().take(5 * LARGEST_WRITE + 1).collect();
        let (mut sent, mut arrived) = (0, Vec::new());
        while sent < body.len() {
            let slices = [IoSlice::new(&body[sent..])];
            let taken = relay.poll_drain(&mut socket, &mut cx(), &slices);
            let Poll::Ready(Ok(taken @ 1..)) = taken else { panic!("{taken:?}") };
            sent += taken;
            assert!(relay.poll_flush(&mut socket, &mut cx()).is_ready());
            proxy.inbox().extend_from_slice(&socket.written.split());
            while let Some(TunnelEvent::Data(data)) = proxy.poll_event(NOW).unwrap() {
                arrived.extend_from_slice(&data);
            }
        }
        assert!(arrived == body, "{} of {} bytes", arrived.len(), body.len());
    }
}
