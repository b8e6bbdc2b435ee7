//! Who is meant: by rules, and by classes of clients.

use serde::{Deserialize, Serialize};
use sinew_core::security::{Identity, PeerName, Who};

use crate::document::Document;

/// Everyone, or everyone who proved who they are.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum WhoName {
    Anyone,
    Authenticated,
}

/// A name, or a family of names.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum IdentityName {
    Spiffe(String),
    SpiffeBelow(String),
    Dns(String),
    CommonName(String),
    Token(TokenName),
    ApiKey(String),
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenName {
    issuer: String,
    subject: String,
}

/// Whom `who` and `identities` of a table mean; where neither is said, everyone who proved who they
/// are.
pub(super) fn who(
    document: &mut Document<'_>,
    table: &str,
    who: Option<WhoName>,
    identities: Option<&[IdentityName]>,
) -> Option<Who> {
    match (who, identities) {
        (Some(_), Some(_)) => {
            let why = "who and identities exclude each other";
            document.refuse(&format!("{table}.identities"), why);
            None
        }
        (Some(WhoName::Anyone), None) => Some(Who::Anyone),
        (Some(WhoName::Authenticated) | None, None) => Some(Who::Authenticated),
        (None, Some(names)) => Some(Who::Named(names.iter().map(IdentityName::build).collect())),
    }
}

impl IdentityName {
    fn build(&self) -> Identity {
        match self {
            Self::Spiffe(id) => Identity::Peer(PeerName::Spiffe(id.as_str().into())),
            Self::SpiffeBelow(id) => Identity::SpiffeBelow(id.clone()),
            Self::Dns(name) => Identity::Peer(PeerName::Dns(name.as_str().into())),
            Self::CommonName(name) => Identity::Peer(PeerName::CommonName(name.as_str().into())),
            Self::Token(TokenName { issuer, subject }) => {
                Identity::Token { issuer: issuer.clone(), subject: subject.clone() }
            }
            Self::ApiKey(label) => Identity::ApiKey(label.clone()),
        }
    }
}
