//! Where the endpoints of a service are, and how a client hears of it.
//!
//! A [`Source`] lists the [instances](ServiceEndpoint) of a service, again and again; [`follow`] tells a
//! [`RestClient`](sinew_driver::RestClient) of each change, and keeps the last good list while the
//! source is down. What is kept, and for how long, is decided by
//! [`EndpointSet`](sinew_core::mesh::EndpointSet) of the core.
//!
//! Sources: a file ([`FileSource`]), the DNS (`DnsSource`, with the feature `dns`), Consul ([`ConsulSource`]), Kubernetes
//! ([`EndpointSliceSource`]), and whatever else implements the trait.
//!
//! ```no_run
//! use sinew_discovery::{EndpointSetConfig, FileSource, follow};
//! use sinew_driver::{RestClient, Runtime};
//!
//! # async fn example<R: Runtime>(runtime: R, client: RestClient<R>) {
//! let source = FileSource::new(runtime.clone(), "/etc/mesh/billing.json");
//! // Never ends; give it a task of its own.
//! follow(&runtime, &client, source, EndpointSetConfig::default(), |news| eprintln!("{news}")).await;
//! # }
//! ```

pub mod consul;
#[cfg(feature = "dns")]
pub mod dns;
mod file;
mod follow;
pub mod kubernetes;
mod member;
mod pause;
mod segment;
mod source;

pub use consul::ConsulSource;
#[cfg(feature = "dns")]
pub use dns::DnsSource;
pub use file::{FileSource, MAX_FILE};
pub use follow::{News, follow};
pub use kubernetes::EndpointSliceSource;
pub use sinew_core::mesh::EndpointSetConfig;
pub use sinew_driver::ServiceEndpoint;
pub use source::{Source, SourceError};
