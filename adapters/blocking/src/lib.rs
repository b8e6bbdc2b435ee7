//! sinew for programs without a runtime: [`RestClient`], whose calls block.
//!
//! It is the client of `sinew-smol`, driven by the thread that makes the call: the same machines, the
//! same sockets, the same answers. What goes on between calls, such as dialling ahead and closing what
//! is idle, is done by one thread of smol's executor, which starts with the first call.
//!
//! ```no_run
//! use sinew_blocking::{RestClient, RestClientConfig};
//!
//! # fn main() -> Result<(), sinew_blocking::Error> {
//! let mut config = RestClientConfig::new("http://127.0.0.1:8080");
//! config.allow_plaintext = true;
//! let client = RestClient::new(config)?;
//! let answer = client.get("/api/resource/42").send()?;
//! println!("{} {}", answer.status(), answer.text()?);
//! # Ok(())
//! # }
//! ```
//!
//! A call that blocks inside of a runtime holds up everything on its thread: there, take the crate of
//! the runtime.

mod call;
mod client;
mod read;
mod response;

pub use call::Call;
pub use client::RestClient;
pub use read::Reader;
pub use response::{Events, Response};
pub use sinew_driver::{
    Body, CloseReport, Error, ErrorKind, Explained, ExplainedRequest, Health, Proxy,
    RestClientConfig,
};
