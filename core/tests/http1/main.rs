//! The HTTP/1.1 machines, rule by rule: what they take, what they refuse and with which error, what
//! they write. Each input is fed in many cuts, all of which must tell the same.

#![expect(clippy::unwrap_used, reason = "outside of `#[test]` too, a test stops where it is wrong")]
#![expect(clippy::unnecessary_wraps, reason = "written as it is compared")]
#![expect(clippy::format_collect, reason = "a test may be slow")]

mod chunked;
mod client;
mod fields;
mod first_line;
mod framing;
mod limits;
mod responses;
mod sending;
mod server;
mod target;
mod told;
mod trailers;
mod upgrade;
