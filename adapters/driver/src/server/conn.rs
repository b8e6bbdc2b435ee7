//! A connection from its first byte to its last.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::http1::{Http, Next};
use super::mode::Mode;
use super::proxied::Proxied;
use super::server_wire::ServerWire;
use super::session::Session;
use crate::runtime::Runtime;

/// A connection that is being served: one task, whatever it carries.
///
/// A named future, so that it is `Send` exactly where its parts are.
pub struct Conn<W, R: Runtime, M: Mode>(Stage<W, R, M>);

#[allow(
    clippy::large_enum_variant,
    reason = "nearly every connection is the large one for all its life"
)]
enum Stage<W, R: Runtime, M: Mode> {
    /// A proxy has to say first for whom it is.
    Proxied(Box<Proxied<W, R, M>>),
    Http(Http<W, R, M>),
    Upgraded(Session<M>),
    Over,
}

impl<W, R: Runtime, M: Mode> Unpin for Conn<W, R, M> {}

impl<W, R: Runtime, M: Mode> Conn<W, R, M> {
    pub(super) fn new(http: Http<W, R, M>) -> Self {
        Self(Stage::Http(http))
    }

    pub(super) fn proxied(proxied: Proxied<W, R, M>) -> Self {
        Self(Stage::Proxied(Box::new(proxied)))
    }
}

impl<W: ServerWire, R: Runtime, M: Mode> Future for Conn<W, R, M> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let stage = &mut self.0;
        loop {
            let next = match stage {
                Stage::Proxied(proxied) => match proxied.poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(http) => {
                        *stage = http.map_or(Stage::Over, Stage::Http);
                        continue;
                    }
                },
                Stage::Http(http) => match http.poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(next) => next,
                },
                Stage::Upgraded(session) => match session.poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(()) => Next::End,
                },
                Stage::Over => return Poll::Ready(()),
            };
            *stage = match (next, std::mem::replace(stage, Stage::Over)) {
                (Next::Upgraded, Stage::Http(http)) => {
                    http.into_session().map_or(Stage::Over, Stage::Upgraded)
                }
                _ => Stage::Over,
            };
        }
    }
}

impl<W, R: Runtime, M: Mode> fmt::Debug for Conn<W, R, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Stage::Proxied(_) => f.write_str("Proxied"),
            Stage::Http(http) => http.fmt(f),
            Stage::Upgraded(session) => {
                f.debug_struct("Upgraded").field("peer", &session.link.peer).finish_non_exhaustive()
            }
            Stage::Over => f.write_str("Over"),
        }
    }
}
