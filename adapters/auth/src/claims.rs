//! What a token says: <https://www.rfc-editor.org/rfc/rfc7519#section-4>

use core::fmt;
use core::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};
use sinew_core::security;
use sinew_core::security::{Principal, Subject, Thumbprint, TokenError};

use crate::base64url;

/// Seconds since 1970-01-01T00:00:00Z, perhaps with a fraction.
/// <https://www.rfc-editor.org/rfc/rfc7519#section-2>
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize)]
#[serde(try_from = "f64")]
pub struct Numeric(Duration);

impl Numeric {
    /// The time since 1970-01-01T00:00:00Z.
    pub const fn since_1970(self) -> Duration {
        self.0
    }
}

impl TryFrom<f64> for Numeric {
    type Error = &'static str;

    fn try_from(seconds: f64) -> Result<Self, Self::Error> {
        Duration::try_from_secs_f64(seconds).map(Self).map_err(|_| "not a time")
    }
}

/// The claims of a token whose signature was good.
#[derive(Clone, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Claims {
    /// `iss`: who issued it.
    #[serde(rename = "iss")]
    pub issuer: Option<String>,
    /// `sub`: whom it is about.
    #[serde(rename = "sub")]
    pub subject: Option<String>,
    /// `aud`: whom it is for.
    #[serde(rename = "aud", default, deserialize_with = "one_or_more")]
    pub audiences: Vec<String>,
    /// `exp`: not to be taken from then on.
    #[serde(rename = "exp")]
    pub expires: Option<Numeric>,
    /// `nbf`: not to be taken before.
    #[serde(rename = "nbf")]
    pub not_before: Option<Numeric>,
    /// `iat`: when it was issued.
    #[serde(rename = "iat")]
    pub issued_at: Option<Numeric>,
    /// `jti`: its own name.
    #[serde(rename = "jti")]
    pub id: Option<String>,
    /// `scope`, words: <https://www.rfc-editor.org/rfc/rfc8693#section-4.2>
    #[serde(rename = "scope", default, deserialize_with = "words")]
    pub scopes: Vec<String>,
    /// `cnf`: what its bearer has to show beside it.
    #[serde(rename = "cnf")]
    confirmation: Option<Confirmation>,
    /// Every other claim.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// <https://www.rfc-editor.org/rfc/rfc7800#section-3>
#[derive(Clone, PartialEq, Deserialize)]
struct Confirmation {
    #[serde(rename = "x5t#S256")]
    certificate: Option<String>,
    /// Other ways to prove possession; none is known here.
    #[serde(flatten)]
    other: Map<String, Value>,
}

impl Claims {
    /// Whom the token stands for; its roles are the words of the claim `roles`.
    /// <https://www.rfc-editor.org/rfc/rfc9068#section-2.2.3.1>
    pub fn principal(&self) -> Principal {
        let boxed = |text: &Option<String>| text.as_deref().unwrap_or_default().into();
        let roles = self.more.get("roles").and_then(Value::as_array);
        let roles = roles.into_iter().flatten().filter_map(Value::as_str);
        Principal {
            subject: Subject::Token { issuer: boxed(&self.issuer), subject: boxed(&self.subject) },
            roles: roles.map(Box::from).collect(),
            scopes: self.scopes.iter().map(|scope| Box::from(&**scope)).collect(),
            expires: self.expires.map(Numeric::since_1970),
        }
    }

    /// The claims that a policy looks at.
    pub(crate) fn registered(&self) -> Result<security::Claims<'_>, TokenError> {
        Ok(security::Claims {
            issuer: self.issuer.as_deref(),
            subject: self.subject.as_deref(),
            audiences: &self.audiences,
            expires: self.expires.map(Numeric::since_1970),
            not_before: self.not_before.map(Numeric::since_1970),
            issued_at: self.issued_at.map(Numeric::since_1970),
            certificate: self.bound_to()?,
        })
    }

    pub(crate) fn from_json(json: &[u8]) -> Result<Self, TokenError> {
        serde_json::from_slice(json).map_err(|_| TokenError::Malformed)
    }

    /// The certificate that the token is bound to, if it is bound to anything.
    /// <https://www.rfc-editor.org/rfc/rfc8705#section-3.1>
    ///
    /// # Errors
    ///
    /// When it is bound by other means, which nobody here can check.
    fn bound_to(&self) -> Result<Option<Thumbprint>, TokenError> {
        let Some(confirmation) = &self.confirmation else { return Ok(None) };
        match &confirmation.certificate {
            Some(text) if confirmation.other.is_empty() => {
                let sha256 = base64url::decode(text.as_bytes()).and_then(|b| b.try_into().ok());
                sha256.map(|sha256| Some(Thumbprint(sha256))).ok_or(TokenError::Binding)
            }
            _ => Err(TokenError::Binding),
        }
    }
}

impl fmt::Debug for Claims {
    /// Names only: values may be personal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&String> = self.more.keys().collect();
        f.debug_struct("Claims")
            .field("expires", &self.expires)
            .field("bound", &self.confirmation.is_some())
            .field("more", &names)
            .finish_non_exhaustive()
    }
}

/// One string or a list of them: <https://www.rfc-editor.org/rfc/rfc7519#section-4.1.3>
fn one_or_more<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        One(String),
        More(Vec<String>),
    }
    Ok(match Either::deserialize(from)? {
        Either::One(one) => vec![one],
        Either::More(more) => more,
    })
}

fn words<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let text = String::deserialize(from)?;
    Ok(text.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect())
}
