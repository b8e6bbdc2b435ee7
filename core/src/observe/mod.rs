//! Decisions as events: what a machine decided, and why, as plain values; and the names by which
//! the events of several services are brought together.

mod event;
mod log;
pub mod request_id;
pub mod trace_context;

pub use event::Event;
pub use log::{CAPACITY, Log};
pub use request_id::RequestId;
pub use trace_context::TraceContext;
