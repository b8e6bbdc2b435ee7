//! The script that takes tokens, and its command.

use std::time::Duration;

use sinew_core::limit::{KeyHash, Quota};
use sinew_core::outbox::Outbox;

use crate::resp::put_command;

/// The script itself.
const TEXT: &str = include_str!("lease.lua");

/// The SHA-1 of the script, by which the store finds it again.
const HASH: &str = "ebc418e70ead0206c06ab8caa34d3c28cac71575";

/// The largest bucket, in microseconds: burst times period.
const MAX_FULL: u64 = 1 << 52;

/// How the script is named.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Named {
    /// By its hash; a store that does not know it refuses, and has done nothing.
    ByHash,
    /// In full.
    InFull,
}

/// What all asks have in common.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    prefix: String,
    count: String,
    period: String,
    burst: String,
}

impl Script {
    /// `None` for a quota that the store cannot count exactly.
    pub(crate) fn new(prefix: &str, quota: &Quota) -> Option<Self> {
        let period = u64::try_from(quota.period().as_micros()).ok()?;
        period.checked_mul(quota.burst().into()).filter(|full| *full <= MAX_FULL)?;
        Some(Self {
            prefix: prefix.to_owned(),
            count: quota.count().to_string(),
            period: period.to_string(),
            burst: quota.burst().to_string(),
        })
    }

    /// Asks for so many tokens of this client.
    pub(crate) fn ask(&self, outbox: &mut Outbox, named: Named, client: KeyHash, tokens: u32) {
        let (command, script) = match named {
            Named::ByHash => ("EVALSHA", HASH),
            Named::InFull => ("EVAL", TEXT),
        };
        let key = format!("{}{:016x}", self.prefix, client.to_bits());
        let tokens = tokens.to_string();
        let words = [command, script, "1", &key, &self.count, &self.period, &self.burst, &tokens];
        put_command(outbox, &words.map(str::as_bytes));
    }
}

/// The script's second number.
pub(crate) fn wait(micros: i64) -> Duration {
    Duration::from_micros(micros.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_the_script() {
        let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, TEXT.as_bytes());
        let bytes = HASH.as_bytes().chunks(2).map(|digits| std::str::from_utf8(digits).unwrap());
        let hash: Vec<_> = bytes.map(|digits| u8::from_str_radix(digits, 16).unwrap()).collect();
        assert_eq!(digest.as_ref(), hash, "the script has changed: {digest:?}");
    }

    #[test]
    fn what_cannot_be_counted_exactly_is_refused() {
        let day = Duration::from_secs(86_400);
        let script = |burst| Script::new("", &Quota::new(1, day, burst).unwrap());
        assert!(script(52_124).is_some());
        assert!(script(52_125).is_none());
    }
}
