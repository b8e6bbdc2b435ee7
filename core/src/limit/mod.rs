//! How much of it: token buckets in integers, for one and for many.
//!
//! A [`Quota`] says how fast and in which bursts, a [`TokenBucket`] is what is left of one, and a
//! [`RateLimiter`] holds the buckets of any number of clients in a fixed number of bytes. [`Leases`]
//! are for quotas that several replicas share. How many calls at once a destination bears is found by
//! [`Concurrency`]; which of many requests a server takes up is decided by
//! [`Admission`]. [`Ledger`] counts the bytes of all of it.

mod admission;
mod concurrency;
mod key;
mod lease;
mod ledger;
mod priority;
mod quota;
mod rate_limiter;
mod table;
mod token_bucket;

pub use admission::{
    Admission, AdmissionConfig, AdmissionEvent, BadAdmission, Entry, Permit, Shed,
};
pub use concurrency::{BadConcurrency, Concurrency, ConcurrencyConfig, Full, Load, Place};
pub use key::{KeyGroup, KeyHash, KeyHasher};
pub use lease::{
    Answer, Ask, AskId, AskOutcome, BadLease, Basis, LeaseConfig, LeaseVerdict, Leases, Shortage,
    WithoutStore,
};
pub use ledger::{Account, BadLedger, Ledger, LedgerConfig, OverCap, Owner, Stage};
pub use priority::{PriorityQueue, Ticket};
pub use quota::{BadQuota, Quota};
pub use rate_limiter::{
    BadLimiter, Charge, Outcome, QuotaId, RateLimiter, RateLimiterConfig, Verdict,
};
pub use token_bucket::{TokenBucket, Wait};
