//! sinew on async-std: `RestServer` and `RestClient`, and the runtime binding.
//!
//! **async-std is no longer maintained, and its authors name smol as its successor.** This crate is
//! for programs that are on it already, and is not published. Everything else should take
//! `sinew-smol`: both stand on the reactor of `async-io`, so nothing but one word changes.
//!
//! All of the driving is done by `sinew-driver`, whose public items stand here too. This crate adds
//! [`AsyncStdRuntime`]; sockets, timers and names are those of `SmolRuntime` of `sinew-smol`, the tasks are
//! async-std's own.

mod binding;

pub use binding::AsyncStdRuntime;
pub use sinew_driver::*;

/// A server whose connections are tasks of async-std.
pub type RestServer = sinew_driver::RestServer<AsyncStdRuntime, Threads>;

/// A client; its calls are driven by the tasks that make them.
pub type RestClient = sinew_driver::RestClient<AsyncStdRuntime>;
