//! `[memory]`

use serde::{Deserialize, Serialize};
use sinew_core::limit::LedgerConfig;

use crate::document::Document;

/// How many bytes the server holds, and what is done before they run short.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Memory {
    cap: u64,
    shorten_idle: u8,
    no_connections: u8,
    shed_bulk: u8,
    shed_low: u8,
    shed_normal: u8,
    shed_high: u8,
    relief: u8,
}

impl Default for Memory {
    fn default() -> Self {
        Self::of(LedgerConfig::default())
    }
}

impl Memory {
    pub(crate) fn build(&self, document: &mut Document<'_>) -> LedgerConfig {
        let config = LedgerConfig {
            cap: self.cap,
            stages: [
                self.shorten_idle,
                self.no_connections,
                self.shed_bulk,
                self.shed_low,
                self.shed_normal,
                self.shed_high,
            ],
            relief: self.relief,
        };
        if let Err(bad) = config.check() {
            document.refuse("memory", bad.to_string());
        }
        config
    }

    /// Every setting as it is in force.
    pub(crate) fn of(config: LedgerConfig) -> Self {
        let LedgerConfig { cap, stages, relief } = config;
        let [shorten_idle, no_connections, shed_bulk, shed_low, shed_normal, shed_high] = stages;
        Self {
            cap,
            shorten_idle,
            no_connections,
            shed_bulk,
            shed_low,
            shed_normal,
            shed_high,
            relief,
        }
    }
}
