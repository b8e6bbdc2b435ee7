//! Decisions as events: what a machine decided, and why, as plain values.

mod event;
mod log;

pub use event::Event;
pub use log::{CAPACITY, Log};
