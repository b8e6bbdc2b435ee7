//! What a client does when things go wrong: retry, budget, breaker, endpoints, hedges, deadlines.
//!
//! ```text
//! cargo run --release --example client
//! ```
//!
//! Ends with 0 when every step went as it should, with 1 when one did not. The steps are in
//! `src/client/steps.rs`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let ran = runtime
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(sinew_examples::client::run()));
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nDeviation: {error}");
            ExitCode::FAILURE
        }
    }
}
