//! Tower on both sides of a server: services of tower as handlers of sinew, and what sinew does when calls fail as
//! layers over a client that somebody else wrote.
//!
//! # Services as handlers
//!
//! Any [`tower_service::Service`] of HTTP is a handler: an axum `Router`, a stack of tower layers.
//! The service runs behind everything that sinew does for a connection: mutual TLS, limits, timers,
//! draining; and on whatever runtime the server runs, as far as the service itself does not ask for
//! one of its own.
//!
//! ```
//! use sinew_driver::{RouteOptions, Runtime, ServerBuilder, Threads};
//!
//! fn mount<R: Runtime>(
//!     server: ServerBuilder<R, Threads>,
//!     app: axum::Router,
//! ) -> ServerBuilder<R, Threads> {
//!     server
//!         .route_any("/app/{*path}", RouteOptions::new(), sinew_tower::handler(app.clone()))
//!         .fallback(sinew_tower::handler(app))
//! }
//! ```
//!
//! A service gets an [`http::Request`] whose extensions hold sinew's `Peer` and, with mutual TLS,
//! the identity of the client. What asks hyper for an upgraded connection does not work here: a
//! handler of sinew's own takes it with [`Request::upgrade`](sinew_driver::Request::upgrade).
//!
//! # Layers over a client
//!
//! [`RetryLayer`], [`BreakerLayer`], [`ConcurrencyLayer`] and [`RateLayer`] go around any service that takes
//! requests and gives answers. The decisions are those of the machines in [`sinew_core`] that stand behind
//! sinew's own client; here are only the futures. Each layer, with all services that it makes, is for one
//! destination: what it knows is about that, and grows with nothing.
//!
//! ```
//! use sinew_driver::Runtime;
//! use sinew_tower::{BreakerLayer, ConcurrencyLayer, RetryLayer};
//! use tower::ServiceBuilder;
//!
//! # fn stack<R: Runtime>(runtime: R) -> Result<(), Box<dyn std::error::Error>> {
//! let retries = RetryLayer::new(runtime.clone(), Default::default(), Default::default())?;
//! let breaker = BreakerLayer::new(runtime.clone(), Default::default())?;
//! let places = ConcurrencyLayer::new(runtime, Default::default())?;
//! // Outermost first: each attempt asks the breaker, and then for a place.
//! let stack = ServiceBuilder::new().layer(retries).layer(breaker).layer(places);
//! # drop(stack);
//! # Ok(())
//! # }
//! ```
//!
//! The order matters. A [`RateLayer`] goes between the retries and the breaker: what waits for its own quota is no
//! slow answer. A timeout of one attempt, tower's `TimeoutLayer` say, goes innermost, below the breaker and the
//! places: there an attempt without an answer is an error, and a failure; further out it only drops the attempt,
//! and a destination that hangs never opens the breaker. The [timeout](RetryLayer::timeout) of a call is further
//! out, and no substitute.
//!
//! Time is asked of a [`Clock`], which every [`Runtime`](sinew_driver::Runtime) is. A layer that does not let a
//! request through answers with the error [`Refused`]. A future may be dropped at any time: what it held, the
//! place of a probe say, is given back, and says nothing about the destination.

mod client;
mod handler;

pub use client::{
    BadRetryLayer, Breaker, BreakerLayer, Clock, Concurrency, ConcurrencyLayer, Deliveries,
    Expired, Failed, Rate, RateLayer, Refused, Repeatable, Retry, RetryLayer, Tried,
    UnknownDelivery, Unrepeatable,
};
pub use handler::{Tower, handler};
