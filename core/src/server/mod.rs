//! The server's side above the connection: which handler a request belongs to.

mod params;
mod path;
mod route;

pub use params::{Params, Template};
pub use path::BadPath;
pub use route::{Found, RouteError, Router, RouterBuilder};
