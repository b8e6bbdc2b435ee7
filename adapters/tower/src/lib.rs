//! Any [`tower_service::Service`] of HTTP as a handler: an axum `Router`, a stack of tower layers.
//!
//! The service runs behind everything that sinew does for a connection: mutual TLS, limits, timers,
//! draining; and on whatever runtime the server runs, as far as the service itself does not ask for
//! one of its own.
//!
//! ```
//! use sinew_driver::{RouteOptions, Runtime, ServerBuilder, Threads};
//!
//! fn mount<R: Runtime>(
//!     server: ServerBuilder<R, Threads>,
//!     app: axum::Router,
//! ) -> ServerBuilder<R, Threads> {
//!     server
//!         .route_any("/app/{*path}", RouteOptions::new(), sinew_tower::handler(app.clone()))
//!         .fallback(sinew_tower::handler(app))
//! }
//! ```
//!
//! A service gets an [`http::Request`] whose extensions hold sinew's `Peer` and, with mutual TLS,
//! the identity of the client. What asks hyper for an upgraded connection does not work here: a
//! handler of sinew's own takes it with [`Request::upgrade`].

use std::future::poll_fn;

use bytes::Bytes;
use http_body::Body as HttpBody;
use sinew_driver::{
    Body, BoxError, Handler, IntoResponse, Local, Mode, Problem, Request, Response, Threads,
};
use tower_service::Service;

/// A service as a handler: see [`handler`].
#[derive(Clone, Copy, Debug)]
pub struct Tower<S> {
    service: S,
}

/// Makes a handler of a service, which is cloned for each request, as tower services are.
///
/// A service that is not ready holds its request back; the handler's time limit runs meanwhile. One
/// that fails is answered for with 500, and its error is not shown to the client.
pub const fn handler<S>(service: S) -> Tower<S> {
    Tower { service }
}

impl<S, B> Handler<Threads> for Tower<S>
where
    S: Service<http::Request<Body>, Response = http::Response<B>>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    fn into_handler(self) -> <Threads as Mode>::Handler {
        Box::new(move |request| Box::pin(call(self.service.clone(), request)))
    }
}

impl<S, B> Handler<Local> for Tower<S>
where
    S: Service<http::Request<Body>, Response = http::Response<B>> + Clone + 'static,
    S::Error: Into<BoxError>,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    fn into_handler(self) -> <Local as Mode>::Handler {
        Box::new(move |request| Box::pin(call(self.service.clone(), request)))
    }
}

async fn call<S, B>(mut service: S, request: Request) -> Response
where
    S: Service<http::Request<Body>, Response = http::Response<B>>,
    S::Error: Into<BoxError>,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let request = match request.into_http() {
        Ok(request) => request,
        Err(problem) => return problem.into_response(),
    };
    // A clone is not ready because the original was.
    let ready = poll_fn(|cx| service.poll_ready(cx).map_err(Into::<BoxError>::into)).await;
    let answer = match ready {
        Ok(()) => service.call(request).await.map_err(Into::into),
        Err(error) => Err(error),
    };
    match answer {
        Ok(response) => response.into_response(),
        Err(error) => Problem::from(Failed(error)).into_response(),
    }
}

/// What went wrong in a service, for whoever observes the server.
#[derive(Debug)]
struct Failed(BoxError);

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the service failed")
    }
}

impl std::error::Error for Failed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.0)
    }
}
