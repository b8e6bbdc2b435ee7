//! Access control as a layer.

use super::{Arrival, Decision, Interest, Layer, Record};
use crate::policy::Stage;
use crate::reason::Reason;
use crate::security::{Access, AccessReason, AccessVerdict, Condition, Refusal};

impl Layer for Access {
    fn stage(&self) -> Stage {
        Stage::Authorise
    }

    fn interest(&self) -> Interest {
        Interest::HEAD
    }

    fn on_head(&self, arrival: &Arrival<'_>, record: &mut Record) -> Decision {
        let verdict = self.check(&record.security, arrival.route, arrival.head.method());
        record.access = Some(verdict);
        match verdict {
            AccessVerdict::Allowed(_) => Decision::Continue,
            AccessVerdict::Refused { refusal, reason } => match (refusal, reason) {
                (Refusal::Unauthenticated, _) => Decision::Refuse(Reason::Unauthenticated),
                // https://www.rfc-editor.org/rfc/rfc6750#section-3.1
                (Refusal::Forbidden, AccessReason::NotAllowed(_, Condition::Scope)) => {
                    Decision::Refuse(Reason::InsufficientScope)
                }
                (Refusal::Forbidden, _) => Decision::Refuse(Reason::Forbidden),
                // There is a handler after all, and nobody said who may use it.
                (Refusal::NoRoute, _) if arrival.fallback => Decision::Refuse(Reason::Forbidden),
                (Refusal::NoRoute, _) => Decision::Continue,
            },
        }
    }

    fn explain(&self, record: &Record) -> Option<String> {
        record.access.map(|verdict| Self::explain(self, verdict).to_string())
    }
}
