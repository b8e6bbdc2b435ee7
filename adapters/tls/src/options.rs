//! What a TLS layer is told beside its rustls configuration.

use core::time::Duration;

/// The time limits of a TLS layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// From the start of the connection to the end of the handshake. 10 s for a server, 2 s for a
    /// client.
    pub handshake_timeout: Duration,
    /// How long a peer may take none of the bytes queued for it. 30 s. Counted from the first call
    /// with a time after they were queued, so that up to twice as much may pass.
    pub write_stall: Duration,
    /// After a failure: how long to wait, alert sent and writing side shut, for the peer to close.
    /// Closing at once with bytes unread would make the peer's system throw the alert away. 1 s.
    pub linger: Duration,
}

impl Options {
    /// The defaults of a server.
    pub const SERVER: Self = Self {
        handshake_timeout: Duration::from_secs(10),
        write_stall: Duration::from_secs(30),
        linger: Duration::from_secs(1),
    };

    /// The defaults of a client.
    pub const CLIENT: Self = Self { handshake_timeout: Duration::from_secs(2), ..Self::SERVER };

    pub(crate) const fn is_sound(&self) -> bool {
        !self.handshake_timeout.is_zero() && !self.write_stall.is_zero() && !self.linger.is_zero()
    }
}
