//! Where handlers run: anywhere, or on the thread that accepted the connection.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::request::Request;
use super::response::{IntoResponse, Response};

/// Whether handlers and their futures may move between threads. The two modes are [`Threads`] and
/// [`Local`]; the mode is a parameter of the server, so that `Send` is asked for only where the
/// runtime needs it.
pub trait Mode: sealed::Sealed + Sized + 'static {
    /// A handler's running future.
    type Running: Future<Output = Response> + Unpin;
    /// A handler.
    type Handler: Fn(Request) -> Self::Running;
}

/// Handlers are `Send` and `Sync`, their futures `Send`: for runtimes that move tasks.
#[derive(Debug)]
pub enum Threads {}

/// Handlers stay on one thread and may hold an `Rc`: for thread-per-core runtimes.
#[derive(Debug)]
pub enum Local {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Threads {}
    impl Sealed for super::Local {}
}

impl Mode for Threads {
    type Running = Pin<Box<dyn Future<Output = Response> + Send>>;
    type Handler = Box<dyn Fn(Request) -> Self::Running + Send + Sync>;
}

impl Mode for Local {
    type Running = Pin<Box<dyn Future<Output = Response>>>;
    type Handler = Box<dyn Fn(Request) -> Self::Running>;
}

/// What can be a handler in a [`Mode`]: an `async fn(Request) -> impl IntoResponse`.
pub trait Handler<M: Mode> {
    /// Boxes the handler.
    fn into_handler(self) -> M::Handler;
}

impl<F, Answer, Output> Handler<Threads> for F
where
    F: Fn(Request) -> Answer + Send + Sync + 'static,
    Answer: Future<Output = Output> + Send + 'static,
    Output: IntoResponse,
{
    fn into_handler(self) -> <Threads as Mode>::Handler {
        Box::new(move |request| start(&self, request))
    }
}

impl<F, Answer, Output> Handler<Local> for F
where
    F: Fn(Request) -> Answer + 'static,
    Answer: Future<Output = Output> + 'static,
    Output: IntoResponse,
{
    fn into_handler(self) -> <Local as Mode>::Handler {
        Box::new(move |request| start(&self, request))
    }
}

/// Starts a handler. The memory comes first, so that its future is made there and not moved there.
fn start<A: Future>(handler: &impl Fn(Request) -> A, request: Request) -> Pin<Box<Running<A>>> {
    let memory = Box::new_uninit();
    Box::into_pin(Box::write(memory, Running { answer: handler(request) }))
}

pin_project! {
    /// A handler at work. Written out, because an async block would move the request once more.
    struct Running<A> {
        #[pin]
        answer: A,
    }
}

impl<A: Future<Output: IntoResponse>> Future for Running<A> {
    type Output = Response;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Response> {
        self.project().answer.poll(cx).map(IntoResponse::into_response)
    }
}
