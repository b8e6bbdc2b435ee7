//! What a client does when things go wrong: values and small machines that decide, and do nothing
//! else.
//!
//! Each stands alone. Those with a `mode` do not look at it: whoever asks does, as with every
//! [policy](crate::policy).

mod backoff;
mod breaker;
mod budget;
mod deadline;
mod hedge;
mod latencies;
mod outcome;
mod retry;
mod retry_after;
mod timeout;
mod window;

pub use backoff::{Backoff, BadBackoff};
pub use breaker::{
    BadBreaker, Breaker, BreakerConfig, BreakerState, Change, Epoch, Forced, OpenFor, OpenReason,
    Permit, Trip,
};
pub use budget::{BadBudget, Budget, BudgetConfig, BudgetReason};
pub use deadline::{
    Arrival, BadDeadline, BadTimeout, DeadlineConfig, Departure, TimeoutField, TimeoutValue, Trust,
};
pub use hedge::{BadHedge, Hedge, HedgeConfig, NoHedge};
pub use latencies::Latencies;
pub use outcome::{Outcome, Report};
pub use retry::{
    Attempt, BadRetry, NoRetry, Replay, RetryDelay, RetryFacts, RetryPolicy, RetryVerdict, Safety,
};
pub use retry_after::RetryAfter;
pub use timeout::{BadTimeouts, Timeouts};
