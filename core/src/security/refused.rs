//! Tokens that were refused a moment ago: a bounded memory, so that a flood of them costs a look-up
//! and not a signature each.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use super::TokenError;
use crate::time::Instant;

/// What a [`RefusedTokens`] may hold, and for how long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RefusedConfig {
    /// Tokens, of some 150 bytes each; the oldest makes room. 0 remembers nothing. Default 1024.
    pub capacity: usize,
    /// How long one is remembered. Default 60 s.
    pub keep: Duration,
}

impl Default for RefusedConfig {
    fn default() -> Self {
        Self { capacity: 1024, keep: Duration::from_secs(60) }
    }
}

/// Tokens that were refused, by a digest that the caller makes: no token lies in here.
///
/// It can only ever refuse. Forgetting costs time, never safety.
#[derive(Clone, Debug)]
pub struct RefusedTokens {
    config: RefusedConfig,
    reasons: BTreeMap<[u8; 32], TokenError>,
    /// In the order in which they came, which is that in which they end.
    ends: VecDeque<(Instant, [u8; 32])>,
}

impl RefusedTokens {
    /// An empty memory.
    pub fn new(config: RefusedConfig) -> Self {
        Self { config, reasons: BTreeMap::new(), ends: VecDeque::new() }
    }

    /// Why this token was refused, if that is remembered.
    pub fn get(&mut self, now: Instant, digest: &[u8; 32]) -> Option<TokenError> {
        self.forget(now);
        self.reasons.get(digest).copied()
    }

    /// Remembers a refusal, if it is [final](TokenError::is_final).
    pub fn insert(&mut self, now: Instant, digest: [u8; 32], reason: TokenError) {
        self.forget(now);
        if !reason.is_final() || self.config.capacity == 0 || self.reasons.contains_key(&digest) {
            return;
        }
        if self.reasons.len() >= self.config.capacity
            && let Some((_, oldest)) = self.ends.pop_front()
        {
            self.reasons.remove(&oldest);
        }
        self.reasons.insert(digest, reason);
        self.ends.push_back((now + self.config.keep, digest));
    }

    /// Forgets everything: keys or policy changed, so what was refused may be good now.
    pub fn clear(&mut self) {
        self.reasons.clear();
        self.ends.clear();
    }

    /// Tokens remembered.
    pub fn len(&self) -> usize {
        self.reasons.len()
    }

    /// Whether none is remembered.
    pub fn is_empty(&self) -> bool {
        self.reasons.is_empty()
    }

    fn forget(&mut self, now: Instant) {
        while let Some((end, digest)) = self.ends.front()
            && *end <= now
        {
            self.reasons.remove(digest);
            self.ends.pop_front();
        }
    }
}
