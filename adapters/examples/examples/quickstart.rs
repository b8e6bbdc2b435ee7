//! sinew in ten steps: mutual TLS, JSON, streams of 64 MiB, refusals, and a graceful stop.
//!
//! ```text
//! cargo run --release --example quickstart
//! cargo run --release --example quickstart -- --runtime smol
//! cargo run --release --example quickstart -- --serve
//! ```
//!
//! Ends with 0 when every step went as it should, with 1 when one did not, with 2 when it was not
//! understood. The steps are in `src/quickstart/steps.rs`, the service in `app.rs` beside it.

use std::process::ExitCode;

use sinew_examples::quickstart::{Task, on_async_std, on_smol, on_tokio};
use sinew_examples::transcript::Outcome;

const USAGE: &str = "usage: quickstart [--serve] [--runtime tokio|smol|async-std]";

fn main() -> ExitCode {
    if std::env::args().any(|arg| arg == "--help" || arg == "-h") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let Some((task, run)) = parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match run(task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nDeviation: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The quickstart on one of the runtimes.
type Run = fn(Task) -> Outcome;

fn parse(mut args: impl Iterator<Item = String>) -> Option<(Task, Run)> {
    let mut task = Task::Walk;
    let mut run: fn(Task) -> Outcome = on_tokio::run;
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--serve" => task = Task::Serve,
            "--runtime" => {
                run = match args.next()?.as_str() {
                    "tokio" => on_tokio::run,
                    "smol" => on_smol::run,
                    "async-std" => on_async_std::run,
                    _ => return None,
                }
            }
            _ => return None,
        }
    }
    Some((task, run))
}
