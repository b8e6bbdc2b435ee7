//! Two servers and a quota that they share.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use sinew_core::limit::{LeaseConfig, Quota, RateLimiterConfig};
use sinew_driver::{MemoryStore, Notice, Request, SharedQuota};
use sinew_prometheus::Metrics;

use super::policies::{ask, problem};
use super::raw::{Raw, raw};
use super::site::{Security, Site};
use super::{each, pause};
use crate::rt;

const BURST: u32 = 20;
const AHEAD: u32 = 1;

async fn replica(
    security: Security,
    store: &Arc<MemoryStore<rt::Runtime>>,
    metrics: &Metrics,
) -> Site {
    // Nothing of a lease is given up while the test runs.
    let lifetime = Duration::from_secs(3600);
    let leases = LeaseConfig { tokens: 4, ahead: AHEAD, lifetime, ..LeaseConfig::default() };
    let shared = SharedQuota::new(Arc::clone(store), [5; 16]).leases(leases);
    let told = metrics.clone();
    let builder = rt::RestServer::builder()
        .shared_quota(shared)
        .layer(metrics.layer())
        .observe(move |_, notice| {
            if let Notice::Decided(event) = notice {
                told.observe(event);
            }
        })
        .route(Method::GET, "/", async |_: Request| "in");
    Site::run(security, builder.listen("127.0.0.1:0")).await
}

/// Whether a request gets through, and if not, whether the store has no more.
fn attempt(socket: &mut Raw) -> Result<(), bool> {
    let answer = ask(socket, "GET /", "", "");
    if answer.status() == 200 {
        return Ok(());
    }
    assert_eq!(problem(&answer), (429, "rate_limited".to_owned()));
    let seconds: u64 = answer.field("retry-after").unwrap().parse().unwrap();
    // Until the store was heard it is less.
    Err(seconds > 1)
}

#[test]
fn replicas_let_through_what_they_have_together() {
    each(async |security| {
        let quota = Quota::new(BURST, Duration::from_secs(36_000), BURST).unwrap();
        let store = MemoryStore::new(rt::Runtime::default(), quota, &RateLimiterConfig::default());
        let store = Arc::new(store.unwrap());
        let metrics = Metrics::new();
        let sites =
            [replica(security, &store, &metrics).await, replica(security, &store, &metrics).await];
        let (mut through, mut spent) = ([0; 2], [false; 2]);
        while spent != [true; 2] {
            for (at, site) in sites.iter().enumerate() {
                match raw(site, |mut socket| attempt(&mut socket)).await {
                    Ok(()) => through[at] += 1,
                    Err(is_spent) => spent[at] = is_spent,
                }
            }
            pause().await;
        }
        let all: u32 = through.iter().sum();
        assert!((BURST..=BURST + 2 * AHEAD).contains(&all), "{through:?}");
        assert!(through.iter().all(|one| *one > 0), "{through:?}");
        for site in &sites {
            site.stop().await;
        }
        let text = metrics.encode();
        let count = |series: &str| -> u32 {
            let line = text.lines().find_map(|line| line.strip_prefix(series)).unwrap_or("0");
            line.trim().parse().unwrap()
        };
        let decided = |verdict: &str| {
            count(&format!(
                "sinew_server_decisions_total{{policy=\"lease\",verdict=\"{verdict}\"}}"
            ))
        };
        assert_eq!(decided("lease") + decided("ahead"), all, "{text}");
        assert!(decided("spent") >= 2, "{text}");
        assert!(count("sinew_server_lease_asks_total{outcome=\"granted\"}") > 0, "{text}");
        assert!(count("sinew_server_lease_asks_total{outcome=\"short\"}") >= 2, "{text}");
    });
}
