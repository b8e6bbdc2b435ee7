//! Endpoints from the DNS: a stub resolver, and a [`Source`](crate::Source) over it.
//!
//! [`Lookup`] is the machine that asks one question, and does no IO; [`Resolver`] drives it on any runtime
//! that has [datagrams](sinew_driver::Datagrams); [`DnsSource`] asks again and again.

mod answer;
mod config;
mod exchange;
mod lookup;
mod message;
mod name;
mod resolver;
mod source;
mod together;

pub use answer::{Answer, LookupError, Trouble};
pub use config::{BadResolvConf, MAX_RESOLV_CONF, MAX_SEARCH, MAX_SERVERS, ResolverConfig};
pub use lookup::{Lookup, LookupEvent, MAX_ALIASES, MAX_STRAYS, Transport, Try};
pub use message::{Kind, Service};
pub use name::{BadName, Name};
pub use resolver::{Addresses, Families, Resolver};
pub use source::{DnsSource, DnsTimes, MAX_INSTANCES, MAX_TARGETS};
