//! A rule of access control: conditions on who asks for what.

use core::fmt;
use core::net::IpAddr;

use http::Method;

use super::{Network, PeerName, SecurityContext, Subject};

/// One rule. It matches a request if each of its conditions does; an empty list is no condition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    /// Its name in explanations; unique.
    pub name: String,
    /// What it decides.
    pub effect: Effect,
    /// Who is meant.
    pub who: Who,
    /// At least one of these roles.
    pub roles: Vec<String>,
    /// All of these scopes.
    pub scopes: Vec<String>,
    /// In one of these networks. A client whose address nobody knows is in none that a rule allows,
    /// and in every one that a rule denies.
    pub networks: Vec<Network>,
    /// Which routes are meant.
    pub routes: Routes,
    /// One of these methods. GET includes HEAD, which is answered by the same handler.
    pub methods: Vec<Method>,
}

/// What a rule decides.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Effect {
    /// Refuses what it matches, whatever other rules say.
    Deny,
    /// Allows what it matches, unless a rule denies it.
    Allow,
}

/// Whom a rule means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Who {
    /// Everyone, without any proof.
    Anyone,
    /// Everyone who proved who they are.
    Authenticated,
    /// One of these.
    Named(Vec<Identity>),
}

/// A name, or a family of names, that a rule means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Identity {
    /// The name in a client certificate.
    Peer(PeerName),
    /// Every SPIFFE ID below this one: `spiffe://acme.org/ns/pay`, without a slash at its end.
    SpiffeBelow(String),
    /// The subject of a token.
    Token {
        /// `iss`
        issuer: String,
        /// `sub`
        subject: String,
    },
    /// The label of an API key.
    ApiKey(String),
}

/// Which routes a rule means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Routes {
    /// All, those that are not there included.
    Every,
    /// All but these templates; those that are not there included.
    Except(Vec<String>),
    /// These templates, as they were added to the router; with `/*` at the end the template in
    /// front of it and all below. A request belongs to the template that its path was found as:
    /// `/{tenant}/keys` is not below `/admin`, not even for a tenant of that name.
    Of(Vec<String>),
}

impl Rule {
    /// A rule that allows, without any further condition.
    pub fn allow(name: &str, who: Who, routes: Routes) -> Self {
        Self::new(name, Effect::Allow, who, routes)
    }

    /// A rule that denies, without any further condition.
    pub fn deny(name: &str, who: Who, routes: Routes) -> Self {
        Self::new(name, Effect::Deny, who, routes)
    }

    fn new(name: &str, effect: Effect, who: Who, routes: Routes) -> Self {
        Self {
            name: name.to_owned(),
            effect,
            who,
            roles: Vec::new(),
            scopes: Vec::new(),
            networks: Vec::new(),
            routes,
            methods: Vec::new(),
        }
    }
}

/// A condition of a rule, in the order in which they are looked at.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Condition {
    /// [`Rule::methods`]
    Method,
    /// [`Rule::who`]
    Who,
    /// [`Rule::roles`]
    Role,
    /// [`Rule::scopes`]: a challenge may say `insufficient_scope`.
    Scope,
    /// [`Rule::networks`]
    Network,
}

impl Rule {
    /// The first condition that does not hold. Not part of a loop over rules, which would prepare for
    /// conditions that the next one may not have.
    #[inline(never)]
    pub(super) fn mismatch(&self, context: &SecurityContext, method: &Method) -> Option<Condition> {
        let has_role = |role: &String| context.has_role(role);
        if !self.means_method(method) {
            Some(Condition::Method)
        } else if !self.who.means(context) {
            Some(Condition::Who)
        } else if !self.roles.is_empty() && !self.roles.iter().any(has_role) {
            Some(Condition::Role)
        } else if !self.scopes.iter().all(|scope| context.has_scope(scope)) {
            Some(Condition::Scope)
        } else if !self.means_address(context) {
            Some(Condition::Network)
        } else {
            None
        }
    }

    fn means_method(&self, method: &Method) -> bool {
        self.methods.is_empty() || includes_method(&self.methods, method)
    }

    fn means_address(&self, context: &SecurityContext) -> bool {
        self.networks.is_empty()
            || match context.client_address {
                Some(address) => any_contains(&self.networks, address),
                // What is not known must not help.
                None => self.effect == Effect::Deny,
            }
    }

    /// Whether the rule makes sense with these templates.
    pub(super) fn check(&self, templates: &[&str]) -> Result<(), BadRule> {
        if self.name.is_empty() {
            return Err(BadRule::Name);
        }
        match &self.who {
            Who::Anyone if !self.roles.is_empty() || !self.scopes.is_empty() => {
                return Err(BadRule::AnyoneWithGrants);
            }
            Who::Named(names) if names.is_empty() => return Err(BadRule::Nobody),
            Who::Named(names) if !names.iter().all(Identity::is_sound) => {
                return Err(BadRule::Identity);
            }
            Who::Anyone | Who::Authenticated | Who::Named(_) => {}
        }
        if self.roles.iter().any(String::is_empty) {
            return Err(BadRule::Role);
        }
        if !self.scopes.iter().all(|scope| is_scope(scope)) {
            return Err(BadRule::Scope);
        }
        match &self.routes {
            Routes::Every => Ok(()),
            Routes::Of(list) if list.is_empty() => Err(BadRule::NoRoute),
            Routes::Of(list) | Routes::Except(list) => list.iter().try_for_each(|entry| {
                let known = templates.iter().any(|template| includes(entry, template));
                if known { Ok(()) } else { Err(BadRule::UnknownRoute(entry.clone())) }
            }),
        }
    }
}

/// Apart, so that a rule without methods does not pay for it.
#[inline(never)]
fn includes_method(methods: &[Method], method: &Method) -> bool {
    methods.contains(method)
        // https://www.rfc-editor.org/rfc/rfc9110#section-9.3.2
        || (*method == Method::HEAD && methods.contains(&Method::GET))
}

/// Apart, so that a rule without networks does not pay for it.
#[inline(never)]
fn any_contains(networks: &[Network], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(address))
}

impl Who {
    /// Whether this caller is one of them.
    #[inline]
    pub fn means(&self, context: &SecurityContext) -> bool {
        match self {
            Self::Anyone => true,
            Self::Authenticated => context.is_authenticated(),
            Self::Named(names) => names.iter().any(|name| name.means(context)),
        }
    }
}

impl Identity {
    fn means(&self, context: &SecurityContext) -> bool {
        let subject = context.principal.as_ref().map(|principal| &principal.subject);
        match (self, &context.peer, subject) {
            (Self::Peer(wanted), Some(peer), _) => wanted == peer,
            (Self::SpiffeBelow(wanted), Some(PeerName::Spiffe(id)), _) => {
                id.strip_prefix(&**wanted).is_some_and(|below| below.starts_with('/'))
            }
            (
                Self::Token { issuer, subject },
                _,
                Some(Subject::Token { issuer: i, subject: s }),
            ) => **issuer == **i && **subject == **s,
            (Self::ApiKey(wanted), _, Some(Subject::ApiKey { label, .. })) => **wanted == **label,
            _ => false,
        }
    }

    fn is_sound(&self) -> bool {
        match self {
            Self::Peer(PeerName::Spiffe(id)) => id.starts_with("spiffe://"),
            Self::Peer(name) => !name.as_str().is_empty(),
            // https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md#2-spiffe-identity
            Self::SpiffeBelow(id) => id
                .strip_prefix("spiffe://")
                .is_some_and(|rest| rest.split('/').all(|part| !part.is_empty())),
            Self::Token { subject, .. } => !subject.is_empty(),
            Self::ApiKey(label) => !label.is_empty(),
        }
    }
}

impl Routes {
    pub(super) fn include(&self, template: &str) -> bool {
        match self {
            Self::Every => true,
            Self::Of(list) => list.iter().any(|entry| includes(entry, template)),
            Self::Except(list) => !list.iter().any(|entry| includes(entry, template)),
        }
    }
}

fn includes(entry: &str, template: &str) -> bool {
    let below = |prefix: &str| {
        template.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    entry == template || entry.strip_suffix("/*").is_some_and(below)
}

/// <https://www.rfc-editor.org/rfc/rfc6749#section-3.3>
fn is_scope(scope: &str) -> bool {
    !scope.is_empty() && scope.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\')
}

impl Condition {
    /// A fixed, lower-case name, fit for logs and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Who => "identity",
            Self::Role => "role",
            Self::Scope => "scope",
            Self::Network => "network",
        }
    }
}

/// Why a rule makes no sense.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum BadRule {
    /// It has no name, or that of another rule.
    Name,
    /// Its list of names is empty.
    Nobody,
    /// A name that nobody can have.
    Identity,
    /// Strangers have neither roles nor scopes: [`Who::Authenticated`] is meant.
    AnyoneWithGrants,
    /// A role without a name.
    Role,
    /// A scope that no token can have.
    Scope,
    /// Its list of routes is empty.
    NoRoute,
    /// The router has no such template.
    UnknownRoute(String),
}

impl fmt::Display for BadRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "it has no name of its own",
            Self::Nobody => "it means nobody: its list of names is empty",
            Self::Identity => "it has a name that nobody can have",
            Self::AnyoneWithGrants => "anyone has neither roles nor scopes",
            Self::Role => "it has a role without a name",
            Self::Scope => "it has a scope that no token can have",
            Self::NoRoute => "its list of routes is empty",
            Self::UnknownRoute(route) => return write!(f, "there is no route {route:?}"),
        })
    }
}
