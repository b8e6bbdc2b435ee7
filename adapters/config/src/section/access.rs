//! `[access]`

use http::Method;
use serde::{Deserialize, Serialize};
use sinew_core::policy::Mode;
use sinew_core::security;
use sinew_core::security::{AccessError, BadRule, Effect, Network, Routes};
use sinew_driver::Explain;

use super::ModeName;
use super::who::{IdentityName, WhoName, who};
use crate::document::{Document, unknown_name};
use crate::value::Text;

/// Who may do what. What no rule allows is refused.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Access {
    mode: ModeName,
    explain: ExplainName,
    rule: Vec<Rule>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
struct Rule {
    name: String,
    effect: EffectName,
    who: Option<WhoName>,
    identities: Option<Vec<IdentityName>>,
    roles: Vec<String>,
    scopes: Vec<String>,
    networks: Vec<Text<Network>>,
    routes: Option<Vec<String>>,
    except: Option<Vec<String>>,
    methods: Vec<Text<Method>>,
}

#[derive(Clone, Copy, Default, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum ExplainName {
    #[default]
    Observer,
    Caller,
}

#[derive(Clone, Copy, Default, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum EffectName {
    #[default]
    Allow,
    Deny,
}

impl Access {
    pub(crate) fn mode(&self) -> Mode {
        self.mode.into()
    }

    pub(crate) fn explain(&self) -> Explain {
        match self.explain {
            ExplainName::Observer => Explain::Observer,
            ExplainName::Caller => Explain::Caller,
        }
    }

    /// `templates`: those that the program has.
    pub(crate) fn build(
        &self,
        document: &mut Document<'_>,
        templates: &[String],
    ) -> Vec<security::Rule> {
        let mut rules: Vec<security::Rule> = Vec::new();
        for (i, rule) in self.rule.iter().enumerate() {
            let table = format!("access.rule.{i}");
            let Some(rule) = rule.build(document, &table) else { continue };
            if rules.iter().any(|known| known.name == rule.name) {
                document.refuse(&format!("{table}.name"), "another rule has this name");
            }
            // Each for itself, so that all mistakes are told.
            let names = templates.iter().map(String::as_str);
            if let Err(AccessError { why, .. }) = security::Access::new(vec![rule.clone()], names) {
                let (setting, why) = meant(&rule, &why, templates);
                document.refuse(&format!("{table}.{setting}"), why);
            }
            rules.push(rule);
        }
        rules
    }
}

impl Rule {
    fn build(&self, document: &mut Document<'_>, table: &str) -> Option<security::Rule> {
        let routes = match (&self.routes, &self.except) {
            (None, None) => Routes::Every,
            (Some(list), None) => Routes::Of(list.clone()),
            (None, Some(list)) => Routes::Except(list.clone()),
            (Some(_), Some(_)) => {
                let why = "routes and except exclude each other";
                document.refuse(&format!("{table}.except"), why);
                return None;
            }
        };
        Some(security::Rule {
            name: self.name.clone(),
            effect: match self.effect {
                EffectName::Allow => Effect::Allow,
                EffectName::Deny => Effect::Deny,
            },
            who: who(document, table, self.who, self.identities.as_deref())?,
            roles: self.roles.clone(),
            scopes: self.scopes.clone(),
            networks: self.networks.iter().map(|network| network.value).collect(),
            routes,
            methods: self.methods.iter().map(|method| method.value.clone()).collect(),
        })
    }
}

/// The setting that an error is about, and what to say of it.
fn meant(rule: &security::Rule, why: &BadRule, templates: &[String]) -> (String, String) {
    let setting = match why {
        BadRule::Name => "name",
        BadRule::Nobody | BadRule::Identity => "identities",
        BadRule::AnyoneWithGrants => "who",
        BadRule::Role => "roles",
        BadRule::Scope => "scopes",
        BadRule::NoRoute => "routes",
        BadRule::UnknownRoute(route) => {
            let (name, list) = match &rule.routes {
                Routes::Of(list) => ("routes", list.as_slice()),
                Routes::Except(list) => ("except", list.as_slice()),
                Routes::Every => ("routes", &[][..]),
            };
            let index = list.iter().position(|known| known == route).unwrap_or_default();
            let known = templates.iter().map(String::as_str);
            return (format!("{name}.{index}"), format!("route {}", unknown_name(route, known)));
        }
        _ => "name",
    };
    (setting.to_owned(), why.to_string())
}
