//! A server with every policy: API keys, access rules, CORS, quotas, what routes take.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Method};
use serde::{Deserialize, Serialize};
use sinew_auth::{ApiKeys, Crypto};
use sinew_core::limit::Quota;
use sinew_core::observe::Event;
use sinew_core::security::{Cors, CorsConfig, KeyDigest, Principal, Routes, Rule, Subject, Who};
use sinew_core::server::{MediaRange, RateLimitConfig};
use sinew_driver::{
    BoxError, Json, Notice, Problem, Request, Response, RouteOptions, Runtime, SecurityPolicy,
    ServerBuilder, Threads,
};
use sinew_prometheus::{MEDIA_TYPE, Metrics};

/// May read orders.
pub const READER: &str = "demo-key-of-the-reader-01";

/// May write them, too.
pub const WRITER: &str = "demo-key-of-the-writer-02";

/// Pages of this origin may read answers.
pub const ORIGIN: &str = "https://app.example.org";

/// An order, as it is sent and answered.
#[derive(Serialize, Deserialize)]
struct Order {
    item: String,
    count: u32,
}

/// The server, but for where it listens.
///
/// # Errors
///
/// None, as the policies below make sense; a change to them may not.
pub fn build<R: Runtime>(
    builder: ServerBuilder<R, Threads>,
    metrics: &Metrics,
) -> Result<ServerBuilder<R, Threads>, BoxError> {
    let api_key = HeaderName::from_static("x-api-key");
    let orders = || Routes::Of(vec!["/orders/*".into()]);
    let security = SecurityPolicy::from(keys()?)
        .api_key(api_key.clone())
        .realm("orders")
        .rule(Rule {
            methods: vec![Method::GET],
            ..Rule::allow("read", Who::Authenticated, orders())
        })
        .rule(Rule {
            roles: vec!["writer".into()],
            ..Rule::allow("write", Who::Authenticated, orders())
        });
    let cors = Cors::new(CorsConfig {
        origins: vec![ORIGIN.into()],
        methods: vec![Method::PUT],
        headers: vec![api_key, HeaderName::from_static("content-type")],
        max_age: Some(Duration::from_secs(600)),
        ..CorsConfig::default()
    })?;
    let minute = Duration::from_secs(60);
    let limits = RateLimitConfig {
        client: Some(Quota::new(600, minute, 50)?),
        ..RateLimitConfig::default()
    };
    let json = RouteOptions::new()
        .content_type(MediaRange::new("application/json")?)
        .body_limit(1024)
        .quota(Quota::new(6, minute, 4)?);
    let connections = metrics.clone();
    Ok(builder
        .security(security)
        .cors(cors)
        .rate_limit(limits)
        .layer(metrics.layer())
        .route_with(Method::GET, "/health", RouteOptions::new().allow(Who::Anyone), health)
        .route(Method::GET, "/orders/{id}", order)
        .route_with(Method::PUT, "/orders/{id}", json, put_order)
        .observe(move |peer, notice| {
            let Notice::Decided(event) = notice else { return };
            connections.observe(event);
            if let Event::Refused { refused, .. } = event {
                let (stage, reason) = (refused.stage.name(), refused.reason.name());
                eprintln!("refused: {reason}, at the stage {stage}, of {peer:?}");
            }
        }))
}

/// What operators ask, on a listener of its own that strangers do not reach.
pub fn admin<R: Runtime>(
    builder: ServerBuilder<R, Threads>,
    metrics: &Metrics,
) -> ServerBuilder<R, Threads> {
    let metrics = metrics.clone();
    builder.route(Method::GET, "/metrics", move |_: Request| {
        let text = metrics.encode();
        async move { Response::ok(text).header("content-type", MEDIA_TYPE) }
    })
}

fn keys() -> Result<ApiKeys<Arc<Principal>>, BoxError> {
    let crypto = Crypto::built_in().map_err(|_| "no cryptography was built in")?;
    let mut keys = ApiKeys::new(crypto);
    for (number, (key, label, roles)) in
        (1u8..).zip([(READER, "reader", &[][..]), (WRITER, "writer", &["writer"][..])])
    {
        let owner = Principal {
            subject: Subject::ApiKey { label: label.into(), digest: KeyDigest([number; 32]) },
            roles: roles.iter().map(|role| Box::from(*role)).collect(),
            scopes: Box::new([]),
            expires: None,
        };
        keys.insert(key, Arc::new(owner)).map_err(|error| error.to_string())?;
    }
    Ok(keys)
}

async fn health(_: Request) -> Json<&'static str> {
    Json("healthy")
}

async fn order(request: Request) -> Result<Json<Order>, Problem> {
    let id: u32 = request.path()?;
    Ok(Json(Order { item: format!("item {id}"), count: 1 }))
}

async fn put_order(request: Request) -> Result<Response, Problem> {
    let order: Order = request.json().await?;
    if order.count == 0 {
        return Err(Problem::new(http::StatusCode::CONFLICT).detail("an order of nothing"));
    }
    Ok(Response::new(http::StatusCode::NO_CONTENT))
}
