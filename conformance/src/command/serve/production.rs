//! What surrounds a server in production: proxies, operators, and more requests than it can take.

use core::future::ready;
use core::time::Duration;
use std::net::SocketAddr;

use sinew_core::limit::{AdmissionConfig, ConcurrencyConfig};
use sinew_core::security::{Network, ProxyProtocol};
use sinew_driver::{Admin, HealthChecks, Notice, Request, Runtime, ServerBuilder, Threads};
use sinew_prometheus::Metrics;

/// Arguments of `sinew serve`.
#[derive(Clone, clap::Args)]
pub(super) struct Production {
    /// Seconds from a signal for which it serves on, not ready, until everybody knows
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=3_600))]
    propagation: u64,
    /// Requests at once; who has to wait for a second is refused with 503 and Retry-After
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    at_once: Option<u32>,
    /// Whose connections start with a PROXY header of version 2; may be given several times
    #[arg(long, value_name = "NETWORK")]
    proxy_protocol: Vec<Network>,
    /// Mebibytes that all connections together may hold
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    memory: u64,
    /// Where operators ask for /metrics; port 0 takes a free one
    #[arg(long, value_name = "HOST:PORT")]
    operators: Option<SocketAddr>,
}

impl Production {
    pub(super) fn apply<R: Runtime>(
        &self,
        mut builder: ServerBuilder<R, Threads>,
        metrics: &Metrics,
    ) -> ServerBuilder<R, Threads> {
        let config = builder.config_mut();
        config.drain.propagation = Duration::from_secs(self.propagation);
        config.memory.cap = self.memory << 20;
        // Those that test it are on one machine.
        config.max_connections_per_address = config.max_connections;
        builder = builder.health(HealthChecks::new());
        if let Some(most) = self.at_once {
            let concurrency = ConcurrencyConfig {
                initial: most,
                min: most,
                max: most,
                ..ConcurrencyConfig::default()
            };
            builder =
                builder.overload(AdmissionConfig { concurrency, ..AdmissionConfig::default() });
        }
        if !self.proxy_protocol.is_empty() {
            let networks = self.proxy_protocol.clone();
            builder = builder.proxy_protocol(ProxyProtocol::new(networks, ProxyProtocol::LIMIT));
        }
        match self.operators {
            Some(place) => observed(builder, place, metrics),
            None => builder,
        }
    }
}

/// Counts, and tells operators at a place of their own.
fn observed<R: Runtime>(
    builder: ServerBuilder<R, Threads>,
    place: SocketAddr,
    metrics: &Metrics,
) -> ServerBuilder<R, Threads> {
    let (told, counting) = (metrics.clone(), metrics.clone());
    let scrape = move |request: Request| ready(told.answer(request.header("accept")));
    builder
        .layer(metrics.layer())
        .admin(Admin::new().listen_only([place.to_string()]).metrics(scrape))
        .observe(move |_, notice| {
            if let Notice::Decided(event) = notice {
                counting.observe(event);
            }
        })
}
