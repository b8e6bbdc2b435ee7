//! `[cors]`

use http::{HeaderName, Method};
use serde::{Deserialize, Serialize};
use sinew_core::policy::Mode;
use sinew_core::security;
use sinew_core::security::{CorsConfig, CorsError};

use super::ModeName;
use crate::document::Document;
use crate::value::{Span, Text};

/// Which pages may read answers.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Cors {
    mode: ModeName,
    origins: Vec<String>,
    methods: Vec<Text<Method>>,
    headers: Vec<Text<HeaderName>>,
    expose: Vec<Text<HeaderName>>,
    credentials: bool,
    max_age: Option<Span>,
    private_network: bool,
}

impl Default for Cors {
    fn default() -> Self {
        let CorsConfig { credentials, max_age, private_network, .. } = CorsConfig::default();
        Self {
            mode: ModeName::default(),
            origins: Vec::new(),
            methods: Vec::new(),
            headers: Vec::new(),
            expose: Vec::new(),
            credentials,
            max_age: max_age.map(Span::from),
            private_network,
        }
    }
}

impl Cors {
    pub(crate) fn build(&self, document: &mut Document<'_>) -> Option<(Mode, security::Cors)> {
        let names = |list: &[Text<HeaderName>]| list.iter().map(|n| n.value.clone()).collect();
        let config = CorsConfig {
            origins: self.origins.clone(),
            methods: self.methods.iter().map(|method| method.value.clone()).collect(),
            headers: names(&self.headers),
            expose: names(&self.expose),
            credentials: self.credentials,
            max_age: self.max_age.as_ref().map(|span| span.value),
            private_network: self.private_network,
        };
        if config.max_age.is_some_and(|age| age.subsec_nanos() > 0) {
            document.refuse("cors.max_age", "browsers count whole seconds");
            return None;
        }
        match security::Cors::new(config) {
            Ok(cors) => Some((self.mode.into(), cors)),
            Err(error) => {
                document.refuse(&self.meant(&error), error.to_string());
                None
            }
        }
    }

    /// The setting that an error is about.
    fn meant(&self, error: &CorsError) -> String {
        let element = |name: &str, index: Option<usize>| match index {
            Some(index) => format!("cors.{name}.{index}"),
            None => format!("cors.{name}"),
        };
        match error {
            CorsError::NoOrigin => element("origins", None),
            CorsError::Origin { origin, .. } => {
                element("origins", self.origins.iter().position(|known| known == origin))
            }
            CorsError::WildcardBesideOthers(list) => element(&list.to_string(), None),
            CorsError::WildcardWithCredentials(_) => element("credentials", None),
            CorsError::ForbiddenMethod(method) | CorsError::MethodCase(method) => {
                element("methods", self.methods.iter().position(|known| known.value == *method))
            }
            _ => "cors".to_owned(),
        }
    }
}
