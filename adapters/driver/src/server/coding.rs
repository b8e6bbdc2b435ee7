//! Content codings on a server: request bodies are unpacked, answers are packed, where asked for.

use http::header::ACCEPT_ENCODING;
use http_body::Body as _;
use sinew_core::content_coding::{Compression, KNOWN, Preference};
use sinew_core::head::RequestHead;
use sinew_core::reason::Reason;

use super::problem::Problem;
use super::response::{IntoResponse as _, Response};
use crate::body::Body;
use crate::coding::{Packed, pack};
use crate::error::Origin;

/// Bodies that are packed at once, so that their length is known: bytes at most.
const AT_ONCE: usize = 16 * 1024;

/// Whether a route goes its own way.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Override<T> {
    /// As the server does.
    #[default]
    Inherit,
    /// Not at all.
    Off,
    /// Like this.
    Own(T),
}

impl<T: Copy> Override<T> {
    /// What holds for the route.
    pub(super) fn over(self, servers: Option<T>) -> Option<T> {
        match self {
            Self::Inherit => servers,
            Self::Off => None,
            Self::Own(own) => Some(own),
        }
    }
}

/// How the answer to a request is packed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packing {
    policy: Compression,
    preference: Preference,
}

impl Packing {
    pub(super) fn new(policy: Compression, head: &RequestHead) -> Self {
        Self { policy, preference: Preference::of(head.fields()) }
    }

    /// Packs an answer, if it is worth it and the client takes it.
    pub(super) fn apply(self, response: &mut Response) {
        let size = response.0.body.size_hint().exact();
        let Some(coding) = self.policy.choose(self.preference, size, response) else {
            return;
        };
        let level = self.policy.level;
        let body = std::mem::take(&mut response.0.body);
        let packed = body.into_full(AT_ONCE).and_then(|bytes| {
            let packed = pack(&bytes, coding, level);
            packed.map_err(|_| bytes.into())
        });
        response.0.body = match packed {
            Ok(packed) => packed.into(),
            Err(body) => Body::own(Packed::new(body, coding, level), Origin::Call),
        };
    }
}

/// The answer to a body whose coding is not taken.
/// <https://www.rfc-editor.org/rfc/rfc9110#section-15.5.16>
pub(super) fn refused(reason: Reason) -> Response {
    let mut response = Problem::because(reason).into_response();
    response.0.fields.push((ACCEPT_ENCODING, KNOWN));
    response
}
