//! Routes that speak WebSocket.

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method, StatusCode};
use sinew_core::reason::Reason;
use sinew_core::websocket::handshake::{Accepted, Refusal, ServerHandshake};
use sinew_core::websocket::{CloseCode, Config, Role};

use super::builder::ServerBuilder;
use super::mode::{Handler, Local, Mode, Threads};
use super::problem::Problem;
use super::request::Request;
use super::response::{IntoResponse, Response};
use super::service::RouteOptions;
use crate::error::Error;
use crate::runtime::Runtime;
use crate::upgraded::{Setup, Speech};
use crate::websocket::{Sockets, WebSocket, seed};

/// How a route speaks WebSocket.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct WebSocketOptions {
    /// Subprotocols, which pages may open a socket, compression.
    pub handshake: ServerHandshake,
    /// Limits and timers of every socket, and what becomes of messages when a client takes less than is
    /// sent.
    pub config: Config,
    /// Where the sockets are registered, and how many one client may have.
    pub sockets: Sockets,
    /// What the route does differently, up to the switch.
    pub route: RouteOptions,
}

impl WebSocketOptions {
    /// The defaults: pages of this server alone, no compression.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says what is offered: subprotocols, compression, and to which pages.
    pub fn handshake(mut self, handshake: ServerHandshake) -> Self {
        self.handshake = handshake;
        self
    }

    /// Sets limits and timers of every socket, and what becomes of messages when a client takes less than
    /// is sent.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Registers the sockets here, to be counted and spoken to from elsewhere.
    pub fn sockets(mut self, sockets: &Sockets) -> Self {
        self.sockets = sockets.clone();
        self
    }

    /// Sets what the route does differently, up to the switch.
    pub fn route(mut self, route: RouteOptions) -> Self {
        self.route = route;
        self
    }

    fn check(&self) -> Result<(), Error> {
        let failed = |why: sinew_core::Error| Error::config("a WebSocket route").with_source(why);
        self.config.check().map_err(failed)?;
        self.handshake.check().map_err(failed)
    }
}

/// What became of a handler: `()`, or a `Result<(), E>`, of which an error closes with 1011.
pub trait SocketOutcome {
    /// Whether it failed.
    fn is_failure(&self) -> bool;
}

impl SocketOutcome for () {
    fn is_failure(&self) -> bool {
        false
    }
}

impl<E> SocketOutcome for Result<(), E> {
    fn is_failure(&self) -> bool {
        self.is_err()
    }
}

/// What can be a handler of sockets in a [`Mode`]: an
/// `async fn(Request, WebSocket) -> impl SocketOutcome`.
pub trait SocketHandler<M: Mode> {
    /// The handler of the request that opens a socket.
    fn into_route(self, options: Arc<WebSocketOptions>) -> M::Handler;
}

impl<F, Running, Outcome> SocketHandler<Threads> for F
where
    F: Fn(Request, WebSocket) -> Running + Send + Sync + 'static,
    Running: Future<Output = Outcome> + Send,
    Outcome: SocketOutcome,
{
    fn into_route(self, options: Arc<WebSocketOptions>) -> <Threads as Mode>::Handler {
        let handler = Arc::new(self);
        Handler::<Threads>::into_handler(move |request| {
            let (options, handler) = (Arc::clone(&options), Arc::clone(&handler));
            async move { serve(request, &options, &*handler).await }
        })
    }
}

impl<F, Running, Outcome> SocketHandler<Local> for F
where
    F: Fn(Request, WebSocket) -> Running + 'static,
    Running: Future<Output = Outcome>,
    Outcome: SocketOutcome,
{
    fn into_route(self, options: Arc<WebSocketOptions>) -> <Local as Mode>::Handler {
        let handler = Rc::new(self);
        Handler::<Local>::into_handler(move |request| {
            let (options, handler) = (Arc::clone(&options), Rc::clone(&handler));
            async move { serve(request, &options, &*handler).await }
        })
    }
}

/// A socket from its request to its end. What is answered counts as long as nothing was switched.
async fn serve<Running: Future<Output: SocketOutcome>>(
    request: Request,
    options: &WebSocketOptions,
    handler: &impl Fn(Request, WebSocket) -> Running,
) -> Response {
    let socket = match open(&request, options).await {
        Ok(socket) => socket,
        Err(problem) => return problem.into_response(),
    };
    // A handler that fails lets go of its socket first: without this one, that closed it with 1000.
    let last = socket.connection();
    if handler(request, socket).await.is_failure() {
        // One that was closed already has said all there is to say.
        let _ = last.line().act(|carrier| carrier.begin_close(CloseCode::INTERNAL_ERROR, ""));
    }
    Response::new(StatusCode::OK)
}

async fn open(request: &Request, options: &WebSocketOptions) -> Result<WebSocket, Problem> {
    let accepted = options.handshake.accept(request.head()).map_err(refused)?;
    let security = request.security();
    let seat = options.sockets.admit(security);
    let seat = seat.ok_or_else(|| Problem::because(Reason::TooManySockets))?;
    let (id, seed) = (seat.id(), seed()?);
    let upgraded = request.switch(switching(&accepted)).await?;
    let config = Arc::new(options.config);
    let speech = Speech { role: Role::Server, config, agreed: accepted.into_agreed(), seed };
    let setup = Setup {
        speech,
        expires: security.principal.as_ref().and_then(|known| known.expires),
        seat: Some(seat),
    };
    let socket = WebSocket::new(upgraded, setup);
    options.sockets.opened(id, &socket.connection());
    Ok(socket)
}

fn switching(accepted: &Accepted) -> Response {
    let answer = Response::new(StatusCode::SWITCHING_PROTOCOLS);
    accepted.fields().fold(answer, |answer, (name, value)| answer.header(name, value))
}

fn refused(refusal: Refusal) -> Problem {
    let problem = Problem::because(refusal.reason()).detail(refusal.explain());
    refusal.fields().fold(problem, |problem, (name, value)| {
        problem.header(HeaderName::from_static(name), HeaderValue::from_static(value))
    })
}

impl<R: Runtime, M: Mode> ServerBuilder<R, M> {
    /// Adds a handler of sockets, an `async fn(Request, WebSocket) -> impl SocketOutcome`. The request
    /// that opens one is a GET like any other, and passes all policies; what is no opening
    /// handshake is answered with 426 or 400, a page of another origin with 403.
    ///
    /// ```
    /// use sinew_driver::{Error, Request, Runtime, ServerBuilder, Threads, WebSocket};
    ///
    /// async fn echo(_: Request, mut socket: WebSocket) -> Result<(), Error> {
    ///     while let Some(message) = socket.recv().await? {
    ///         socket.send(message).await?;
    ///     }
    ///     Ok(())
    /// }
    ///
    /// fn add<R: Runtime>(server: ServerBuilder<R, Threads>) -> ServerBuilder<R, Threads> {
    ///     server.websocket("/echo", echo)
    /// }
    /// ```
    pub fn websocket(self, template: &str, handler: impl SocketHandler<M>) -> Self {
        self.websocket_with(template, WebSocketOptions::new(), handler)
    }

    /// Adds a handler of sockets with limits of its own.
    pub fn websocket_with(
        mut self,
        template: &str,
        options: WebSocketOptions,
        handler: impl SocketHandler<M>,
    ) -> Self {
        if let Err(error) = options.check() {
            self.refuse(error);
        }
        let route = options.route.clone();
        self.add(Some(Method::GET), template, route, handler.into_route(Arc::new(options)))
    }
}
