//! WebSocket: an echo on the bare machine.

pub mod echo;
