//! When a connection that is meant to last, such as a WebSocket, is opened again.

use core::fmt;
use core::time::Duration;

use http::StatusCode;

use crate::jitter::Jitter;
use crate::resilience::{Backoff, BadBackoff};
use crate::time::Instant;

/// How often, and how soon, a connection is opened again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ReconnectPolicy {
    /// The wait before each attempt: any time up to one that doubles with each failure. Default: up to
    /// 250 ms at first, 30 s at most.
    pub backoff: Backoff,
    /// Attempts that can be made without a pause, at most. Default 10; 0: it is never opened again.
    pub attempts: u32,
    /// After this time one more can be made. Default 30 s.
    pub refill: Duration,
}

impl Default for ReconnectPolicy {
    fn default() -> Self {
        let backoff = Backoff { base: Duration::from_millis(250), cap: Duration::from_secs(30) };
        Self { backoff, attempts: 10, refill: Duration::from_secs(30) }
    }
}

/// How a connection was lost, or was not had.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Loss {
    /// The peer closed, with this code: <https://www.rfc-editor.org/rfc/rfc6455#section-7.4>
    Closed(u16),
    /// The server answered this instead of opening it.
    Answered(StatusCode),
    /// The network, or the peer, failed.
    Broken,
    /// What is asked for cannot be had: a configuration, a policy of this side.
    Impossible,
}

/// What becomes of a connection that was lost.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[must_use]
pub enum ReconnectVerdict {
    /// It is opened again after this time.
    After(Duration),
    /// It is over.
    Never(WhyNever),
}

/// Why a connection is not opened again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum WhyNever {
    /// It has served its purpose.
    Done,
    /// The peer does not want it, and will not want it the next time.
    Refused,
    /// It was tried too often.
    Exhausted,
}

/// Decides about one connection.
#[derive(Clone, Debug)]
pub struct Reconnect {
    policy: ReconnectPolicy,
    jitter: Jitter,
    left: u32,
    /// Since when attempts are given back.
    since: Instant,
    /// Attempts since it was last open.
    failures: u32,
}

impl Reconnect {
    /// All attempts can be made.
    ///
    /// # Errors
    ///
    /// A backoff that makes no sense.
    pub fn new(policy: ReconnectPolicy, seed: u64, now: Instant) -> Result<Self, BadBackoff> {
        policy.backoff.check()?;
        let jitter = Jitter::new(seed);
        Ok(Self { policy, jitter, left: policy.attempts, since: now, failures: 0 })
    }

    /// The connection is open: the next wait is short again. What was tried counts on.
    pub fn opened(&mut self) {
        self.failures = 0;
    }

    /// The connection was lost, or was not had.
    pub fn lost(&mut self, now: Instant, loss: Loss) -> ReconnectVerdict {
        if let Some(why) = loss.is_final() {
            return ReconnectVerdict::Never(why);
        }
        self.refill(now);
        let Some(left) = self.left.checked_sub(1) else {
            return ReconnectVerdict::Never(WhyNever::Exhausted);
        };
        self.left = left;
        let wait = self.policy.backoff.delay(self.failures, &mut self.jitter);
        self.failures = self.failures.saturating_add(1);
        ReconnectVerdict::After(wait)
    }

    fn refill(&mut self, now: Instant) {
        let refill = self.policy.refill.as_nanos().max(1);
        let earned = (now - self.since).as_nanos() / refill;
        let earned = u32::try_from(earned).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(earned);
        if self.left >= self.policy.attempts {
            self.left = self.policy.attempts;
            self.since = now;
        } else {
            self.since = self.since + self.policy.refill.saturating_mul(earned);
        }
    }
}

impl Loss {
    /// Why nothing follows, if that is so.
    const fn is_final(self) -> Option<WhyNever> {
        match self {
            Self::Broken => None,
            Self::Impossible => Some(WhyNever::Refused),
            Self::Answered(status) => match status.as_u16() {
                // Not now: https://www.rfc-editor.org/rfc/rfc6585#section-4
                408 | 425 | 429 | 500..=599 => None,
                _ => Some(WhyNever::Refused),
            },
            Self::Closed(code) => match code {
                1000 => Some(WhyNever::Done),
                // What broke the protocol or a policy would break it again.
                1002 | 1003 | 1007..=1010 => Some(WhyNever::Refused),
                // An expired token: there may be another one.
                4401 => None,
                // What applications mean by theirs, they know themselves.
                3000..=4999 => Some(WhyNever::Refused),
                _ => None,
            },
        }
    }
}

impl fmt::Display for WhyNever {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Done => "it has served its purpose",
            Self::Refused => "the peer does not want it",
            Self::Exhausted => "it was tried too often",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_nanos(1);

    fn new(attempts: u32) -> Reconnect {
        let policy = ReconnectPolicy { attempts, ..ReconnectPolicy::default() };
        Reconnect::new(policy, 7, NOW).unwrap()
    }

    #[test]
    fn refusals_are_final_and_failures_are_not() {
        let verdict = |loss| matches!(new(1).lost(NOW, loss), ReconnectVerdict::After(_));
        for code in [1001, 1005, 1006, 1011, 1012, 1013, 4401] {
            assert!(verdict(Loss::Closed(code)), "{code}");
        }
        for code in [1000, 1002, 1003, 1007, 1008, 1009, 1010, 3000, 4000, 4403] {
            assert!(!verdict(Loss::Closed(code)), "{code}");
        }
        for status in [408, 425, 429, 500, 502, 503, 504] {
            assert!(verdict(Loss::Answered(StatusCode::from_u16(status).unwrap())), "{status}");
        }
        for status in [200, 302, 400, 401, 403, 404, 426] {
            assert!(!verdict(Loss::Answered(StatusCode::from_u16(status).unwrap())), "{status}");
        }
        assert!(verdict(Loss::Broken) && !verdict(Loss::Impossible));
        let done = new(1).lost(NOW, Loss::Closed(1000));
        assert_eq!(done, ReconnectVerdict::Never(WhyNever::Done));
    }

    #[test]
    fn attempts_are_used_up_and_come_back_with_time() {
        let mut reconnect = new(3);
        let mut tries = |now| {
            let mut lost = |_: &u32| reconnect.lost(now, Loss::Broken);
            (0..100_u32)
                .map(|n| lost(&n))
                .take_while(|v| matches!(v, ReconnectVerdict::After(_)))
                .count()
        };
        assert_eq!(tries(NOW), 3);
        assert_eq!(tries(NOW + Duration::from_secs(29)), 0);
        assert_eq!(tries(NOW + Duration::from_secs(61)), 2);
        assert_eq!(tries(NOW + Duration::from_secs(90)), 1);
        assert_eq!(tries(NOW + Duration::from_secs(900)), 3);
    }

    #[test]
    fn waits_grow_and_start_over_once_it_was_open() {
        let mut longest = [Duration::ZERO; 4];
        for seed in 0..200 {
            let mut reconnect = Reconnect::new(ReconnectPolicy::default(), seed, NOW).unwrap();
            for longest in &mut longest {
                let ReconnectVerdict::After(wait) = reconnect.lost(NOW, Loss::Broken) else {
                    panic!("attempts are left")
                };
                *longest = (*longest).max(wait);
            }
            reconnect.opened();
            let ReconnectVerdict::After(wait) = reconnect.lost(NOW, Loss::Broken) else {
                panic!("attempts are left")
            };
            assert!(wait <= Duration::from_millis(250));
        }
        for (n, longest) in longest.into_iter().enumerate() {
            let bound = Duration::from_millis(250 << n);
            assert!(longest <= bound && longest > bound / 2, "{n}: {longest:?}");
        }
    }
}
