//! sinew on tokio: `RestServer` and `RestClient`, and the runtime binding.
//!
//! All of the driving is done by `sinew-driver`, whose public items stand here too. This crate adds
//! sockets, timers and names: [`TokioRuntime`] for tasks that move between worker threads, and
//! [`TokioLocal`] for one runtime a core, where handlers may hold an `Rc`.
//!
//! Of tokio's features it needs `rt`, `net`, `time` and `io-util`; choose `rt-multi-thread` or not
//! in your own `Cargo.toml`.

mod binding;
mod listener;
mod stream;

pub use binding::{Here, Tokio, TokioLocal, TokioRuntime, Workers};
pub use listener::TokioListener;
pub use sinew_driver::*;
pub use stream::TokioStream;
