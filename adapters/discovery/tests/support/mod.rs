//! What the other side says, as a test wants it.

#![allow(dead_code, reason = "every test file uses its own part of it")]

pub(crate) mod names;
pub(crate) mod script;
pub(crate) mod wire;
