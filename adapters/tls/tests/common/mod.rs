//! What the tests share: certificates, a toy wire, and a pair of ends with a virtual clock.

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    reason = "not every test file uses all of it"
)]

pub mod certs;
pub mod pair;
pub mod toy;

pub use certs::{Authority, Clock, Identity};
pub use pair::{End, Pair};
pub use toy::{Toy, ToyEvent};
