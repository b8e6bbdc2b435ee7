//! What a call made inside a handler inherits from the request that the handler answers.

use crate::observe::{RequestId, TraceContext};
use crate::policy::Priority;
use crate::time::Instant;

/// What travels from a request into the calls that it causes. There is no place for a credential:
/// whoever passes one on writes it into the call themselves.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CallContext {
    /// The trace that the call belongs to.
    pub trace: Option<TraceContext>,
    /// The name of the request, so that it is found again in the logs of whoever is called.
    pub request_id: Option<RequestId>,
    /// When nobody waits for the answer any more; an instant, so that it does not grow from hop to
    /// hop.
    pub deadline: Option<Instant>,
    /// How much it matters.
    pub priority: Priority,
}

/// Which parts of a [`CallContext`] are passed on: a list of what is allowed, so that what is added
/// later stays at home until someone names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Propagation(Box<[Propagated]>);

/// A part of a [`CallContext`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Propagated {
    /// [`CallContext::trace`]
    Trace,
    /// [`CallContext::request_id`]
    RequestId,
    /// [`CallContext::deadline`]
    Deadline,
    /// [`CallContext::priority`]
    Priority,
}

impl Propagation {
    /// Passes these parts on and nothing else.
    pub fn only(parts: impl Into<Box<[Propagated]>>) -> Self {
        Self(parts.into())
    }

    /// What a call inherits: the parts that are allowed, the rest as if it had not been said.
    pub fn inherit(&self, from: &CallContext) -> CallContext {
        let mut inherited = CallContext::default();
        for part in &self.0 {
            match part {
                Propagated::Trace => inherited.trace.clone_from(&from.trace),
                Propagated::RequestId => inherited.request_id.clone_from(&from.request_id),
                Propagated::Deadline => inherited.deadline = from.deadline,
                Propagated::Priority => inherited.priority = from.priority,
            }
        }
        inherited
    }
}

impl Default for Propagation {
    /// Trace, request id, deadline and priority.
    fn default() -> Self {
        use Propagated::{Deadline, Priority, RequestId, Trace};
        Self::only([Trace, RequestId, Deadline, Priority])
    }
}

#[cfg(test)]
mod tests {
    use core::num::{NonZeroU64, NonZeroU128};

    use super::*;

    #[test]
    fn only_what_is_named_is_passed_on() {
        let trace = TraceContext::root(NonZeroU128::MIN, NonZeroU64::MIN, true, true);
        let all = CallContext {
            trace: Some(trace.clone()),
            request_id: Some(RequestId::mint(7)),
            deadline: Some(Instant::from_nanos(7)),
            priority: Priority::Critical,
        };
        assert_eq!(Propagation::default().inherit(&all), all);
        assert_eq!(Propagation::only([]).inherit(&all), CallContext::default());
        let one = |part| Propagation::only([part]).inherit(&all);
        let none = CallContext::default;
        assert_eq!(one(Propagated::Trace), CallContext { trace: Some(trace), ..none() });
        let named = CallContext { request_id: all.request_id.clone(), ..none() };
        assert_eq!(one(Propagated::RequestId), named);
        assert_eq!(one(Propagated::Deadline), CallContext { deadline: all.deadline, ..none() });
        let critical = CallContext { priority: Priority::Critical, ..none() };
        assert_eq!(one(Propagated::Priority), critical);
    }

    #[test]
    fn priorities_are_ordered_by_what_they_mean() {
        use Priority::{Bulk, Critical, High, Low, Normal};
        assert!(Critical > High && High > Normal && Normal > Low && Low > Bulk);
        assert_eq!(Priority::default(), Normal);
        assert_eq!(
            [Critical, High, Normal, Low, Bulk].map(Priority::name),
            ["critical", "high", "normal", "low", "bulk"]
        );
    }
}
