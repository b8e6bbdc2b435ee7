//! A server with every policy: API keys, access rules, CORS, quotas, what routes take. What operators
//! decide of it stands in `server.toml`; here is what it does.

use std::future::{Ready, ready};

use http::Method;
use serde::{Deserialize, Serialize};
use sinew_core::observe::Event;
use sinew_core::security::Who;
use sinew_driver::{
    Admin, Json, Notice, Problem, Request, Response, RouteOptions, Runtime, ServerBuilder, Threads,
};
use sinew_prometheus::Metrics;

/// May read orders.
pub const READER: &str = "demo-key-of-the-reader-01";

/// May write them, too.
pub const WRITER: &str = "demo-key-of-the-writer-02";

/// Pages of this origin may read answers.
pub const ORIGIN: &str = "https://app.example.org";

/// The configuration that is used where no other is given.
pub const CONFIG: &str = include_str!("../server.toml");

/// An order, as it is sent and answered.
#[derive(Serialize, Deserialize)]
struct Order {
    item: String,
    count: u32,
}

/// The server, without its configuration.
pub fn build<R: Runtime>(
    builder: ServerBuilder<R, Threads>,
    metrics: &Metrics,
) -> ServerBuilder<R, Threads> {
    let connections = metrics.clone();
    builder
        .layer(metrics.layer())
        .route_with(Method::GET, "/health", RouteOptions::new().allow(Who::Anyone), health)
        .route(Method::GET, "/orders/{id}", order)
        .route(Method::PUT, "/orders/{id}", put_order)
        .admin(Admin::new().metrics(scrape(metrics)))
        .observe(move |peer, notice| match notice {
            Notice::Decided(event) => {
                connections.observe(event);
                let Event::Refused { refused, .. } = event else { return };
                let (stage, reason) = (refused.stage.name(), refused.reason.name());
                eprintln!("refused: {reason}, at the stage {stage}, of {peer:?}");
            }
            Notice::Explained { why, .. } => eprintln!("         {why}"),
            _ => {}
        })
}

/// Answers with the metrics, in the format that is asked for.
fn scrape(metrics: &Metrics) -> impl Fn(Request) -> Ready<http::Response<String>> + use<> {
    let metrics = metrics.clone();
    move |request| ready(metrics.answer(request.header("accept")))
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
