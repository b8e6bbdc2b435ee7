//! The server's side above the connection: which handler a request belongs to, and what it passes
//! on its way there.

mod connections;
pub mod drain;
pub mod health;
mod params;
mod path;
mod reload;
mod route;
mod stack;

pub use connections::{
    BadConnections, ConnectionPlace, ConnectionRefused, Connections, ConnectionsConfig,
};
pub use drain::{Drain, DrainConfig, DrainEvent};
pub use health::{Health, HealthConfig, HealthEvent};
pub use params::{Params, Template};
pub use path::BadPath;
pub use reload::ReloadOutcome;
pub use route::{Found, RouteError, Router, RouterBuilder};
pub use stack::{
    Arrival, Authentication, BadMediaType, BadRateLimit, BoxLayer, Buckets, Classes, ClientClass,
    Cost, Deadlines, Decision, End, Exchanges, Expectation, Identify, Interest, Layer, Lessor,
    LimitFields, MediaRange, OutOfOrder, Peer, PriorityRule, RateLimit, RateLimitConfig, Record,
    ResponseHead, RoutePolicy, Scheme, SharedLimit, Shield, SpareRecord, Stack, Validation,
};
