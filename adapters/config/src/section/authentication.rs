//! `[authentication]`

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::HeaderName;
use serde::{Deserialize, Serialize, Serializer};
use sinew_auth::{ApiKeys, Crypto, JwtValidator};
use sinew_core::security::{Challenge, KeyDigest, Principal, Subject};
use sinew_driver::{Runtime, SecurityPolicy};

use super::jwt::{Jwt, Keys};
use super::{ModeName, secret};
use crate::document::Document;
use crate::value::{Date, Parse, Text};

/// Whose credentials are good.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Authentication {
    mode: ModeName,
    shield: ModeName,
    realm: Option<String>,
    api_key_field: Option<Text<HeaderName>>,
    api_key: Vec<ApiKey>,
    jwt: Vec<Jwt>,
}

/// A key, known by its hash; or where it is kept.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct ApiKey {
    label: String,
    sha256: Option<Digest>,
    key_file: Option<PathBuf>,
    key_env: Option<String>,
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default)]
    scopes: Vec<String>,
    expires: Option<Date>,
}

impl Authentication {
    /// What a policy is told by this section.
    pub(crate) fn build<R: Runtime>(
        &self,
        base: &Path,
        document: &mut Document<'_>,
        runtime: &R,
    ) -> impl FnOnce(SecurityPolicy) -> SecurityPolicy + use<R> {
        if let Some(realm) = &self.realm
            && let Err(bad) = Challenge::new(realm)
        {
            document.refuse("authentication.realm", bad.to_string());
        }
        if self.api_key_field.is_none() && !self.api_key.is_empty() {
            document.refuse("authentication.api_key", "api_key_field says where keys are found");
        }
        if self.api_key_field.is_some() && self.api_key.is_empty() {
            document.refuse("authentication.api_key_field", "no api_key can be found in it");
        }
        let mut keys = None;
        let mut issuers = Vec::new();
        match Crypto::built_in() {
            Err(missing) => document.refuse("authentication", missing.to_string()),
            Ok(crypto) => {
                if !self.api_key.is_empty() {
                    keys = Some(self.keys(base, document, &crypto));
                }
                for (i, jwt) in self.jwt.iter().enumerate() {
                    let table = format!("authentication.jwt.{i}");
                    if self.jwt[..i].iter().any(|other| other.issuer == jwt.issuer) {
                        document.refuse(&format!("{table}.issuer"), "the issuer is there already");
                    }
                    issuers.extend(jwt.build(base, document, &table, &crypto, runtime));
                }
            }
        }
        let field = self.api_key_field.as_ref().map(|field| field.value.clone());
        let realm = self.realm.clone();
        let (mode, shield) = (self.mode.into(), self.shield.into());
        move |mut policy| {
            policy = policy.authentication_mode(mode).shield_mode(shield);
            if let Some(keys) = keys {
                policy = policy.tokens(keys);
            }
            for (verifier, keys) in issuers {
                policy = match keys {
                    Keys::Given(keys) => policy.tokens(JwtValidator::new(verifier, keys)),
                    Keys::Fetched(endpoint) => policy.jwt(verifier, endpoint),
                };
            }
            if let Some(field) = field {
                policy = policy.api_key(field);
            }
            match realm {
                Some(realm) => policy.realm(realm),
                None => policy,
            }
        }
    }

    fn keys(
        &self,
        base: &Path,
        document: &mut Document<'_>,
        crypto: &Crypto,
    ) -> ApiKeys<Arc<Principal>> {
        let mut keys = ApiKeys::new(crypto.clone());
        for (i, key) in self.api_key.iter().enumerate() {
            let table = format!("authentication.api_key.{i}");
            if key.label.is_empty() {
                document.refuse(&format!("{table}.label"), "the key has no label");
            }
            let digest = match key.digest(base, crypto) {
                Ok(digest) => digest,
                Err((setting, why)) => {
                    document.refuse(&format!("{table}{setting}"), why);
                    continue;
                }
            };
            let boxed = |list: &[String]| list.iter().map(|text| text.as_str().into()).collect();
            let owner = Principal {
                subject: Subject::ApiKey {
                    label: key.label.as_str().into(),
                    digest: KeyDigest(digest),
                },
                roles: boxed(&key.roles),
                scopes: boxed(&key.scopes),
                expires: key.expires.map(|date| date.since_1970),
            };
            if let Err(bad) = keys.insert_hash(digest, Arc::new(owner)) {
                document.refuse(&table, bad.to_string());
            }
        }
        keys
    }
}

impl ApiKey {
    /// The hash of the key. `Err`: the setting that makes no sense, and why.
    fn digest(&self, base: &Path, crypto: &Crypto) -> Result<[u8; 32], (&'static str, String)> {
        let (setting, key) = match (&self.sha256, &self.key_file, &self.key_env) {
            (Some(Digest(digest)), None, None) => return Ok(*digest),
            (None, Some(path), None) => (".key_file", secret::of_file(base, path)),
            (None, None, Some(name)) => (".key_env", secret::of_env(name)),
            _ => {
                let why = "one of sha256, key_file and key_env says what the key is";
                return Err(("", why.to_owned()));
            }
        };
        let key = key.map_err(|why| (setting, why))?;
        if key.len() < ApiKeys::<()>::MIN_BYTES {
            return Err((setting, sinew_auth::BadKey::TooShort.to_string()));
        }
        Ok(crypto.sha256(key.as_bytes()))
    }
}

/// The SHA-256 of a key. Not shown: a weak key can be guessed from it.
#[derive(Clone, Deserialize)]
#[serde(from = "Text<Digest>")]
struct Digest([u8; 32]);

impl Parse for Digest {
    const EXPECTED: &str = "a SHA-256 in 64 hexadecimal digits";

    fn parse(text: &str) -> Result<Self, Option<String>> {
        let mut digest = [0; 32];
        let digits: Option<Vec<u8>> =
            text.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect();
        let digits = digits.filter(|digits| digits.len() == 64).ok_or(None)?;
        for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair.iter().fold(0, |byte, digit| byte << 4 | digit);
        }
        Ok(Self(digest))
    }
}

impl From<Text<Self>> for Digest {
    fn from(text: Text<Self>) -> Self {
        text.value
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(..)")
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("(not shown)")
    }
}
