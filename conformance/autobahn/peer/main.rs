//! What the Autobahn testsuite meets beside `sinew serve`: the bare machines in both roles, and clients.
//!
//!     autobahn-peer serve                             # an echo; prints the address that it listens on
//!     autobahn-peer visit core ws://HOST:PORT         # goes through the cases of a fuzzing server
//!     autobahn-peer visit tokio wss://HOST:PORT --ca FILE

mod adapter;
mod core;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum as _};
use sinew_conformance::network::adapter::Adapter;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Parser)]
enum Arguments {
    /// Send back what is sent, on the bare machines, until killed
    Serve,
    /// Go through all cases of a fuzzing server
    Visit {
        /// core, tokio, smol or async-std
        on: String,
        /// ws://HOST:PORT, or wss
        server: String,
        /// Whom to trust, over TLS
        #[arg(long)]
        ca: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    let done = match Arguments::parse() {
        Arguments::Serve => core::serve(),
        Arguments::Visit { on, server, .. } if on == "core" => core::visit(&server),
        Arguments::Visit { on, server, ca } => match Adapter::from_str(&on, false) {
            Ok(runtime) => adapter::visit(runtime, &server, ca.as_deref()),
            Err(why) => Err(why.into()),
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

/// Where the fuzzing server tells how many cases there are.
const COUNT: &str = "/getCaseCount";

/// Where it plays one of them.
fn case(number: u32, agent: &str) -> String {
    format!("/runCase?case={number}&agent={agent}")
}

/// Where it writes the report.
fn report(agent: &str) -> String {
    format!("/updateReports?agent={agent}")
}
