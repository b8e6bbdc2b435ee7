//! Configurations: built once, cheap to clone, refused with the reason when they make no sense.

mod client;
mod common;
mod error;
mod pem;
mod server;

pub use client::{ClientTls, ClientTlsBuilder};
pub use error::{ConfigError, Item, Source};
pub use server::{ClientAuth, ServerTls, ServerTlsBuilder};
