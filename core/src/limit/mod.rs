//! How much of it: token buckets in integers, for one and for many.
//!
//! A [`Quota`] says how fast and in which bursts, a [`TokenBucket`] is what is left of one, and a
//! [`RateLimiter`] holds the buckets of any number of clients in a fixed number of bytes.

mod priority;
mod quota;
mod rate_limiter;
mod table;
mod token_bucket;

pub use priority::{PriorityQueue, Ticket};
pub use quota::{BadQuota, Quota};
pub use rate_limiter::{
    BadLimiter, Charge, KeyHash, KeyHasher, Outcome, QuotaId, RateLimiter, RateLimiterConfig,
    Verdict,
};
pub use token_bucket::{TokenBucket, Wait};
