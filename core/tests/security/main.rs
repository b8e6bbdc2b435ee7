//! The policies of `sinew_core::security`, through its public interface, on heads that were parsed.

#![expect(clippy::unwrap_used, reason = "outside of `#[test]` too, a test stops where it is wrong")]

mod access;
mod cors;
mod forwarded;
mod identity;
mod proxy_protocol;
mod token;

use std::sync::Arc;

use sinew_core::head::RequestHead;
use sinew_core::http1::{Server, ServerConfig, ServerEvent};
use sinew_core::time::Instant;
use sinew_core::{Machine, Wire};

/// The head of a request with these lines behind its `Host`.
fn head(method: &str, target: &str, fields: &[(&str, &str)]) -> RequestHead {
    let mut server = Server::new(Arc::new(ServerConfig::default()), Instant::ZERO);
    let mut text = format!("{method} {target} HTTP/1.1\r\nhost: api.test\r\n");
    text.extend(fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")));
    text.push_str("\r\n");
    server.inbox().extend_from_slice(text.as_bytes());
    match server.poll_event(Instant::ZERO) {
        Ok(Some(ServerEvent::Request { head, .. })) => head,
        other => panic!("{text:?}: {other:?}"),
    }
}
