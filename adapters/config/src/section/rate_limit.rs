//! `[rate_limit]`

use serde::{Deserialize, Serialize};
use sinew_core::limit::Quota;
use sinew_core::policy::Mode;
use sinew_core::server::{ClientClass, LimitFields, RateLimitConfig};

use super::ModeName;
use super::who::{IdentityName, WhoName, who};
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
    pub(crate) fn build(&self, document: &mut Document<'_>) -> (Mode, RateLimitConfig) {
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
            let Some(who) = who else { continue };
            classes.push(ClientClass {
                name: class.name.clone(),
                who,
                roles: class.roles.clone(),
                quota,
            });
        }
        (self.mode.into(), RateLimitConfig { client, classes, global, fields, bytes: self.bytes })
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
