//! Retries, a breaker and limits of sinew around the client of hyper-util.
//!
//! ```text
//! cargo run -p sinew-tower --example hyper
//! ```

use std::error::Error;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::{Client, Error as HyperError};
use hyper_util::rt::TokioExecutor;
use sinew_core::error::Delivery;
use sinew_core::limit::{ConcurrencyConfig, Quota};
use sinew_core::resilience::{BreakerConfig, BudgetConfig, RetryPolicy};
use sinew_tokio::{RestServer, TokioRuntime};
use sinew_tower::{BreakerLayer, ConcurrencyLayer, RateLayer, RetryLayer, Tried};
use tower::{Service as _, ServiceBuilder, ServiceExt as _};

/// Where no connection could be opened, nothing was sent.
fn of_hyper(error: &(dyn Error + 'static)) -> Delivery {
    match error.downcast_ref::<HyperError>() {
        Some(error) if error.is_connect() => Delivery::NotSent,
        _ => Delivery::MaybeProcessed,
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    // A server that fails now and then.
    static ASKED: AtomicU32 = AtomicU32::new(0);
    let server = RestServer::builder()
        .listen("127.0.0.1:0")
        .allow_plaintext()
        .route(Method::GET, "/", async |_: sinew_tokio::Request| {
            match ASKED.fetch_add(1, Ordering::Relaxed) % 3 {
                1 => Err(StatusCode::SERVICE_UNAVAILABLE),
                _ => Ok("here you are"),
            }
        })
        .bind()
        .await?;
    let address = *server.local_addrs().first().ok_or("no address")?;
    let handle = server.handle();
    let serving = tokio::spawn(server.serve());

    // One of each for this destination.
    let clock = TokioRuntime::default();
    let retries = RetryLayer::new(clock, RetryPolicy::default(), BudgetConfig::default())?
        .deliveries(of_hyper)
        .timeout(Duration::from_secs(2));
    let breaker = BreakerLayer::new(clock, BreakerConfig::default())?;
    let places = ConcurrencyLayer::new(clock, ConcurrencyConfig::default())?;
    let rate = RateLayer::new(clock, Quota::new(100, Duration::from_secs(1), 20)?);
    let mut client = ServiceBuilder::new()
        .layer(retries)
        // Outside of the two that take a late answer for a sign of trouble.
        .layer(rate.patience(Duration::from_secs(1)))
        .layer(breaker.clone())
        .layer(places.clone())
        .service(Client::builder(TokioExecutor::new()).build_http());

    let request = || Request::get(format!("http://{address}/")).body(Full::<Bytes>::default());
    for _ in 0..3 {
        let response = client.ready().await?.call(request()?).await?;
        let tried = response.extensions().get::<Tried>().map_or(0, |tried| tried.attempts);
        let status = response.status();
        let text = response.into_body().collect().await?.to_bytes();
        println!("{status} in {tried} attempts: {}", String::from_utf8_lossy(&text));
    }
    println!("{} calls at once, the breaker is {:?}", places.limit(), breaker.state());

    handle.stop(Duration::ZERO).await;
    serving.await?;
    for _ in 0..3 {
        let error = client.ready().await?.call(request()?).await.err().ok_or("it answers")?;
        println!("{error}: {}", error.source().map(ToString::to_string).unwrap_or_default());
    }
    println!("the breaker is {:?}", breaker.state());
    Ok(())
}
