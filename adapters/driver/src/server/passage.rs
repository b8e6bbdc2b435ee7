//! A request on its way through the policies.

use std::net::IpAddr;
use std::sync::Arc;

use http::StatusCode;
use sinew_core::http1::BodyBytes;
use sinew_core::reason::Reason;
use sinew_core::server::{self, End, Record, Scheme, Stack};
use sinew_core::time::Instant;
use sinew_tls::{PeerIdentity, ServerTls};

use crate::io;

/// A request on its way through the policies. However it ends, also because its task was dropped
/// or because the connection leaves HTTP, the layers are told.
#[derive(Debug)]
pub(super) struct Passage {
    pub(super) record: Arc<Record>,
    stack: Arc<Stack>,
    /// The machine knows what belongs on its own answers.
    pub(super) described: bool,
    /// The layers have no say in the answer any more.
    pub(super) plain: bool,
    /// What was answered.
    pub(super) status: Option<StatusCode>,
    /// Why, where the answer says so.
    pub(super) reason: Option<Reason>,
    /// How much of the bodies passed.
    pub(super) bodies: BodyBytes,
    /// When something last happened.
    pub(super) seen: Instant,
}

impl Passage {
    pub(super) fn new(record: Record, stack: Arc<Stack>) -> Self {
        let seen = record.arrived;
        Self {
            record: Arc::new(record),
            stack,
            described: false,
            plain: false,
            status: None,
            reason: None,
            bodies: BodyBytes::default(),
            seen,
        }
    }

    pub(super) fn answered(&mut self, now: Instant, status: StatusCode, reason: Option<Reason>) {
        (self.seen, self.status, self.reason) = (now, Some(status), reason);
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        let BodyBytes { received, sent } = self.bodies;
        let Self { seen, status, reason, .. } = *self;
        let end = End { now: seen, status, reason, request_body: received, response_body: sent };
        self.stack.on_end(&self.record, &end);
    }
}

/// The other end, as policies see it.
pub(super) fn peer(
    peer: &io::Peer,
    identity: Option<&PeerIdentity>,
    tls: Option<&ServerTls>,
    scheme: Scheme,
) -> server::Peer {
    server::Peer {
        address: match peer {
            io::Peer::Tcp(address) => Some(IpAddr::to_canonical(&address.ip())),
            io::Peer::Unix => None,
        },
        name: identity.and_then(PeerIdentity::peer_name),
        thumbprint: identity
            .zip(tls)
            .and_then(|(identity, tls)| tls.thumbprint(identity.certificate())),
        scheme,
    }
}
