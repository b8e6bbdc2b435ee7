//! The command `sinew`.

mod command;

use std::process::ExitCode;

use clap::Parser;

/// sinew: the conformance suite and the reference server.
#[derive(Parser)]
#[command(name = "sinew", version)]
struct Arguments {
    #[command(subcommand)]
    command: command::Command,
}

fn main() -> ExitCode {
    match Arguments::parse().command.run() {
        Ok(code) => code,
        Err(problem) => {
            eprintln!("sinew: {problem}");
            ExitCode::from(2)
        }
    }
}
