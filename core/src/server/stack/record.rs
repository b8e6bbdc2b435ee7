//! What is known of a request, once the layers have looked at it.

use core::time::Duration;
use std::sync::Arc;

use http::{Extensions, Method, StatusCode};

use super::{Arrival, Scheme};
use crate::head::Index;
use crate::limit::{LeaseVerdict, Outcome};
use crate::observe::{Event, RequestId, TraceContext};
use crate::policy::Refused;
use crate::problem::Ids;
use crate::propagation::CallContext;
use crate::reason::Reason;
use crate::security::{AccessVerdict, CorsVerdict, CredentialVerdict, Forwarded, SecurityContext};
use crate::time::Instant;

/// What the layers found out about a request. A field that no layer filled is `None` or empty.
#[derive(Clone, Debug)]
pub struct Record {
    /// When the head was complete.
    pub arrived: Instant,
    /// The method.
    pub method: Method,
    /// What the other end speaks.
    pub scheme: Scheme,
    /// The index of the route's template.
    pub route: Option<usize>,
    /// By what the request is found again.
    pub request_id: Option<RequestId>,
    /// What the calls that it causes inherit. Its trace is the one of this very request.
    pub context: CallContext,
    /// Who asks.
    pub security: SecurityContext,
    /// What the client asked for, where a trusted proxy says that in
    /// [`Forwarded`](crate::security::ForwardedField::Forwarded). No policy goes by it.
    pub forwarded: Option<Box<Forwarded>>,
    /// What it is to CORS.
    pub cors: Option<CorsVerdict>,
    /// What became of its credential.
    pub credential: Option<CredentialVerdict>,
    /// Which rule decided.
    pub access: Option<AccessVerdict>,
    /// What it was held to, and what is left of that.
    pub quota: Option<Outcome>,
    /// The same, of a quota that replicas share.
    pub lease: Option<LeaseVerdict>,
    /// When it may be asked again.
    pub retry_after: Option<Duration>,
    /// The last refusal, also one that was not enforced.
    pub refused: Option<Refused>,
    /// Those before it, which were not.
    noted: Vec<Refused>,
    /// Layers that were asked.
    pub(super) asked: usize,
    /// Where the fields stand that several layers look at.
    pub(super) index: Index,
    /// What earlier layers left for later ones, and for the handler, by type.
    pub extensions: Extensions,
}

/// How an exchange ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct End {
    /// When.
    pub now: Instant,
    /// The status of the answer; `None` if there was none.
    pub status: Option<StatusCode>,
    /// Why, where the answer is a [problem](crate::problem) that says so.
    pub reason: Option<Reason>,
    /// Bytes of the request's body that came, as they were transferred, without framing.
    pub request_body: u64,
    /// Bytes of the answer's body that went out, likewise.
    pub response_body: u64,
}

impl End {
    /// An end of which no more is known.
    pub const fn new(now: Instant, status: Option<StatusCode>) -> Self {
        Self { now, status, reason: None, request_body: 0, response_body: 0 }
    }
}

/// The memory of a record whose exchange is over, with nothing in it.
#[derive(Debug)]
pub struct SpareRecord(Arc<Record>);

impl SpareRecord {
    /// Drops all that a record holds. `None` where somebody else has it still: theirs it stays.
    #[inline]
    pub fn of(record: &mut Arc<Record>) -> Option<Self> {
        Arc::get_mut(record)?.clear();
        Some(Self(Arc::clone(record)))
    }

    /// The same as [`Record::new`], in this memory where it is free.
    #[inline]
    pub fn begin(mut self, arrival: &Arrival<'_>) -> Arc<Record> {
        match Arc::get_mut(&mut self.0) {
            Some(record) => record.begin(arrival),
            None => self.0 = Arc::new(Record::new(arrival)),
        }
        self.0
    }
}

impl Record {
    /// Nothing is known yet but the request itself.
    pub fn new(arrival: &Arrival<'_>) -> Self {
        let mut record = Self {
            arrived: arrival.now,
            method: Method::GET,
            scheme: arrival.peer.scheme,
            route: None,
            request_id: None,
            context: CallContext::default(),
            security: SecurityContext::default(),
            forwarded: None,
            cors: None,
            credential: None,
            access: None,
            quota: None,
            lease: None,
            retry_after: None,
            refused: None,
            noted: Vec::new(),
            asked: 0,
            index: Index::default(),
            extensions: Extensions::new(),
        };
        record.begin(arrival);
        record
    }

    /// Writes down what is known of a request from its start, over a record that holds nothing.
    #[inline]
    fn begin(&mut self, arrival: &Arrival<'_>) {
        self.arrived = arrival.now;
        self.method.clone_from(arrival.head.method());
        self.scheme = arrival.peer.scheme;
        self.route = arrival.route;
        self.context.priority = arrival.policy.priority;
        self.index = Index::new(arrival.head.fields());
    }

    /// Drops all that it holds, so that it can [begin](Self::begin) once more.
    #[inline]
    fn clear(&mut self) {
        // Nothing is left out: what is added has to be named here.
        let Self {
            arrived: _,
            method,
            scheme: _,
            route: _,
            request_id,
            context: CallContext { trace, request_id: inherited, deadline, priority: _ },
            security: SecurityContext { peer, principal, peer_address, client_address },
            forwarded,
            cors,
            credential,
            access,
            quota,
            lease,
            retry_after,
            refused,
            noted,
            asked,
            index: _,
            extensions,
        } = self;
        *method = Method::GET;
        (*request_id, *trace, *inherited, *deadline) = (None, None, None, None);
        (*peer, *principal, *peer_address, *client_address) = (None, None, None, None);
        (*forwarded, *cors, *credential, *access) = (None, None, None, None);
        (*quota, *lease, *retry_after, *refused) = (None, None, None, None);
        *noted = Vec::new();
        *asked = 0;
        *extensions = Extensions::new();
    }

    /// What a problem document says about the request.
    pub fn ids(&self) -> Ids {
        Ids {
            request: self.request_id.clone(),
            trace: self.context.trace.as_ref().map(TraceContext::trace_id),
        }
    }

    /// Every refusal, in the order of the stages; only the last one may have been enforced.
    pub fn refusals(&self) -> impl Iterator<Item = Refused> {
        self.noted.iter().copied().chain(self.refused)
    }

    /// Notes a refusal, by a layer or by whoever refuses in the place of one.
    pub fn refuse(&mut self, refused: Refused) {
        self.noted.extend(self.refused.replace(refused));
    }

    /// Tells every verdict as an event, in the order of the stages.
    pub fn each_event(&self, exchange: u64, mut tell: impl FnMut(Event)) {
        if let Some(verdict) = &self.cors {
            let (kind, reason) = (verdict.kind(), verdict.reason());
            tell(Event::Cors { exchange, kind, reason });
        }
        if let Some(verdict) = self.credential {
            tell(Event::Credential { exchange, verdict });
        }
        if let Some(verdict) = self.access {
            tell(Event::Access { exchange, verdict });
        }
        if let Some(Outcome { quota, verdict, .. }) = self.quota {
            tell(Event::Quota { exchange, quota, verdict });
        }
        if let Some(verdict) = self.lease {
            tell(Event::Lease { exchange, verdict });
        }
        self.refusals().for_each(|refused| tell(Event::Refused { exchange, refused }));
    }
}
