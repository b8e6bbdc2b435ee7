//! `[overload]`

use serde::{Deserialize, Serialize};
use sinew_core::limit::{AdmissionConfig, ConcurrencyConfig};
use sinew_core::policy::Priority;
use sinew_core::security::Network;
use sinew_core::server::{Classes, PriorityRule};

use super::ModeName;
use super::route::PriorityName;
use super::who::{IdentityName, WhoName, who};
use crate::document::Document;
use crate::value::{Span, Text};

/// Who is served when not all can be.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Overload {
    mode: ModeName,
    initial: u32,
    min: u32,
    max: u32,
    late: Span,
    shares: Shares,
    queue: usize,
    target: Span,
    interval: Span,
    patience: Span,
    retry_after: Span,
    trusted_networks: Vec<Text<Network>>,
    class: Vec<Class>,
}

/// Percent, by how much a request matters.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Shares {
    bulk: u8,
    low: u8,
    normal: u8,
    high: u8,
    critical: u8,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Class {
    who: Option<WhoName>,
    identities: Option<Vec<IdentityName>>,
    #[serde(default)]
    roles: Vec<String>,
    priority: PriorityName,
}

impl Default for Overload {
    fn default() -> Self {
        let AdmissionConfig {
            concurrency: ConcurrencyConfig { initial, min, max, late, .. },
            shares: [bulk, low, normal, high, critical],
            queue,
            target,
            interval,
            patience,
            retry_after,
        } = AdmissionConfig::default();
        Self {
            mode: ModeName::default(),
            initial,
            min,
            max,
            late: late.into(),
            shares: Shares { bulk, low, normal, high, critical },
            queue,
            target: target.into(),
            interval: interval.into(),
            patience: patience.into(),
            retry_after: retry_after.into(),
            trusted_networks: Vec::new(),
            class: Vec::new(),
        }
    }
}

impl Overload {
    pub(crate) fn build(&self, document: &mut Document<'_>) -> (AdmissionConfig, Classes) {
        let Shares { bulk, low, normal, high, critical } = self.shares;
        let config = AdmissionConfig {
            concurrency: ConcurrencyConfig {
                mode: self.mode.into(),
                initial: self.initial,
                min: self.min,
                max: self.max,
                late: self.late.value,
            },
            shares: [bulk, low, normal, high, critical],
            queue: self.queue,
            target: self.target.value,
            interval: self.interval.value,
            patience: self.patience.value,
            retry_after: self.retry_after.value,
        };
        if let Err(bad) = config.check() {
            document.refuse("overload", bad.to_string());
        }
        let mut rules = Vec::new();
        for (i, class) in self.class.iter().enumerate() {
            let table = format!("overload.class.{i}");
            let who = who(document, &table, class.who, class.identities.as_deref());
            let Some(who) = who else { continue };
            let priority = Priority::from(class.priority);
            rules.push(PriorityRule { who, roles: class.roles.clone(), priority });
        }
        let networks = self.trusted_networks.iter().map(|network| network.value).collect();
        (config, Classes { rules, networks })
    }
}
