//! Quotas that replicas of a server share, counted by Redis or Valkey.
//!
//! [`RedisStore`] is a [`LeaseStore`](sinew_driver::LeaseStore): each replica takes some tokens at a time on
//! lease, with one call of one script, and gives them to its clients; requests never wait for the store.
//! What becomes of requests while it is away is said by
//! [`LeaseConfig::without_store`](sinew_core::limit::LeaseConfig).
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use sinew_core::limit::{LeaseConfig, Quota, WithoutStore};
//! use sinew_driver::{Runtime, SharedQuota};
//! use sinew_redis::{RedisConfig, RedisStore};
//!
//! # fn example<R: Runtime>(runtime: R, secret: [u8; 16]) -> Result<SharedQuota<RedisStore<R>>, Box<dyn std::error::Error>> {
//! let quota = Quota::new(1_000, Duration::from_secs(1), 200)?;
//! let config = RedisConfig::from_url("redis://limits:password@10.0.0.7")?;
//! let store = RedisStore::new(runtime, quota, config)?.observe(|notice| eprintln!("{notice}"));
//! let leases = LeaseConfig {
//!     // Of three replicas, each has a third while nobody counts for all.
//!     without_store: WithoutStore::Local(Quota::new(333, Duration::from_secs(1), 66)?),
//!     ..LeaseConfig::default()
//! };
//! // For `ServerBuilder::shared_quota`.
//! Ok(SharedQuota::new(store, secret).leases(leases))
//! # }
//! ```

mod config;
mod fault;
mod refusal;
mod resp;
mod script;
mod session;
mod store;

pub use config::{BadConfig, RedisConfig};
pub use fault::{Fault, Notice};
pub use refusal::{Code, Refusal};
pub use store::RedisStore;
