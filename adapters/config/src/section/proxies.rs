//! `[proxies]` and `[proxy_protocol]`

use serde::{Deserialize, Serialize};
use sinew_core::security::{ForwardedField, Network, ProxyProtocol as Policy, TrustedProxies};

use crate::document::Document;
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

/// The proxies whose connections start with a PROXY header.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProxyProtocol {
    networks: Vec<Text<Network>>,
    max_header_size: Option<usize>,
}

impl ProxyProtocol {
    /// What fits the addresses of every kind.
    const LEAST: usize = 232;

    pub(crate) fn build(&self, document: &mut Document<'_>) -> Policy {
        let limit = self.max_header_size.unwrap_or(Policy::LIMIT);
        if limit < Self::LEAST {
            let why = "is below 232 bytes, which addresses may take";
            document.refuse("proxy_protocol.max_header_size", why);
        }
        let networks: Vec<Network> = self.networks.iter().map(|network| network.value).collect();
        Policy::new(networks, limit)
    }
}
