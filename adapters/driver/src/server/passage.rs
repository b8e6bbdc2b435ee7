//! A request on its way through the policies.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use http::StatusCode;
use sinew_core::head::Lines;
use sinew_core::http1::BodyBytes;
use sinew_core::policy::Refused;
use sinew_core::reason::Reason;
use sinew_core::server::{self, End, Record, Scheme, Stack};
use sinew_core::time::Instant;
use sinew_tls::{PeerIdentity, ServerTls};

use super::response::Response;
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
    /// A layer panicked: there is a 500 for it, and none for the next one.
    pub(super) failed: bool,
    /// What was answered.
    pub(super) status: Option<StatusCode>,
    /// Why, where the answer says so.
    pub(super) reason: Option<Reason>,
    /// How much of the bodies passed.
    pub(super) bodies: BodyBytes,
    /// When something last happened.
    pub(super) seen: Instant,
}

thread_local! {
    /// Memory of this worker for what policies say of an answer, until that is queued.
    static LINES: Cell<Lines> = const { Cell::new(Lines::new()) };
}

/// Gives the memory for lines back, where an answer has had it.
#[inline]
pub(super) fn reuse(lines: Option<Lines>) {
    if let Some(mut lines) = lines {
        lines.clear();
        LINES.set(lines);
    }
}

/// A layer did.
#[derive(Debug)]
pub(super) struct Panicked;

impl Passage {
    pub(super) fn new(record: Arc<Record>, stack: Arc<Stack>) -> Self {
        let seen = record.arrived;
        Self {
            record,
            stack,
            described: false,
            plain: false,
            failed: false,
            status: None,
            reason: None,
            bodies: BodyBytes::default(),
            seen,
        }
    }

    /// Adds what belongs on an answer. `Err`: a layer panicked; the others have had their say.
    pub(super) fn dress(&self, response: &mut Response) -> Result<(), Panicked> {
        response.0.lines = Some(LINES.take());
        let (mut asked, mut dressed) = (0, Ok(()));
        let mut ask = || self.stack.resume_response(&mut asked, &self.record, response);
        while catch_unwind(AssertUnwindSafe(&mut ask)).is_err() {
            dressed = Err(Panicked);
        }
        dressed
    }

    /// Notes that the request was refused in the place of a layer.
    pub(super) fn refuse(&mut self, refused: Refused) {
        // A request that was refused has no handler, with whom it could be shared.
        if let Some(record) = Arc::get_mut(&mut self.record) {
            record.refuse(refused);
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
        // A panic in here would end the process if another one brought us here.
        let _ = catch_unwind(AssertUnwindSafe(|| self.stack.on_end(&self.record, &end)));
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
        address: peer.address(),
        name: identity.and_then(PeerIdentity::peer_name),
        thumbprint: identity
            .zip(tls)
            .and_then(|(identity, tls)| tls.thumbprint(identity.certificate())),
        scheme,
    }
}
