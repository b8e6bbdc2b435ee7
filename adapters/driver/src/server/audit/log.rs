//! What is recorded, and of whom.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::Method;
use sinew_core::observe::Event;
use sinew_core::observe::audit::{self, Kind, Value};
use sinew_core::policy::{Mode, Stage};
use sinew_core::problem::Ids;
use sinew_core::security::SecurityContext;
use sinew_core::server::{Record, ReloadOutcome};
use sinew_tls::{Failure, Reason, Side};

use super::AuditSettings;
use super::writer::Lines;
use crate::io::Peer;
use crate::server::observed::Observed;
use crate::server::service::{Notice, Observer};

/// The wall clock, since 1970-01-01T00:00:00Z.
pub(in crate::server) type Clock = Box<dyn Fn() -> Duration + Send + Sync>;

type Details<'a> = &'a [(&'static str, Value<'a>)];

/// Takes records, and hands them to the thread. Dropped, it lets the thread come to its end.
pub(in crate::server) struct AuditLog {
    settings: AuditSettings,
    lines: Arc<Lines>,
    clock: Clock,
    observed: Arc<Observed>,
}

impl AuditLog {
    pub(super) fn new(settings: AuditSettings, clock: Clock, observed: Arc<Observed>) -> Self {
        let lines = Arc::new(Lines::new(settings.queue));
        Self { settings, lines, clock, observed }
    }

    /// Whom what is lost, and what cannot be written, is told to from now on.
    pub(in crate::server) fn observe(&self, observer: Option<Observer>) {
        self.observed.replace(observer);
    }

    pub(super) fn lines(&self) -> Arc<Lines> {
        Arc::clone(&self.lines)
    }

    /// The server is about to serve.
    pub(super) fn started(&self, broken_end: bool) {
        if broken_end {
            let what = [("what", Value::Name("the audit file before this one has a broken end"))];
            self.note(Kind::SuspiciousActivity, &what);
        }
        self.note(Kind::ConfigChange, &[("what", Value::Name("started"))]);
    }

    /// Records what concerns no request.
    pub(in crate::server) fn note(&self, kind: Kind, details: Details<'_>) {
        self.write(kind, (self.clock)(), &Ids::default(), None, details);
    }

    /// Records what the policies said to a request. `why` is asked for where a rule decided.
    pub(in crate::server) fn request(
        &self,
        unix: Duration,
        record: &Record,
        route: Option<&str>,
        why: impl Fn() -> Option<String>,
    ) {
        let ids = record.ids();
        record.each_event(0, |event| {
            let Some(kind) = Kind::of(&event) else { return };
            let stage = stage_of(&event);
            let refused = record.refusals().find(|refused| Some(refused.stage) == stage);
            let (verdict, why) = (event.verdict(), access(&event).then(&why).flatten());
            let details = [
                verdict.map(|verdict| ("verdict", Value::Name(verdict.verdict))),
                refused.map(|refused| ("reason", refused.reason.into())),
                refused
                    .filter(|refused| refused.mode == Mode::Shadow)
                    .map(|_| ("mode", Value::Name("shadow"))),
                why.as_deref().map(|why| ("why", Value::Text(why))),
                Some(("method", Value::Name(known(&record.method)))),
                route.map(|route| ("route", Value::Text(route))),
            ];
            let mut said = [("", Value::Redacted); 6];
            let mut count = 0;
            for (place, detail) in said.iter_mut().zip(details.into_iter().flatten()) {
                *place = detail;
                count += 1;
            }
            let said = said.get(..count).unwrap_or_default();
            self.write(kind, unix, &ids, Some(&record.security), said);
        });
    }

    /// Records what a connection, or the server itself, was told. What its policies say to requests
    /// is left to [`request`](Self::request).
    pub(in crate::server) fn notice(&self, peer: Option<&Peer>, notice: &Notice) {
        let of_peer = |kind, details: Details<'_>| {
            let address = peer.and_then(Peer::address);
            let who = SecurityContext { peer_address: address, ..SecurityContext::default() };
            self.write(kind, (self.clock)(), &Ids::default(), Some(&who), details);
        };
        match notice {
            Notice::Decided(event @ Event::Failed(error)) => {
                if let Some(kind) = Kind::of(event) {
                    let reason = sinew_core::reason::Reason::of(error);
                    of_peer(kind, &[("reason", reason.into())]);
                }
            }
            Notice::TlsFailed(failure) => {
                if let Some(verdict) = refused_certificate(failure) {
                    of_peer(Kind::AuthFailure, &[("certificate", Value::Name(verdict))]);
                }
            }
            Notice::Distrusted => {
                of_peer(Kind::AuthFailure, &[("certificate", Value::Name("not_trusted_any_more"))]);
            }
            Notice::Decided(Event::Reload(ReloadOutcome::InForce { epoch })) => {
                let what = ("what", Value::Name("reloaded"));
                self.note(Kind::ConfigChange, &[what, ("epoch", Value::Number(*epoch))]);
            }
            Notice::ReloadRefused { why } => {
                let what = ("what", Value::Name("reload refused"));
                self.note(Kind::ConfigChange, &[what, ("why", Value::Text(why))]);
            }
            Notice::KeysReplaced(usable) => {
                self.note(Kind::KeyRotation, &[("keys", Value::Number(*usable as u64))]);
            }
            _ => {}
        }
    }

    fn write(
        &self,
        kind: Kind,
        unix: Duration,
        ids: &Ids,
        who: Option<&SecurityContext>,
        details: Details<'_>,
    ) {
        if kind.severity() < self.settings.least {
            return;
        }
        let record = audit::Record { kind, unix, ids, who, details };
        let mut state = self.lines.lock();
        let before = state.queue.lost();
        state.queue.push(&record);
        let (lost, waits) = (state.queue.lost() - before, state.waits);
        drop(state);
        if waits {
            self.lines.ring();
        }
        if lost > 0 {
            self.observed.tell(None, &Notice::Decided(Event::AuditLost(lost)));
        }
    }

    /// Ready when all that was recorded is written. No more can be recorded.
    pub(in crate::server) async fn closed(&self) {
        self.lines.close();
        poll_fn(|cx| if self.lines.is_over(cx.waker()) { Poll::Ready(()) } else { Poll::Pending })
            .await;
    }
}

impl Drop for AuditLog {
    fn drop(&mut self) {
        self.lines.close();
    }
}

/// Whose verdict it is.
const fn stage_of(event: &Event) -> Option<Stage> {
    match event {
        Event::Credential { .. } => Some(Stage::Authenticate),
        Event::Access { .. } => Some(Stage::Authorise),
        Event::Quota { .. } | Event::Lease { .. } => Some(Stage::Limit),
        Event::Refused { refused, .. } => Some(refused.stage),
        _ => None,
    }
}

const fn access(event: &Event) -> bool {
    matches!(event, Event::Access { .. })
}

/// What was wrong with the certificate that a client showed, or did not.
const fn refused_certificate(failure: &Failure) -> Option<&'static str> {
    match (failure.by, failure.reason) {
        (Side::Peer, _) => None,
        (Side::Local, Reason::UnknownCa) => Some("unknown_ca"),
        (Side::Local, Reason::Expired) => Some("expired"),
        (Side::Local, Reason::NotYetValid) => Some("not_yet_valid"),
        (Side::Local, Reason::NoClientCertificate) => Some("none"),
        (Side::Local, Reason::Revoked) => Some("revoked"),
        (Side::Local, Reason::RevocationUnknown) => Some("revocation_unknown"),
        (Side::Local, Reason::WrongUse) => Some("wrong_use"),
        (Side::Local, Reason::BadCertificate) => Some("bad"),
        (Side::Local, _) => None,
    }
}

/// A method by name; what a client made up is not written down.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::CONNECT => "CONNECT",
        Method::OPTIONS => "OPTIONS",
        Method::TRACE => "TRACE",
        Method::PATCH => "PATCH",
        _ => "_OTHER",
    }
}

impl fmt::Debug for AuditLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditLog").field("settings", &self.settings).finish_non_exhaustive()
    }
}
