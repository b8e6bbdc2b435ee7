//! What a server keeps when all that it goes by is replaced.

use std::sync::Arc;

use sinew_core::limit::{AdmissionConfig, Quota};
use sinew_core::policy::Mode;
use sinew_core::security::{Cors, Rule};
use sinew_core::server::{Cost, RateLimitConfig};

use super::buckets::Guarded;
use super::gate::Gate;
use super::memory::Booked;
use super::numbers;

/// What clients have used up is not forgotten because something else changed.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    /// The secret of the hashes of clients, for as long as the server lives.
    pub(super) seed: [u8; 16],
    /// The buckets of failed credentials.
    pub(super) shield: Option<Guarded>,
    /// The buckets of clients, as long as their quotas are the same.
    pub(super) quotas: Option<(Quotas, Guarded)>,
    /// The way to the handlers, as long as it is to be the same.
    pub(super) gate: Option<(AdmissionConfig, Arc<Gate>)>,
    /// Its bytes, for the buckets of clients.
    pub(super) limiter: Option<Arc<Booked>>,
    pub(super) said: Said,
}

/// What buckets stand for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Quotas {
    pub(super) config: RateLimitConfig,
    pub(super) routes: Vec<(Cost, Option<Quota>)>,
}

/// Which policies there are, as far as they can be compared.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Said {
    pub(super) rules: Vec<Rule>,
    pub(super) cors: Option<(Mode, Cors)>,
    pub(super) rate_limit: Option<(Mode, RateLimitConfig)>,
}

impl Kept {
    /// Nothing is known yet.
    pub(super) fn new() -> Self {
        Self {
            seed: numbers::seed(),
            shield: None,
            quotas: None,
            gate: None,
            limiter: None,
            said: Said::default(),
        }
    }
}
