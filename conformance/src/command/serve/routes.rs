//! What the reference server answers.

use core::convert::Infallible;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use serde_json::json;
use sinew_core::websocket::deflate::DeflateConfig;
use sinew_core::websocket::handshake::{Origins, ServerHandshake};
use sinew_core::websocket::{Config as WebSocketConfig, Limits};
use sinew_driver::{
    Body, Error, HandlerTimeout, IntoResponse, Json, Problem, Request, Response, RouteOptions,
    Runtime, ServerBuilder, Threads, WebSocket, WebSocketOptions,
};

const HELLO: &str = "Hello, World!";

/// A body that is streamed back or counted may be this large: 1 GiB.
const LARGE: u64 = 1 << 30;

/// A WebSocket message may be this large: 16 MiB.
const LARGE_MESSAGE: usize = 16 << 20;

/// Nobody waits longer: 60 s.
const LONGEST: u64 = 60_000;

/// Adds the routes.
pub(super) fn add<R: Runtime>(
    server: ServerBuilder<R, Threads>,
    runtime: R,
) -> ServerBuilder<R, Threads> {
    let large = || RouteOptions::new().body_limit(LARGE);
    let patient = RouteOptions::new().handler_timeout(HandlerTimeout::Never);
    server
        .route_any("/", RouteOptions::new(), whole)
        .route(Method::GET, "/plain", async |_: Request| HELLO)
        .route(Method::GET, "/json", async |_: Request| Json(json!({ "message": HELLO })))
        .route_with(Method::POST, "/echo", large(), echo)
        .route(Method::GET, "/stream/{bytes}", stream)
        .route(Method::GET, "/status/{code}", status)
        .route_with(Method::GET, "/delay/{ms}", patient, move |request| {
            delay(request, runtime.clone())
        })
        .route(Method::GET, "/headers", headers)
        .route_with(Method::POST, "/sink", large(), sink)
        .websocket_with("/ws", roomy(), echo_messages)
}

/// Frames and messages of up to 16 MiB, from any page, packed where the client can do that.
fn roomy() -> WebSocketOptions {
    let limits = Limits { frame: LARGE_MESSAGE, message: LARGE_MESSAGE, ..Limits::default() };
    let handshake = ServerHandshake {
        origins: Origins::Any,
        deflate: Some(DeflateConfig::default()),
        ..ServerHandshake::default()
    };
    let config = WebSocketConfig { limits, ..WebSocketConfig::default() };
    WebSocketOptions::new().handshake(handshake).config(config)
}

/// Every message, sent back.
async fn echo_messages(_: Request, mut socket: WebSocket) -> Result<(), Error> {
    while let Some(message) = socket.recv().await? {
        socket.send(message).await?;
    }
    Ok(())
}

/// Reads the body to its end, then greets: what `sinew check --target HOST:PORT` asks of a server.
async fn whole(mut request: Request) -> Result<&'static str, Problem> {
    while request.body_mut().chunk().await?.is_some() {}
    Ok(HELLO)
}

/// The body, streamed back as it comes.
async fn echo(request: Request) -> Response {
    let media_type = request.headers().get(CONTENT_TYPE).cloned();
    let response = Response::ok(request.into_body());
    match media_type {
        Some(media_type) => response.header(CONTENT_TYPE, media_type),
        None => response,
    }
}

/// So many bytes, of a length that is not announced.
async fn stream(request: Request) -> Result<Response, Problem> {
    let left = request.path::<u64>()?;
    Ok(Response::ok(Body::stream(Letters { left })).header(CONTENT_TYPE, "text/plain"))
}

async fn status(request: Request) -> Result<StatusCode, Problem> {
    let code = request.path::<u16>()?;
    let status = StatusCode::from_u16(code).ok().filter(|status| !status.is_informational());
    status.ok_or_else(|| Problem::new(StatusCode::BAD_REQUEST).detail("no final status"))
}

async fn delay<R: Runtime>(request: Request, runtime: R) -> Result<&'static str, Problem> {
    let millis = request.path::<u64>()?;
    if millis > LONGEST {
        return Err(Problem::new(StatusCode::BAD_REQUEST).detail("at most 60000 ms"));
    }
    runtime.sleep_until(runtime.now() + Duration::from_millis(millis)).await;
    Ok(HELLO)
}

/// The fields of the request, in the order in which they came.
async fn headers(request: Request) -> impl IntoResponse {
    let fields = request.head().fields().iter();
    let fields: Vec<(String, String)> = fields
        .map(|(name, value)| (name.to_lowercase(), String::from_utf8_lossy(value).into_owned()))
        .collect();
    Json(fields)
}

async fn sink(mut request: Request) -> Result<impl IntoResponse, Problem> {
    let mut bytes = 0;
    while let Some(chunk) = request.body_mut().chunk().await? {
        bytes += chunk.len();
    }
    Ok(Json(json!({ "bytes": bytes })))
}

/// Bytes without end or meaning, up to a number.
struct Letters {
    left: u64,
}

impl Stream for Letters {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        static PIECE: [u8; 16_384] = [b'a'; 16_384];
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let n = usize::try_from(self.left).unwrap_or(usize::MAX).min(PIECE.len());
        self.left -= n as u64;
        Poll::Ready(Some(Ok(Bytes::from_static(&PIECE[..n]))))
    }
}
