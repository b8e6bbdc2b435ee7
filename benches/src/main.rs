//! What a request costs, in figures that repeat: instructions, allocations, system calls.
//!
//! ```text
//! cargo run --release -p sinew-benches              the machines alone, in memory, against budgets
//! cargo run --release -p sinew-benches -- process   whole servers on tokio, beside hyper
//! cargo run --release -p sinew-benches -- syscalls  the same servers under strace
//! ```
//!
//! Wall time is not measured: on a shared machine it tells more about the neighbours. Everything is
//! `cost(2N) - cost(N)` over `N`, so that start-up and warm-up fall out.

mod callgrind;
mod cases;
mod count;
mod load;
mod process;
mod traffic;

use std::error::Error;
use std::process::ExitCode;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const USAGE: &str = "usage: sinew-benches [count | process | syscalls]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        [] | ["count"] => count::table(),
        ["process"] => process::instructions(),
        ["syscalls"] => process::syscalls(),
        // What callgrind runs.
        ["run", case, requests] => run(case, requests),
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
