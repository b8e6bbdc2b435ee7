//! WebSocket, rule by rule: handshakes, what the machine tells and writes however its input is cut,
//! how it ends, and the laws that hold for every script.

#![cfg_attr(
    not(feature = "deflate"),
    expect(clippy::needless_update, reason = "with the feature there is more to update")
)]
#![expect(clippy::unwrap_used, reason = "outside of `#[test]` too, a test stops where it is wrong")]

#[cfg(feature = "deflate")]
mod deflate;
mod end;
mod frames;
mod handshake;
mod laws;
mod oracle;
mod queue;
mod reference;
mod sending;
mod told;
