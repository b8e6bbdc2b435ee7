//! The sections of a file, each with what it becomes.

#[cfg(not(feature = "redis"))]
mod absent;
mod access;
mod audit;
mod authentication;
mod coding;
mod cors;
mod drain;
mod jwt;
mod memory;
mod overload;
mod proxies;
mod rate_limit;
mod route;
mod secret;
mod server;
#[cfg(feature = "redis")]
mod shared_quota;
mod tls;
mod validation;
mod who;

use serde::{Deserialize, Serialize};
use sinew_core::policy::Mode;

#[cfg(not(feature = "redis"))]
pub(crate) use absent::SharedQuota;
pub(crate) use access::Access;
pub(crate) use audit::Audit;
pub(crate) use authentication::Authentication;
pub(crate) use coding::{Compression, Decompression};
pub(crate) use cors::Cors;
pub(crate) use drain::Drain;
pub(crate) use memory::Memory;
pub(crate) use overload::Overload;
pub(crate) use proxies::{Proxies, ProxyProtocol};
pub(crate) use rate_limit::{RateLimit, check as check_rate_limit};
pub(crate) use route::{Route, apply_routes};
pub(crate) use server::{Admin, Limits, Server, Timers};
#[cfg(feature = "redis")]
pub(crate) use shared_quota::SharedQuota;
pub(crate) use tls::Tls;
pub(crate) use validation::Validation;

/// A whole file. A section that is not there leaves things as the program says.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct File {
    pub(crate) server: Server,
    pub(crate) limits: Limits,
    pub(crate) timers: Timers,
    pub(crate) drain: Drain,
    pub(crate) tls: Option<Tls>,
    pub(crate) admin: Option<Admin>,
    pub(crate) proxies: Option<Proxies>,
    pub(crate) proxy_protocol: Option<ProxyProtocol>,
    pub(crate) cors: Option<Cors>,
    pub(crate) authentication: Option<Authentication>,
    pub(crate) access: Option<Access>,
    pub(crate) rate_limit: Option<RateLimit>,
    pub(crate) shared_quota: Option<SharedQuota>,
    pub(crate) audit: Option<Audit>,
    pub(crate) overload: Option<Overload>,
    pub(crate) memory: Option<Memory>,
    pub(crate) validation: Option<Validation>,
    pub(crate) decompression: Option<Decompression>,
    pub(crate) compression: Option<Compression>,
    pub(crate) route: Vec<Route>,
}

/// What becomes of the verdicts of a policy.
#[derive(Clone, Copy, Default, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ModeName {
    #[default]
    Enforce,
    Shadow,
    Off,
}

impl From<ModeName> for Mode {
    fn from(name: ModeName) -> Self {
        match name {
            ModeName::Enforce => Self::Enforce,
            ModeName::Shadow => Self::Shadow,
            ModeName::Off => Self::Off,
        }
    }
}
