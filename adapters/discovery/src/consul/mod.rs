//! Endpoints from Consul, and to it.
//!
//! [`ConsulSource`] follows the healthy instances of a service by blocking queries; [`ConsulRegistration`]
//! tells the agent of an instance, keeps it alive, and takes it back before its server drains. Both were
//! tested against scripted servers that do what the documentation of Consul 1.x says.

mod registration;
mod source;

pub use registration::{ConsulRegistration, Registered};
pub use source::{ConsulQuery, ConsulSource};
