//! sinew on tokio: `RestServer` and `RestClient`, and the runtime binding.
//!
//! All of the driving is done by `sinew-driver`, whose public items stand here too. This crate adds
//! sockets, timers and names: [`TokioRuntime`] for tasks that move between worker threads, and
//! [`TokioLocal`] for one runtime a core, where handlers may hold an `Rc`.
//!
//! Of tokio's features it needs `rt`, `net`, `time` and `io-util`; choose `rt-multi-thread` or not
//! in your own `Cargo.toml`.

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
