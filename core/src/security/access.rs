//! Access control: which identity may use which route.
//!
//! Rules see what the [router](crate::server::Router) found, a template and not a path, so that no
//! spelling of a path slips past them.

use core::fmt;
use std::collections::BTreeSet;

use http::{Method, StatusCode};

use super::{BadRule, Condition, Effect, Routes, Rule, SecurityContext};

/// The rules of a server.
///
/// A request is refused unless a rule allows it. If any rule denies it, it is refused whatever
/// else allows it: so neither the order of the rules nor a rule added later opens what another one
/// closes. Among those that deny, and among those that allow, the first that matches is named.
///
/// ```
/// use http::Method;
/// use sinew_core::security::{Access, AccessVerdict, Refusal, Routes, Rule, SecurityContext, Who};
/// use sinew_core::server::{Found, RouterBuilder};
///
/// let mut builder = RouterBuilder::new();
/// builder.route(Method::GET, "/orders/{id}", ())?;
/// let router = builder.build();
/// let orders = Routes::Of(vec!["/orders/*".into()]);
/// let rules = vec![Rule::allow("orders", Who::Authenticated, orders)];
/// let access = Access::new(rules, router.templates().iter().map(|template| template.as_str()))?;
///
/// let Found::Route { template, .. } = router.find(&Method::GET, "/orders/7")? else { panic!() };
/// let nobody = SecurityContext::default();
/// let verdict = access.check(&nobody, Some(template), &Method::GET);
/// assert!(matches!(verdict, AccessVerdict::Refused { refusal: Refusal::Unauthenticated, .. }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Access {
    rules: Box<[Rule]>,
    /// For each template the rules about it, those that deny first.
    by_route: Box<[Box<[RuleId]>]>,
    /// The rules about what is no route.
    elsewhere: Box<[RuleId]>,
}

/// A rule of an [`Access`], by its place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RuleId(usize);

/// What [`Access::check`] decided.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[must_use]
pub enum AccessVerdict {
    /// This rule allows it.
    Allowed(RuleId),
    /// It does not reach the handler.
    Refused {
        /// What to answer.
        refusal: Refusal,
        /// Why.
        reason: AccessReason,
    },
}

/// What a refused request is answered with.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Refusal {
    /// 401: nobody proved who they are; also where there is no route, so that strangers do not
    /// learn which there are. <https://www.rfc-editor.org/rfc/rfc9110#section-15.5.2>
    Unauthenticated,
    /// 403: they did, and may not. <https://www.rfc-editor.org/rfc/rfc9110#section-15.5.4>
    Forbidden,
    /// What the router found instead of a route: 404, 405.
    NoRoute,
}

impl Refusal {
    /// The status; `None` where the router knows it.
    pub const fn status(self) -> Option<StatusCode> {
        match self {
            Self::Unauthenticated => Some(StatusCode::UNAUTHORIZED),
            Self::Forbidden => Some(StatusCode::FORBIDDEN),
            Self::NoRoute => None,
        }
    }
}

/// Why a request was refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AccessReason {
    /// This rule denies it.
    Denied(RuleId),
    /// There are rules that allow others; of this one the most conditions hold, and this is the
    /// first that does not.
    NotAllowed(RuleId, Condition),
    /// No rule that allows is about this route.
    NoRule,
}

impl Access {
    /// Checks the rules, and sorts them by the routes that they are about. `templates` are those of
    /// the router, in its order.
    ///
    /// # Errors
    ///
    /// See [`AccessError`].
    pub fn new<'a>(
        rules: Vec<Rule>,
        templates: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, AccessError> {
        let templates: Vec<&str> = templates.into_iter().collect();
        let mut names = BTreeSet::new();
        for rule in &rules {
            rule.check(&templates).map_err(|why| AccessError { rule: rule.name.clone(), why })?;
            if !names.insert(&*rule.name) {
                return Err(AccessError { rule: rule.name.clone(), why: BadRule::Name });
            }
        }
        let about = |wanted: &dyn Fn(&Routes) -> bool| {
            let mut ids: Vec<_> = (0..rules.len()).filter(|i| wanted(&rules[*i].routes)).collect();
            // Stable: among equals the order of the rules stays.
            ids.sort_by_key(|i| rules[*i].effect);
            ids.into_iter().map(RuleId).collect::<Box<[_]>>()
        };
        let by_route =
            templates.iter().map(|template| about(&|routes| routes.include(template))).collect();
        let elsewhere = about(&|routes| matches!(routes, Routes::Every | Routes::Except(_)));
        Ok(Self { by_route, elsewhere, rules: rules.into() })
    }

    /// Decides on a request. `route` is the index of the template that the router found, `None`
    /// where it found none for this path and method. Allocates nothing.
    pub fn check(
        &self,
        context: &SecurityContext,
        route: Option<usize>,
        method: &Method,
    ) -> AccessVerdict {
        let about = match route {
            Some(index) => self.by_route.get(index).map(|ids| &**ids).unwrap_or_default(),
            None => &self.elsewhere,
        };
        let mut reason = AccessReason::NoRule;
        for &id in about {
            let Some(rule) = self.rules.get(id.0) else { continue };
            match (rule.effect, rule.mismatch(context, method)) {
                (Effect::Allow, None) => return AccessVerdict::Allowed(id),
                (Effect::Deny, None) => {
                    reason = AccessReason::Denied(id);
                    break;
                }
                (Effect::Deny, Some(_)) => {}
                (Effect::Allow, Some(condition)) => match reason {
                    AccessReason::NotAllowed(_, further) if further >= condition => {}
                    _ => reason = AccessReason::NotAllowed(id, condition),
                },
            }
        }
        let refusal = match (context.is_authenticated(), reason, route) {
            (false, _, _) => Refusal::Unauthenticated,
            // There is nothing that could be protected from someone who is known.
            (true, AccessReason::NoRule | AccessReason::NotAllowed(..), None) => Refusal::NoRoute,
            (true, _, _) => Refusal::Forbidden,
        };
        AccessVerdict::Refused { refusal, reason }
    }

    /// The rule with this id.
    pub fn rule(&self, id: RuleId) -> Option<&Rule> {
        self.rules.get(id.0)
    }

    /// A verdict in plain words, with the name of the rule: for logs and those who write rules.
    pub fn explain(&self, verdict: AccessVerdict) -> Explanation<'_> {
        Explanation { access: self, verdict }
    }
}

/// A verdict in plain words; see [`Access::explain`].
#[derive(Clone, Copy, Debug)]
pub struct Explanation<'a> {
    access: &'a Access,
    verdict: AccessVerdict,
}

impl fmt::Display for Explanation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |id| self.access.rule(id).map(|rule| &*rule.name).unwrap_or_default();
        match self.verdict {
            AccessVerdict::Allowed(id) => write!(f, "allowed by rule {:?}", name(id)),
            AccessVerdict::Refused { reason: AccessReason::Denied(id), .. } => {
                write!(f, "denied by rule {:?}", name(id))
            }
            AccessVerdict::Refused { reason: AccessReason::NotAllowed(id, condition), .. } => {
                let condition = condition.name();
                write!(f, "no rule allows it; nearest is {:?}, but for the {condition}", name(id))
            }
            AccessVerdict::Refused { reason: AccessReason::NoRule, .. } => {
                f.write_str("no rule is about this route")
            }
        }
    }
}

/// A rule that makes no sense, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AccessError {
    /// The name of the rule.
    pub rule: String,
    /// What is wrong with it.
    pub why: BadRule,
}

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "access rule {:?}: {}", self.rule, self.why)
    }
}

impl core::error::Error for AccessError {}
