//! The cases over sockets: on the servers and clients of the adapters, and on any server.
//!
//! [`talk`] plays a request case as a client and writes a transcript of what can be seen from
//! outside. A server of ours says in its answers what it received ([`mirror`]); of any other one it
//! is known only whether it took a request, and what became of the next. [`visit`] plays a response
//! case: a client of ours calls a server that says what the case says.

#[cfg(feature = "serve")]
pub mod home;
pub mod link;
#[cfg(feature = "serve")]
pub mod mirror;
pub mod talk;
#[cfg(feature = "serve")]
pub mod visit;
