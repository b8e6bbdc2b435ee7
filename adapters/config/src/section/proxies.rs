//! `[proxies]`

use serde::{Deserialize, Serialize};
use sinew_core::security::{ForwardedField, Network, TrustedProxies};

use crate::value::Text;

/// The proxies in front of the server.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Proxies {
    networks: Vec<Text<Network>>,
    field: FieldName,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum FieldName {
    Forwarded,
    XForwardedFor,
}

impl Proxies {
    pub(crate) fn build(&self) -> TrustedProxies {
        let networks: Vec<Network> = self.networks.iter().map(|network| network.value).collect();
        let field = match self.field {
            FieldName::Forwarded => ForwardedField::Forwarded,
            FieldName::XForwardedFor => ForwardedField::XForwardedFor,
        };
        TrustedProxies::new(networks, field)
    }
}
