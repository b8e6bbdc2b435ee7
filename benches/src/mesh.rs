//! What it costs to choose one of many endpoints, and to know them.

use std::fmt::Write as _;
use std::hint::black_box;
use std::process::ExitCode;

use sinew_core::client::Dispatcher;
use sinew_core::client::dispatcher::{Endpoint, Policy};
use sinew_core::mesh::{Algorithm, BalancePolicy, OutlierConfig, RingConfig};
use sinew_core::time::Instant;

use crate::Result;
use crate::count;
use crate::dispatcher;

/// How an endpoint is chosen, and whether it is ejected.
#[derive(Clone, Copy)]
struct Way {
    name: &'static str,
    algorithm: fn() -> Algorithm,
    outliers: bool,
}

const WAYS: [Way; 6] = [
    Way { name: "peak-ewma", algorithm: Algorithm::default, outliers: false },
    Way { name: "peak-ewma-ejecting", algorithm: Algorithm::default, outliers: true },
    Way { name: "least-request", algorithm: || Algorithm::LeastRequest, outliers: false },
    Way { name: "round-robin", algorithm: || Algorithm::RoundRobin, outliers: false },
    Way { name: "weighted", algorithm: || Algorithm::WeightedRoundRobin, outliers: false },
    Way {
        name: "ring-hash",
        algorithm: || Algorithm::RingHash(RingConfig::default()),
        outliers: false,
    },
];

const SIZES: [u64; 3] = [1, 10, 1_000];

/// Calls of the shorter of the two runs: every endpoint has its connection before.
const CALLS: u64 = 4_000;

impl Way {
    fn policy(self) -> Policy {
        let mut policy = Policy::default();
        policy.balance = BalancePolicy { algorithm: (self.algorithm)(), ..policy.balance };
        if self.outliers {
            policy.outlier = OutlierConfig::default();
        }
        policy
    }
}

/// Prints what a call costs with one endpoint, with ten and with a thousand; what is above one is the
/// choice. Then what an endpoint takes.
pub(crate) fn table() -> Result<ExitCode> {
    println!("{:<22}{:>10}{:>10}{:>10}   instructions of a call", "endpoints", 1, 10, 1_000);
    for way in WAYS {
        let mut line = format!("{:<22}", way.name);
        for endpoints in SIZES {
            let arguments = ["pick", way.name, &endpoints.to_string()].map(str::to_owned);
            let cost = count::difference(&arguments, CALLS)?;
            write!(line, "{:>10}", cost.instructions / CALLS)?;
        }
        println!("{line}");
    }
    println!();
    for way in WAYS {
        println!("{:<22}{:>10}   bytes an endpoint, of 10,000", way.name, bytes(way)?);
    }
    Ok(ExitCode::SUCCESS)
}

/// What callgrind runs.
pub(crate) fn pick(way: &str, endpoints: &str, calls: u64) -> Result<()> {
    let way = WAYS.into_iter().find(|known| known.name == way).ok_or("no such way")?;
    let endpoints: u64 = endpoints.parse()?;
    let mut policy = way.policy();
    let connections = u32::try_from(endpoints.max(100))?;
    (policy.pool.max_connections, policy.pool.max_per_endpoint) = (connections, connections);
    dispatcher::calls_with(&policy, endpoints, calls)
}

/// What an endpoint takes that nobody has called yet.
fn bytes(way: Way) -> Result<u64> {
    const ENDPOINTS: u64 = 10_000;
    let before = resident()?;
    let mut dispatcher = Dispatcher::new(way.policy(), 1)?;
    let endpoints: Vec<Endpoint> = (0..ENDPOINTS).map(Endpoint).collect();
    dispatcher.update_endpoints(Instant::ZERO, 1, &endpoints);
    drop(endpoints);
    let grown = resident()?.saturating_sub(before);
    black_box(&dispatcher);
    // Kept, or the next one has its memory for nothing.
    std::mem::forget(dispatcher);
    Ok(grown / ENDPOINTS)
}

/// Bytes of memory that this process has.
fn resident() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024)
}
