//! `[decompression]` and `[compression]`

use serde::{Deserialize, Serialize};
use sinew_core::server;

use crate::document::Document;

/// How request bodies are unpacked.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Decompression {
    enabled: bool,
    max_codings: usize,
    max_ratio: u32,
}

impl Default for Decompression {
    fn default() -> Self {
        Self::of(Some(server::Decompression::default()))
    }
}

impl Decompression {
    pub(crate) fn of(policy: Option<server::Decompression>) -> Self {
        let server::Decompression { max_codings, max_ratio } = policy.unwrap_or_default();
        Self { enabled: policy.is_some(), max_codings, max_ratio }
    }

    /// `None`: they are not.
    pub(crate) fn build(&self, document: &mut Document<'_>) -> Option<server::Decompression> {
        let Self { enabled, max_codings, max_ratio } = *self;
        if max_codings == 0 {
            document.refuse("decompression.max_codings", "is 0: nothing would be unpacked");
        }
        if max_ratio == 0 {
            document.refuse("decompression.max_ratio", "is 0: nothing would be let through");
        }
        let makes_sense = max_codings > 0 && max_ratio > 0;
        (enabled && makes_sense).then_some(server::Decompression { max_codings, max_ratio })
    }
}

/// How answers are compressed.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Compression {
    enabled: bool,
    min_size: u64,
    level: u8,
}

impl Default for Compression {
    fn default() -> Self {
        Self::of(Some(server::Compression::default()))
    }
}

impl Compression {
    pub(crate) fn of(policy: Option<server::Compression>) -> Self {
        let server::Compression { min_size, level } = policy.unwrap_or_default();
        Self { enabled: policy.is_some(), min_size, level }
    }

    /// `None`: they are not.
    pub(crate) fn build(&self, document: &mut Document<'_>) -> Option<server::Compression> {
        let Self { enabled, min_size, level } = *self;
        let known = (1..=9).contains(&level);
        if !known {
            document.refuse("compression.level", "a level is 1 to 9");
        }
        (enabled && known).then_some(server::Compression { min_size, level })
    }
}
