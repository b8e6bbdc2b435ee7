//! Ciphertext in, plaintext to the inner machine; how the input ends.

use std::io::BufRead as _;
use std::sync::Arc;

use bytes::Buf as _;
use sinew_core::Wire;
use sinew_core::machine::{CloseReason, Status};
use sinew_core::observe::Event;
use sinew_core::time::Instant;

use super::{Input, Session};
use crate::failure::Reason;
use crate::{Failure, PeerIdentity, record};

impl Session {
    /// Hands one record to rustls and what it decrypts to the inner machine. `false`: no progress.
    pub(super) fn feed<W: Wire>(&mut self, inner: &mut W, now: Instant) -> bool {
        // With our close_notify out and nothing more to read for, nothing that comes matters.
        let through = self.close_sent && matches!(inner.status(), Status::Close(_));
        if self.dead || self.input == Input::Over || through {
            self.inbox.clear();
            self.ahead = 0;
            return false;
        }
        if !self.is_handshaking() && !inner.wants_read() {
            return false;
        }
        let Some(len) = record::next_len(&self.inbox) else {
            if self.input == Input::Ended {
                self.judge_end(inner, now);
                return true;
            }
            return false;
        };
        self.heard = true;
        // One byte of the next record goes along: a buffer that is never empty keeps its size, and
        // takes the next record in one read.
        let upto = self.inbox.len().min(len + 1);
        let mut input = &self.inbox[self.ahead..upto];
        self.grown |= input.len() > 4096;
        let mut closed = false;
        while !input.is_empty() && !closed {
            match self.tls.read_tls(&mut input) {
                Ok(n) if n > 0 => {}
                // Nothing taken of something given: rustls can hold no more of this handshake.
                _ => {
                    self.fail(Failure::local(Reason::Protocol, !self.is_handshaking()));
                    return false;
                }
            }
            match self.tls.process_new_packets() {
                Ok(state) => closed = state.peer_has_closed(),
                Err(error) => {
                    self.fail_rustls(&error);
                    return false;
                }
            }
        }
        self.ahead = upto - len;
        if len == self.inbox.len() {
            self.inbox.clear();
        } else {
            self.inbox.advance(len);
        }
        if self.is_handshaking() && !self.tls.is_handshaking() {
            self.establish();
        }
        self.deliver(inner);
        if closed {
            // https://www.rfc-editor.org/rfc/rfc8446#section-6.1: what follows is ignored.
            self.input = Input::Over;
            self.inbox.clear();
            self.ahead = 0;
            inner.handle_eof(now);
        }
        true
    }

    fn deliver<W: Wire>(&mut self, inner: &mut W) {
        let mut plain = self.tls.reader();
        while let Ok(chunk) = plain.fill_buf() {
            let len = chunk.len();
            if len == 0 {
                break;
            }
            inner.inbox().extend_from_slice(chunk);
            plain.consume(len);
        }
    }

    fn establish(&mut self) {
        self.handshake = None;
        let leaf = self.tls.peer_certificates().and_then(<[_]>::first);
        self.identity = leaf.map(|leaf| Arc::new(PeerIdentity::read(leaf)));
        let peer_authenticated = self.identity.is_some();
        self.tell(Event::TlsEstablished { peer_authenticated });
    }

    /// The transport ended without `close_notify`: a cut, possibly somebody's attack.
    /// <https://www.rfc-editor.org/rfc/rfc9112#section-9.8>
    fn judge_end<W: Wire>(&mut self, inner: &mut W, now: Instant) {
        self.input = Input::Over;
        self.inbox.clear();
        self.ahead = 0;
        if self.is_handshaking() {
            if self.is_server() && !self.heard {
                // A health check of the port, or a client that thought better of it.
                self.handshake = None;
                self.dead = true;
                self.ended = Some(CloseReason::PeerClosed);
            } else {
                self.fail(Failure::local(Reason::Truncated, false));
            }
        } else if inner.is_self_delimited() || inner.status() != Status::Open {
            inner.handle_eof(now);
        } else {
            self.fail(Failure::local(Reason::Truncated, true));
        }
    }
}
