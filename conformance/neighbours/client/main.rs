//! Who asks through the proxies of `conformance/neighbours/run`: the `RestClient` of each runtime.
//!
//!     neighbours-client --runtime tokio --url https://127.0.0.1:8443 --identity DIR pass
//!     neighbours-client … ask /who                   # one call, told as JSON
//!     neighbours-client … load                       # until its input ends; a tally as JSON

mod ask;
mod load;
mod pass;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use sinew_conformance::network::adapter::{Adapter, Work};
use sinew_core::http1;
use sinew_driver::server::Conn;
use sinew_driver::{ClientBuilder, RestClient, Runtime, Spawn, Task, Threads};
use sinew_tls::{ClientTls, Tls};

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Parser)]
struct Arguments {
    /// The runtime
    #[arg(long, value_enum)]
    runtime: Adapter,
    /// http or https, host and port
    #[arg(long)]
    url: String,
    /// A directory with cert.pem and key.pem to show, beside a ca.pem that says whom to trust
    #[arg(long)]
    identity: Option<PathBuf>,
    #[command(subcommand)]
    errand: Errand,
}

#[derive(clap::Subcommand)]
enum Errand {
    /// Check what has to pass a proxy unharmed; a line for each
    Pass(pass::Pass),
    /// Make one call, and tell what came of it
    Ask(ask::Ask),
    /// Ask again and again until the input ends, and never twice; tell what failed
    Load,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = arguments.runtime;
    match runtime.run(arguments).map_err(Failure::from).and_then(|done| done) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(2)
        }
    }
}

impl Arguments {
    fn client<R: Runtime>(&self) -> Result<ClientBuilder<R>, Failure> {
        let builder = RestClient::<R>::builder(self.url.clone());
        let Some(directory) = &self.identity else { return Ok(builder.allow_plaintext()) };
        let tls = ClientTls::builder()
            .ca_file(directory.join("ca.pem"))?
            .identity_file(directory.join("cert.pem"), directory.join("key.pem"))?
            .build()?;
        Ok(builder.tls(tls))
    }
}

impl Work for Arguments {
    /// Whether all went as it should.
    type Outcome = Result<bool, Failure>;

    async fn on<R>(self, runtime: R) -> Self::Outcome
    where
        R: Runtime
            + Spawn<Task>
            + Spawn<Conn<http1::Server, R, Threads>>
            + Spawn<Conn<Tls<http1::Server>, R, Threads>>,
    {
        let builder = self.client::<R>()?;
        match self.errand {
            Errand::Pass(pass) => Ok(pass.all(&builder.build_on(runtime)?).await),
            Errand::Ask(ask) => ask.run(builder, runtime).await,
            Errand::Load => load::run(&builder.build_on(runtime.clone())?, &runtime).await,
        }
    }
}
