//! A client in a mesh: three servers, one of which dies, discovery, balancing, checks, and why.
//!
//! ```text
//! cargo run --release --example mesh
//! ```
//!
//! Ends with 0 when every step went as it should, with 1 when one did not. The steps are in
//! `src/mesh/steps.rs`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let ran = runtime
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(sinew_examples::mesh::run()));
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nDeviation: {error}");
            ExitCode::FAILURE
        }
    }
}
