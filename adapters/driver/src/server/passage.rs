//! A request on its way through the policies.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use http::StatusCode;
use sinew_core::head::Lines;
use sinew_core::http1::BodyBytes;
use sinew_core::policy::Refused;
use sinew_core::reason::Reason;
use sinew_core::server::{self, Arrival, End, Record, Scheme, SpareRecord, Stack};
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

    /// Memory of this worker for what is known of a request, between two of them.
    static RECORD: Cell<Option<SpareRecord>> = const { Cell::new(None) };
}

/// What is known of a request from its start.
#[inline]
pub(super) fn record(arrival: &Arrival<'_>) -> Arc<Record> {
    // A thread that is about to end keeps none.
    match RECORD.try_with(Cell::take).ok().flatten() {
        Some(spare) => spare.begin(arrival),
        None => Arc::new(Record::new(arrival)),
    }
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

    /// Whether a layer is told when it was over.
    #[inline]
    pub(super) fn is_awaited(&self) -> bool {
        self.stack.awaits_end(&self.record)
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
        let over = || {
            self.stack.on_end(&self.record, &end);
            // What the layers left in it may run code of its own, too.
            if let Some(spare) = SpareRecord::of(&mut self.record) {
                let _ = RECORD.try_with(|record| record.set(Some(spare)));
            }
        };
        // A panic in here would end the process if another one brought us here.
        let _ = catch_unwind(AssertUnwindSafe(over));
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sinew_core::head::RequestHead;
    use sinew_core::http1::{Server, ServerConfig, ServerEvent};
    use sinew_core::server::RoutePolicy;
    use sinew_core::{Machine as _, Wire as _};

    use super::*;

    /// Panics when it goes as the last one but who made it.
    #[derive(Clone)]
    struct Loud(Arc<()>);

    impl Drop for Loud {
        fn drop(&mut self) {
            assert!(Arc::strong_count(&self.0) > 2, "it was the last");
        }
    }

    fn head() -> RequestHead {
        let mut server = Server::new(Arc::new(ServerConfig::default()), Instant::ZERO);
        server.inbox().extend_from_slice(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        match server.poll_event(Instant::ZERO) {
            Ok(Some(ServerEvent::Request { head, .. })) => head,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn contents_of_a_record_end_with_the_exchange_also_where_that_panics() {
        let (head, policy, peer) = (head(), RoutePolicy::default(), server::Peer::default());
        let arrival = Arrival {
            now: Instant::ZERO,
            unix: Duration::ZERO,
            number: 1,
            head: &head,
            has_body: false,
            route: None,
            fallback: false,
            policy: &policy,
            peer: &peer,
        };
        let stack = Arc::new(Stack::new([]).unwrap());
        let pass = |contents: &Arc<()>| {
            let mut record = record(&arrival);
            Arc::get_mut(&mut record).unwrap().extensions.insert(Loud(Arc::clone(contents)));
            Passage::new(record, Arc::clone(&stack))
        };
        let contents = Arc::new(());
        drop(pass(&contents));
        assert_eq!(Arc::strong_count(&contents), 1);
        let passage = pass(&contents);
        let kept = Arc::clone(&passage.record);
        drop(passage);
        assert_eq!(Arc::strong_count(&contents), 2, "whoever has the record has all of it");
        drop(catch_unwind(AssertUnwindSafe(|| drop(kept))));
        let next = record(&arrival);
        assert_eq!(format!("{next:?}"), format!("{:?}", Record::new(&arrival)));
    }
}
