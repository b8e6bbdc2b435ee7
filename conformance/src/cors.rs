//! CORS cases: a policy, a request, and the fields of its answer.

use core::fmt;
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderName, Method, StatusCode};
use serde::Deserialize;
use sinew_core::head::RequestHead;
use sinew_core::http1::{Server, ServerConfig, ServerEvent};
use sinew_core::machine::{Machine, Wire};
use sinew_core::security::{Cors, CorsConfig, CorsKind};
use sinew_core::time::Instant;

use crate::judge::Chosen;
use crate::suite::CaseResult;

/// A policy and a request, and what the server makes of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorsCase {
    /// `cors/name`, unique.
    pub id: String,
    /// The policy.
    pub config: CorsCaseConfig,
    /// The request; none where the policy is refused.
    pub request: Option<CorsRequest>,
    /// What the server makes of it.
    pub expect: CorsExpect,
    /// The reason, in one phrase.
    pub why: String,
}

/// The policy of a case.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorsCaseConfig {
    /// `"*"`, or a list.
    pub origins: CorsOrigins,
    /// Methods that are granted.
    pub methods: Vec<String>,
    /// Request fields that are granted.
    pub headers: Vec<String>,
    /// Fields of answers that pages may read.
    pub expose: Vec<String>,
    /// Whether credentials go along.
    pub credentials: bool,
    /// In seconds; `null`: unsaid.
    pub max_age: Option<u64>,
    /// Whether a private network is opened.
    #[serde(default)]
    pub private_network: bool,
}

/// The origins of a policy.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum CorsOrigins {
    /// `"*"`
    One(String),
    /// Each of these.
    List(Vec<String>),
}

/// The request of a case.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorsRequest {
    /// Its method.
    pub method: String,
    /// Its target.
    pub target: String,
    /// Its fields, `Host` aside.
    pub headers: Vec<(String, String)>,
}

/// What the server makes of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CorsOutcome {
    /// The policy is refused when it is built.
    BuildError,
    /// The policy answers itself.
    Preflight,
    /// The handler answers, and the policy adds fields.
    Actual,
}

/// What the answer looks like; what is not said is not checked.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorsExpect {
    /// What the request is.
    pub kind: CorsOutcome,
    /// Statuses, one of which the answer has.
    #[serde(default)]
    pub status: Vec<u16>,
    /// Fields and their values.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Fields that are not there.
    #[serde(default)]
    pub absent: Vec<String>,
    /// Names that `Vary` lists.
    #[serde(default)]
    pub vary: Vec<String>,
    /// Fields with exactly one line.
    #[serde(default)]
    pub single: Vec<String>,
    /// Fields that the handler sets.
    #[serde(default)]
    pub route_headers: Vec<(String, String)>,
    /// Methods that are granted, and that are not.
    #[serde(default)]
    pub methods_include: Vec<String>,
    /// Methods that are not granted.
    #[serde(default)]
    pub methods_exclude: Vec<String>,
    /// Request fields that are granted.
    #[serde(default)]
    pub headers_include: Vec<String>,
    /// Request fields that are not granted.
    #[serde(default)]
    pub headers_exclude: Vec<String>,
    /// Whether the handler of the route runs.
    #[serde(default)]
    pub handler_runs: Option<bool>,
    /// Whether the route needs credentials, which the request has not: it is answered with 401, and
    /// a page may read that like any other answer.
    #[serde(default)]
    pub auth_required_route: bool,
}

impl CorsCase {
    /// What the types cannot say.
    pub fn check_sound(&self) -> Result<(), String> {
        let refused = self.expect.kind == CorsOutcome::BuildError;
        if self.id.strip_prefix("cors/").is_none_or(str::is_empty) {
            return Err(format!("id {:?} is not cors/name", self.id));
        }
        if refused != self.request.is_none() {
            return Err("a request is for a policy that is built".to_owned());
        }
        Ok(())
    }
}

impl CorsRequest {
    /// The request as a client writes it, with these field lines behind its own.
    pub fn to_bytes(&self, more: &str) -> Vec<u8> {
        let Self { method, target, headers } = self;
        let mut text = format!("{method} {target} HTTP/1.1\r\nhost: api.test\r\n");
        text.extend(headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")));
        text.push_str(more);
        text.push_str("\r\n");
        text.into_bytes()
    }
}

/// Runs one case on the bare policy, with a server in its place that does what the policy says.
pub fn check(case: &CorsCase) -> CaseResult {
    let (problems, got) = match (policy(&case.config), &case.request) {
        (Err(why), None) => (vec![], why),
        (Err(why), Some(_)) => (vec!["the policy is refused".to_owned()], why),
        (Ok(cors), None) => (vec!["the policy is not refused".to_owned()], format!("{cors:?}")),
        (Ok(cors), Some(request)) => match head(request) {
            Ok(head) => {
                let answer = Answer::of(&cors, &head, &case.expect);
                (answer.judge(&case.expect), answer.to_string())
            }
            Err(why) => (vec![why], "nothing".to_owned()),
        },
    };
    if problems.is_empty() {
        return CaseResult::Passed(Chosen { either: None, status: None });
    }
    CaseResult::Failed { problems, got }
}

/// The policy of a case, or why there is none.
pub fn policy(config: &CorsCaseConfig) -> Result<Cors, String> {
    let names = |list: &[String]| -> Result<Vec<HeaderName>, String> {
        list.iter().map(|name| name.parse().map_err(|e| format!("{name:?}: {e}"))).collect()
    };
    let methods =
        config.methods.iter().map(|name| name.parse().map_err(|e| format!("{name:?}: {e}")));
    let config = CorsConfig {
        origins: match &config.origins {
            CorsOrigins::One(origin) => vec![origin.clone()],
            CorsOrigins::List(list) => list.clone(),
        },
        methods: methods.collect::<Result<Vec<Method>, _>>()?,
        headers: names(&config.headers)?,
        expose: names(&config.expose)?,
        credentials: config.credentials,
        max_age: config.max_age.map(Duration::from_secs),
        private_network: config.private_network,
    };
    Cors::new(config).map_err(|e| e.to_string())
}

/// The head of a request as a server machine reads it.
fn head(request: &CorsRequest) -> Result<RequestHead, String> {
    let mut server = Server::new(Arc::new(ServerConfig::default()), Instant::ZERO);
    server.inbox().extend_from_slice(&request.to_bytes(""));
    match server.poll_event(Instant::ZERO) {
        Ok(Some(ServerEvent::Request { head, .. })) => Ok(head),
        other => Err(format!("the request is not served: {other:?}")),
    }
}

/// What goes back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The fields, names in lower case.
    pub fields: Vec<(String, String)>,
    /// Whether the handler of the route ran.
    pub handler_ran: bool,
}

impl Answer {
    /// What a server does with the verdict.
    fn of(cors: &Cors, head: &RequestHead, expect: &CorsExpect) -> Self {
        let verdict = cors.check(head);
        let status = match (verdict.kind(), expect.auth_required_route) {
            (CorsKind::Preflight, _) => Cors::PREFLIGHT_STATUS,
            (_, true) => StatusCode::UNAUTHORIZED,
            (_, false) => StatusCode::OK,
        };
        let handler_ran = status == StatusCode::OK;
        let from_handler = expect
            .route_headers
            .iter()
            .filter(|(name, _)| handler_ran && name.parse().is_ok_and(|name| !Cors::owns(&name)))
            .cloned();
        let from_policy = cors.fields(&verdict).map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.as_str().to_owned(), value)
        });
        let fields = from_handler.chain(from_policy).collect();
        Self { status: status.as_u16(), fields, handler_ran }
    }

    /// Whether the policy answered.
    fn is_preflight(&self) -> bool {
        !self.handler_ran && (200..300).contains(&self.status)
    }

    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let lines = self.fields.iter().filter(move |(known, _)| known == name);
        lines.map(|(_, value)| value.as_str())
    }

    /// Whether one of the lists in the lines of a field has this entry.
    fn lists(&self, name: &str, wanted: impl Fn(&str) -> bool) -> bool {
        self.values(name).flat_map(|line| line.split(',')).map(str::trim).any(wanted)
    }

    /// What is not as expected.
    pub fn judge(&self, expect: &CorsExpect) -> Vec<String> {
        let mut problems = Vec::new();
        let preflight = self.is_preflight();
        if preflight != (expect.kind == CorsOutcome::Preflight) {
            let not = if preflight { "" } else { "not " };
            problems.push(format!("it is {not}answered as a preflight"));
        }
        if expect.handler_runs.is_some_and(|runs| runs != self.handler_ran) {
            problems.push(format!("whether the handler runs: {}", self.handler_ran));
        }
        if !expect.status.is_empty() && !expect.status.contains(&self.status) {
            problems.push(format!("the status is {}", self.status));
        }
        for (name, wanted) in &expect.headers {
            if self.values(name).next() != Some(wanted) {
                problems.push(format!("{name} is not {wanted:?}"));
            }
        }
        for name in expect.absent.iter().filter(|name| self.values(name).next().is_some()) {
            problems.push(format!("{name} is there"));
        }
        for name in expect.single.iter().filter(|name| self.values(name).count() != 1) {
            problems.push(format!("{name} is there {} times", self.values(name).count()));
        }
        let methods = "access-control-allow-methods";
        let headers = "access-control-allow-headers";
        let lists = [
            ("vary", &expect.vary, true),
            (methods, &expect.methods_include, true),
            (methods, &expect.methods_exclude, false),
            (headers, &expect.headers_include, true),
            (headers, &expect.headers_exclude, false),
        ];
        for (field, entries, wanted) in lists {
            for entry in entries {
                // Methods are case-sensitive, names of fields are not.
                let same = |found: &str| {
                    found == entry || field != methods && found.eq_ignore_ascii_case(entry)
                };
                if self.lists(field, same) != wanted {
                    let word = if wanted { "lacks" } else { "has" };
                    problems.push(format!("{field} {word} {entry:?}"));
                }
            }
        }
        problems
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = if self.handler_ran { "from the handler" } else { "without the handler" };
        write!(f, "{} {from}, {:?}", self.status, self.fields)
    }
}
