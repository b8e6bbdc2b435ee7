//! sinew on tokio: `RestServer` and `RestClient`, and the runtime binding.
//!
//! All of the driving is done by `sinew-driver`, whose public items stand here too. This crate adds
//! sockets, timers and names: [`TokioRuntime`] for tasks that move between worker threads, and
//! [`TokioLocal`] for one runtime a core, where handlers may hold an `Rc`.
//!
//! ```
//! use http::Method;
//! use serde::{Deserialize, Serialize};
//! use sinew_core::resilience::RetryPolicy;
//! use sinew_tokio::{Json, Problem, Request, RestClient, RestServer};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Resource {
//!     id: u32,
//!     name: String,
//! }
//!
//! async fn resource(request: Request) -> Result<Json<Resource>, Problem> {
//!     let id = request.path()?;
//!     Ok(Json(Resource { id, name: format!("number {id}") }))
//! }
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let server = RestServer::builder()
//!         .listen("127.0.0.1:0")
//!         .allow_plaintext() // in its place, with certificates: .tls(tls)
//!         .route(Method::GET, "/resources/{id}", resource)
//!         .bind()
//!         .await?;
//!     let address = server.local_addrs()[0];
//!     tokio::spawn(async move { server.serve().await });
//!
//!     let client = RestClient::builder(format!("http://{address}"))
//!         .allow_plaintext()
//!         .retry(RetryPolicy { attempts: 2, ..RetryPolicy::default() })
//!         .build()?;
//!     let found: Resource = client.get("/resources/42").send().await?.json().await?;
//!     assert_eq!(found.name, "number 42");
//!     Ok(())
//! }
//! ```
//!
//! Beside this crate, an application has in its `Cargo.toml`: `http` for methods and status codes, `serde` with
//! `derive` for its types, `sinew-core` for policies such as `RetryPolicy`, and `sinew-tls` for
//! certificates. Of tokio's features this crate needs `rt`, `net`, `time` and `io-util`; choose
//! `rt-multi-thread` or not in your own `Cargo.toml`.

mod binding;
mod datagram;
mod listener;
mod stream;

pub use binding::{Here, Tokio, TokioLocal, TokioRuntime, Workers};
pub use datagram::TokioDatagram;
pub use listener::TokioListener;
pub use sinew_driver::*;
pub use stream::TokioStream;

/// A server whose connections run on any worker thread.
pub type RestServer = sinew_driver::RestServer<TokioRuntime, Threads>;

/// A client; its calls are driven by the tasks that make them.
pub type RestClient = sinew_driver::RestClient<TokioRuntime>;

/// Thread-per-core: connections stay on the thread that accepted them, and handlers may hold what
/// is not `Send`. Everything in here runs inside a [`LocalSet`](tokio::task::LocalSet).
pub mod local {
    /// A server whose connections stay on one thread.
    pub type RestServer = sinew_driver::RestServer<crate::TokioLocal, crate::Local>;

    /// A client on one thread.
    pub type RestClient = sinew_driver::RestClient<crate::TokioLocal>;
}
