//! Listeners go from a process to its successor, which accepts on them before the old one stops: no
//! connection is refused in between.
//!
//! The old process listens on a Unix socket. Whoever connects gets the listeners with their names, and
//! serves; then it says so, and the old process leaves.

#[cfg(unix)]
mod rights;
#[cfg(unix)]
mod unix;

#[cfg(unix)]
pub(super) use unix::Handover;

#[cfg(not(unix))]
mod absent;
#[cfg(not(unix))]
pub(super) use absent::Handover;
