//! What the reference server answers.

use core::convert::Infallible;
use core::future::{Future as _, ready};
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
use sinew_core::websocket::{Config as WebSocketConfig, Limits, Message, Overflow};
use sinew_driver::{
    Body, Error, HandlerTimeout, IntoResponse, Json, Problem, Request, Response, RouteOptions,
    Runtime, ServerBuilder, SocketHandler, Sse, SseEvent, Threads, WebSocket, WebSocketOptions,
};
use sinew_tls::PeerIdentity;

const HELLO: &str = "Hello, World!";

/// A body that is streamed back or counted may be this large: 1 GiB.
const LARGE: u64 = 1 << 30;

/// A WebSocket message may be this large: 16 MiB.
const LARGE_MESSAGE: usize = 16 << 20;

/// Between two events.
const TICK: Duration = Duration::from_millis(100);

/// Nobody waits longer: 60 s.
const LONGEST: u64 = 60_000;

/// Adds the routes.
pub(super) fn add<R: Runtime>(
    server: ServerBuilder<R, Threads>,
    runtime: R,
) -> ServerBuilder<R, Threads> {
    let large = || RouteOptions::new().body_limit(LARGE);
    let (ticking, feeding, clock) = (runtime.clone(), runtime.clone(), runtime.clone());
    let patient = RouteOptions::new().handler_timeout(HandlerTimeout::Never);
    server
        .route_any("/", RouteOptions::new(), whole)
        .route(Method::GET, "/plain", async |_: Request| HELLO)
        .route(Method::GET, "/json", async |_: Request| Json(json!({ "message": HELLO })))
        .route_with(Method::POST, "/echo", large(), echo)
        .route(Method::GET, "/stream/{bytes}", stream)
        .route(Method::GET, "/status/{code}", status)
        .route_any("/delay/{ms}", patient, move |request| delay(request, runtime.clone()))
        .route(Method::GET, "/events", move |_: Request| {
            let sleep = ticking.sleep_until(ticking.now() + TICK);
            ready(Sse::new(Ticks { runtime: ticking.clone(), sleep }))
        })
        .route(Method::GET, "/session", session)
        .route(Method::GET, "/session/stubborn", stubborn)
        .route(Method::GET, "/headers", headers)
        .route(Method::GET, "/who", move |request| ready(who(&request, &clock)))
        .route_with(Method::POST, "/sink", large(), sink)
        .websocket_with("/ws", roomy(), echo_messages)
        .websocket_with("/ws/wait", overflowing(Overflow::Wait), feed(&feeding))
        .websocket_with("/ws/drop-oldest", overflowing(Overflow::DropOldest), feed(&feeding))
        .websocket_with("/ws/close", overflowing(Overflow::Close), feed(&feeding))
}

/// More than most take.
fn overflowing(overflow: Overflow) -> WebSocketOptions {
    let handshake = ServerHandshake { origins: Origins::Any, ..ServerHandshake::default() };
    let config = WebSocketConfig { overflow, ..WebSocketConfig::default() };
    WebSocketOptions::new().handshake(handshake).config(config)
}

fn feed<R: Runtime>(runtime: &R) -> impl SocketHandler<Threads> + use<R> {
    let runtime = runtime.clone();
    move |_: Request, socket: WebSocket| flood(runtime.clone(), socket)
}

/// Messages without end, 64 of 1000 bytes every millisecond.
async fn flood<R: Runtime>(runtime: R, socket: WebSocket) -> Result<(), Error> {
    loop {
        for _ in 0..64 {
            socket.send(Message::binary(vec![b'a'; 1000])).await?;
        }
        runtime.sleep_until(runtime.now() + Duration::from_millis(1)).await;
    }
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

/// An event every now and then, without end.
struct Ticks<R: Runtime> {
    runtime: R,
    sleep: R::Sleep,
}

/// Nothing of it is pinned in place.
impl<R: Runtime> Unpin for Ticks<R> {}

impl<R: Runtime> Stream for Ticks<R> {
    type Item = Result<SseEvent, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if Pin::new(&mut this.sleep).poll(cx).is_pending() {
            return Poll::Pending;
        }
        this.runtime.reset(&mut this.sleep, this.runtime.now() + TICK);
        Poll::Ready(Some(Ok(SseEvent::data("tick"))))
    }
}

/// Another protocol: nothing, until the server leaves.
async fn session(request: Request) -> Result<(), Problem> {
    let away = request.going_away();
    let connection = request.upgrade(switch()).await?;
    away.await;
    Ok(connection.write("goodbye").await?)
}

/// The same, and it does not end when it is told.
async fn stubborn(request: Request) -> Result<(), Problem> {
    let _connection = request.upgrade(switch()).await?;
    core::future::pending().await
}

fn switch() -> Response {
    Response::new(StatusCode::SWITCHING_PROTOCOLS).header("upgrade", "echo")
}

/// The fields of the request, in the order in which they came.
async fn headers(request: Request) -> impl IntoResponse {
    let fields = request.head().fields().iter();
    let fields: Vec<(String, String)> = fields
        .map(|(name, value)| (name.to_lowercase(), String::from_utf8_lossy(value).into_owned()))
        .collect();
    Json(fields)
}

/// Who asks, as far as the connection and its fields tell, and for how many more milliseconds.
fn who<R: Runtime>(request: &Request, clock: &R) -> impl IntoResponse + use<R> {
    let context = request.context();
    let deadline = context.deadline.map(|at| (at - clock.now()).as_millis());
    Json(json!({
        "peer": request.peer().address().map(|address| address.to_string()),
        "identity": request.identity().map(PeerIdentity::name),
        "deadline_ms": deadline.and_then(|left| u64::try_from(left).ok()),
    }))
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
        // Memory of its own, as most answers are.
        Poll::Ready(Some(Ok(Bytes::copy_from_slice(&PIECE[..n]))))
    }
}
