//! The application that most tests talk to.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::{Deserialize, Serialize};
use sinew_driver::{
    Body, HandlerTimeout, Json, Problem, Request, Response, RouteOptions, Sse, SseEvent,
};

use super::site::Builder;

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Item {
    pub(crate) id: u32,
    pub(crate) name: String,
}

/// What a server saw of a body that it read piece by piece.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) bytes: u64,
    pub(crate) largest_piece: usize,
    pub(crate) intact: bool,
}

pub(crate) fn routes(builder: Builder) -> Builder {
    let streaming = || RouteOptions::new().body_limit(1 << 30);
    let hurried =
        RouteOptions::new().handler_timeout(HandlerTimeout::After(Duration::from_millis(50)));
    builder
        .route(Method::GET, "/items/{id}", item)
        .route(Method::POST, "/items", create)
        .route(Method::GET, "/search", search)
        .route(Method::POST, "/form", form)
        .route(Method::GET, "/text", async |_: Request| "plain words")
        .route(Method::GET, "/peer", peer)
        .route_with(Method::POST, "/echo", streaming(), echo)
        .route_with(Method::PUT, "/measure", streaming(), measure)
        .route(Method::PUT, "/limited", measure)
        .route(Method::PUT, "/ignored", async |_: Request| StatusCode::NO_CONTENT)
        .route(Method::GET, "/download/{bytes}", download)
        .route(Method::GET, "/events", events)
        .route(Method::POST, "/trailers", trailers)
        .route(Method::GET, "/panic", panics)
        .route_with(Method::GET, "/never", hurried, never)
}

async fn item(request: Request) -> Result<Json<Item>, Problem> {
    let id: u32 = request.path()?;
    Ok(Json(Item { id, name: format!("item {id}") }))
}

async fn create(request: Request) -> Result<(StatusCode, Json<Item>), Problem> {
    let item: Item = request.json().await?;
    Ok((StatusCode::CREATED, Json(Item { id: item.id + 1, ..item })))
}

async fn search(request: Request) -> Result<Json<BTreeMap<String, String>>, Problem> {
    request.query().map(Json)
}

async fn form(request: Request) -> Result<Json<Item>, Problem> {
    request.form().await.map(Json)
}

/// Whom the client's certificate names.
async fn peer(request: Request) -> Option<String> {
    request.identity().map(|identity| identity.name().to_owned())
}

/// The body goes back while it comes in.
async fn echo(request: Request) -> Body {
    request.into_body()
}

async fn measure(mut request: Request) -> Result<Json<Measured>, Problem> {
    let mut measured = Measured { bytes: 0, largest_piece: 0, intact: true };
    while let Some(piece) = request.body_mut().chunk().await? {
        measured.intact &= is_pattern(measured.bytes, &piece);
        measured.bytes += piece.len() as u64;
        measured.largest_piece = measured.largest_piece.max(piece.len());
    }
    Ok(Json(measured))
}

async fn download(request: Request) -> Result<Body, Problem> {
    let bytes: u64 = request.path()?;
    Ok(pattern_body(bytes))
}

async fn events(_: Request) -> Response {
    use sinew_driver::IntoResponse;

    let events = (1..=3).map(|number| {
        Ok::<_, std::convert::Infallible>(SseEvent::data(format!("tick {number}")).event("tick"))
    });
    Sse::new(stream::iter(events)).into_response()
}

/// Answers in its trailers what came in the request's.
async fn trailers(request: Request) -> Result<Response, Problem> {
    let (bytes, came) = request.into_body().collect_with_trailers(1024).await?;
    let mut trailers = HeaderMap::new();
    let sum = came.as_ref().and_then(|came| came.get("x-sum")).cloned();
    trailers.insert("x-came", sum.unwrap_or(HeaderValue::from_static("none")));
    Ok(Response::ok(bytes).trailers(trailers))
}

async fn panics(_: Request) -> StatusCode {
    panic!("a handler that panics, on purpose")
}

async fn never(_: Request) -> StatusCode {
    std::future::pending().await
}

/// Bytes of which every position is known.
pub(crate) const PIECE: usize = 32 * 1024;

pub(crate) fn pattern(start: u64, length: usize) -> Bytes {
    (start..).take(length).map(pattern_byte).collect()
}

pub(crate) fn is_pattern(start: u64, bytes: &[u8]) -> bool {
    (start..).zip(bytes).all(|(at, &byte)| byte == pattern_byte(at))
}

fn pattern_byte(at: u64) -> u8 {
    // 251 is prime: a piece that is lost, doubled or moved does not fit.
    u8::try_from(at % 251).unwrap_or_default()
}

/// That many bytes, in pieces, of unknown length as far as the protocol can tell.
pub(crate) fn pattern_body(bytes: u64) -> Body {
    Body::stream(stream::iter(pieces(bytes).map(Ok::<_, std::convert::Infallible>)))
}

pub(crate) fn pieces(bytes: u64) -> impl Iterator<Item = Bytes> + Send {
    let step = PIECE as u64;
    (0..bytes.div_ceil(step)).map(move |index| {
        let start = index * step;
        pattern(start, usize::try_from(step.min(bytes - start)).unwrap_or(PIECE))
    })
}
