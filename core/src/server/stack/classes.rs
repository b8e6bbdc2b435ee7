//! Whose requests matter how much.

use super::{Arrival, Decision, Interest, Layer, Record};
use crate::policy::{Priority, Stage};
use crate::security::{Network, SecurityContext, Who};

/// Says how much each request [matters](Priority): to [`Admission`](crate::limit::Admission), and to
/// whoever the handler calls, as [`CallContext::priority`](crate::propagation::CallContext::priority).
///
/// 1. Callers that one of the [`rules`](Self::rules) means have the priority that it names.
/// 2. Trusted peers may name another one for a request, in a
///    [`Priority` field](Priority::of_field); where a rule means them, none above that of the rule.
/// 3. All else has the priority of its [route](super::RoutePolicy::priority).
///
/// Trusted are peers whose certificate the handshake accepted, and those of
/// [`networks`](Self::networks). What others say of themselves is ignored.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Classes {
    /// The first that means the caller counts.
    pub rules: Vec<PriorityRule>,
    /// Where connections of trusted peers come from that show no certificate. Default: nowhere. The
    /// address is that of the connection, not one that a proxy names.
    pub networks: Box<[Network]>,
}

/// A kind of callers, and how much their requests matter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PriorityRule {
    /// Who belongs to it.
    pub who: Who,
    /// At least one of these roles; empty asks for none.
    pub roles: Vec<String>,
    /// What their requests have.
    pub priority: Priority,
}

impl PriorityRule {
    fn means(&self, caller: &SecurityContext) -> bool {
        let role = self.roles.is_empty() || self.roles.iter().any(|role| caller.has_role(role));
        self.who.means(caller) && role
    }
}

impl Layer for Classes {
    fn stage(&self) -> Stage {
        Stage::Limit
    }

    fn interest(&self) -> Interest {
        Interest::HEAD
    }

    fn on_head(&self, arrival: &Arrival<'_>, record: &mut Record) -> Decision {
        let rule = self.rules.iter().find(|rule| rule.means(&record.security));
        let rule = rule.map(|rule| rule.priority);
        let said = arrival.peer.is_trusted(&self.networks).then(|| {
            let fields = arrival.head.fields();
            Priority::of_field(fields.get_all(Priority::FIELD))
        });
        record.context.priority = match (rule, said.flatten()) {
            (Some(most), Some(said)) => said.min(most),
            (Some(priority), None) | (None, Some(priority)) => priority,
            (None, None) => arrival.policy.priority,
        };
        Decision::Continue
    }
}
