//! Decisions as events: what a machine decided, and why, as plain values; and the names by which
//! the events of several services are brought together.

pub mod audit;
mod event;
mod log;
pub mod request_id;
pub mod trace_context;
mod verdict;

pub use event::Event;
pub use log::{CAPACITY, Log};
pub use request_id::RequestId;
pub use trace_context::TraceContext;
pub use verdict::NamedVerdict;

/// Writes bytes as lower-case hexadecimal digits.
fn hex(to: &mut [u8], bytes: &[u8]) {
    for (pair, byte) in to.chunks_exact_mut(2).zip(bytes) {
        pair[0] = b"0123456789abcdef"[usize::from(byte >> 4)];
        pair[1] = b"0123456789abcdef"[usize::from(byte & 15)];
    }
}
