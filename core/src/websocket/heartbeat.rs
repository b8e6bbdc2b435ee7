//! Whether the peer is still there: <https://www.rfc-editor.org/rfc/rfc6455#section-5.5.2>

use core::time::Duration;

use crate::jitter::Jitter;
use crate::time::{Deadline, Instant, Timer};

/// When the peer is asked for a sign of life, and when it is given up.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct HeartbeatConfig {
    /// A ping is sent this long after the last one, or up to a fifth earlier: what started together
    /// does not go on together. Default 30 s.
    pub interval: Duration,
    /// Without a single byte for this long after a ping left, the peer is gone. Default 10 s. So a
    /// half-open connection is found within `interval` and `timeout`.
    pub timeout: Duration,
}

impl Default for HeartbeatConfig {
    fn default() -> Self {
        Self { interval: Duration::from_secs(30), timeout: Duration::from_secs(10) }
    }
}

/// The pings of one connection.
#[derive(Debug)]
pub(super) struct Heartbeat {
    config: HeartbeatConfig,
    jitter: Jitter,
    next: Instant,
    /// The last ping, until its pong came.
    pending: Option<Pending>,
    count: u64,
    rtt: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    /// It has left once so many bytes were drained from the outbox.
    position: u64,
    left: Option<Instant>,
    /// Something came since: the peer lives, whatever becomes of the pong.
    heard: bool,
}

/// What a heartbeat wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Due {
    Nothing,
    /// Send a ping with this payload, and say so with [`Heartbeat::sent`].
    Ping([u8; 8]),
    /// The peer is gone.
    Dead,
}

impl Heartbeat {
    pub(super) fn new(config: HeartbeatConfig, jitter: Jitter, now: Instant) -> Self {
        let mut heartbeat = Self { config, jitter, next: now, pending: None, count: 0, rtt: None };
        heartbeat.schedule(now);
        heartbeat
    }

    fn schedule(&mut self, now: Instant) {
        let interval = self.config.interval;
        let earliest = interval.saturating_sub(interval / 5);
        self.next = now + self.jitter.between(earliest, interval);
    }

    /// Whether a ping is on its way.
    #[inline]
    pub(super) const fn waits(&self) -> bool {
        self.pending.is_some()
    }

    /// Whether it waits for a sign of life: one from before the question does not count.
    #[inline]
    pub(super) const fn listens(&self) -> bool {
        matches!(self.pending, Some(Pending { heard: false, left: Some(_), .. }))
    }

    /// Bytes came: any sign of life will do.
    pub(super) fn heard(&mut self) {
        if let Some(pending) = &mut self.pending {
            pending.heard = true;
        }
    }

    /// Looks how far the outbox was drained: time counts from when the ping left.
    pub(super) fn observe(&mut self, drained: u64, now: Instant) {
        if let Some(pending) = &mut self.pending
            && pending.left.is_none()
            && drained >= pending.position
        {
            pending.left = Some(now);
        }
    }

    pub(super) fn due(&self, now: Instant) -> Due {
        match self.deadline() {
            Some(Deadline { at, why }) if at <= now => match why {
                Timer::Ping => Due::Ping((self.count + 1).to_be_bytes()),
                _ => Due::Dead,
            },
            _ => Due::Nothing,
        }
    }

    /// A ping was queued, up to this position of the outbox.
    pub(super) fn sent(&mut self, position: u64, now: Instant) {
        self.count += 1;
        self.pending = Some(Pending { position, left: None, heard: false });
        self.schedule(now);
    }

    /// Whether a pong answers our last ping, and how long that took.
    pub(super) fn pong(&mut self, payload: &[u8], now: Instant) -> Option<Duration> {
        if payload != self.count.to_be_bytes() {
            return None;
        }
        let left = self.pending?.left?;
        self.pending = None;
        self.rtt = Some(now - left);
        self.rtt
    }

    /// How long the last ping that was answered took to come back.
    pub(super) const fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// The end of a wait for a sign of life, or the next ping. Neither while a ping waits to be
    /// written: that is the write stall's business.
    #[inline]
    pub(super) fn deadline(&self) -> Option<Deadline> {
        match self.pending {
            Some(Pending { heard: false, left, .. }) => {
                left.map(|left| Deadline { at: left + self.config.timeout, why: Timer::Pong })
            }
            _ => Some(Deadline { at: self.next, why: Timer::Ping }),
        }
    }
}
