//! Endpoints from Kubernetes.
//!
//! [`EndpointSliceSource`] lists the slices of a service, and watches them; [`ServiceAccount`] is how a pod
//! reaches the API server. Both were tested against scripted servers that do what the documentation of the
//! API says.

mod account;
mod slice;
mod source;

pub use account::{SERVICE_ACCOUNT, ServiceAccount};
pub use source::{EndpointSliceQuery, EndpointSliceSource, MAX_EVENT, MAX_SLICES};
