//! Who may do what: policies and values without IO, immutable, each usable alone.
//!
//! Everything here fails closed: what is missing, malformed, doubled or unknown grants nothing. No
//! secret shows in `Debug`, `Display` or an error.

mod cors;
mod origin;

pub use cors::{Cors, CorsConfig, CorsError, CorsKind, CorsList, CorsReason, CorsVerdict};
pub use origin::BadOrigin;
