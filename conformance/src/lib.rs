//! Proof: the case files, the suite that runs them, and the command `sinew`.
//!
//! A case is an input and what a recipient makes of it, or something to send and what a sender
//! makes of it, or a policy and a request; `README.md` documents the schema. [`suite::check`] runs one against the bare
//! machines, however its bytes are cut; [`report::Report`] says how it went. [`pair`] wires a
//! client machine and a server machine in memory, with a virtual clock and a hostile network.

pub mod application;
pub mod case;
pub mod cors;
pub mod deviations;
pub mod encode;
pub mod end;
pub mod exchange;
pub mod expect;
pub mod feed;
pub mod fleet;
pub mod judge;
pub mod laws;
pub mod load;
#[cfg(feature = "sockets")]
pub mod network;
pub mod pair;
pub mod reader;
pub mod record;
pub mod reference;
pub mod report;
pub mod run;
pub mod seed;
pub mod suite;
pub mod transcript;
pub mod weather;
pub mod websocket;
