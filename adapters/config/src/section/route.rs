//! `[[route]]`

use http::{HeaderName, Method};
use serde::{Deserialize, Serialize};
use sinew_core::content_coding::{Compression, Decompression};
use sinew_core::limit::Quota;
use sinew_core::policy::Priority;
use sinew_core::server::{Cost, MediaRange};
use sinew_driver::{HandlerTimeout, Mode, Override, RouteOptions, Runtime, ServerBuilder};

use super::rate_limit::quota;
use crate::document::{Document, unknown_name};
use crate::value::{OrNone, QuotaText, Span, Text};

/// What a route of the program does differently from what the program says.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Route {
    template: String,
    method: Option<Text<Method>>,
    max_request_size: Option<u64>,
    handler_timeout: Option<OrNone<Span>>,
    slow_body: Option<bool>,
    content_types: Option<Vec<Text<MediaRange>>>,
    required_fields: Option<Vec<Text<HeaderName>>>,
    priority: Option<PriorityName>,
    cost: Option<u32>,
    quota: Option<OrNone<QuotaText>>,
    decompress: Option<bool>,
    compress: Option<bool>,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum PriorityName {
    Bulk,
    Low,
    Normal,
    High,
    Critical,
}

/// Changes the routes of the program, in the order of the file.
pub(crate) fn apply_routes<R: Runtime, M: Mode>(
    routes: &[Route],
    document: &mut Document<'_>,
    builder: &mut ServerBuilder<R, M>,
) {
    let config = builder.config_mut();
    let (decompression, compression) = (config.decompression, config.compression);
    for (i, route) in routes.iter().enumerate() {
        let table = format!("route.{i}");
        let same = |other: &&Route| {
            let method = |route: &Route| route.method.as_ref().map(|method| method.value.clone());
            other.template == route.template && method(other) == method(route)
        };
        if routes.iter().take(i).find(same).is_some() {
            document.refuse(&table, "the route has a section already");
        }
        let Some(change) = Change::new(route, document, &table) else { continue };
        let (mut templates, mut changed) = (Vec::new(), false);
        for (method, template, options) in builder.routes_mut() {
            templates.push(template.to_owned());
            let wanted = route.method.as_ref().map(|method| &method.value);
            if template == route.template && wanted.is_none_or(|wanted| method == Some(wanted)) {
                change.apply(options, decompression, compression);
                changed = true;
            }
        }
        if !templates.contains(&route.template) {
            let known = templates.iter().map(String::as_str);
            let why = format!("route {}", unknown_name(&route.template, known));
            document.refuse(&format!("{table}.template"), why);
        } else if !changed {
            document.refuse(&format!("{table}.method"), "the route has no such method of its own");
        }
    }
}

/// The last section about a route.
pub(super) fn section_of(
    routes: &[Route],
    method: Option<&Method>,
    template: &str,
) -> Option<usize> {
    routes.iter().rposition(|route| {
        let wanted = route.method.as_ref().map(|method| &method.value);
        route.template == template && wanted.is_none_or(|wanted| method == Some(wanted))
    })
}

/// A section, checked.
struct Change<'r> {
    route: &'r Route,
    timeout: Option<HandlerTimeout>,
    quota: Option<OrNone<Quota>>,
}

impl<'r> Change<'r> {
    fn new(route: &'r Route, document: &mut Document<'_>, table: &str) -> Option<Self> {
        let timeout = match &route.handler_timeout {
            None => None,
            Some(OrNone(None)) => Some(HandlerTimeout::Never),
            Some(OrNone(Some(limit))) if limit.value.is_zero() => {
                let why = "is zero: nothing could be in time";
                document.refuse(&format!("{table}.handler_timeout"), why);
                return None;
            }
            Some(OrNone(Some(limit))) => Some(HandlerTimeout::After(limit.value)),
        };
        let quota = route
            .quota
            .as_ref()
            .map(|text| OrNone(quota(document, &format!("{table}.quota"), text)));
        Some(Self { route, timeout, quota })
    }

    fn apply(
        &self,
        options: &mut RouteOptions,
        decompression: Option<Decompression>,
        compression: Option<Compression>,
    ) {
        let Route {
            max_request_size,
            slow_body,
            content_types,
            required_fields,
            priority,
            cost,
            decompress,
            compress,
            ..
        } = self.route;
        let policy = &mut options.policy;
        if let Some(types) = content_types {
            policy.expectation.content_types = types.iter().map(|t| t.value.clone()).collect();
        }
        if let Some(names) = required_fields {
            policy.expectation.fields = names.iter().map(|name| name.value.clone()).collect();
        }
        set(&mut policy.priority, priority.map(Priority::from));
        set(&mut policy.cost, cost.map(Cost));
        set(&mut policy.quota, self.quota.as_ref().map(|quota| quota.0));
        set(&mut options.body_limit, max_request_size.map(Some));
        set(&mut options.handler_timeout, self.timeout);
        set(&mut options.slow_body, *slow_body);
        switch(&mut options.decompression, *decompress, decompression);
        switch(&mut options.compression, *compress, compression);
    }
}

/// On: as the program says of the route, else as the server does, else by default.
fn switch<T: Default>(coding: &mut Override<T>, on: Option<bool>, servers: Option<T>) {
    match (on, &coding) {
        (None, _) | (Some(true), Override::Own(_)) => {}
        (Some(true), _) => *coding = Override::Own(servers.unwrap_or_default()),
        (Some(false), _) => *coding = Override::Off,
    }
}

fn set<T>(option: &mut T, said: Option<T>) {
    if let Some(value) = said {
        *option = value;
    }
}

impl From<PriorityName> for Priority {
    fn from(name: PriorityName) -> Self {
        match name {
            PriorityName::Bulk => Self::Bulk,
            PriorityName::Low => Self::Low,
            PriorityName::Normal => Self::Normal,
            PriorityName::High => Self::High,
            PriorityName::Critical => Self::Critical,
        }
    }
}
