//! What requests and connections cost, in figures that repeat: instructions, allocations, system
//! calls, memory.
//!
//! ```text
//! cargo run --release -p sinew-benches              the machines alone, in memory, against budgets
//! cargo run --release -p sinew-benches -- process   whole servers on tokio, beside hyper
//! cargo run --release -p sinew-benches -- syscalls  the same servers under strace, also with TLS
//! cargo run --release -p sinew-benches -- idle      memory of 9,000 idle connections, beside hyper
//! cargo run --release -p sinew-benches -- bodies    memory of `sinew serve` while large bodies pass
//! cargo run --release -p sinew-benches -- limiter   the limiter beside governor, and in a flood
//! cargo run --release -p sinew-benches -- websocket an echo in memory beside three other libraries
//! cargo run --release -p sinew-benches -- lock      waits for the lock around a client's dispatcher
//! cargo run --release -p sinew-benches -- mesh      choosing one of many endpoints, and knowing them
//! ```
//!
//! Wall time is not measured, but for the limiter, whose cost is memory that is not at hand, and there as
//! a ratio: on a shared machine it tells more about the neighbours. What is counted
//! per request is `cost(2N) - cost(N)` over `N`, so that start-up and warm-up fall out.

mod caller;
mod callgrind;
mod cases;
mod count;
mod dispatcher;
mod limiter;
mod load;
mod memory;
mod mesh;
mod pki;
mod process;
mod server;
mod stack;
mod traffic;
mod websocket;

use std::error::Error;
use std::process::ExitCode;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const USAGE: &str = "usage: sinew-benches [count | process | syscalls | idle | bodies | limiter | websocket | lock | mesh]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        [] | ["count"] => count::table(),
        ["process"] => process::instructions(),
        ["syscalls"] => process::syscalls(),
        ["idle"] => memory::idle(),
        ["bodies"] => memory::bodies(),
        ["limiter"] => limiter::compare(),
        ["websocket"] => websocket::compare(),
        ["lock"] => dispatcher::lock(),
        ["mesh"] => mesh::table(),
        // What callgrind runs.
        ["run", case, requests] => run(case, requests),
        ["run", "pick", way, endpoints, calls] => calls
            .parse()
            .map_err(Into::into)
            .and_then(|calls| mesh::pick(way, endpoints, calls))
            .map(|()| ExitCode::SUCCESS),
        _ => Err(USAGE.into()),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(case: &str, requests: &str) -> Result<ExitCode> {
    let case = cases::find(case).ok_or("no such case")?;
    (case.run)(requests.parse()?)?;
    Ok(ExitCode::SUCCESS)
}
