//! `[rate_limit]`

use serde::{Deserialize, Serialize};
use sinew_core::limit::{BadLimiter, Quota};
use sinew_core::policy;
use sinew_core::security::Who;
use sinew_core::server::{BadRateLimit, ClientClass, LimitFields, RateLimitConfig};
use sinew_driver::{Mode, Runtime, ServerBuilder};

use super::route::section_of;
use super::who::{IdentityName, WhoName, who};
use super::{File, ModeName};
use crate::document::Document;
use crate::value::{OrNone, QuotaText};

/// How much each client may ask for.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RateLimit {
    mode: ModeName,
    fields: FieldsName,
    bytes: usize,
    client: OrNone<QuotaText>,
    global: OrNone<QuotaText>,
    class: Vec<Class>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Class {
    name: String,
    who: Option<WhoName>,
    identities: Option<Vec<IdentityName>>,
    #[serde(default)]
    roles: Vec<String>,
    quota: OrNone<QuotaText>,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum FieldsName {
    Draft,
    Legacy,
    None,
}

impl Default for RateLimit {
    fn default() -> Self {
        let RateLimitConfig { client, global, fields, bytes, .. } = RateLimitConfig::default();
        Self {
            mode: ModeName::default(),
            fields: match fields {
                LimitFields::Draft => FieldsName::Draft,
                LimitFields::Legacy => FieldsName::Legacy,
                LimitFields::None => FieldsName::None,
            },
            bytes,
            client: OrNone(client.map(QuotaText::from)),
            global: OrNone(global.map(QuotaText::from)),
            class: Vec::new(),
        }
    }
}

impl RateLimit {
    pub(crate) fn build(&self, document: &mut Document<'_>) -> (policy::Mode, RateLimitConfig) {
        let fields = match self.fields {
            FieldsName::Draft => LimitFields::Draft,
            FieldsName::Legacy => LimitFields::Legacy,
            FieldsName::None => LimitFields::None,
        };
        let client = quota(document, "rate_limit.client", &self.client);
        let global = quota(document, "rate_limit.global", &self.global);
        let mut classes = Vec::new();
        for (i, class) in self.class.iter().enumerate() {
            let table = format!("rate_limit.class.{i}");
            let quota = quota(document, &format!("{table}.quota"), &class.quota);
            let who = who(document, &table, class.who, class.identities.as_deref());
            classes.push(ClientClass {
                name: class.name.clone(),
                // What was refused is not used; the others keep their places.
                who: who.unwrap_or(Who::Anyone),
                roles: class.roles.clone(),
                quota,
            });
        }
        (self.mode.into(), RateLimitConfig { client, classes, global, fields, bytes: self.bytes })
    }
}

/// Tells what makes no sense about the quotas of a server and what its routes say of them, as it is now
/// that both the program and the file have had their say.
pub(crate) fn check<R: Runtime, M: Mode>(
    file: &File,
    document: &mut Document<'_>,
    builder: &mut ServerBuilder<R, M>,
) {
    let limits = builder.rate_limits().cloned();
    let routes: Vec<_> = builder
        .routes_mut()
        .map(|(method, template, options)| {
            let policy = &options.policy;
            (section_of(&file.route, method, template), policy.cost, policy.quota)
        })
        .collect();
    let Some(limits) = limits else {
        for (section, ..) in routes.iter().filter(|(_, _, quota)| quota.is_some()) {
            if let Some(section) = section {
                let why = "the server has no quotas: give it [rate_limit], too";
                document.refuse(&format!("route.{section}.quota"), why);
            }
        }
        return;
    };
    let mut told: Vec<String> = Vec::new();
    for bad in limits.problems(routes.iter().map(|(_, cost, quota)| (*cost, *quota))) {
        let setting = match &bad {
            BadRateLimit::Name { class, .. } => format!("rate_limit.class.{class}.name"),
            BadRateLimit::Cost { route, .. } => match routes.get(*route) {
                Some((Some(section), ..)) => format!("route.{section}.cost"),
                _ => "rate_limit".to_owned(),
            },
            // There may be one, which was refused.
            BadRateLimit::Limiter(BadLimiter::NoQuota) if document.is_refused() => continue,
            BadRateLimit::Limiter(BadLimiter::Bytes) => "rate_limit.bytes".to_owned(),
            _ => "rate_limit".to_owned(),
        };
        // A section may be about several routes.
        if !told.contains(&setting) {
            document.refuse(&setting, bad.to_string());
            told.push(setting);
        }
    }
}

/// The quota of a setting, if it has one that makes sense.
pub(super) fn quota(
    document: &mut Document<'_>,
    setting: &str,
    text: &OrNone<QuotaText>,
) -> Option<Quota> {
    match text.0.as_ref()?.build() {
        Ok(quota) => Some(quota),
        Err((part, why)) => {
            let part = part.map(|part| format!(".{part}")).unwrap_or_default();
            document.refuse(&format!("{setting}{part}"), why);
            None
        }
    }
}
