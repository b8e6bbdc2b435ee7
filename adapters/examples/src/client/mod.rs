//! What a client does when things go wrong, as a transcript: retries, budget, breaker, endpoints,
//! hedges, deadlines, and how it explains itself.

pub(crate) mod backend;
mod narrator;
mod steps;

pub use steps::run;
