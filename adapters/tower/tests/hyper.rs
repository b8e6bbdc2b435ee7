//! The layers around hyper-util's client, over sockets.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{Method, Request, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error as HyperError};
use hyper_util::rt::TokioExecutor;
use sinew_core::error::Delivery;
use sinew_core::limit::ConcurrencyConfig;
use sinew_core::resilience::{BreakerConfig, BreakerState, BudgetConfig, NoRetry, RetryPolicy};
use sinew_driver::IntoResponse as _;
use sinew_tokio::{Problem, Request as Asked, Response, RestServer, RouteOptions, TokioRuntime};
use sinew_tower::{BreakerLayer, ConcurrencyLayer, Failed, Refused, Repeatable, RetryLayer, Tried};
use socket2::{Domain, Socket, Type};
use tower::{ServiceBuilder, ServiceExt as _};

fn of_hyper(error: &(dyn Error + 'static)) -> Delivery {
    match error.downcast_ref::<HyperError>() {
        Some(error) if error.is_connect() => Delivery::NotSent,
        _ => Delivery::MaybeProcessed,
    }
}

fn client<B>() -> Client<HttpConnector, Repeatable<B>>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    Client::builder(TokioExecutor::new()).build_http()
}

fn retries() -> RetryLayer<TokioRuntime, impl sinew_tower::Deliveries> {
    let layer =
        RetryLayer::new(TokioRuntime::default(), RetryPolicy::default(), BudgetConfig::default());
    layer.unwrap().deliveries(of_hyper)
}

/// Echoes a body, but refuses or fails every other time.
async fn serve(status: StatusCode, retry_after: bool) -> (SocketAddr, Arc<AtomicU32>) {
    let asked = Arc::new(AtomicU32::new(0));
    let counting = Arc::clone(&asked);
    let server = RestServer::builder()
        .listen("127.0.0.1:0")
        .allow_plaintext()
        .route_any("/", RouteOptions::new(), move |request: Asked| {
            let fails = counting.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
            async move {
                if !fails {
                    return Ok(request.text().await?.into_response());
                }
                let mut response = Response::new(status);
                if retry_after {
                    response = response.header("retry-after", "0");
                }
                Ok::<_, Problem>(response)
            }
        })
        .bind()
        .await
        .unwrap();
    let address = server.local_addrs()[0];
    tokio::spawn(server.serve());
    (address, asked)
}

#[tokio::test]
async fn a_refused_post_is_sent_again_with_its_whole_body() {
    let (address, asked) = serve(StatusCode::SERVICE_UNAVAILABLE, true).await;
    let service = ServiceBuilder::new().layer(retries()).service(client());
    let pieces =
        ["a body ", "in pieces"].map(|piece| Ok::<_, Infallible>(Frame::data(piece.into())));
    let body: StreamBody<_> = StreamBody::new(stream::iter(pieces));
    let request = Request::post(format!("http://{address}/")).body(body).unwrap();
    let response = service.oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let tried = Tried { attempts: 2, no_retry: None };
    assert_eq!(response.extensions().get(), Some(&tried));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "a body in pieces");
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_failed_get_is_sent_again_and_a_failed_post_is_not() {
    let (address, asked) = serve(StatusCode::BAD_GATEWAY, false).await;
    let service = ServiceBuilder::new().layer(retries()).service(client());
    let request = |method| {
        let request = Request::builder().method(method).uri(format!("http://{address}/"));
        request.body(Full::from("body")).unwrap()
    };
    let response = service.clone().oneshot(request(Method::GET)).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let response = service.oneshot(request(Method::POST)).await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
    let tried = Tried { attempts: 1, no_retry: Some(NoRetry::NotRepeatable) };
    assert_eq!(response.extensions().get(), Some(&tried));
    assert_eq!(asked.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn where_nobody_listens_any_method_is_tried_until_the_breaker_opens() {
    // Bound, so that nobody else is, and never listening.
    let nobody = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    nobody.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = nobody.local_addr().unwrap().as_socket().unwrap();
    let clock = TokioRuntime::default();
    let long = Duration::from_secs(600);
    let config = BreakerConfig { open_min: long, open_max: long, ..BreakerConfig::default() };
    let breaker = BreakerLayer::new(clock, config).unwrap();
    let places = ConcurrencyLayer::new(clock, ConcurrencyConfig::default()).unwrap();
    let service = ServiceBuilder::new()
        .layer(retries())
        .layer(breaker.clone())
        .layer(places.clone())
        .service(client());
    let post = || Request::post(format!("http://{address}/")).body(Full::from("body")).unwrap();
    let error = service.clone().oneshot(post()).await.unwrap_err();
    let failed = error.downcast_ref::<Failed>().unwrap();
    assert_eq!(failed.tried, Tried { attempts: 3, no_retry: Some(NoRetry::Attempts) });
    assert!(failed.error().is::<HyperError>());
    while matches!(breaker.state(), BreakerState::Closed) {
        let _ = service.clone().oneshot(post()).await.unwrap_err();
    }
    let error = service.oneshot(post()).await.unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(Refused::Breaker(_))), "{error}");
    assert_eq!(places.in_flight(), 0);
}
