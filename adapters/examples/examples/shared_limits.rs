//! A quota that three server processes share over a real Redis, which is killed on the way.
//!
//! ```text
//! cargo run --release --example shared_limits        # needs redis-server, or REDIS_SERVER=/path/of/valkey-server
//! ```
//!
//! Ends with 0 when every step went as it should, with 1 when one did not. The steps are in
//! `src/shared_limits/steps.rs`.

use std::process::ExitCode;

use sinew_examples::shared_limits;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        [] => shared_limits::run(),
        // One of the three processes, started by the first.
        ["--replica", runtime, policy, url, authority] => {
            shared_limits::serve(runtime, policy, url, authority)
        }
        _ => {
            eprintln!("usage: shared_limits");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nDeviation: {error}");
            ExitCode::FAILURE
        }
    }
}
