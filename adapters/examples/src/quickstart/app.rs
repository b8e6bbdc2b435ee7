//! The service of the quickstart: handlers know no runtime and no socket.

use std::sync::Arc;

use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use sinew_driver::{
    Body, Json, Problem, Request, Response, RouteOptions, Runtime, ServerBuilder, Threads,
};
use tokio::sync::Semaphore;

use crate::pattern;

/// What the service is about.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Resource {
    /// Its number, from the path.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Whom the certificate of the asking client names.
    pub asked_by: Option<String>,
}

/// What the service saw of an upload.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Receipt {
    /// Bytes that came.
    pub bytes: u64,
    /// Whether each was the one that belongs there.
    pub intact: bool,
}

/// A door that handlers wait at: for calls that are certainly in flight.
#[derive(Clone, Debug)]
pub struct Door {
    waiting: Arc<Semaphore>,
    open: Arc<Semaphore>,
}

impl Default for Door {
    fn default() -> Self {
        Self { waiting: Arc::new(Semaphore::new(0)), open: Arc::new(Semaphore::new(0)) }
    }
}

impl Door {
    /// Waits until that many handlers stand at the door.
    pub async fn crowd(&self, handlers: u32) {
        if let Ok(permits) = self.waiting.acquire_many(handlers).await {
            permits.forget();
        }
    }

    /// Lets everybody through, now and later.
    pub fn open(&self) {
        self.open.close();
    }

    async fn pass(&self) {
        self.waiting.add_permits(1);
        // Nobody hands out permits: the wait ends when the door is opened.
        let _ = self.open.acquire().await;
    }
}

/// Adds the routes. A body may have 1 MiB, as everywhere, but for the uploads.
pub fn routes<R: Runtime>(
    builder: ServerBuilder<R, Threads>,
    door: &Door,
) -> ServerBuilder<R, Threads> {
    let door = door.clone();
    let large = RouteOptions::new().body_limit(1 << 30);
    builder
        .route(Method::GET, "/api/resource/{id}", resource)
        .route(Method::POST, "/api/echo", echo)
        .route_with(Method::PUT, "/upload", large, upload)
        .route(Method::GET, "/download/{bytes}", download)
        .route(Method::GET, "/door", move |_: Request| {
            let door = door.clone();
            async move {
                door.pass().await;
                "through the door\n"
            }
        })
}

async fn resource(request: Request) -> Result<Json<Resource>, Problem> {
    let id = request.path()?;
    let asked_by = request.identity().map(|identity| identity.name().to_owned());
    Ok(Json(Resource { id, name: format!("resource {id}"), asked_by }))
}

/// Sends the body back, and its type.
async fn echo(request: Request) -> Result<Response, Problem> {
    let media_type = request.headers().get("content-type").cloned();
    let body = request.bytes().await?;
    let answer = Response::new(StatusCode::OK).body(body);
    Ok(match media_type {
        Some(media_type) => answer.header("content-type", media_type),
        None => answer,
    })
}

/// Reads the body piece by piece and keeps none of it.
async fn upload(mut request: Request) -> Result<Json<Receipt>, Problem> {
    let mut receipt = Receipt { bytes: 0, intact: true };
    while let Some(piece) = request.body_mut().chunk().await? {
        receipt.intact &= pattern::matches(receipt.bytes, &piece);
        receipt.bytes += piece.len() as u64;
    }
    Ok(Json(receipt))
}

/// Produces the body piece by piece, as fast as the client takes it.
async fn download(request: Request) -> Result<Body, Problem> {
    request.path().map(pattern::body)
}
