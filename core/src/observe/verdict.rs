//! Verdicts of policies by name, for logs and metric labels.

use super::Event;
use crate::limit::{Basis, LeaseVerdict, Shortage, Verdict};
use crate::security::{
    AccessReason, AccessVerdict, Condition, CorsKind, CorsReason, CredentialVerdict, Refusal,
    TokenError,
};

/// Which policy said what.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct NamedVerdict {
    /// `cors`, `cors_preflight`, `credential`, `access`, `quota` or `lease`.
    pub policy: &'static str,
    /// A fixed, lower-case name; the same one for the same verdict.
    pub verdict: &'static str,
}

impl Event {
    /// The verdict of a policy, by name; `None`: the event is something else. A
    /// [refusal](Self::Refused) is what became of a verdict, and none itself.
    pub const fn verdict(&self) -> Option<NamedVerdict> {
        let (policy, verdict) = match *self {
            Self::Cors { kind: CorsKind::Preflight, reason, .. } => {
                ("cors_preflight", cors(reason))
            }
            Self::Cors { reason, .. } => ("cors", cors(reason)),
            Self::Credential { verdict, .. } => ("credential", credential(verdict)),
            Self::Access { verdict, .. } => ("access", access(verdict)),
            Self::Quota { verdict: Verdict::Allowed, .. } => ("quota", "allowed"),
            Self::Quota { verdict: Verdict::Limited { .. }, .. } => ("quota", "limited"),
            Self::Lease { verdict, .. } => ("lease", lease(verdict)),
            _ => return None,
        };
        Some(NamedVerdict { policy, verdict })
    }
}

const fn cors(reason: CorsReason) -> &'static str {
    match reason {
        CorsReason::Granted => "granted",
        CorsReason::NoOrigin => "no_origin",
        CorsReason::Origin => "origin",
        CorsReason::SeveralOrigins => "several_origins",
        CorsReason::Method => "method",
        CorsReason::Header => "header",
        CorsReason::PrivateNetwork => "private_network",
    }
}

const fn credential(verdict: CredentialVerdict) -> &'static str {
    match verdict {
        CredentialVerdict::Absent => "absent",
        CredentialVerdict::Good => "good",
        CredentialVerdict::Unreadable(_) => "unreadable",
        CredentialVerdict::Refused(error) => match error {
            TokenError::Malformed => "malformed",
            TokenError::TooLong => "too_long",
            TokenError::Type => "type",
            TokenError::Critical => "critical",
            TokenError::Unknown => "unknown",
            TokenError::Algorithm => "algorithm",
            TokenError::UnknownKey => "unknown_key",
            TokenError::Signature => "signature",
            TokenError::Missing(_) => "missing_claim",
            TokenError::Issuer => "issuer",
            TokenError::Audience => "audience",
            TokenError::Expired => "expired",
            TokenError::NotYetValid => "not_yet_valid",
            TokenError::TooOld => "too_old",
            TokenError::Binding => "binding",
            TokenError::Unavailable => "unavailable",
        },
    }
}

const fn access(verdict: AccessVerdict) -> &'static str {
    match verdict {
        AccessVerdict::Allowed(_) => "allowed",
        AccessVerdict::Refused { refusal: Refusal::NoRoute, .. } => "no_route",
        AccessVerdict::Refused { reason, .. } => match reason {
            AccessReason::Denied(_) => "denied",
            AccessReason::NoRule => "no_rule",
            AccessReason::NotAllowed(_, Condition::Method) => "not_allowed_method",
            AccessReason::NotAllowed(_, Condition::Who) => "not_allowed_who",
            AccessReason::NotAllowed(_, Condition::Role) => "not_allowed_role",
            AccessReason::NotAllowed(_, Condition::Scope) => "not_allowed_scope",
            AccessReason::NotAllowed(_, Condition::Network) => "not_allowed_network",
        },
    }
}

const fn lease(verdict: LeaseVerdict) -> &'static str {
    match verdict {
        LeaseVerdict::Allowed(basis) => match basis {
            Basis::Lease => "lease",
            Basis::Ahead => "ahead",
            Basis::Local => "local",
            Basis::Uncounted => "uncounted",
        },
        LeaseVerdict::Refused { reason, .. } => match reason {
            Shortage::Spent => "spent",
            Shortage::Unanswered => "unanswered",
            Shortage::NoStore => "no_store",
            Shortage::NoRoom => "no_room",
            Shortage::Local => "local_spent",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::CloseReason;

    #[test]
    fn only_verdicts_have_names() {
        let reason = CorsReason::Granted;
        let name = |kind| Event::Cors { exchange: 1, kind, reason }.verdict();
        let named = |policy, verdict| Some(NamedVerdict { policy, verdict });
        assert_eq!(name(CorsKind::Preflight), named("cors_preflight", "granted"));
        assert_eq!(name(CorsKind::Actual), named("cors", "granted"));
        let verdict = CredentialVerdict::Refused(TokenError::Expired);
        let credential = Event::Credential { exchange: 1, verdict };
        assert_eq!(credential.verdict(), named("credential", "expired"));
        assert_eq!(Event::Closed(CloseReason::Done).verdict(), None);
    }
}
