//! Any tower service as a handler.

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
