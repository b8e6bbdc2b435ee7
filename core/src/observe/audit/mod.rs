//! What has to be remembered about security: who was let in, who was not, and what was changed.
//!
//! A record is a line of JSON. Records are never sampled. They wait in a [`Queue`] of bounded size until
//! whoever writes them takes them, and never hold a request up: what does not fit is counted, and the gap
//! is a line of its own. `sinew-auth` can chain the lines, so that one that is changed or taken out later
//! shows.
//!
//! Secrets are kept out by type: a [`Value`] is made of what may be shown, and of a
//! [`Secret`](crate::security::Secret) it is `[redacted]`. No text of a request gets in unasked: not its
//! path, not its fields.

mod queue;
mod record;

use super::Event;
use crate::error::{Error, Kind as Failed, Violation};
use crate::limit::{LeaseVerdict, Verdict};
use crate::policy::{Refused, Stage};
use crate::security::{AccessVerdict, CredentialVerdict};

pub use queue::Queue;
pub use record::{MAX_DETAILS, MAX_TEXT, Record, Value};

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// A credential was good.
    AuthSuccess,
    /// A credential was not good.
    AuthFailure,
    /// The rules allowed a request.
    AccessGranted,
    /// The rules refused a request.
    AccessDenied,
    /// The configuration was changed, or a change of it was refused.
    ConfigChange,
    /// A certificate was replaced.
    CertRotation,
    /// The keys that tokens are checked with were replaced.
    KeyRotation,
    /// Access rules, quotas or CORS were changed.
    PolicyChange,
    /// A client asked too often.
    RateLimitBreach,
    /// Something that no honest client does.
    SuspiciousActivity,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::AuthSuccess,
        Self::AuthFailure,
        Self::AccessGranted,
        Self::AccessDenied,
        Self::ConfigChange,
        Self::CertRotation,
        Self::KeyRotation,
        Self::PolicyChange,
        Self::RateLimitBreach,
        Self::SuspiciousActivity,
    ];

    /// A fixed, lower-case name, as it stands in records and labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AuthSuccess => "auth_success",
            Self::AuthFailure => "auth_failure",
            Self::AccessGranted => "access_granted",
            Self::AccessDenied => "access_denied",
            Self::ConfigChange => "config_change",
            Self::CertRotation => "cert_rotation",
            Self::KeyRotation => "key_rotation",
            Self::PolicyChange => "policy_change",
            Self::RateLimitBreach => "rate_limit_breach",
            Self::SuspiciousActivity => "suspicious_activity",
        }
    }

    /// How much it matters.
    pub const fn severity(self) -> Severity {
        match self {
            Self::AuthSuccess | Self::AccessGranted => Severity::Info,
            Self::ConfigChange | Self::CertRotation | Self::KeyRotation | Self::PolicyChange => {
                Severity::Notice
            }
            Self::AuthFailure | Self::AccessDenied | Self::RateLimitBreach => Severity::Warning,
            Self::SuspiciousActivity => Severity::Critical,
        }
    }

    /// What a decision of a server is to security, if anything.
    pub const fn of(event: &Event) -> Option<Self> {
        Some(match event {
            Event::Credential { verdict: CredentialVerdict::Good, .. } => Self::AuthSuccess,
            Event::Credential { verdict: CredentialVerdict::Absent, .. } => return None,
            Event::Credential { .. } => Self::AuthFailure,
            Event::Access { verdict: AccessVerdict::Allowed(_), .. } => Self::AccessGranted,
            Event::Access { .. } => Self::AccessDenied,
            Event::Quota { verdict: Verdict::Limited { .. }, .. } => Self::RateLimitBreach,
            Event::Lease { verdict: LeaseVerdict::Refused { .. }, .. } => Self::RateLimitBreach,
            // Too many credentials that are not good, from one address.
            Event::Refused { refused: Refused { stage: Stage::Shield, .. }, .. } => {
                Self::SuspiciousActivity
            }
            Event::Failed(Error { kind: Failed::Peer(violation), .. }) if smuggles(*violation) => {
                Self::SuspiciousActivity
            }
            _ => return None,
        })
    }
}

/// Whether two parsers could take such a message for different ones: what request smuggling is made of.
/// <https://www.rfc-editor.org/rfc/rfc9112#section-11.2>
const fn smuggles(violation: Violation) -> bool {
    matches!(
        violation,
        Violation::LineEnd
            | Violation::Fold
            | Violation::Host
            | Violation::ContentLength
            | Violation::TransferEncoding
            | Violation::LengthAndCoding
            | Violation::ChunkHeader
            | Violation::ChunkEnd
    )
}

/// How much a record matters; the greater, the more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Severity {
    /// As it should be.
    Info,
    /// As it should be, and worth a look.
    Notice,
    /// Somebody was refused.
    Warning,
    /// Somebody should look at once.
    Critical,
}

impl Severity {
    /// A fixed, lower-case name, as it stands in records and labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}
