//! The policies in front of the handlers: what a builder collects, and the stack that becomes of it.

use http::Method;
use sinew_core::limit::Quota;
use sinew_core::policy::Mode;
use sinew_core::security::{Cors, Routes, Rule, TrustedProxies};
use sinew_core::server::{
    BadRateLimit, BoxLayer, Classes, Cost, Deadlines, Expectation, Identify, RateLimit,
    RateLimitConfig, Stack, Template, Validation,
};

use super::background::{Background, Start};
use super::buckets::Guarded;
use super::kept::{Kept, Quotas, Said};
use super::security_policy::{Explain, SecurityPolicy};
use super::service::RouteOptions;
use crate::error::Error;

/// What the builder of a server was given.
#[derive(Default)]
pub(super) struct Policies {
    pub(super) proxies: Option<TrustedProxies>,
    pub(super) deadlines: Option<(Mode, Deadlines)>,
    pub(super) cors: Option<(Mode, Cors)>,
    pub(super) security: Option<SecurityPolicy>,
    pub(super) classes: Option<Classes>,
    pub(super) rate_limit: Option<(Mode, RateLimitConfig)>,
    /// What replicas share: the layer, and what a client has.
    pub(super) shared_quota: Option<(Mode, BoxLayer, Quota)>,
    /// Who carries its asks.
    pub(super) carrier: Option<Start>,
    /// What requests to each route cost, and the quota that it brings along.
    pub(super) limits: Vec<(Cost, Option<Quota>)>,
    /// Every route.
    pub(super) routes: Vec<Guard>,
    /// Rules that routes bring along.
    pub(super) rules: Vec<Rule>,
    /// Some route expects something.
    pub(super) expectations: bool,
    /// Whether those are obeyed.
    pub(super) validation: Mode,
    pub(super) own: Vec<(Mode, BoxLayer)>,
    pub(super) background: Background,
}

/// A route, and whether it says who may use it.
#[derive(Debug)]
pub(super) struct Guard {
    method: Option<Method>,
    pub(super) template: String,
    pub(super) guarded: bool,
}

/// A rule of a route must not open another one: that for GET means HEAD as well, and that for every
/// method means every one.
fn check_guards(routes: &[Guard]) -> Result<(), Error> {
    for Guard { method, template, guarded } in routes {
        let beside = |wider: fn(&Guard) -> bool| {
            routes.iter().any(|other| other.template == *template && wider(other))
        };
        let clash = match method {
            None => *guarded && beside(|other| other.method.is_some()),
            Some(method) if *method == Method::HEAD => {
                *guarded && beside(|other| other.guarded && other.method == Some(Method::GET))
            }
            Some(_) => false,
        };
        if clash {
            return Err(Error::config(format!(
                "routes of {template} say who may use them, and overlap: give .security(…) rules"
            )));
        }
    }
    Ok(())
}

impl Policies {
    /// Notes what a route says of itself.
    pub(super) fn of_route(&mut self, method: Option<&Method>, template: &str, of: &RouteOptions) {
        self.expectations |= of.policy.expectation != Expectation::default();
        self.limits.push((of.policy.cost, of.policy.quota));
        let guarded = of.who.is_some();
        self.routes.push(Guard { method: method.cloned(), template: template.to_owned(), guarded });
        if let Some(who) = &of.who {
            let name = method.map_or("any", Method::as_str);
            let routes = Routes::Of(vec![template.to_owned()]);
            let mut rule = Rule::allow(&format!("route {name} {template}"), who.clone(), routes);
            rule.methods.extend(method.cloned());
            self.rules.push(rule);
        }
    }

    /// What is to run beside the server.
    pub(super) fn take_background(&mut self) -> Background {
        let mut all = std::mem::take(&mut self.background);
        if let Some(policy) = &mut self.security {
            all.append(policy.take_background());
        }
        if let Some(carrier) = self.carrier.take() {
            all.push(carrier);
        }
        all
    }

    /// Callers may prove who they are: unless something else was said, they are believed how long they
    /// wait.
    pub(super) fn believe_callers(&mut self) {
        self.deadlines.get_or_insert_with(|| (Mode::Enforce, Deadlines::default()));
    }

    /// Who is told why access was refused.
    pub(super) fn explain(&self) -> Explain {
        self.security.as_ref().map(SecurityPolicy::explains_to).unwrap_or_default()
    }

    /// Puts the layers in order. No policy, no layer.
    pub(super) fn build(self, templates: &[Template], kept: &mut Kept) -> Result<Stack, Error> {
        let Self {
            proxies,
            deadlines,
            cors,
            security,
            classes,
            rate_limit,
            shared_quota,
            carrier: _,
            limits,
            routes,
            rules,
            expectations,
            validation,
            own,
            background: _,
        } = self;
        check_guards(&routes)?;
        kept.said = Said {
            rules: security.iter().flat_map(SecurityPolicy::rules).chain(&rules).cloned().collect(),
            cors: cors.clone(),
            rate_limit: rate_limit.clone(),
        };
        let mut layers: Vec<(Mode, BoxLayer)> = Vec::new();
        if let Some((mode, cors)) = cors {
            layers.push((mode, Box::new(cors)));
        }
        if security.is_none() && !rules.is_empty() {
            return Err(Error::config(
                "a route says who may use it, and nobody knows who asks: give .security(…), or [access] \
                 in a configuration file",
            ));
        }
        if let Some(policy) = security {
            layers.extend(policy.layers(&routes, rules, templates, kept)?);
        }
        if let Some(classes) = classes {
            layers.push((Mode::Enforce, Box::new(classes)));
        }
        match rate_limit {
            Some((mode, config)) => {
                layers.push((mode, Box::new(limit(config, limits.clone(), &routes, kept)?)));
            }
            None if limits.iter().any(|(_, quota)| quota.is_some()) => {
                return Err(Error::config("a route has a quota: give .rate_limit(…), too"));
            }
            None => {}
        }
        if let Some((mode, layer, quota)) = shared_quota {
            check_costs(quota, &limits, &routes)?;
            layers.push((mode, layer));
        }
        if expectations {
            layers.push((validation, Box::new(Validation)));
        }
        layers.extend(own);
        if let Some((mode, deadlines)) = deadlines {
            deadlines.config.check().map_err(|error| Error::config(error.to_string()))?;
            layers.push((mode, Box::new(deadlines)));
        }
        for (_, layer) in &mut layers {
            layer.prepare(templates);
        }
        // Stable: those of one stage stay in the order in which they were given.
        layers.sort_by_key(|(_, layer)| layer.stage());
        if proxies.is_some() || !layers.is_empty() {
            layers.insert(0, (Mode::Enforce, Box::new(Identify { proxies })));
        }
        Stack::new(layers).map_err(|error| Error::config(error.to_string()))
    }
}

/// A request that costs more than the quota ever holds would never get through.
fn check_costs(
    quota: Quota,
    limits: &[(Cost, Option<Quota>)],
    routes: &[Guard],
) -> Result<(), Error> {
    let mut costs = limits.iter().zip(routes).enumerate();
    let dear = costs.find(|(_, ((cost, _), _))| cost.0 > quota.burst());
    let Some((route, ((cost, _), Guard { template, .. }))) = dear else { return Ok(()) };
    let (cost, quota, burst) = (*cost, "shared".to_owned(), quota.burst());
    let error = BadRateLimit::Cost { route, cost, quota, burst };
    Err(Error::config(format!("route {template}: {error}")))
}

fn limit(
    config: RateLimitConfig,
    limits: Vec<(Cost, Option<Quota>)>,
    routes: &[Guard],
    kept: &mut Kept,
) -> Result<RateLimit<Guarded>, Error> {
    let quotas = Quotas { config: config.clone(), routes: limits };
    let known = kept.quotas.take_if(|(known, _)| *known == quotas).map(|(_, buckets)| buckets);
    let mut buckets = None;
    let share = |fresh| known.unwrap_or_else(|| Guarded::new(fresh));
    let limit = RateLimit::new(config, kept.seed, quotas.routes.iter().copied(), |fresh| {
        buckets.insert(share(fresh)).clone()
    });
    kept.quotas = buckets.map(|buckets| (quotas, buckets));
    limit.map_err(|error| {
        let route = match &error {
            BadRateLimit::Cost { route, .. } => routes.get(*route),
            _ => None,
        };
        Error::config(match route {
            Some(route) => format!("route {}: {error}", route.template),
            None => error.to_string(),
        })
    })
}
