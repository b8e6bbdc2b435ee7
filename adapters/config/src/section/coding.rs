//! `[decompression]` and `[compression]`

use serde::{Deserialize, Serialize};
use sinew_core::content_coding;

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
        Self::of(Some(content_coding::Decompression::default()))
    }
}

impl Decompression {
    pub(crate) fn of(policy: Option<content_coding::Decompression>) -> Self {
        let content_coding::Decompression { max_codings, max_ratio } = policy.unwrap_or_default();
        Self { enabled: policy.is_some(), max_codings, max_ratio }
    }

    /// `None`: they are not.
    pub(crate) fn build(
        &self,
        document: &mut Document<'_>,
    ) -> Option<content_coding::Decompression> {
        let Self { enabled, max_codings, max_ratio } = *self;
        if max_codings == 0 {
            document.refuse("decompression.max_codings", "is 0: nothing would be unpacked");
        }
        if max_ratio == 0 {
            document.refuse("decompression.max_ratio", "is 0: nothing would be let through");
        }
        let makes_sense = max_codings > 0 && max_ratio > 0;
        (enabled && makes_sense).then_some(content_coding::Decompression { max_codings, max_ratio })
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
        Self::of(Some(content_coding::Compression::default()))
    }
}

impl Compression {
    pub(crate) fn of(policy: Option<content_coding::Compression>) -> Self {
        let content_coding::Compression { min_size, level } = policy.unwrap_or_default();
        Self { enabled: policy.is_some(), min_size, level }
    }

    /// `None`: they are not.
    pub(crate) fn build(&self, document: &mut Document<'_>) -> Option<content_coding::Compression> {
        let Self { enabled, min_size, level } = *self;
        let known = (1..=9).contains(&level);
        if !known {
            document.refuse("compression.level", "a level is 1 to 9");
        }
        (enabled && known).then_some(content_coding::Compression { min_size, level })
    }
}
