//! Content codings on a server: request bodies are unpacked, answers are packed, where asked for.

use http::header::ACCEPT_ENCODING;
use http_body::Body as _;
use sinew_core::head::RequestHead;
use sinew_core::reason::Reason;
use sinew_core::server::content_coding::{KNOWN, Preference};
use sinew_core::server::{Coding, Compression, Decompression};

use super::problem::Problem;
use super::response::{IntoResponse as _, Response};
use crate::body::Body;
use crate::coding::{Packed, Unpacked, pack};

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
        let size = response.body.size_hint().exact();
        let Some(coding) = self.policy.choose(self.preference, size, response) else {
            return;
        };
        let level = self.policy.level;
        let body = std::mem::take(&mut response.body);
        let packed = body.into_full(AT_ONCE).and_then(|bytes| {
            let packed = pack(&bytes, coding, level);
            packed.map_err(|_| bytes.into())
        });
        response.body = match packed {
            Ok(packed) => packed.into(),
            Err(body) => Body::own(Packed::new(body, coding, level)),
        };
    }
}

/// How the body of a request is unpacked.
#[derive(Debug)]
pub(super) struct Unpacking {
    policy: Decompression,
    codings: Vec<Coding>,
}

impl Unpacking {
    /// `None`: the body has no coding.
    pub(super) fn new(policy: Decompression, head: &RequestHead) -> Result<Option<Self>, Reason> {
        let codings = policy.admit(head.fields())?;
        Ok((!codings.is_empty()).then_some(Self { policy, codings }))
    }

    /// Unpacks a body to so many bytes at most, and takes out of the head what no longer holds.
    pub(super) fn apply(self, head: &mut RequestHead, body: Body, limit: u64) -> Body {
        head.remove_field("content-encoding");
        head.remove_field("content-length");
        // https://www.rfc-editor.org/rfc/rfc9110#section-8.4: in the order in which they were applied.
        let layers = self.codings.into_iter().rev();
        layers.fold(body, |body, coding| {
            Body::of_request(Unpacked::new(body, coding, self.policy, limit))
        })
    }
}

/// The answer to a body whose coding is not taken.
/// <https://www.rfc-editor.org/rfc/rfc9110#section-15.5.16>
pub(super) fn refused(reason: Reason) -> Response {
    let mut response = Problem::because(reason).into_response();
    response.fields.push((ACCEPT_ENCODING, KNOWN));
    response
}
