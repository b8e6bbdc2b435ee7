//! `[audit]`

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sinew_core::observe::audit::{Queue, Severity};
use sinew_driver::Audit as Log;

use crate::document::Document;

/// Where audit records go.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Audit {
    file: PathBuf,
    #[serde(default)]
    chained: bool,
    #[serde(default = "rotate_at")]
    rotate_at: u64,
    #[serde(default = "keep")]
    keep: u32,
    #[serde(default = "queue")]
    queue: usize,
    #[serde(default)]
    least: SeverityName,
}

#[derive(Clone, Copy, Default, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum SeverityName {
    #[default]
    Info,
    Notice,
    Warning,
    Critical,
}

const fn rotate_at() -> u64 {
    Log::ROTATE_AT
}

const fn keep() -> u32 {
    Log::KEEP
}

const fn queue() -> usize {
    Queue::CAP
}

impl Audit {
    pub(crate) fn build(&self, base: &Path, document: &mut Document<'_>) -> Option<Log> {
        if self.file.as_os_str().is_empty() {
            document.refuse("audit.file", "names no file");
        }
        let log = Log::file(base.join(&self.file))
            .chained(self.chained)
            .rotate_at(self.rotate_at)
            .keep(self.keep)
            .queue(self.queue)
            .least(self.least.into());
        match log.check() {
            Ok(()) => Some(log),
            Err((setting, why)) => {
                document.refuse(&format!("audit.{setting}"), why);
                None
            }
        }
    }
}

impl From<SeverityName> for Severity {
    fn from(name: SeverityName) -> Self {
        match name {
            SeverityName::Info => Self::Info,
            SeverityName::Notice => Self::Notice,
            SeverityName::Warning => Self::Warning,
            SeverityName::Critical => Self::Critical,
        }
    }
}
