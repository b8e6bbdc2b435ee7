//! sinew on smol: `RestServer` and `RestClient`, and the runtime binding.
//!
//! All of the driving is done by `sinew-driver`, whose public items stand here too. This crate adds
//! sockets, timers and names, over the reactor of `async-io`: [`SmolRuntime`].
//!
//! Connections are tasks of smol's global executor. It starts its threads with the first task:
//! one, or as many as the environment variable `SMOL_THREADS` says. What you give to
//! [`smol::block_on`](https://docs.rs/smol/2/smol/fn.block_on.html) runs on the calling thread.

mod attempt;
mod binding;
mod datagram;
mod listener;
mod stream;
mod timer;

pub use binding::SmolRuntime;
pub use datagram::SmolDatagram;
pub use listener::SmolListener;
pub use sinew_driver::*;
pub use stream::SmolStream;
pub use timer::SmolTimer;

/// A server whose connections are tasks of smol's global executor.
pub type RestServer = sinew_driver::RestServer<SmolRuntime, Threads>;

/// A client; its calls are driven by the tasks that make them.
pub type RestClient = sinew_driver::RestClient<SmolRuntime>;
