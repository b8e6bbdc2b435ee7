//! Plaintext of the inner machine out, as ciphertext; how the output ends.

use std::io::{self, IoSlice, Write as _};

use bytes::Buf as _;
use sinew_core::Wire;
use sinew_core::machine::Status;
use sinew_core::outbox::Outbox;

use super::Session;
use crate::Failure;
use crate::failure::Reason;

/// Plaintext of one record. <https://www.rfc-editor.org/rfc/rfc8446#section-5.1>
const RECORD: usize = 16 * 1024;
/// Pieces of the inner outbox that go into one record.
const PIECES: usize = 16;
impl Session {
    /// Encrypts what the inner machine has queued, a bounded distance ahead of the socket.
    pub(crate) fn pump<W: Wire>(&mut self, inner: &mut W) {
        let idle = self.outbox.is_empty();
        self.flush();
        while !self.dead && !self.is_handshaking() && !self.outbox.is_full() {
            let plain = inner.outbox();
            if plain.is_empty() {
                break;
            }
            let before = self.outbox.len();
            let taken = self.encrypt(plain);
            plain.advance(taken);
            self.flush();
            // rustls says that it took the bytes, and drops them, when the key of a TLS 1.2 session
            // is used up.
            if taken == 0 || self.outbox.len() < before + taken {
                self.fail(Failure::local(Reason::KeysExhausted, true));
            }
        }
        if !self.dead && !self.close_sent && inner.status() != Status::Open {
            self.close_sent = true;
            self.tls.send_close_notify();
            self.flush();
        }
        if idle && !self.outbox.is_empty() {
            self.stall.observe(&self.outbox, self.now, self.options.write_stall);
            self.stall_is_early = true;
        }
    }

    /// Encrypts up to one record's worth from the front of `plain` and says how much.
    fn encrypt(&mut self, plain: &Outbox) -> usize {
        let mut pieces = [IoSlice::new(&[]); PIECES];
        let count = plain.chunks_vectored(&mut pieces);
        let mut cut = [IoSlice::new(&[]); PIECES];
        let mut room = RECORD;
        let mut used = 0;
        for (cut, piece) in cut.iter_mut().zip(&pieces[..count]) {
            if room == 0 {
                break;
            }
            let len = piece.len().min(room);
            *cut = IoSlice::new(&piece[..len]);
            room -= len;
            used += 1;
        }
        self.tls.writer().write_vectored(&cut[..used]).unwrap_or(0)
    }

    /// Moves what rustls wants sent into the outbox; this cannot fail.
    pub(super) fn flush(&mut self) {
        while self.tls.wants_write() {
            if !matches!(self.tls.write_tls(&mut Sink(&mut self.outbox)), Ok(n) if n > 0) {
                break;
            }
        }
    }
}

/// The outbox as rustls writes into it.
struct Sink<'a>(&'a mut Outbox);

impl io::Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.put(bytes);
        Ok(bytes.len())
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let before = self.0.len();
        for piece in pieces {
            self.0.put(piece);
        }
        Ok(self.0.len() - before)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
