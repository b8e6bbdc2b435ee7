//! `[[authentication.jwt]]`

use std::fs;
use std::path::{Path, PathBuf};

use http::Uri;
use http::uri::Scheme;
use serde::{Deserialize, Serialize};
use sinew_auth::{
    Algorithm, BadJwksPolicy, BadJwtPolicy, Crypto, JwksPolicy, JwtPolicy, JwtVerifier, KeySet,
};
use sinew_core::security::{BadClaimConfig, Binding, ClaimConfig};
use sinew_driver::{JwksEndpoint, RestClient, Runtime};
use sinew_tls::ClientTls;

use crate::document::Document;
use crate::value::{Parse, Span, Text};

/// An issuer of tokens.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Jwt {
    pub(super) issuer: String,
    audiences: Vec<String>,
    jwks_file: Option<PathBuf>,
    jwks_url: Option<Text<Url>>,
    jwks_ca: Vec<PathBuf>,
    jwks_refresh: Span,
    jwks_stale: Span,
    algorithms: Vec<Text<Algorithm>>,
    token_type: Option<String>,
    token_bytes: usize,
    leeway: Span,
    max_age: Option<Span>,
    binding: BindingName,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum BindingName {
    IfBound,
    Required,
}

impl Default for Jwt {
    fn default() -> Self {
        let JwtPolicy { claims, algorithms, token_type, token_bytes } = JwtPolicy::new("", "");
        let keys = JwksPolicy::default();
        Self {
            issuer: String::new(),
            audiences: Vec::new(),
            jwks_file: None,
            jwks_url: None,
            jwks_ca: Vec::new(),
            jwks_refresh: keys.refresh.into(),
            jwks_stale: keys.stale.into(),
            algorithms: algorithms
                .iter()
                .filter_map(|algorithm| Text::new(algorithm.name()).ok())
                .collect(),
            token_type,
            token_bytes,
            leeway: claims.leeway.into(),
            max_age: claims.max_age.map(Span::from),
            binding: match claims.binding {
                Binding::IfBound => BindingName::IfBound,
                Binding::Required => BindingName::Required,
            },
        }
    }
}

/// Where the keys of an issuer come from.
pub(super) enum Keys<R: Runtime> {
    /// A file: they stay as they are.
    Given(KeySet),
    /// The issuer: they are kept fresh.
    Fetched(JwksEndpoint<R>),
}

impl Jwt {
    pub(super) fn build<R: Runtime>(
        &self,
        base: &Path,
        document: &mut Document<'_>,
        table: &str,
        crypto: &Crypto,
        runtime: &R,
    ) -> Option<(JwtVerifier, Keys<R>)> {
        let mut refuse = |setting: &str, why: String| {
            document.refuse(&format!("{table}{setting}"), why);
        };
        let verifier = self.verifier(crypto, &mut refuse);
        let keys = match (&self.jwks_file, &self.jwks_url) {
            (Some(path), None) => {
                if !self.jwks_ca.is_empty() {
                    refuse(".jwks_ca", "nobody is asked: there is no jwks_url".to_owned());
                }
                given(&base.join(path)).map_err(|why| refuse(".jwks_file", why)).ok()
            }
            (None, Some(url)) => self.fetched(&url.value, base, runtime, &mut refuse),
            _ => {
                refuse("", "one of jwks_file and jwks_url says where the keys are".to_owned());
                None
            }
        };
        Some((verifier?, keys?))
    }

    fn verifier(
        &self,
        crypto: &Crypto,
        refuse: &mut impl FnMut(&str, String),
    ) -> Option<JwtVerifier> {
        let claims = ClaimConfig {
            issuer: self.issuer.clone(),
            audiences: self.audiences.clone(),
            leeway: self.leeway.value,
            max_age: self.max_age.as_ref().map(|span| span.value),
            binding: match self.binding {
                BindingName::IfBound => Binding::IfBound,
                BindingName::Required => Binding::Required,
            },
        };
        let policy = JwtPolicy {
            claims,
            algorithms: self.algorithms.iter().map(|algorithm| algorithm.value).collect(),
            token_type: self.token_type.clone(),
            token_bytes: self.token_bytes,
        };
        let refused = |bad: BadJwtPolicy| {
            let setting = match bad {
                BadJwtPolicy::Claims(BadClaimConfig::Issuer) => ".issuer",
                BadJwtPolicy::Claims(BadClaimConfig::Audiences) => ".audiences",
                BadJwtPolicy::Claims(BadClaimConfig::Leeway) => ".leeway",
                BadJwtPolicy::Claims(_) => ".max_age",
                _ => ".algorithms",
            };
            refuse(setting, bad.to_string());
        };
        JwtVerifier::new(policy, crypto.clone()).map_err(refused).ok()
    }

    fn fetched<R: Runtime>(
        &self,
        url: &Url,
        base: &Path,
        runtime: &R,
        refuse: &mut impl FnMut(&str, String),
    ) -> Option<Keys<R>> {
        let policy = JwksPolicy {
            refresh: self.jwks_refresh.value,
            stale: self.jwks_stale.value,
            ..JwksPolicy::default()
        };
        if let Err(bad) = policy.check() {
            let setting = match bad {
                BadJwksPolicy::Zero if policy.refresh.is_zero() => ".jwks_refresh",
                _ => ".jwks_stale",
            };
            refuse(setting, bad.to_string());
            return None;
        }
        if self.jwks_ca.is_empty() {
            let why = "jwks_ca says which authorities the server of the keys is known by";
            refuse(".jwks_url", why.to_owned());
            return None;
        }
        let mut tls = ClientTls::builder();
        for (i, path) in self.jwks_ca.iter().enumerate() {
            let read = tls.ca_file(base.join(path));
            tls = read.map_err(|bad| refuse(&format!(".jwks_ca.{i}"), bad.to_string())).ok()?;
        }
        let tls = tls.build().map_err(|bad| refuse(".jwks_ca", bad.to_string())).ok()?;
        let client = RestClient::builder(url.origin.clone()).tls(tls).build_on(runtime.clone());
        let client = client.map_err(|bad| refuse(".jwks_url", bad.to_string())).ok()?;
        Some(Keys::Fetched(JwksEndpoint::new(client, url.path.clone()).policy(policy)))
    }
}

fn given<R: Runtime>(path: &Path) -> Result<Keys<R>, String> {
    let json = fs::read(path)
        .map_err(|error| format!("cannot read {}: {}", path.display(), error.kind()))?;
    KeySet::from_json(&json).map(Keys::Given).map_err(|bad| bad.to_string())
}

/// Where keys are fetched. Over TLS: who can change them on their way can sign any token.
#[derive(Clone, Debug)]
struct Url {
    /// Scheme and authority.
    origin: String,
    /// Path and query.
    path: String,
}

impl Parse for Url {
    const EXPECTED: &str = "a URL such as \"https://login.example.org/.well-known/jwks.json\"";

    fn parse(text: &str) -> Result<Self, Option<String>> {
        let uri: Uri = text.parse().map_err(|_| None)?;
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
            return Err(None);
        };
        if *scheme != Scheme::HTTPS {
            return Err(Some("keys are fetched over https alone".to_owned()));
        }
        if authority.as_str().contains('@') {
            return Err(Some("no credentials stand in here".to_owned()));
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self { origin: format!("https://{authority}"), path: path.to_owned() })
    }
}
